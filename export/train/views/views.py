"""The views of a training: each image of its set on its own, then all of a batch together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from engines.errors import ExportError
from export.data.class_set import Classes
from export.train.batch import Batch, joined
from export.train.dataset import TrainingSet
from export.train.recipe import Recipe
from export.train.views.augment import Augment
from export.train.views.cameras import Cameras
from export.train.views.mosaic import QUARTERS, Mosaic
from export.train.views.paste import Paste


class Views:
    """Makes batches of what the sets hold, as the recipe says.

    Raises:
        ExportError: a batch does not fill a mosaic, or the sets of one label different classes.
    """

    def __init__(
        self,
        recipe: Recipe,
        sets: Sequence[TrainingSet],
        classes: Classes,
        *,
        device: torch.device,
    ) -> None:
        if recipe.mosaic and recipe.batch < QUARTERS:
            raise ExportError(
                f"--mosaic needs {QUARTERS} views a batch, got --batch {recipe.batch}. Ask for a "
                "larger --batch, or leave --mosaic out."
            )
        if recipe.mosaic and any(data.known is not None for data in sets):
            raise ExportError(
                "--mosaic: the data sets label different classes, which one view cannot keep "
                "apart. Leave it out, or choose classes that all have."
            )
        self.sets, self.device = sets, device
        view = Augment(
            size_hw=(recipe.height, recipe.width), gamma=recipe.gamma, lift=recipe.cameras
        )
        self.apart: list[list[Paste | Augment]] = [
            [replace(view, base_scale=data.scale_xy)] for data in sets
        ]
        if recipe.paste:
            for views, data in zip(self.apart, sets, strict=True):
                views.insert(0, Paste(data, classes, chance=recipe.paste))
        self.together: list[Mosaic | Cameras] = []
        if recipe.mosaic:
            self.together.append(Mosaic(recipe.mosaic))
        if recipe.cameras:
            self.together.append(Cameras(recipe.cameras, classes))

    def __call__(self, chosen: Tensor, generator: torch.Generator) -> Batch:
        """Views of the images ``chosen`` (B,), in that order, whatever set each is of.

        ``chosen`` counts over all sets and lies on the host.
        """
        parts, places, first = [], [], 0
        for data, views in zip(self.sets, self.apart, strict=True):
            mine = ((chosen >= first) & (chosen < first + len(data))).nonzero()[:, 0]
            if len(mine):
                batch = data.batch((chosen[mine] - first).to(self.device))
                for view in views:
                    batch = view(batch, generator=generator)
                parts.append(data.known_in(batch))
                places.append(mine)
            first += len(data)
        batch = joined(parts, torch.cat(places).argsort().to(self.device))
        for change in self.together:
            batch = change(batch, generator=generator)
        return batch
