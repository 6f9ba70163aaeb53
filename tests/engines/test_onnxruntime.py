"""What ONNX Runtime would print past us. Whom it tells: ``tests/test_leaves_nothing.py``."""

from __future__ import annotations

import pytest
from onnx import TensorProto, helper

from engines.onnxruntime import open_session


def test_nothing_is_printed_over_an_operator_whose_name_is_no_text(
    capsys: pytest.CaptureFixture[str],
) -> None:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Nameless", ["x"], ["y"])], "g", [x], [y])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 17)])
    data = model.SerializeToString().replace(b"Nameless", b"Nameles\xff")
    with pytest.raises(ValueError, match="utf-8"):
        open_session(data)
    assert capsys.readouterr().out == ""
