"""The languages that we speak: ``languages/CODE.toml`` of the configuration folder, laid over the shipped files.

A file of the operator's needs only the keys that it changes. A language that is not shipped must bring ``name``,
``english_name`` and ``instructions``; texts that it lacks are English, and ``notes`` says so, as it says which texts no
native speaker has reviewed. The recordings of the phrases are ``sipua.recordings``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from sipua.config_file import describe, read_toml
from sipua.errors import ConfigError
from sipua.locale import DEFAULT_LOCALE
from sipua.resources import shipped_conf
from sipua.section import Section
from sipua.trunks.numbers import NumberSet

FOLDER = "languages"
GREETINGS = ("greeting", "greeting_closed", "greeting_outbound")
UNREVIEWED = "machine-written: to be reviewed by a native speaker"
_CODE = re.compile(r"[a-z]{2}")


def _spoken(value: str) -> str:
    text = " ".join(value.split())
    if not text or not text.isprintable() or "{" in text:
        raise ValueError("a text to be spoken: not empty, no control characters, no variables")
    return text


def _patterns(value: tuple[str, ...]) -> tuple[str, ...]:
    NumberSet(value)
    return value


Spoken = Annotated[str, Field(max_length=400), AfterValidator(_spoken)]
Numbers = Annotated[tuple[str, ...], Field(max_length=1000), AfterValidator(_patterns)]


class Phrases(Section):
    """What we say ourselves, word for word."""

    consent_question: Spoken
    """Asked before anything is recorded; the answer is yes or 1, no or 2."""
    consent_yes: Spoken
    """After a yes."""
    consent_no: Spoken
    """After a no, or no answer."""
    service_error: Spoken
    """The voice service is not there (key, quota, network)."""
    assistant_away: Spoken
    """The same, before a transfer to a person."""
    all_busy: Spoken
    """That person could not be reached."""
    closed: Spoken
    """Outside opening hours, where callers hear nothing else, or nobody else is there."""
    please_hold: Spoken
    """While a session is opened again."""
    transferring: Spoken
    """Before a transfer."""
    transfer_failed: Spoken
    """After one that did not come about."""
    still_there: Spoken
    """The caller has been silent for long."""
    time_is_up: Spoken
    """The call's limit of time or money is reached."""
    goodbye: Spoken
    """Before we hang up."""
    outbound_opening: Spoken
    """In a call of ours, before the consent question."""
    voicemail: Spoken
    """What a machine is left that answers a call of ours."""


class Language(Section):
    """One language. The docstring of a field is its line in docs/languages.md."""

    schema_version: Literal[1] = Field(alias="schema")
    """Version of these key names."""
    name: Annotated[str, Field(min_length=1, max_length=64)]
    """As its speakers call it."""
    english_name: Annotated[str, Field(min_length=1, max_length=64)]
    """For the model and for operators."""
    reviewed_by: Annotated[str, Field(max_length=200)] = ""
    """The native speaker who has read these texts; empty = machine-written."""
    offered: bool = True
    """Whether it is spoken at all."""
    dialled: Numbers = ()
    """Numbers of ours that are answered in it, as patterns (+250788123456, +25078812*, +250…00-+250…99)."""
    callers: Numbers = ()
    """Numbers whose owners are greeted in it."""
    greeting: Spoken
    """The first words."""
    greeting_closed: Spoken
    """Those outside opening hours."""
    greeting_outbound: Spoken
    """The first words of a call of ours; they say that it is an AI assistant."""
    instructions: Annotated[str, Field(min_length=1, max_length=4000)]
    """How the model is to speak it; for the model, so in English."""
    transcription_prompt: Annotated[str, Field(max_length=400)] = ""
    """A line in the language, for a transcription model that does not take its code."""
    phrases: Phrases
    """A table of its own, below."""

    @property
    def is_reviewed(self) -> bool:
        return bool(self.reviewed_by.strip())


@dataclass(frozen=True, slots=True)
class Languages:
    """By code; those that are offered. ``notes`` are for the operator: nothing in them stops a call."""

    by_code: Mapping[str, Language]
    notes: tuple[str, ...] = ()

    def of(self, code: str) -> Language:
        """That language, or English."""
        return self.by_code.get(code) or self.by_code[DEFAULT_LOCALE]

    def unreviewed(self) -> list[str]:
        return [code for code, language in self.by_code.items() if not language.is_reviewed]


def load_languages(conf_dir: Path) -> Languages:
    """Raises ConfigError naming file, key and what is allowed."""
    shipped = _files(shipped_conf() / FOLDER)
    own = _files(conf_dir / FOLDER)
    base = {code: read_toml(file) for code, file in shipped.items()}
    by_code: dict[str, Language] = {}
    notes: list[str] = []
    for code in sorted({*shipped, *own}):
        file = own.get(code) or shipped[code]
        data = _laid_over(base.get(code, {}), read_toml(file))
        if code not in shipped:
            data, missing = _completed(data, base[DEFAULT_LOCALE])
            notes += [f"{file}: {key}: missing; the English text is used" for key in missing]
        by_code[code] = _validated(data, file)
    offered = {code: language for code, language in by_code.items() if language.offered}
    if DEFAULT_LOCALE not in offered:
        raise ConfigError(
            f"{own[DEFAULT_LOCALE]}: offered = False: English is what every other language falls back to"
        )
    _check_claims(offered, conf_dir)
    return Languages(offered, tuple(notes))


def _files(folder: Path) -> dict[str, Path]:
    found = {file.stem: file for file in sorted(folder.glob("*.toml"))}
    for code, file in found.items():
        if not _CODE.fullmatch(code):
            raise ConfigError(
                f"{file}: a language file is named by its two letters (ISO 639-1), such as rw.toml"
            )
    return found


def _laid_over(base: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """``own`` where it says something; a table is laid over the table."""
    merged = dict(base)
    for key, value in own.items():
        below = base.get(key)
        is_table = isinstance(value, dict) and isinstance(below, dict)
        merged[key] = _laid_over(below or {}, value) if is_table else value
    return merged


def _completed(data: dict[str, Any], english: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Texts that are spoken, in English where they are missing; and the names of those."""
    missing = [key for key in GREETINGS if key not in data]
    phrases = data.get("phrases", {})
    if not isinstance(phrases, dict):
        return data, []
    missing += [f"phrases.{key}" for key in english["phrases"] if key not in phrases]
    spoken = {key: english[key] for key in (*GREETINGS, "phrases")}
    return _laid_over(spoken, data), missing


def _validated(data: Mapping[str, Any], file: Path) -> Language:
    try:
        return Language.model_validate(data)
    except ValidationError as error:
        text = describe(error, file=file)
        if any(fault["type"] == "extra_forbidden" for fault in error.errors()):
            keys = [field.alias or key for key, field in Language.model_fields.items()]
            text += f"\nallowed keys: {', '.join(keys)}; in [phrases]: {', '.join(Phrases.model_fields)}"
        raise ConfigError(text) from None


def _check_claims(languages: Mapping[str, Language], conf_dir: Path) -> None:
    """One pattern belongs to one language; that one pattern is wider than another is fine."""
    for key in ("dialled", "callers"):
        claimed: dict[str, str] = {}
        for code, language in languages.items():
            for pattern in getattr(language, key):
                if pattern in claimed:
                    raise ConfigError(
                        f"{conf_dir / FOLDER}: {key}: {pattern} stands in {claimed[pattern]}.toml and in {code}.toml"
                    )
                claimed[pattern] = code
