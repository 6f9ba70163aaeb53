"""Under a real systemd: what hangs or fails is started anew, and nothing beside it is touched.

All services run beside each other in one boot.
"""

from __future__ import annotations

import pytest

from tests.field.mjpeg_camera import MjpegCamera
from tests.systemd.booted import Boot
from tests.systemd.services import NULL, PATIENCE, SMALL, Service

STREET = f'[source]\nuri = "synthetic:128x64@20"\npolicy = "drop"\n{PATIENCE}' + SMALL
READER = """
import fcntl
while True:
    with open("/srv/lines.jsonl", "rb", buffering=0) as pipe:
        fcntl.fcntl(pipe, 1031, 4096)  # F_SETPIPE_SZ: few lines fit while nobody reads
        while pipe.read(4096):
            pass
"""


@pytest.mark.slow
def test_a_hung_source_engine_and_sink_are_each_killed_by_the_watchdog_and_come_back(
    boot: Boot,
) -> None:
    names = ("source", "engine", "sink", "beside")
    source, engine, sink, beside = (Service(boot, name) for name in names)
    boot.run("mkfifo", "-m", "666", "/srv/lines.jsonl")
    boot.run("systemd-run", "--quiet", "--unit=reader", "/usr/bin/python3", "-c", READER)
    with MjpegCamera(fps=20) as camera:
        camera.start()
        settings = f'[source]\nuri = "{camera.url}"\n{PATIENCE}' + SMALL
        source.install(settings + NULL, faults=True)
        engine.install(STREET + NULL, faults=True)
        sink.install(STREET + '[output]\nsinks = ["/srv/lines.jsonl"]\n')
        beside.install(STREET + NULL)
        hung = {"source": source, "engine": engine, "sink": sink}
        for service in (*hung.values(), beside):
            service.start(wait=False)
        for service in (*hung.values(), beside):
            service.until_active()
        source.until(lambda: "source live" in source.journal(), "its camera is live")
        steady = beside.show("MainPID")
        boot.ctl("kill", "--kill-who=main", "--signal=STOP", "reader")
        for stage in ("source", "engine"):
            hung[stage].fault(stage)
        for stage in ("source", "engine"):
            hung[stage].until_held(stage)
        sink.until_started_again()
        boot.ctl("kill", "--kill-who=main", "--signal=CONT", "reader")
        for service in hung.values():
            service.until_restarted()
    stood_in = {"source": "faulty.py", "engine": "faulty.py", "sink": "jsonl.py"}
    for service in hung.values():
        boot.ctl("stop", service.unit)
    for stage, service in hung.items():
        log = service.journal()
        assert log.count("Watchdog timeout") == 1, log
        assert log.count("Failed with result 'watchdog'") == 1, log
        assert "Fatal Python error: Aborted" in log, log  # where each thread stood
        stacks = log[log.index("Fatal Python error") : log.index("Failed with result")]
        assert f'{stood_in[stage]}", line' in stacks, stacks
    assert (beside.state, beside.restarts, beside.show("MainPID")) == ("active", 0, steady)
    boot.ctl("stop", beside.unit)


@pytest.mark.slow
def test_an_error_that_a_restart_may_mend_is_tried_again_after_the_same_time(boot: Boot) -> None:
    failing = {code: Service(boot, f"fails{code}") for code in ("3", "5", "6")}
    film = f'[source]\nuri = "/srv/missing.mp4"\n{PATIENCE}' + SMALL
    failing["3"].install(film + NULL)
    for code, stage in (("5", "sink"), ("6", "engine")):
        failing[code].install(STREET + NULL, faults=True)
        failing[code].fault(stage, code)
    for service in failing.values():
        service.start(wait=False)
    for code, service in failing.items():
        service.until_started_again(2)
        boot.ctl("stop", service.unit)
        log = service.journal()
        assert log.count(f"code=exited, status={code}/") >= 2, log
        waited = waits_us(service)
        assert min(waited) >= 1_000_000, waited
        assert max(waited) < 1_900_000, waited  # twice as long the second time would be 2 s


def waits_us(service: Service) -> list[int]:
    """From each end of the process to the next start."""
    waited, ended = [], None
    for record in service.records():
        at = int(record["__MONOTONIC_TIMESTAMP"])
        if "Main process exited" in record["MESSAGE"]:
            ended = at
        elif "Scheduled restart job" in record["MESSAGE"] and ended is not None:
            waited.append(at - ended)
    return waited
