"""Where the page is: how it is written, when it is taken, and what to type elsewhere."""

from __future__ import annotations

import socket

import pytest

from edge.sinks import open_sink
from edge.web.address import Address, listen, read_address
from engines.errors import SettingsError, SinkError


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback", "url"),
    [
        ("web", "127.0.0.1", 8090, True, "http://127.0.0.1:8090/"),
        ("web:localhost:80", "127.0.0.1", 80, True, "http://127.0.0.1:80/"),
        ("web:127.0.0.2:0", "127.0.0.2", 0, True, "http://127.0.0.2:0/"),
        ("web:0.0.0.0:65535", "0.0.0.0", 65535, False, "http://0.0.0.0:65535/"),
        ("web:[::1]:8090", "::1", 8090, True, "http://[::1]:8090/"),
        ("web:[0:0::]:8090", "::", 8090, False, "http://[::]:8090/"),
        ("web:192.0.2.1:8090", "192.0.2.1", 8090, False, "http://192.0.2.1:8090/"),
    ],
)
def test_an_address_is_read(text: str, host: str, port: int, loopback: bool, url: str) -> None:
    address = read_address(text)
    assert (address.host, address.port, address.loopback) == (host, port, loopback)
    assert address.url() == url


@pytest.mark.parametrize(
    "text",
    [
        "web:", "web:8090", "web:127.0.0.1", "web:127.0.0.1:", "web:127.0.0.1:65536", "web:::1:80",
        "web:car.local:80", "web:300.0.0.1:80", "web:127.1:80", "web:[127.0.0.1:80",
        "web:127.0.0.1:-1", "web:127.0.0.1:80/", "web:http://127.0.0.1:80", "webs",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"wanted web or web:ADDRESS:PORT, such as web:0\.0\."):
        read_address(text)


def test_a_port_that_is_taken_names_another() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SinkError) as raised:
            open_sink(f"web:127.0.0.1:{port}", fps=None)
    said = str(raised.value)
    assert f"nothing can be served at 127.0.0.1:{port}: Address already in use" in said
    assert "--sink web:127.0.0.1:" in said


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(SinkError, match=r"served at 192\.0\.2\.1:8090: Cannot assign"):
        open_sink("web:192.0.2.1:8090", fps=None)


def test_what_is_shown_can_be_typed_into_a_phone() -> None:
    assert Address("192.0.2.1").reachable() == Address("192.0.2.1")
    assert Address("127.0.0.1").reachable() == Address("127.0.0.1")
    for everywhere in ("0.0.0.0", "::"):
        found = Address(everywhere, 80).reachable()
        assert found.port == 80
        family = socket.AF_INET6 if ":" in found.host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as one:
            one.bind((found.host, 0))  # an address of this machine, or all of them


def test_what_an_error_advises_of_ipv6_can_be_typed() -> None:
    with listen(Address("::1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(SinkError) as caught:
            listen(read_address(f"web:[::1]:{port}"))
    advised = str(caught.value).rpartition("--sink ")[2]
    assert read_address(advised).host == "::1"
