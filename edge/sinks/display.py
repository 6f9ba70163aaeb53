"""Asks whether there is a display to show a window on; it opens none and imports nothing heavy."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Mapping


def display_answers(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether the X display named in ``environ`` accepts this user's connections.

    The Qt inside the OpenCV wheels speaks X11 only (a Wayland desktop answers through XWayland,
    which sets DISPLAY too) and aborts the whole process where it cannot connect: ask before.
    """
    name = environ.get("DISPLAY", "")
    if not name:
        return False
    try:
        xcb = ctypes.CDLL("libxcb.so.1")  # the OpenCV wheels need it as well
    except OSError:
        return False
    xcb.xcb_connect.restype = ctypes.c_void_p
    xcb.xcb_connect.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    xcb.xcb_connection_has_error.argtypes = [ctypes.c_void_p]
    xcb.xcb_disconnect.argtypes = [ctypes.c_void_p]
    connection = xcb.xcb_connect(os.fsencode(name), None)
    refused = xcb.xcb_connection_has_error(connection)
    xcb.xcb_disconnect(connection)
    return not refused
