"""TensorRT for RTX, where it is installed: it builds without a GPU, so nothing stands in for it."""

from __future__ import annotations

import pytest

from engines.tensorrt.library import installed

needs_rtx = pytest.mark.skipif(
    not installed("rtx"), reason="no TensorRT for RTX: pip install -e '.[rtx]'"
)
