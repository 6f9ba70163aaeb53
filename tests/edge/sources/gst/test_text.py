"""What ``csi:`` and ``gst:`` mean to GStreamer, and what nobody may see of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.sources import kind_of
from edge.sources.gst.text import JETSON_PRESETS, named_files, parse_csi, parse_gst
from engines.errors import SettingsError
from engines.redact import redact

NVMM = "video/x-raw(memory:NVMM),format=NV12"


@pytest.mark.parametrize(
    ("text", "caps"),
    [
        ("csi:0", NVMM),
        ("csi:1:1280x720@30", NVMM + ",width=1280,height=720,framerate=30/1"),
        ("csi:1:1920x1080@29.97", NVMM + ",width=1920,height=1080,framerate=2997/100"),
        ("csi:1:640x480@7.5", NVMM + ",width=640,height=480,framerate=15/2"),
    ],
)
def test_a_csi_camera_goes_from_nvmm_memory_to_the_systems(text: str, caps: str) -> None:
    meant = parse_csi(text)
    assert meant.pipeline == (
        f"nvarguscamerasrc sensor-id={text[4]} ! {caps} ! nvvidconv ! video/x-raw,format=BGRx"
    )
    assert meant.name == text


@pytest.mark.parametrize(
    "text", ["csi:", "csi:front", "csi:0:640x480", "csi:0:0x480@30", "csi:0:640x480@0", "csi:0@30"]
)
def test_a_text_that_is_nearly_a_csi_camera_is_a_settings_error(text: str) -> None:
    with pytest.raises(SettingsError, match="csi"):
        parse_csi(text)


@pytest.mark.parametrize(
    ("text", "pipeline"),
    [
        ("gst:videotestsrc", "videotestsrc"),
        ("gst: videotestsrc \n ! identity ! ", "videotestsrc ! identity"),
        ("gst:v4l2src ! jpegdec ! appsink drop=true max-buffers=1", "v4l2src ! jpegdec"),
        ("gst:v4l2src ! appsink", "v4l2src"),
    ],
)
def test_an_appsink_that_other_programs_want_is_left_out(text: str, pipeline: str) -> None:
    assert parse_gst(text).pipeline == pipeline


def test_lines_become_one_and_a_quoted_name_keeps_its_spaces() -> None:
    meant = parse_gst('gst:\n  filesrc location="a  b.avi"\r\n\t! avidemux !\n\n jpegdec\n')
    assert meant.pipeline == 'filesrc location="a  b.avi" ! avidemux ! jpegdec'


@pytest.mark.parametrize("text", ["gst:", "gst:  ", "gst: ! appsink"])
def test_a_text_without_a_pipeline_is_a_settings_error(text: str) -> None:
    with pytest.raises(SettingsError, match="no pipeline in it"):
        parse_gst(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "gst:rtspsrc location=rtsp://ann:S3CR3T@cam/1 latency=100 ! decodebin",
            "gst:rtspsrc location=rtsp://***@cam/1 latency=100 ! decodebin",
        ),
        (
            'gst:rtspsrc location="rtsp://cam/1" user-id=ann user-pw="S3C R3T" ! decodebin',
            'gst:rtspsrc location="rtsp://cam/1" user-id=*** user-pw=*** ! decodebin',
        ),
        ("gst:srtsrc passphrase='S3C\\' R3T' ! x", "gst:srtsrc passphrase=*** ! x"),
        ("gst:souphttpsrc proxy-pw = S3CR3T ! x", "gst:souphttpsrc proxy-pw=*** ! x"),
        ("gst:rtspsrc user-pw=S3C!R3T ! x", "gst:rtspsrc user-pw=*** ! x"),
        ("gst:rtspsrc user-pw=S3C\\ R3T ! x", "gst:rtspsrc user-pw=*** ! x"),
        ("gst:souphttpsrc cookies=S3CR3T ! x", "gst:souphttpsrc cookies=*** ! x"),
        (
            "source gst:a user-pw=S3CR3T ! b: it failed",
            "source gst:a user-pw=*** ! b: it failed",
        ),
        ("gst:a pattern=ball ! b", "gst:a pattern=ball ! b"),
        ("gst:a ! video/x-raw,width=64 ! b", "gst:a ! video/x-raw,width=64 ! b"),
        ("a file user-pw=1.mp4", "a file user-pw=1.mp4"),
    ],
)
def test_credentials_of_a_pipeline_are_never_shown(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert redact(shown) == shown
    if text.startswith("gst:"):
        assert "S3C" not in parse_gst(text).name


def test_what_gstreamer_says_is_cleared_of_the_pipelines_secrets() -> None:
    meant = parse_gst('gst:rtspsrc location=rtsp://ann:p%40ss@cam/1 proxy-pw="S3C R3T" ! decodebin')
    said = meant.hide("login ann with p@ss (p%40ss) by S3C R3T at rtsp://ann:p%40ss@cam/1 refused")
    assert said == "login *** with *** (***) by *** at rtsp://***@cam/1 refused"


def test_a_secret_is_hidden_as_it_was_written_and_as_it_was_meant() -> None:
    meant = parse_gst(r'gst:rtspsrc user-pw="S3C\"R3T" ! decodebin')
    assert meant.hide(r'no S3C"R3T in "user-pw="S3C\"R3T""') == 'no *** in "user-pw="***""'


def test_every_preset_is_a_source_of_its_kind() -> None:
    for text in JETSON_PRESETS.values():
        kind = kind_of(text)
        assert kind == text.partition(":")[0]
        assert (parse_csi if kind == "csi" else parse_gst)(text).pipeline.count("nvvidconv") <= 1


@pytest.mark.parametrize(
    "name", ["a.avi", '"a b.avi"', "'a b.avi'", r"a\ b.avi", "file://{}/a%20b.avi"]
)
def test_the_files_of_a_pipeline_are_found_however_they_are_written(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for file in ("a.avi", "a b.avi", "other.avi"):
        (tmp_path / file).touch()
    found = named_files(f"gst:filesrc location = {name.format(tmp_path)} ! avidemux name=other ! x")
    assert len(found) == 1
    assert found[0].name == ("a.avi" if name == "a.avi" else "a b.avi")
    assert named_files("gst:videotestsrc pattern=ball ! decodebin") == []
