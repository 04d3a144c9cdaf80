"""`sipua dial`: a running agent calls somebody, with fail-over, and talks as it does with callers."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import arguments_of, clean_environment, until
from tests.ports import free_port

pytestmark = pytest.mark.peer
StartAgent = Callable[..., Agent]
NUMBER = "0788123456"


PATIENCE_MS = 8000  # with who is to answer, however busy the machine is


def carrier(port: int, priority: int, first_response_ms: int, lines: str = "") -> str:
    return (
        f'[]\ndirection = "outbound"\npriority = {priority}\ndomain = "127.0.0.1:{port}"\n'
        f'caller_id = "+250788000001"\nfirst_response_timeout_ms = {first_response_ms}\n'
        f"options_interval_s = 0\n{lines}"
    )


class Office:
    """An agent with two carriers; ``primary_ms`` is how long the first may say nothing.

    Whoever answers is talked to at once, unless the settings say otherwise.
    """

    def __init__(
        self,
        start: StartAgent,
        emulator: Emulator,
        lines: str = "",
        *,
        primary_ms: int = PATIENCE_MS,
        **settings: str,
    ) -> None:
        self.ports = free_port(), free_port()
        trunks = {
            "here": '["127.0.0.1/32"]\ndirection = "inbound"',
            "primary": carrier(self.ports[0], 1, primary_ms, lines),
            "secondary": carrier(self.ports[1], 2, PATIENCE_MS, lines),
        }
        settings = {"SIPUA_OUTBOUND__ANSWERING_MACHINE": "off"} | settings
        self.agent = start(emulator.base_url, trunks=trunks, **settings)

    def command(self, *flags: str, number: str = NUMBER) -> subprocess.Popen[str]:
        env = clean_environment({"SIPUA_STATE_DIR": str(self.agent.state)})
        return subprocess.Popen(
            arguments_of(["dial", number, *flags]), env=env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def dial(self, *flags: str, code: int = 0, number: str = NUMBER) -> Any:
        process = self.command("--json", *flags, number=number)
        output, said = process.communicate(timeout=60)
        assert process.returncode == code, (output, said)
        return json.loads(output)

    def closed(self, call: str) -> dict[str, Any]:
        """The call's row once it is closed."""
        query = "SELECT * FROM voice_calls WHERE id = %s AND ended_at IS NOT NULL"
        (row,) = until(lambda: self.agent.select(query, call), f"closed row of {call}")
        return dict(row)

    def attempts(self, call: str) -> list[tuple[str, int | None, str]]:
        query = "SELECT trunk, code, decision FROM sipua.call_attempts WHERE call_id = %s ORDER BY ordinal"
        rows = self.agent.select(query, call)
        return [(row["trunk"], row["code"], row["decision"]) for row in rows]


def flags(port: int) -> tuple[str, ...]:
    return "-p", str(port)


@pytest.mark.parametrize(("formats", "codec"), [("0 101", "PCMU"), ("8 101", "PCMA")])
def test_the_agent_calls_somebody_and_talks(
    formats: str, codec: str, emulator: Emulator, start_agent: StartAgent, sipp: StartSipp
) -> None:
    """A dead primary, a callee at the secondary who listens for a while and hangs up.

    The session speaks the codec that the trunk likes best, whatever the callee takes.
    """
    office = Office(start_agent, emulator, primary_ms=400)
    with Phone(codec=codec) as phone:
        keys = {"rtp_port": phone.port, "duration_ms": 3000, "formats": formats}
        callee = sipp("", "uas_hangs_up", flags=flags(office.ports[1]), **keys)
        told = office.dial()
        assert (told["status"], told["trunk"]) == ("in_progress", "secondary")
        callee.wait()
        row = office.closed(told["call"])
        assert phone.is_hearing_sound(), "the agent's greeting"
    assert (row["direction"], row["status"], row["outcome"]) == ("outbound", "completed", "callee_hangup")
    assert row["metadata"]["codec"] == codec
    assert (row["to_e164"], row["from_e164"], row["trunk"]) == ("+250788123456", "+250788000001", "secondary")
    invite = callee.received("INVITE")[0]
    assert row["sip_session_id"] == invite.header("Call-ID")
    assert office.attempts(told["call"]) == [("primary", None, "next"), ("secondary", 200, "answered")]
    events = office.agent.events(row)
    assert events[0] == "call_started"
    assert {"answered", "openai_session_created", "transcript_segment", "call_ended"} <= set(events)
    assert office.agent.sessions(row)[0]["status"] == "completed"
    metric = office.agent.metric
    assert metric("sipua_outbound_attempts_total", trunk="secondary", code="200", decision="answered") == 1
    assert metric("sipua_calls_total", direction="outbound", trunk="secondary", status="completed") == 1
    assert office.agent.open_sockets() == 1, "RTP sockets left over"
    assert office.agent.metric("sipua_trunk_calls", trunk="secondary") == 0
    office.agent.idle()


def test_the_next_call_goes_straight_to_the_secondary(
    emulator: Emulator, start_agent: StartAgent, sipp: StartSipp
) -> None:
    office = Office(start_agent, emulator, primary_ms=400)
    callee = sipp("", "uas_hangs_up", flags=flags(office.ports[1]), duration_ms=100, calls=2)
    first, second = office.dial(), office.dial()
    callee.wait()
    assert [len(each["attempts"]) for each in (first, second)] == [2, 1]
    env = clean_environment({"SIPUA_STATE_DIR": str(office.agent.state)})
    done = subprocess.run(
        arguments_of(["route", NUMBER, "--json"]),
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    document = json.loads(done.stdout)
    assert "as the running agent sees it" in document["basis"]
    assert [each["trunk"] for each in document["targets"]] == ["secondary"]
    reasons = {each["trunk"]: each["reason"] for each in document["rejected"]}
    assert reasons["primary"].startswith("breaker open")
    breaker = {"trunk": "primary", "target": f"127.0.0.1:{office.ports[0]};udp"}
    assert office.agent.metric("sipua_trunk_breaker_state", state="open", **breaker) == 1
    assert office.agent.metric("sipua_trunk_breaker_state", state="closed", **breaker) == 0


def test_a_busy_callee_rings_once(emulator: Emulator, start_agent: StartAgent, sipp: StartSipp) -> None:
    office = Office(start_agent, emulator)
    callee = sipp("", "uas_refuses", flags=flags(office.ports[0]), code=486)
    told = office.dial(code=1)
    assert (told["status"], told["reason"], told["sip_code"]) == ("busy", "busy", 486)
    row = office.closed(told["call"])
    assert (row["status"], row["outcome"], row["trunk"]) == ("busy", "busy", "primary")
    assert office.attempts(told["call"]) == [("primary", 486, "final")]
    assert len(callee.wait().received("INVITE")) == 1


def test_no_voice_session_is_opened_for_what_does_not_ring(
    emulator: Emulator, start_agent: StartAgent, sipp: StartSipp
) -> None:
    office = Office(start_agent, emulator)
    sipp("", "uas_says", flags=flags(office.ports[0]), code=404, header="X-Peer: none")
    told = office.dial(code=1)
    row = office.closed(told["call"])
    assert (row["status"], row["outcome"]) == ("failed", "not_found")
    assert office.agent.sessions(row) == []


def test_a_session_that_cannot_be_had_gives_the_callee_up(
    start_emulator: Callable[..., Emulator], start_agent: StartAgent, sipp: StartSipp
) -> None:
    """It is opened while it rings: CANCEL, and the attempt is a row."""
    office = Office(start_agent, start_emulator("--fault", "http_401"))
    callee = sipp("", "uas_rings", flags=flags(office.ports[0]))
    told = office.dial(code=1)
    callee.wait()
    assert told["reason"].startswith("realtime_")
    assert callee.received("CANCEL")
    row = office.closed(told["call"])
    assert row["status"] == "failed"
    assert office.attempts(told["call"]) == [("primary", None, "final")]


def test_a_callee_answers_before_the_session_is_there(
    start_emulator: Callable[..., Emulator], start_agent: StartAgent, sipp: StartSipp, phone: Phone
) -> None:
    """It never is: the callee gets BYE, and the row counts the seconds from the answer on."""
    office = Office(start_agent, start_emulator("--fault", "no_session_updated"))
    callee = sipp("", "uas", flags=flags(office.ports[0]), rtp_port=phone.port)
    told = office.dial(code=1)
    callee.wait()
    assert callee.received("BYE")
    assert (told["status"], told["sip_code"]) == ("failed", 0)
    row = office.closed(told["call"])
    assert (row["status"], row["outcome"]) == ("failed", told["reason"])
    assert row["duration_seconds"] >= 1
    assert "answered" in office.agent.events(row)
    assert (row["metadata"]["codec"], row["metadata"].get("sip_code")) == ("PCMU", None)


def test_the_end_while_it_rings(emulator: Emulator, start_agent: StartAgent, sipp: StartSipp) -> None:
    office = Office(start_agent, emulator)
    callee = sipp("", "uas_rings", flags=flags(office.ports[0]))
    asking = office.command("--json")
    query = "SELECT id FROM voice_calls WHERE status = 'ringing'"
    until(lambda: office.agent.select(query), "it rings")
    office.agent.end()
    callee.wait()
    assert callee.received("CANCEL")
    asking.communicate(timeout=20)
    (row,) = office.agent.select("SELECT * FROM voice_calls")
    assert (row["status"], row["outcome"]) == ("failed", "agent_shutdown")
    assert office.attempts(row["id"]) == [("primary", None, "final")]


def test_the_end_while_they_talk(emulator: Emulator, start_agent: StartAgent, sipp: StartSipp) -> None:
    office = Office(start_agent, emulator)
    callee = sipp("", "uas_slow", flags=flags(office.ports[0]), duration_ms=300)
    told = office.dial()
    office.agent.end()
    callee.wait()  # BYE
    row = office.closed(told["call"])
    assert (row["status"], row["outcome"]) == ("completed", "agent_shutdown")


def test_the_files_are_read_again_while_they_talk(
    emulator: Emulator, start_agent: StartAgent, sipp: StartSipp
) -> None:
    """The trunk that carries the call goes; the call stays."""
    office = Office(start_agent, emulator)
    callee = sipp("", "uas_hangs_up", flags=flags(office.ports[0]), duration_ms=3000)
    told = office.dial()
    for name in ("primary", "secondary"):
        (office.agent.state.parent / f"conf/trunks/{name}.toml").unlink()
    office.agent.signal(signal.SIGHUP)
    office.agent.says("read again; enabled: here")
    callee.wait()
    assert office.closed(told["call"])["outcome"] == "callee_hangup"
    assert "no trunk may carry the call" in office.dial(code=1)["error"]["message"]
    office.agent.idle()
    assert office.agent.open_sockets() == 1


def test_what_may_not_be_dialled(emulator: Emulator, start_agent: StartAgent) -> None:
    office = Office(start_agent, emulator, 'may_dial = ["+256*"]')
    message = office.dial(code=1)["error"]["message"]
    assert "primary: number +250*****3456 may not be dialled" in message
    assert office.agent.select("SELECT id FROM voice_calls") == []
    assert office.agent.metric("sipua_calls_total", direction="outbound", trunk="", reason="no_route") == 1


def test_the_agent_does_not_talk_with_itself(emulator: Emulator, start_agent: StartAgent) -> None:
    """A trunk that leads to its own port, as the one that is shipped for this machine does."""
    port = free_port()
    loop = (
        f'["127.0.0.0/8"]\ndomain = "127.0.0.1:{port}"\ncaller_id = "+250788000001"\noptions_interval_s = 0\n'
    )
    agent = start_agent(emulator.base_url, trunks={"loopback": loop}, SIPUA_SIP__PORT=str(port))
    env = clean_environment({"SIPUA_STATE_DIR": str(agent.state)})
    done = subprocess.run(
        arguments_of(["dial", NUMBER, "--json"]),
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1, (done.stdout, done.stderr)
    told = json.loads(done.stdout)
    assert (told["status"], told["sip_code"], len(told["attempts"])) == ("failed", 482, 1)
    agent.idle()
