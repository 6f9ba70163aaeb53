"""What a command may do with a damaged input; says what was wrong, or nothing.

An exit code of README's table, one readable message where it is not 0, no control characters, no
leftovers, no half-written output, within the limits of time and memory.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Collection
from pathlib import Path

from edge.sources.video.media import av
from engines.model_file import read_spec
from tests.fuzz.process import Ended

CPU_S = 10.0
PEAK_MB = 1_500.0
LONGEST_MESSAGE = 6_000
"""Characters on stderr; a message names a few faults and counts the rest."""
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff]")
"""What a terminal obeys or hides; a line feed and a tab are the layout of our own tables."""
LIBRARY = re.compile(
    r"\[|\S+ @ 0x|libpng|TIFF|terminate|.*Warning:"
    r"|\d{4}-\d\d-\d\d |.*(openvino|opencv|onnxruntime)\S*:\d+"
)
"""How the libraries that we load begin a line that they say past us.

Not libjpeg's: nothing but its line tells of a picture that is damaged in its midst, and shown.
"""
OURS = re.compile(r"(edge|edge-export|Error): |\d\d:\d\d:\d\d (info|warning|error) ")


def faults(ended: Ended, folder: Path, inputs: Collection[str], outputs: Collection[str],
           allowed: Collection[int]) -> list[str]:  # fmt: skip
    """What is wrong with how a command ended; empty where nothing is.

    Args:
        ended: how it did.
        folder: where it ran.
        inputs: names in the folder that were there before.
        outputs: names that it may leave there.
        allowed: exit codes that the table of README gives for such an input.
    """
    found = list[str]()
    said = ended.err.decode("utf-8", "replace")
    if ended.timed_out:
        found.append(f"did not end within {ended.seconds:.0f} s")
    elif ended.cpu_s > CPU_S:
        found.append(f"took {ended.cpu_s:.1f} s of a core, more than {CPU_S:g}")
    if ended.peak_mb > PEAK_MB:
        found.append(f"took {ended.peak_mb:.0f} MB, more than {PEAK_MB:g}")
    if "Traceback" in said or "this is a fault of Outrider" in said:
        found.append("showed a traceback")
    if not ended.timed_out and ended.code not in allowed:
        found.append(f"ended with {ended.code}, wanted one of {sorted(allowed)}")
    for name, data in (("stderr", ended.err), ("stdout", ended.out)):
        try:
            shown = data.decode()
        except UnicodeDecodeError:
            found.append(f"{name} is not UTF-8")
            continue
        if bad := CONTROL.search(shown):
            found.append(f"{name} has the control character {bad[0]!r}")
    if "-" in ended.argv and ended.out and not ended.timed_out:
        found += _about_json(ended.out)
    found += _about_message(ended, said)
    found += [f"left {name}" for name in ended.left]
    there = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    found += [f"left {name} in its folder" for name in sorted(there - {*inputs} - {*outputs})]
    found += [f"removed {name}" for name in sorted({*inputs} - there)]
    for name in sorted(there & {*outputs}):
        if wrong := _about_output(folder / name):
            found.append(f"{name}: {wrong}")
    return found


def _about_message(ended: Ended, said: str) -> list[str]:
    lines = said.splitlines()
    found = []
    if ended.code > 0 and not (said + ended.out.decode("utf-8", "replace")).strip():
        found.append("said nothing")
    if len(said) > LONGEST_MESSAGE:
        found.append(f"said {len(said)} characters")
    foreign = [line for line in lines if LIBRARY.match(line) and not OURS.match(line)]
    if foreign:
        found.append(f"let a library speak: {foreign[0][:200]!r}")
    return found


def _about_json(out: bytes) -> list[str]:
    """Standard output where a program reads it: one document, or one a line, each whole."""
    for texts in ([out], out.splitlines()):
        with contextlib.suppress(ValueError):
            for text in texts:
                json.loads(text)
            return []
    return [f"stdout is no JSON: {out[:100]!r}"]


def _about_output(path: Path) -> str | None:
    """What is wrong with a file that was written; None where it is whole."""
    try:
        if path.suffix == ".jsonl":
            for line in path.read_text().splitlines():
                json.loads(line)
        elif path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".mp4":
            with av.open(str(path)) as container:
                for _ in container.decode(video=0):
                    pass
        elif path.suffix == ".onnx":
            read_spec(path)
    except Exception as exc:
        return f"cannot be read: {exc}"
    return None
