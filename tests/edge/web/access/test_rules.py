"""Who the settings let in: mistakes show when they are read, and all that is named is there."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
from pathlib import Path

import pytest

from edge.settings.load import load_settings
from edge.web.access.rules import MAKE_TOKEN, Access, check_access, open_access
from edge.web.address import Address
from engines.errors import SettingsError
from tests.edge.door import edge
from tests.edge.web.access.certificates import certificates

EVERYWHERE = "web:0.0.0.0:8090"
TOKEN = "0123456789abcdef"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return certificates(tmp_path_factory.mktemp("pki"))


def refusal(sink: str = EVERYWHERE, **web: object) -> str:
    with pytest.raises(SettingsError) as raised:
        load_settings(None, overrides(sink, web), environ={})
    return str(raised.value)


def overrides(sink: str, web: dict[str, object]) -> dict[str, object]:
    return {"output.sinks": [sink], **{f"web.{name}": value for name, value in web.items()}}


def words(sink: str = EVERYWHERE, **web: object) -> str:
    settings = load_settings(None, overrides(sink, web), environ={})
    ((text, said),) = check_access(settings.output.sinks, settings.web, environ={})
    assert text == sink
    return said


def secret(path: Path, content: str = TOKEN, mode: int = 0o600) -> str:
    path.write_text(content)
    path.chmod(mode)
    return str(path)


@pytest.mark.parametrize("sink", ["web", "web:127.0.0.1:0", "web:127.9.9.9:80", "web:[::1]:8090"])
def test_this_machine_alone_needs_nothing(sink: str) -> None:
    assert words(sink) == "open to everybody on this machine"


@pytest.mark.parametrize("sink", [EVERYWHERE, "web:192.0.2.1:8090", "web:[::]:8090"])
def test_another_address_needs_a_token_or_certificates(sink: str, tmp_path: Path) -> None:
    said = refusal(sink)
    assert said.startswith("--sink web:")
    assert "would be open to everybody on the network" in said
    assert f"{MAKE_TOKEN}, then --web-token web-token" in said
    file = secret(tmp_path / "token")
    assert words(sink, token_file=file) == (
        "open to those who have the token; without TLS whoever is on the network can read it and "
        "all that is shown"
    )
    assert words("web", token_file=file) == "open to those who have the token"


def test_what_makes_a_token_makes_one_that_is_taken(tmp_path: Path) -> None:
    subprocess.run(["sh", "-c", MAKE_TOKEN], cwd=tmp_path, check=True)
    assert words(token_file=str(tmp_path / "web-token")).startswith("open to those who have")


@pytest.mark.parametrize(
    ("content", "mode", "said"),
    [
        (TOKEN, 0o644, "can be read by others (mode 0644); wanted its owner alone: chmod 600"),
        (TOKEN, 0o640, "can be read by others (mode 0640)"),
        ("", 0o600, "is empty; wanted the token"),
        (f"\n{TOKEN}", 0o600, "is empty; wanted the token"),
        (TOKEN[:15], 0o600, "got 15 characters, wanted 16 or more"),
        ("a token with spaces in it", 0o600, "got others among them"),
        ("gründlichgründlich", 0o600, "got others among them"),
        ("x" * 5000, 0o600, "is longer than 4096 bytes"),
    ],
)
def test_a_file_that_holds_no_token_is_refused(
    tmp_path: Path, content: str, mode: int, said: str
) -> None:
    told = refusal(token_file=secret(tmp_path / "token", content, mode))
    assert told.startswith("[web] token_file: ")
    assert said in told
    assert not content or content not in told


def test_a_file_that_is_not_there_is_not_named_for_it_may_be_the_token(tmp_path: Path) -> None:
    told = refusal(token_file=TOKEN)
    assert "cannot be read: No such file" in told
    assert TOKEN not in told
    assert "token_file: no/file cannot be read: No such file" in refusal(token_file="no/file")
    assert "is not a file" in refusal(token_file="/dev/null")
    assert "cannot be read: Is a directory" in refusal(token_file=str(tmp_path))
    assert "wanted a text without" in refusal(token_file="a\0b")


def test_a_token_on_the_command_line_without_a_page_says_so(tmp_path: Path) -> None:
    given = {"web.token_file": secret(tmp_path / "token"), "output.sinks": ["null"]}
    with pytest.raises(SettingsError, match=r"--web-token: no sink is a page .* --sink web:"):
        load_settings(None, given, environ={})
    file = tmp_path / "car.toml"  # that of another run may stand by
    file.write_text('[output]\nsinks = ["web"]\n[web]\ntoken_file = "token"\n')
    load_settings(file, {"output.sinks": ["null"]}, environ={})


def test_systemd_hands_it_over(tmp_path: Path) -> None:
    secret(tmp_path / "token", mode=0o440)
    given = {"web.token_file": "${CREDENTIALS_DIRECTORY}/token", "output.sinks": [EVERYWHERE]}
    load_settings(None, given, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})
    with pytest.raises(SettingsError, match="CREDENTIALS_DIRECTORY is not set"):
        load_settings(None, given, environ={})
    file = tmp_path / "car.toml"
    file.write_text(
        f'[output]\nsinks = ["{EVERYWHERE}"]\n'
        '[web]\ntoken_file = "${CREDENTIALS_DIRECTORY}/token"\n'
        'tls_cert = "${CREDENTIALS_DIRECTORY}/cert"\ntls_key = "${CREDENTIALS_DIRECTORY}/key"\n'
    )
    with pytest.raises(SettingsError, match=r"tls_key: \$\{CREDENTIALS_DIRECTORY\}/key cannot be"):
        load_settings(file, environ={"CREDENTIALS_DIRECTORY": str(tmp_path)})


def test_the_token_is_compared_whole() -> None:
    access = Access(None, None, frozenset())
    assert not access.is_token("")
    access = Access(hashlib.sha256(TOKEN.encode()).digest(), None, frozenset())
    assert access.is_token(TOKEN)
    for wrong in ("", TOKEN[:-1], TOKEN + "0", TOKEN.upper(), "\xff", "\ud800"):
        assert not access.is_token(wrong)


@pytest.mark.parametrize("name", ["http://car", "car:8090", "car/", "*", "", "car..local", "ü"])
def test_hosts_are_names_alone(name: str) -> None:
    told = refusal("web", hosts=[name])
    assert "hosts" in told
    assert "wanted" in told


def test_tls_with_certificates_of_those_who_look_needs_no_token(pki: Path, tmp_path: Path) -> None:
    mine = {"tls_cert": str(pki / "car.pem"), "tls_key": str(pki / "car.key")}
    assert "open to everybody on the network" in refusal(**mine)
    ca = str(pki / "ca.pem")
    assert words(**mine, client_ca=ca) == "open to those who have a certificate"
    token = secret(tmp_path / "token")
    assert words(**mine, token_file=token) == "open to those who have the token"
    both = words(**mine, client_ca=ca, token_file=token)
    assert both == "open to those who have the token and a certificate"


def test_certificates_that_cannot_be_used_say_why(pki: Path, tmp_path: Path) -> None:
    cert, key, ca = (str(pki / name) for name in ("car.pem", "car.key", "ca.pem"))
    for alone in ({"tls_cert": cert}, {"tls_key": key}, {"client_ca": ca}):
        (name,) = alone
        assert f"got {name} alone, wanted tls_cert and tls_key" in refusal("web", **alone)
    other = refusal("web", tls_cert=cert, tls_key=str(pki / "viewer.key"))
    assert "cannot be used: key values mismatch" in other
    missing = refusal("web", tls_cert=str(tmp_path / "none"), tls_key=key)
    assert "cannot be used: no such file" in missing
    open_key = tmp_path / "open.key"
    open_key.write_bytes((pki / "car.key").read_bytes())
    open_key.chmod(0o644)
    assert "tls_key" in refusal("web", tls_cert=cert, tls_key=str(open_key))
    assert "read by others" in refusal("web", tls_cert=cert, tls_key=str(open_key))
    locked = tmp_path / "locked.key"
    command = ["openssl", "ec", "-aes128", "-passout", "pass:hunter2", "-in", key]
    command += ["-out", str(locked)]
    subprocess.run(command, check=True, capture_output=True)
    locked.chmod(0o600)
    assert "without a password" in refusal("web", tls_cert=cert, tls_key=str(locked))
    nothing = tmp_path / "nothing.pem"
    nothing.write_text("nothing\n")
    assert "client_ca" in refusal("web", tls_cert=cert, tls_key=key, client_ca=str(nothing))
    assert "client_ca" in refusal("web", tls_cert=cert, tls_key=key, client_ca="none")


def test_tls_takes_no_old_versions(pki: Path) -> None:
    web = load_settings(
        None,
        {"web.tls_cert": str(pki / "car.pem"), "web.tls_key": str(pki / "car.key")},
    ).web
    tls = open_access(Address(), web).tls
    assert tls is not None
    assert tls.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_a_run_and_a_check_end_with_2_before_a_model_is_loaded(tmp_path: Path) -> None:
    ended = edge("run", "--sink", EVERYWHERE, "--model", "none.onnx")
    assert (ended.returncode, "then --web-token web-token" in ended.stderr) == (2, True)
    settings = tmp_path / "car.toml"
    settings.write_text(f'[output]\nsinks = ["{EVERYWHERE}"]\n[web]\ntoken_file = "token"\n')
    ended = edge("check", settings)
    assert (ended.returncode, "[web] token_file" in ended.stderr) == (2, True)
    secret(tmp_path / "token")
    ended = edge("check", settings)
    assert ended.returncode == 0, ended.stdout
    assert f"web       ok       {EVERYWHERE}: http://" in ended.stdout
    assert ", open to those who have the token; without TLS" in ended.stdout
