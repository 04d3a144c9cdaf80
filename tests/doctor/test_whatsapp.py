"""What doctor says of WhatsApp, by what a server of the test's own answers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from sipua.checks.whatsapp import whatsapp
from sipua.http import bind_tcp, running
from sipua.whatsapp import WhatsAppSettings

NUMBER = {"verified_name": "Ride desk", "id": "123"}
ACCOUNT: Mapping[str, Any] = {"business_account_id": "456"}


def refused(code: int, status: int = 400) -> Response:
    return JSONResponse({"error": {"code": code, "message": "no"}}, status)


def templates(**states: str) -> Response:
    listed = [{"name": "hello", "language": code, "status": state} for code, state in states.items()]
    return JSONResponse({"data": [*listed, {"name": "hello_2", "language": "sw", "status": "APPROVED"}]})


async def said(
    folder: Path, number: Response, found: Response | None = None, **changes: Any
) -> list[tuple[str, str, str, str]]:
    """Name, status, detail and todo of each row."""
    seen: list[str] = []

    async def answer(request: Request) -> Response:
        seen.append(request.headers["Authorization"])
        if request.url.path.endswith("/message_templates"):
            assert request.query_params["name"] == "hello"
            assert found is not None
            return found
        return number

    app = Starlette(routes=[Route("/v23.0/{path:path}", answer)])
    token = folder / "token"
    token.write_text("secret-token\n")
    async with running(app, bind_tcp("127.0.0.1", 0, "the stand-in")) as (host, port):
        values = {
            "phone_number_id": "123", "token_file": str(token), "template": "hello",
            "base_url": f"http://{host}:{port}/v23.0",
        }  # fmt: skip
        checks = await whatsapp(WhatsAppSettings.model_validate(values | changes))
    assert set(seen) == {"Bearer secret-token"}
    assert not any("secret-token" in f"{each.detail} {each.todo}" for each in checks)
    return [(each.name, each.status, each.detail, each.todo) for each in checks]


async def test_where_no_number_is_set_nothing_is_said() -> None:
    assert await whatsapp(WhatsAppSettings()) == []


@pytest.mark.parametrize(
    ("answer", "detail", "todo"),
    [
        (refused(190, 401), "token is refused", "whatsapp.token_file"),
        (refused(10, 403), "lacks a permission", "whatsapp_business_messaging"),
        (refused(200), "lacks a permission", "whatsapp_business_messaging"),
        (refused(100), "123 is not there", "phone_number_id"),
        (refused(1, 500), "HTTP 500, code 1", "later"),
        (PlainTextResponse("hello"), "HTTP 200 without a JSON object", "base_url"),
        (JSONResponse([]), "HTTP 200 without a JSON object", "base_url"),
        (JSONResponse({"error": "odd"}, 404), "123 is not there", "phone_number_id"),
    ],
)
async def test_what_the_api_refuses_is_told_with_what_to_do(
    answer: Response, detail: str, todo: str, tmp_path: Path
) -> None:
    ((name, status, told, help_),) = await said(tmp_path, answer)
    assert (name, status) == ("whatsapp", "fail")
    assert detail in told
    assert todo in help_


@pytest.mark.parametrize(
    ("found", "changes", "status", "detail"),
    [
        (None, {}, "warn", "not known"),
        (templates(en="APPROVED"), ACCOUNT, "ok", "hello: approved in en"),
        (templates(), ACCOUNT, "fail", "there is no template 'hello'"),
        (templates(en="PENDING"), ACCOUNT, "fail", "en (PENDING)"),
        (templates(en="APPROVED", fr="REJECTED"), {**ACCOUNT, "template_languages": {"fr": "fr", "sw": "sw"}},
         "fail", "fr (REJECTED), sw (not there)"),
        (refused(100), ACCOUNT, "fail", "456 is not there"),
        (JSONResponse({"data": "odd"}), ACCOUNT, "fail", "there is no template"),
    ],
)  # fmt: skip
async def test_the_template_is_looked_up(
    found: Response | None, changes: Mapping[str, Any], status: str, detail: str, tmp_path: Path
) -> None:
    number, template = await said(tmp_path, JSONResponse(NUMBER), found, **changes)
    assert number[:2] == ("whatsapp", "ok")
    assert number[2].endswith("sends as Ride desk")
    assert template[:2] == ("whatsapp template", status)
    assert detail in template[2]
    assert bool(template[3]) is (status != "ok")


async def test_a_server_that_is_away_and_a_token_that_cannot_be_read(tmp_path: Path) -> None:
    settings = WhatsAppSettings(
        phone_number_id="123",
        token_file=str(tmp_path / "token"),
        template="hello",
        base_url="http://127.0.0.1:1",
    )
    (check,) = await whatsapp(settings)
    assert (check.status, check.is_configuration) == ("fail", True)
    (tmp_path / "token").write_text("x")
    (check,) = await whatsapp(settings)
    assert (check.status, check.is_configuration) == ("fail", False)
    assert "base_url" in check.todo
