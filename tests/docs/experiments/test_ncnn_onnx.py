"""ncnn graphs as ONNX: a few layers with weights chosen so that the result is known by hand."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner

from docs.experiments.ncnn_onnx import convert, main
from engines.errors import ExportError

PARAM = """7767517
6 8
Input          in0    0 1 in0
Convolution    conv   1 1 in0 a 0=4 1=1 5=1 6=12 9=2 -23310=1,5.000000e-01
ShuffleChannel mix    1 1 a b 0=2
Slice          halves 1 2 b c d -23300=2,-233,-233
BinaryOp       add    2 1 c d e
Reshape        flat   1 1 e out0 0=-1 1=2
"""
# channel n of 4 is (n + 1) times blue, the last one negative; biases 0, 0, 0, 1
WEIGHTS = np.zeros((4, 3))
WEIGHTS[:, 0] = 1, 2, 3, -4
BIASES = struct.pack("<4f", 0, 0, 0, 1)
HALVES = struct.pack("<I12e", 0x01306B47, *WEIGHTS.ravel())
FLOATS = struct.pack("<I12f", 0, *WEIGHTS.ravel())


@pytest.mark.parametrize("weights", [HALVES, FLOATS], ids=["float16", "float32"])
def test_layers_do_what_ncnn_says(tmp_path: Path, weights: bytes) -> None:
    (tmp_path / "net.param").write_text(PARAM)
    (tmp_path / "net.bin").write_bytes(weights + BIASES)
    files = [str(tmp_path / name) for name in ("net.param", "net.bin", "net.onnx")]
    result = CliRunner().invoke(main, files)
    assert result.exit_code == 0, result.exception
    image = np.zeros((1, 3, 1, 2), np.float32)
    image[0, 0, 0] = 1, 10
    (out,) = onnxruntime.InferenceSession(files[2]).run(None, {"in0": image})
    # at blue 1: 1, 2, 3 and -3 times 0.5; shuffled in two: 1, 3 | 2, -1.5; the halves' sum: 3, 1.5
    # at blue 10: 10, 20, 30, -39/2; 10, 30 | 20, -19.5; 30, 10.5
    assert out[0].tolist() == [[3, 30], [1.5, 10.5]]


@pytest.mark.parametrize(
    ("param", "weights", "said"),
    [
        ("", HALVES + BIASES, "wanted 7767517"),
        (PARAM, HALVES + BIASES + b"1234", "4 bytes are left over"),
        (PARAM, HALVES + BIASES[:-4], "end within a layer"),
        (PARAM, b"\x01" + HALVES[1:] + BIASES, "got the flag 0x1306b01"),
        (PARAM.replace("ShuffleChannel", "Softmax"), HALVES + BIASES, "got the layer Softmax"),
        (PARAM.replace("6=12", "6=24"), HALVES + BIASES, "wanted a bias and 3 channels"),
        (PARAM.replace("9=2", "9=4"), HALVES + BIASES, "wanted leaky ReLU"),
    ],
)
def test_another_net_or_other_weights_are_refused(param: str, weights: bytes, said: str) -> None:
    with pytest.raises(ExportError, match=said):
        convert(param, weights)
