"""Finds the int8 files that stand beside a model and may run instead of it; it makes none.

``NAME.int8.onnx`` is for every engine, ``NAME.int8-cpu.onnx`` has uint8 activations. Of other names
none is looked at.
"""

from __future__ import annotations

import logging
from pathlib import Path

from engines.errors import ModelError
from engines.model_file import ModelFile, any_sha256

_log = logging.getLogger(__name__)

KINDS = ("int8", "int8-cpu")
"""What stands between a model's name and ``.onnx``."""


def beside(model: Path) -> list[Path]:
    """The files beside ``model`` that have such a name, whatever is in them."""
    names = (model.with_name(f"{model.stem}.{kind}.onnx") for kind in KINDS)
    return [path for path in names if path.is_file()]


def gated_beside(model: ModelFile, named: Path | None = None) -> list[ModelFile]:
    """The int8 files beside a model that were made of it and held the gate; others are told.

    Args:
        model: the f32 file that runs.
        named: the file that the user named, where ``model`` is what that was adopted into: its
            int8 files stand beside it, and were made of either.

    Raises:
        ModelError: ``model`` or ``named`` is refused.
    """
    named = named or model.path
    gated: list[ModelFile] = []
    for path in beside(named):
        file = ModelFile(path)
        try:
            wrong = _wrong(file, model, named)
        except ModelError as exc:
            _log.warning("%s It is left out.", exc)
            continue
        if wrong:
            command = f"edge-export int8 {named}"
            _log.warning("%s: %s; it is left out. Make it anew: %s", path, wrong, command)
        else:
            gated.append(file)
    return gated


def _wrong(file: ModelFile, model: ModelFile, named: Path) -> str:
    """Why it may not run instead of ``model``, empty where it may."""
    spec, origin = file.required_spec(), model.required_spec()
    if spec.source_sha256 not in (model.sha256, any_sha256(named)):
        return f"was not made of {named} as it is now"
    if spec.precision != "int8" or not spec.gate:
        return "does not say that it held the gate"
    if (spec.input, spec.outputs) != (origin.input, origin.outputs):
        return f"has other inputs or outputs than {named}"
    if (spec.detection, spec.masks) != (origin.detection, origin.masks):
        return f"has other classes or settings than {named}"
    return ""
