"""The sink ``web``: gives the run's pictures and results to a page; it decides nothing."""

from __future__ import annotations

import logging
from dataclasses import replace
from typing import TYPE_CHECKING

from edge.vision.pixel_aspect import squared
from edge.vision.types import SQUARE
from edge.web.access.rules import open_access
from edge.web.address import listen, read_address
from engines.errors import SettingsError

try:
    from edge.telemetry.telemetry import Telemetry
    from edge.web.app import build
    from edge.web.history import History
    from edge.web.live import Live
    from edge.web.server import Server
except ImportError as exc:
    raise SettingsError(
        f"--sink web: {exc.name} is not installed, wanted the extra web; from the project's "
        "folder: pip install -e '.[web]'"
    ) from exc

if TYPE_CHECKING:
    from edge.run.view import RunView
    from edge.sources.live.status import SourceStatus
    from edge.vision.types import Image, Result

log = logging.getLogger(__name__)


class WebSink:
    """Serves the page while it is open; the port is taken at once.

    Raises:
        SettingsError: the text names no address.
        SinkError: nothing can be served there.
    """

    def __init__(self, text: str, *, fps: float | None, keep: bool = False) -> None:
        self.name = text
        self._address = read_address(text)
        self._listening = listen(self._address)
        self._server = Server(self._listening)
        self._live: Live | None = None
        self._history: History | None = None
        self._telemetry = Telemetry()
        self._pixel_aspect = SQUARE

    def watch(self, run: RunView) -> None:
        """Begin to serve what there is of this run."""
        web = run.settings.web
        self._live = Live(web, self._server.call)
        self._history = History(run)
        self._telemetry.start()
        access = open_access(self._address, web)
        app = build(run, access, self._live, self._history, self._telemetry)
        self._server.start(app, access.tls)
        address = replace(self._address, port=self._listening.getsockname()[1]).reachable()
        url = address.url("http" if access.tls is None else "https")
        log.info("the page is at %s, %s", url, access.words(self._address))

    @property
    def wants_image(self) -> bool:
        """Whether somebody looks and the next picture is due."""
        return self._live is not None and self._live.pictures.wanted

    def write(self, result: Result, image: Image | None, *, frame_age_ms: float) -> bool:
        """Offer one frame to those who look."""
        if self._live is not None:
            self._live.events.offer(result, frame_age_ms)
            if image is not None and self.wants_image:
                self._pixel_aspect = result.frame.pixel_aspect
                self._live.pictures.offer(squared(image, self._pixel_aspect))
        return True

    def signal(self, status: SourceStatus, image: Image | None, *, at_ns: int) -> bool:
        """Offer the view of no signal."""
        if self._live is not None and image is not None and self.wants_image:
            self._live.pictures.offer(squared(image, self._pixel_aspect))
        return True

    def close(self) -> None:
        """End the server, and all who look."""
        self._telemetry.close()
        if self._live is not None:
            self._live.close()
        if self._history is not None:
            self._history.close()
        self._server.close()
