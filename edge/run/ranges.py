"""Names the stages of a run to NVIDIA's tools, where one listens; it measures nothing.

nsys then shows them by our names. What the parts open is wrapped; without a listener nothing is,
and a frame meets none of this.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edge.run.parts import Parts
    from edge.sinks.base import Sink
    from edge.sinks.overlay.overlay import Overlay
    from edge.sources.base import Source
    from edge.vision.perception import Perception

log = logging.getLogger(__name__)

DOMAIN = "outrider"
LISTENERS = ("NVTX_INJECTION64_PATH", "NSYS_PROFILING_SESSION_ID")
"""What the environment has where a tool has started the process: the library that NVTX hands its
calls to (NVTX 3, "Tool libraries"), and nsys itself."""


def named(parts: Parts, environ: Mapping[str, str]) -> Parts:
    """``parts`` with NVTX ranges around their stages, or as they are where no tool listens."""
    if not any(name in environ for name in LISTENERS):
        return parts
    try:
        import nvtx
    except ImportError:
        log.warning(
            "a tool listens to NVTX, but the package nvtx is missing: no stage is named. "
            "Next: pip install 'outrider[nvtx]'"
        )
        return parts
    ranges = _Ranges(nvtx.get_domain(DOMAIN))
    return replace(
        parts,
        open_perception=lambda: ranges.perception(parts.open_perception()),
        open_source=lambda stop, tell: ranges.source(parts.open_source(stop, tell)),
        open_sinks=lambda source: ranges.sinks(parts.open_sinks(source)),
        open_overlay=lambda: ranges.overlay(parts.open_overlay()),
    )


class _Ranges:
    """Puts ranges around methods of what was opened, on the thread that calls them."""

    def __init__(self, domain: Any) -> None:
        self._domain = domain

    def source(self, source: Source) -> Source:
        self._around(source, "read", "capture")
        return source

    def perception(self, perception: Perception) -> Perception:
        self._around(perception, "prepare", "letterbox")
        self._around(perception, "decode", "decode")
        self._infer(perception)
        return perception

    def overlay(self, overlay: Overlay) -> Overlay:
        self._around(overlay, "draw", "overlay")
        return overlay

    def sinks(self, sinks: Any) -> Iterator[Sink]:
        for sink in sinks:
            self._around(sink, "write", "sinks")
            yield sink

    def _around(self, owner: object, method: str, stage: str) -> None:
        domain, call = self._domain, getattr(owner, method)
        attributes = domain.get_event_attributes(message=stage)

        def ranged(*args: Any, **kwargs: Any) -> Any:
            domain.push_range(attributes)
            try:
                return call(*args, **kwargs)
            finally:
                domain.pop_range()

        setattr(owner, method, ranged)

    def _infer(self, perception: Perception) -> None:
        """From submit to wait: with two slots such ranges overlap, so they are of the process."""
        domain, running = self._domain, dict[int, int]()
        submit: Callable[[int], None] = perception.submit
        wait: Callable[[int], None] = perception.wait
        attributes = domain.get_event_attributes(message="infer")

        def submitted(slot: int) -> None:
            running[slot] = domain.start_range(attributes)
            submit(slot)

        def waited(slot: int) -> None:
            try:
                wait(slot)
            finally:
                domain.end_range(running.pop(slot))

        setattr(perception, "submit", submitted)  # noqa: B010  mypy allows no method in its place
        setattr(perception, "wait", waited)  # noqa: B010
