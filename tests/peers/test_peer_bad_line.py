"""Conversations over bad lines, both ways: ±50 ms, 5 % lost in bursts, disorder, duplicates.

Judges are the voice service's recording of what it was told, tshark on captures of both ends, and what the line says
that it did.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rtp.traces import BASE_DELAY_MS, Trace, both, bursts, make, uniform, with_duplicates
from sipua.line.ends import NEAR
from tests.peers import tshark
from tests.peers.baresip import silence, talk
from tests.peers.conftest import StartSipp, need
from tests.peers.line import inside
from tests.peers.phone import Phone
from tests.peers.processes import found, similarity, until
from tests.peers.scene import ANSWER, GREETING, QUESTION, Scene

pytestmark = pytest.mark.peer

DUPLICATES, LATEST_MS = 0.02, 60
CLEAN_R = 93.2
OUR_REPORTS = f"rtcp.ssrc.cum_nr && ip.src == {NEAR} && !icmp"


def bad(seed: int, width_ms: float, loss: float) -> Trace:
    """The first packet arrives first: nobody can know what was before it."""
    trace = make("bad", seed, both(uniform(width_ms), bursts(loss)), seconds=20)
    first = trace.packets[0]
    at_once = replace(first, arrivals=(first.sent_s + BASE_DELAY_MS / 1000,))
    return with_duplicates(replace(trace, packets=(at_once, *trace.packets[1:])), seed, DUPLICATES, LATEST_MS)


def test_a_human_voice_is_answered_over_a_bad_line(start_scene: Callable[..., Scene], tmp_path: Path) -> None:
    """With baresip, whose own buffer must make do with what arrives there."""
    need("baresip")
    scene = start_scene(to_near=bad(7, 50, 0.05), to_far=bad(8, 5, 0.02))
    said = scene.prompt(QUESTION)
    sound = np.concatenate([silence(2.2), said, silence(4.0)])
    heard = talk(tmp_path / "baresip", f"sip:agent@{scene.agent.sip}", sound, "PCMU", place=scene.phone)
    call = scene.the_call()
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    told = scene.heard_by_the_service()
    half = said.size // 2
    (first, begin), (second, middle) = found(told, said[:half]), found(told, said[half:])
    assert min(first, second) > 0.7
    assert middle - begin == half  # what was lost has its length, what came twice or late has none
    assert max(similarity(told, scene.prompt(name)) for name in (ANSWER, GREETING)) < 0.4
    assert similarity(heard, scene.prompt(ANSWER)) > 0.8
    assert similarity(heard, scene.prompt(GREETING)) > 0.4
    spoken = scene.agent.select("SELECT role FROM transcripts ORDER BY t, sequence")
    assert [row["role"] for row in spoken] == ["assistant", "user", "assistant"]
    rtp = call["metadata"]["rtp"]
    assert rtp["concealed_frames"] > 0
    assert rtp["buffer"]["added_ms_p50"] < 20  # most packets wait for nothing
    assert 50 < rtp["quality"]["r"] < CLEAN_R - 5


def test_what_is_counted_is_what_was_lost(start_scene: Callable[..., Scene], sipp: StartSipp) -> None:
    scene = start_scene(to_near=bad(9, 50, 0.05))
    far = scene.line.addresses["far"]
    with inside(scene.line.namespaces["far"], lambda: Phone(host=far)) as phone:
        phone.say(scene.prompt(QUESTION))
        caller = sipp(
            scene.agent.sip, "call", source=far, rtp_ip=far, rtp_port=phone.port, duration_ms=6000,
            prefix=scene.line.far,
        )  # fmt: skip
        until(lambda: phone.sent > 200, "all is said")
        phone.mute = True  # and the rest of it arrives before the BYE, which no trace delays
        caller.wait()
    rtp = scene.agent.closed_call(caller.call_id)["metadata"]["rtp"]
    scene.end()

    line = scene.line.counts["to_near"]
    near = scene.line.captures["near"]
    sequences = [row[0] for row in tshark.numbers(near, f"rtp && ip.src == {far}", "rtp.seq")]
    missing = max(sequences) - min(sequences) + 1 - len(set(sequences))
    assert 0 <= line["lost"] - missing <= 4  # of the last packets nobody knows that they were sent
    assert missing > 3
    buffer = rtp["buffer"]
    assert (rtp["received"], buffer["dup"]) == (line["arrived"], line["repeated"])
    assert rtp["lost"] == missing - buffer["dup"]  # RFC 3550 section 6.4.1
    assert tshark.stream(near, far).lost == rtp["lost"]
    assert buffer["lost"] == missing + rtp["late"]
    assert rtp["concealed_frames"] == buffer["lost"]
    reports = tshark.numbers(scene.line.captures["far"], OUR_REPORTS, "rtcp.ssrc.cum_nr")
    assert reports[-1] == [rtp["lost"]]  # the caller's side is told, up to the end
