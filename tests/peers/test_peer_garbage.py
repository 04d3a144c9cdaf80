"""What a hostile or broken peer sends to the SIP and RTP ports, and twenty calls that leave nothing behind."""

from __future__ import annotations

import random
import re
import socket
import time
from collections import Counter

import pytest

from tests.peers.agent import Agent
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import until
from tests.peers.wire import Wire

pytestmark = pytest.mark.peer


def test_garbage_on_the_sip_port(agent: Agent, sipp: StartSipp) -> None:
    with Wire(agent) as wire:
        source = random.Random(1)
        whole = wire.request("INVITE")
        for _ in range(300):
            wire.send(source.randbytes(source.randrange(1, 1400)))
            wire.send(whole[: source.randrange(1, len(whole))].replace(b"wire-", b"cut-"))
        for data in (b"", b"\0", b"\r\n\r\n", b"INVITE", b"SIP/2.0 200 OK\r\n\r\n", b"A" * 65000):
            wire.send(data)
    caller = sipp(agent.sip, "call", duration_ms=300).wait()
    assert agent.closed_call(caller.call_id)["status"] == "completed"


def test_headers_that_are_no_text(agent: Agent) -> None:
    """Bytes that are not UTF-8 come as far as the ledger: in a display name, in the Call-ID."""
    with Wire(agent, caller=b'"\xff\xfe \xc3\x28" <sip:+250788%00@127.0.0.1>', mark=b"\xff\xe9") as wire:
        wire.send(wire.request("INVITE"))
        wire.hang_up(wire.receive("200"))
    call = agent.closed_call(wire.call_id)
    assert (call["status"], call["outcome"], call["from_e164"]) == ("completed", "caller_hangup", None)
    assert call["sip_session_id"].startswith(wire.call_id + "\ufffd")


def test_an_invite_that_is_repeated_without_end(agent: Agent) -> None:
    """Retransmissions belong to one transaction: one call, one row, one final answer at a time."""
    with Wire(agent) as wire:
        for _ in range(300):
            wire.send(wire.request("INVITE"))
        answer = wire.receive("200")
        for _ in range(300):
            wire.send(wire.request("INVITE"))
        wire.hang_up(answer)
    call = agent.closed_call(wire.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup"), agent.stderr


def test_nobody_makes_the_agent_call_somebody(agent: Agent) -> None:
    """REFER, which pjsua would accept by itself and dial: refused, and the call goes on."""
    with Wire(agent) as wire, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
        target.bind(("127.0.0.1", 0))
        target.settimeout(1.0)
        wire.send(wire.request("INVITE"))
        tag = wire.acknowledge(wire.receive("200"))
        refer = wire.request("REFER", tag=tag).replace(b"CSeq: 1", b"CSeq: 2")
        to = f"Refer-To: <sip:+881600000000@127.0.0.1:{target.getsockname()[1]}>\r\n"
        wire.send(refer.replace(b"Max-Forwards", to.encode() + b"Max-Forwards"))
        wire.receive("603", "REFER")
        with pytest.raises(TimeoutError):
            target.recv(4096)
        wire.end(tag)
    call = agent.closed_call(wire.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")


def test_nobody_takes_over_a_call(agent: Agent) -> None:
    """INVITE with Replaces: it would pass by the trunk's ACL and take the conversation."""
    with Wire(agent) as wire, Wire(agent, mark=b"-thief") as thief:
        wire.send(wire.request("INVITE"))
        answer = wire.receive("200")
        tag = wire.acknowledge(answer)
        replaces = f"Replaces: {wire.call_id};to-tag={tag.partition('=')[2]};from-tag=wire\r\n"
        thief.send(thief.request("INVITE").replace(b"Max-Forwards", replaces.encode() + b"Max-Forwards"))
        refused = thief.receive("[3-6]..")
        thief.acknowledge(refused)
        wire.end(tag)
    call = agent.closed_call(wire.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")


def test_streams_that_nobody_asked_for(agent: Agent) -> None:
    """Video, text and a second audio stream beside the call's own are answered with port 0 (RFC 3264 section 6)."""
    more = (
        "m=video 5000 RTP/AVP 96\na=rtpmap:96 H264/90000\na=ptime:40\n"
        "m=audio 5002 RTP/AVP 8\nm=text 5004 RTP/AVP 98\na=rtpmap:98 t140/1000\n"
    )
    with Wire(agent) as wire:
        wire.send(wire.request("INVITE", more_sdp=more))
        answer = wire.receive("200")
        wire.hang_up(answer)
    streams = re.findall(r"^m=(\w+) (\d+)", answer.decode(), re.M)
    assert [kind for kind, _ in streams] == ["audio", "video", "audio", "text"]
    assert [port == "0" for _, port in streams] == [False, True, True, True]
    assert answer.count(b"a=ptime:20") == 1
    assert agent.closed_call(wire.call_id)["status"] == "completed"


def test_subscriptions_are_refused(agent: Agent) -> None:
    with Wire(agent) as wire:
        subscribe = wire.request("SUBSCRIBE")
        wire.send(subscribe.replace(b"Max-Forwards", b"Event: presence\r\nExpires: 600\r\nMax-Forwards"))
        wire.receive("4..", "SUBSCRIBE")


def test_garbage_on_the_rtp_port(agent: Agent, sipp: StartSipp, phone: Phone) -> None:
    caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=2000)
    until(phone.is_hearing_sound, "the greeting")
    source = random.Random(2)
    assert phone.target is not None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as foreign:
        for _ in range(300):
            foreign.sendto(source.randbytes(source.randrange(0, 1400)), phone.target)
            foreign.sendto(b"\x80\x00" + source.randbytes(170), phone.target)  # looks like RTP
            phone.send(source.randbytes(source.randrange(0, 1400)))
            foreign.sendto(source.randbytes(40), (phone.target[0], phone.target[1] + 1))  # RTCP
    caller.wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert call["metadata"]["rtp"]["dropped"] > 300
    assert agent.metric("sipua_rtp_packets_dropped_total", kind="wrong_source") > 100


def test_twenty_calls_one_after_another_leave_nothing(agent: Agent, sipp: StartSipp, phone: Phone) -> None:
    def kinds() -> Counter[str]:
        return Counter(re.sub(r"\d+", "N", link) for link in agent.descriptors())

    sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=300, calls=2).wait()  # pools and caches are warm
    agent.idle()
    time.sleep(0.5)
    files, threads, tasks = kinds(), agent.threads(), agent.tasks()
    caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=300, calls=20).wait()
    rows = agent.closed_calls(caller.call_id, 20)
    assert {(row["status"], row["outcome"]) for row in rows} == {("completed", "caller_hangup")}
    agent.idle()
    until(lambda: kinds() <= files, f"no more descriptors than before: {kinds() - files}")
    assert agent.threads() <= threads
    assert agent.tasks() <= tasks
    assert agent.open_sockets() == 1
