"""Architectures that TensorRT for RTX builds for; which there are, the installed release says."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from engines.errors import SettingsError
from engines.tensorrt.library import Library

if TYPE_CHECKING:
    import tensorrt_rtx_bindings as rtx


_UNASKED_FROM = 8.0
"""Ampere: see ``usual_targets``."""


def known_targets(trt: Library) -> tuple[str, ...]:
    """Compute capabilities that this release builds for, ascending: '7.5', '8.9', '12.0'."""
    found = (re.fullmatch(r"SM(\d+)(\d)", name) for name in _capabilities(trt).__members__)
    return tuple(
        f"{m[1]}.{m[2]}" for m in sorted(filter(None, found), key=lambda m: int(m[1] + m[2]))
    )


def usual_targets(trt: Library, own: str) -> tuple[str, ...]:
    """Those that are built for unasked: from Ampere on, and ``own``, that of this machine's card.

    What a plan has for Turing weighs 65 MB, all the others together a tenth of that.
    """
    return tuple(t for t in known_targets(trt) if t == own or float(t) >= _UNASKED_FROM)


def parse_targets(text: str, trt: Library) -> tuple[str, ...]:
    """Compute capabilities in '89,120' or '8.9,12.0'.

    Raises:
        SettingsError: one is not known to this release, or is named twice.
    """
    known = known_targets(trt)
    chosen = []
    for word in (part.strip() for part in text.split(",")):
        target = word if "." in word else f"{word[:-1]}.{word[-1:]}"
        if target not in known or target in chosen:
            got = "names twice" if target in chosen else "got"
            some = ", ".join(k.replace(".", "") for k in known)
            raise SettingsError(
                f"--sm {text!r}: {got} {word!r}, wanted some of {some}, which {trt.name} "
                f"{trt.version} builds for."
            )
        chosen.append(target)
    return tuple(chosen)


def set_targets(trt: Library, config: rtx.IBuilderConfig, targets: Sequence[str]) -> None:
    """Tell the builder; nothing where there are none, as with native TensorRT.

    Raises:
        EngineError: it refuses.
    """
    if not targets:
        return
    capability = _capabilities(trt)
    config.num_compute_capabilities = len(targets)
    for i, target in enumerate(targets):
        value = capability.__members__[f"SM{target.replace('.', '')}"]
        trt.checked(
            f"set_compute_capability {target}",
            lambda value=value, i=i: config.set_compute_capability(value, i),  # type: ignore[misc]
        )


def _capabilities(trt: Library) -> type[rtx.ComputeCapability]:
    if not TYPE_CHECKING:
        rtx = trt.module
    return rtx.ComputeCapability  # type: ignore[no-any-return]
