"""A hundred calls up at once: signalling, voice sessions, rows, and RTP out of a port of its own for each."""

from __future__ import annotations

import socket
import time

import pytest

from tests.peers.conftest import StartSipp
from tests.peers.processes import until
from tests.peers.test_peer_faults import StartAgent, StartEmulator

CALLS = 100
PER_S = 20  # new calls
UP_S = 12  # a call lasts so long: the last one comes 5 s after the first
QUIET = {"quiet": '["127.0.0.1/32"]\nrtp_timeout_s = 120'}  # sipp sends no RTP


def talking_ports(sink: socket.socket, seconds: float) -> set[int]:
    """Whence RTP comes within that time."""
    ports: set[int] = set()
    give_up = time.monotonic() + seconds
    while len(ports) < CALLS and time.monotonic() < give_up:
        data, source = sink.recvfrom(2048)
        if data[1] & 0x7F == 0:  # PCMU
            ports.add(source[1])
    return ports


@pytest.mark.timeout(180)
def test_a_hundred_calls_at_once(
    own_build: None, start_agent: StartAgent, start_emulator: StartEmulator, sipp: StartSipp
) -> None:
    agent = start_agent(start_emulator().base_url, trunks=QUIET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(5)
        caller = sipp(
            agent.sip, "call", rtp_port=sink.getsockname()[1], formats="0 101", duration_ms=UP_S * 1000,
            calls=CALLS, flags=("-l", str(CALLS), "-r", str(PER_S)),
        )  # fmt: skip
        until(lambda: agent.metric("sipua_calls_active") == CALLS, f"{CALLS} calls up", CALLS / PER_S + 5)
        query = "SELECT count(*) AS n FROM voice_calls WHERE status = 'in_progress' AND ended_at IS NULL"
        until(lambda: agent.select(query)[0]["n"] == CALLS, "as many rows in progress", 4)
        assert len(talking_ports(sink, 5)) == CALLS
        caller.wait(UP_S + 30)
    rows = agent.closed_calls(caller.call_id, CALLS)
    assert {(row["status"], row["outcome"]) for row in rows} == {("completed", "caller_hangup")}
    agent.idle()
    assert agent.open_sockets() == 1
