"""What goes out, as tshark reads it: sequence, timestamps, markers, telephone events, RTCP. And corners of what comes
in: other packet times, ports that change.

All over a line that does nothing, because its captures show what each side sent.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rtp.codec import codec_by_name
from rtp.source import RELATCH_WINDOW_S
from sipua.line.ends import FAR, NEAR
from tests.peers import tshark
from tests.peers.conftest import StartSipp
from tests.peers.line import inside
from tests.peers.phone import Phone
from tests.peers.processes import run, similarity, until
from tests.peers.scene import ANSWER, GREETING, Scene

pytestmark = pytest.mark.peer

FRAME = 160  # samples of 20 ms
MALFORMED = "_ws.malformed || (rtcp && rtcp.length_check == 0)"
KEYS = {"1": 1, "2": 2, "#": 11}  # RFC 4733 section 3.2


def packets(capture: Path, source: str, *more: str) -> list[list[int]]:
    """Sequence number, timestamp and marker of every RTP packet from there, in the order sent."""
    condition = f"rtp && ip.src == {source} && !icmp"
    return tshark.numbers(capture, condition, "rtp.seq", "rtp.timestamp", "rtp.marker", *more)


def steps(numbers: list[int], bits: int) -> set[int]:
    """The differences between neighbours, on a counter that wraps."""
    return {(b - a) % (1 << bits) for a, b in itertools.pairwise(numbers)}


def test_both_ends_of_a_call_as_tshark_reads_them(start_scene: Callable[..., Scene]) -> None:
    scene = start_scene()
    done = run(
        ["call", f"sip:agent@{scene.agent.sip}", "--after-greeting", "--dtmf", "".join(KEYS), "--duration", "6",
         "--json"],
        prefix=scene.line.far,
    )  # fmt: skip
    assert json.loads(done.stdout)["status"] == "completed", done.stderr
    scene.the_call()
    assert scene.keys() == "".join(KEYS)
    scene.end()
    far, near = scene.line.captures["far"], scene.line.captures["near"]
    for capture, source in ((near, NEAR), (far, FAR)):
        stream = tshark.stream(capture, source)
        assert stream.lost == 0
        print(
            f"{source}: tshark's mean jitter {stream.mean_jitter_ms} ms, longest gap {stream.longest_gap_ms} ms"
        )
        assert tshark.fields(capture, MALFORMED, "frame.number") == []
        assert tshark.fields(capture, f"rtcp && ip.src == {source}", "rtcp.pt")

    ours = packets(near, NEAR)
    assert steps([sequence for sequence, _, _ in ours], 16) == {1}
    assert steps([timestamp for _, timestamp, _ in ours], 32) == {FRAME}
    assert [marker for _, _, marker in ours] == [1] + [0] * (
        len(ours) - 1
    )  # the agent is never silent (RFC 3551)

    theirs = packets(far, FAR, "rtp.p_type")
    assert steps([row[0] for row in theirs], 16) == {1}
    sound = [(index, row[1]) for index, row in enumerate(theirs) if row[3] == 0]
    assert {(timestamp - FRAME * index) % (1 << 32) for index, timestamp in sound} == {theirs[0][1]}
    assert_events(far)


def assert_events(capture: Path) -> None:
    """RFC 4733: one timestamp, the marker on the first packet, a duration that grows, and the end told three times."""
    rows = tshark.numbers(
        capture, f"rtpevent && ip.src == {FAR} && !icmp",
        "rtp.timestamp", "rtp.marker", "rtpevent.event_id", "rtpevent.end_of_event", "rtpevent.duration",
    )  # fmt: skip
    presses = [list(group) for _, group in itertools.groupby(rows, key=lambda row: row[0])]
    assert [press[0][2] for press in presses] == list(KEYS.values())
    for press in presses:
        _, markers, events, ends, durations = zip(*press, strict=True)
        assert len(set(events)) == 1
        assert list(markers) == [1] + [0] * (len(press) - 1)
        assert list(ends) == [0] * (len(press) - 3) + [1] * 3
        assert list(durations[:-2]) == [FRAME * n for n in range(1, len(press) - 1)]
        assert durations[-3] == durations[-2] == durations[-1]


def test_hold_and_resume_at_another_port(start_scene: Callable[..., Scene], sipp: StartSipp) -> None:
    """After the silence of hold: a marker, and a timestamp that has gone on with the clock."""
    scene = start_scene()

    def phones() -> tuple[Phone, Phone]:
        return Phone(host=FAR), Phone(host=FAR)

    first, second = inside(scene.line.namespaces["far"], phones)
    with first, second:
        caller = sipp(
            scene.agent.sip, "reinvite", source=FAR, rtp_port=first.port, rtp_port3=second.port, direction2="sendonly",
            duration_ms=1500, prefix=scene.line.far,
        )  # fmt: skip
        until(lambda: len(caller.received("200")) == 2, "held")
        first.mute = True
        until(lambda: second.heard, "sound at the other port")
        caller.wait()
    call = scene.agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    scene.end()
    near = scene.line.captures["near"]
    rows = packets(near, NEAR, "udp.dstport")
    assert steps([row[0] for row in rows], 16) == {1}
    marked = [index for index, row in enumerate(rows) if row[2]]
    assert len(marked) == 2
    before, after = rows[: marked[1]], rows[marked[1] :]
    assert ({row[3] for row in before}, {row[3] for row in after}) == ({first.port}, {second.port})
    times = tshark.fields(near, f"rtp && ip.src == {NEAR} && !icmp", "frame.time_relative")
    silent_s = float(times[marked[1]][0]) - float(times[marked[1] - 1][0])
    jump = (after[0][1] - before[-1][1]) % (1 << 32)
    assert silent_s > 1
    assert jump / 8000 == pytest.approx(silent_s, abs=0.1)
    assert jump % FRAME == 0


def test_a_peers_packets_of_30_ms_reach_the_service_whole(
    start_scene: Callable[..., Scene], sipp: StartSipp
) -> None:
    """sipp's recording of A-law, whose key presses that follow have an SSRC of their own."""
    scene = start_scene()
    caller = sipp(
        scene.agent.sip, "pcap", source=FAR, formats="8 101", duration_ms=3500, prefix=scene.line.far
    ).wait()
    call = scene.agent.closed_call(caller.call_id)
    assert (call["status"], call["metadata"]["codec"], call["metadata"]["rtp"]["lost"]) == (
        "completed",
        "PCMA",
        0,
    )
    assert scene.keys() == "1#"
    scene.end()
    rows = tshark.fields(
        scene.line.captures["far"], f"rtp.p_type == 8 && ip.src == {FAR} && !icmp", "rtp.payload"
    )
    payloads = [bytes.fromhex(row[0].replace(":", "")) for row in rows]
    assert {len(payload) for payload in payloads} == {240}
    said = codec_by_name("PCMA").decode(b"".join(payloads))
    assert similarity(scene.heard_by_the_service(), said) > 0.999


def test_a_phone_whose_nat_forgets_its_port(start_scene: Callable[..., Scene], sipp: StartSipp) -> None:
    """After the time in which sources may change freely: what counts is that the old port has fallen silent."""
    scene = start_scene()
    with inside(scene.line.namespaces["far"], lambda: Phone(host=FAR)) as phone:
        caller = sipp(
            scene.agent.sip,
            "call",
            source=FAR,
            rtp_port=phone.port,
            duration_ms=11_000,
            prefix=scene.line.far,
        )
        until(lambda: phone.sent > RELATCH_WINDOW_S * 50 + 10, "the call is settled")
        inside(scene.line.namespaces["far"], phone.move)
        heard = len(phone.heard)
        until(lambda: len(phone.heard) > heard + 25, "sound at the new port")
        phone.say(scene.prompt(GREETING))
        caller.wait()
    call = scene.agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert similarity(scene.heard_by_the_service(), scene.prompt(GREETING)) > 0.99
    assert similarity(phone.audio(), scene.prompt(ANSWER)) > 0.9
