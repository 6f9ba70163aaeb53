"""Cameras as far as a machine without one can tell: grammar, finding, refusals, dates."""

from __future__ import annotations

import math
import threading
from pathlib import Path

import pytest

from edge.sources import SourceOptions, open_source
from edge.sources.camera import (
    CameraRequest,
    CameraSource,
    dated,
    find_device,
    list_cameras,
    parse_camera,
    rate_of,
)
from engines.errors import SettingsError, SourceError
from tests.edge.media_files import unprivileged

STABLE = "usb-046d_HD_Pro_Webcam_C920_8F2A-video-index0"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A machine with a webcam (video0 pictures, video1 metadata) and a laptop camera on video10."""
    by_id = tmp_path / "dev/v4l/by-id"
    by_id.mkdir(parents=True)
    for number, name, index in (
        (0, "HD Pro Webcam C920", 0),
        (1, "HD Pro Webcam C920", 1),
        (10, "Integrated", 0),
    ):
        (tmp_path / f"dev/video{number}").touch()
        node = tmp_path / f"sys/class/video4linux/video{number}"
        node.mkdir(parents=True)
        (node / "name").write_text(name + "\n")
        (node / "index").write_text(f"{index}\n")
    (by_id / STABLE).symlink_to("../../video0")
    (by_id / STABLE.replace("index0", "index1")).symlink_to("../../video1")
    return tmp_path


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("/dev/video2", CameraRequest("/dev/video2")),
        ("camera:0", CameraRequest("0")),
        ("camera:0:1280x720@30", CameraRequest("0", (1280, 720), 30.0)),
        ("camera:0:640x480@7.5:mjpg", CameraRequest("0", (640, 480), 7.5, "MJPG")),
        (f"camera:{STABLE}", CameraRequest(STABLE)),
        (f"camera:{STABLE}:640x480@30:YUYV", CameraRequest(STABLE, (640, 480), 30.0, "YUYV")),
        ("camera:usb-a:b-video-index0", CameraRequest("usb-a:b-video-index0")),
    ],
)
def test_the_grammar_of_a_camera(text: str, wanted: CameraRequest) -> None:
    assert parse_camera(text) == wanted


@pytest.mark.parametrize(
    "text",
    [
        "camera:",
        "camera:0:640x480",
        "camera:0:MJPG",
        "camera:0:0x480@30",
        "camera:0:640x480@30:JPEGS",
    ],
)
def test_a_text_that_is_nearly_a_camera_is_a_settings_error(text: str) -> None:
    with pytest.raises(SettingsError, match=text.partition(":")[0]):
        parse_camera(text)


def test_cameras_are_listed_by_stable_name_without_their_metadata_nodes(root: Path) -> None:
    assert [str(c) for c in list_cameras(root)] == [
        f"camera:{STABLE} (HD Pro Webcam C920)",
        "camera:10 (Integrated)",
    ]


def test_a_machine_without_cameras_lists_none(tmp_path: Path) -> None:
    assert list_cameras(tmp_path) == []


@pytest.mark.parametrize("id_", ["0", "/dev/video0", STABLE])
def test_every_way_to_name_a_camera_finds_its_device(root: Path, id_: str) -> None:
    assert find_device(CameraRequest(id_), root) == (root / "dev/video0").resolve()


@pytest.mark.parametrize("id_", ["7", "/dev/video7", "usb-other-video-index0"])
def test_an_absent_camera_is_refused_with_those_that_are_there(root: Path, id_: str) -> None:
    with pytest.raises(SourceError, match=f"no such camera.*there are camera:{STABLE}"):
        find_device(CameraRequest(id_), root)


def plugged(root: Path, number: int, name: str, port: str) -> None:
    """A camera without a serial number, and so without a name in by-id."""
    (root / f"dev/video{number}").touch()
    node = root / f"sys/class/video4linux/video{number}"
    node.mkdir(parents=True)
    (node / "name").write_text(name + "\n")
    (node / "index").write_text("0\n")
    (root / f"sys/devices/usb/{port}").mkdir(parents=True)
    (node / "device").symlink_to(root / f"sys/devices/usb/{port}")


def test_a_camera_that_comes_back_under_another_number_is_found_by_its_identity(
    root: Path,
) -> None:
    plugged(root, 4, "Webcam", "1-2:1.0")
    first = {str(c.device.name): c.identity for c in list_cameras(root)}
    assert first == {
        "video0": STABLE,
        "video4": "Webcam at port 1-2:1.0",
        "video10": "Integrated at port device",
    }
    # Both were unplugged; the one with a serial number comes back as video2.
    (root / "dev/v4l/by-id" / STABLE).unlink()
    plugged(root, 2, "HD Pro Webcam C920", "1-1:1.0")
    (root / "dev/v4l/by-id" / STABLE).symlink_to("../../video2")
    request = CameraRequest("0")
    assert find_device(request, root, identity=STABLE).name == "video2"


def test_another_camera_in_the_place_of_the_first_is_refused(root: Path) -> None:
    plugged(root, 4, "Webcam", "1-2:1.0")
    wanted = "Webcam at port 1-3:1.0"  # the same model, in another port
    with pytest.raises(SourceError, match=f"{wanted}, with which the run began, is not there"):
        find_device(CameraRequest("4"), root, identity=wanted)


def test_an_absent_camera_on_a_machine_without_any_says_so(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="this machine shows no camera"):
        find_device(CameraRequest("0"), tmp_path)


def test_a_camera_that_may_not_be_opened_names_the_group(root: Path) -> None:
    (root / "dev/video0").chmod(0)
    with unprivileged(), pytest.raises(SourceError, match="usermod -aG video"):
        find_device(CameraRequest("0"), root)


def test_a_device_that_gives_no_pictures_is_refused_without_noise(
    root: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SourceError, match=r"busy with another program .* or not a camera"):
        CameraSource(
            "camera:0",
            policy="auto",
            stop=threading.Event(),
            options=SourceOptions(),
            root=root,
        )
    assert capfd.readouterr().err == ""


def test_an_absent_camera_through_the_front_door(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match="no such camera"):
        open_source("/dev/video99", policy="auto", stop=threading.Event())
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize(
    ("driver_ns", "wanted"),
    [
        (5_000_000_000, (5_000_000_000, "driver")),  # 0 ns before the read
        (4_000_000_000, (4_000_000_000, "driver")),  # 1 s before
        (3_999_999_999, (5_000_000_000, "read")),  # older
        (5_000_000_001, (5_000_000_000, "read")),  # after: another clock
        (0, (5_000_000_000, "read")),  # not stamped
    ],
)
def test_a_driver_timestamp_is_taken_only_from_the_second_before_the_read(
    driver_ns: int, wanted: tuple[int, str]
) -> None:
    assert dated(driver_ns, 5_000_000_000) == wanted


@pytest.mark.parametrize(
    ("reported", "wanted"),
    [(30.0, 30.0), (7.5, 7.5), (0.0, None), (-1.0, None), (math.inf, None), (math.nan, None)],
)
def test_a_driver_may_not_know_its_rate(reported: float, wanted: float | None) -> None:
    assert rate_of(reported) == wanted
