"""The voice service fails before or during a call, or the agent is told to end: what the caller gets."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from rtp.wav import read_wav
from sipua.resources import shipped_speech
from tests.peers.agent import KEY, Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import similarity, until
from tests.peers.wire import Wire
from tests.ports import free_port
from tests.postgres import create_database, drop_database

pytestmark = pytest.mark.peer

StartEmulator = Callable[..., Emulator]
StartAgent = Callable[..., Agent]


@pytest.fixture(scope="module")
def service_port() -> int:
    """A port that nothing listens on but what a test starts there."""
    return free_port()


@pytest.fixture(scope="module")
def dependent_agent(
    tmp_path_factory: pytest.TempPathFactory, service_port: int, postgres_server: str, template: str
) -> Iterator[Agent]:
    """An agent whose voice service is whatever a test starts on ``service_port``."""
    dsn = create_database(postgres_server, template)
    folder = tmp_path_factory.mktemp("dependent")
    process = Agent(
        folder / "agent", dsn, f"http://127.0.0.1:{service_port}/v1", SIPUA_REALTIME__RECONNECT_S="1"
    )
    yield process
    process.end()
    drop_database(postgres_server, dsn)


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (None, "realtime_unreachable"),
        (["--fault", "http_500"], "realtime_unreachable"),
        (["--fault", "reject_session_update"], "realtime_rejected_config"),
        (["--fault", "wrong_format_echo"], "realtime_rejected_config"),
        (["--fault", "no_session_updated"], "realtime_unreachable"),
        (["--fault", "drop=1"], "realtime_closed"),
    ],
    ids=lambda value: "-".join(value).replace("--", "") if isinstance(value, list) else None,
)
def test_the_voice_service_cannot_be_had(
    dependent_agent: Agent,
    service_port: int,
    start_emulator: StartEmulator,
    sipp: StartSipp,
    flags: list[str] | None,
    reason: str,
) -> None:
    """503 within 5 s, which says when to come back; the row says why."""
    if flags is not None:
        start_emulator("--port", str(service_port), *flags)
    begun = time.monotonic()
    caller = sipp(dependent_agent.sip, "refused").wait(8)
    assert time.monotonic() - begun < 5
    assert caller.received("180")
    assert caller.received("503")[0].header("retry-after") == "5"
    call = dependent_agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("failed", reason)
    assert call["metadata"]["sip_code"] == 503
    detail = call["metadata"]["end_detail"]
    assert str(service_port) in detail or "not ready within 4 s" in detail
    assert KEY not in dependent_agent.stderr
    assert all(session["ended_at"] is not None for session in dependent_agent.sessions(call))
    assert dependent_agent.events(call)[-2:] == ["error", "call_ended"]
    dependent_agent.idle()
    assert dependent_agent.open_sockets() == 1


@pytest.mark.parametrize(
    "flags", [("--fault", "error_event"), ("--api-key", "sk-another")], ids=lambda flags: flags[1]
)
def test_a_refusal_is_written_down_though_the_caller_does_not_wait(
    dependent_agent: Agent,
    service_port: int,
    start_emulator: StartEmulator,
    sipp: StartSipp,
    flags: tuple[str, ...],
) -> None:
    """Answered with an apology (test_peer_refusal), during which they hang up."""
    start_emulator("--port", str(service_port), *flags)
    alerts = dependent_agent.metric("sipua_realtime_alerts_total", reason="realtime_refused")
    call = dependent_agent.closed_call(sipp(dependent_agent.sip, "call", duration_ms=300).wait().call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    query = "SELECT payload FROM voice_events WHERE call_id = %s AND type = 'error'"
    (row,) = dependent_agent.select(query, call["id"])
    assert row["payload"]["reason"] == "realtime_refused"
    assert dependent_agent.metric("sipua_realtime_alerts_total", reason="realtime_refused") == alerts + 1
    assert KEY not in dependent_agent.stderr
    dependent_agent.idle()
    assert dependent_agent.open_sockets() == 1


def test_the_voice_service_is_lost_during_the_call(
    dependent_agent: Agent, service_port: int, start_emulator: StartEmulator, sipp: StartSipp, phone: Phone
) -> None:
    emulator = start_emulator("--port", str(service_port))
    caller = sipp(dependent_agent.sip, "call_until_bye", rtp_port=phone.port)
    until(phone.is_hearing_sound, "the greeting")
    until(lambda: len(phone.heard) > 75, "the service has said it all, the agent half of it")
    emulator.kill()
    caller.wait(20)  # another session is sought for 1 s, then there is an apology
    assert similarity(phone.audio(), read_wav(shipped_speech("greeting_en.wav"))) > 0.9
    call = dependent_agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("failed", "realtime_closed")
    assert [s["status"] for s in dependent_agent.sessions(call)] == ["failed"]


def test_the_caller_gives_up_while_it_rings(
    dependent_agent: Agent, service_port: int, start_emulator: StartEmulator, sipp: StartSipp
) -> None:
    start_emulator("--port", str(service_port), "--fault", "no_session_updated")
    caller = sipp(dependent_agent.sip, "cancel", duration_ms=500).wait()
    assert caller.received("487")
    call = dependent_agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("no_answer", "caller_cancelled")
    assert call["duration_seconds"] == 0


@pytest.mark.parametrize("wait_ms", [0, 3, 6, 9, 12, 20])
def test_cancel_races_the_answer(agent: Agent, wait_ms: int) -> None:
    """Whoever wins: the caller is never left in a call, and the row says which it was."""
    with Wire(agent) as wire:
        wire.send(wire.request("INVITE"))
        time.sleep(wait_ms / 1000)
        wire.send(wire.request("CANCEL"))
        answer = wire.receive("(200|487)")
        if b" 200 " in answer[:12]:
            wire.hang_up(answer)
            expected = ("completed", "caller_hangup")
        else:
            wire.acknowledge(answer)
            expected = ("no_answer", "caller_cancelled")
    call = agent.closed_call(wire.call_id)
    assert (call["status"], call["outcome"]) == expected


def test_the_agent_is_ended_during_a_call(
    start_agent: StartAgent, emulator: Emulator, sipp: StartSipp, phone: Phone
) -> None:
    agent = start_agent(emulator.base_url)
    caller = sipp(agent.sip, "call_until_bye", rtp_port=phone.port)
    until(phone.is_hearing_sound, "the greeting")
    agent.end()
    caller.wait(5)
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "agent_shutdown")
    assert [s["status"] for s in agent.sessions(call)] == ["completed"]


def test_the_agent_is_ended_while_it_rings(
    start_agent: StartAgent, start_emulator: StartEmulator, sipp: StartSipp
) -> None:
    agent = start_agent(start_emulator("--fault", "no_session_updated").base_url)
    caller = sipp(agent.sip, "refused")
    until(caller.got("180"), "ringing")
    agent.end()
    assert caller.wait(5).received("503")[0].header("retry-after") == "5"
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("failed", "agent_shutdown")


def test_the_agent_is_told_twice(
    start_agent: StartAgent, emulator: Emulator, sipp: StartSipp, phone: Phone
) -> None:
    """The second signal comes while the first is being obeyed: rows are closed all the same."""
    agent = start_agent(emulator.base_url)
    caller = sipp(agent.sip, "call_until_bye", rtp_port=phone.port)
    until(phone.is_hearing_sound, "the greeting")
    agent.signal(signal.SIGTERM)
    agent.signal(signal.SIGINT)
    assert agent.wait() == 0
    caller.wait(5)
    assert agent.closed_call(caller.call_id)["outcome"] == "agent_shutdown"


def test_invites_while_the_agent_ends(start_agent: StartAgent, emulator: Emulator) -> None:
    """However an INVITE falls into the end: its row is closed."""
    agent = start_agent(emulator.base_url)
    with ExitStack() as stack:
        wires = [stack.enter_context(Wire(agent)) for _ in range(6)]
        for number, wire in enumerate(wires):
            wire.send(wire.request("INVITE"))
            time.sleep(0.002)
            if number == 2:
                agent.signal(signal.SIGTERM)
        assert agent.wait() == 0
        assert any(wire.receive("(200|503)") for wire in wires[:3])
    rows = agent.calls("wire-")
    assert len(rows) >= 3
    assert all(row["ended_at"] is not None for row in rows), rows


def test_no_rtp_port_is_left(
    start_agent: StartAgent, emulator: Emulator, sipp: StartSipp, phone: Phone
) -> None:
    """503 and when to come back, not a call without sound."""
    first = free_port()
    agent = start_agent(emulator.base_url, SIPUA_RTP__PORT_MIN=str(first), SIPUA_RTP__PORT_MAX=str(first + 1))
    caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=1500)
    until(caller.got("200"), "answered")
    second = sipp(agent.sip, "refused").wait()
    assert second.received("503")[0].header("retry-after") == "5"
    caller.wait()
    row = agent.closed_call(second.call_id)
    assert (row["status"], row["outcome"]) == ("failed", "service_unavailable")
    assert str(first) in row["metadata"]["end_detail"]


def test_the_voice_service_hangs_and_the_call_is_at_its_limit(
    dependent_agent: Agent, service_port: int, start_emulator: StartEmulator, sipp: StartSipp, phone: Phone
) -> None:
    """The BYE does not wait for a service that says nothing any more."""
    emulator = start_emulator("--port", str(service_port))
    caller = sipp(
        dependent_agent.sip, "call_until_bye", source="127.0.0.2", rtp_port=phone.port, rtp_ip=phone.host
    )
    until(phone.is_hearing_sound, "the greeting")
    begun = time.monotonic()
    emulator.signal(signal.SIGSTOP)
    try:
        caller.wait(8)
    finally:
        emulator.signal(signal.SIGCONT)
    assert time.monotonic() - begun < 2.3  # max_call_s = 2, and some of it had passed
    assert dependent_agent.closed_call(caller.call_id)["outcome"] == "max_duration"
