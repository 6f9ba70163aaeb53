"""A program of its own that sends H.264 from its standard input to a server.

FFmpeg's muxers connect without letting another thread of Python run, and nothing but the end of
the process interrupts them. It gets an ``Order`` as a line of JSON, then packets, and writes
"connected" or what is wrong.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from dataclasses import asdict, dataclass
from fractions import Fraction
from json import dumps, loads
from pathlib import Path
from typing import BinaryIO

from engines.files import scratch

PACKET = struct.Struct(">Iq?")
"""Before each packet: its length, its time in 1/90000 s, whether it is a key frame."""
CONNECTED = "connected"
BACKLOG_BYTES = 128 * 1024
"""What the system may hold of what is not sent yet: half a second of 2 Mbit/s. Its own choice, up
to 4 MB, would be seconds of old pictures on a slow link."""


@dataclass(frozen=True, slots=True)
class Order:
    """FFmpeg's word for the protocol, the URL with its login, and options of the muxer."""

    form: str
    url: str
    options: dict[str, str]

    def line(self) -> bytes:
        """For the program's standard input."""
        return dumps(asdict(self)).encode() + b"\n"


def main() -> None:
    """Send until standard input ends: with the run."""
    import av

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    source = sys.stdin.buffer
    order = Order(**loads(source.readline()))
    try:
        first = _read(source)
        if first is None:
            return
        with (
            scratch() as folder,
            av.open(io.BytesIO(first[0]), "r", format="h264") as pattern,
            av.open(
                order.url, "w", format=order.form, options=_options(order, folder)
            ) as container,
        ):
            stream = container.add_stream_from_template(pattern.streams.video[0])
            stream.time_base = Fraction(1, 90_000)
            container.start_encoding()
            _bound_backlog()
            print(CONNECTED, flush=True)
            packet: tuple[bytes, int, bool] | None = first
            while packet is not None:
                data, pts, key = packet
                sent = av.Packet(data)
                sent.pts = sent.dts = pts
                sent.time_base, sent.is_keyframe, sent.stream = Fraction(1, 90_000), key, stream
                container.mux(sent)
                packet = _read(source)
    except (OSError, ValueError, av.error.FFmpegError, subprocess.SubprocessError) as exc:
        # The words of PyAV hold the URL.
        print(f"{getattr(exc, 'strerror', None) or type(exc).__name__}; {_advice(exc)}", flush=True)
        os._exit(1)  # no goodbye to one who does not listen


def _options(order: Order, folder: Path) -> dict[str, str]:
    """The muxer's, for WHIP with a certificate of this connection's own.

    FFmpeg's own is on a curve that WebRTC does not know where it is built with GnuTLS, as in PyAV's
    wheels (ossrs/ffmpeg-webrtc#70); the peer knows it by its hash, so it says nothing else.
    """
    if order.form != "whip":
        return order.options
    if shutil.which("openssl") is None:
        raise OSError(errno.ENOENT, "WHIP needs the program openssl: sudo apt install openssl")
    names = {"cert_file": f"{folder}/certificate.pem", "key_file": f"{folder}/key.pem"}
    words = (
        "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj /CN=outrider"
    )
    where = ["-out", names["cert_file"], "-keyout", f"{folder}/pkcs8.pem"]
    subprocess.run(["openssl", *words.split(), *where], check=True, capture_output=True)
    plain = ["openssl", "ec", "-in", f"{folder}/pkcs8.pem", "-out", names["key_file"]]
    subprocess.run(plain, check=True, capture_output=True)
    return order.options | names


def _read(source: BinaryIO) -> tuple[bytes, int, bool] | None:
    head = source.read(PACKET.size)
    if len(head) < PACKET.size:
        return None
    length, pts, key = PACKET.unpack(head)
    data = source.read(length)
    return (data, pts, key) if len(data) == length else None


def _bound_backlog() -> None:
    """Set it for the connection, which the muxer does not show."""
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError), socket.socket(fileno=os.dup(int(name))) as handle:
            handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BACKLOG_BYTES)


def _advice(exc: Exception) -> str:
    import av

    if isinstance(exc, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return "wanted a login that it accepts, as USER:PASSWORD@ before the host"
    if isinstance(exc, av.error.HTTPNotFoundError):
        return "wanted a path at which it takes streams; check the part after the host"
    if isinstance(exc, ConnectionRefusedError):
        return "wanted a server that listens there; check host, port and that it runs"
    return "wanted a server that takes streams, such as go2rtc or MediaMTX; check the address"


if __name__ == "__main__":
    main()
