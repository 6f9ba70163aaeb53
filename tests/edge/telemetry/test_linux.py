"""What the kernel tells of any machine, by the files of real ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.telemetry.linux import Linux, cpu_identity
from edge.telemetry.sample import Kind, Reading, Throttle
from tests.edge.telemetry.trees import AMD, COOLING, CPUFREQ, INTEL, ORIN_NANO, XAVIER, ZONE, plant


def readings(linux: Linux, kind: Kind) -> list[tuple[str, float]]:
    return [(f.name, f.value) for f in linux.read() if isinstance(f, Reading) and f.kind == kind]


def throttles(linux: Linux) -> list[Throttle]:
    return [fact for fact in linux.read() if isinstance(fact, Throttle)]


def test_temperatures_are_those_of_sensors_that_answer_and_can_be_true(tmp_path: Path) -> None:
    assert readings(Linux(plant(tmp_path / "orin", ORIN_NANO)), "temperature") == [
        ("cpu-thermal", 63.625),
        ("gpu-thermal", 61.031),
        ("soc0-thermal", 60.812),
        ("tj-thermal", 63.781),
    ]
    assert readings(Linux(plant(tmp_path / "xavier", XAVIER)), "temperature") == [
        ("CPU-therm", 41.5),
        ("GPU-therm", 38.0),
        ("AUX-therm", 38.5),
        ("Tboard_tegra", 37.0),
    ]
    assert readings(Linux(plant(tmp_path / "intel", INTEL)), "temperature") == [
        ("acpitz", 27.8),
        ("x86_pkg_temp", 88.0),
        ("acpitz", 29.8),
        ("coretemp Package id 0", 89.0),
    ]
    # Of AMD's processor no thermal zone tells.
    assert readings(Linux(plant(tmp_path / "amd", AMD)), "temperature") == [
        ("k10temp Tctl", 52.125)
    ]


def test_clocks_are_the_fastest_and_the_slowest_of_all_cores(tmp_path: Path) -> None:
    linux = Linux(plant(tmp_path, ORIN_NANO))
    assert readings(linux, "clock") == [("CPU fastest", 1728.0), ("CPU slowest", 729.6)]


def test_memory_is_in_millions_of_bytes(tmp_path: Path) -> None:
    linux = Linux(plant(tmp_path, ORIN_NANO))
    assert readings(linux, "memory") == [
        ("RAM total", 7802752 * 1024 / 1e6),
        ("RAM available", 4913408 * 1024 / 1e6),
    ]


def test_load_is_the_busy_part_of_the_time_since_the_sample_before(tmp_path: Path) -> None:
    linux = Linux(plant(tmp_path, {"proc/stat": "cpu  100 0 50 800 50 0 0 0 7 0"}))
    stat = tmp_path / "proc/stat"
    assert readings(linux, "load") == []
    # 200 ticks more: 30 + 10 + 5 + 5 of them busy, 120 idle and 30 waiting.
    stat.write_text("cpu  130 0 60 920 80 5 5 0 9 0\n")
    assert readings(linux, "load") == [("CPU", 25.0)]
    assert readings(linux, "load") == []  # no time has passed
    stat.write_text("cpu  130 0 60\n")
    assert readings(linux, "load") == []


def test_what_slows_because_of_heat_is_named_and_no_fan_is(tmp_path: Path) -> None:
    intel = Linux(plant(tmp_path / "intel", INTEL))
    assert throttles(intel) == [
        Throttle("Processor", "heat", True),  # one of two
        Throttle("CPU", "heat", False),
    ]
    # A Jetson's alerts, and not cpufreq-cpu0, which follows the power mode, too.
    orin = Linux(plant(tmp_path / "orin", ORIN_NANO))
    assert throttles(orin) == [
        Throttle("cpu", "heat", False),
        Throttle("gpu", "heat", True),
        Throttle("hot-surface", "heat", False),
    ]
    (tmp_path / "orin" / COOLING).with_name("cooling_device4").joinpath("cur_state").write_text("0")
    assert not any(throttle.active for throttle in throttles(orin))


def test_a_core_that_throttled_since_the_sample_before_is_told_with_the_count(
    tmp_path: Path,
) -> None:
    intel = Linux(plant(tmp_path, INTEL))
    assert readings(intel, "throttles") == [("CPU heat", 43.0)]  # 41 + 2
    file = tmp_path / "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count"
    file.write_text("3\n")
    assert Throttle("CPU", "heat", True) in throttles(intel)
    assert Throttle("CPU", "heat", False) in throttles(intel)


XEON = """\
processor : 0
vendor_id : GenuineIntel
cpu family : 6
model : 143
model name : Intel(R) Xeon(R) Processor
stepping : 8
microcode : 0x1
cpu MHz : 2100.000
flags : fpu sse avx2 avx512f
bogomips : 4200.00

"""
A78AE = """\
processor : 0
BogoMIPS : 62.50
Features : fp asimd asimddp
CPU implementer : 0x41
CPU part : 0xd42
CPU revision : 1

"""


@pytest.mark.parametrize(
    ("cpuinfo", "varying", "telling"),
    [
        (XEON, "MHz : 2100", ("avx512f", "stepping : 8", "model : 143")),
        (A78AE, "62.50", ("asimddp", "0x41", "0xd42", "revision : 1")),
    ],
)
def test_a_processor_is_told_by_all_that_stays_and_by_nothing_that_varies(
    tmp_path: Path, cpuinfo: str, varying: str, telling: tuple[str, ...]
) -> None:
    def identity(text: str) -> str:
        return cpu_identity(plant(tmp_path, {"proc/cpuinfo": text}))

    one = identity(cpuinfo)
    assert identity(cpuinfo + cpuinfo.replace("processor : 0", "processor : 1")) == one
    assert identity(cpuinfo.replace(varying, "1")) == one
    others = {identity(cpuinfo.replace(part, "9")) for part in telling}
    assert len(others | {one}) == len(telling) + 1


@pytest.mark.parametrize("garbage", ["", "Resource temporarily unavailable", "nan", "\0", "12 C"])
def test_a_sensor_that_gives_garbage_or_vanishes_is_left_out(tmp_path: Path, garbage: str) -> None:
    linux = Linux(plant(tmp_path, INTEL))
    (tmp_path / f"{ZONE}1/temp").write_text(garbage)
    (tmp_path / f"{ZONE}0/temp").unlink()
    (tmp_path / f"{CPUFREQ}0/scaling_cur_freq").write_text(garbage)
    (tmp_path / "proc/meminfo").write_text(garbage)
    assert [name for name, _ in readings(linux, "temperature")] == [
        "acpitz",
        "coretemp Package id 0",
    ]
    assert readings(linux, "clock") == [("CPU fastest", 800.0), ("CPU slowest", 800.0)]
    assert readings(linux, "memory") == []


def test_a_machine_that_tells_nothing_yields_nothing(tmp_path: Path) -> None:
    assert list(Linux(tmp_path).read()) == []
