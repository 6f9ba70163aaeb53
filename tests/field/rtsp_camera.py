"""A real RTSP camera for tests: GStreamer's server in a process of its own, with coded frames.

As a program it serves until it is killed; ``RtspCamera`` starts, freezes and kills that program.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from importlib import import_module
from pathlib import Path
from typing import Any

from edge.sources.gst.library import import_gst
from tests.edge.loopback import closed_port
from tests.field.timecode import WH, coded

ROOT = Path(__file__).resolve().parent.parent.parent
CODECS = {
    # A key frame a second, as cameras send them; nothing waits in the encoder. One slice a picture:
    # this payloader repeats the parameter sets before each slice, and FFmpeg takes that for a new
    # picture.
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast threads=1 key-int-max={fps} ! "
    "rtph264pay config-interval=-1 pt=96",
    "vp8": "vp8enc deadline=1 keyframe-max-dist={fps} ! rtpvp8pay pt=96",
    "mjpeg": "jpegenc ! rtpjpegpay pt=26",
}
DEADLINE_S = 30
PATH = "/cam"


class RtspCamera:
    """A camera at a fixed address of this machine; off until ``start``."""

    def __init__(self) -> None:
        self.port = closed_port()
        self._process: subprocess.Popen[str] | None = None

    def url(self, login: str = "", port: int | None = None) -> str:
        """Its address, for ``login`` of USER:PASSWORD; ``port`` that of a link before it."""
        at = f"{login}@" if login else ""
        return f"rtsp://{at}127.0.0.1:{port or self.port}{PATH}"

    def start(
        self,
        *,
        codec: str = "h264",
        wh: tuple[int, int] = WH,
        fps: int = 25,
        login: str = "",
        transport: str = "",
    ) -> None:
        """Serve, from when this returns; ``login`` is a USER:PASSWORD that it asks for.

        ``transport`` is the only one by which it sends: 'tcp', 'udp', 'udp_mcast', or any.
        """
        words = [f"--codec={codec}", f"--wh={wh[0]}x{wh[1]}", f"--fps={fps}", f"--login={login}"]
        words.append(f"--transport={transport}")
        self._run("tests.field.rtsp_camera", *words)

    def _run(self, module: str, *words: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", module, f"--port={self.port}", *words],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=ROOT,
            text=True,
        )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "serving\n":
            raise RuntimeError(f"it ended with {self._process.wait(DEADLINE_S)}")

    def freeze(self) -> None:
        """Stop the process where it stands; its connections stay open and silent."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once; the system closes its connections."""
        if self._process is None:
            return
        self._signal(signal.SIGKILL)
        self._process.wait(DEADLINE_S)
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._process = None

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None
        self._process.send_signal(number)

    def __enter__(self) -> RtspCamera:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def missing(repository: Any) -> str:
    """What GStreamer lacks for this camera, in words, empty if nothing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            import_module("gi").require_version("GstRtspServer", "1.0")
        except ValueError:
            return "GStreamer's RTSP server (apt install gir1.2-gst-rtsp-server-1.0)"
    if repository.Gst.ElementFactory.find("x264enc") is None:
        return "an encoder of H.264 (apt install gstreamer1.0-plugins-ugly)"
    return ""


def serve(
    *, port: int, codec: str, wh: tuple[int, int], fps: int, login: str, transport: str
) -> None:
    """Serve until standard input ends: with the process that started this one.

    Raises:
        SourceError: there is no GStreamer for this Python.
    """
    gst = import_gst().Gst
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("GstRtsp", "GstRtspServer"):
            import_module("gi").require_version(name, "1.0")
        rtsp, library = (
            import_module(f"gi.repository.{name}") for name in ("GstRtsp", "GstRtspServer")
        )
        glib = import_module("gi.repository.GLib")
    server = library.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = library.RTSPMediaFactory.new()
    caps = f"video/x-raw,format=BGR,width={wh[0]},height={wh[1]},framerate={fps}/1"
    # Blocking, so that a client that reads slowly gets late pictures and not ever more of them.
    factory.set_launch(
        f"( appsrc name=eye is-live=true format=time do-timestamp=true block=true max-buffers=2 "
        f"caps={caps} ! videoconvert ! video/x-raw,format=I420 "
        f"! {CODECS[codec].format(fps=fps)} name=pay0 )"
    )
    factory.connect("media-configure", lambda _, media: _look(gst, media, wh, fps))
    if login:
        ask_for(login, factory, server, gst, rtsp, library)
    if transport:
        factory.set_protocols(getattr(rtsp.RTSPLowerTrans, transport.upper()))
    if transport == "udp_mcast":
        pool = library.RTSPAddressPool.new()
        pool.add_range("224.3.0.1", "224.3.0.9", 5000, 5100, 1)
        factory.set_address_pool(pool)
    server.get_mount_points().add_factory(PATH, factory)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    print("serving", flush=True)
    loop = glib.MainLoop()
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    loop.run()


def _look(gst: Any, media: Any, wh: tuple[int, int], fps: int) -> None:
    """Push a frame at every tick into the pipeline of one client."""
    eye = media.get_element().get_child_by_name("eye")
    over = threading.Event()
    media.connect("unprepared", lambda _: over.set())

    def push() -> None:
        # What is pushed before has no timestamp, and some connections then never get a picture.
        while eye.get_state(gst.SECOND)[1] != gst.State.PLAYING:
            if over.wait(0.005):
                return
        due = time.monotonic()
        while not over.wait(max(0.0, due - time.monotonic())):
            picture = coded(time.monotonic_ns(), wh)
            eye.emit("push-buffer", gst.Buffer.new_wrapped(picture.tobytes()))
            due += 1 / fps
            if due < time.monotonic():  # no burst after a freeze
                due = time.monotonic() + 1 / fps

    threading.Thread(target=push, daemon=True).start()


def ask_for(login: str, factory: Any, server: Any, gst: Any, rtsp: Any, library: Any) -> None:
    """Let in only who knows ``login``, by digest (RFC 2617)."""
    user, _, password = login.partition(":")
    auth = library.RTSPAuth.new()
    auth.set_supported_methods(rtsp.RTSPAuthMethod.DIGEST)
    token = library.RTSPToken.new()
    token.set_string("media.factory.role", user)
    auth.add_digest(user, password, token)
    server.set_auth(auth)
    role = gst.Structure.new_from_string(
        f'"{user}", media.factory.access=(boolean)true, media.factory.construct=(boolean)true'
    )
    factory.add_role_from_structure(role)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--codec", choices=sorted(CODECS), default="h264")
    parser.add_argument("--wh", default=f"{WH[0]}x{WH[1]}")
    parser.add_argument("--fps", type=int, default=25)
    parser.add_argument("--login", default="")
    parser.add_argument("--transport", default="")
    given = parser.parse_args()
    width, height = map(int, given.wh.split("x"))
    with contextlib.suppress(KeyboardInterrupt):
        serve(
            port=given.port,
            codec=given.codec,
            wh=(width, height),
            fps=given.fps,
            login=given.login,
            transport=given.transport,
        )


if __name__ == "__main__":
    main()
