"""How long a picture takes from its handing over to the page, in a real Chromium.

``python -m tests.edge.web.equipment.latency`` prints the table of BENCHMARKS.md.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from starlette.responses import HTMLResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from edge.street import StreetScene
from edge.vision.types import Image
from edge.web.app import STATIC
from tests.edge.web.equipment.browser import chromium, open_page
from tests.edge.web.equipment.shown import HOST, Shown, handing_over

if TYPE_CHECKING:
    from playwright.sync_api import Browser

WH = (960, 540)
BLOCKS, BLOCK_PX = 24, 40
"""A row of black and white over the whole width, at the top: 20 bits of milliseconds of the wall
clock, 4 of a checksum."""
WAYS = ("bare", "mjpeg", "h264")
_MODULUS = 1 << 20
_READ = """
window.seen = [];
const canvas = new OffscreenCanvas(24, 1);
const pen = canvas.getContext("2d", { willReadFrequently: true });
let before = -1;
function look() {
  const shown = document.querySelector("img, canvas, video");
  const width = shown?.naturalWidth || shown?.videoWidth || shown?.width || 0;
  if (width) {
    pen.drawImage(shown, 0, width / 96, width, width / 48, 0, 0, 24, 1);
    const { data } = pen.getImageData(0, 0, 24, 1);
    let value = 0, sum = 0;
    for (let i = 0; i < 20; i++) if (data[4 * i] > 127) value += 2 ** i;
    for (let i = 0; i < 4; i++) if (data[4 * (20 + i)] > 127) sum += 2 ** i;
    if (sum === (value * 7 + 5) % 13 && value !== before) {
      before = value;
      const now = performance.timeOrigin + performance.now();
      seen.push(((now - value) % 2 ** 20 + 2 ** 20) % 2 ** 20);
    }
  }
  requestAnimationFrame(look);
}
requestAnimationFrame(look);
"""
_PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<body style="margin:0"><div id="picture"></div><script>{read}</script><script type="module">
import {{ showPicture }} from "/picture.js";
window.states = [];
showPicture(document.getElementById("picture"), {{way: "{way}", onState: (s) => states.push(s)}});
</script>"""
_BARE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<body style="margin:0"><img src="/"><script>{read}</script>"""
_PART = b"--x\r\nContent-Type: image/jpeg\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Latency:
    """Milliseconds from handing over to the page, of ``seen`` of ``handed`` pictures."""

    way: str
    handed: int
    seen: int
    p50: float
    p95: float
    worst: float

    def row(self) -> str:
        """For the table."""
        return (
            f"| {self.way} | {self.p50:.0f} | {self.p95:.0f} | {self.worst:.0f} | "
            f"{self.seen} of {self.handed} |"
        )


def scenes(wh: tuple[int, int] = WH) -> list[Image]:
    """A second of the synthetic street."""
    scene = StreetScene(*wh, seed=0)
    return [scene.render(number / 30).copy() for number in range(30)]


def stamp(image: Image) -> None:
    """Write the time into the picture."""
    value = int(time.time() * 1000) % _MODULUS
    word = value | (value * 7 + 5) % 13 << 20
    bits = np.array([word >> i & 1 for i in range(BLOCKS)], np.uint8) * 255
    image[:BLOCK_PX] = np.repeat(bits, image.shape[1] // BLOCKS)[None, :, None]


def measure(browser: Browser, way: str, *, fps: float, seconds: float) -> Latency:
    """Hand over pictures for some seconds and read them from the page."""
    pictures, handed = scenes(), [0]
    with _served(way, fps) as (url, hand_over), open_page(browser) as page:

        def stamped(number: int) -> None:
            image = pictures[number % len(pictures)]
            stamp(image)
            hand_over(image)
            handed[0] = number

        with handing_over(stamped, fps=fps):
            page.goto(url)
            page.wait_for_function("seen.length > 30")
            page.evaluate("seen.length = 0")
            before = handed[0]
            page.wait_for_timeout(seconds * 1000)
            seen: list[float] = page.evaluate("seen")
            count = handed[0] - before
    p50, p95, worst = np.percentile(seen, (50, 95, 100))
    return Latency(way, count, len(seen), float(p50), float(p95), float(worst))


@contextlib.contextmanager
def _served(way: str, fps: float) -> Iterator[tuple[str, Callable[[Image], None]]]:
    """Where a page shows what is handed to the function."""
    if way == "bare":
        with bare_sender() as (url, hand_over):
            yield url, hand_over
        return
    page = _PAGE.format(read=_READ, way=way)
    routes: list[Any] = [Route("/look", lambda _: HTMLResponse(page))]
    routes.append(Mount("/", StaticFiles(directory=STATIC)))
    with Shown(fps=fps, routes=routes) as shown:
        yield shown.url + "look", shown.offer


@contextlib.contextmanager
def bare_sender() -> Iterator[tuple[str, Callable[[Image], None]]]:
    """The least that shows JPEGs: encoded and sent by the one who hands them over."""
    with socket.create_server((HOST, 0)) as listening:
        port = listening.getsockname()[1]
        page = _BARE.format(read=_READ).encode()
        viewers: list[socket.socket] = []

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    one, _ = listening.accept()
                    asked = one.recv(4096)
                    if asked.startswith(b"GET /look"):
                        one.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n" + page)
                        one.close()
                    elif asked.startswith(b"GET / "):
                        kind = b"multipart/x-mixed-replace; boundary=x"
                        one.sendall(b"HTTP/1.0 200 OK\r\nContent-Type: " + kind + b"\r\n\r\n")
                        one.sendall(_PART)
                        viewers.append(one)
                    else:
                        one.close()

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()

        def hand_over(image: Image) -> None:
            for viewer in viewers:
                _, jpeg = cv2.imencode(".jpg", image, (cv2.IMWRITE_JPEG_QUALITY, 80))
                with contextlib.suppress(OSError):
                    viewer.sendall(jpeg.tobytes() + b"\r\n" + _PART)

        try:
            yield f"http://{HOST}:{port}/look", hand_over
        finally:
            for viewer in viewers:
                viewer.close()


def main() -> None:
    """Print the table."""
    print("| way | rate | p50 ms | p95 ms | worst ms | seen |")
    print("|---|---|---|---|---|---|")
    with chromium() as browser:
        for way in WAYS:
            for fps in (10, 30):
                row = measure(browser, way, fps=fps, seconds=10).row()
                print(f"| {row.split('|')[1].strip()} | {fps} fps |" + "|".join(row.split("|")[2:]))


if __name__ == "__main__":
    main()
