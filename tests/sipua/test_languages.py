"""The language files: what is shipped, what an operator may change, and every fault named with file and key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sipua.errors import ConfigError
from sipua.languages import Language, load_languages
from sipua.locale import LOCALE_BY_PREFIX
from sipua.resources import shipped_conf

SHIPPED = ("en", "fr", "rw", "sw")


def write(conf: Path, code: str, text: str) -> Path:
    file = conf / "languages" / f"{code}.toml"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text, "utf-8")
    return file


def test_a_folder_without_languages_has_those_that_are_shipped(tmp_path: Path) -> None:
    languages = load_languages(tmp_path)
    assert tuple(languages.by_code) == SHIPPED
    assert languages.notes == ()
    assert languages.of("rw").greeting.startswith("Muraho")
    assert languages.of("xx") is languages.of("en")


def test_what_no_native_speaker_has_read_is_marked() -> None:
    assert load_languages(shipped_conf()).unreviewed() == list(SHIPPED)
    for code in SHIPPED:
        text = (shipped_conf() / "languages" / f"{code}.toml").read_text("utf-8")
        assert re.search(
            r'(?m)^reviewed_by = "" +# machine-written: to be reviewed by a native speaker', text
        )


def test_the_shipped_files_greet_the_countries_of_the_schema() -> None:
    claims = {
        pattern: code
        for code, each in load_languages(shipped_conf()).by_code.items()
        for pattern in each.callers
    }
    assert claims == {f"+{prefix}*": code for prefix, code in LOCALE_BY_PREFIX.items()}


def test_no_phrase_takes_the_caller_longer_than_a_breath_of_patience() -> None:
    for code, language in load_languages(shipped_conf()).by_code.items():
        for phrase, text in language.phrases.model_dump().items():
            longest = {"consent_question": 180, "voicemail": 160}.get(phrase, 120)
            assert len(text) <= longest, (code, phrase)


def test_a_file_needs_only_what_it_changes(tmp_path: Path) -> None:
    write(tmp_path, "rw", 'reviewed_by = "Somebody"\n[phrases]\ngoodbye = "Murabeho."')
    languages = load_languages(tmp_path)
    assert languages.of("rw").phrases.goodbye == "Murabeho."
    assert languages.of("rw").phrases.closed == load_languages(shipped_conf()).of("rw").phrases.closed
    assert languages.unreviewed() == ["en", "fr", "sw"]


def test_a_language_of_ones_own_speaks_english_where_it_lacks_a_text(tmp_path: Path) -> None:
    file = write(
        tmp_path, "lg",
        'schema = 1\nname = "Luganda"\nenglish_name = "Luganda"\ninstructions = "Speak Luganda."\n'
        'callers = ["+256*"]\n[phrases]\ngoodbye = "Weeraba."',
    )  # fmt: skip
    languages = load_languages(tmp_path)
    own, english = languages.of("lg"), languages.of("en")
    assert (own.phrases.goodbye, own.phrases.closed, own.greeting) == (
        "Weeraba.", english.phrases.closed, english.greeting,
    )  # fmt: skip
    assert languages.notes[0] == f"{file}: greeting: missing; the English text is used"
    assert f"{file}: phrases.closed: missing; the English text is used" in languages.notes
    assert len(languages.notes) == 3 + 14


def test_a_language_can_be_left_out(tmp_path: Path) -> None:
    write(tmp_path, "fr", "offered = false")
    assert tuple(load_languages(tmp_path).by_code) == ("en", "rw", "sw")


FAULTS = [
    pytest.param("rw", "greting = 'x'", r"unknown key 'greting'\nallowed keys: schema, name, .*please_hold", id="key"),
    pytest.param("rw", "[phrases]\nbye = 'x'", r"unknown key 'phrases\.bye'", id="phrase"),
    pytest.param("rw", "phrases = 'x'", r"phrases = 'x': ", id="no table"),
    pytest.param("rw", "schema = 2", r"schema = 2: .*1", id="schema"),
    pytest.param("rw", "[phrases]\ngoodbye = ' '", r"goodbye = ' ': a text to be spoken: not empty", id="empty"),
    pytest.param("rw", "greeting = 'Hello {name}'", r"greeting = 'Hello \{name\}': .*no variables", id="variable"),
    pytest.param("rw", 'greeting = "a\\u0007b"', r"greeting = 'a\\x07b': .*control characters", id="control"),
    pytest.param("rw", f"greeting = '{'x' * 401}'", r"greeting = 'x+': .*400", id="long"),
    pytest.param("rw", "callers = ['250']", r"callers = \['250'\]: '250' is no number pattern; allowed", id="pattern"),
    pytest.param("rw", "[phrases", r"not valid TOML", id="no TOML"),
    pytest.param("kinyarwanda", "schema = 1", r"named by its two letters \(ISO 639-1\), such as rw\.toml", id="name"),
    pytest.param("lg", "schema = 1\nname = 'L'\nenglish_name = 'L'", r"the key 'instructions' is missing", id="own"),
    pytest.param("en", "offered = false", r"English is what every other language falls back to", id="no English"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "text", "said"), FAULTS)
def test_a_fault_names_file_key_and_what_is_allowed(code: str, text: str, said: str, tmp_path: Path) -> None:
    file = write(tmp_path, code, text)
    with pytest.raises(ConfigError, match=said) as caught:
        load_languages(tmp_path)
    assert str(caught.value).startswith(f"{file}: ")


def test_two_languages_cannot_claim_the_same_numbers(tmp_path: Path) -> None:
    write(tmp_path, "fr", "callers = ['+250*']")
    with pytest.raises(ConfigError, match=r"callers: \+250\* stands in fr\.toml and in rw\.toml"):
        load_languages(tmp_path)


def test_a_text_over_several_lines_is_one_line_to_speak() -> None:
    data = load_languages(shipped_conf()).of("en").model_dump(by_alias=True)
    assert Language.model_validate(data | {"greeting": "Hello,\n  you."}).greeting == "Hello, you."
