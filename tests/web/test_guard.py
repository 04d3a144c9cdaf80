"""Tokens, roles, expiry and rates, at the real server."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from fastapi import APIRouter, Depends, Request

from sipua.ports import Moment
from sipua.web.dashboard_service import no_dashboard
from sipua.web.guard import Guard, Principal, Role
from sipua.web.limits import Rate
from sipua.web.tokens import Token
from tests.web.serving import ALL, SECRETS, HandClock, a_guard, bearer, serving, token

NOW = Moment(1000.0, datetime(2026, 1, 2, tzinfo=UTC))
PAST, FUTURE = NOW.wall - timedelta(seconds=1), NOW.wall + timedelta(seconds=1)


def routes(guard: Guard) -> APIRouter:
    router = APIRouter()
    for role in Role:

        @router.get(f"/{role.value}")
        async def asked(who: Principal = Depends(guard.requires(role))) -> str:
            return who.name

    return router


CASES = [
    pytest.param("/read", {}, 401, "no_token", id="nothing"),
    pytest.param("/read", {"Authorization": "Basic eDp5"}, 401, "no_token", id="another scheme"),
    pytest.param("/read", {"Authorization": "Bearer"}, 401, "unknown_token", id="no token after Bearer"),
    pytest.param("/read", {"Authorization": "Bearer x"}, 401, "unknown_token", id="an unknown one"),
    pytest.param("/read", {"Authorization": "Bearer ' OR 1=1 --"}, 401, "unknown_token", id="SQL"),
    pytest.param("/read", {"Authorization": b"Bearer \xff\xfe"}, 401, "unknown_token", id="no UTF-8"),
    pytest.param(
        "/read", {"Authorization": f"bearer  {SECRETS[Role.READ]}"}, 200, "", id="bearer in small letters"
    ),
    pytest.param("/read", bearer(Role.READ), 200, "", id="read"),
    pytest.param("/read", bearer(Role.OPERATE), 200, "", id="operate implies read"),
    pytest.param("/read", bearer(Role.INGEST), 403, "role", id="ingest does not"),
    pytest.param("/operate", bearer(Role.READ), 403, "role", id="who reads does not operate"),
    pytest.param("/ingest", bearer(Role.OPERATE), 403, "role", id="who operates does not ingest"),
]


@pytest.mark.parametrize(("path", "headers", "code", "reason"), CASES)
async def test_who_may_what(path: str, headers: dict[str, str], code: int, reason: str) -> None:
    guard = a_guard()
    async with serving([routes(guard)], guard=guard) as client:
        told = await client.get(path, headers=headers)
    assert (told.status_code, told.json().get("reason") if reason else "") == (code, reason)
    assert ("WWW-Authenticate" in told.headers) is (code == 401)
    assert told.headers["Cache-Control"] == "no-store"
    if reason:
        assert told.headers["Content-Type"] == "application/problem+json"
    if code == 403:
        assert path.removeprefix("/") in told.json()["detail"]


async def test_without_a_file_of_tokens_everything_is_off_and_says_what_to_set() -> None:
    guard = a_guard(None)
    async with serving([routes(guard)], guard=guard) as client:
        for path in ("/read", "/openapi.json"):
            told = await client.get(path, headers=bearer(Role.READ))
            assert (told.status_code, "http.tokens_file" in told.json()["detail"]) == (404, True)


@pytest.mark.parametrize(
    ("tokens", "setting"), [(None, "http.tokens_file"), (ALL, "dashboard.enabled = false")]
)
async def test_the_dashboards_address_says_which_setting_switched_it_off(
    tokens: Sequence[Token] | None, setting: str
) -> None:
    guard = a_guard(tokens)
    async with serving([no_dashboard(guard)], guard=guard) as client:
        for path in ("/dashboard", "/dashboard/"):
            answer = await client.get(path)
            assert (answer.status_code, answer.json()["reason"]) == (404, "off")
            assert setting in answer.json()["detail"]


async def test_an_expired_token_is_told_so_and_so_is_no_unknown_one() -> None:
    guard = a_guard(
        [token(Role.READ, expires=PAST), token(Role.OPERATE, expires=FUTURE)], clock=HandClock(NOW)
    )
    async with serving([routes(guard)], guard=guard) as client:
        told = await client.get("/read", headers=bearer(Role.READ))
        assert (told.status_code, told.json()["detail"]) == (401, "the token has expired on 2026-01-01")
        assert 'error="invalid_token"' in told.headers["WWW-Authenticate"]
        assert (await client.get("/read", headers=bearer(Role.OPERATE))).status_code == 200


async def test_wrong_tokens_are_slowed_down_and_right_ones_are_not(caplog: pytest.LogCaptureFixture) -> None:
    clock = HandClock(NOW)
    guard = a_guard(clock=clock)

    async def wrong(client: httpx.AsyncClient) -> httpx.Response:
        return await client.get("/read", headers={"Authorization": "Bearer sipua_secret"})

    async with serving([routes(guard)], guard=guard) as client:
        assert [(await wrong(client)).status_code for _ in range(11)] == [401] * 10 + [429]
        assert (await wrong(client)).headers["Retry-After"] == "6"
        assert (await client.get("/read", headers=bearer(Role.READ))).status_code == 200
        clock.pass_s(6)
        assert [(await wrong(client)).status_code for _ in range(2)] == [401, 429]
    assert "sipua_secret" not in caplog.text
    assert sum("an unknown token" in line for line in caplog.messages) == 1


async def test_one_token_has_its_rate_and_another_its_own() -> None:
    clock = HandClock(NOW)
    guard = a_guard(clock=clock, rate=Rate(2, 3))
    async with serving([routes(guard)], guard=guard) as client:
        first = [(await client.get("/read", headers=bearer(Role.READ))).status_code for _ in range(4)]
        other = (await client.get("/read", headers=bearer(Role.OPERATE))).status_code
        clock.pass_s(0.5)
        later = [(await client.get("/read", headers=bearer(Role.READ))).status_code for _ in range(2)]
    assert (first, other, later) == ([200, 200, 200, 429], 200, [200, 429])


async def test_a_session_stands_for_a_token() -> None:
    class Cookies:
        def principal(self, request: Request) -> Principal | None:
            known = request.cookies.get("sipua_session") == "operate"
            return Principal("operate", frozenset({Role.OPERATE})) if known else None

    guard = a_guard()
    guard.sessions = Cookies()
    async with serving([routes(guard)], guard=guard) as client:
        for name, code in (("operate", 200), ("nobody", 401)):
            told = await client.get("/read", headers={"Cookie": f"sipua_session={name}"})
            assert told.status_code == code
