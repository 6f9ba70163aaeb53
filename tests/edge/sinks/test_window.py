"""The window under a real X server: it shows the picture, and keys and its close button end it."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import pytest

from edge.sinks import open_sink
from edge.sinks.display import display_answers
from engines.errors import SettingsError

DEADLINE_S = 60
VIEWER = """
import sys
import cv2
import av  # both loaded: in the other order imshow is known to freeze
from edge.sinks import open_sink
from tests.edge.sink_values import picture, result
sink = open_sink("window", fps=None)
image = picture((30, 160, 240), wh=(320, 240))
shown = 0
while sink.write(result(shown), image, frame_age_ms=0.0):
    shown += 1
    if shown == 3:
        print("shown", flush=True)
sink.close()
sink.close()
print("closed", flush=True)
"""


def _press(window: str, key: str) -> None:
    subprocess.run(["xdotool", "windowfocus", "--sync", window, "key", key], check=True)


def _close_button(window: str) -> None:
    """Send what a window manager sends when its close button is pressed (ICCCM 4.2.8.1)."""

    class ClientMessage(ctypes.Structure):
        _fields_ = (
            ("type", ctypes.c_int),
            ("serial", ctypes.c_ulong),
            ("send_event", ctypes.c_int),
            ("display", ctypes.c_void_p),
            ("window", ctypes.c_ulong),
            ("message_type", ctypes.c_ulong),
            ("format", ctypes.c_int),
            ("data", ctypes.c_long * 5),
            ("room", ctypes.c_long * 24),  # XEvent is a union of 24 longs
        )

    x = ctypes.CDLL("libX11.so.6")
    x.XOpenDisplay.restype = ctypes.c_void_p
    x.XInternAtom.restype = ctypes.c_ulong
    x.XInternAtom.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int]
    x.XSendEvent.argtypes = [
        ctypes.c_void_p, ctypes.c_ulong, ctypes.c_int, ctypes.c_long, ctypes.c_void_p,
    ]  # fmt: skip
    x.XCloseDisplay.argtypes = [ctypes.c_void_p]
    connection = x.XOpenDisplay(os.environ["DISPLAY"].encode())
    event = ClientMessage(type=33, window=int(window), format=32)  # 33: ClientMessage in X.h
    event.message_type = x.XInternAtom(connection, b"WM_PROTOCOLS", 0)
    event.data[0] = x.XInternAtom(connection, b"WM_DELETE_WINDOW", 0)
    assert x.XSendEvent(connection, int(window), 0, 0, ctypes.byref(event))
    x.XCloseDisplay(connection)


@pytest.mark.timing  # on busy cores Qt may leave the window black
@pytest.mark.parametrize(
    "stop",
    [
        pytest.param(lambda window: _press(window, "q"), id="q"),
        pytest.param(lambda window: _press(window, "Escape"), id="escape"),
        pytest.param(_close_button, id="close_button"),
    ],
)
def test_the_window_shows_the_frame_until_the_user_ends_it(
    stop: Callable[[str], None], display: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISPLAY", display)
    with subprocess.Popen(
        [sys.executable, "-c", VIEWER],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as viewer:
        assert viewer.stdout is not None
        assert viewer.stdout.readline() == "shown\n"
        search = ["xdotool", "search", "--sync", "--onlyvisible", "--name", "^Outrider$"]
        found = subprocess.run(
            search, check=True, capture_output=True, text=True, timeout=DEADLINE_S
        )
        window = found.stdout.split()[-1]
        shot = tmp_path / "shot.png"
        subprocess.run(["import", "-window", window, str(shot)], check=True, timeout=DEADLINE_S)
        stop(window)
        rest, noise = viewer.communicate(timeout=DEADLINE_S)
    assert (viewer.returncode, rest, noise) == (0, "closed\n", "")
    image = cv2.imread(str(shot))
    assert image is not None
    assert image.shape == (240, 320, 3)
    assert (image == (30, 160, 240)).all()


@pytest.mark.parametrize("name", [None, "", ":987", "nonsense"])
def test_without_a_display_the_next_step_is_named(
    name: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("DISPLAY", raising=False)
    if name is not None:
        monkeypatch.setenv("DISPLAY", name)
    assert not display_answers()
    with pytest.raises(SettingsError, match=r"--sink out\.mp4"):
        open_sink("window", fps=None)


def test_a_display_that_listens_answers(display: str) -> None:
    assert display_answers({"DISPLAY": display})
