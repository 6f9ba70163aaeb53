"""The password of a stream from a file: put in at every opening, refused where others read it."""

from __future__ import annotations

import base64
import os
import re
import socket
import threading
from pathlib import Path
from urllib.parse import unquote_to_bytes, urlsplit

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from edge.sources import SourceOptions, open_source
from edge.sources.password import with_password
from engines.errors import SourceError
from engines.redact import redact
from tests.edge import loopback

URL = "rtsp://viewer@cam:554/1?w=640"


def secret(path: Path, content: bytes | str = "S3CR3T\n", mode: int = 0o600) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def refusal(url: str, file: Path | str, **environ: str) -> str:
    with pytest.raises(SourceError) as raised:
        with_password(url, str(file), environ=environ)
    return str(raised.value)


@pytest.mark.parametrize(
    ("content", "put_in"),
    [
        ("S3CR3T", "S3CR3T"),
        ("S3CR3T\r\nof the cam at the door\n", "S3CR3T"),
        ("p@ss/w:rd?#%", "p%40ss%2Fw%3Ard%3F%23%25"),
        (" a b ", "%20a%20b%20"),
        ("grün", "gr%C3%BCn"),
        (b"\xff\x00", "%FF%00"),
        (b"\xef\xbb\xbfS3CR3T\r\n", "S3CR3T"),  # the mark of an editor of Windows
    ],
)
def test_the_first_line_is_put_in_percent_encoded(
    content: bytes | str, put_in: str, tmp_path: Path
) -> None:
    file = secret(tmp_path / "cam", content)
    assert with_password(URL, str(file)) == f"rtsp://viewer:{put_in}@cam:554/1?w=640"


@given(
    st.binary(min_size=4, max_size=40).filter(
        lambda b: not re.search(rb"[\r\n]|^(\xff\xfe|\xfe\xff|\xef\xbb\xbf)", b)
    )
)
def test_no_password_comes_through_redact(
    tmp_path_factory: pytest.TempPathFactory, p: bytes
) -> None:
    file = secret(tmp_path_factory.mktemp("p") / "cam", p)
    url = with_password(URL, str(file))
    login = urlsplit(url).netloc.rpartition("@")[0].partition(":")[2]
    assert unquote_to_bytes(login) == p
    shown = redact(f"{url}: Connection refused")
    assume(login not in "rtsp://***@cam:554/1?w=640: Connection refused")
    assert login not in shown
    assert shown == "rtsp://***@cam:554/1?w=640: Connection refused"


def test_the_folder_of_credentials_is_the_one_name_that_is_expanded(tmp_path: Path) -> None:
    secret(tmp_path / "cam", mode=0o440)  # as systemd 252 shows one to a user of the service
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path), "HOME": str(tmp_path)}
    url = with_password(URL, "${CREDENTIALS_DIRECTORY}/cam", environ=environ)
    assert url == "rtsp://viewer:S3CR3T@cam:554/1?w=640"
    assert "cannot be read: No such" in refusal(URL, "${HOME}/cam", **environ)
    assert "${CREDENTIALS_DIRECTORY}/gate cannot" in refusal(
        URL, "${CREDENTIALS_DIRECTORY}/gate", **environ
    )
    assert "put LoadCredential=NAME:/path" in refusal(URL, "${CREDENTIALS_DIRECTORY}/cam")
    (tmp_path / "cam").chmod(0o444)
    assert "(mode 0444)" in refusal(URL, "${CREDENTIALS_DIRECTORY}/cam", **environ)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_file_that_others_can_read_is_refused(mode: int, tmp_path: Path) -> None:
    file = secret(tmp_path / "cam", mode=mode)
    refused = refusal(URL, file, CREDENTIALS_DIRECTORY=str(tmp_path / "elsewhere"))
    assert refused == (
        f"[source] password_file: {file} can be read by others (mode {mode:04o}); "
        f"wanted its owner alone: chmod 600 {file}"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty"),
        ("\nS3CR3T", "is empty"),
        ("x" * 4097, "longer than 4096 bytes"),
        ("S3CR3T".encode("utf-16"), "is text in UTF-16, wanted UTF-8: save it as UTF-8"),
    ],
)
def test_a_file_without_a_password_is_refused(
    content: bytes | str, message: str, tmp_path: Path
) -> None:
    refused = refusal(URL, secret(tmp_path / "cam", content))
    assert message in refused
    assert "S3CR3T" not in refused


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    assert "is not a file" in refusal(URL, tmp_path / "pipe")
    assert "Is a directory" in refusal(URL, tmp_path)
    assert "no file can have" in refusal(URL, "a\0b")


def test_the_name_of_a_missing_file_is_not_shown_for_it_may_be_the_password() -> None:
    refused = refusal(URL, "/etc/outrider/S3CR3T")
    assert "cannot be read: No such file" in refused
    assert "S3CR3T" not in refused


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("rtsp://cam/1", "no user"),
        ("rtsp://@cam/1", "no user"),
        ("rtsp://cam/1@2", "no user"),
        ("synthetic", "no user"),
        ("gst:rtspsrc location=rtsp://viewer@cam/1", "no user"),
        ("rtsp://viewer:S3CR3T@cam/1", "a password already"),
        ("rtsp://viewer:@cam/1", "a password already"),
    ],
)
def test_a_source_without_a_place_for_it_is_refused(url: str, message: str, tmp_path: Path) -> None:
    refused = refusal(url, secret(tmp_path / "cam"))
    assert message in refused
    assert "S3CR3T" not in refused


def test_a_camera_gets_the_password_that_the_file_has_at_each_opening(tmp_path: Path) -> None:
    logins: list[str] = []

    def camera(connection: socket.socket, over: threading.Event) -> None:
        with connection.makefile("rb") as request:
            for line in iter(lambda: request.readline().strip(), b""):
                if line.lower().startswith(b"authorization: basic "):
                    logins.append(base64.b64decode(line.split()[-1]).decode())
        connection.sendall(
            b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 0\r\nConnection: close\r\n"
            b'WWW-Authenticate: Basic realm="cam"\r\n\r\n'
        )

    file = tmp_path / "cam"
    options = SourceOptions(open_timeout_s=20, password_file=str(file))
    with loopback.served(camera) as port:
        for password in ("S3CR3T/1", "n%w@2"):
            secret(file, password)
            with pytest.raises(
                SourceError, match=r"http://\*\*\*@127.* 401 Unauthorized"
            ) as raised:
                open_source(
                    f"http://viewer@127.0.0.1:{port}/live",
                    policy="auto",
                    stop=threading.Event(),
                    options=options,
                )
            assert not re.search("S3CR3T|n%", str(raised.value))
    assert logins == ["viewer:S3CR3T/1", "viewer:n%w@2"]
