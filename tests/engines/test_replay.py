"""Recordings: broken ones are refused with a way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engines import open_engine
from engines.errors import EngineError, ModelError
from engines.replay import record
from tests.tiny_models import grey, tiny_street


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """One run of the tiny street."""
    model, path = tmp_path / "model.onnx", tmp_path / "model.replay.npz"
    tiny_street(model)
    engine = open_engine(model, engine="onnxruntime")
    assert record(engine, [grey(75)[None]], path) == 1
    engine.close()
    return path


def test_a_model_without_a_recording_beside_it_is_refused(tmp_path: Path) -> None:
    tiny_street(tmp_path / "other.onnx")
    with pytest.raises(EngineError, match=r"other\.replay\.npz: no recording"):
        open_engine(tmp_path / "other.onnx", engine="replay")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_truncated_recording_is_refused(recording: Path, share: float) -> None:
    data = recording.read_bytes()
    recording.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match="not a whole recording"):
        open_engine(recording)


def test_a_recording_without_a_spec_or_with_pickles_is_refused(recording: Path) -> None:
    np.savez(recording, boxes=np.zeros(3))
    with pytest.raises(ModelError, match="not a whole recording"):
        open_engine(recording)
    with recording.open("wb") as file:
        np.save(file, np.zeros(3))
    with pytest.raises(ModelError, match="not a whole recording"):
        open_engine(recording)
    np.savez(recording, spec=np.array([{"any": "object"}], dtype=object))
    with pytest.raises(ModelError, match="not a whole recording"):
        open_engine(recording)


def test_recorded_shapes_that_differ_from_the_spec_are_refused_by_name(recording: Path) -> None:
    with np.load(recording) as archive:
        arrays = dict(archive)
    arrays["output_3"] = arrays["output_3"][:, :, :5]
    np.savez(recording, **arrays)
    with pytest.raises(ModelError, match=r"'labels' is uint8\[1, 1, 5, 24\]"):
        open_engine(recording)


def test_recording_nothing_is_refused(tmp_path: Path) -> None:
    tiny_street(tmp_path / "model.onnx")
    engine = open_engine(tmp_path / "model.onnx", engine="onnxruntime")
    with pytest.raises(EngineError, match="nothing to record"):
        record(engine, [], tmp_path / "none.replay.npz")
    engine.close()
