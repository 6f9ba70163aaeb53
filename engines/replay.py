"""The replay engine: returns recorded outputs in turn, with NumPy alone; it computes nothing.

A recording is one ``NAME.replay.npz``: the spec's JSON, the precision it was recorded at, and one
array an output with the runs along its first axis. It is loaded without pickle.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Iterable
from pathlib import Path
from zlib import error as ZlibError

import numpy as np

from engines.base import Array, Engine, EngineBase, EngineOptions
from engines.errors import EngineError, ModelError
from engines.model_file import ModelFile, write_atomically
from engines.spec import ModelSpec

_BROKEN = (
    OSError, EOFError, KeyError, ValueError, TypeError, AttributeError, NotImplementedError,
    zipfile.BadZipFile, ZlibError,
)  # fmt: skip
"""What NumPy and zipfile raise over broken archives; a lone .npy array is no context manager."""
SUFFIX = ".replay.npz"


def open_replay(model: ModelFile, options: EngineOptions) -> ReplayEngine:
    """Open a recording; for ``NAME.onnx`` the file ``NAME.replay.npz`` beside it.

    Raises:
        EngineError: there is no recording.
        ModelError: the file is not a recording, or its arrays contradict its spec.
    """
    path = model.path if model.path.suffix == ".npz" else model.path.with_suffix(SUFFIX)
    if not os.path.isfile(path):
        raise EngineError(
            f"{path}: no recording here to replay. Make one with engines.replay.record(), or "
            "choose another engine with --engine."
        )
    try:
        # Opened here: NumPy leaves a file open that turns out to be no archive.
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            spec_json, precision = str(archive["spec"]), str(archive["precision"])
            spec = ModelSpec.from_json(spec_json, origin=str(path))
            runs = [archive[f"output_{i}"] for i in range(len(spec.outputs))]
    except _BROKEN as exc:
        raise ModelError(
            f"{path}: not a whole recording of outputs ({exc}). Make it again with "
            "engines.replay.record()."
        ) from exc
    for tensor, array in zip(spec.outputs, runs, strict=True):
        wanted = (len(runs[0]) if runs[0].ndim else 0, *tensor.shape)
        if array.shape != wanted or array.dtype.name != tensor.dtype or not wanted[0]:
            raise ModelError(
                f"{path}: recorded output {tensor.name!r} is "
                f"{array.dtype.name}{list(array.shape)}, wanted {tensor.dtype} "
                f"{[*tensor.shape]} for each of 1 run or more."
            )
    return ReplayEngine(spec, runs, precision=precision, slots=options.slots)


def record(engine: Engine, images: Iterable[Array], path: Path) -> int:
    """Run ``engine`` on images, each (1, H, W, 3) uint8; write the outputs, return how many.

    Raises:
        EngineError: a run failed, or there were no images.
        ModelError: the file cannot be written.
    """
    spec = engine.spec
    runs: list[list[Array]] = [[] for _ in spec.outputs]
    for image in images:
        engine.inputs(0)[spec.input.name][...] = image
        engine.submit(0)
        outputs = engine.wait(0)
        for kept, tensor in zip(runs, spec.outputs, strict=True):
            kept.append(outputs[tensor.name].copy())
    if not runs[0]:
        raise EngineError(f"{path}: nothing to record, wanted at least one image.")
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        spec=np.array(spec.to_json()),
        precision=np.array(engine.precision),
        **{f"output_{i}": np.stack(kept) for i, kept in enumerate(runs)},  # type: ignore[arg-type]
    )
    write_atomically(buffer.getvalue(), path)
    return len(runs[0])


class ReplayEngine(EngineBase):
    """Recorded outputs, in order of submission, from the start again after the last.

    ``precision`` is that of the engine that was recorded; inputs are never looked at.
    """

    def __init__(self, spec: ModelSpec, runs: list[Array], *, precision: str, slots: int) -> None:
        super().__init__("replay", spec, precision=precision, slots=slots)
        self._runs = runs
        self._submitted = 0

    def _start(self, slot: int) -> None:
        run = self._submitted % len(self._runs[0])
        self._submitted += 1
        self._outputs[slot] = {
            t.name: a[run] for t, a in zip(self.spec.outputs, self._runs, strict=True)
        }

    def _release(self) -> None:
        self._runs = []
