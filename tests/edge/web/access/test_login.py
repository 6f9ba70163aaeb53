"""Logging in with a browser's form, staying for a while, and going out again."""

from __future__ import annotations

import re
import socket
import time
from typing import TYPE_CHECKING

import pytest

from tests.edge.web.access.stranger import DEADLINE_S, TOKEN, Heard, ask
from tests.edge.web.equipment.browser import open_page, until
from tests.edge.web.equipment.served import Served

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HOST = "Host: car:8090\n"
FORM = "Content-Type: application/x-www-form-urlencoded\n"


def enter(
    run: Served,
    body: str,
    *,
    kind: str = FORM,
    origin: str = "http://car:8090",
    source: str = "127.0.0.2",
) -> Heard:
    head = f"POST /login HTTP/1.1\n{HOST}{kind}Content-Length: {len(body)}\nOrigin: {origin}\n\n"
    return ask(run, head + body, source=source)


def status(run: Served, cookie: str) -> int:
    return ask(run, f"GET /api/status HTTP/1.1\n{HOST}Cookie: a=b; {cookie}\n\n").status


def test_the_login_is_a_page_that_works_without_scripts(guarded: Served) -> None:
    heard = ask(guarded, f"GET /login HTTP/1.1\n{HOST}\n")
    assert (heard.status, heard.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<script" not in heard.body
    assert "http" not in re.sub("<!.*?>", "", heard.body)
    assert 'role="alert"' not in heard.body
    (style,) = re.findall('rel="stylesheet" href="(.*?)"', heard.body)
    css = ask(guarded, f"GET {style} HTTP/1.1\n{HOST}\n")
    assert (css.status, css.headers["content-type"]) == (200, "text/css; charset=utf-8")
    assert "url(" not in css.body


def test_the_token_gives_a_session_that_no_script_and_no_other_site_can_use(
    guarded: Served,
) -> None:
    heard = enter(guarded, f"token={TOKEN}")
    assert (heard.status, heard.headers["location"]) == (303, "/")
    name, *attributes = heard.headers["set-cookie"].split("; ")
    assert re.fullmatch(rf"outrider_session_{guarded.port}=[A-Za-z0-9_-]{{43}}", name)
    assert sorted(attributes) == ["HttpOnly", "Max-Age=43200", "Path=/", "SameSite=strict"]
    assert TOKEN not in str(heard)
    assert status(guarded, name) == 200
    again = ask(guarded, f"GET /login HTTP/1.1\n{HOST}Cookie: {name}\n\n")
    assert (again.status, again.headers["location"]) == (303, "/")

    leave = f"POST /logout HTTP/1.1\n{HOST}Cookie: {name}\nContent-Length: 0\n"
    assert ask(guarded, f"{leave}Origin: http://car:8090\n\n").status == 403
    assert status(guarded, name) == 200
    left = ask(guarded, f"{leave}X-Outrider: 1\n\n")
    gone = left.headers["set-cookie"].split("; ")[0]
    assert (left.status, gone) == (204, f'outrider_session_{guarded.port}=""')
    assert status(guarded, name) == 401


def test_the_session_of_another_run_on_the_machine_is_left_alone(guarded: Served) -> None:
    """A browser sends each run the cookies of all ports, and keeps one of a name."""
    name = enter(guarded, f"token={TOKEN}").headers["set-cookie"].split("; ")[0]
    assert status(guarded, f"outrider_session_{guarded.port + 1}=of-the-other; {name}") == 200


def test_who_leaves_in_the_middle_of_the_form_is_no_defect_of_ours(guarded: Served) -> None:
    """The fixture looks at the run's log in the end."""
    form = "Content-Type: application/x-www-form-urlencoded\n"
    head = f"POST /login HTTP/1.1\n{HOST}Origin: http://car:8090\n{form}Content-Length: 30\n\n"
    with socket.create_connection(("127.0.0.1", guarded.port), DEADLINE_S) as leaving:
        leaving.sendall(head.replace("\n", "\r\n").encode() + b"tok")
        time.sleep(0.1)
    time.sleep(0.1)
    assert enter(guarded, f"token={TOKEN}").status == 303


def test_behind_a_proxy_with_tls_the_session_is_for_tls_alone(guarded: Served) -> None:
    heard = enter(guarded, f"token={TOKEN}", origin="https://car:8090")
    assert heard.headers["set-cookie"].endswith("; Secure")


def test_the_spaces_that_a_copied_token_brings_along_do_no_harm(guarded: Served) -> None:
    assert enter(guarded, f"token=%20{TOKEN}%0A").status == 303


@pytest.mark.parametrize("body", ["", "token=", "token", "other=1", "token=%00", "token=%ff", "&&"])
def test_a_wrong_token_is_told_on_the_page(guarded: Served, body: str) -> None:
    heard = enter(guarded, body, source="127.0.0.3")
    assert heard.status == 401
    assert '<p role="alert">That is not the token.</p>' in heard.body
    assert "set-cookie" not in heard.headers


def test_what_is_no_form_is_refused(guarded: Served) -> None:
    assert enter(guarded, "{}", kind="Content-Type: application/json\n").status == 415
    assert enter(guarded, "token=1&" * 100).status == 400
    assert enter(guarded, f"token={TOKEN}", origin="http://evil.example").status == 403
    assert ask(guarded, f"POST /login HTTP/1.1\n{HOST}{FORM}Content-Length: 0\n\n").status == 403
    assert enter(guarded, "token=" + "x" * 70_000).status == 413


def test_who_guesses_waits_also_with_the_right_token_and_others_do_not(guarded: Served) -> None:
    for _ in range(10):
        assert enter(guarded, "token=guessed", source="127.0.0.4").status == 401
    heard = enter(guarded, "token=guessed", source="127.0.0.4")
    assert (heard.status, "Too many wrong ones" in heard.body) == (429, True)
    assert enter(guarded, f"token={TOKEN}", source="127.0.0.4").status == 429
    bearer = f"GET /api/status HTTP/1.1\n{HOST}Authorization: Bearer {TOKEN}\n\n"
    refused = ask(guarded, bearer, source="127.0.0.4")
    assert refused.status == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 11
    assert ask(guarded, bearer, source="127.0.0.5").status == 200
    session = enter(guarded, f"token={TOKEN}", source="127.0.0.5").headers["set-cookie"]
    cookie = f"GET /api/status HTTP/1.1\n{HOST}Cookie: {session.partition(';')[0]}\n\n"
    assert ask(guarded, cookie, source="127.0.0.4").status == 200


def test_who_asks_all_the_time_is_told_to_wait(guarded: Served) -> None:
    request = f"GET /healthz HTTP/1.1\n{HOST}\n"
    heard = [ask(guarded, request, source="127.0.0.6") for _ in range(260)]
    assert {each.status for each in heard[:200]} == {200}
    assert heard[-1].status in (200, 429)
    assert 429 in {each.status for each in heard}
    assert ask(guarded, request, source="127.0.0.7").status == 200


@pytest.mark.slow
def test_a_phone_logs_in_looks_and_logs_out(browser: Browser, guarded: Served) -> None:
    at = f"http://localhost:{guarded.port}/"
    # What is refused on purpose stands in the console; nothing else may.
    refused = "status of 401"
    size = {"width": 390, "height": 844}
    with open_page(browser, expected=refused, viewport=size, color_scheme="dark") as page:
        page.goto(at)
        assert page.url == f"{at}login"
        assert page.evaluate("document.activeElement.id") == "token"
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(12, 16, 22)"
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.fill("#token", "wrong-wrong-wrong-wrong")
        page.press("#token", "Enter")
        assert page.inner_text("[role=alert]") == "That is not the token."
        page.fill("#token", TOKEN)
        page.click("button")
        page.wait_for_url(at)
        until(page, "document.getElementById('state').textContent === 'Live'")
        assert page.evaluate("document.cookie") == ""
        assert page.evaluate("fetch('/api/status').then((answer) => answer.status)") == 200
        page.click("#leave")
        page.wait_for_url(f"{at}login")
        assert page.evaluate("fetch('/api/status').then((answer) => answer.status)") == 401
