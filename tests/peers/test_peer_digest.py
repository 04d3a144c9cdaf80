"""Callers that must prove who they are: sipp, baresip and pjsua (`sipua call`), with the right password and wrong ones.

sipp 3.6 and baresip 1.0 know MD5 alone, and end the call when another challenge stands beside it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sipua.resources import shipped_conf
from tests.peers.agent import Agent, Emulator, write_conf
from tests.peers.baresip import be_refused, silence, talk
from tests.peers.conftest import StartSipp, need
from tests.peers.processes import run, until

pytestmark = pytest.mark.peer

USER, PASSWORD = "phone", "correct-horse"
Start = Callable[[str], Agent]


@pytest.fixture
def start_guarded(emulator: Emulator, start_agent: Callable[..., Agent], tmp_path: Path) -> Start:
    """Starts an agent whose callers must be USER, by these algorithms (a TOML list)."""
    secret = tmp_path / "password"
    secret.write_text(PASSWORD)

    def start(algorithms: str) -> Agent:
        who = f'inbound_auth_user = "{USER}"\ninbound_password_file = "{secret}"'
        lines = f'["127.0.0.0/29"]\n{who}\ninbound_algorithms = {algorithms}'
        return start_agent(emulator.base_url, trunks={"guarded": lines})

    return start


@pytest.fixture
def guarded(start_guarded: Start) -> Iterator[Agent]:
    agent = start_guarded('["MD5"]')
    yield agent
    agent.idle()


def login(user: str, password: str, agent: Agent) -> tuple[str, ...]:
    """sipp's flags; without -auth_uri it names a URI without a user."""
    return ("-au", user, "-ap", password, "-auth_uri", f"agent@{agent.sip}")


def refusals(agent: Agent) -> float:
    return agent.metric("sipua_invites_rejected_total", code="401", by="us")


def test_sipp_proves_who_it_is_and_is_answered(guarded: Agent, sipp: StartSipp) -> None:
    caller = sipp(guarded.sip, "digest", duration_ms=300, flags=login(USER, PASSWORD, guarded)).wait()
    (challenge,) = caller.received("401")
    assert "stale" not in challenge.text
    assert caller.received("200")
    call = guarded.closed_call(caller.call_id)
    assert (call["status"], call["outcome"], call["trunk"]) == ("completed", "caller_hangup", "guarded")
    assert refusals(guarded) == 1


def test_a_wrong_password_and_an_unknown_user_are_refused_alike(guarded: Agent, sipp: StartSipp) -> None:
    answers = []
    for user, password in ((USER, "wrong"), ("nobody", PASSWORD)):
        caller = sipp(guarded.sip, "digest", flags=login(user, password, guarded)).wait()
        _, second = caller.received("401")
        assert not caller.received("180")
        assert guarded.calls(caller.call_id) == []
        answers.append([line.partition(":")[0] for line in second.text.splitlines()])
    assert answers[0] == answers[1]
    assert refusals(guarded) == 4
    guarded.says("wrong user, password or digest")
    assert guarded.stderr.count("wrong user, password or digest") == 1, (
        "the second is counted, not said again"
    )


def test_a_stranger_is_not_even_asked(guarded: Agent, sipp: StartSipp) -> None:
    assert sipp(guarded.sip, "refused", source="127.0.0.9").wait().received("403")


def test_baresip_calls_by_the_file_that_is_shipped_for_softphones(
    emulator: Emulator, start_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    need("baresip")
    text = (shipped_conf() / "trunks" / "softphone.toml").read_text()
    text = text.replace("enabled = false", "enabled = true").replace("192.168.1.0/24", "127.0.0.1/32")
    (tmp_path / "conf" / "trunks").mkdir(parents=True)
    (tmp_path / "conf" / "trunks" / "softphone.toml").write_text(text)
    agent = start_agent(emulator.base_url, SIPUA_CONF=str(tmp_path / "conf"), SOFTPHONE_PASSWORD=PASSWORD)
    answer = f";auth_user=phone;auth_pass={PASSWORD}"
    heard = talk(tmp_path / "baresip", f"sip:agent@{agent.sip}", silence(3.0), "PCMU", answer)
    assert abs(heard).max() > 1000  # the greeting
    query = "SELECT status, trunk FROM voice_calls WHERE ended_at IS NOT NULL"
    (call,) = until(lambda: agent.select(query), "the row is closed")
    assert call == {"status": "completed", "trunk": "softphone"}
    assert refusals(agent) == 1


def test_baresip_with_a_wrong_password_is_refused(guarded: Agent, tmp_path: Path) -> None:
    need("baresip")
    answer = f";auth_user={USER};auth_pass=wrong"
    story = be_refused(tmp_path / "baresip", f"sip:agent@{guarded.sip}", answer)
    assert "session closed: 401 Unauthorized" in story
    assert guarded.select("SELECT 1 FROM voice_calls") == []
    assert refusals(guarded) >= 2


@pytest.mark.parametrize("algorithms", ['["SHA-256", "MD5"]', '["SHA-256"]'])
def test_pjsua_takes_the_better_algorithm(start_guarded: Start, tmp_path: Path, algorithms: str) -> None:
    agent = start_guarded(algorithms)
    assert call_with(PASSWORD, agent, tmp_path / "right")["status"] == "completed"
    assert refusals(agent) == 1
    refused = call_with("wrong", agent, tmp_path / "wrong")
    assert (refused["status"], refused["attempts"][0]["code"]) == ("failed", 401)
    assert [row["status"] for row in agent.select("SELECT status FROM voice_calls")] == ["completed"]


def call_with(password: str, agent: Agent, folder: Path) -> dict[str, Any]:
    """What `sipua call` says of a call that authenticates so."""
    conf = write_conf(
        folder, {"up": f'[]\ndirection = "outbound"\ndomain = "{agent.sip}"\nauth_user = "{USER}"'}
    )
    (folder / "password").write_text(password)
    with (conf / "trunks" / "up.toml").open("a") as file:
        file.write(f'password_file = "{folder / "password"}"\ncaller_id = "+250788000001"\n')
    result = run(["call", "0788123456", "--conf", str(conf), "--json", "--duration", "0.5"])
    assert "Traceback" not in result.stderr, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document
