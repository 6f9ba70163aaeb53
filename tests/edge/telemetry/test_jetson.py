"""What a Jetson's own files tell: those of an Orin Nano and of a Xavier."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.telemetry.jetson import Jetson, power_mode
from edge.telemetry.sample import Reading, Throttle
from tests.edge.telemetry.trees import HWMON, INTEL, ORIN_NANO, XAVIER, plant


def readings(jetson: Jetson) -> list[Reading]:
    return [fact for fact in jetson.read() if isinstance(fact, Reading)]


def test_an_orin_tells_load_clock_and_power_of_the_connected_rails(tmp_path: Path) -> None:
    assert readings(Jetson(plant(tmp_path, ORIN_NANO))) == [
        Reading("load", "GPU", 87.3),
        Reading("clock", "GPU", 1020.0),
        Reading("power", "VDD_IN", 5016 * 1500 / 1e6),  # mV * mA
        Reading("power", "VDD_CPU_GPU_CV", 5016 * 400 / 1e6),
        Reading("power", "VDD_SOC", 5008 * 480 / 1e6),
        Reading("throttles", "SoC under-voltage", 0.0),
        Reading("throttles", "SoC average over-current", 15.0),
        Reading("throttles", "SoC over-current", 37.0),
    ]


def test_a_xavier_has_two_power_monitors_and_tells_root_the_memorys_clock(tmp_path: Path) -> None:
    assert readings(Jetson(plant(tmp_path, XAVIER))) == [
        Reading("load", "GPU", 0.0),
        Reading("clock", "GPU", 318.75),
        Reading("clock", "EMC", 1600.0),
        Reading("power", "GPU", 19056 * 100 / 1e6),
        Reading("power", "CV", 0.0),
    ]


def test_an_event_since_the_sample_before_is_throttling_by_its_name(tmp_path: Path) -> None:
    jetson = Jetson(plant(tmp_path, ORIN_NANO))

    def active() -> list[str]:
        facts = [fact for fact in jetson.read() if isinstance(fact, Throttle)]
        assert [fact.device for fact in facts] == ["SoC"] * 3
        return [fact.reason for fact in facts if fact.active]

    assert active() == []  # those of before
    (tmp_path / f"{HWMON}3/oc1_event_cnt").write_text("1\n")
    (tmp_path / f"{HWMON}3/oc3_event_cnt").write_text("40\n")
    assert active() == ["under-voltage", "over-current"]
    assert active() == []


def test_a_rail_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    jetson = Jetson(plant(tmp_path, ORIN_NANO))
    (tmp_path / f"{HWMON}1/curr1_input").unlink()
    (tmp_path / f"{HWMON}1/in3_input").write_text("nan\n")
    rails = [reading.name for reading in readings(jetson) if reading.kind == "power"]
    assert rails == ["VDD_CPU_GPU_CV"]


@pytest.mark.parametrize(
    ("status", "conf", "mode"),
    [
        ("pmode:0002", ORIN_NANO["etc/nvpmodel.conf"], "MAXN_SUPER"),
        ("pmode:0000", ORIN_NANO["etc/nvpmodel.conf"], "15W"),
        ("pmode:0007", ORIN_NANO["etc/nvpmodel.conf"], "7"),  # no such mode there
        ("pmode:0003", None, "3"),
        ("", ORIN_NANO["etc/nvpmodel.conf"], None),
    ],
)
def test_the_power_mode_is_told_without_root(
    tmp_path: Path, status: str, conf: str | None, mode: str | None
) -> None:
    tree = {"var/lib/nvpmodel/status": status}
    plant(tmp_path, tree if conf is None else {**tree, "etc/nvpmodel.conf": conf})
    assert power_mode(tmp_path) == mode


def test_another_machine_yields_nothing(tmp_path: Path) -> None:
    assert list(Jetson(plant(tmp_path, INTEL)).read()) == []
    assert power_mode(tmp_path) is None
