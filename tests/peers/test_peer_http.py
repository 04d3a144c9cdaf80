"""The HTTP surface of a running agent: a call that is placed, seen and ended over it."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sipua.web.guard import Role
from sipua.web.tokens import new_token
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import until
from tests.peers.test_peer_dial import Office, flags

pytestmark = pytest.mark.peer


def test_a_call_is_placed_once_seen_while_it_goes_on_and_ended(
    emulator: Emulator, start_agent: Callable[..., Agent], sipp: StartSipp, tmp_path: Path
) -> None:
    made, secret = new_token("ann", frozenset({Role.OPERATE}), None)
    (tmp_path / "tokens").write_text(made.line())
    (tmp_path / "tokens").chmod(0o600)
    (tmp_path / "list").write_text("+250788999999\n")
    office = Office(
        start_agent, emulator, SIPUA_HTTP__TOKENS_FILE=str(tmp_path / "tokens"),
        SIPUA_OUTBOUND__DO_NOT_CALL=str(tmp_path / "list"),
    )  # fmt: skip

    def ask(path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
        request = urllib.request.Request(
            f"http://{office.agent.ready['http']}{path}",
            None if body is None else json.dumps(body).encode(),
            {"Authorization": f"Bearer {secret}", "Content-Type": "application/json", **headers},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    with Phone() as phone:
        callee = sipp(
            "", "uas_hangs_up", flags=flags(office.ports[0]), rtp_port=phone.port, duration_ms=20_000
        )
        key = {"Idempotency-Key": "appointment 7"}
        wanted = {"to": "+250788123456", "purpose": "Remind of the appointment."}
        (code, placed), (_, again) = ask("/calls", wanted, **key), ask("/calls", wanted, **key)
        assert (code, placed) == (202, again)
        path = f"/calls/{placed['call']}"
        until(lambda: ask(path)[1].get("call", {}).get("status") == "in_progress", "the call is up")
        (live,) = ask("/analytics/live-calls")[1]["calls"]
        assert (live["status"], live["direction"], live["leadPhone"]) == (
            "active",
            "outbound",
            "+250788123456",
        )
        assert [each["id"] for each in ask("/calls?live=true&to=250788123456")[1]["calls"]] == [
            placed["call"]
        ]
        assert ask(f"{path}/hangup", {})[0] == 202
        row = office.closed(placed["call"])
    assert (row["status"], row["outcome"]) == ("completed", "operator_hangup")
    assert callee.received("BYE")
    story = ask(path)[1]
    told = [each["what"] for each in story["timeline"] if each["kind"] == "sip"]
    assert (told[0], set(told[1:-1]), told[-1]) == ("started", {"ringing", "answered"}, "ended")
    assert [each["code"] for each in story["attempts"]] == [200]
    code, refused = ask("/calls", {"to": "+250788999999"})
    assert (code, refused["reason"]) == (403, "do_not_call")
    assert {each["trunk"]: each["state"] for each in ask("/trunks")[1]["trunks"]}["primary"] == "up"
    assert ask("/drills")[1] == {"drills": []}
    log = office.agent.stderr
    assert secret not in log
    assert "250788123456" not in log
