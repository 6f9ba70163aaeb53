"""TensorRT for RTX, where it is installed: it builds without a GPU, so nothing stands in for it."""

from __future__ import annotations

import pytest

from engines.tensorrt.library import installed
from tests.conftest import NEEDS_RTX

needs_rtx = pytest.mark.skipif(not installed("rtx"), reason=NEEDS_RTX)
