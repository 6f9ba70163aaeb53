"""What any Linux tells in /proc and /sys of its processor, its memory and its heat."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edge.telemetry.sample import Fact, Growth, Reading, Throttle, number
from engines.files import text_of

_PLAUSIBLE_C = (-50.0, 150.0)
"""Sensors that are off give -256, -273 and the like; what is hotter is no silicon that runs."""
_NO_SENSOR = re.compile(r"PMIC|fan-est")
"""Zones that give a constant or a sum for the fan."""
_CHIPS = ("coretemp", "k10temp", "zenpower")
"""Drivers of x86 processors' sensors; on AMD's no thermal zone shows them."""
_WHOLE_CHIP = re.compile(r"Package|Tctl|Tdie")
_PROCESSOR = re.compile(
    r"^(?:model name|cpu family|model|stepping|flags|Features|CPU [a-z]+)\s*:.*$", re.MULTILINE
)
"""Lines of /proc/cpuinfo that stay as they are from one start to the next."""
_SLOWS = re.compile(r"-alert$|^Processor$|cpufreq|devfreq")
"""Cooling devices that slow something down; others are fans and modems."""


def cpu_name() -> str:
    """The processor's name; empty where the kernel tells none, as on ARM."""
    found = re.search(r"^model name\s*:(.*)", text_of(Path("/proc/cpuinfo")), re.MULTILINE)
    return found.group(1).strip() if found else ""


def cpu_identity(root: Path = Path("/")) -> str:
    """What tells this processor from another: name, parts and instruction sets, in many words.

    Virtual machines of one name differ in their instructions, and ARM tells no name.
    """
    return " ".join(sorted(set(_PROCESSOR.findall(text_of(root / "proc/cpuinfo")))))


class Linux:
    """Reads below ``root``; what is not there yields nothing."""

    def __init__(self, root: Path) -> None:
        self._proc, self._sys = root / "proc", root / "sys"
        self._growth = Growth()
        self._times: tuple[int, int] | None = None

    def read(self) -> Iterator[Fact]:
        """All there is now."""
        yield from self._temperatures()
        yield from self._clocks()
        yield from self._load()
        yield from self._memory()
        yield from self._cooling()
        yield from self._throttles()

    def _temperatures(self) -> Iterator[Fact]:
        for zone in sorted((self._sys / "class/thermal").glob("thermal_zone*")):
            name = text_of(zone / "type").strip()
            if name and not _NO_SENSOR.search(name):
                yield from _temperature(name, zone / "temp")
        for chip in sorted((self._sys / "class/hwmon").glob("hwmon*")):
            driver = text_of(chip / "name").strip()
            if driver not in _CHIPS:
                continue
            for label in sorted(chip.glob("temp*_label")):
                name = text_of(label).strip()
                if _WHOLE_CHIP.search(name):
                    file = label.with_name(label.name.replace("_label", "_input"))
                    yield from _temperature(f"{driver} {name}", file)

    def _clocks(self) -> Iterator[Fact]:
        folder = self._sys / "devices/system/cpu/cpufreq"
        khz = [
            value
            for policy in folder.glob("policy*")
            if (value := number(policy / "scaling_cur_freq")) is not None
        ]
        if khz:
            yield Reading("clock", "CPU fastest", max(khz) / 1e3)
            yield Reading("clock", "CPU slowest", min(khz) / 1e3)

    def _load(self) -> Iterator[Fact]:
        """Busy time of all cores since the sample before (proc_stat(5): ticks)."""
        words = text_of(self._proc / "stat").partition("\n")[0].split()
        if len(words) < 9 or not all(word.isdecimal() for word in words[1:9]):
            return
        # user nice system idle iowait irq softirq steal; a guest's time is in user and nice.
        ticks = [int(word) for word in words[1:9]]
        total, idle = sum(ticks), ticks[3] + ticks[4]
        before, self._times = self._times, (total, idle)
        if before is not None and total > before[0]:
            busy = 1 - (idle - before[1]) / (total - before[0])
            yield Reading("load", "CPU", 100 * min(max(busy, 0.0), 1.0))

    def _memory(self) -> Iterator[Fact]:
        text = text_of(self._proc / "meminfo")
        for key, name in (("MemTotal", "RAM total"), ("MemAvailable", "RAM available")):
            if found := re.search(rf"^{key}:\s+(\d+) kB", text, re.MULTILINE):
                yield Reading("memory", name, int(found[1]) * 1024 / 1e6)

    def _cooling(self) -> Iterator[Fact]:
        """What the kernel slows down because of heat; one of several that share a name is enough.

        A Jetson has alerts of its own; its other devices also follow the power mode.
        """
        slowed: dict[str, bool] = {}
        for device in sorted((self._sys / "class/thermal").glob("cooling_device*")):
            name, state = text_of(device / "type").strip(), number(device / "cur_state")
            if _SLOWS.search(name) and state is not None:
                slowed[name] = slowed.get(name, False) or state > 0
        alerts = [name for name in slowed if name.endswith("-alert")]
        for name in alerts or slowed:
            device_name = name.removesuffix("-alert").removesuffix("-throttle")
            yield Throttle(device_name, "heat", slowed[name])

    def _throttles(self) -> Iterator[Fact]:
        """Of x86 cores, by their own counters."""
        folder = self._sys / "devices/system/cpu"
        counts = [
            count
            for file in folder.glob("cpu*/thermal_throttle/core_throttle_count")
            if (count := number(file)) is not None
        ]
        if counts:
            total = sum(counts)
            yield Reading("throttles", "CPU heat", total)
            yield Throttle("CPU", "heat", self._growth.of("CPU heat", total))


def _temperature(name: str, file: Path) -> Iterator[Fact]:
    millidegrees = number(file)
    if millidegrees is not None:
        celsius = millidegrees / 1e3
        if _PLAUSIBLE_C[0] < celsius < _PLAUSIBLE_C[1]:
            yield Reading("temperature", name, celsius)
