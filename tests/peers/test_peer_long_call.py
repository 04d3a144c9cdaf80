"""A call of two minutes with a telephone that is not ours, over a line that loses nothing.

Nothing may grow in its course: not what is lost, not the lag between what is said and its answer, not memory, sockets
or tasks.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rtp.codec import codec_by_name
from rtp.g711 import Pcm
from sipua.line.ends import FAR, NEAR
from tests.peers import tshark
from tests.peers.baresip import RATE, silence, talk
from tests.peers.conftest import need
from tests.peers.processes import found, until
from tests.peers.scene import ANSWER, QUESTION, Scene

pytestmark = pytest.mark.peer

FRAME = 160  # samples of 20 ms
TURNS, TURN_S, LEAD_S = 10, 12, 3  # each turn is the question, its answer, and a pause
MOST_GROWTH_KB = 8_000


def memory_kb(scene: Scene) -> int:
    found_ = re.search(r"^VmRSS:\s+(\d+)", Path(f"/proc/{scene.agent.pid}/status").read_text(), re.M)
    assert found_ is not None
    return int(found_[1])


@dataclass(frozen=True, slots=True)
class Sound:
    """One direction of a capture: packets end to end, and when each of them passed."""

    samples: Pcm
    times: list[float]

    def time_of(self, sample: int) -> float:
        return self.times[sample // FRAME] + sample % FRAME / RATE


def sound_of(capture: Path, source: str) -> Sound:
    """What came from there; nothing is missing in it."""
    rows = tshark.fields(
        capture, f"rtp.p_type == 0 && ip.src == {source} && !icmp", "frame.time_relative", "rtp.payload"
    )
    payload = b"".join(bytes.fromhex(text.replace(":", "")) for _, text in rows)
    return Sound(codec_by_name("PCMU").decode(payload), [float(at) for at, _ in rows])


@pytest.mark.timeout(300)
def test_two_minutes_with_a_telephone(start_scene: Callable[..., Scene], tmp_path: Path) -> None:
    need("baresip")
    scene = start_scene()
    question, answer = scene.prompt(QUESTION), scene.prompt(ANSWER)
    turn = np.concatenate([question, silence(TURN_S - question.size / RATE)])
    sound = np.concatenate([silence(LEAD_S), *[turn] * TURNS])
    measured: list[tuple[int, int, int]] = []

    def watch() -> None:
        """At the second turn, when all has been used once, and near the end."""
        query = "SELECT count(*) AS turns FROM transcripts WHERE role = 'user'"
        for count in (2, TURNS - 1):
            until(lambda least=count: scene.agent.select(query)[0]["turns"] >= least, f"turn {count}", 150)
            measured.append((memory_kb(scene), scene.agent.open_sockets(), scene.agent.tasks()))

    watcher = threading.Thread(target=watch, name="watch")
    watcher.start()
    heard = talk(tmp_path / "baresip", f"sip:agent@{scene.agent.sip}", sound, "PCMU", place=scene.phone)
    watcher.join()
    call = scene.the_call()
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert call["duration_seconds"] >= 120
    rtp = call["metadata"]["rtp"]
    assert (rtp["lost"], rtp["late"], rtp["concealed_frames"]) == (0, 0, 0)
    told = scene.heard_by_the_service()
    scene.end()

    (memory, sockets, tasks), after = measured
    assert after[0] - memory < MOST_GROWTH_KB
    assert after[1:] == (sockets, tasks)
    print(f"memory {memory} kB at the second turn, {after[0]} kB at the last but one")

    far, near = scene.line.captures["far"], scene.line.captures["near"]
    for capture, source in ((far, FAR), (near, NEAR)):
        stream = tshark.stream(capture, source)
        assert stream.lost == 0
        assert stream.packets >= (6000 if source == NEAR else 5000)  # baresip on a busy machine sends fewer

    # Every turn lies where the one before it lay, in what the service was told and in what the telephone heard.
    places = [found(told[start : start + TURN_S * RATE], question) for start in turns_of(told, question)]
    assert len(places) == TURNS
    assert min(likeness for likeness, _ in places) > 0.99
    assert {place for _, place in places} == {places[0][1]}
    assert found(heard, answer)[0] > 0.8

    lags = lags_of(sound_of(far, FAR), sound_of(far, NEAR), question, answer)
    print("from the end of each question to its answer, s:", [round(lag, 2) for lag in lags])
    assert np.median(lags[-3:]) - np.median(lags[:3]) < 0.1


def lags_of(asked: Sound, answered: Sound, question: Pcm, answer: Pcm) -> list[float]:
    """Seconds from the end of each question to the beginning of its answer, as the telephone sees them pass."""
    lags = []
    for start in turns_of(asked.samples, question):
        likeness, place = found(asked.samples[start : start + TURN_S * RATE], question)
        assert likeness > 0.99
        end = asked.time_of(start + place + question.size - 1)
        begin = next(index for index, at in enumerate(answered.times) if at >= end) * FRAME
        likeness, place = found(answered.samples[begin : begin + TURN_S * RATE // 2], answer)
        assert likeness > 0.99
        lags.append(answered.time_of(begin + place) - end)
    return lags


def turns_of(sound: Pcm, question: Pcm) -> list[int]:
    """Where each turn begins, from where the first question lies; half a second early."""
    _, first = found(sound[: TURN_S * RATE], question)
    begin = max(0, first - RATE // 2)
    return [begin + number * TURN_S * RATE for number in range(TURNS)]
