"""An emulated session with hand-cranked time, and the judge of event shapes.

The judge are the published models of the ``openai`` package: every event must validate, and may carry no
field that they do not know, but for the two that are on the wire and not in them.
"""

from __future__ import annotations

import base64
import wave
from pathlib import Path
from typing import Any, get_args

import numpy as np
import orjson
import pydantic
from openai.types.realtime.realtime_server_event import RealtimeServerEvent
from openai.types.realtime.realtime_session_create_response import RealtimeSessionCreateResponse

from rtp.g711 import encode_pcma, encode_pcmu
from sipua.realtime import emulator
from sipua.realtime.emulator.core import RealtimeSession, SessionSetup
from sipua.realtime.emulator.faults import parse_fault
from sipua.realtime.emulator.formats import Clip, Samples
from sipua.realtime.emulator.outputs import Close, Output, Send
from sipua.realtime.emulator.script import Script, load_script, parse_script

Event = dict[str, Any]
SPEECH = Path(emulator.__file__).parent / "speech"
ON_THE_WIRE_ONLY = {"obfuscation", "phase"}
PCMU = {"audio": {"input": {"format": {"type": "audio/pcmu"}}, "output": {"format": {"type": "audio/pcmu"}}}}


def _models() -> dict[str, type[pydantic.BaseModel]]:
    union = get_args(RealtimeServerEvent)[0]
    return {get_args(model.model_fields["type"].annotation)[0]: model for model in get_args(union)}


MODELS = _models()


def judge(event: Event) -> None:
    """Strict validation of one server event."""
    model = MODELS[event["type"]].model_validate(orjson.loads(orjson.dumps(event)))
    surplus = set(_surplus(model, event["type"]))
    if event["type"] in (
        "session.created",
        "session.updated",
    ):  # their model is the request's: judge by the answer's
        surplus -= {f"{event['type']}.session.{key}" for key in ("id", "object", "expires_at")}
        surplus |= set(_surplus(RealtimeSessionCreateResponse.model_validate(event["session"]), "session"))
    assert not surplus, surplus


def _surplus(value: object, path: str) -> list[str]:
    if isinstance(value, pydantic.BaseModel):
        extra = [f"{path}.{key}" for key in value.model_extra or {} if key not in ON_THE_WIRE_ONLY]
        return extra + [
            p for key in value.model_fields_set for p in _surplus(getattr(value, key), f"{path}.{key}")
        ]
    if isinstance(value, list):
        return [p for each in value for p in _surplus(each, path)]
    return []


def recorded(name: str) -> Samples:
    """Samples of one of the package's recordings."""
    with wave.open(str(SPEECH / name)) as file:
        return np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.int16)


def spoken(tail_ms: int = 900, lead_ms: int = 500) -> Samples:
    """The caller's question at 8 kHz between two silences."""
    question = recorded("question_en.wav")
    return np.concatenate((np.zeros(lead_ms * 8, np.int16), question, np.zeros(tail_ms * 8, np.int16)))


def ulaw(samples: Samples) -> bytes:
    return encode_pcmu(samples)


def alaw(samples: Samples) -> bytes:
    return encode_pcma(samples)


class Driven:
    """``send`` an event, ``run`` some seconds, look at ``events``; every event is judged as it comes."""

    def __init__(
        self,
        script: Script | str | None = None,
        *,
        model: str = "gpt-realtime",
        faults: tuple[str, ...] = (),
        session_cap_s: float = 3600.0,
        strict: bool = True,
    ) -> None:
        if isinstance(script, str):
            script = parse_script(script, "test.toml")
        script = script or load_script(None)
        clip = Clip(np.zeros(2 * 8000, np.int16), 8000)
        self.now = 1000.0
        self.outputs: list[Output] = []
        self.events: list[Event] = []
        self._strict = strict
        self.core = RealtimeSession(
            SessionSetup(
                model=model,
                script=script,
                speech=dict.fromkeys(script.lines(), clip),
                unix_time=1_800_000_000,
                speed=10.0,
                session_cap_s=session_cap_s,
                faults=[parse_fault(fault) for fault in faults],
                seed=1,
            ),
            now=self.now,
        )
        self.run(0.0)

    def run(self, seconds: float = 10.0) -> list[Event]:
        """Lets time pass; returns what came meanwhile."""
        end = self.now + seconds
        before = len(self.events)
        while (due := self.core.deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self._collect()
        self.now = end
        self._collect()
        return self.events[before:]

    def _collect(self) -> None:
        self.core.advance(self.now)
        for output in self.core.outputs(self.now):
            self.outputs.append(output)
            if isinstance(output, Send):
                if self._strict:
                    judge(output.event)
                self.events.append(orjson.loads(orjson.dumps(output.event)))

    def send(self, kind: str, **fields: Any) -> list[Event]:
        """One client event; returns what came at once."""
        return self.raw(orjson.dumps({"type": kind, **fields}))

    def raw(self, message: str | bytes) -> list[Event]:
        before = len(self.events)
        self.core.receive(message, self.now)
        self._collect()
        return self.events[before:]

    def update(self, **session: Any) -> list[Event]:
        return self.send("session.update", session={"type": "realtime", **session})

    def listen(self, **turn_detection: Any) -> None:
        """µ-law both ways, transcription on."""
        detection = {"type": "server_vad", "silence_duration_ms": 500, **turn_detection}
        audio_input = {
            "format": {"type": "audio/pcmu"},
            "transcription": {"model": "gpt-realtime-whisper"},
            "turn_detection": detection,
        }
        updated = self.update(audio={"input": audio_input, "output": {"format": {"type": "audio/pcmu"}}})
        assert updated[0]["type"] == "session.updated"

    def hear(self, audio: bytes, *, frame: int = 160, paced: bool = False) -> list[Event]:
        """Appends audio in frames, in real time if ``paced``."""
        before = len(self.events)
        for at in range(0, len(audio), frame):
            self.send("input_audio_buffer.append", audio=base64.b64encode(audio[at : at + frame]).decode())
            if paced:
                self.run(frame / 8000)
        return self.events[before:]

    def ask(self) -> list[Event]:
        """The caller's question."""
        return self.hear(ulaw(spoken()))

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event["type"] == kind]

    @property
    def close(self) -> Close | None:
        return next((output for output in self.outputs if isinstance(output, Close)), None)


def error_of(events: list[Event]) -> Event:
    """The one error among events."""
    (error,) = [event["error"] for event in events if event["type"] == "error"]
    return dict(error)
