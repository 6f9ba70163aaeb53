"""Tells who has the token, and gives who has a cookie in its place; it serves nothing else."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

from starlette.requests import HTTPConnection, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from edge.web.access.answers import Refusal, read_body, too_many
from edge.web.access.rates import Rates
from edge.web.access.rules import Access
from edge.web.access.sessions import LASTS_S, Sessions

_OPEN = ("/login", "/login.css", "/healthz")
"""What anybody may see."""
_PAGE = Path(__file__).resolve().parent.parent / "static" / "login.html"
_SAID = "<!-- said -->"
"""Where the page says what was wrong."""


def cookie_of(request: HTTPConnection) -> str:
    """Its name: a browser has one store for all ports of a machine, and each run has its own."""
    return f"outrider_session_{request.scope['server'][1]}"


class Login:
    """Knows those who were let in; ten wrong tokens of an address, then one in ten seconds."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._sessions = Sessions()
        self._wrong = Rates(burst=10, per_s=0.1)
        self._page = _PAGE.read_text(encoding="utf-8")

    def check(self, request: HTTPConnection) -> None:
        """Let in who has the token or a session.

        Raises:
            Refusal: neither; a browser is sent to the page where one logs in.
        """
        path = request.scope["path"]
        if self._access.token is None or path in _OPEN:
            return
        if self._has_session(request):
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            if self._is_token(request, given.strip()):
                return
            raise Refusal(401, "that is not the token", {"WWW-Authenticate": "Bearer"})
        if request.scope["type"] == "http" and "text/html" in request.headers.get("accept", ""):
            raise Refusal(303, "wanted a login", {"Location": "/login"})
        raise Refusal(
            401,
            "wanted the token as 'Authorization: Bearer TOKEN', or a login at /login",
            {"WWW-Authenticate": "Bearer"},
        )

    async def page(self, request: Request) -> Response:
        """Where one logs in."""
        if self._access.token is None or self._sessions.known(
            request.cookies.get(cookie_of(request), "")
        ):
            return RedirectResponse("/", 303)
        return self._show("")

    async def enter(self, request: Request) -> Response:
        """Take the token of the page's form.

        Raises:
            Refusal: the form is none.
        """
        body = await read_body(request, kind="application/x-www-form-urlencoded")
        try:
            fields = parse_qs(body.decode("ascii"), max_num_fields=4)
        except ValueError:
            raise Refusal(400, "got no form, wanted one with the field token") from None
        answer = RedirectResponse("/", 303)
        if self._access.token is None:
            return answer
        try:
            if not self._is_token(request, fields.get("token", [""])[0].strip()):
                return self._show("That is not the token.", 401)
        except Refusal as refusal:
            return self._show("Too many wrong ones. Wait a little.", refusal.status)
        answer.set_cookie(
            cookie_of(request),
            self._sessions.begin(),
            max_age=int(LASTS_S),
            httponly=True,
            samesite="strict",
            # Behind a proxy the browser alone knows; its Origin was checked.
            secure=request.headers["origin"].startswith("https:"),
        )
        return answer

    async def leave(self, request: Request) -> Response:
        """End the session."""
        self._sessions.end(request.cookies.get(cookie_of(request), ""))
        answer = Response(status_code=204)
        answer.delete_cookie(cookie_of(request), httponly=True, samesite="strict")
        return answer

    def _has_session(self, request: HTTPConnection) -> bool:
        return self._sessions.known(request.cookies.get(cookie_of(request), ""))

    def _is_token(self, request: HTTPConnection, given: str) -> bool:
        address = request.client.host if request.client else ""
        if wait_s := self._wrong.wait_s(address):
            raise too_many("wrong tokens", wait_s)
        found = self._access.is_token(given)
        if not found:
            self._wrong.take(address)
        return found

    def _show(self, said: str, status: int = 200) -> Response:
        shown = f'<p role="alert">{said}</p>' if said else ""
        return HTMLResponse(self._page.replace(_SAID, shown), status)
