"""Damages valid inputs, by a generator of random numbers alone: the same seed gives the same bytes.

``damaged`` for bytes of any format; ``tree`` for what JSON and checkpoints hold; ``text`` for
lines; ``message`` for protobuf, by the descriptors of its own schema.
"""

from __future__ import annotations

import copy
import math
import random
import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message

NUMBERS: tuple[Any, ...] = (
    *(0, -1, 1, 2, 255, 65_536, 2**31 - 1, -(2**31), 2**32, 2**53 + 1, 2**62, 2**63, -(2**63)),
    *(10**30, 0.5, -0.0, 1e-300, 1e308, math.nan, math.inf, -math.inf),
)
STRINGS = (
    *("", " ", "0", "nan", "../../../../nowhere/a.png", "/nowhere/a.png", "/dev/zero", "a/b"),
    *("\x00", "a\x00b", "\x1b[31mred\x1b[0m", "\x1b]0;title\x07", "\r\nsecond line", "\u2028"),
    *("\u202egnp.exe", "\ud7ff\ufeff", "<script>alert(1)</script>", "%s%n{0}", "${HOME}"),
    *("x" * 5_000, "é" * 300),
)
"""Names that a format, a file system, a terminal or a page reads as more than a name."""
VALUES: tuple[Any, ...] = (None, True, [], {}, [[]], *NUMBERS, *STRINGS)


def damaged(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One to four faults in bytes: flips, runs lost, doubled, taken from another file, numbers."""
    out = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not out:
            break
        rng.choice(FAULTS)(rng, out, rng.choice(others))
    return bytes(out)


def _flip(rng: random.Random, out: bytearray, other: bytes) -> None:
    for _ in range(rng.choice((1, 1, 8, 64))):
        out[_place(rng, out)] ^= 1 << rng.randrange(8)


def _number(rng: random.Random, out: bytearray, other: bytes) -> None:
    size = rng.choice((1, 2, 4, 8))
    at = _place(rng, out)
    value = rng.choice((0, 1, -1, 1 << (8 * size - 1), rng.getrandbits(8 * size)))
    order = rng.choice(("little", "big"))
    out[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, order)  # type: ignore[arg-type]


def _lose(rng: random.Random, out: bytearray, other: bytes) -> None:
    at = _place(rng, out)
    del out[at : at + 1 + int(rng.random() ** 4 * len(out))]


def _double(rng: random.Random, out: bytearray, other: bytes) -> None:
    at = _place(rng, out)
    out[at:at] = out[at : at + 1 + int(rng.random() ** 4 * min(len(out), 65_536))]


def _splice(rng: random.Random, out: bytearray, other: bytes) -> None:
    if other:
        begin = rng.randrange(len(other))
        run = other[begin : begin + 1 + int(rng.random() ** 2 * 4_096)]
        at = _place(rng, out)
        out[at : at + rng.choice((0, len(run)))] = run


def _cut(rng: random.Random, out: bytearray, other: bytes) -> None:
    del out[_place(rng, out) :]


def _zero(rng: random.Random, out: bytearray, other: bytes) -> None:
    at = _place(rng, out)
    size = 1 + int(rng.random() ** 3 * 4_096)
    out[at : at + size] = bytes(len(out[at : at + size]))


FAULTS: tuple[Callable[[random.Random, bytearray, bytes], None], ...] = (
    _flip, _flip, _number, _number, _lose, _double, _splice, _cut, _zero,
)  # fmt: skip


def _place(rng: random.Random, out: bytearray) -> int:
    """Headers decide what is read, so half of the places lie in the first 512 bytes."""
    return rng.randrange(min(len(out), 512) if rng.random() < 0.5 else len(out))


def tree(rng: random.Random, value: Any) -> Any:
    """A copy of dicts and lists in each other, with one to four nodes changed, lost or doubled."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 4))):
        holders = [node for node in _nodes(value) if node]
        if not holders:
            return rng.choice(VALUES)
        holder = rng.choice(holders)
        key = rng.choice(list(holder) if isinstance(holder, dict) else range(len(holder)))
        fault = rng.randrange(6)
        if fault == 0:
            del holder[key]
        elif fault == 1 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        elif fault == 2 and isinstance(holder, dict):
            holder[str(rng.choice(STRINGS))] = holder.pop(key)
        else:
            holder[key] = rng.choice(VALUES)
    return value


def _nodes(value: Any) -> list[Any]:
    """Every dict and list of a tree."""
    if not isinstance(value, dict | list):
        return []
    inner = value.values() if isinstance(value, dict) else value
    return [value, *(node for child in inner for node in _nodes(child))]


def text(rng: random.Random, source: str) -> str:
    """Text with faults in its lines: values, whole lines, quotes and brackets."""
    lines = source.splitlines()
    for _ in range(rng.choice((1, 1, 2, 4))):
        if not lines:
            break
        at = rng.randrange(len(lines))
        line = lines[at]
        fault = rng.randrange(7)
        if fault == 0:
            del lines[at]
        elif fault == 1:
            lines.insert(rng.randrange(len(lines)), line)
        elif fault == 2:
            where = rng.randrange(len(line) + 1)
            lines[at] = line[:where] + rng.choice(STRINGS) + line[where:]
        elif fault == 3:
            where = rng.randrange(len(line) + 1)
            lines[at] = line[:where] + rng.choice("[]{}\"'=#,.\\\t\x00\x1b") + line[where:]
        elif fault == 4:
            lines[at] = re.sub(r"-?\d+(\.\d+)?", lambda _: str(rng.choice(NUMBERS)), line, count=1)
        elif fault == 5:
            lines[at] = line.partition("=")[0] + "= " + repr(rng.choice(VALUES))
        else:
            lines[at] = line[: rng.randrange(len(line) + 1)]
    return "\n".join(lines)


def message(rng: random.Random, proto: Message) -> None:
    """Change one to four fields of a protobuf message or of those inside it, in place."""
    for _ in range(rng.choice((1, 1, 2, 4))):
        found = [(m, field) for m in _messages(proto) for field, _ in m.ListFields()]
        if not found:
            return
        holder, field = rng.choice(found)
        if field.is_repeated:
            _change_repeated(rng, getattr(holder, field.name), field)
        elif rng.random() < 0.3 or field.type == FieldDescriptor.TYPE_MESSAGE:
            holder.ClearField(field.name)
        else:
            _set(rng, partial(setattr, holder, field.name), field)


def _change_repeated(rng: random.Random, values: Any, field: FieldDescriptor) -> None:
    at = rng.randrange(len(values))
    fault = rng.randrange(4)
    if fault == 0:
        del values[at]
    elif fault == 1:
        values.append(values[at])
    elif fault == 2 and len(values) > 1:
        other = rng.randrange(len(values))
        first, second = copy.deepcopy(values[at]), copy.deepcopy(values[other])
        for where, value in ((at, second), (other, first)):
            if field.type == FieldDescriptor.TYPE_MESSAGE:
                values[where].CopyFrom(value)
            else:
                values[where] = value
    elif field.type != FieldDescriptor.TYPE_MESSAGE:
        _set(rng, partial(values.__setitem__, at), field)


def _set(rng: random.Random, put: Callable[[Any], None], field: FieldDescriptor) -> None:
    """Put a value of the field's own kind; what the schema has no room for is left as it was."""
    if field.type == FieldDescriptor.TYPE_STRING:
        value: Any = rng.choice(STRINGS)
    elif field.type == FieldDescriptor.TYPE_BYTES:
        value = rng.randbytes(rng.choice((0, 1, 7, 4_000)))
    else:
        value = rng.choice(NUMBERS)
    try:
        put(value)
    except (TypeError, ValueError, OverflowError):
        return


def _messages(proto: Message) -> list[Message]:
    """The message and all below it."""
    found = [proto]
    for field, value in proto.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for inner in value if field.is_repeated else (value,):
                found += _messages(inner)
    return found
