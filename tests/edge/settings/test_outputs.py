"""No output destroys an input, under whatever name: real files, through the door."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from edge.settings.load import load_settings
from edge.settings.outputs import refuse_overwriting
from engines.errors import SettingsError
from tests.edge.door import edge
from tests.edge.gst_here import needs_gst
from tests.edge.media_files import write_video
from tests.tiny_models import tiny_street


def _video(folder: Path) -> Path:
    return write_video(folder / "in.mp4", count=3)


def _picture(folder: Path) -> Path:
    assert cv2.imwrite(str(folder / "1.png"), np.full((48, 64, 3), 7, np.uint8))
    return folder / "1.png"


def _model(folder: Path) -> Path:
    tiny_street(folder / "in.onnx")
    return folder / "in.onnx"


def _weights(folder: Path) -> Path:
    """The file beside a model that holds its weights."""
    path, location = _model(folder), "weights.jsonl"
    model = onnx.load(path)
    onnx.save_model(model, path, save_as_external_data=True, location=location, size_threshold=0)
    return folder / location


def _sidecar(folder: Path) -> Path:
    """The sidecar of an engine."""
    (folder / "net.engine").write_bytes(b"plan")
    (folder / "net.engine.json").write_text("{}")
    return folder / "net.engine.json"


VIDEO, MODEL = ["--source", "in.mp4"], ["--model", "in.onnx"]


@pytest.mark.parametrize(
    ("make", "arguments", "what"),
    [
        (_video, [*VIDEO, "--sink", "link.mp4"], "the source"),
        (_video, [*VIDEO, "--sink", "soft.mp4"], "the source"),
        (_video, [*VIDEO, "--sink", "in.mp4"], "the source"),
        (_video, [*VIDEO, "--sink", "in.mp4/"], "the source"),
        (
            _video,
            ["--source", "gst:filesrc location=in.mp4 ! decodebin", "--sink", "link.mp4"],
            "the source",
        ),
        (_picture, ["--source", ".", "--sink", "link.mp4"], "the source"),
        (_picture, ["--source", "*.png", "--sink", "link.mp4"], "the source"),
        (_picture, ["--source", "1.png", "--sink", "link.jsonl"], "the sou"),
        (_picture, ["--source", ".", "--metrics", "link.json"], "the source"),
        (_model, [*MODEL, "--sink", "link.jsonl"], "the model"),
        (_model, [*MODEL, "--metrics", "link.json"], "the model"),
        (_weights, [*MODEL, "--sink", "weights.jsonl"], "the model"),
        (_weights, [*MODEL, "--sink", "far/link.jsonl"], "the model"),
        (_weights, [*MODEL, "--sink", "far/link.jsonl/"], "the model"),
        (
            _sidecar,
            ["--model", "net.engine", "--metrics", "net.engine.json"],
            "the model",
        ),
    ],
)
def test_an_input_is_what_it_was_after_a_run_that_would_have_written_over_it(
    make: Callable[[Path], Path],
    arguments: list[str],
    what: str,
    tmp_path: Path,
) -> None:
    if "gst:" in arguments[1]:
        needs_gst()
    (tmp_path / "far").mkdir()
    file = make(tmp_path)
    for name in ("link.mp4", "link.jsonl", "link.json", "far/link.jsonl"):
        os.link(file, tmp_path / name)
    (tmp_path / "soft.mp4").symlink_to(file)
    before = file.read_bytes()
    done = edge("run", "--frames", "1", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"{arguments[-1]}: would be written over {what}" in done.stderr
    assert file.read_bytes() == before


def test_the_settings_are_what_they_were(tmp_path: Path) -> None:
    (tmp_path / "car.toml").write_text("[pipeline]\nframes = 1\n")
    os.link(tmp_path / "car.toml", tmp_path / "a.jsonl")
    done = edge("run", "car.toml", "--sink", "a.jsonl", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "a.jsonl: would be written over the settings" in done.stderr
    assert (tmp_path / "car.toml").read_text() == "[pipeline]\nframes = 1\n"


def test_two_names_of_one_file_are_not_written_by_two_sinks(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("kept\n")
    os.link(tmp_path / "a.jsonl", tmp_path / "b.jsonl")
    done = edge("run", "--frames", "1", "--sink", "a.jsonl", "--sink", "b.jsonl", cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert "b.jsonl: would be written over another output" in done.stderr
    assert (tmp_path / "a.jsonl").read_text() == "kept\n"


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["--source", "in.mp4", "--json", "in.mp4"], "the source"),
        (["--source", "in.mp4", "--json", "link.json"], "the source"),
        (["--peer", "in.onnx", "--json", "in.onnx"], "the model"),
        (["--model", "in.onnx", "--json", "./in.onnx"], "the model"),
    ],
)
def test_figures_are_not_written_over_what_was_measured(
    arguments: list[str], what: str, tmp_path: Path
) -> None:
    files = [_video(tmp_path), _model(tmp_path)]
    os.link(files[0], tmp_path / "link.json")
    before = [file.read_bytes() for file in files]
    done = edge("bench", "--frames", "20", *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert f"--json {Path(arguments[-1])}: would be written over {what}" in done.stderr
    assert [file.read_bytes() for file in files] == before


def test_what_a_list_of_films_or_the_settings_name_is_read_as_well(tmp_path: Path) -> None:
    part, key = tmp_path / "part-0.mp4", tmp_path / "key.pem"
    for file in (part, key):
        file.write_bytes(b"kept")
    lists = {
        "live.m3u8": "#EXTM3U\n#EXTINF:2,\npart-0.mp4\n",
        "all.ffconcat": "ffconcat version 1.0\nfile 'part-0.mp4'\n",
        "dash.mpd": '<SegmentURL media="part-0.mp4"/>',
    }
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(SettingsError, match=r"part-0\.mp4: would be written over the source"):
            refuse_overwriting([part], models=[], source=str(tmp_path / name))
    (tmp_path / "soft.jsonl").symlink_to(key)
    overrides = {"output.sinks": [str(tmp_path / "soft.jsonl")], "source.password_file": str(key)}
    with pytest.raises(SettingsError, match=r"over \[source\] password_file"):
        load_settings(None, overrides | {"source.uri": "rtsp://u@h/1"})


def test_weights_beside_the_target_of_a_link_are_the_models(tmp_path: Path) -> None:
    for name in ("blobs", "snapshot"):
        (tmp_path / name).mkdir()
    weights = _weights(tmp_path / "blobs")
    model = tmp_path / "snapshot" / "in.onnx"
    model.symlink_to(weights.with_name("in.onnx"))
    with pytest.raises(SettingsError, match="would be written over the model"):
        refuse_overwriting([weights], models=[model], source="synthetic")


def test_files_of_their_own_and_those_that_are_not_there_are_taken(tmp_path: Path) -> None:
    for name in ("in.mp4", "old.mp4"):
        (tmp_path / name).write_bytes(b"the same")
    source, none = str(tmp_path / "in.mp4"), str(tmp_path / "none.mp4")
    refuse_overwriting([tmp_path / "old.mp4"], models=[], source=source)
    refuse_overwriting([tmp_path / "new.mp4"], models=[], source=source)
    refuse_overwriting([tmp_path / "new.mp4"], models=[Path("a\0b")], source=none)
    refuse_overwriting([tmp_path / "new.mp4"], models=[], source="no such kind")
    refuse_overwriting([], models=[], source=source)
    with pytest.raises(SettingsError, match=r"a\.mp4: would be written over the source"):
        refuse_overwriting(["a.mp4"], models=[], source="./a.mp4")


def test_a_film_is_not_played_where_it_may_go_to_make_room(tmp_path: Path) -> None:
    film = tmp_path / "film-00000012-20261130T092943Z.mp4"
    film.write_bytes(b"a film")
    other = tmp_path / "in.mp4"
    other.write_bytes(b"another")
    folder = f"{tmp_path}/../{tmp_path.name}"
    with pytest.raises(SettingsError, match=r"is one of the films in .*; move it"):
        refuse_overwriting([], folders=[folder], models=[], source=str(film))
    refuse_overwriting([], folders=[folder], models=[], source=str(other))
    refuse_overwriting([], folders=[str(tmp_path / "new")], models=[], source=str(film))
    (tmp_path / "soft.mp4").symlink_to(film)
    os.link(film, tmp_path / "hard.mp4")
    for link in ("soft.mp4", "hard.mp4"):
        with pytest.raises(SettingsError, match=r"is one of the films in .*; move it"):
            refuse_overwriting([], folders=[folder], models=[], source=str(tmp_path / link))
    with pytest.raises(SettingsError, match="would be written over another output"):
        refuse_overwriting([], folders=[folder, str(tmp_path)], models=[], source="synthetic")
