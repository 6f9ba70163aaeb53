"""Runs a command on a damaged input in a fork of this process, and measures it.

What takes a second to import is imported once, before the forks; nothing here starts a thread, so
that a fork is whole. Each has its own session, folder, home and temporary folder.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

LIMIT_S = 30.0
"""What runs for longer is killed: it is counted as one that never ends."""
ADDRESS_SPACE = 24 << 30
"""Bytes that one may ask for; real memory is judged by what it was at its most."""

HEAVY = (
    "cv2",
    "av",
    "numpy",
    "onnx",
    "onnxruntime",
    "openvino",
    "torch",
    "edge.cli",
    "edge.commands.run",
    "edge.commands.check",
    "edge.run.app",
    "export.cli",
    "export.commands.adopt",
    "export.commands.check_tensorrt",
    "export.commands.evaluate",
    "export.commands.precision",
    "export.commands.onnx",
    "export.train.onnx_file",
)


@dataclass
class Ended:
    """How a command ended."""

    argv: Sequence[str]
    code: int
    """Its exit code; minus the signal that ended it."""
    seconds: float
    cpu_s: float
    peak_mb: float
    """Real memory at its most, above what the imports take."""
    out: bytes
    err: bytes
    timed_out: bool = False
    left: list[str] = field(default_factory=list)
    """Files in its temporary folder and its home that it left, but for its cache's."""


def import_all() -> None:
    """Import once what the commands import, so that each fork has it."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    for name in HEAVY:
        import_module(name)


def run(argv: Sequence[str], folder: Path, *, limit_s: float = LIMIT_S) -> Ended:
    """Run ``edge …`` or ``edge-export …`` in ``folder``, with nothing cached before."""
    aside = folder.with_name(folder.name + ".aside")
    home, temporary = aside / "home", aside / "tmp"
    for path in (home, temporary):
        path.mkdir(parents=True)
    out, err = aside / "out", aside / "err"
    sys.stdout.flush()
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.setsid()
            os.chdir(folder)
            os.environ.update(
                HOME=str(home), TMPDIR=str(temporary), XDG_CACHE_HOME=str(home / "cache"),
                XDG_STATE_HOME=str(home / "state"), DISPLAY="",
            )  # fmt: skip
            _redirect(out, err)
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
            _main(argv)
        os._exit(70)  # only what goes past sys.exit comes here
    timed_out = not _wait(child, limit_s)
    if timed_out:
        os.killpg(child, signal.SIGKILL)
    _, status, used = os.wait4(child, 0)
    code = os.waitstatus_to_exitcode(status)
    with contextlib.suppress(ProcessLookupError):  # a program that it started
        os.killpg(child, signal.SIGKILL)
    return Ended(
        argv=argv,
        code=code,
        seconds=time.monotonic() - begun,
        cpu_s=used.ru_utime + used.ru_stime,
        peak_mb=used.ru_maxrss / 1024 - _own_mb(),
        out=out.read_bytes(),
        err=err.read_bytes(),
        timed_out=timed_out,
        left=sorted(
            str(path.relative_to(aside))
            for path in (*home.rglob("*"), *temporary.rglob("*"))
            if not path.is_dir() and home / "cache" / "outrider" not in path.parents
        ),
    )


def _wait(child: int, limit_s: float) -> bool:
    """Whether the child ended within the limit; it is left to be reaped."""
    end = time.monotonic() + limit_s
    while time.monotonic() < end:
        if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            return True
        time.sleep(0.005)
    return False


def _redirect(out: Path, err: Path) -> None:
    for number, path in ((1, out), (2, err)):
        file = os.open(path, os.O_WRONLY | os.O_CREAT)
        os.dup2(file, number)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)


def _main(argv: Sequence[str]) -> None:
    """Call the command's entry point as its script does, and leave by the code of its exit."""
    sys.argv = list(argv)
    entry = {"edge": "edge.start", "edge-export": "export.cli"}[argv[0]]
    code: object = 70
    try:
        import_module(entry).main()
        code = 0
    except SystemExit as exc:
        code = exc.code
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(code if isinstance(code, int) else 0 if code is None else 1)


def _own_mb() -> float:
    """Real memory of this process now: what a fork begins with."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20
