"""What a run's settings need of a closed unit, as its drop-in; refuses what no service can do.

The units open nothing by themselves. What stands here follows from the kinds of the source and the
sinks alone: nothing is opened, and whether a camera answers is for the app to say.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge.credential import VARIABLE
from edge.settings.settings import SHIPPED_MODEL, Settings
from edge.sinks import folder_of, uses_network, writes_file
from edge.sinks import kind_of as kind_of_sink
from edge.sources import kind_of
from edge.web.address import Address, read_address
from engines.errors import SettingsError
from engines.redact import redact

STATE = Path("/var/lib/outrider")
CREDENTIALS = Path("/etc/outrider/credentials")
"""Where files lie that only root may read, each handed to one service."""
_HIDDEN = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")
"""Not seen by a unit with ProtectHome= and PrivateTmp=."""
_CLOSED = (
    "/bin", "/boot", "/dev", "/etc", "/lib", "/lib32", "/lib64", "/libx32", "/opt/outrider",
    "/proc", "/run", "/sbin", "/sys", "/usr",
)  # fmt: skip
"""No place for recordings: the system's own, or gone at the next boot."""
_SHARED = ("/", "/opt", "/var", "/var/cache", "/var/lib", "/var/log", "/var/spool")
"""Too much to be opened whole; a folder below may be."""
_CREDENTIAL = re.compile(re.escape(VARIABLE) + r"/(?!\.\.?$)([A-Za-z0-9_.-]+)")
"""A file with a secret that systemd hands over, and its name there."""
_ANYBODYS_PORT = 1024
"""Lower ports are root's. PrivateUsers= leaves no capability for the machine's own network, and to
have CAP_NET_BIND_SERVICE a service would have to give up that and most of being closed."""
_LOCAL_ELEMENTS = {
    "audiotestsrc", "filesrc", "imagefreeze", "libcamerasrc", "multifilesrc", "nvarguscamerasrc",
    "nvv4l2camerasrc", "splitmuxsrc", "v4l2src", "videotestsrc",
}  # fmt: skip
"""GStreamer's sources that stay on the machine; any other may want the network."""
_CAMERA_ELEMENTS = {"libcamerasrc", "nvv4l2camerasrc", "v4l2src"}


@dataclass(frozen=True, slots=True)
class Needs:
    """What is to be opened. Texts say what for, in the settings' words; empty ones open nothing."""

    network: str = ""
    loopback: str = ""
    """Addresses of this machine alone; no more is needed where ``network`` is empty."""
    cameras: str = ""
    argus: str = ""
    folders: tuple[str, ...] = ()
    """Folders to write to, apart from the state's own."""
    credentials: tuple[str, ...] = ()
    """Names of files in ``CREDENTIALS``."""
    secrets: str = ""
    """What they are."""


def hidden(path: str | Path) -> str | None:
    """The folder around ``path`` that a service does not see, None where it sees the path."""
    real = os.path.realpath(path)
    return next((top for top in _HIDDEN if _below(real, top)), None)


def needs_of(settings: Settings, *, root: Path = Path("/")) -> Needs:
    """What the settings need.

    Args:
        settings: as loaded without a display.
        root: the machine's files, another folder for an image.

    Raises:
        SettingsError: one line for each thing that a service cannot do.
    """
    refusals = [
        *_unseen(settings), *_unnamed(settings), *_unwritable(settings, root), *_unserved(settings)
    ]  # fmt: skip
    if refusals:
        raise SettingsError("\n".join(refusals))
    kind = kind_of(settings.source.uri)
    network = "[source] is a stream" if kind == "stream" else ""
    cameras = "a camera" if kind == "camera" else ""
    argus = "a CSI camera" if kind == "csi" else ""
    if kind == "gst":
        found = set(re.findall(r"\b\w+(?:src|bin)\b|\bimagefreeze\b", settings.source.uri))
        if not found or found - _LOCAL_ELEMENTS:
            network = "[source] is a pipeline that may read from it"
        if found & _CAMERA_ELEMENTS:
            cameras = "a pipeline with a camera"
        if "nvarguscamerasrc" in found:
            argus = "a pipeline with a CSI camera"
    pages = _pages(settings)
    for text in settings.output.sinks:
        inside = text in pages and pages[text].loopback
        if uses_network(text) and not inside:
            network = network or f'[output] has "{redact(text)}"'
    folders = dict.fromkeys(_written(settings).values())
    return Needs(
        network=network,
        loopback="" if network or not pages else f'[output] has "{next(iter(pages))}"',
        cameras=cameras,
        argus=argus,
        folders=tuple(folder for folder in folders if not _below(folder, str(STATE))),
        credentials=tuple(dict.fromkeys(_credentials(settings).values())),
        secrets=", ".join(_credentials(settings)),
    )


def drop_in(needs: Needs, name: str) -> str:
    """The drop-in of one instance's unit, with a reason for each line."""
    lines = [
        f"# What /etc/outrider/{name}.toml needs, by 'edge service install'; run that again after",
        "# a change of the source's or the sinks' kind. For changes of your own: systemctl edit.",
    ]
    service: list[str] = []
    if needs.network:
        service += [
            f"# {needs.network}: the network.",
            "PrivateNetwork=no",
            "RestrictAddressFamilies=AF_INET AF_INET6 AF_NETLINK",
            "IPAddressDeny=",
        ]
    elif needs.loopback:
        service += [
            f"# {needs.loopback}: the machine's network, of which it reaches the machine alone.",
            "PrivateNetwork=no",
            "RestrictAddressFamilies=AF_INET AF_INET6",
            "IPAddressAllow=localhost",
        ]
    if needs.cameras:
        service += [
            f"# [source] is {needs.cameras}: V4L2's devices, and a /dev that has them.",
            "PrivateDevices=no",
            "DeviceAllow=char-video4linux rw",
        ]
    if needs.argus:
        service += [
            f"# [source] is {needs.argus}: Argus has its socket in /tmp and makes it anew when it",
            "# starts again, so all of /tmp is seen, though not written to.",
            "PrivateTmp=no",
            "Environment=TMPDIR=/var/cache/outrider",
        ]
    if needs.folders:
        unit = [f'RequiresMountsFor="{_escaped(folder)}"' for folder in needs.folders]
        lines += ["[Unit]", "# What is written there must not fill the disk below.", *unit]
        service += ["# [output] writes there."]
        service += [f'ReadWritePaths="{_escaped(folder)}"' for folder in needs.folders]
    service += credential_lines(needs)
    if not service:
        return "\n".join([*lines, "# It needs nothing.", ""])
    return "\n".join([*lines, "[Service]", *service, ""])


def credential_lines(needs: Needs) -> list[str]:
    """The lines that hand over files, for the app and for what reads its settings before it."""
    if not needs.credentials:
        return []
    given = [f"LoadCredential={name}:{CREDENTIALS / name}" for name in needs.credentials]
    return [f"# {needs.secrets}.", *given]


def _secrets(settings: Settings) -> dict[str, str]:
    """The files that the settings name for nobody else to read, by their keys."""
    files: dict[str, str | Path | None] = {
        "[source] uri_file": settings.source.uri_file,
        "[source] password_file": settings.source.password_file,
        "[output] password_file": settings.output.password_file,
    }
    for number, file in enumerate(settings.output.sink_files):
        files[f"[output] sink_files[{number}]"] = file
    if _pages(settings):
        names = ("token_file", "tls_cert", "tls_key", "client_ca")
        files |= {f"[web] {name}": getattr(settings.web, name) for name in names}
    return {key: str(file) for key, file in files.items() if file is not None}


def _credentials(settings: Settings) -> dict[str, str]:
    """The names of those that systemd hands over, by their keys."""
    named = {key: _CREDENTIAL.fullmatch(file) for key, file in _secrets(settings).items()}
    return {key: match[1] for key, match in named.items() if match is not None}


def _pages(settings: Settings) -> dict[str, Address]:
    """Where the sinks serve a page."""
    sinks = settings.output.sinks
    return {text: read_address(text) for text in sinks if kind_of_sink(text) == "web"}


def _unserved(settings: Settings) -> Iterator[str]:
    """Refusals of pages at ports that a service cannot take."""
    for text, at in _pages(settings).items():
        if 0 < at.port < _ANYBODYS_PORT:
            yield (
                f'[output] sinks: "{text}": got port {at.port}, wanted {_ANYBODYS_PORT} or more: '
                "lower ones are root's, and a service is not; let a proxy or a firewall lead there"
            )


def _unnamed(settings: Settings) -> Iterator[str]:
    """Refusals of credentials whose names a unit cannot hold."""
    for key, file in _secrets(settings).items():
        if VARIABLE in file and not _CREDENTIAL.fullmatch(file):
            yield (
                f"{key}: {file!r}: wanted {VARIABLE}/NAME, of letters, digits, '-', "
                f"'_' and '.': the name of a file in {CREDENTIALS}"
            )


def _unseen(settings: Settings) -> Iterator[str]:
    """Refusals of what is read from where no service sees it."""
    # Of the network that comes with the app, check_interpreter speaks with the app itself.
    files = [path for path in settings.model.files if path != SHIPPED_MODEL]
    read = [("[model] files", str(path)) for path in files]
    if kind_of(settings.source.uri) in ("images", "video"):
        read.append(("[source] uri", settings.source.uri))
    read += [(key, file) for key, file in _secrets(settings).items() if VARIABLE not in file]
    for key, path in read:
        if top := hidden(path):
            yield (
                f"{key}: {path} is below {top}, which a service does not see; move it, to "
                f"{STATE / os.path.basename(path)} say"
            )


def _unwritable(settings: Settings, root: Path) -> Iterator[str]:
    """Refusals of what is written to where a service may not, or shown where it cannot."""
    for text in settings.output.sinks:
        if text == "window":
            yield '[output] sinks: "window": a service has no screen; wanted files or "null"'
        elif text == "-":
            yield (
                '[output] sinks: "-": a service\'s standard output is the journal, which is for '
                f'what happens, not for every frame; wanted "{STATE}/NAME.jsonl"'
            )
    for path, folder in _written(settings).items():
        place = f"wanted one below {STATE} or in a folder of its own, such as /srv/recordings"
        if top := hidden(path):
            yield f"[output] {path}: is below {top}, which a service does not see; {place}"
        elif top := next((top for top in _CLOSED if _below(path, top)), None):
            yield f"[output] {path}: is below {top}, where a service does not write; {place}"
        elif folder in _SHARED:
            yield f"[output] {path}: would open all of {folder} to the service; {place}"
        elif not folder.isprintable():
            yield f"[output] {path!r}: a unit cannot name that folder; {place}"
        elif not _below(path, str(STATE)) and not (root / folder.lstrip("/")).is_dir():
            yield f"[output] {path}: there is no folder {folder}; make it, and give it to outrider"


def _written(settings: Settings) -> dict[str, str]:
    """The files and folders that a run writes, links resolved, with the folder of each."""
    files = [text for text in settings.output.sinks if writes_file(text)]
    if settings.output.metrics is not None:
        files.append(str(settings.output.metrics))
    written = {path: os.path.dirname(path) for path in map(os.path.realpath, files)}
    recorded = [folder for text in settings.output.sinks if (folder := folder_of(text))]
    return written | {path: path for path in map(os.path.realpath, recorded)}


def _below(path: str, top: str) -> bool:
    return f"{path}/".startswith(f"{top}/")


def _escaped(path: str) -> str:
    """A path in quotes of a unit file: % begins a specifier there."""
    return path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
