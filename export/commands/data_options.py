"""The options of 'evaluate' and 'verify' that say on which labelled data models are scored."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import click
from click.core import ParameterSource

from edge.proven.adopt_cache import runnable
from edge.sources import source_files
from edge.sources.picture_kinds import SUFFIXES, is_picture
from engines.errors import SettingsError
from engines.overwriting import model_files
from export.commands.options import PATH, Finite
from export.compare.film import film_data
from export.data import cityscapes
from export.data.camvid import Split, default_root
from export.data.class_map import parse_renames
from export.data.coco import coco_data
from export.data.folder import LAYOUT, folder_data
from export.data.labelled import LabelledData
from export.data.streets import camvid_data, cityscapes_data, synthetic_data
from export.outputs import check_reports
from export.score.log import ScoringLog

Data = Literal["camvid", "cityscapes", "coco-json", "film", "folder", "synthetic"]
"""What ``--data`` takes."""
LEAST_PX = 24.0
"""A car 60 m ahead of a camera of 60° and 960 px."""


KEPT = ("data", "root", "images", "split", "limit", "judge", "least_px")
"""Options that are taken as they are."""


@dataclass(frozen=True, slots=True)
class DataOptions:
    """The options as given; ``said`` has the names of all that the command line names."""

    data: Data | None
    root: Path | None = None
    images: Path | None = None
    split: Split = "val"
    limit: int | None = None
    renames: Mapping[str, str] = field(default_factory=dict)
    """Name of a model's class → name of the data's."""
    log: ScoringLog = field(default_factory=ScoringLog)
    judge: Path | None = None
    least_px: float = LEAST_PX
    said: frozenset[str] = frozenset()

    def needs_data(self) -> str | None:
        """The first option said that means nothing without ``--data``, None where there is none."""
        for name in (*KEPT[1:], "renames", "test_log"):
            if name in self.said:
                return {"renames": "--map"}.get(name, f"--{name.replace('_', '-')}")
        return None

    def check(self) -> None:
        """Refuse options that the kind of data has no use for.

        Raises:
            SettingsError: names the option.
        """
        if self.data not in ("camvid", "cityscapes") and "split" in self.said:
            raise SettingsError(f"--split {self.split}: {self.data} has no splits. Leave it out.")
        if self.data != "coco-json" and self.images is not None:
            raise SettingsError("--images goes with --data coco-json. Leave it out.")
        if self.data != "film" and self.said & {"judge", "least_px"}:
            raise SettingsError("--judge and --least-px go with --data film. Leave them out.")
        if self.data == "film" and (self.root is None or self.judge is None):
            raise SettingsError(
                "--data film: wanted --root with a film or a folder of pictures, and --judge "
                "with a model file whose boxes are taken for the truth."
            )
        if self.data == "synthetic" and self.root is not None:
            raise SettingsError("--root: the synthetic street has no files. Leave it out.")

    def check_outputs(
        self, outputs: Mapping[str, Path | None], *, models: Sequence[Path],
        frames: str | None = None,
    ) -> None:  # fmt: skip
        """Refuse, before the work, an output that cannot be written or would replace an input.

        ``outputs`` are paths by option, ``frames`` a source that is read.

        Raises:
            SettingsError: names the option.
            ExportError: says why it cannot be written.
        """
        wanted = {option: path for option, path in outputs.items() if path is not None}
        read = [
            *model_files([*models, *filter(None, [self.judge])], wanted.values()),
            *self._read(),
            *source_files(frames or ""),
        ]
        if any(path.is_file() for path in wanted.values()):
            read += self._pictures()
        for option, path in wanted.items():
            if _is_of_data(path, self._place()):
                raise SettingsError(f"{option} {path}: is a file of the data. Name another file.")
        check_reports(wanted, read)

    def _place(self) -> Path | None:
        """Where the data lie: ``--root``, or the usual folder of those that have one."""
        usual = {"camvid": default_root, "cityscapes": cityscapes.default_root}
        if self.root is None and self.data in usual:
            return usual[self.data]()
        return self.root

    def _read(self) -> Iterator[Path]:
        """The files that are read beside models and pictures; the log of scorings is one, too."""
        with contextlib.suppress(FileNotFoundError):
            yield self.log.path()
        if self.root is not None:
            yield self.root
            if self.data == "folder":
                yield from (self.root / "classes.txt", *self.root.glob("boxes*"))

    def _pictures(self) -> Iterator[Path]:
        """The pictures of the data's folders, label maps among them."""
        folders = {folder for folder in (self.root, self.images) if folder and folder.is_dir()}
        if self.data == "coco-json" and self.root is not None and self.images is None:
            folders = {self.root.parent}
        for folder in folders:
            for place, _, names in os.walk(folder):
                yield from (Path(place, n) for n in names if Path(n).suffix.lower() in SUFFIXES)

    def open(self) -> LabelledData:
        """The data, no more than ``--limit`` of it.

        Raises:
            ExportError: it is missing or broken.
            SettingsError: ``--root`` is wanted.
        """
        root = self._place()
        if self.data == "synthetic":
            opened = synthetic_data()
        elif root is None:
            coco = self.data == "coco-json"
            wanted = "the annotations' file" if coco else f"a folder with {LAYOUT}"
            raise SettingsError(f"--data {self.data}: wanted --root with {wanted}.")
        elif self.data == "camvid":
            opened = camvid_data(root, self.split)
        elif self.data == "cityscapes":  # which has no test split
            split = self.split if "split" in self.said else "val"
            opened = cityscapes_data(root, split)
        elif self.data == "film":
            assert self.judge is not None
            opened = film_data(
                root, self.judge, least_px=self.least_px, adopt=runnable, limit=self.limit
            )
        elif self.data == "coco-json":
            opened = coco_data(root, self.images)
        else:
            opened = folder_data(root)
        return replace(opened, count=min(self.limit or opened.count, opened.count))


def data_options(
    *, default: Data | None, split: Split, use: str
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Give a command these options; they reach it as one ``DataOptions`` named ``chosen``.

    ``default`` and ``split`` are defaults; ``use`` is the help of ``--data``.
    """
    options = (
        click.option(
            "--data",
            type=click.Choice(get_args(Data)),
            default=default,
            show_default=default is not None,
            help=use,
        ),
        click.option(
            "--root",
            type=PATH,
            help="CamVid's or Cityscapes' folder; the annotations' file of coco-json; the film, or "
            f"a folder of pictures; for folder: {LAYOUT}.",
        ),
        click.option(
            "--images",
            type=PATH,
            help="Folder of coco-json's images; the annotations' own where it is left out.",
        ),
        click.option(
            "--split",
            type=click.Choice(get_args(Split)),
            default=split,
            show_default=True,
            help="CamVid's split; Cityscapes has train and val, and it is val where none is given.",
        ),
        click.option(
            "--judge",
            type=PATH,
            help="For film: a larger net of anybody, whose boxes are the truth: of score 0.4 and "
            "more those that are to be found, of 0.1 and more those that are no false alarm.",
        ),
        click.option(
            "--least-px",
            type=Finite(0),
            default=LEAST_PX,
            show_default=True,
            help="For film: the longer side from which a box counts, px of the frame.",
        ),
        click.option(
            "--limit", type=click.IntRange(min=1), help="Score the first N images or frames."
        ),
        click.option(
            "--map",
            "renames",
            multiple=True,
            metavar="MODEL_NAME=DATA_NAME",
            help="A class of the model that has another name in the data; once for each.",
        ),
        click.option(
            "--test-log",
            type=PATH,
            help="Where each scoring of CamVid's test split is logged; in the user's state folder, "
            "~/.local/state/outrider, where it is left out.",
        ),
    )

    def add(command: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(command)
        def with_options(**given: Any) -> Any:
            context = click.get_current_context()
            said = frozenset(
                name
                for name in given
                if context.get_parameter_source(name) is ParameterSource.COMMANDLINE
            )
            chosen = DataOptions(
                **{name: given.pop(name) for name in KEPT},
                renames=parse_renames(given.pop("renames")),
                log=ScoringLog(given.pop("test_log")),
                said=said,
            )
            return command(**given, chosen=chosen)

        for option in reversed(options):
            with_options = option(with_options)
        return with_options

    return add


def _is_of_data(path: Path, root: Path | None) -> bool:
    """Whether a report of that name would lie among the data, or replace a picture."""
    if is_picture(path):
        return True
    place, folder = path.resolve(), root.resolve() if root is not None else None
    if folder is None or folder not in place.parents:
        return False
    first, *more = place.relative_to(folder).parts
    return (
        first in ("images", "labels")
        if more
        else first.startswith(("classes.txt", "boxes", "persons"))
    )
