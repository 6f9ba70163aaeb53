"""Shows rendered frames in a window and notices when the user wants to stop."""

from __future__ import annotations

import os
from pathlib import Path

import cv2

from edge.sinks.display import display_answers
from edge.sources.live.status import SourceStatus
from edge.vision.pixel_aspect import squared
from edge.vision.types import SQUARE, Image, Result
from engines.errors import SettingsError, SinkError

TITLE = "Outrider"
MAX_WIDTH_PX = 1600
"""A larger frame opens at this width; the window can be resized."""
STOP_KEYS = (ord("q"), ord("Q"), 27)
"""q and Esc."""
FONT_FOLDERS = ("/usr/share/fonts/truetype/dejavu", "/usr/share/fonts/TTF", "/usr/share/fonts")


class WindowSink:
    """A resizable window; q, Esc or closing it asks the run to stop.

    Raises:
        SettingsError: no display answers, or this OpenCV has no windows.
    """

    name = "window"
    wants_image = True

    def __init__(self, text: str = name, *, fps: float | None = None, keep: bool = False) -> None:
        if not display_answers():
            display = os.environ.get("DISPLAY", "")
            got = f"the display {display} does not answer" if display else "DISPLAY is not set"
            raise SettingsError(
                f"window: {got}; start it on a desktop, or use --sink out.mp4, --sink null"
            )
        if not hasattr(cv2, "imshow") or getattr(cv2, "currentUIFramework", str)() == "":
            raise SettingsError(
                "window: this OpenCV is built without windows (opencv-python-headless?); "
                "install opencv-python, or use --sink out.mp4"
            )
        self._pixel_aspect = SQUARE
        self._shown = False
        self._closed = False
        os.environ.setdefault("QT_QPA_PLATFORM", "xcb")  # no other plugin is in the wheels
        # The wheels point Qt at a folder of fonts that they do not bring, and Qt complains of it.
        for folder in FONT_FOLDERS:
            if Path(folder).is_dir():
                os.environ["QT_QPA_FONTDIR"] = folder
                break
        else:
            os.environ.setdefault("QT_LOGGING_RULES", "qt.qpa.fonts.warning=false")

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        """Show one frame; False when the user asked to stop.

        Raises:
            SinkError: the window system refused.
        """
        assert image is not None, "the pipeline draws an overlay for a sink that wants one"
        self._pixel_aspect = result.frame.pixel_aspect
        return self.show(squared(image, self._pixel_aspect))

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        """Show that there is no signal.

        Raises:
            SinkError: the window system refused.
        """
        return image is None or self.show(squared(image, self._pixel_aspect))

    def show(self, image: Image) -> bool:
        """Show a picture (H, W, 3); False when the user asked to stop.

        Raises:
            SinkError: the window system refused.
        """
        if self._closed:
            return False
        try:
            if not self._shown:
                self._open(image)
            elif not _visible():
                return False
            cv2.imshow(TITLE, image)
            # pollKey draws what is due and takes a key without waiting for one.
            return cv2.pollKey() & 0xFF not in STOP_KEYS
        except cv2.error as exc:
            raise SinkError(
                f"window: {exc.err or exc}; write to a file instead: --sink out.mp4"
            ) from exc

    def close(self) -> None:
        """Close the window."""
        if self._closed:
            return
        self._closed = True
        if self._shown:
            cv2.destroyAllWindows()
            cv2.pollKey()  # lets Qt take the window off the screen

    def _open(self, image: Image) -> None:
        cv2.namedWindow(TITLE, cv2.WINDOW_NORMAL | cv2.WINDOW_KEEPRATIO | cv2.WINDOW_GUI_NORMAL)
        height, width = image.shape[:2]
        shrink = min(1.0, MAX_WIDTH_PX / width)
        cv2.resizeWindow(TITLE, round(width * shrink), round(height * shrink))
        self._shown = True


def _visible() -> bool:
    """Whether the window is still there: of one that the user closed, OpenCV 5 raises."""
    try:
        return bool(cv2.getWindowProperty(TITLE, cv2.WND_PROP_VISIBLE) >= 1)
    except cv2.error:
        return False
