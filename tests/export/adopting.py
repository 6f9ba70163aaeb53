"""``edge-export adopt`` as a user meets it, on the generated nets of ``tests.foreign_models``."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

import click
import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from click.testing import CliRunner

from engines import open_engine
from engines.base import Array, Image
from engines.errors import OutriderError
from engines.model_file import read_spec
from engines.spec import DetectionHead, ModelSpec
from export.commands.adopt import adopt
from tests.foreign_models import FOREIGN, colour_frame, options_for


@dataclass(frozen=True)
class Adopted:
    """How one run of the command ended."""

    code: int
    said: str
    """All of its lines; for a refusal also the message."""
    file: Path
    written: bool
    left_over: list[str] = field(default_factory=list)
    """Files that it made beside ``file``."""


def write_frames(folder: Path, *, count: int = 3, height: int = 64, width: int = 96) -> Path:
    """A folder of frames that show what the generated nets detect."""
    folder.mkdir(exist_ok=True)
    for i in range(count):
        cv2.imwrite(str(folder / f"{i}.png"), colour_frame(i, height, width))
    return folder


def adopt_file(model: Path, *options: str | Path, frames: Path | str | None = None) -> Adopted:
    """Run the command on a file, with the frames beside it where none are given.

    An exception that is none of Outrider's own is a defect and goes through.
    """
    if "-o" in options:
        target = Path(options[options.index("-o") + 1])
    else:
        target = model.with_name(f"{model.stem}.outrider.onnx")
    source = frames
    if source is None:
        source = model.parent / "frames"
        if not source.exists():
            write_frames(source)
    before = set(target.parent.iterdir()) if target.parent.is_dir() else set()
    arguments = [str(model), *map(str, options), "--frames", str(source)]
    done = CliRunner().invoke(adopt, arguments, standalone_mode=False)
    error = done.exception
    if error is not None and not isinstance(error, OutriderError | click.ClickException):
        raise error
    after = set(target.parent.iterdir()) if target.parent.is_dir() else set()
    code = 0 if error is None else error.exit_code
    return Adopted(
        code,
        done.output + str(error or ""),
        target,
        os.path.isfile(target),  # unlike Path.is_file it takes a name of any length
        sorted(p.name for p in after - before - {target}),
    )


def adopt_net(
    net: str | onnx.ModelProto, folder: Path, *options: str | Path, name: str = ""
) -> Adopted:
    """Adopt a generated net by name, with the options that it needs, or a graph made from one."""
    model = FOREIGN[net]() if isinstance(net, str) else net
    needed = options_for(name or (net if isinstance(net, str) else ""), folder)
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return adopt_file(path, *needed, *options)


def spec_of(done: Adopted) -> tuple[ModelSpec, DetectionHead]:
    """What stands in the file of a run that must have gone well and been proven."""
    assert done.code == 0, done.said
    assert "not proven" not in done.said
    spec = read_spec(done.file)
    assert spec.detection is not None
    return spec, spec.detection


def letterboxed(seed: int, *, top: int, pad: int = 114) -> Image:
    """Noise of 128x48 px in 96x64: by 0.75 to 96x36, ``top`` rows of ``pad`` above it."""
    frame = np.random.default_rng(seed).integers(0, 256, (48, 128, 3), np.uint8)
    image = np.full((64, 96, 3), pad, np.uint8)
    image[top : top + 36] = cv2.resize(frame, (96, 36), interpolation=cv2.INTER_LINEAR)
    return image


def rgb_blob(image: Array) -> Array:
    """A BGR image (H, W, 3) as most nets want it: (1, 3, H, W), RGB, 0..1."""
    return image[:, :, ::-1].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)


def refusal(done: Adopted, code: int = 4) -> str:
    """The message of a run that must have been refused, in one line and without a trace of it."""
    assert done.code == code, done.said
    assert not done.written
    assert done.left_over == []
    message = done.said.splitlines()[-1]
    assert "Traceback" not in done.said
    return message


def with_metadata(model: onnx.ModelProto, **entries: str) -> onnx.ModelProto:
    """The graph with entries added to its metadata or replaced there."""
    kept = {p.key: p.value for p in model.metadata_props}
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, kept | entries)
    return model


def run_foreign(model: onnx.ModelProto, blob: Array) -> dict[str, Array]:
    """What the net itself gives for a blob (1, 3, H, W)."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [o.name for o in session.get_outputs()]
    feed = {"images": np.ascontiguousarray(blob, np.float32)}
    return dict(zip(names, session.run(names, feed), strict=True))


def run_adopted(path: Path, image: Array, engine: str) -> dict[str, Array]:
    """What one of the app's engines gives for the letterboxed camera image (H, W, 3) BGR."""
    opened = open_engine(path, engine=engine, precision="f32")
    try:
        assert [a.shape for a in opened.inputs(0).values()] == [(1, *image.shape)]
        assert [a.dtype for a in opened.inputs(0).values()] == [np.uint8]
        next(iter(opened.inputs(0).values()))[:] = image
        opened.submit(0)
        return {name: array.copy() for name, array in opened.wait(0).items()}
    finally:
        opened.close()


APP_ENGINES = pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
