"""Trainings that began from the same weights become one network.

The mean of their weights costs nothing at run time and can score better than each of them where
they still lie in one valley of the loss ("model soups", arXiv 2203.05482); weights that were begun
apart do not, and their mean is worth nothing. It says whether files fit each other; whether the
mean is better is for a scoring on val to say.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from os.path import exists, isdir, isfile
from pathlib import Path
from typing import Any

import torch

from engines.errors import ExportError, SettingsError
from engines.model_file import sha256_of
from export.outputs import check_output
from export.train.checkpoint import (
    class_weights,
    difference,
    load_checkpoint,
    network_from,
    network_state,
    save_checkpoint,
    terms_of,
)


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
    hashes: dict[str, Path] = {}
    for path in checkpoints:
        twin = hashes.setdefault(sha256_of(path), path)
        if twin is not path:
            raise SettingsError(f"{path}: the same weights as {twin}. Name each of them once.")
    nets = [network_from(s, origin=p) for s, p in zip(states, checkpoints, strict=True)]
    for net, path in zip(nets, checkpoints, strict=True):
        differing = difference(net, nets[0])
        if differing:
            raise ExportError(
                f"{path}: {differing} as in {checkpoints[0]}. Average only trainings of one "
                "network."
            )
    weights = [net.state_dict() for net in nets]
    mean: dict[str, Any] = {
        **network_state(nets[0]),
        "ema": {
            name: torch.stack([w[name] for w in weights]).mean(0)
            if value.dtype.is_floating_point
            else value  # how many batches a norm has seen: used by nothing
            for name, value in weights[0].items()
        },
        "averaged_sha256": list(hashes),
        "terms": sorted(frozenset().union(*map(terms_of, states))),
    }
    if any(state.get("mask_weights") is not None for state in states):
        given = [class_weights(s, origin=p) for s, p in zip(states, checkpoints, strict=True)]
        columns = torch.tensor(given, dtype=torch.float64).log().mean(0).exp()
        mean["mask_weights"] = columns.tolist()
    save_checkpoint(Path(os.path.realpath(out)), mean)  # a link stays one
    return _begun_apart(states, checkpoints, list(hashes))


def _check_target(checkpoints: Sequence[Path], out: Path) -> None:
    """Refuse before the work a name that would replace what it must not."""
    if out.suffix != ".pt":
        raise SettingsError(f"-o {out}: wanted a name that ends in .pt.")
    # those of os.path never raise, as Path's do for a name that is too long
    if exists(out) and not (isfile(out) or isdir(out)):
        raise SettingsError(f"-o {out}: a device or a pipe, wanted the name of a file.")
    check_output(out, "-o FILE", inputs=checkpoints)


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
