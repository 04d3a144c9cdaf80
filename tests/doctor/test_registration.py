"""Registration as doctor tells it: tried at a real little registrar, or asked of an agent's control socket."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import orjson
import pytest

from sipua.checks.registration import accepted, answer_of, refused, told_by_agent
from sipua.control import SOCKET_NAME, ControlServer
from sipua.feed import Feed
from sipua.fleet_view import TrunkView
from sipua.settings import Settings
from sipua.sip_account import Account, Listener
from sipua.sip_events import RegistrationAnswered
from sipua.trunk import Trunk
from sipua.trunks.registration import Phase, RegistrationView
from tests.doctor.responders import Registrar, silent, udp_responder

# pjsua2 has one endpoint per process: a process of its own
TRY = """
import asyncio, orjson, sys
from sipua.checks.registration import tried
from sipua.settings import Settings
from sipua.trunk import Trunk
trunk = Trunk.model_validate(orjson.loads(sys.argv[1]))
check, = asyncio.run(tried([trunk], Settings()))
print(orjson.dumps(check.as_dict() | {"is_configuration": check.is_configuration}).decode())
"""


def values(port: int, **more: object) -> dict[str, object]:
    return {
        "schema": 1, "name": "mtn", "provider": "mtn", "kind": "register", "domain": "example.test",
        "registrar_uri": f"sip:127.0.0.1:{port}", "auth_user": "alice", "password_env": "SESAME",
    } | more  # fmt: skip


async def attempt(trunk: Mapping[str, object], password: str = "sesame") -> dict[str, Any]:
    """The check, tried in a process of its own."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", TRY, orjson.dumps(trunk).decode(), stdout=-1, stderr=-1,
        env={"SESAME": password, "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    async with asyncio.timeout(30):
        out, err = await process.communicate()
    assert process.returncode == 0, err.decode()
    found: dict[str, Any] = orjson.loads(out)
    assert found["name"] == "trunk mtn registration"
    return found


async def test_it_registers_and_takes_it_back() -> None:
    registrar = Registrar("alice", "sesame", longest_s=600)
    async with udp_responder(registrar) as (target, _):
        found = await attempt(values(target.port))
    assert (found["status"], found["todo"]) == ("ok", "")
    place = f"sip:alice@example.test at sip:127.0.0.1:{target.port}"
    assert found["detail"] == f"{place}: accepted for 600 s (3600 asked for), and taken back"
    assert registrar.granted == [600, 0]
    assert set(registrar.bindings.values()) == {0}


async def test_a_wrong_password_is_told_as_one() -> None:
    registrar = Registrar("alice", "another")
    async with udp_responder(registrar) as (target, _):
        found = await attempt(values(target.port))
    assert (found["status"], registrar.bindings) == ("fail", {})
    assert "401 Unauthorized (credentials refused)" in found["detail"]
    assert "sesame" not in str(found)
    assert found["todo"].startswith("check auth_user, realm and the password")


async def test_a_lifetime_that_is_too_short_is_told_with_the_one_granted() -> None:
    """pjsip obeys a 423 by itself."""
    async with udp_responder(Registrar("alice", "sesame", shortest_s=900)) as (target, _):
        found = await attempt(values(target.port, reg_expires_s=60))
    assert (found["status"], "accepted for 900 s (60 asked for)" in found["detail"]) == ("ok", True)


async def test_a_password_that_is_not_there_is_a_configuration_fault() -> None:
    found = await attempt(values(5060, password_env="NOT_THERE"))
    assert (found["status"], found["is_configuration"]) == ("fail", True)
    assert "cannot be tried: trunk mtn: password" in found["detail"]


async def test_a_silent_registrar_is_not_waited_for_long() -> None:
    async with udp_responder(silent) as (target, _):
        found = await attempt(values(target.port))
    assert (found["status"], found["is_configuration"]) == ("fail", False)
    assert "no answer within 5 s" in found["detail"]
    assert found["todo"].startswith("check registrar_uri")


ACCOUNT = Account("mtn", "mtn", Listener("udp", "127.0.0.1", 0), "sip:a@b", "sipua", registrar="sip:b")


def answered(code: int, *, has_headers: bool = True) -> RegistrationAnswered:
    return RegistrationAnswered("mtn", code, "x", {} if has_headers else None)


class Endpoint:
    """The answer to another account's REGISTER comes first."""

    def __init__(self, answers: asyncio.Queue[RegistrationAnswered]) -> None:
        self._answers = answers

    async def register(self, account: str, expires_s: int) -> None:
        self._answers.put_nowait(RegistrationAnswered("late", 408, "Request Timeout", None))
        self._answers.put_nowait(answered(200))


async def test_the_late_answer_of_another_account_is_not_taken_for_this_ones() -> None:
    answers: asyncio.Queue[RegistrationAnswered] = asyncio.Queue()
    assert await answer_of(Endpoint(answers), answers, ACCOUNT, 60) == answered(200)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (403, "403 x (forbidden)"),
        (404, "404 x (unknown address of record)"),
        (407, "407 x (credentials refused)"),
        (503, "503 x"),
    ],
)
def test_a_refusal_is_told_with_its_meaning(code: int, said: str) -> None:
    check = refused(Trunk.model_validate(values(5060)), ACCOUNT, answered(code))
    assert (check.status, check.detail, bool(check.todo)) == ("fail", f"sip:a@b at sip:b: {said}", True)


@pytest.mark.parametrize(
    ("end", "status", "said"),
    [
        (answered(200), "ok", ", and taken back"),
        (None, "warn", "; taking it back was not answered"),
        (answered(408, has_headers=False), "warn", "; taking it back was not answered"),
        (answered(500), "warn", "; taking it back was answered 500"),
    ],
)
def test_a_binding_that_may_have_stayed_is_told(
    end: RegistrationAnswered | None, status: str, said: str
) -> None:
    check = accepted(Trunk.model_validate(values(5060)), ACCOUNT, answered(200), end)
    assert (check.status, check.detail) == (status, f"sip:a@b at sip:b: accepted{said}")


# ---- an agent runs ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("views", "status", "said"),
    [
        (
            [RegistrationView(Phase.REGISTERED, "granted 60 s", 41.2, 30.0, 0)],
            "ok",
            "mtn: registered, 41 s left",
        ),
        ([RegistrationView(Phase.REFUSED, "forbidden", None, 99.0, 1)], "fail", "mtn: refused: forbidden"),
        ([], "fail", "not begun"),
    ],
)
async def test_an_agent_that_runs_is_asked(
    tmp_path: Path, views: list[RegistrationView], status: str, said: str
) -> None:
    trunk = Trunk.model_validate(values(5060))
    view = TrunkView(trunk, None, (), tuple(("mtn", each) for each in views), "", 0)

    async def trunks(_: Mapping[str, Any]) -> Mapping[str, Any]:
        return {"trunks": [view.as_dict()]}

    server = ControlServer(tmp_path / SOCKET_NAME, Feed(), {"trunks": trunks})
    await server.start()
    try:
        settings = Settings.model_validate({"state_dir": str(tmp_path)})
        (check,) = await told_by_agent([trunk], settings)
        other = Trunk.model_validate(values(5060, name="other"))
        (unknown,) = await told_by_agent([other], settings)
    finally:
        await server.stop()
    assert (check.status, check.detail, bool(check.todo)) == (status, said, status != "ok")
    assert (unknown.status, unknown.detail) == ("warn", "the agent that runs does not know this trunk")
