"""Under a real systemd: what an operator meets, from a camera that is absent to an orderly stop."""

from __future__ import annotations

import base64
import io
import json
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import pytest

from edge.sources.video.media import av
from tests.edge.gst_here import needs_gst
from tests.field.rtsp_camera import RtspCamera, missing
from tests.systemd.booted import Boot, lacking
from tests.systemd.services import MODEL, NULL, PATIENCE, SMALL, STATE, STREET, Service

SYNTHETIC = f'[source]\nuri = "synthetic:128x64@20"\npolicy = "drop"\n{PATIENCE}' + SMALL
PASSWORD = "s3cret-of-a-camera"


@pytest.fixture
def camera() -> Iterator[RtspCamera]:
    """An RTSP camera that is off."""
    if why := missing(needs_gst()):
        lacking(why)
    with RtspCamera() as one:
        yield one


@pytest.mark.slow
def test_it_is_ready_when_a_picture_went_through_and_not_before(boot: Boot) -> None:
    starting = {stage: Service(boot, stage) for stage in ("sink", "model", "engine")}
    for stage, service in starting.items():
        service.install(SYNTHETIC + NULL, faults=True)
        service.fault(stage)
        service.start(wait=False)
    for stage, service in starting.items():
        service.until_held(stage)
    for stage, service in starting.items():  # the last has stood still while others went on
        assert service.state == "activating"
        service.go_on(stage)
        service.until_active()
    boot.ctl("stop", *(service.unit for service in starting.values()))


@pytest.mark.slow
def test_settings_and_models_that_are_refused_stop_it_at_once_and_its_status_says_why(
    boot: Boot,
) -> None:
    boot.write("/srv/broken.onnx", "no network")
    wrong = {
        "two": (SYNTHETIC + NULL + "[sauce]\n", 2, "sauce: unknown section"),
        "four": (SYNTHETIC.replace("tiny", "broken") + NULL, 4, "/srv/broken.onnx: "),
    }
    for name, (settings, code, why) in wrong.items():
        service = Service(boot, name)
        service.install(SYNTHETIC + NULL)
        service.configure(settings)
        assert boot.ctl("start", service.unit, check=False).returncode == 1
        assert (service.state, service.restarts) == ("failed", 0)
        assert service.show("ExecMainStatus") == str(code)
        assert why in service.told()
    assert service.show("StatusText").startswith("ended: error in model: /srv/broken.onnx: ")


@pytest.mark.slow
def test_a_camera_that_is_absent_at_the_start_is_waited_for_and_its_password_shows_nowhere(
    boot: Boot, camera: RtspCamera
) -> None:
    front = Service(boot, "front")
    boot.write("/etc/outrider/credentials/front", PASSWORD + "\n")
    boot.run("chmod", "600", "/etc/outrider/credentials/front")
    secret = 'password_file = "${CREDENTIALS_DIRECTORY}/front"\nstall_s = 1.0\n'
    front.install(f'[source]\nuri = "{camera.url("me")}"\n{secret}{PATIENCE}' + SMALL + NULL)
    front.start()
    assert front.show("StatusText").startswith("reconnecting, no frame yet")
    lost = next(r for r in front.records() if r.get("OUTRIDER_STATE") == "reconnecting")
    ready_us = int(front.show("ActiveEnterTimestampMonotonic"))
    assert ready_us - int(lost["__MONOTONIC_TIMESTAMP"]) > 900_000  # NO SIGNAL comes after stall_s
    camera.start(login=f"me:{PASSWORD}")
    front.until(lambda: front.show("StatusText").startswith("live, "), "it is live")
    assert (front.state, front.restarts) == ("active", 0)
    assert "Scheduled restart job" not in front.journal()

    seen = "cat /proc/[0-9]*/environ /proc/[0-9]*/cmdline 2>/dev/null | tr -c '[:print:]' '\\n'"
    everywhere = {
        "processes": boot.run("sh", "-c", seen).stdout,
        "journal": boot.journal("--all", "-o", "json"),
        "unit": boot.ctl("show", front.unit).stdout + front.told(),
    }
    assert "CREDENTIALS_DIRECTORY=" in everywhere["processes"]
    for text in everywhere.values():
        assert "front.toml" in text  # it is the right place to look
        assert PASSWORD not in text
    boot.ctl("stop", front.unit)


@pytest.mark.slow
def test_settings_change_without_a_lost_frame_and_a_stop_closes_the_recording(boot: Boot) -> None:
    street = Service(boot, "street")
    lines = Lines(street)
    files = f'"{STATE}/street.jsonl", "{STATE}/street.mp4", "record:{STATE}/films"'
    sinks = f"[output]\nsinks = [{files}]\n"
    sinks += f'metrics = "{STATE}/street.json"\n'
    source = f'[source]\nuri = "synthetic:480x270@30"\npolicy = "wait"\n{PATIENCE}' + STREET
    street.install(source + sinks + "[detect]\nconf = 0.3\n")
    street.start()
    lines.until_more(20)

    before = lines.until_more(20)
    street.configure(source + sinks + "[detect]\nconf = 0.9\n")
    boot.ctl("reload", street.unit)  # which comes back when they are read
    told = "the settings were read again: detect.conf"
    street.until(lambda: told in street.journal(), "the journal tells that they are")
    after = lines.until_more(20)
    street.configure(source + sinks + "[detect]\nconf = 9\n")
    boot.ctl("reload", street.unit)
    street.until(lambda: "the old ones stay" in street.journal(), "the journal says why")
    lines.until_more(20)
    assert street.state == "active"
    boot.ctl("stop", street.unit)
    assert street.show("Result") == "success"

    log = street.journal()
    assert "the old ones stay: " in log
    assert "detect.conf" in log[log.index("the old ones stay") :]
    found = lines.read()
    assert [line["frame"] for line in found] == list(range(len(found)))  # not one is lost
    assert min(scores(found[:before])) < 0.9
    assert scores(found[after:])
    assert min(scores(found[after:])) >= 0.9
    report = json.loads(street.file("street.json"))
    assert report["frames"]["rendered"] == len(found)
    assert report["engine"] == "openvino"
    assert boot.run("stat", "-c", "%U", f"{STATE}/street.json").stdout == "outrider\n"
    film = base64.b64decode(boot.run("base64", f"{STATE}/street.mp4").stdout)
    with av.open(io.BytesIO(film), "r") as container:
        assert container.streams.video[0].frames == len(found)  # told by the index of a closed file
        assert sum(1 for _ in container.decode(video=0)) == len(found)
    recorded = boot.run("sh", "-c", f"cat {STATE}/films/*.jsonl").stdout.splitlines()
    assert [json.loads(line)["frame"] for line in recorded] == list(range(len(found)))


TOKEN = "0123456789abcdef0123456789abcdef"


def asked(port: int, path: str, *, token: str = "") -> tuple[int, Any]:
    """The status and the JSON with which a page answers."""
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as exc:
        return exc.code, json.load(exc)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@pytest.mark.slow
def test_a_page_is_served_out_of_the_sandbox_and_tells_whether_frames_flow(boot: Boot) -> None:
    # A boot has the machine's own network.
    near, dark, far = (Service(boot, name) for name in ("near", "dark", "far"))
    ports = {service: free_port() for service in (near, dark, far)}
    boot.write("/etc/outrider/credentials/page", TOKEN + "\n")
    boot.run("chmod", "600", "/etc/outrider/credentials/page")
    page = '[output]\nsinks = ["web:{}:{}"]\n'
    secret = '[web]\ntoken_file = "${CREDENTIALS_DIRECTORY}/page"\n'
    absent = f'[source]\nuri = "/dev/video77"\nstall_s = 1.0\n{PATIENCE}' + SMALL
    near.install(SYNTHETIC + page.format("127.0.0.1", ports[near]))
    dark.install(absent + page.format("127.0.0.1", ports[dark]))
    far.install(SYNTHETIC + page.format("0.0.0.0", ports[far]) + secret)
    boot.ctl("start", *(service.unit for service in ports))

    assert asked(ports[near], "/healthz")[0] == 200
    code, status = asked(ports[near], "/api/status")
    assert (code, status["now"]["flowing"]) == (200, True)
    assert status["run"]["models"] == [MODEL]
    assert set(near.show("IPAddressAllow").split()) == {"127.0.0.0/8", "::1/128"}
    assert set(near.show("IPAddressDeny").split()) == {"0.0.0.0/0", "::/0"}
    assert near.show("PrivateNetwork") == "no"

    assert asked(ports[dark], "/healthz")[0] == 503
    assert asked(ports[dark], "/api/status")[1]["now"]["status"]["state"] == "reconnecting"

    assert asked(ports[far], "/api/status")[0] == 401
    assert asked(ports[far], "/api/status", token=TOKEN[::-1])[0] == 401
    assert asked(ports[far], "/api/status", token=TOKEN)[0] == 200
    assert TOKEN not in boot.journal("--all", "-o", "json")
    boot.ctl("stop", *(service.unit for service in ports))
    assert {service.show("Result") for service in ports} == {"success"}


class Lines:
    """The lines of a service's JSONL."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def read(self) -> list[dict[str, Any]]:
        """All whole ones."""
        text = self._service.file(f"{self._service.name}.jsonl")
        return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]

    def until_more(self, more: int) -> int:
        """Until there are ``more`` than now; returns how many."""
        wanted = len(self.read()) + more
        self._service.until(lambda: len(self.read()) >= wanted, "it goes on writing")
        return len(self.read())


def scores(lines: list[dict[str, Any]]) -> list[float]:
    return [found["score"] for line in lines for found in line["detections"]]
