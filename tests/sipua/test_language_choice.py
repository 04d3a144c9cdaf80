"""Which language a call begins in and when it changes, as tables."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.language_choice import Choice, LanguageTrack, Switch, choose, language_rules
from sipua.languages import Languages, load_languages
from sipua.locale import locale_of, two_letters
from sipua.resources import shipped_conf

PLAIN = load_languages(shipped_conf())
FRENCH_LINE, MIXED_LINE = "+250788000033", "+250788000099"


def claiming(dialled: dict[str, tuple[str, ...]]) -> Languages:
    by_code = {
        code: each.model_copy(update={"dialled": dialled.get(code, ())})
        for code, each in PLAIN.by_code.items()
    }
    return replace(PLAIN, by_code=by_code)


LINES = claiming({"fr": (FRENCH_LINE, "+25078800009*"), "sw": ("+2507880000*",), "en": (MIXED_LINE,)})

CHOICES = [
    pytest.param(LINES, FRENCH_LINE, "+250788123456", "rw", Choice("fr", "dialled"), id="who dials the French line"),
    pytest.param(LINES, MIXED_LINE, None, None, Choice("en", "dialled"), id="the most precise pattern"),
    pytest.param(LINES, "+250788000098", None, None, Choice("fr", "dialled"), id="the longer prefix"),
    pytest.param(LINES, "+250788000011", None, None, Choice("sw", "dialled"), id="the shorter prefix"),
    pytest.param(LINES, "+250799999999", "+250788123456", "sw", Choice("sw", "memory"), id="remembered"),
    pytest.param(LINES, None, "+250788123456", "de", Choice("rw", "caller"), id="remembered, but not offered"),
    pytest.param(LINES, None, "+254712345678", None, Choice("sw", "caller"), id="Kenya"),
    pytest.param(LINES, None, "+2250712345678", "", Choice("fr", "caller"), id="Côte d'Ivoire"),
    pytest.param(LINES, None, "+12025550123", None, Choice("en", "default"), id="elsewhere"),
    pytest.param(LINES, None, None, None, Choice("en", "default"), id="withheld"),
    pytest.param(LINES, "", "anonymous", None, Choice("en", "default"), id="no number"),
]  # fmt: skip


@pytest.mark.parametrize(("languages", "ours", "theirs", "remembered", "choice"), CHOICES)
def test_a_call_begins_in(
    languages: Languages, ours: str | None, theirs: str | None, remembered: str | None, choice: Choice
) -> None:
    assert choose(languages, our_number=ours, their_number=theirs, remembered=remembered) == choice


@given(st.from_regex(r"\+(250|254|255|256|33|225|221|1202)[0-9]{6,8}", fullmatch=True))
def test_without_files_of_ones_own_the_prefix_decides_as_ever(number: str) -> None:
    if locale_of(number) != "en":
        assert choose(PLAIN, our_number=None, their_number=number).locale == locale_of(number)


LONG = "ndashaka kujya ku kibuga cy'indege ejo mu gitondo"
HEARD = [
    pytest.param([(("rw",), LONG)], ["rw"], id="a long utterance"),
    pytest.param([(("rw",), "yego murakoze")], [None], id="one short one"),
    pytest.param([(("rw",), "yego murakoze"), (("rw",), "muraho neza")], [None, "rw"], id="two short ones"),
    pytest.param([(("rw",), "yego ye"), (("en",), "yes of course"), (("rw",), "yego ye")], [None] * 3, id="to and fro"),
    pytest.param([(("rw",), "yego"), (("rw",), "yego"), (("rw",), "yego")], [None] * 3, id="single words say nothing"),
    pytest.param([(("rw", "en"), LONG)], [None], id="mixed with ours"),
    pytest.param([(("sw", "rw"), LONG)], ["sw"], id="the first tag is the main one"),
    pytest.param([(("de",), LONG)], [None], id="not offered"),
    pytest.param([((), LONG), (("",), LONG)], [None, None], id="no tag"),
    pytest.param([(("kin",), LONG)], ["rw"], id="three letters"),
    pytest.param([(("fr-RW",), LONG), (("rw",), LONG)], ["fr", "rw"], id="and again"),
]  # fmt: skip


@pytest.mark.parametrize(("utterances", "switches"), HEARD)
def test_the_language_follows_the_caller(
    utterances: list[tuple[tuple[str, ...], str]], switches: list[str | None]
) -> None:
    track = LanguageTrack(tuple(PLAIN.by_code), "en")
    found = [track.heard(tags, text) for tags, text in utterances]
    assert found == [Switch(code, "heard") if code else None for code in switches]
    assert track.locale == next((code for code in reversed(switches) if code), "en")


def test_what_the_caller_asked_for_stays() -> None:
    track = LanguageTrack(tuple(PLAIN.by_code), "en")
    assert track.asked("Kiswahili") == Switch("sw", "asked")
    assert track.asked("sw") is None
    assert track.heard(("rw",), LONG) is None
    assert track.asked("rw-RW") == Switch("rw", "asked")


def test_a_language_that_is_not_offered_is_told_with_those_that_are() -> None:
    track = LanguageTrack(("en", "fr"), "en")
    with pytest.raises(ValueError, match=r"'Deutsch' is not offered; allowed: en, fr"):
        track.asked("Deutsch")
    assert track.locale == "en"


@given(st.lists(st.tuples(st.lists(st.text(max_size=5), max_size=3), st.text())))
def test_no_tag_is_too_odd(utterances: list[tuple[list[str], str]]) -> None:
    track = LanguageTrack(("en", "rw"), "en")
    for tags, text in utterances:
        track.heard(tags, text)
        assert track.locale in ("en", "rw")


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "en"),
        ("EN_us", "en"),
        ("swa", "sw"),
        ("Kinyarwanda", "rw"),
        ("yue", None),
        ("", None),
        ("é1", None),
    ],
)
def test_language_tags(tag: str, code: str | None) -> None:
    assert two_letters(tag) == code


def test_the_model_is_told_how_to_speak_it_and_what_else_there_is() -> None:
    rules = language_rules(PLAIN.of("rw"), PLAIN.by_code.values())
    assert rules.startswith("# Language\nSpeak Kinyarwanda")
    assert "English (English), French (français), Swahili (Kiswahili): then go on" in rules
    assert "rather" not in language_rules(PLAIN.of("rw"), [PLAIN.of("rw")])
