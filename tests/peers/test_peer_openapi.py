"""The OpenAPI document of a running agent, held to by schemathesis: every route, what fits and what does not.

Deterministic and bounded: some forty examples a route. Afterwards the ledger holds nothing half.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

import httpx
import psycopg
import pytest

from sipua.web.guard import Role
from sipua.web.tokens import new_token
from tests.peers.agent import Agent, Emulator
from tests.web import schemathesis_toml

pytestmark = pytest.mark.peer

CALL, CONSENT = UUID(int=1), UUID(int=2)
# what switches the webhooks on, all of which are signed: nobody here can
SIGNED = {
    "SIPUA_HTTP__PUBLIC_URL": "https://voice.example.com",
    "SIPUA_WHATSAPP__PHONE_NUMBER_ID": "1",
    "SIPUA_WHATSAPP__TEMPLATE": "hello",
    "SIPUA_TWILIO__SIP_URI": "sip:agent@192.0.2.1",
}
WITH_SECRETS = (
    "SIPUA_OPENAI_WEBHOOK__SECRET_FILE", "SIPUA_TWILIO__AUTH_TOKEN_FILE", "SIPUA_WHATSAPP__TOKEN_FILE",
    "SIPUA_WHATSAPP__APP_SECRET_FILE", "SIPUA_WHATSAPP__VERIFY_TOKEN_FILE",
)  # fmt: skip
STATED = f"""
[parameters]
"path.key" = "{CALL}"
"path.consent_id" = "{CONSENT}"
"""


def asked(url: str, secret: str) -> Any:
    request = urllib.request.Request(url, headers={"Authorization": f"Bearer {secret}"})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def a_story(dsn: str, folder: Path) -> None:
    """One call with a recording."""
    name = f"2026-01-02/{CALL}_{CONSENT}.wav"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_bytes(b"RIFF" + bytes(1000))
    at = datetime(2026, 1, 2, 8, tzinfo=UTC)
    with psycopg.connect(dsn) as connection:
        connection.execute(
            "INSERT INTO voice_calls (id, direction, status, started_at, ended_at) "
            "VALUES (%s, 'inbound', 'completed', %s, %s)",
            (CALL, at, at),
        )
        connection.execute(
            "INSERT INTO call_consents (id, call_id, consent_result, audio_url, t) VALUES (%s, %s, true, %s, %s)",
            (CONSENT, CALL, f"file:///{name}", at),
        )
        connection.execute(
            "INSERT INTO voice_events (call_id, type, t) VALUES (%s, 'call_started', %s)", (CALL, at)
        )


def long_bodies_are_refused(url: str, secret: str) -> None:
    """By every route that takes one, whether it says how long it is or not; and it is not read to its end."""
    taking = [
        path
        for path, operations in asked(f"{url}/openapi.json", secret)["paths"].items()
        if "requestBody" in operations.get("post", {})
    ]
    assert len(taking) >= 8
    stamp = {
        "webhook-id": "1",
        "webhook-timestamp": f"{time.time():.0f}",
        "webhook-signature": f"v1,{'A' * 43}=",
    }
    headers = stamp | {
        "Authorization": f"Bearer {secret}", "Content-Type": "application/json", "X-Sipua-Dashboard": "1",
        "X-Hub-Signature-256": f"sha256={'0' * 64}",
    }  # fmt: skip
    piece = bytes(64 << 10)
    with httpx.Client(base_url=url, headers=headers, timeout=10) as client:
        for path in [*taking, "/dashboard/session"]:
            for content in (piece * 160, iter([piece] * 160)):
                assert client.post(path, content=content).status_code == 413, path


def test_every_route_answers_as_the_document_says(
    start_agent: Callable[..., Agent], emulator: Emulator, tmp_path: Path
) -> None:
    made, secret = new_token("judge", frozenset(Role), None)
    (tmp_path / "tokens").write_text(made.line())
    (tmp_path / "tokens").chmod(0o600)
    (tmp_path / "secret").write_text("whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw==")
    secrets = dict.fromkeys(WITH_SECRETS, str(tmp_path / "secret"))
    agent = start_agent(
        emulator.base_url,
        **SIGNED,
        **secrets,
        SIPUA_HTTP__TOKENS_FILE=str(tmp_path / "tokens"),
        SIPUA_HTTP__RATE_PER_S="10000",
    )
    a_story(agent.database, agent.state / "recordings")
    url = f"http://{agent.ready['http']}"
    signed = asked(f"{url}/calls/{CALL}", secret)["recordings"][0]["url"].partition("?")[2]
    link = "".join(f'"query.{name}" = "{value}"\n' for name, value in parse_qsl(signed))
    (tmp_path / "judge.toml").write_text(STATED + link + schemathesis_toml())
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "--config-file", tmp_path / "judge.toml",
            "run", f"{url}/openapi.json", "--header", f"Authorization: Bearer {secret}", "--checks", "all",
            "--phases", "examples,coverage,fuzzing", "--max-examples", "6", "--generation-deterministic",
            "--continue-on-failure", "--no-color", "--request-timeout", "10",
        ],
        cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    operations = sum(len(path) for path in asked(f"{url}/openapi.json", secret)["paths"].values())
    assert f"Tested: {operations}" in done.stdout
    # nobody was called, and of calls that others hold there are whole rows or none
    halves = (
        "SELECT id FROM voice_calls WHERE direction <> 'inbound' OR status IS NULL OR twilio_call_sid IS NULL"
    )
    assert [row["id"] for row in agent.select(halves)] == [CALL]
    long_bodies_are_refused(url, secret)
    log = (agent.state.parent / "serve.log").read_text()
    assert secret not in log
    assert "Traceback" not in log
