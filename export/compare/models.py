"""Opens whatever can be compared: a checkpoint, FP32, FP16 or int8 ONNX, a built engine.

For proof, not for speed: ONNX at f32, FP16 with every tensor rounded to half.
"""

from __future__ import annotations

from pathlib import Path

from engines import open_engine
from engines.base import Engine, EngineBase
from engines.errors import ExportError
from engines.model_file import ModelFile, sha256_of
from engines.spec import ModelSpec
from engines.tensorrt.identity import has_sidecar
from export.onnx.graph import uses_float16
from export.onnx.half import open_half

CHECKPOINTS = (".pt", ".pth")
DEFAULT_SIZE = (384, 640)
"""Height and width that two checkpoints are compared at: those of the shipped network."""


def open_models(a: Path, b: Path) -> tuple[Engine, Engine]:
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
        file = ModelFile(path)
        if uses_float16(file.model):
            return open_half(path)
        return open_engine(file, engine="onnxruntime", precision="f32")
    # one that was never run is what this can prove; one that nothing describes is not loaded
    return open_engine(path, trust=[sha256_of(path)] if has_sidecar(path) else [])


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
        from export.train.net.nets import stride_of
        from export.train.onnx_file import Deployed, spec_for, trained_network

        net = trained_network(checkpoint)
        height, width = (like.input.height, like.input.width) if like else DEFAULT_SIZE
        masks = [t.shape for t in like.outputs if t.dtype == "uint8"] if like else []
        stride = height // masks[0][1] if masks else stride_of(net)
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
