"""The app with cameras that come and go: every fault is told in time, and nothing old is shown."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.edge.gst_here import needs_gst
from tests.field.faults import LARGE, SCENES, SMALL, Report, all_at_once
from tests.field.rtsp_camera import missing

pytestmark = [pytest.mark.slow, pytest.mark.timing]


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Report]:
    if lacking := missing(needs_gst()):
        pytest.skip(f"needs {lacking}")
    return all_at_once(tmp_path_factory.mktemp("faults"))


@pytest.mark.parametrize("scene", SCENES)
def test_a_fault_is_told_and_ends_in_time_and_every_frame_is_new(
    scene: str, reports: dict[str, Report]
) -> None:
    assert reports[scene].failures() == []


def test_a_camera_that_comes_back_as_another_is_read_as_it_is(reports: dict[str, Report]) -> None:
    sizes = {felt.fault: felt.wh for scene in reports.values() for felt in scene.felt}
    assert sizes["back as VP8, larger, slower"] == LARGE
    assert sizes["back as MJPEG, smaller, faster"] == SMALL
    assert sizes["HTTP: back larger"] == LARGE


def test_every_outage_has_its_reason(reports: dict[str, Report]) -> None:
    told = {name: [s.reason for s in r.states if s.reason] for name, r in reports.items()}
    for scene, words in (
        ("rtsp", ("Connection refused", "its sender closed it", "wanted a login", "nothing came")),
        ("link", ("its sender closed it", "no frame for 0.5 s", "nothing came for 1.5 s")),
        ("mjpeg", ("Connection refused", "no frame for 0.5 s")),
        ("ended pipeline", ("the live pipeline ended",)),
        ("broken pipeline", ("Failed after iterations as requested",)),
    ):
        for word in words:
            assert any(word in reason for reason in told[scene]), (scene, word)
    assert "s3cret" not in repr(told)


def test_a_moments_silence_costs_no_connection(reports: dict[str, Report]) -> None:
    stalls = [f for r in reports.values() for f in r.felt if "for a moment" in f.fault]
    assert [f.state for f in stalls] == ["stalled"] * 3
    for name in ("rtsp", "link", "mjpeg"):  # one short and one long silence each
        kinds = [s.name for s in reports[name].states]
        assert kinds.count("stalled") == reports[name].signal["stalls"]
        assert ("stalled", "live") in pairwise(kinds)


def test_a_lossy_link_damages_pictures_and_keeps_the_connection(reports: dict[str, Report]) -> None:
    link = reports["link"]
    assert link.lost
    assert link.damaged < 0.8  # a loss is seen until the next key frame, a second at most
    assert link.states[-1].name == "live"
