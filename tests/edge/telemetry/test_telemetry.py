"""Sampling beside the frames: what fails there, hangs or vanishes ends nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.telemetry.sample import Fact, Reading, Sample, Throttle
from edge.telemetry.telemetry import STALE_S, Reader, Telemetry
from tests.edge.door import edge
from tests.edge.telemetry.trees import INTEL, ORIN_NANO, plant

DEADLINE_S = 30


class Scripted:
    """A side of the machine that gives one list of facts after another, or raises."""

    def __init__(self, *samples: list[Fact] | Exception) -> None:
        self._samples = list(samples)
        self.asked = threading.Semaphore(0)
        self.dry = threading.Event()

    def read(self) -> Iterator[Fact]:
        self.asked.release()
        if not self._samples:
            self.dry.set()
            return
        facts = self._samples.pop(0)
        if isinstance(facts, Exception):
            raise facts
        yield from facts


def sampled(telemetry: Telemetry, *, until: int) -> Sample:
    """The newest sample with ``until`` readings, when there is one."""
    for _ in range(DEADLINE_S * 100):
        if len(telemetry.newest.readings) == until:
            return telemetry.newest
        threading.Event().wait(0.01)
    raise AssertionError(telemetry.newest)


def test_a_machine_is_sampled_on_a_thread_until_the_end(tmp_path: Path) -> None:
    telemetry = Telemetry(plant(tmp_path, ORIN_NANO), period_s=0.01)
    assert telemetry.newest == Sample()
    telemetry.start()
    try:
        sample = sampled(telemetry, until=16)
        assert sample.power_mode == "MAXN_SUPER"
        told = sample.as_json()
        assert told["power_mode"] == "MAXN_SUPER"
        assert {"name": "VDD_IN", "value": 7.524, "unit": "W", "kind": "power"} in told["readings"]
        assert told["throttling"] == [{"device": "gpu", "reason": "heat"}]
        (tmp_path / "sys/class/hwmon/hwmon1/curr1_input").unlink()
        sampled(telemetry, until=15)
    finally:
        telemetry.close()


def test_a_reader_that_fails_is_told_once_and_leaves_the_others(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    heat = Reading("temperature", "x", 50.0)
    samples: list[list[Fact]] = [[heat]] * 1000
    broken, whole = Scripted(*[RuntimeError("gone")] * 3), Scripted(*samples)
    readers: list[Reader] = [broken, whole]
    telemetry = Telemetry(tmp_path, open_readers=lambda root: readers, period_s=0.001)
    with caplog.at_level(logging.WARNING):
        telemetry.start()
        try:
            assert broken.dry.wait(DEADLINE_S)
            assert telemetry.newest.readings == (heat,)
        finally:
            telemetry.close()
    assert [record.getMessage() for record in caplog.records] == [
        "the machine's state by Scripted is not whole: RuntimeError('gone')"
    ]


def test_readings_that_share_a_name_are_told_apart(tmp_path: Path) -> None:
    telemetry = Telemetry(plant(tmp_path, INTEL), period_s=0.01)
    telemetry.start()
    try:
        sample = sampled(telemetry, until=9)
        names = [(r.kind, r.name) for r in sample.readings]
        assert len(set(names)) == len(names)
        assert ("temperature", "acpitz 2") in names
    finally:
        telemetry.close()


def test_a_sample_that_no_newer_one_follows_is_not_told_for_long(tmp_path: Path) -> None:
    now_s = 100.0
    facts: list[Fact] = [Reading("power", "x", 1.0), Throttle("x", "heat", True)]
    reader = Scripted(facts)
    telemetry = Telemetry(
        tmp_path, open_readers=lambda root: [reader], period_s=3600, clock=lambda: now_s
    )
    telemetry.start()
    try:
        assert sampled(telemetry, until=1).throttles == (facts[1],)
        now_s += STALE_S
        assert telemetry.newest == Sample()
    finally:
        telemetry.close()


def test_a_run_without_the_page_reads_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import atexit, sys\n"
        "names = ('pynvml', 'prometheus_client', 'edge.telemetry.telemetry', 'starlette')\n"
        "atexit.register(lambda: print([n for n in names if n in sys.modules]))\n"
    )
    run = edge(
        "run", "--source", "synthetic:96x64", "--frames", "2", "--sink", "null",
        env={"PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert (run.returncode, run.stdout.strip()) == (0, "[]"), run.stderr
