"""Shows rendered frames in a window and takes the user's wish to stop; it owns no thread.

``cv2`` is imported inside the opener: who only asks whether a display answers pays nothing for it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping


def display_answers(environ: Mapping[str, str] = os.environ, *, timeout_s: float = 1.0) -> bool:
    """Whether the X display named in ``environ`` accepts connections.

    The Qt inside the OpenCV wheels speaks X11 only; a Wayland desktop answers through XWayland,
    which sets DISPLAY too.
    """
    host, colon, rest = environ.get("DISPLAY", "").rpartition(":")
    number = rest.partition(".")[0]
    if not colon or not number.isdigit():
        return False
    attempts: list[tuple[int, str | tuple[str, int]]]
    if host in ("", "unix"):
        # Servers listen on the path, on the abstract name (leading NUL), or on both.
        path = f"/tmp/.X11-unix/X{number}"
        attempts = [(socket.AF_UNIX, path), (socket.AF_UNIX, "\0" + path)]
    else:
        attempts = [(socket.AF_INET, (host, 6000 + int(number)))]
    for family, address in attempts:
        try:
            with socket.socket(family, socket.SOCK_STREAM) as connection:
                connection.settimeout(timeout_s)
                connection.connect(address)
        except OSError:
            continue
        return True
    return False
