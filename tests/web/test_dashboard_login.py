"""Logins of the dashboard at the real server: the cookie, how it ends, what it is good for, who may use it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID, uuid4

import httpx
import pytest
from fastapi import APIRouter, Depends

from sipua.feed import Feed
from sipua.ports import Moment
from sipua.web.dashboard import dashboard_router
from sipua.web.dashboard_board import Board
from sipua.web.dashboard_sessions import COOKIE, HEADER, LOGINS_MAX, CookieSessions, SessionBook
from sipua.web.dashboard_static import Pages
from sipua.web.dashboard_stream import Hub
from sipua.web.guard import Guard, Role
from sipua.web.limits import Rate
from sipua.web.tokens import Token, digest_of
from tests.web.serving import ALL, SECRETS, HandClock, Tokens, bearer, serving

IDLE_S, LONGEST_S = 60, 300
OURS = {HEADER: "1", "Sec-Fetch-Site": "same-origin"}
CALL = uuid4()


@dataclass
class Site:
    client: httpx.AsyncClient
    clock: HandClock
    tokens: Tokens
    hub: Hub
    hung_up: list[UUID]

    async def log_in(self, role: Role = Role.OPERATE, headers: dict[str, str] = OURS) -> httpx.Response:
        return await self.client.post("/dashboard/session", json={"token": SECRETS[role]}, headers=headers)

    async def code(self) -> int:
        """Of a request with the cookie that the client has."""
        return (await self.client.get("/dashboard/session")).status_code


@asynccontextmanager
async def a_site(*, secure: bool = False, streams_max: int = 4) -> AsyncIterator[Site]:
    clock = HandClock(Moment(1000.0, datetime(2026, 1, 2, tzinfo=UTC)))
    tokens = Tokens(ALL)
    guard = Guard(tokens, clock, Rate(1000, 1000))
    sessions = guard.sessions = CookieSessions(SessionBook(IDLE_S, LONGEST_S), tokens, clock, secure=secure)
    hub = Hub(Board(), Feed(), clock, lambda: (), (), streams_max)
    hung_up: list[UUID] = []

    def hang_up(id: UUID) -> bool:
        hung_up.append(id)
        return id == CALL

    others = APIRouter()

    @others.get("/calls")
    async def for_programs(_: object = Depends(guard.requires(Role.READ))) -> str:
        return "full numbers"

    page = dashboard_router(guard, sessions, hub, Pages(), {"node": "n", "zone": "UTC"}, hang_up)
    async with serving([page, others], guard=guard, clock=clock) as client:
        yield Site(client, clock, tokens, hub, hung_up)


async def test_a_token_becomes_a_cookie_that_scripts_and_other_sites_do_not_have() -> None:
    async with a_site() as site:
        assert await site.code() == 401
        told = await site.log_in()
        assert told.json() == {"name": "operate", "roles": ["read", "operate"], "node": "n", "zone": "UTC"}
        (cookie,) = told.headers.get_list("set-cookie")[-1:]
        name, _, rest = cookie.partition("=")
        assert (name, set(rest.split("; ")[1:])) == (COOKIE, {"HttpOnly", "SameSite=strict"})
        assert SECRETS[Role.OPERATE] not in cookie
        assert await site.code() == 200


@pytest.mark.parametrize("secure", [True, False])
async def test_the_cookie_is_for_https_only_where_that_is_how_we_are_reached(secure: bool) -> None:
    async with a_site(secure=secure) as site:
        assert ("Secure" in (await site.log_in()).headers["set-cookie"]) is secure


REFUSED = [
    pytest.param({"token": "x"}, OURS, 401, id="a wrong token"),
    pytest.param({"token": SECRETS[Role.INGEST]}, OURS, 403, id="a token that may not read"),
    pytest.param({"token": ""}, OURS, 422, id="none"),
    pytest.param({"token": "x" * 600}, OURS, 422, id="a long one"),
    pytest.param({"token": ["x"]}, OURS, 422, id="no text"),
    pytest.param({"token": "x", "y": 1}, OURS, 422, id="something else"),
    pytest.param(
        {"token": SECRETS[Role.READ]}, {"Sec-Fetch-Site": "same-origin"}, 403, id="without our header"
    ),
    pytest.param(
        {"token": SECRETS[Role.READ]}, {HEADER: "1", "Sec-Fetch-Site": "cross-site"}, 403, id="another site"
    ),
    pytest.param(
        {"token": SECRETS[Role.READ]}, {HEADER: "1", "Sec-Fetch-Site": "none"}, 403, id="the address line"
    ),
    pytest.param(
        {"token": SECRETS[Role.READ]}, {HEADER: "1", "Origin": "https://evil.example"}, 403, id="origin"
    ),
    pytest.param({"token": SECRETS[Role.READ]}, {HEADER: "1", "Origin": "null"}, 403, id="no origin"),
]


@pytest.mark.parametrize(("body", "headers", "code"), REFUSED)
async def test_a_login_that_is_refused_sets_no_cookie(
    body: dict[str, object], headers: dict[str, str], code: int
) -> None:
    async with a_site() as site:
        told = await site.client.post("/dashboard/session", json=body, headers=headers)
        assert (told.status_code, "set-cookie" in told.headers) == (code, False)
        assert told.headers["Content-Type"] == "application/problem+json"
        assert not any(secret in told.text for secret in SECRETS.values())


async def test_a_browser_that_tells_no_fetch_site_is_known_by_its_origin() -> None:
    async with a_site() as site:
        own = str(site.client.base_url).rstrip("/")
        assert (await site.log_in(headers={HEADER: "1", "Origin": own})).status_code == 200


async def test_logins_are_slowed_down_after_too_many_wrong_tokens() -> None:
    async with a_site() as site:
        codes = [
            (await site.client.post("/dashboard/session", json={"token": "x"}, headers=OURS)).status_code
            for _ in range(12)
        ]
        assert codes == [401] * 10 + [429] * 2
        assert (await site.log_in()).status_code == 200  # who has the right one is not locked out


async def test_a_session_ends_when_it_is_idle() -> None:
    async with a_site() as site:
        await site.log_in()
        for _ in range(3):
            site.clock.pass_s(IDLE_S - 1)
            assert await site.code() == 200
        site.clock.pass_s(IDLE_S)
        assert await site.code() == 401


async def test_a_session_ends_however_much_it_is_used() -> None:
    async with a_site() as site:
        await site.log_in()
        for _ in range(LONGEST_S // 50 - 1):
            site.clock.pass_s(50)
            assert await site.code() == 200
        site.clock.pass_s(50)
        assert await site.code() == 401


async def test_a_session_ends_with_its_token_also_if_another_takes_its_name() -> None:
    async with a_site() as site:
        await site.log_in()
        site.tokens.tokens = (Token("operate", frozenset({Role.OPERATE}), digest_of("another")),)
        assert await site.code() == 401
        site.tokens.tokens = ALL
        assert await site.code() == 401  # and does not come back


async def test_a_session_has_the_roles_that_its_token_has_now() -> None:
    async with a_site() as site:
        await site.log_in()
        less = Token("operate", frozenset({Role.READ}), digest_of(SECRETS[Role.OPERATE]))
        site.tokens.tokens = (less,)
        told = await site.client.post(f"/dashboard/calls/{CALL}/hangup", headers=OURS)
        assert (told.status_code, site.hung_up) == (403, [])


async def test_logging_out_ends_the_session_and_not_only_the_cookie() -> None:
    async with a_site() as site:
        await site.log_in()
        cookie = site.client.cookies[COOKIE]
        assert (await site.client.delete("/dashboard/session")).status_code == 403  # somebody else's idea
        assert (await site.client.delete("/dashboard/session", headers=OURS)).status_code == 204
        assert await site.code() == 401
        again = await site.client.get("/dashboard/session", headers={"Cookie": f"{COOKIE}={cookie}"})
        assert again.status_code == 401


async def test_a_session_is_good_for_the_dashboard_alone() -> None:
    async with a_site() as site:
        await site.log_in()
        cookie = {"Cookie": f"{COOKIE}={site.client.cookies[COOKIE]}"}
        assert (await site.client.get("/calls", headers=cookie)).status_code == 401
        assert (await site.client.get("/calls", headers=bearer(Role.READ))).status_code == 200


HANG_UP = [
    pytest.param(Role.OPERATE, CALL, OURS, 204, id="operate"),
    pytest.param(Role.OPERATE, uuid4(), OURS, 409, id="a call that is not here"),
    pytest.param(Role.READ, CALL, OURS, 403, id="read"),
    pytest.param(Role.OPERATE, CALL, {}, 403, id="without our header"),
    pytest.param(Role.OPERATE, CALL, {HEADER: "1", "Sec-Fetch-Site": "same-site"}, 403, id="a sibling site"),
    pytest.param(Role.OPERATE, "' OR 1=1 --", OURS, 422, id="SQL"),
]


@pytest.mark.parametrize(("role", "id", "headers", "code"), HANG_UP)
async def test_who_may_hang_up(role: Role, id: object, headers: dict[str, str], code: int) -> None:
    async with a_site() as site:
        await site.log_in(role)
        told = await site.client.post(f"/dashboard/calls/{id}/hangup", headers=headers)
        assert told.status_code == code
        assert bool(site.hung_up) is (code in (204, 409))


async def test_the_page_and_its_files_are_held_to_our_origin() -> None:
    async with a_site() as site:
        for path in ("/dashboard/", "/dashboard/static/app.js", "/dashboard/static/style.css"):
            told = await site.client.get(path)
            assert told.status_code == 200
            policy = told.headers["Content-Security-Policy"]
            assert "'unsafe" not in policy
            assert all(
                rule in policy for rule in ("default-src 'none'", "frame-ancestors 'none'", "trusted-types")
            )
            assert told.headers["X-Content-Type-Options"] == "nosniff"
            assert told.headers["Referrer-Policy"] == "no-referrer"
            same = await site.client.get(path, headers={"If-None-Match": told.headers["ETag"]})
            assert (same.status_code, same.content) == (304, b"")
        for path in (
            "/dashboard/static/..%2f..%2fguard.py",
            "/dashboard/static/nothing.js",
            "/dashboard/static/",
        ):
            assert (await site.client.get(path)).status_code == 404
        assert (await site.client.get("/dashboard")).headers["Location"] == "dashboard/"


def test_one_token_has_so_many_logins_and_the_least_used_makes_room() -> None:
    book = SessionBook(IDLE_S, LONGEST_S)
    other = digest_of(book.open("another", 0.0))
    keys = [digest_of(book.open("t", 0.0)) for _ in range(LOGINS_MAX)]
    assert book.token(keys[0], 1.0, uses=True) == "t"
    book.open("t", 2.0)
    assert [key for key in keys if book.token(key, 2.0, uses=False) is None] == [keys[1]]
    assert book.token(other, 2.0, uses=False) == "another"


def test_sessions_that_are_over_are_forgotten() -> None:
    book = SessionBook(IDLE_S, LONGEST_S)
    for number in range(50):
        book.open(str(number), 0.0)
    book.open("t", IDLE_S)
    assert len(book) == 1


def test_looking_on_is_no_use() -> None:
    book = SessionBook(IDLE_S, LONGEST_S)
    key = digest_of(book.open("t", 0.0))
    assert book.token(key, IDLE_S - 1, uses=False) == "t"
    assert book.token(key, IDLE_S, uses=False) is None
