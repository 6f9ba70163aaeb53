"""Opens whatever can be compared: a checkpoint, FP32, FP16 or int8 ONNX, a built engine.

Everything runs through the app's own path and is opened for proof, not for speed: ONNX at f32, FP16
with every tensor rounded to half.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from edge.vision.decode import build_decoder
from edge.vision.letterbox import Letterbox
from edge.vision.perception import Perception
from edge.vision.types import Detections, Image
from engines import open_engine
from engines.base import Array, Engine, EngineBase
from engines.errors import ExportError
from engines.model_file import load_model, sha256_of
from engines.spec import ModelSpec
from export.onnx.graph import uses_float16
from export.onnx.half import HalfEngine, open_half
from export.score.frame_scorer import MIN_SCORE, Seen

CHECKPOINTS = (".pt", ".pth")
DEFAULT_SIZE = (384, 640)
"""Height and width that two checkpoints are compared at: those of the shipped network."""


def open_sides(a: Path, b: Path) -> tuple[Engine, Engine]:
    """Open two models; a checkpoint takes the size of its input and mask from the other one.

    Raises:
        ModelError: a file is refused, or has no spec.
        EngineError: an engine is not available or refuses the model.
        ExportError: a checkpoint cannot be read, or a graph not be evaluated.
    """
    if b.suffix in CHECKPOINTS:
        first = _open(a, None)
        return first, _open(b, first.spec)
    second = _open(b, None)
    try:
        return _open(a, second.spec), second
    except BaseException:
        second.close()
        raise


def _open(path: Path, like: ModelSpec | None) -> Engine:
    if path.suffix in CHECKPOINTS:
        return TorchEngine(path, like)
    if path.suffix == ".onnx":
        if uses_float16(load_model(path)):
            return open_half(path)
        return open_engine(path, engine="onnxruntime", precision="f32")
    return open_engine(path)


class Side:
    """One engine in the app's own path, with its raw outputs and its boxes before NMS."""

    def __init__(self, engine: Engine) -> None:
        """Build the decoders of ``engine``, which stays the caller's to close."""
        self.engine = engine
        self.spec: ModelSpec = engine.spec
        self._outputs: dict[str, Array] = {}
        self._perception = Perception(_Tapped(engine, self._outputs), conf=MIN_SCORE)
        head = self.spec.detection
        self._decode = build_decoder(head, self.spec.input) if head else None
        self.class_names = self._perception.class_names
        self.overflowed: dict[str, None] = {}

    def see(self, image: Image) -> tuple[dict[str, Array], Seen]:
        """Raw outputs, boxes and masks of one frame (H, W, 3) BGR."""
        self._perception.prepare(image, 0)
        self._perception.submit(0)
        self._perception.wait(0)
        found, masks = self._perception.decode(0)
        if isinstance(self.engine, HalfEngine):
            self.overflowed.update(dict.fromkeys(self.engine.overflowed))
        # What lies below the model's own threshold has no say in NMS over what lies above.
        at = found.scores >= (self.spec.detection.conf if self.spec.detection else 0.0)
        shown = Detections(
            found.xyxy[at], found.scores[at], found.class_ids[at], found.track_ids[at]
        )
        return {n: a.copy() for n, a in self._outputs.items()}, Seen(shown, found, masks)

    def candidates(self, image: Image, outputs: Mapping[str, Array], conf: float) -> Detections:
        """Boxes from ``conf`` on before NMS, in frame px."""
        if self._decode is None:
            return Detections.empty()
        xyxy_in, scores, class_ids = self._decode(outputs, conf)
        letterbox = Letterbox.fit((image.shape[1], image.shape[0]), self.spec.input)
        xyxy = letterbox.to_frame(xyxy_in)
        return Detections(xyxy, scores, class_ids, np.full(len(scores), -1, np.int32))


class _Tapped:
    """An engine whose last outputs can be seen beside the path that uses them."""

    def __init__(self, engine: Engine, outputs: dict[str, Array]) -> None:
        self._engine, self._seen = engine, outputs
        self.name, self.precision = engine.name, engine.precision
        self.spec, self.slots = engine.spec, engine.slots
        self.inputs, self.submit, self.close = engine.inputs, engine.submit, engine.close

    def wait(self, slot: int) -> dict[str, Array]:
        made = self._engine.wait(slot)
        self._seen.clear()
        self._seen.update(made)
        return made


class TorchEngine(EngineBase):
    """A checkpoint of 'edge-export train' as the exported file would be, run by PyTorch in f32."""

    def __init__(self, checkpoint: Path, like: ModelSpec | None) -> None:
        """Build the network; ``like`` gives sizes that a checkpoint leaves open.

        Raises:
            ExportError: the checkpoint cannot be read, or torch is not installed.
        """
        try:
            import torch  # noqa: F401
        except ModuleNotFoundError as exc:
            raise ExportError(
                f"{checkpoint}: a checkpoint needs torch, which is not installed here. Install it "
                "from the project's folder: pip install -e '.[train]'"
            ) from exc
        from export.train.checkpoint import load_checkpoint, network_from
        from export.train.onnx_file import Deployed, spec_for, unweigh

        state = load_checkpoint(checkpoint)
        net = network_from(state, origin=checkpoint)
        if "mask_weights" in state:  # as export_onnx does
            unweigh(net, state["mask_weights"], origin=checkpoint)
        height, width = (like.input.height, like.input.width) if like else DEFAULT_SIZE
        masks = [t.shape for t in like.outputs if t.dtype == "uint8"] if like else []
        stride = height // masks[0][1] if masks else net.shape.mask_stride
        spec = spec_for(
            net, name=checkpoint.stem, height=height, width=width, mask_stride=stride,
            source_sha256=sha256_of(checkpoint),
        )  # fmt: skip
        super().__init__("torch", spec, precision="f32")
        self._net = Deployed(net, mask_stride=stride).eval()

    def _start(self, slot: int) -> None:
        import torch

        with torch.no_grad():
            made = self._net(torch.from_numpy(self._inputs[slot][self.spec.input.name]))
        names = (t.name for t in self.spec.outputs)
        self._outputs[slot] = {n: t.numpy() for n, t in zip(names, made, strict=True)}

    def _release(self) -> None:
        del self._net
