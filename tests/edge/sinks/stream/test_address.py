"""Where a stream goes: what is read and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from edge.sinks import open_sink, uses_network
from edge.sinks.stream.address import Address, read_address
from engines.errors import SettingsError, SinkError


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("rtsp://h/car", Address("rtsp://h/car", "rtsp", "rtsp://h/car")),
        (
            "rtsps://u:p@[::1]:8322/a/b",
            Address("rtsps://***@[::1]:8322/a/b", "rtsp", "rtsps://u:p@[::1]:8322/a/b"),
        ),
        (
            "whip:https://h/car/whip?token=x",
            Address("whip:https://h/car/whip?token=***", "whip", "https://h/car/whip?token=x"),
        ),
        ("whip:http://h:8889/c", Address("whip:http://h:8889/c", "whip", "http://h:8889/c")),
    ],
)
def test_an_address_is_read(text: str, address: Address) -> None:
    assert read_address(text) == address
    assert uses_network(text)


@pytest.mark.parametrize(
    "text",
    [
        "rtsp",
        "rtsp:",
        "rtsp://",
        "rtsp:/h/car",
        "rtsp://:8554/car",
        "rtsp://h:port/car",
        "rtsp://h:99999/car",
        "rtsp://h:0/car",
        "rtsp://[::1/car",
        "rtsp://h/my car",
        "rtsps://",
        "whip",
        "whip:h/car",
        "whip:rtsp://h/car",
        "whip://h/car",
    ],
)
def test_what_is_no_address_is_refused_before_the_run_with_the_form_of_one(text: str) -> None:
    kind = text.partition(":")[0]
    wanted = r"whip:https://HOST:8889/PATH/whip" if kind == "whip" else rf"{kind}://HOST:8554/PATH"
    with pytest.raises(SettingsError, match=f"not the address of a server .* wanted {wanted}"):
        open_sink(text, fps=None)


@pytest.mark.parametrize("text", ["rtsp://bob:geheim@h:port/car", "whip:http//bob:geheim@h"])
def test_a_refusal_shows_no_password(text: str) -> None:
    with pytest.raises(SettingsError) as raised:
        open_sink(text, fps=None)
    assert "geheim" not in str(raised.value)


def test_the_password_of_a_file_is_put_into_the_url_and_not_into_the_name(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("a/b\n")
    file.chmod(0o600)
    for text, url in (
        ("rtsp://bob@h/car", "rtsp://bob:a%2Fb@h/car"),
        ("whip:https://bob@h/car/whip", "https://bob:a%2Fb@h/car/whip"),
    ):
        address = read_address(text).with_password(str(file))
        assert address.url == url
        assert "a%2Fb" not in address.name
    file.chmod(0o644)
    with pytest.raises(SinkError, match=r"\[output\] password_file: .* can be read by others"):
        read_address("rtsp://bob@h/car").with_password(str(file))
