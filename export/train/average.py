"""``edge-export average``: trainings that began from the same weights become one network.

The mean of their weights costs nothing at run time and can score better than each of them where
they still lie in one valley of the loss ("model soups", arXiv 2203.05482); weights that were begun
apart do not, and their mean is worth nothing. It says whether files fit each other; whether the
mean is better, a scoring on val has to say.
"""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from os.path import exists, isdir, isfile, samefile
from pathlib import Path
from typing import Any

import torch

from engines.errors import ExportError, SettingsError
from engines.model_file import sha256_of
from export.outputs import check_output
from export.train.checkpoint import load_checkpoint, network_from, network_state, save_checkpoint


def average_checkpoints(checkpoints: Sequence[Path], out: Path) -> list[str]:
    """Write ``out`` with the mean of the averaged weights; it can be exported and started from.

    Class weights are averaged as their logarithms, as which they act on the logits. Returns doubts:
    which of the trainings, as far as the files tell, did not begin with the weights of the first.

    Raises:
        SettingsError: fewer than two, the same one twice, or ``out`` is no name for the mean.
        ExportError: one cannot be read or is of another network, or ``out`` cannot be written.
    """
    if len(checkpoints) < 2:
        raise SettingsError(f"got {len(checkpoints)} checkpoint, wanted two or more to average.")
    _check_target(checkpoints, out)
    states = [load_checkpoint(path) for path in checkpoints]
    hashes = _hashes(checkpoints)
    nets = [network_from(s, origin=p) for s, p in zip(states, checkpoints, strict=True)]
    whole = network_state(nets[0])
    for net, path in zip(nets[1:], checkpoints[1:], strict=True):
        for key, theirs in network_state(net).items():
            if theirs != whole[key]:
                raise ExportError(
                    f"{path}: its network has {key} {theirs}, wanted {whole[key]} as in "
                    f"{checkpoints[0]}. Average only trainings of one network."
                )
    weights = [net.state_dict() for net in nets]
    mean = {
        name: torch.stack([w[name] for w in weights]).mean(0)
        if value.dtype.is_floating_point
        else value  # how many batches a norm has seen: used by nothing
        for name, value in weights[0].items()
    }
    save_checkpoint(
        Path(os.path.realpath(out)),  # a link stays one
        {
            **whole,
            "ema": mean,
            "averaged_sha256": hashes,
            **_class_weights(states, checkpoints, classes=len(nets[0].mask_classes)),
        },
    )
    return _begun_apart(states, checkpoints, hashes)


def _check_target(checkpoints: Sequence[Path], out: Path) -> None:
    """Refuse before the work a name that would replace what it must not."""
    if out.suffix != ".pt":
        raise SettingsError(f"-o {out}: wanted a name that ends in .pt.")
    # those of os.path never raise, as Path's do for a name that is too long
    if exists(out) and not (isfile(out) or isdir(out)):
        raise SettingsError(f"-o {out}: a device or a pipe, wanted the name of a file.")
    check_output(out, "-o FILE")
    if exists(out) and any(exists(path) and samefile(path, out) for path in checkpoints):
        raise SettingsError(f"-o {out}: would replace {os.path.realpath(out)}, which is averaged.")


def _hashes(checkpoints: Sequence[Path]) -> list[str]:
    hashes: dict[str, Path] = {}
    for path in checkpoints:
        twin = hashes.setdefault(sha256_of(path), path)
        if twin is not path:
            raise SettingsError(f"{path}: the same weights as {twin}. Name each of them once.")
    return list(hashes)


def _begun_apart(
    states: Sequence[dict[str, Any]], checkpoints: Sequence[Path], hashes: Sequence[str]
) -> list[str]:
    """The trainings that did not begin with the weights of the first, nor with the first itself."""
    origins: list[str | None] = []
    for state in states:
        recipe = state.get("recipe")
        init = recipe.get("init_sha256") if isinstance(recipe, dict) else None
        origins.append(init if isinstance(init, str) else None)  # a mean of means does not tell
    first = origins[0]
    related = {first, hashes[0]} - {"", None}
    return [
        f"{path} began with {origin[:12] or 'no weights'}, {checkpoints[0]} with "
        f"{first[:12] or 'no weights'}: the mean of networks that were begun apart is worth "
        "nothing. Score it on val beside each of them."
        for path, origin, own in zip(checkpoints[1:], origins[1:], hashes[1:], strict=True)
        if first is not None and origin is not None and origin not in related and own != first
    ]


def _class_weights(
    states: Sequence[dict[str, Any]], checkpoints: Sequence[Path], *, classes: int
) -> dict[str, list[float]]:
    """The geometric mean, or nothing where none of them has any."""
    if all(state.get("mask_weights") is None for state in states):
        return {}
    given: list[list[float]] = []
    for state, path in zip(states, checkpoints, strict=True):
        weights = state.get("mask_weights")
        if not isinstance(weights, list) or not all(isinstance(w, float) for w in weights):
            weights = []
        if len(weights) != classes or not all(0 < w < math.inf for w in weights):
            raise ExportError(
                f"{path}: its class weights are not {classes} numbers above 0, as others have "
                "them. Train again with this version of the project."
            )
        given.append(weights)
    columns = zip(*given, strict=True)
    return {"mask_weights": [math.exp(math.fsum(map(math.log, c)) / len(c)) for c in columns]}
