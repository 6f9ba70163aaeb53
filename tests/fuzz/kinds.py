"""The kinds of input: what is damaged, which command reads it, and which exit codes are right.

A ``Kind`` builds valid inputs once; a case of it is decided by its generator of random numbers
alone. What was made by hand, and no mutator finds, is in ``crafted``.
"""

from __future__ import annotations

import io
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import onnx
import torch

from engines.tensorrt.identity import sidecar_text
from export.int8.convert import Proof, convert_file
from export.int8.gate import AGREEMENT
from export.train.checkpoint import network_state
from export.train.net.street import Shape, StreetNet
from tests.edge.media_files import write_video
from tests.engines.tensorrt.test_identity import PLAN, SIDECAR
from tests.export.labelled_files import coco_dict, make_folder, make_tiny_camvid
from tests.export.planted import gain, plant
from tests.foreign_models import FOREIGN, colour_frame, options_for
from tests.fuzz import mutate
from tests.tiny_models import tiny_mask, tiny_nanodet, tiny_street, tiny_yolov5, tiny_yolov8

ROOT = Path(__file__).resolve().parents[2]
PICTURE = cv2.imencode(".png", colour_frame(0))[1].tobytes()


@dataclass
class Case:
    """One call of a command."""

    files: dict[str, bytes]
    """What lies in its folder, by name."""
    argv: list[str]
    outputs: tuple[str, ...] = ()
    allowed: tuple[int, ...] = (0,)


@dataclass
class Kind:
    """One kind of input."""

    seeds: Callable[[Path], dict[str, bytes]]
    """Builds valid inputs in an empty folder."""
    damage: Callable[[random.Random, bytes, Sequence[bytes]], bytes]
    call: Callable[[random.Random, str, bytes], Case]
    """The case for a file: the name of the seed, and what is to be in the file."""
    made: dict[str, bytes] = field(default_factory=dict)

    def begin(self, folder: Path) -> None:
        """Build the seeds."""
        folder.mkdir(parents=True)
        self.made = self.seeds(folder)

    def case(self, rng: random.Random) -> Case:
        """A damaged input."""
        name = rng.choice(sorted(self.made))
        data = self.damage(rng, self.made[name], list(self.made.values()))
        return self.call(rng, name, data)


def _bytes(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    return mutate.damaged(rng, data, others)


def _onnx(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Three of four stay protobuf, and so come further than its parser."""
    if rng.random() < 0.25:
        return mutate.damaged(rng, data, others)
    model = onnx.ModelProto.FromString(data)
    mutate.message(rng, model)
    return bytes(model.SerializeToString())


def _json(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    if rng.random() < 0.25:
        return mutate.damaged(rng, data, others)
    return json.dumps(mutate.tree(rng, json.loads(data))).encode()


def _toml(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    if rng.random() < 0.25:
        return mutate.damaged(rng, data, others)
    return mutate.text(rng, data.decode()).encode("utf-8", "surrogatepass")


def _checkpoint(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    if rng.random() < 0.25:
        return mutate.damaged(rng, data, others)
    state = torch.load(io.BytesIO(data), weights_only=True)
    return saved({**mutate.tree(rng, {k: v for k, v in state.items() if k != "ema"}),
                  "ema": state["ema"]})  # fmt: skip


def saved(state: dict[str, Any]) -> bytes:
    """The bytes of a checkpoint."""
    file = io.BytesIO()
    torch.save(state, file)
    return file.getvalue()


def own_models(folder: Path) -> dict[str, bytes]:
    """Networks of our own layout, one a decoder."""
    made = {}
    for build in (tiny_street, tiny_yolov8, tiny_yolov5, tiny_nanodet, tiny_mask):
        path = folder / f"{build.__name__}.onnx"
        build(path)
        made[path.name] = path.read_bytes()
    return made


_FRAMES = {f"in/{i}.png": PICTURE for i in range(20)}
_INT8: dict[str, bytes] = {}


def int8_models(folder: Path) -> dict[str, bytes]:
    """A network with convolutions, and the INT8 file beside it that was made of it."""
    tiny_street(folder / "bare.onnx")
    path, steps = folder / "a.onnx", [gain(1), ("Relu", []), gain(1), gain(1)]
    plant(folder / "bare.onnx", path, behind="Transpose", steps=steps)
    (folder / "in").mkdir()
    for name, data in _FRAMES.items():
        (folder / name).write_bytes(data)
    proof = Proof(str(folder / "in"), None, {}, AGREEMENT)
    made = convert_file(path, None, proof=proof, say=lambda line: None)
    _INT8.update({file.name: file.read_bytes() for file in (path, *made)})
    return _INT8


def foreign_models(folder: Path) -> dict[str, bytes]:
    """Networks as exporters leave them, one a family."""
    return {f"{name}.onnx": FOREIGN[name](64, 96).SerializeToString() for name in FOREIGN}


def settings(folder: Path) -> dict[str, bytes]:
    """The example with all settings, and a short file."""
    example = (ROOT / "systemd/outrider.example.toml").read_text()
    whole = "\n".join(line.removeprefix("# ") if " = " in line else line
                      for line in example.splitlines())  # fmt: skip
    short = '[source]\nuri = "a.png"\n[detect]\nconf = 0.5\nclasses = ["car"]\n[output]\n' \
            'sinks = ["a.jsonl"]\n'  # fmt: skip
    return {"example.toml": example.encode(), "whole.toml": whole.encode(),
            "short.toml": short.encode()}  # fmt: skip


def labels(folder: Path) -> dict[str, bytes]:
    """COCO's annotations of two pictures."""
    boxes: list[dict[str, Any]] = [{"bbox": [40, 16, 8, 8]}]
    boxes += [{"bbox": [0, 0, 8, 8], "category_id": 20, "iscrowd": 1}]
    return {"truth.json": json.dumps(coco_dict(boxes)).encode()}


def checkpoints(folder: Path) -> dict[str, bytes]:
    """A checkpoint of the smallest network."""
    torch.manual_seed(0)
    net = StreetNet(Shape(), box_classes=("car",), mask_classes=("road", "sky"))
    return {"a.pt": saved({**network_state(net), "ema": net.state_dict()})}


def pictures(folder: Path) -> dict[str, bytes]:
    """Pictures of every kind that OpenCV writes here."""
    made = {}
    for kind in ("png", "jpg", "bmp", "webp", "tiff", "ppm", "jp2", "gif", "avif"):
        if cv2.haveImageWriter(f"a.{kind}"):
            done, data = cv2.imencode(f".{kind}", colour_frame(1))
            if done:
                made[f"a.{kind}"] = data.tobytes()
    return made


def videos(folder: Path) -> dict[str, bytes]:
    """Twelve frames in the containers and codecs that cameras and people write."""
    kinds = {"mp4": "libx264", "mov": "mpeg4", "mkv": "libx264", "avi": "mpeg4", "ts": "libx264",
             "flv": "flv", "h264": "libx264", "mjpeg": "mjpeg", "webm": "libvpx",
             "mpg": "mpeg2video"}  # fmt: skip
    made = {}
    for suffix, codec in kinds.items():
        path = write_video(folder / f"a.{suffix}", count=12, codec=codec)
        made[path.name] = path.read_bytes()
    return made


_BESIDE: dict[str, bytes] = {}


def beside(folder: Path) -> dict[str, bytes]:
    """What lies beside models: names of classes, label maps, boxes, a plan's sidecar."""
    make_folder(folder / "folder")
    (folder / "folder/boxes.json").write_text(json.dumps(coco_dict([{}])))
    make_tiny_camvid(folder / "camvid")
    (folder / "names.txt").write_text("red\nblue\n")
    (folder / "a.engine.json").write_text(sidecar_text(SIDECAR))
    (folder / "a.engine").write_bytes(PLAN)
    _BESIDE.update({str(path.relative_to(folder)): path.read_bytes()
                    for path in folder.rglob("*") if path.is_file()})  # fmt: skip
    return {name: data for name, data in _BESIDE.items() if "/images/" not in name}


def _beside(rng: random.Random, data: bytes, others: Sequence[bytes]) -> bytes:
    if data.startswith(b"{"):
        return _json(rng, data, others)
    return _bytes(rng, data, others) if data.startswith(b"\x89PNG") else _toml(rng, data, others)


def run_beside(rng: random.Random, name: str, data: bytes) -> Case:
    """The command that reads it."""
    files = {**_BESIDE, name: data, "tiny.onnx": tiny()}
    if name == "names.txt":
        model: bytes = FOREIGN["yolox"](64, 96).SerializeToString()
        files |= {"a.onnx": model, "a.png": PICTURE}
        argv = ["edge-export", "adopt", "a.onnx", "-o", "b.onnx", "--frames", "a.png"]
        return Case(files, [*argv, "--names", name], ("b.onnx",), (0, 2, 4))
    if name.startswith("a.engine"):
        if rng.random() < 0.5:
            return Case(files, ["edge-export", "inspect", "a.engine", "--json", "-"],
                        allowed=(0, 4))  # fmt: skip
        return Case(files, ["edge", "run", "--model", "a.engine", "--source", "synthetic"],
                    allowed=(4,))  # fmt: skip
    root, split = name.partition("/")[0], ["--split", "val"] if name.startswith("camvid") else []
    argv = ["edge-export", "evaluate", "tiny.onnx", "--data", root, "--root", root, *split]
    return Case(files, [*argv, "--engine", "onnxruntime", "--json", "b.json", "--html", "b.html"],
                ("b.json", "b.html"), (0, 2, 4))  # fmt: skip


_TINY: dict[str, bytes] = {}


def tiny() -> bytes:
    """A valid network of ours, for commands that want one beside the damaged input."""
    import tempfile

    if not _TINY:
        with tempfile.TemporaryDirectory() as folder:
            tiny_street(Path(folder) / "tiny.onnx")
            _TINY["tiny.onnx"] = (Path(folder) / "tiny.onnx").read_bytes()
    return _TINY["tiny.onnx"]


def run_settings(rng: random.Random, name: str, data: bytes) -> Case:
    """Read only: what the settings name is not written."""
    return Case({"a.toml": data, "a.png": PICTURE}, ["edge", "check", "a.toml"],
                allowed=(0, 2, 3, 4))  # fmt: skip


def run_model(rng: random.Random, name: str, data: bytes) -> Case:
    """A damaged network of ours in the app, or in another command that takes one."""
    engine = rng.choice(("openvino", "onnxruntime"))
    files = {"a.onnx": data, "a.png": PICTURE}
    door = rng.randrange(6)
    if door == 0:
        files["a.toml"] = f'[model]\nfiles = ["a.onnx"]\nengine = "{engine}"\n'.encode()
        files["a.toml"] += b'[source]\nuri = "a.png"\n[output]\nsinks = ["null"]\n'
        return Case(files, ["edge", "check", "a.toml"], allowed=(0, 4))
    if door == 1:
        argv = ["edge-export", "verify", "a.onnx", "b.onnx", "--frames", "a.png", "--json", "-"]
        return Case({**files, "b.onnx": tiny()}, argv, allowed=(0, 4))
    argv = ["edge", "run", "--model", "a.onnx", "--engine", engine, "--source", "a.png"]
    return Case(files, [*argv, "--sink", "a.jsonl", "--sink", "-", "--quiet"],
                ("a.jsonl",), (0, 4))  # fmt: skip


def run_adopt(rng: random.Random, name: str, data: bytes) -> Case:
    """A damaged network of somebody else's."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        options = options_for(Path(name).stem, Path(folder))
        names = Path(folder, "names.txt")
        beside = {"names.txt": names.read_bytes()} if names.exists() else {}
    options = ["names.txt" if Path(word).name == "names.txt" else word for word in options]
    argv = ["edge-export", "adopt", "a.onnx", "-o", "b.onnx", "--frames", "a.png", *options]
    return Case({"a.onnx": data, "a.png": PICTURE, **beside}, argv, ("b.onnx",), (0, 2, 4))


def run_tensorrt(rng: random.Random, name: str, data: bytes) -> Case:
    """NVIDIA's parser, where it is installed."""
    argv = ["edge-export", "check-tensorrt", "a.onnx", "--json", "a.json"]
    return Case({"a.onnx": data}, argv, ("a.json",), (0, 2, 4))


def run_fp16(rng: random.Random, name: str, data: bytes) -> Case:
    """The conversion to FP16."""
    argv = ["edge-export", "fp16", "a.onnx", "-o", "b.onnx", "--frames", "a.png"]
    return Case({"a.onnx": data, "a.png": PICTURE}, argv, ("b.onnx",), (0, 4))


def run_int8(rng: random.Random, name: str, data: bytes) -> Case:
    """The conversion to INT8; an INT8 file that is damaged is left out of a run."""
    if name == "a.onnx":
        argv = ["edge-export", "int8", name, "-o", "b.onnx", "--frames", "in"]
        return Case({name: data, **_FRAMES}, argv, ("b.onnx", "b-cpu.onnx"), (0, 4))
    files = {"a.onnx": _INT8["a.onnx"], name: data, "a.png": PICTURE}
    argv = ["edge", "run", "--model", "a.onnx", "--source", "a.png", "--sink", "null"]
    return Case(files, argv)


def run_coco(rng: random.Random, name: str, data: bytes) -> Case:
    """Scores on damaged annotations."""
    argv = ["edge-export", "evaluate", "tiny.onnx", "--data", "coco-json", "--root", "a.json",
            "--map", "car=auto", "--engine", "onnxruntime", "--json", "b.json",
            "--html", "b.html"]  # fmt: skip
    files = {"a.json": data, "tiny.onnx": tiny(), "1.png": PICTURE, "2.png": PICTURE}
    return Case(files, argv, ("b.json", "b.html"), (0, 2, 4))


def run_checkpoint(rng: random.Random, name: str, data: bytes) -> Case:
    """The export of a checkpoint."""
    argv = ["edge-export", "onnx", "a.pt", "-o", "b.onnx", "--size", "64x96"]
    return Case({"a.pt": data}, argv, ("b.onnx",), (0, 2, 4))


def run_source(rng: random.Random, name: str, data: bytes) -> Case:
    """A damaged picture or video in the app or a proof; pictures also in a folder."""
    picture = Path(name).suffix[1:] not in ("mp4", "mov", "mkv", "avi", "ts", "flv", "h264",
                                            "mjpeg", "webm", "mpg")  # fmt: skip
    files = {"tiny.onnx": tiny(), f"in/{name}": data}
    source = f"in/{name}"
    if picture and rng.random() < 0.5:
        files |= {"in/0.png": PICTURE, "in/z.png": PICTURE}
        source = "in"
    if rng.random() < 0.2:
        argv = ["edge-export", "verify", "tiny.onnx", "tiny.onnx", "--frames", source]
        return Case(files, [*argv, "--json", "-"], allowed=(0, 3, 4))
    argv = ["edge", "run", "--model", "tiny.onnx", "--engine", "onnxruntime", "--source", source]
    sinks = ["--sink", "b.jsonl", "--sink", "b.mp4", "--metrics", "b.json", "--quiet"]
    return Case(files, [*argv, *sinks], ("b.jsonl", "b.mp4", "b.json"), (0, 3))


KINDS = {
    "settings": Kind(settings, _toml, run_settings),
    "model": Kind(own_models, _onnx, run_model),
    "adopt": Kind(foreign_models, _onnx, run_adopt),
    "tensorrt": Kind(foreign_models, _onnx, run_tensorrt),
    "fp16": Kind(own_models, _onnx, run_fp16),
    "int8": Kind(int8_models, _onnx, run_int8),
    "coco": Kind(labels, _json, run_coco),
    "beside": Kind(beside, _beside, run_beside),
    "checkpoint": Kind(checkpoints, _checkpoint, run_checkpoint),
    "picture": Kind(pictures, _bytes, run_source),
    "video": Kind(videos, _bytes, run_source),
}
