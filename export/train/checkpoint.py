"""Checkpoints of a training: written atomically, read without executing pickled code.

A checkpoint holds tensors and plain values only, so ``torch.load(weights_only=True)`` reads it.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterator
from dataclasses import asdict
from os.path import exists, isdir, isfile
from pathlib import Path
from typing import Any

import torch

from engines.errors import ExportError, SettingsError
from engines.files import replacing
from export.train.net.nets import Network
from export.train.net.street import SHAPES, Shape, StreetNet
from export.zoo import BOX_NETS, build, build_boxes
from export.zoo.trunks import lite0

WIDEST = 4096
"""Channels, or blocks, of any network of ours at most."""
MASK_STRIDES = (2, 4)


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Write beside ``path``, then move into place: a full disk or a kill leaves the old one whole.

    Raises:
        ExportError: it could not be written; what lay at ``path`` is untouched.
    """
    try:
        with replacing(path) as part, part.open("wb") as file:
            torch.save(state, file)
    except (OSError, RuntimeError) as exc:
        advice = "What lay there is kept; free some space and start the same command again."
        if not isdir(path.parent):
            advice = "Its folder is gone; start the training again."
        raise ExportError(f"{path}: the checkpoint could not be written: {exc}. {advice}") from exc


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Read what ``save_checkpoint`` wrote.

    Raises:
        ExportError: see ``load_tensors``, or there are no weights of ours inside.
    """
    make = "edge-export train"
    state = load_tensors(
        path, what="checkpoint", wanted=f"a .pt file written by '{make}'", make=f"'{make}'"
    )
    if "ema" not in state or "shape" not in state:
        raise ExportError(f"{path}: not a checkpoint of '{make}': no weights inside.")
    return state


def load_tensors(path: Path, *, what: str, wanted: str, make: str) -> dict[str, Any]:
    """A dictionary of tensors and plain values, read without executing pickled code.

    The messages call it ``what``, say what was ``wanted`` and where a missing one comes from:
    ``make``.

    Raises:
        ExportError: missing, truncated, or holding anything but tensors and plain values.
    """
    try:
        if exists(path) and not (isfile(path) or isdir(path)):  # a pipe would be waited for
            raise ExportError(f"{path}: not a regular file, wanted a {what}. Check the path.")
        with path.open("rb") as file:
            file.read(1)
    except FileNotFoundError as exc:
        raise ExportError(f"{path}: no such {what}. Make one with {make}.") from exc
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
            f"{path}: not a {what} that can be read safely ({type(exc).__name__}). Wanted {wanted}."
        ) from exc
    if not isinstance(state, dict):
        raise ExportError(f"{path}: not a {what}: no weights inside. Wanted {wanted}.")
    return state


def network_state(net: Network) -> dict[str, Any]:
    """What it takes to build the network again, beside its weights."""
    return {
        "shape": {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(net.shape).items()},
        "anchors": [[list(a) for a in level] for level in net.anchors],
        "box_classes": list(net.box_classes),
        "mask_classes": list(net.mask_classes),
    }


def network_from(state: dict[str, Any], *, origin: Path) -> Network:
    """Build the network of a checkpoint with its averaged weights, in evaluation mode.

    Raises:
        ExportError: the weights do not fit the network described, or are not finite.
    """
    try:
        with torch.device("meta"):  # no memory yet for what the file only says
            empty = _described(state).state_dict()
        for name, value in empty.items():
            if state["ema"][name].shape != value.shape:
                given = list(state["ema"][name].shape)
                raise ValueError(f"{name} is {given}, wanted {list(value.shape)}")
        net = _described(state)
        net.load_state_dict(state["ema"])
    except (
        AttributeError, LookupError, SettingsError, TypeError, ValueError, RuntimeError,
    ) as exc:  # fmt: skip
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


def _described(state: dict[str, Any]) -> Network:
    """The network that a checkpoint describes, with random weights."""
    shape: dict[str, Any] = {
        k: tuple(v) if isinstance(v, list) else v for k, v in state["shape"].items()
    }
    box_classes, mask_classes = tuple(state["box_classes"]), tuple(state["mask_classes"])
    for problem in _wrong_classes(box_classes, mask_classes):
        raise ValueError(problem)
    if shape.get("net") in BOX_NETS:
        return build_boxes(shape["net"], shape["backbone"], box_classes)
    if "net" in shape:  # one of the zoo
        return build(shape["net"], shape["backbone"], mask_classes)
    anchors = tuple(tuple((a[0], a[1]) for a in level) for level in state["anchors"])
    for problem in _problems(shape, anchors):
        raise ValueError(problem)
    return StreetNet(
        Shape(**shape), box_classes=box_classes, mask_classes=mask_classes, anchors=anchors
    )


def _problems(
    shape: dict[str, Any], anchors: tuple[tuple[tuple[Any, Any], ...], ...]
) -> Iterator[str]:
    """What no street network has: a file made of it would be refused by the app."""
    if shape.get("backbone", "plain") not in SHAPES:
        yield f"backbone {shape['backbone']!a:.60}, wanted {' or '.join(SHAPES)}"
    elif shape.get("backbone") == "lite0" and shape.get("widths") != lite0.WIDTHS:
        yield f"widths {shape.get('widths')!a:.60}, wanted {lite0.WIDTHS} for lite0"
    bottom_up = shape.get("bottom_up", 0)
    if type(bottom_up) is not int or bottom_up not in (0, 1):
        yield f"bottom_up {bottom_up!a:.60}, wanted 0 or 1"
    for key, value in shape.items():
        if key in ("backbone", "bottom_up"):
            continue
        for number in value if isinstance(value, tuple) else (value,):
            if type(number) is not int or not 1 <= number <= WIDEST:
                yield f"{key} {value!a:.60}, wanted whole numbers of 1 to {WIDEST}"
    if shape.get("mask_stride", 4) not in MASK_STRIDES:
        yield f"mask_stride {shape['mask_stride']}, wanted {' or '.join(map(str, MASK_STRIDES))}"
    for side in (side for level in anchors for wh in level for side in wh):
        if not isinstance(side, int | float) or not 0 < side < math.inf:
            yield f"anchors with {side!a:.60}, wanted numbers above 0"


def _wrong_classes(box_classes: tuple[Any, ...], mask_classes: tuple[Any, ...]) -> Iterator[str]:
    for what, names in (("box_classes", box_classes), ("mask_classes", mask_classes)):
        if not all(isinstance(name, str) and name.isprintable() for name in names):
            yield f"{what} {names!a:.60}, wanted names that can be printed"
        if not len(set(names)) == len(names) <= 256:
            yield f"{what}: {len(names)} names, wanted 256 at most, none twice"
    if not box_classes and not mask_classes:
        yield "no classes of boxes or mask"


def difference(net: Network, wanted: Network) -> str | None:
    """In words, how a network differs from the one that is wanted; None where it does not."""
    given = network_state(net)
    for key, value in network_state(wanted).items():
        if given[key] != value:
            return f"its network has {key} {given[key]}, wanted {value}"
    return None


def terms_of(state: dict[str, Any]) -> frozenset[str]:
    """The data sets with terms of their own from which its weights learnt, they or those before."""
    terms = state.get("terms")
    if isinstance(terms, list) and all(isinstance(name, str) for name in terms):
        return frozenset(terms)
    # older ones say only whether there are such sets: there was one
    return frozenset() if state.get("own_data") is True else frozenset({"camvid"})


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
