"""Names that came and went: refused, warned of or taken, by service."""

from __future__ import annotations

from datetime import date

import pytest

from sipua.realtime import names
from sipua.realtime.names import FORMER, VOICES, Kind, Service

OPENAI, AZURE, OTHER = Service
TODAY = date(2026, 11, 22)

REFUSED = [
    pytest.param(OPENAI, "model", "gpt-4o-realtime-preview", "use gpt-realtime-2.1", id="preview"),
    pytest.param(OPENAI, "model", "gpt-4o-realtime-preview-2025-06-03", "use gpt-realtime-2.1", id="dated"),
    pytest.param(OPENAI, "model", "gpt-4o-mini-realtime-preview", "use gpt-realtime-2.1-mini", id="mini"),
    pytest.param(OPENAI, "voice", "fable", "text to speech only; use ballad; allowed: alloy", id="fable"),
    pytest.param(AZURE, "voice", "onyx", "use cedar", id="onyx"),
    pytest.param(AZURE, "voice", "nova", "use marin", id="nova"),
    pytest.param(OPENAI, "voice", "bob", "no such voice; allowed: alloy", id="bob"),
    pytest.param(OTHER, "audio", "pcm16", "use pcm24", id="pcm16"),
    pytest.param(OPENAI, "audio", "g711_ulaw", "use match", id="µ-law"),
    pytest.param(AZURE, "key", "temperature", "not in the GA interface; leave it out", id="temperature"),
    pytest.param(OTHER, "key", "turn_detection", "use [realtime.vad]", id="VAD"),
]  # fmt: skip


@pytest.mark.parametrize(("service", "kind", "name", "said"), REFUSED)
def test_what_is_shut_is_refused_with_what_replaces_it(
    service: Service, kind: Kind, name: str, said: str
) -> None:
    assert said in names.refusal(service, kind, name)


TAKEN = [
    pytest.param(AZURE, "model", "gpt-4o-realtime-preview", id="a deployment has the name its owner gave"),
    pytest.param(AZURE, "transcription_model", "whisper-1", id="Azure has dates of its own"),
    pytest.param(OTHER, "model", "gpt-4o-realtime-preview", id="self-hosted"),
    pytest.param(OTHER, "voice", "nova", id="self-hosted voice"),
    pytest.param(OTHER, "key", "temperature", id="self-hosted temperature"),
    pytest.param(OPENAI, "voice", "voice_1234", id="custom voice"),
    pytest.param(OPENAI, "model", "gpt-realtime-3", id="tomorrow's model"),
    pytest.param(OPENAI, "model", "gpt-realtime-2.1-mini", id="today's mini"),
    *(pytest.param(OPENAI, "voice", voice, id=voice) for voice in VOICES),
]


@pytest.mark.parametrize(("service", "kind", "name"), TAKEN)
def test_what_its_service_may_know_is_taken_without_a_word(service: Service, kind: Kind, name: str) -> None:
    assert names.refusal(service, kind, name) == names.warning(service, kind, name, TODAY) == ""


ANNOUNCED = [
    ("model", "gpt-realtime", "ends on 2027-01-20; use gpt-realtime-2.1"),
    ("model", "gpt-realtime-2025-08-28", "ends on 2027-01-20; use gpt-realtime-2.1"),
    ("model", "gpt-realtime-mini-2025-12-15", "ends on 2027-01-20; use gpt-realtime-2.1-mini"),
    ("transcription_model", "whisper-1", "ends on 2027-02-26; use gpt-transcribe"),
    ("transcription_model", "gpt-4o-mini-transcribe", "ends on 2027-02-26; use gpt-transcribe"),
]


@pytest.mark.parametrize(("kind", "name", "said"), ANNOUNCED)
def test_what_is_announced_to_end_warns_with_the_date(kind: Kind, name: str, said: str) -> None:
    assert names.refusal(OPENAI, kind, name) == ""
    assert names.warning(OPENAI, kind, name, TODAY) == said


def test_after_the_date_it_is_still_the_service_that_refuses() -> None:
    assert names.refusal(OPENAI, "transcription_model", "whisper-1") == ""
    said = names.warning(OPENAI, "transcription_model", "whisper-1", date(2027, 2, 26))
    assert said == "was announced to end on 2027-02-26; use gpt-transcribe"


@pytest.mark.parametrize("row", FORMER, ids=lambda row: f"{row.kind} {row.pattern}")
def test_what_the_table_offers_instead_is_itself_of_today(row: names.Former) -> None:
    if row.instead and row.kind != "key":
        assert all(names.former(service, row.kind, row.instead) is None for service in row.services)


@pytest.mark.parametrize(
    ("service", "model", "has"),
    [
        (OPENAI, "gpt-realtime-2.1", True), (OPENAI, "gpt-realtime-2", True), (OPENAI, "gpt-realtime-3", True),
        (OPENAI, "gpt-realtime", False), (OPENAI, "gpt-realtime-2025-08-28", False),
        (OPENAI, "gpt-realtime-1.5", False), (OPENAI, "gpt-realtime-mini", False), (AZURE, "ours", True),
    ],
)  # fmt: skip
def test_which_models_reason(service: Service, model: str, has: bool) -> None:
    assert names.has_reasoning(service, model) is has
