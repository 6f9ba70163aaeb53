"""Faults of the service under a real systemd, with the deadlines as shipped, as a table."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.field.rtsp_camera import RtspCamera
from tests.systemd.booted import Boot, booted
from tests.systemd.services import FAULTY, MODEL, NULL, SMALL, STATE, STREET, Service, put
from tests.systemd.test_faults_booted import READER
from tests.tiny_models import tiny_street

SYNTHETIC = f'[source]\nuri = "synthetic:480x270@20"\npolicy = "drop"\n{SMALL}'
LOGIN = "me:s3cret"
WITHIN_S = 90.0
STEADY_S = 8.0
"""Longer than a connection has to live for the next pause to be the shortest."""

Record = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Felt:
    """A row: seconds since the fault, ``back`` of a camera since its repair; '–' for none."""

    fault: str
    told: str = "–"
    ended: str = "–"
    back: str = "–"


def said(text: str) -> Callable[[Record], bool]:
    """Records whose message holds ``text``."""
    return lambda record: text in str(record["MESSAGE"])


def state(name: str) -> Callable[[Record], bool]:
    """Records of a source's new state."""
    return lambda record: record.get("OUTRIDER_STATE") == name


def after(service: Service, since_s: float, wanted: Callable[[Record], bool]) -> str:
    """Seconds from ``since_s`` (CLOCK_MONOTONIC) to the first record that is ``wanted``."""
    end = time.monotonic() + WITHIN_S
    while time.monotonic() < end:
        for record in service.records():
            at_s = int(record["__MONOTONIC_TIMESTAMP"]) / 1e6
            if at_s >= since_s - 0.05 and wanted(record):
                return f"{max(0.0, at_s - since_s):.1f}"
        time.sleep(0.2)
    raise AssertionError(f"{service.unit} never came to it:\n{service.told()}")


def _silence(service: Service, at: float) -> str:
    stalled, lost = (after(service, at, state(name)) for name in ("stalled", "reconnecting"))
    return f"{stalled} stalled, {lost} reconnecting"


def measured(shared: Path) -> Iterator[Felt]:
    """Play every fault; ``shared`` is the folder in which systemd/boot.sh lies."""
    with (
        tempfile.TemporaryDirectory() as scratch,
        booted(shared) as boot,
        RtspCamera() as first,
        RtspCamera() as second,
    ):
        model = Path(scratch) / "tiny.onnx"
        tiny_street(model)
        boot.install_app()
        put(boot, MODEL, model)
        faulty = Path(__file__).parents[1] / "systemd" / "faulty.py"
        boot.write(FAULTY, faulty.read_text())
        yield from _cameras(boot, first)
        yield from _stages(boot, second)


def _cameras(boot: Boot, camera: RtspCamera) -> Iterator[Felt]:
    front = Service(boot, "front")
    boot.write("/etc/outrider/credentials/front", LOGIN.partition(":")[2] + "\n")
    boot.run("chmod", "600", "/etc/outrider/credentials/front")
    source = f'[source]\nuri = "{camera.url("me")}"\n'
    password = 'password_file = "${CREDENTIALS_DIRECTORY}/front"\n'
    front.install(f'{source}{password}{STREET}[output]\nsinks = ["{STATE}/front.mp4"]\n')

    at = time.monotonic()
    front.start()
    told, ready = after(front, at, state("reconnecting")), after(front, at, said("Started"))
    camera.start(login=LOGIN, wh=(640, 320))
    live = after(front, time.monotonic(), state("live"))
    yield Felt("no camera at the start", f"{told}, READY {ready}", back=live)
    time.sleep(STEADY_S)

    at = time.monotonic()
    camera.kill()
    told = after(front, at, state("reconnecting"))
    camera.start(login=LOGIN, wh=(640, 320))
    yield Felt(
        "the camera's server is killed", told, back=after(front, time.monotonic(), state("live"))
    )
    time.sleep(STEADY_S)

    at = time.monotonic()
    camera.freeze()
    told = (
        f"{after(front, at, state('stalled'))} stalled, {after(front, at, state('reconnecting'))}"
    )
    camera.thaw()
    yield Felt("the camera freezes", told, back=after(front, time.monotonic(), state("live")))
    boot.ctl("stop", front.unit)


def _stages(boot: Boot, camera: RtspCamera) -> Iterator[Felt]:
    camera.start(wh=(256, 128), fps=20)
    source, engine, sink = (Service(boot, name) for name in ("source", "engine", "sink"))
    boot.run("mkfifo", "-m", "666", "/srv/lines.jsonl")
    boot.run("systemd-run", "--quiet", "--unit=reader", "/usr/bin/python3", "-c", READER)
    source.install(f'[source]\nuri = "{camera.url()}"\nhang_s = 600.0\n{SMALL}{NULL}', faults=True)
    engine.install(SYNTHETIC + NULL, faults=True)
    sink.install(SYNTHETIC + '[output]\nsinks = ["/srv/lines.jsonl"]\n')
    for service in (source, engine, sink):
        service.start()
    at = time.monotonic()
    boot.ctl("kill", "--kill-who=main", "--signal=STOP", "reader")
    source.fault("source")
    engine.fault("engine")
    ended = {s.name: after(s, at, said("Main process exited")) for s in (source, engine, sink)}
    boot.ctl("kill", "--kill-who=main", "--signal=CONT", "reader")
    told = (
        f"{after(source, at, state('stalled'))} stalled, {after(source, at, state('reconnecting'))}"
    )
    back = {service.name: after(service, at, said("Started")) for service in (source, engine)}
    yield Felt("a read never comes back", told, ended["source"], back["source"])
    yield Felt("the engine never comes back", "–", ended["engine"], back["engine"])
    yield Felt("a sink takes nothing more", "–", ended["sink"])

    at = time.monotonic()
    boot.ctl("kill", "--kill-who=main", "--signal=KILL", engine.unit)
    ended_s = after(engine, at, said("Main process exited"))
    yield Felt("the process is killed", "–", ended_s, after(engine, at, said("Started")))

    engine.configure(SYNTHETIC + NULL + "[sauce]\n")
    at = time.monotonic()
    boot.ctl("restart", engine.unit, check=False)
    yield Felt(
        "a mistake in the settings",
        after(engine, at, said("sauce")),
        after(engine, at, said("Main process exited")),
    )


def as_markdown(rows: Iterator[Felt]) -> Iterator[str]:
    """The table, line by line as it is measured."""
    yield "| fault | told | ended | back |"
    yield "|---|---|---|---|"
    for row in rows:
        yield f"| {row.fault} | {row.told} | {row.ended} | {row.back} |"
