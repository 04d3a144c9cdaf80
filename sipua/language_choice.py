"""Which language a call begins in, and when it goes on in another. No I/O, no clock.

It begins in that of the number of ours that was dialled, if that has one; else in the one the caller is remembered for;
else in that of the caller's number; else in English. A dialled number wins over memory because who dials the French
line wants French.

It changes when the caller asks (``asked``, at once) or keeps speaking another one (``heard``). Models name the language
of a short utterance wrongly, so one counts from ``LONG_WORDS`` on, or two in a row of ``SHORT_WORDS``. After the caller
has asked for a language nothing but asking changes it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from sipua.languages import Language, Languages
from sipua.locale import DEFAULT_LOCALE, two_letters
from sipua.trunks.numbers import NumberSet

LONG_WORDS = 6
SHORT_WORDS = 2

Why = Literal["wanted", "dialled", "memory", "caller", "default"]


@dataclass(frozen=True, slots=True)
class Choice:
    """A language and what decided."""

    locale: str
    why: Why


def choose(
    languages: Languages, *, our_number: str | None, their_number: str | None, remembered: str | None = None
) -> Choice:
    """Of an outbound call ``their_number`` is the one that we dialled."""
    known = languages.by_code
    by_dialled = _claimant(our_number, {code: each.dialled for code, each in known.items()})
    if by_dialled is not None:
        return Choice(by_dialled, "dialled")
    if remembered is not None and remembered in known:
        return Choice(remembered, "memory")
    by_caller = _claimant(their_number, {code: each.callers for code, each in known.items()})
    return Choice(by_caller, "caller") if by_caller is not None else Choice(DEFAULT_LOCALE, "default")


def _claimant(number: str | None, claims: Mapping[str, Iterable[str]]) -> str | None:
    """Whose pattern says most about the number."""
    if not number:
        return None
    fitting = [
        (len(pattern.partition("-")[0].rstrip("*")), code)
        for code, patterns in claims.items()
        for pattern in patterns
        if number in NumberSet((pattern,))
    ]
    return max(fitting)[1] if fitting else None


@dataclass(frozen=True, slots=True)
class Switch:
    """The call goes on in another language."""

    locale: str
    why: Literal["asked", "heard"]


class LanguageTrack:
    """The language of one call. ``offered`` are the codes that can be switched to."""

    def __init__(self, offered: Collection[str], locale: str) -> None:
        self.locale = locale
        self._offered = offered
        self._candidate = ""
        self._is_asked = False

    def asked(self, wanted: str) -> Switch | None:
        """The caller asked for it (a tool, a key). None if it is spoken already; ValueError if it is not offered."""
        code = two_letters(wanted)
        if code not in self._offered:
            raise ValueError(f"language {wanted[:32]!r} is not offered; allowed: {', '.join(self._offered)}")
        assert code is not None
        self._is_asked = True
        return self._switch(code, "asked")

    def heard(self, tags: Sequence[str], text: str) -> Switch | None:
        """An utterance of the caller with the languages that the transcription found in it, the main one first."""
        codes = [code for tag in tags if (code := two_letters(tag)) is not None]
        words = len(text.split())
        if not codes or words < SHORT_WORDS:
            return None
        new = codes[0] if codes[0] in self._offered and self.locale not in codes else ""
        is_enough = words >= LONG_WORDS or new == self._candidate
        self._candidate = new
        return self._switch(new, "heard") if new and is_enough and not self._is_asked else None

    def _switch(self, code: str, why: Literal["asked", "heard"]) -> Switch | None:
        self._candidate = ""
        if code == self.locale:
            return None
        self.locale = code
        return Switch(code, why)


def language_rules(language: Language, others: Iterable[Language]) -> str:
    """What the model is told about language."""
    also = ", ".join(f"{each.english_name} ({each.name})" for each in others if each is not language)
    rules = [f"# Language\n{language.instructions.strip()}"]
    if also:
        rules.append(
            f"The caller may rather speak {also}: then go on in that language, and call set_language if you have "
            "that tool."
        )
    return "\n".join(rules)
