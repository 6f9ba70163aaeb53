"""Checkpoints of a training: written atomically, read without executing pickled code.

A checkpoint holds tensors and plain values only, so ``torch.load(weights_only=True)`` reads it.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict
from os.path import exists, isdir, isfile
from pathlib import Path
from typing import Any

import torch

from engines.errors import ExportError
from engines.files import replacing
from export.train.model import Shape, StreetNet


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside ``path``, then move into place: a full disk or a kill leaves the old one whole.

    Raises:
        ExportError: it could not be written; what lay at ``path`` is untouched.
    """
    try:
        with replacing(path) as part, part.open("wb") as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as exc:
        raise ExportError(
            f"{path}: the checkpoint could not be written: {exc}. What lay there is kept; free "
            "some space and start the same command again."
        ) from exc


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what ``save_checkpoint`` wrote.

    Raises:
        ExportError: missing, truncated, or holding anything but tensors and plain values.
    """
    try:
        if exists(path) and not (isfile(path) or isdir(path)):  # a pipe would be waited for
            raise ExportError(f"{path}: not a regular file, wanted a checkpoint. Check the path.")
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError as exc:
        raise ExportError(
            f"{path}: no such checkpoint. Make one with 'edge-export train'."
        ) from exc
    except OSError as exc:
        raise ExportError(
            f"{path}: cannot be read ({exc.strerror or exc}). Check the path and its permissions."
        ) from exc
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about how hostile files were pickled
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as exc:  # torch raises a dozen kinds for a damaged file, OSError among them
        raise ExportError(
            f"{path}: not a checkpoint that can be read safely ({type(exc).__name__}). "
            "Wanted a .pt file written by 'edge-export train'."
        ) from exc
    if not isinstance(state, dict) or "ema" not in state or "shape" not in state:
        raise ExportError(f"{path}: not a checkpoint of 'edge-export train': no weights inside.")
    return state


def network_state(net: StreetNet) -> dict[str, Any]:
    """What it takes to build the network again, beside its weights."""
    return {
        "shape": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(net.shape).items()},
        "anchors": [[list(a) for a in level] for level in net.anchors],
        "box_classes": list(net.box_classes),
        "mask_classes": list(net.mask_classes),
    }


def network_from(state: dict[str, Any], *, origin: Path) -> StreetNet:
    """Build the network of a checkpoint with its averaged weights, in evaluation mode.

    Raises:
        ExportError: the weights do not fit the network described, or are not finite.
    """
    try:
        shape: dict[str, Any] = {
            k: tuple(v) if isinstance(v, list) else v for k, v in state["shape"].items()
        }
        net = StreetNet(
            Shape(**shape),
            box_classes=tuple(state["box_classes"]),
            mask_classes=tuple(state["mask_classes"]),
            anchors=tuple(tuple((a[0], a[1]) for a in level) for level in state["anchors"]),
        )
        net.load_state_dict(state["ema"])
    except (AttributeError, LookupError, TypeError, ValueError, RuntimeError) as exc:
        reason = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise ExportError(
            f"{origin}: its weights do not fit its network: {reason}. "
            "Train again with this version of the project."
        ) from exc
    for name, value in net.state_dict().items():
        if not torch.isfinite(value).all():
            raise ExportError(
                f"{origin}: the weights {name} are not finite, so the network computes nothing. "
                "Take an older checkpoint or train again with a smaller --lr."
            )
    return net.eval()


def difference(net: StreetNet, wanted: StreetNet) -> str | None:
    """In words, how a network differs from the one that is wanted; None where it does not."""
    given = network_state(net)
    for key, value in network_state(wanted).items():
        if given[key] != value:
            return f"its network has {key} {given[key]}, wanted {value}"
    return None


def class_weights(state: dict[str, Any], *, origin: Path) -> list[float]:
    """What the classes of the mask were weighed by in training.

    Raises:
        ExportError: they are not numbers above 0, one a class.
    """
    weights, count = state.get("mask_weights"), len(state["mask_classes"])
    if not isinstance(weights, list) or not all(isinstance(w, float) for w in weights):
        weights = []
    if len(weights) != count or not all(0 < w < math.inf for w in weights):
        raise ExportError(
            f"{origin}: its class weights are not {count} numbers above 0. "
            "Train again with this version of the project."
        )
    return weights
