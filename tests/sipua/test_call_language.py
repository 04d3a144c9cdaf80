"""The language of one call's session: its first configuration, a change, and hints that are refused on the way."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sipua.call_language import PENDING_MAX, CallLanguage
from sipua.language_choice import Choice, Switch
from sipua.languages import load_languages
from sipua.memory import Recollection
from sipua.ports import CallOpening, Moment
from sipua.realtime import events as ev
from sipua.realtime.config import AudioFormat, SessionConfig, Transcription
from sipua.realtime.severity import Severity
from sipua.resources import shipped_conf
from sipua.settings import Settings
from sipua.texts import load_texts
from sipua.voice_settings import language_of, session_config

LANGUAGES = load_languages(shipped_conf())
BASE = SessionConfig("gpt-realtime-2.1", transcription=Transcription("gpt-transcribe"))
LONG = "ndashaka kujya ku kibuga cy'indege ejo mu gitondo"


def language(locale: str = "en", hint: str = "", greeting: str = "Say {{greeting}}") -> CallLanguage:
    return CallLanguage(
        LANGUAGES, Choice(locale, "caller"), lambda code: f"Speak {code}.", greeting=greeting, hint=hint
    )


def running(locale: str = "en", hint: str = "") -> CallLanguage:
    call = language(locale, hint)
    call.opened(call.configured(BASE))
    return call


def said(tag: str, text: str = LONG) -> ev.UserTranscript:
    return ev.UserTranscript("item_1", text, (tag,))


def refused(event_id: str | None) -> ev.ServiceError:
    return ev.ServiceError("invalid_value", "Invalid language", "x.language", event_id, Severity.RETRY_ONCE)


def transcription(language: str | None, prompt: str | None = None) -> dict[str, Any]:
    asked = {"model": "gpt-transcribe", "language": language, "prompt": prompt}
    return {"audio": {"input": {"transcription": asked}}}


@pytest.mark.parametrize(
    ("locale", "hint", "sent"),
    [("rw", "", "rw"), ("sw", "", "sw"), ("en", "fr", "fr"), ("rw", "none", None)],
)
def test_a_session_begins_in_the_language(locale: str, hint: str, sent: str | None) -> None:
    config = language(locale, hint).configured(BASE)
    assert config.instructions == f"Speak {locale}."
    assert config.transcription is not None
    assert (config.transcription.language, config.transcription.prompt) == (sent, None)
    spare = config.transcription.language_prompt
    assert spare == (LANGUAGES.of(sent).transcription_prompt if sent else None)


def test_without_transcription_there_is_no_hint() -> None:
    assert language().configured(replace(BASE, transcription=None)).transcription is None


def test_the_first_words_are_those_of_the_language() -> None:
    assert language("rw").greeting == 'Say "Muraho, murakoze kuduhamagara. Nabafasha nte?"'
    assert language("rw", greeting="Be kind.").greeting == "Be kind."
    assert language("rw", greeting="").greeting == ""


def test_instructions_and_transcription_change_apart() -> None:
    call = running()
    told, heard = call.on_event(said("sw"))
    assert (told.session, told.switch) == ({"instructions": "Speak sw."}, Switch("sw", "heard"))
    assert (heard.session, heard.switch) == (transcription("sw"), None)
    assert (call.locale, call.language.name) == ("sw", "Kiswahili")
    assert call.on_event(said("sw")) == []


def test_who_asks_is_answered_at_once() -> None:
    call = running()
    assert [change.switch for change in call.asked("Kinyarwanda")] == [Switch("rw", "asked"), None]
    assert call.asked("rw") == []
    with pytest.raises(ValueError, match="'de' is not offered; allowed: en, fr, rw, sw"):
        call.asked("de")


@pytest.mark.parametrize("hint", ["none", "fr"])
def test_a_hint_that_the_operator_fixed_is_left_alone(hint: str) -> None:
    (told,) = running(hint=hint).on_event(said("rw"))
    assert told.session == {"instructions": "Speak rw."}


def test_a_refused_hint_of_the_new_language_is_followed_by_detection() -> None:
    call = running()
    told, heard = call.on_event(said("rw"))
    call.sent(told, "sipua_8")
    call.sent(heard, "sipua_9")
    assert call.on_event(refused("sipua_8")) == []  # the instructions: the service's own matter
    (left,) = call.on_event(refused("sipua_9"))
    assert left.session == transcription(None, LANGUAGES.of("rw").transcription_prompt)
    call.sent(left, "sipua_10")
    assert call.on_event(refused("sipua_10")) == []  # nothing is left that could be left out
    assert [change.switch for change in call.on_event(said("fr"))] == [Switch("fr", "heard"), None]


def test_some_models_refuse_only_the_utterance() -> None:
    call = running("rw")
    failed = ev.UserTranscriptFailed("item_1", "unsupported_language", "rw")
    (left,) = call.on_event(failed)
    assert left.session == transcription(None, LANGUAGES.of("rw").transcription_prompt)
    call.sent(left, "sipua_5")
    assert call.on_event(failed) == []
    assert call.on_event(ev.UserTranscriptFailed("item_2", "server_error", "no")) == []


def test_a_session_that_was_opened_without_the_hint_is_not_asked_again() -> None:
    call = language("rw")
    config = call.configured(BASE)
    assert config.transcription is not None
    call.opened(replace(config, transcription=replace(config.transcription, language=None)))
    assert call.on_event(ev.UserTranscriptFailed("item_1", "unsupported_language", "rw")) == []


def test_errors_of_others_change_nothing_and_nothing_piles_up() -> None:
    call = running()
    assert call.on_event(refused(None)) == call.on_event(refused("sipua_1")) == []
    for number in range(3 * PENDING_MAX):
        for change in call.asked(("rw", "sw")[number % 2]):
            call.sent(change, f"sipua_{number}")
    assert call.on_event(refused("sipua_0")) == []
    assert len(call.on_event(refused(f"sipua_{3 * PENDING_MAX - 1}"))) == 1


# ---- from settings and files -------------------------------------------------------------------------------


def opening(direction: str, from_number: str, to_number: str) -> CallOpening:
    return CallOpening(
        id=uuid4(), direction=direction, from_uri="", to_uri="", from_number=from_number, to_number=to_number,  # type: ignore[arg-type]
        sip_call_id="x", carrier_sid=None, provider="mtn", trunk="mtn", locale="en", country="RW", source="",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("direction", "from_number", "to_number"),
    [("inbound", "+250788123456", "+12025550123"), ("outbound", "+12025550123", "+250788123456")],
)
def test_the_far_end_decides_in_both_directions(
    direction: str, from_number: str, to_number: str, tmp_path: Path
) -> None:
    (tmp_path / "instructions").mkdir()
    (tmp_path / "instructions" / "trunk-mtn.rw.md").write_text("{{caller}} and {{dialled}} at {{time}}")
    settings = Settings(timezone="Africa/Kigali")
    now = Moment(0.0, datetime(2026, 11, 22, 22, 30, tzinfo=UTC))
    call = language_of(settings, load_texts(tmp_path), opening(direction, from_number, to_number), now)
    assert call.choice == Choice("rw", "caller")
    config = call.configured(session_config(settings, AudioFormat.PCMU))
    assert config.instructions.startswith(
        "+250788123456 and +12025550123 at 00:30\n\n# Language\nSpeak Kinya"
    )
    assert call.greeting.startswith('Greet the caller with exactly these words: "Muraho')


def test_memory_is_asked_before_the_prefix_and_told(tmp_path: Path) -> None:
    (tmp_path / "instructions").mkdir()
    (tmp_path / "instructions" / "default.md").write_text("{{memory}}")
    call = language_of(
        Settings(), load_texts(tmp_path), opening("inbound", "+250788123456", "+12025550123"),
        Moment(0.0, datetime.now(UTC)), remembered=Recollection({"language": "fr", "vehicle": "moto"}, "RW"),
    )  # fmt: skip
    assert call.choice == Choice("fr", "memory")
    config = call.configured(session_config(Settings(), AudioFormat.PCMU))
    assert config.instructions.startswith("- language: fr\n- vehicle: moto\n- country: RW\n")


def test_who_can_be_transferred_to_is_told_with_when_they_open(tmp_path: Path) -> None:
    (tmp_path / "instructions").mkdir()
    (tmp_path / "instructions" / "default.md").write_text("{{departments}}")
    (tmp_path / "departments.toml").write_text(
        'timezone = "Africa/Kigali"\n[departments.sales]\ntarget = "+250788000001"\nhours = ["Mon 08:00-17:00"]\n'
        '[departments.desk]\ntargets = { softphone = "sip:desk@pbx.example.org" }\n'
    )
    now = Moment(0.0, datetime(2026, 11, 22, 10, tzinfo=UTC))
    call = language_of(
        Settings(), load_texts(tmp_path), opening("inbound", "+250788123456", "+12025550123"), now
    )
    config = call.configured(session_config(Settings(), AudioFormat.PCMU))
    assert config.instructions.startswith("- sales (closed, opens tomorrow at 08:00)\n\n# Language")


@pytest.mark.parametrize(
    ("direction", "hour", "is_closed"),
    [("inbound", 10, False), ("inbound", 16, True), ("outbound", 16, False)],
)
def test_a_closed_line_greets_so_and_says_when_it_opens(
    tmp_path: Path, direction: str, hour: int, is_closed: bool
) -> None:
    (tmp_path / "departments.toml").write_text(
        'timezone = "Africa/Kigali"\n[lines.office]\nnumbers = ["+12025550123"]\nhours = ["Mon-Sun 08:00-17:00"]\n'
    )
    now = Moment(0.0, datetime(2026, 11, 22, hour, tzinfo=UTC))
    numbers = ("+250788123456", "+12025550123")
    call = language_of(
        Settings(),
        load_texts(tmp_path),
        opening(direction, *(numbers if direction == "inbound" else reversed(numbers))),
        now,
    )
    rw = LANGUAGES.of("rw")
    assert (rw.greeting_closed if is_closed else rw.greeting) in call.greeting
    told = call.configured(session_config(Settings(), AudioFormat.PCMU)).instructions
    assert ("closed, opens tomorrow at 08:00" in told) is is_closed
