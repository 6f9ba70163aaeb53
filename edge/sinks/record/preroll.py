"""Holds what was recorded last, as the encoder gave it, in bounded memory; it writes nothing."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from edge.sinks.record.film import Coded


@dataclass(frozen=True, slots=True)
class Line:
    """One that is of no picture, such as a new state of the source; it came at ``pts``."""

    pts: int
    record: Mapping[str, Any]


Item: TypeAlias = Coded | Line


@dataclass(slots=True)
class _Group:
    """A key frame and what needs it; ``number`` and ``pts`` are those of the key frame."""

    number: int
    pts: int
    items: list[Item]
    bytes: int


class PreRoll:
    """Items in whole groups, numbered from 0 as they came.

    Attributes:
        bytes: what it takes, about.
        newest: the ``pts`` of the newest picture, 0 before the first.
        end: the number of the next item.
    """

    def __init__(self, most_bytes: int) -> None:
        self.bytes = self.newest = self.end = 0
        self._most_bytes = most_bytes
        self._groups: deque[_Group] = deque()

    def add(self, picture: Coded) -> None:
        """Take a picture; what needs a key frame that did not come is left out."""
        self.newest = picture.sample.pts
        if picture.sample.key:
            self._groups.append(_Group(self.end, self.newest, [], 0))
        self._add(picture, picture.bytes)

    def note(self, record: Mapping[str, Any]) -> None:
        """Take a line; it is left out before the first picture."""
        self._add(Line(self.newest, record), 1000)

    def _add(self, item: Item, size: int) -> None:
        if self._groups:
            group = self._groups[-1]
            group.items.append(item)
            group.bytes += size
            self.bytes += size
            self.end += 1

    def since(self, number: int) -> Iterator[tuple[int, Item]]:
        """Each item that is still there, from this one on, with its number."""
        for group in self._groups:
            for at in range(max(0, number - group.number), len(group.items)):
                yield group.number + at, group.items[at]

    def begin(self, pts: int) -> int:
        """The number of the last key frame at or before ``pts``, or of the oldest there is."""
        before = [group.number for group in self._groups if group.pts <= pts]
        return before[-1] if before else self._oldest()

    def key_of(self, number: int) -> int:
        """The number of the key frame that an item needs, or of the oldest there is."""
        before = [group.number for group in self._groups if group.number <= number]
        return before[-1] if before else self._oldest()

    def trim(self, pts: int, number: int) -> bool:
        """Keep what is needed to play from ``pts`` and from ``number`` on, as far as there is room.

        Returns whether there is no room for all since ``pts``.
        """
        groups, short = self._groups, False
        while len(groups) > 1:
            needed = groups[1].pts > pts
            full = self.bytes > self._most_bytes
            if (needed or groups[1].number > number) and not full:
                break
            short |= needed
            self.bytes -= groups.popleft().bytes
        return short

    def _oldest(self) -> int:
        return self._groups[0].number if self._groups else self.end
