"""A real server that takes streams: GStreamer's RTSP server in a process of its own, that decodes.

As a program it writes a line of JSON for every picture; ``StreamServer`` starts, freezes and kills
that program, and reads those lines.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import sys
import threading
import time
import warnings
from importlib import import_module
from typing import Any

import numpy as np

from edge.sources.gst.library import import_gst
from edge.sources.video.media import av
from tests.field.rtsp_camera import PATH, RtspCamera, ask_for
from tests.field.timecode import time_in_pixels

DEADLINE_S = 20


class StreamServer(RtspCamera):
    """A server at a fixed address of this machine; off until ``serve``.

    Attributes:
        pictures: what came: ``wh``, ``age_ms`` of a coded picture (else None), ``mean`` of its
            pixels, the number of the ``connection``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.pictures: queue.Queue[dict[str, Any]] = queue.Queue()

    def serve(self, *, login: str = "", certificate: str = "") -> None:
        """Take streams, from when this returns; a ``certificate`` file makes it rtsps."""
        self._run("tests.field.stream_server", f"--login={login}", f"--certificate={certificate}")
        assert self._process is not None
        self.pictures = queue.Queue()  # without those of the time before
        threading.Thread(
            target=self._read, args=(self._process.stdout, self.pictures), daemon=True
        ).start()

    def _read(self, lines: Any, pictures: queue.Queue[dict[str, Any]]) -> None:
        with contextlib.suppress(ValueError):  # closed by kill
            for line in lines:
                pictures.put(json.loads(line))

    def next(self, **wanted: Any) -> dict[str, Any]:
        """The next picture that has those values; others are forgotten."""
        end = time.monotonic() + DEADLINE_S
        while True:
            picture = self.pictures.get(timeout=max(0.0, end - time.monotonic()))
            if all(picture[name] == value for name, value in wanted.items()):
                return picture


def serve(*, port: int, login: str, certificate: str) -> None:
    """Serve until standard input ends: with the process that started this one."""
    gst = import_gst().Gst
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for name in ("GstRtsp", "GstRtspServer"):
            import_module("gi").require_version(name, "1.0")
        rtsp, library, glib, gio = (
            import_module(f"gi.repository.{name}")
            for name in ("GstRtsp", "GstRtspServer", "GLib", "Gio")
        )
    server = library.RTSPServer.new()
    server.set_address("127.0.0.1")
    server.set_service(str(port))
    factory = library.RTSPMediaFactory.new()
    factory.set_transport_mode(library.RTSPTransportMode.RECORD)
    factory.set_launch(
        "( rtph264depay name=depay0 ! video/x-h264,stream-format=byte-stream,alignment=au "
        "! appsink name=eye sync=false )"
    )
    connections = iter(range(1000))
    factory.connect("media-configure", lambda _, media: _watch(gst, media, next(connections)))
    if login:
        ask_for(login, factory, server, gst, rtsp, library)
    if certificate:
        auth = server.get_auth() or library.RTSPAuth.new()
        auth.set_tls_certificate(gio.TlsCertificate.new_from_file(certificate))
        server.set_auth(auth)
        if not login:
            token = library.RTSPToken.new()
            token.set_string("media.factory.role", "anybody")
            auth.set_default_token(token)
            factory.add_role_from_structure(
                gst.Structure.new_from_string(
                    "anybody, media.factory.access=(boolean)true, "
                    "media.factory.construct=(boolean)true"
                )
            )
    server.get_mount_points().add_factory(PATH, factory)
    if not server.attach(None):
        sys.exit(f"port {port} is taken")
    print("serving", flush=True)
    threading.Thread(target=lambda: (sys.stdin.read(), os._exit(0)), daemon=True).start()
    glib.MainLoop().run()


def _watch(gst: Any, media: Any, connection: int) -> None:
    eye = media.get_element().get_child_by_name("eye")
    decoder = av.CodecContext.create("h264", "r")
    over = threading.Event()
    media.connect("unprepared", lambda _: over.set())

    def look() -> None:
        while not over.is_set():
            sample = eye.try_pull_sample(gst.SECOND // 10)
            if sample is None:
                over.wait(0.01)  # what has not begun answers at once
                continue
            buffer = sample.get_buffer()
            packet = av.Packet(buffer.extract_dup(0, buffer.get_size()))
            for frame in decoder.decode(packet):
                now_ns = time.monotonic_ns()
                image = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
                taken_ns = time_in_pixels(image, now_ns)
                line = {
                    "connection": connection,
                    "wh": [image.shape[1], image.shape[0]],
                    "mean": round(float(image.mean()), 1),
                    "age_ms": None if taken_ns is None else (now_ns - taken_ns) / 1e6,
                }
                print(json.dumps(line), flush=True)

    threading.Thread(target=look, daemon=True).start()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--login", default="")
    parser.add_argument("--certificate", default="")
    given = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        serve(port=given.port, login=given.login, certificate=given.certificate)


if __name__ == "__main__":
    main()
