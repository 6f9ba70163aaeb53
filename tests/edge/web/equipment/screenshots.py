"""Pictures of the page on the built-in street, to be looked at, on all screens and in trouble.

As a program: ``python -m tests.edge.web.equipment.screenshots OUT_DIR [--seconds 75]``, the time
that the charts are given to fill.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from edge.settings.settings import SHIPPED_MODEL
from tests.edge.web.equipment import recording
from tests.edge.web.equipment.browser import chromium, open_page, until
from tests.edge.web.equipment.served import Served, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

STREET = ("--model", SHIPPED_MODEL, "--engine", "auto")
EXPECTED = "Failed to load|ERR_"
"""Of a server that is gone."""


@dataclass(frozen=True, slots=True)
class View:
    """A screen; ``whole`` is the page from its top to its end."""

    name: str
    width: int
    height: int
    scheme: Literal["dark", "light"] = "dark"
    scale: int = 1
    whole: bool = False

    @property
    def context(self) -> dict[str, Any]:
        """As ``open_page`` takes it."""
        size = {"width": self.width, "height": self.height}
        return {"viewport": size, "color_scheme": self.scheme, "device_scale_factor": self.scale}


DESK = View("desk-dark", 1440, 900)
VIEWS = (
    DESK,
    View("desk-light", 1440, 900, "light"),
    View("desk-whole", 1440, 900, whole=True),
    View("tablet-light", 820, 1180, "light", whole=True),
    View("phone-dark", 360, 780, scale=2, whole=True),
    View("phone-light", 390, 844, "light", scale=2, whole=True),
    View("phone-across", 844, 390, scale=2),
)
TROUBLE = (DESK, View("phone-dark", 360, 780, scale=2), View("desk-light", 1440, 900, "light"))


@contextlib.contextmanager
def looking(browser: Browser, run: Served, view: View) -> Iterator[Page]:
    """The page at that screen, when it shows something."""
    with open_page(browser, expected=EXPECTED, **view.context) as page:
        page.goto(run.url)
        until(page, "document.querySelector('#picture :is(canvas, video)')?.checkVisibility()")
        until(page, "!document.querySelector('#value-fps').textContent.includes('–')")
        yield page


def save(page: Page, folder: Path, name: str, *, whole: bool = False) -> None:
    """Write one picture, when the newest seconds are on it."""
    page.wait_for_timeout(2500)
    path = folder / f"{name}.png"
    page.screenshot(path=path, full_page=whole)
    print(path, flush=True)


def bare(run: Served) -> None:
    """Have nothing drawn on a run's picture, so that it is a camera's."""
    values = {f"overlay.{part}": False for part in ("boxes", "masks", "legend", "readout")}
    headers = {"Content-Type": "application/json", "X-Outrider": "1"}
    run.get("api/settings", headers=headers, data=json.dumps(values).encode())


def in_order(browser: Browser, folder: Path, seconds: float) -> None:
    """All views of a run that goes well, then of one whose server is gone."""
    with contextlib.ExitStack() as stack:
        run = stack.enter_context(served(*STREET, "--source", "synthetic:960x540@15"))
        page = stack.enter_context(looking(browser, run, DESK))
        page.wait_for_timeout(seconds * 1000)
        save(page, folder, DESK.name)
        page.locator("#chart-fps canvas").hover()
        save(page, folder, "desk-pointed")
        for view in VIEWS[1:]:
            with looking(browser, run, view) as other:
                save(other, folder, view.name, whole=view.whole)
        run.stop()
        until(page, "!document.querySelector('#lost').hidden")
        save(page, folder, "desk-lost")


def without_signal(browser: Browser, folder: Path) -> None:
    """The page of a run whose camera is another run's picture, which then ends."""
    with contextlib.ExitStack() as stack:
        camera = stack.enter_context(served("--source", "synthetic:960x540@10"))
        bare(camera)
        source = f"{camera.url}stream.mjpeg"
        run = stack.enter_context(served(*STREET, "--source", source, "--reconnect"))
        page = stack.enter_context(looking(browser, run, DESK))
        page.wait_for_timeout(15_000)
        camera.stop()
        until(page, "document.querySelector('#badge').dataset.kind === 'bad'")
        page.wait_for_timeout(10_000)
        for view in TROUBLE:
            with looking(browser, run, view) as other:
                save(other, folder, f"no-signal-{view.name}")


def recorded(browser: Browser, folder: Path) -> None:
    """The page of a run that is recorded, of which a clip is kept and whose disk is then full."""
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        kept, path, config = Path(place) / "drive", Path(place) / "path", Path(place) / "run.toml"
        kept.mkdir()
        path.mkdir()
        config.write_text('[output]\nblur = ["pedestrian"]\n')
        sinks = ("--sink", kept / "run.kept", "--sink", "web:127.0.0.1:0", config)
        run = stack.enter_context(served(*STREET, *sinks, env=recording.known(path)))
        page = stack.enter_context(looking(browser, run, DESK))
        page.wait_for_timeout(30_000)
        page.get_by_role("button", name="Keep a clip").click()
        save(page, folder, "recording")
        for view in (View("desk-light", 1440, 900, "light", whole=True), VIEWS[4]):
            with looking(browser, run, view) as other:
                save(other, folder, f"recording-{view.name}", whole=True)
        (kept / recording.FULL).write_text("No space left on device; 0.9 GB are free, 1 is wanted")
        for view in TROUBLE:
            with looking(browser, run, view) as other:
                save(other, folder, f"recording-full-{view.name}")


def logging_in(browser: Browser, folder: Path) -> None:
    """The page where one logs in, before and after a wrong token."""
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        token = Path(place) / "token"
        token.touch(0o600)
        token.write_text("a-token-of-more-than-16-letters")
        run = stack.enter_context(served("--web-token", token))
        for view in TROUBLE:
            with open_page(browser, expected=EXPECTED, **view.context) as page:
                page.goto(run.url)
                save(page, folder, f"login-{view.name}")
                page.get_by_label("Token").fill("another")
                page.get_by_label("Token").press("Enter")
                page.get_by_role("alert").wait_for()
                save(page, folder, f"login-wrong-{view.name}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=float, default=75)
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        in_order(browser, given.folder, given.seconds)
        without_signal(browser, given.folder)
        recorded(browser, given.folder)
        logging_in(browser, given.folder)


if __name__ == "__main__":
    main()
