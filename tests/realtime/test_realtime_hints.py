"""Hints to the transcription: what a refusal is about, what is asked instead, and that the call does not pay for it."""

from __future__ import annotations

from dataclasses import replace

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rtp.g711 import encode_pcmu
from rtp.wav import read_wav
from sipua.errors import RealtimeRefused, RealtimeRejectedConfig, RealtimeUnreachable
from sipua.realtime import events as ev
from sipua.realtime.backend import OpenAIBackend
from sipua.realtime.config import SessionConfig, Transcription
from sipua.realtime.hints import as_change, is_about_language, without_language, without_refused
from sipua.realtime.protocol import RealtimeProtocol, State
from sipua.realtime.severity import Severity
from sipua.resources import shipped_speech
from tests.emulator.test_emulator_server import emulator

from .realtime_wire import created, error, updated

RW = Transcription("gpt-transcribe", "rw", language_prompt="Ikiganiro mu Kinyarwanda.")
DETECTED = replace(RW, language=None, prompt=RW.language_prompt)
SURE = replace(RW, has_logprobs=True)
CONFIG = SessionConfig("gpt-realtime-2.1", transcription=RW)
PATH = "session.audio.input.transcription"


def refusal(param: str | None, message: str = "no", code: str | None = "invalid_value") -> ev.ServiceError:
    return ev.ServiceError(code, message, param, "sipua_1", Severity.FATAL_CALL)


ABOUT = [
    pytest.param(RW, refusal(f"{PATH}.language"), DETECTED, id="its path"),
    pytest.param(RW, refusal(PATH, "Invalid language 'rw'"), DETECTED, id="the table's path and a word"),
    pytest.param(RW, refusal(None, "Language 'rw' is not supported."), DETECTED, id="no path, a word"),
    pytest.param(RW, refusal(f"{PATH}.language", code="unsupported"), DETECTED, id="a code of another server"),
    pytest.param(DETECTED, refusal(f"{PATH}.prompt"), replace(DETECTED, prompt=None), id="the prompt"),
    pytest.param(DETECTED, refusal(f"{PATH}.language"), None, id="a language that was not sent"),
    pytest.param(RW, refusal(f"{PATH}.model"), None, id="the model"),
    pytest.param(RW, refusal("session.instructions", "the language is bad"), None, id="another parameter"),
    pytest.param(RW, refusal(None, "no"), None, id="nothing said"),
    pytest.param(None, refusal(f"{PATH}.language"), None, id="no transcription"),
    pytest.param(SURE, refusal("session.include[0]"), RW, id="log probabilities"),
    pytest.param(SURE, refusal(None, "logprobs are not supported with this model"), RW, id="and by a word"),
    pytest.param(RW, refusal("session.include"), None, id="log probabilities that were not asked for"),
    pytest.param(SURE, refusal(f"{PATH}.language"), replace(DETECTED, has_logprobs=True), id="one at a time"),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "answer", "instead"), ABOUT)
def test_only_a_hint_that_was_sent_is_left_out(
    asked: Transcription | None, answer: ev.ServiceError, instead: Transcription | None
) -> None:
    assert without_refused(asked, answer) == instead


@given(st.text(), st.one_of(st.none(), st.text()), st.one_of(st.none(), st.text()))
def test_refusals_without_end_end(message: str, param: str | None, code: str | None) -> None:
    """Each hint can be left out once, whatever the service says."""
    asked: Transcription | None = replace(SURE, prompt="x")
    for _ in range(4):
        asked = without_refused(asked, refusal(param, message, code))
    assert asked is None


def test_a_model_that_takes_no_prompt_gets_none() -> None:
    asked = replace(RW, model="gpt-realtime-whisper")
    assert without_language(asked) == replace(asked, language=None)


def test_a_change_clears_what_was_before() -> None:
    assert as_change(DETECTED) == {
        "audio": {
            "input": {"transcription": {"model": RW.model, "language": None, "prompt": DETECTED.prompt}}
        }
    }


@pytest.mark.parametrize(
    ("code", "message", "about"),
    [
        ("unsupported_language", "no", True), ("invalid_value", "Invalid language: rw", True),
        ("invalid_audio", "too short", False), (None, "The language of love", False),
        ("server_error", "language", False),
    ],
)  # fmt: skip
def test_some_say_so_only_at_the_first_utterance(code: str | None, message: str, about: bool) -> None:
    assert is_about_language(ev.UserTranscriptFailed("item_1", code, message)) is about


def refused(core: RealtimeProtocol, param: str, code: str = "invalid_value") -> list[ev.Event]:
    event_id, _ = core.session_update()
    return core.receive(error(code, event_id=event_id, param=param))


def test_the_core_asks_again_without_the_language() -> None:
    core = RealtimeProtocol(CONFIG)
    core.receive(created())
    (told,) = refused(core, f"{PATH}.language")
    assert isinstance(told, ev.ServiceError)
    assert (told.severity, core.state) == (Severity.RETRY_ONCE, State.CREATED)
    _, data = core.session_update()
    transcription = orjson.loads(data)["session"]["audio"]["input"]["transcription"]
    assert transcription == {"model": "gpt-transcribe", "prompt": RW.language_prompt}
    core.receive(updated(CONFIG))
    assert (core.state, core.config.transcription) == (State.READY, DETECTED)


def test_a_refusal_that_names_no_event_is_of_the_update_on_its_way() -> None:
    core = RealtimeProtocol(CONFIG)
    core.receive(created())
    core.session_update()
    core.receive(error("invalid_value", param=f"{PATH}.language"))
    again, _ = core.session_update()
    core.receive(updated(CONFIG))
    (late,) = core.receive(
        error("invalid_value", event_id=again)
    )  # answered before: no update of ours any more
    assert isinstance(late, ev.ServiceError)
    assert core.state is State.READY


def test_a_language_that_is_refused_twice_costs_the_session() -> None:
    core = RealtimeProtocol(CONFIG)
    core.receive(created())
    refused(core, f"{PATH}.language")
    refused(core, f"{PATH}.prompt")  # what stood in for it is left out too
    with pytest.raises(RealtimeRejectedConfig, match="language"):
        refused(core, f"{PATH}.language")


@pytest.mark.parametrize(
    ("code", "wanted"), [("insufficient_quota", RealtimeRefused), ("server_error", RealtimeUnreachable)]
)
def test_an_account_or_a_passing_fault_is_no_matter_of_hints(code: str, wanted: type[Exception]) -> None:
    core = RealtimeProtocol(CONFIG)
    core.receive(created())
    with pytest.raises(wanted):
        refused(core, f"{PATH}.language", code)


async def test_the_emulator_refuses_and_the_session_opens_without_the_hint() -> None:
    async with emulator("refuse_language=rw") as address:
        backend = OpenAIBackend(f"http://{address}/v1", "k")
        first = await backend.open(CONFIG)
        kept = first.echoed["audio"]["input"]["transcription"]
        assert (kept.get("language"), kept["prompt"]) == (None, RW.language_prompt)
        assert (first.config.transcription, first.counters.controls_sent) == (DETECTED, 2)
        second = await backend.open(CONFIG)  # it is remembered: nobody is asked twice
        assert (second.config.transcription, second.counters.controls_sent) == (DETECTED, 1)
        third = await backend.open(replace(CONFIG, transcription=replace(RW, language="sw")))
        assert third.echoed["audio"]["input"]["transcription"]["language"] == "sw"
        for each in (first, second, third):
            await each.close()


async def test_whisper_refuses_kinyarwanda_of_itself() -> None:
    async with emulator() as address:
        backend = OpenAIBackend(f"http://{address}/v1", "k")
        config = replace(CONFIG, transcription=replace(RW, model="whisper-1"))
        session = await backend.open(config)
        await session.close()
        assert session.config.transcription == replace(DETECTED, model="whisper-1")


async def test_how_sure_the_transcription_is_is_asked_for_and_told() -> None:
    """The emulator gives log probabilities to who asks for them."""
    heard = encode_pcmu(read_wav(shipped_speech("question_en.wav"), 8000)) + b"\xff" * 8000
    told: dict[bool, tuple[float, ...]] = {}
    async with emulator() as running:
        backend = OpenAIBackend(f"http://{running}/v1", "k")
        for asked in (True, False):
            config = SessionConfig("gpt-realtime-2.1", transcription=replace(SURE, has_logprobs=asked))
            session = await backend.open(config)
            for at in range(0, len(heard), 800):
                session.append(heard[at : at + 800])
            async for event in session.events():
                if isinstance(event, ev.UserTranscript):
                    told[asked] = event.logprobs
                    break
            await session.close()
    assert told[True]
    assert all(each <= 0 for each in told[True])
    assert told[False] == ()
