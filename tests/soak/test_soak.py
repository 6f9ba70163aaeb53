"""Every trouble once, which takes a minute and a half; ``make soak`` takes longer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.edge.gst_here import needs_gst
from tests.field.rtsp_camera import missing
from tests.soak.judge import as_markdown, judged
from tests.soak.soak import Soak


@pytest.mark.slow
def test_the_app_comes_out_of_every_trouble_with_nothing_lost_and_nothing_kept(
    tmp_path: Path,
) -> None:
    if lacking := missing(needs_gst()):
        pytest.skip(f"needs {lacking}")
    said: list[str] = []
    diary = Soak(tmp_path, seed=1, say=said.append).play(seconds=0)
    conditions = judged(diary)
    wrong = [line for condition in conditions for line in condition.wrong]
    assert wrong == [], as_markdown(conditions)
    assert len(diary.played) == 12 - ("no libfaketime" in repr(diary.skipped)), said
