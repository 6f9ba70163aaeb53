"""``edge-export train``: its options, what recipe they make, and what is refused."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from engines.errors import SettingsError
from export.commands.train import recipe_of, train
from export.data.camvid import BOX_CLASSES, CLASSES
from export.train.checkpoint import load_checkpoint
from export.train.recipe import Recipe
from tests.export.labelled_files import make_folder
from tests.export.street_data import make_camvid


def test_the_warm_up_asked_for_is_the_one_of_the_recipe(tmp_path: Path) -> None:
    root = make_camvid(tmp_path / "camvid")
    arguments = ["--root", str(root), "--out", str(tmp_path), "--epochs", "1", "--batch", "2"]
    arguments += ["--synthetic", "0", "--eval-every", "0", "--device", "cpu"]
    done = CliRunner().invoke(train, [*arguments, "--warmup-epochs", "7"])
    assert done.exit_code == 0, done.exception
    assert load_checkpoint(tmp_path / "last.pt")["recipe"]["warmup_epochs"] == 7
    again = CliRunner().invoke(train, arguments)  # another recipe now: the default of 3
    assert "other warmup_epochs" in str(again.exception)


@pytest.mark.parametrize("splits", ["test", "train,test", ""])
def test_the_test_split_cannot_be_trained_on(splits: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(train, ["--splits", splits, "--out", str(tmp_path)])
    assert isinstance(result.exception, SettingsError)
    assert "test is for scoring only" in str(result.exception)


def options_of(*arguments: str) -> Recipe:
    """The recipe that the command makes of its arguments."""
    context = train.make_context("train", list(arguments))
    others = {"out", "root", "init", "backbone_weights", "teacher", "device", "eval_every"}
    return recipe_of(**{k: v for k, v in context.params.items() if k not in others})


def test_the_options_of_the_command_are_those_of_the_recipe() -> None:
    assert options_of() == Recipe()
    recipe = options_of(
        "--splits", "val,train", "--images", "9", "--size", "96x160", "--lr-head", "0.01",
        "--freeze", "backbone", "--box-classes", "car, person = pedestrian+bicyclist",
        "--mask-classes", "road,other=*", "--lovasz", "0.5", "--aux", "0.4", "--paste", "0.3",
        "--mask-gain", "3", "--mosaic", "0.5", "--gamma", "0.4", "--min-cells", "2",
        "--net", "street", "--backbone", "lite0", "--data", "camvid*3, cityscapes",
        "--lr-backbone", "0.001", "--cameras", "0.2",
    )  # fmt: skip
    assert recipe == Recipe(
        splits=("train", "val"), images=9, height=96, width=160, lr_head=0.01, freeze="backbone",
        box_classes="car,person=pedestrian+bicyclist", mask_classes="road,other=*", lovasz=0.5,
        aux=0.4, paste=0.3, mask_gain=3, mosaic=0.5, gamma=0.4, min_cells=2, cameras=0.2,
        backbone="lite0",
        data=(("camvid", 3), ("cityscapes", 1)), lr_backbone=0.001,
    )  # fmt: skip
    assert options_of("--splits", "none").splits == ()
    assert options_of("--synthetic-share", "0.1").synthetic_share == 0.1


@pytest.mark.parametrize(
    "wrong", [("--seed", "-1"), ("--seed", "9" * 20), ("--synthetic-share", "nan"),
              ("--synthetic-share", "inf"), ("--lovasz", "nan"), ("--lr", "nan")],
)  # fmt: skip
def test_numbers_that_no_training_can_take_are_wrong_usage(wrong: tuple[str, str]) -> None:
    with pytest.raises(click.UsageError):
        options_of(*wrong)


@pytest.mark.parametrize("size", ["320", "100x320", "32x32", "0x0", "axb", "-64x64"])
def test_a_size_that_the_network_cannot_take_is_refused(size: str) -> None:
    with pytest.raises(SettingsError, match=rf"--size {size}: wanted"):
        options_of("--size", size)


@pytest.mark.parametrize(
    "data",
    [
        "kitti",
        "camvid,camvid",
        "camvid*0",
        "camvid*",
        "camvid*101",
        "camvid*-1",
        "",
        "x" * 300,
        "camvid*" + "1" * 5000,
    ],
)
def test_data_that_are_not_known_are_refused(data: str) -> None:
    with pytest.raises(
        SettingsError, match=r"wanted camvid, cityscapes or a folder with .*, each once"
    ):
        options_of("--data", data)


def test_a_folder_by_two_names_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_folder(tmp_path / "camvid", classes=("road", "car"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "link").symlink_to("camvid")
    assert options_of("--data", "camvid,./camvid*2").data == (("camvid", 1), ("./camvid", 2))
    with pytest.raises(SettingsError, match=r"'link', wanted .* each once"):
        options_of("--data", "./camvid,link")


def test_a_folder_of_ones_own_gives_its_classes_and_no_synthetic_frames(tmp_path: Path) -> None:
    mine = str(make_folder(tmp_path / "mine", classes=("lane line", "road", "car")))
    alone = options_of("--data", mine)
    assert (alone.data, alone.synthetic) == (((mine, 1),), 0)
    assert (alone.box_names, alone.mask_names) == ((), ("lane line", "road", "car"))
    assert alone.classes.mask.names == ("lane line", "road", "car")
    chosen = options_of("--data", mine, "--synthetic", "5", "--mask-classes", "lane line, rest = *")
    assert (chosen.synthetic, chosen.classes.mask.members) == (5, (("lane line",), ("road", "car")))
    both = options_of("--data", f"camvid*2, {mine}")
    assert (both.data, both.synthetic) == ((("camvid", 2), (mine, 1)), 400)
    assert both.box_names == BOX_CLASSES
    assert both.mask_names == (*CLASSES, "lane line")


def test_a_mask_of_one_class_is_refused_with_what_to_add(tmp_path: Path) -> None:
    mine = make_folder(tmp_path / "mine", classes=("lane",))
    with pytest.raises(SettingsError, match=r"class 'lane' alone.* all the rest to classes\.txt"):
        options_of("--data", str(mine))
