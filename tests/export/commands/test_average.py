"""``edge-export average``: what it says of the mean it writes."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from export.commands.average import average
from export.train.checkpoint import load_checkpoint
from tests.export.train.test_average import checkpoint


def test_the_mean_is_written_and_doubts_are_told(tmp_path: Path) -> None:
    files = [
        checkpoint(tmp_path / f"{i}.pt", value=float(i), recipe={"init_sha256": origin})
        for i, origin in enumerate(("aa", "bb", "aa"))
    ]
    out = tmp_path / "mean.pt"
    result = CliRunner().invoke(average, [*map(str, files), "-o", str(out)])
    assert result.exit_code == 0, result.exception
    assert f"warning: {files[1]} began with bb, " in result.stderr
    assert f"{out}: the mean of 3 checkpoints" in result.stderr
    assert result.stdout == ""
    assert load_checkpoint(out)["averaged_sha256"]
