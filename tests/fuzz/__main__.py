"""The fuzz suite: damaged inputs of every kind through the commands, for some minutes.

``python -m tests.fuzz [--minutes 5] [--seed N] [--kind NAME …] [--case N]`` draws a seed where none
is given, prints it, and ends with 1 where a case was wrong; those lie in ``out/fuzz`` with the
words to run them again. A case is decided by seed, kind and number alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import random
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from edge.pixels import bound_opencv

bound_opencv()  # before anything imports OpenCV, as the commands do

from tests.fuzz.crafted import CRAFTED  # noqa: E402
from tests.fuzz.judge import faults  # noqa: E402
from tests.fuzz.kinds import KINDS, ROOT, Case  # noqa: E402
from tests.fuzz.process import Ended, import_all, run  # noqa: E402

KEPT = ROOT / "out" / "fuzz"
MOST_TOLD = 20
"""Wrong cases that are shown: one fault can be in all of them."""


def main() -> int:
    """Run it; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--cases", type=int, help="random ones of each kind, instead of minutes")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**9))
    parser.add_argument("--kind", action="append", choices=sorted(KINDS))
    parser.add_argument("--case", help="this one alone: a number, or the name of a crafted one")
    asked = parser.parse_args()
    kinds = asked.kind or list(KINDS)
    end = time.monotonic() + 60 * asked.minutes
    print(f"seed {asked.seed}", flush=True)
    import_all()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        for name in kinds:
            KINDS[name].begin(Path(folder, "seeds", name))
        workers = 1 if asked.case else os.cpu_count() or 1
        results = [Path(folder, f"{number}.results") for number in range(workers)]
        children = []
        for number, result in enumerate(results):
            child = os.fork()
            if child == 0:
                code = 70
                try:
                    todo = _todo(kinds, asked, end if asked.cases is None else None)
                    with result.open("w") as file:
                        for one in itertools.islice(todo, number, None, workers):
                            print(json.dumps(_run(*one, asked.seed, Path(folder))), file=file)
                            file.flush()
                    code = 0
                except BaseException:
                    traceback.print_exc()
                finally:
                    os._exit(code)
            children.append(child)
        codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
        done = [json.loads(line) for path in results for line in path.read_text().splitlines()]
    print(_table(kinds, done))
    wrong = [one for one in done if one["faults"]]
    for one in wrong[:MOST_TOLD]:
        print(f"\n{one['kind']} {one['case']}: {one['again']}")
        print("\n".join(f"  {fault}" for fault in one["faults"]))
    if len(wrong) > MOST_TOLD:
        print(f"\nand {len(wrong) - MOST_TOLD} more in {KEPT}")
    print(f"\n{len(done)} cases, {len(wrong)} of them wrong, seed {asked.seed}")
    return 1 if wrong or any(codes) else 0


def _todo(
    kinds: list[str], asked: argparse.Namespace, end: float | None
) -> Iterator[tuple[str, str]]:
    """Pairs of kind and case: those made by hand, then numbers, until the time is up."""
    if asked.case:
        yield kinds[0], asked.case
        return
    for name in kinds:
        for case in CRAFTED.get(name, {}):
            yield name, case
    for number in itertools.count():
        for name in kinds:
            if end is not None and time.monotonic() > end:
                return
            yield name, str(number)
        if end is None and number + 1 >= asked.cases:
            return


def _run(kind: str, case: str, seed: int, folder: Path) -> dict[str, object]:
    """Run one case and judge it."""
    rng = random.Random(f"{seed}:{kind}:{case}")
    made = KINDS[kind].case(rng) if case.isdecimal() else CRAFTED[kind][case]()
    where = folder / f"{kind}-{case}"
    for name, data in made.files.items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_bytes(data)
    ended = run(made.argv, where)
    found = faults(ended, where, made.files, made.outputs, made.allowed)
    if found:
        _keep(where, kind, case, made, ended, found)
    shutil.rmtree(where, ignore_errors=True)
    shutil.rmtree(where.with_name(where.name + ".aside"), ignore_errors=True)
    return {
        "kind": kind,
        "case": case,
        "again": f"python -m tests.fuzz --seed {seed} --kind {kind} --case {case}",
        "code": ended.code,
        "seconds": ended.seconds,
        "peak_mb": ended.peak_mb,
        "faults": found,
    }


def _keep(where: Path, kind: str, case: str, made: Case, ended: Ended, found: list[str]) -> None:
    kept = KEPT / f"{kind}-{case}"
    shutil.rmtree(kept, ignore_errors=True)
    shutil.copytree(where, kept, ignore_dangling_symlinks=True)
    (kept / "said").write_bytes(
        "\n".join([shlex.join(made.argv), *found, f"exit {ended.code}", "", ""]).encode()
        + ended.err
    )


def _table(kinds: list[str], done: list[dict[str, object]]) -> str:
    lines = [f"{'kind':12} {'cases':>6} {'wrong':>6} {'longest s':>10} {'most MB':>8}  exit codes"]
    for kind in kinds:
        mine = [one for one in done if one["kind"] == kind]
        codes = Counter(one["code"] for one in mine)
        lines.append(
            f"{kind:12} {len(mine):6} {sum(bool(one['faults']) for one in mine):6} "
            f"{max((float(str(one['seconds'])) for one in mine), default=0):10.1f} "
            f"{max((float(str(one['peak_mb'])) for one in mine), default=0):8.0f}  "
            + ", ".join(f"{code}: {count}" for code, count in sorted(codes.items(), key=str))
        )
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
