"""A whole conversation with a telephone that is not ours, and a human voice: does the answer arrive?

The judge is the normalised cross-correlation of baresip's recording with the emulator's own sound files. Measured
on loopback: 0.99 to 1.00 for what was said, 0.07 to 0.17 for the files that were not.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rtp.wav import read_wav
from sipua.resources import shipped_speech
from tests.peers.agent import HAVE, Agent
from tests.peers.baresip import silence, talk
from tests.peers.conftest import need
from tests.peers.processes import similarity

pytestmark = pytest.mark.peer

GREETING_S = 4.5  # the emulator's greeting and a pause: whoever speaks into it interrupts it
ANSWER_S = 8.5  # its end of speech is noticed after 0.5 s, and the answer takes 6.4 s
SAID = ("greeting_en.wav", "taxi_en.wav")
# A wave that was only coded is the same wave; Opus keeps the sound: 0.90 measured.
LIKENESS = {"PCMU": 0.98, "PCMA": 0.98, "G722": 0.95, "OPUS": 0.8}
NOT_SAID = ("booked_en.wav", "moto_en.wav", "help_fr.wav", "fallback_en.wav")


@pytest.mark.parametrize("codec", HAVE)
def test_a_human_voice_is_answered(agent: Agent, human_speech: Path, tmp_path: Path, codec: str) -> None:
    need("baresip")
    speech = read_wav(human_speech / "agent-newlocation.wav")
    sound = np.concatenate([silence(GREETING_S), speech, silence(ANSWER_S)])
    heard = talk(tmp_path / "baresip", f"sip:agent@{agent.sip}", sound, codec)

    likeness = {name: similarity(heard, read_wav(shipped_speech(name))) for name in SAID + NOT_SAID}
    assert all(likeness[name] > LIKENESS[codec] for name in SAID), likeness
    assert all(likeness[name] < 0.4 for name in NOT_SAID), likeness

    query = "SELECT * FROM voice_calls WHERE from_e164 = %s ORDER BY started_at DESC LIMIT 1"
    call = agent.closed_call(agent.select(query, "+250788999888")[0]["sip_session_id"])
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert call["metadata"]["codec"] == codec
    assert call["metadata"]["rtp"]["lost"] == 0
    format = "audio/pcm" if codec in ("G722", "OPUS") else f"audio/{codec.lower()}"
    assert agent.sessions(call)[0]["input_audio_format"] == format
    assert agent.events(call).count("openai_input_audio_buffer_speech_started") == 1
    spoken = agent.select("SELECT role FROM transcripts WHERE call_id = %s ORDER BY t, sequence", call["id"])
    assert [row["role"] for row in spoken] == ["assistant", "user", "assistant"]
