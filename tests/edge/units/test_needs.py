"""What settings need of a closed unit, and what no service can do."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.settings.load import load_settings
from edge.units.needs import drop_in, needs_of
from engines.errors import SettingsError


def settings(tmp_path: Path, text: str, **environ: str) -> str:
    """The drop-in for settings of that text."""
    file = tmp_path / "cam.toml"
    file.write_text(text)
    return drop_in(needs_of(load_settings(file, environ=environ), root=tmp_path), "cam")


def lines(text: str) -> list[str]:
    return [line for line in text.splitlines() if not line.startswith("#")]


def test_the_built_in_street_without_a_sink_needs_nothing(tmp_path: Path) -> None:
    assert lines(settings(tmp_path, "")) == []


@pytest.mark.parametrize("uri", ["rtsp://cam/1", "https://cam/mjpeg", "gst:rtspsrc location=x",
                                 "gst:uridecodebin uri=x", "gst:v4l2src ! a ! udpsrc"])  # fmt: skip
def test_a_stream_opens_the_network(tmp_path: Path, uri: str) -> None:
    made = lines(settings(tmp_path, f"[source]\nuri = '{uri}'\n"))
    assert "PrivateNetwork=no" in made
    assert "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK" in made
    assert "IPAddressDeny=" in made


@pytest.mark.parametrize("sink", ["web", "web:[::1]:8091"])
def test_a_page_for_this_machine_alone_opens_no_more_than_that(tmp_path: Path, sink: str) -> None:
    assert lines(settings(tmp_path, f"[output]\nsinks = ['{sink}']\n")) == [
        "[Service]",
        "PrivateNetwork=no",
        "RestrictAddressFamilies=AF_INET AF_INET6",
        "IPAddressAllow=localhost",
    ]


def secret(path: Path) -> Path:
    """A file that holds a token."""
    path.write_text("0123456789abcdef0123456789abcdef\n")
    path.chmod(0o600)
    return path


def test_a_page_for_others_opens_the_network_and_its_token_is_handed_over(tmp_path: Path) -> None:
    secret(tmp_path / "page")
    text = '[output]\nsinks = ["web:0.0.0.0:8090", "web"]\n[web]\n'
    text += 'token_file = "${CREDENTIALS_DIRECTORY}/page"\n'
    made = settings(tmp_path, text, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert '# [output] has "web:0.0.0.0:8090": the network.' in made
    assert lines(made) == [
        "[Service]",
        "PrivateNetwork=no",
        "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK",
        "IPAddressDeny=",
        "LoadCredential=page:/etc/outrider/credentials/page",
    ]
    assert "# [web] token_file." in made


@pytest.mark.parametrize("sink", ["rtsp://me:swordfish@cam/1", "whip:https://cam/1/whip"])
def test_a_stream_that_is_sent_opens_the_network_and_its_password_shows_nowhere(
    tmp_path: Path, sink: str
) -> None:
    made = settings(tmp_path, f'[output]\nsinks = ["{sink}", "web"]\n')
    assert "IPAddressDeny=" in lines(made)
    assert "the network." in made
    assert "swordfish" not in made


def test_a_camera_on_the_network_and_a_page_for_this_machine_open_the_network(
    tmp_path: Path,
) -> None:
    made = settings(tmp_path, '[source]\nuri = "rtsp://cam/1"\n[output]\nsinks = ["web"]\n')
    assert "IPAddressDeny=" in lines(made)
    assert "IPAddressAllow=localhost" not in made


def test_a_token_that_a_service_cannot_see_is_refused(tmp_path: Path) -> None:
    # tmp_path lies below /tmp, which is a service's own.
    file = secret(tmp_path / "page")
    text = f'[output]\nsinks = ["web"]\n[web]\ntoken_file = "{file}"\n'
    with pytest.raises(SettingsError, match=r"token_file: .* is below /"):
        settings(tmp_path, text)
    assert lines(settings(tmp_path, text.replace('["web"]', '["null"]'))) == []  # nobody reads it


@pytest.mark.parametrize(
    "uri", ["/dev/video0", "camera:0:640x480@30", "gst:v4l2src device=/dev/video0"]
)
def test_a_camera_opens_its_devices_and_no_network(tmp_path: Path, uri: str) -> None:
    assert lines(settings(tmp_path, f"[source]\nuri = '{uri}'\n")) == [
        "[Service]",
        "PrivateDevices=no",
        "DeviceAllow=char-video4linux rw",
    ]


@pytest.mark.parametrize("uri", ["csi:0", "gst:nvarguscamerasrc sensor-id=0"])
def test_a_csi_camera_opens_the_folder_of_argus_socket_and_no_network(
    tmp_path: Path, uri: str
) -> None:
    made = lines(settings(tmp_path, f"[source]\nuri = '{uri}'\n"))
    assert made == ["[Service]", "PrivateTmp=no", "Environment=TMPDIR=/var/cache/outrider"]


def test_only_local_elements_of_gstreamer_keep_it_all_closed(tmp_path: Path) -> None:
    assert lines(settings(tmp_path, "[source]\nuri = 'gst:videotestsrc ! videoconvert'\n")) == []


def test_a_folder_of_recordings_is_opened_once_and_waits_for_its_disk(tmp_path: Path) -> None:
    (tmp_path / "srv/my films").mkdir(parents=True)
    sinks = '["/srv/my films/a.mp4", "/srv/my films/b.jsonl", "/var/lib/outrider/c.mp4"]'
    assert lines(settings(tmp_path, f"[output]\nsinks = {sinks}\n")) == [
        "[Unit]",
        'RequiresMountsFor="/srv/my films"',
        "[Service]",
        'ReadWritePaths="/srv/my films"',
    ]


def test_a_folder_that_is_filled_is_opened_itself(tmp_path: Path) -> None:
    (tmp_path / "srv/films").mkdir(parents=True)
    text = "[output]\nsinks = ['record:/srv/films', 'record:/var/lib/outrider/films']\n"
    made = lines(settings(tmp_path, text))
    assert [line for line in made if "/" in line] == [
        'RequiresMountsFor="/srv/films"',
        'ReadWritePaths="/srv/films"',
    ]
    assert "PrivateNetwork=no" not in made
    for folder, why in (("/tmp/a", "does not see"), ("/srv/none", "there is no folder /srv/none")):
        with pytest.raises(SettingsError, match=f"{folder}: .*{why}"):
            settings(tmp_path, f"[output]\nsinks = ['record:{folder}']\n")


def test_a_percent_sign_in_a_folder_is_none_of_systemds_specifiers(tmp_path: Path) -> None:
    (tmp_path / "srv/50%h").mkdir(parents=True)
    made = settings(tmp_path, '[output]\nsinks = ["/srv/50%h/a.mp4"]\n')
    assert 'ReadWritePaths="/srv/50%%h"' in made


def test_a_credential_is_handed_over_by_its_name(tmp_path: Path) -> None:
    secret = tmp_path / "gate"
    secret.write_text("swordfish\n")
    secret.chmod(0o600)
    text = '[source]\nuri = "rtsp://me@cam/1"\npassword_file = "${CREDENTIALS_DIRECTORY}/gate"\n'
    made = settings(tmp_path, text, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert "LoadCredential=gate:/etc/outrider/credentials/gate" in made
    assert "swordfish" not in made


def test_a_source_and_a_sink_in_credentials_are_handed_over(tmp_path: Path) -> None:
    secrets = {"gate": "rtsp://u:swordfish@cam/1", "relay": "whip:https://u:swordfish@h/car"}
    for name, secret in secrets.items():
        (tmp_path / name).write_text(secret)
        (tmp_path / name).chmod(0o600)
    text = (
        '[source]\nuri_file = "${CREDENTIALS_DIRECTORY}/gate"\n'
        '[output]\nsink_files = ["${CREDENTIALS_DIRECTORY}/relay"]\n'
    )
    made = settings(tmp_path, text, CREDENTIALS_DIRECTORY=str(tmp_path))
    assert "LoadCredential=gate:/etc/outrider/credentials/gate" in made
    assert "LoadCredential=relay:/etc/outrider/credentials/relay" in made
    assert "PrivateNetwork=no" in made
    assert "swordfish" not in made


@pytest.mark.parametrize("name", ["..", "a:b", "a b", "x/y", "a\\nExecStartPre=b", "${HOME}"])
def test_a_credential_with_a_name_that_a_unit_cannot_hold_is_refused(
    tmp_path: Path, name: str
) -> None:
    folder = tmp_path / "credentials" / "x"
    folder.mkdir(parents=True)
    for made in ("a:b", "a b", "x/y", "a\nExecStartPre=b", "${HOME}"):
        (folder.parent / made).write_text("swordfish\n")
        (folder.parent / made).chmod(0o600)
    uri = (
        f'[source]\nuri = "rtsp://me@cam/1"\npassword_file = "${{CREDENTIALS_DIRECTORY}}/{name}"\n'
    )
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, uri, CREDENTIALS_DIRECTORY=str(folder.parent))
    if name != "..":  # which is no file, as the settings say
        assert "wanted ${CREDENTIALS_DIRECTORY}/NAME, of letters" in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[model]\nfiles = ["/home/a.onnx"]', "[model] files: /home/a.onnx is below /home"),
        ('[source]\nuri = "/tmp/drive.mp4"', "[source] uri: /tmp/drive.mp4 is below /tmp"),
        ('[source]\nuri = "/root/frames/*.png"', "is below /root, which a service does not see"),
        ('[output]\nsinks = ["/var/tmp/a.mp4"]', "/var/tmp/a.mp4: is below /var/tmp"),
        ('[output]\nsinks = ["/etc/outrider/a.mp4"]', "below /etc, where a service does not write"),
        ('[output]\nmetrics = "/usr/m.json"', "/usr/m.json: is below /usr"),
        ('[output]\nsinks = ["/srv/none/a.mp4"]', "there is no folder /srv/none; make it"),
        ('[output]\nsinks = ["/a.mp4"]', "/a.mp4: would open all of / to the service"),
        ('[output]\nsinks = ["/var/a.mp4"]', "would open all of /var to the service"),
        ('[output]\nsinks = ["/var/lib/a.mp4"]', "would open all of /var/lib to the service"),
        ('[output]\nmetrics = "/opt/m.json"', "would open all of /opt to the service"),
        ('[output]\nsinks = ["/lib/a.mp4"]', "where a service does not write"),
        ('[output]\nsinks = ["/srv/a\\nExecStartPre=b/c.mp4"]', "a unit cannot name that folder"),
        ('[output]\nsinks = ["window"]', "a service has no screen"),
        ('[output]\nsinks = ["-"]', "is the journal"),
        ('[output]\nsinks = ["web:127.0.0.1:80"]', "got port 80, wanted 1024 or more"),
    ],
)  # fmt: skip
def test_what_a_service_cannot_do_is_refused_with_a_way_out(
    tmp_path: Path, text: str, words: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, text)
    assert words in str(caught.value)
    assert len(str(caught.value).splitlines()) == 1


def test_all_refusals_come_at_once(tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as caught:
        settings(tmp_path, '[model]\nfiles = ["/root/a.onnx"]\n[output]\nsinks = ["window", "-"]\n')
    assert len(str(caught.value).splitlines()) == 3
