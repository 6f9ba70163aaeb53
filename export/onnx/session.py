"""Opens and runs ONNX Runtime sessions for proofs; what it refuses is an ``ExportError``."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from engines import onnxruntime
from engines.base import Array
from engines.errors import ExportError, OutriderError
from engines.runtimes import first_line

if TYPE_CHECKING:
    import onnxruntime as ort


def open_session(
    model: Path | bytes, *, origin: str, optimise: bool = True
) -> ort.InferenceSession:
    """A session on the CPU at f32; without ``optimise`` no node is fused or left out.

    Raises:
        EngineError: ONNX Runtime is not installed.
        ExportError: it refuses the graph.
    """
    try:
        return onnxruntime.open_session(model, optimise=optimise)
    except OutriderError:
        raise
    except Exception as exc:  # its exception types have no common root but Exception
        raise ExportError(f"{origin}: ONNX Runtime cannot open it: {first_line(exc)}") from exc


def run_session(
    session: ort.InferenceSession, feed: Mapping[str, Array], *, origin: str
) -> dict[str, Array]:
    """One run: {output name: array}.

    Raises:
        ExportError: the run failed, or an output is not a tensor.
    """
    try:
        arrays = session.run(None, feed)
    except Exception as exc:  # as above
        shapes = ", ".join(f"{n} {list(a.shape)}" for n, a in feed.items())
        raise ExportError(
            f"{origin}: ONNX Runtime cannot run it with {shapes}: {first_line(exc)}. "
            "If the graph fits another size only, give it with --size HxW."
        ) from exc
    names = [o.name for o in session.get_outputs()]
    made = dict(zip(names, arrays, strict=True))
    for name, array in made.items():
        if not isinstance(array, np.ndarray):
            raise ExportError(f"{origin}: output {name!r} is a {type(array).__name__}, no tensor.")
    return made
