"""Instructions: variables that stay data, sizes that are known before the call, and which file a call is given."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.errors import ConfigError
from sipua.instruction_files import Instructions, load_instructions
from sipua.instructions import LANGUAGE_CHARS, MAX_CHARS, VARIABLES, Template, parse
from sipua.language_choice import language_rules
from sipua.languages import load_languages
from sipua.resources import shipped_conf

CODES = ("en", "fr", "rw", "sw")

RENDERED = [
    pytest.param("Hello.", {}, "Hello.", id="no variable"),
    pytest.param("Caller: {{caller}}.", {"caller": "+250788123456"}, "Caller: +250788123456.", id="one"),
    pytest.param("{{ caller }}{{caller}}", {"caller": "1"}, "11", id="twice, with blanks"),
    pytest.param("{{caller}}", {}, "withheld", id="nothing known"),
    pytest.param("{{caller}}", {"caller": " \t "}, "withheld", id="only blanks"),
    pytest.param("{{caller}}", {"caller": "{{memory}}", "memory": "x"}, "{{memory}}", id="no expansion of values"),
    pytest.param("a {b} }} {\"x\": {}} c", {}, "a {b} }} {\"x\": {}} c", id="single braces are text"),
    pytest.param("Is {{trunk}} it?", {"trunk": "a\n# New rules\r\nb\x00c"}, "Is a # New rules b c it?", id="one line"),
    pytest.param("{{memory}}", {"memory": "Likes moto.\n\n# New rules\n"}, "- Likes moto.\n- # New rules", id="a list"),
    pytest.param("{{trunk}}", {"trunk": "a\u202eb\u2028c"}, "a b c", id="no bidi or line separators"),
    pytest.param("{{trunk}}", {"trunk": "x" * 40}, "x" * 31 + "…", id="bounded"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "values", "rendered"), RENDERED)
def test_variables_are_plain_text(text: str, values: dict[str, str], rendered: str) -> None:
    assert parse(text, "x.md").render(values) == rendered


@given(
    st.dictionaries(st.sampled_from(sorted(VARIABLES)), st.text()), st.text(alphabet="{}a \n#-", max_size=200)
)
def test_no_value_makes_the_text_longer_than_was_said_or_starts_a_line_of_its_own(
    values: dict[str, str], nasty: str
) -> None:
    text = "Rules.\n" + "\n".join(f"<{{{{{name}}}}}>" for name in VARIABLES) + "\nEnd."
    template = parse(text, "x.md")
    shown = template.render({name: nasty + values.get(name, "") for name in VARIABLES})
    assert len(shown) <= template.max_chars - LANGUAGE_CHARS
    for line in shown.splitlines()[1:-1]:
        assert line.startswith(("<", "- "))


@given(st.text(alphabet="{}caller m\n"))
def test_a_text_is_parsed_or_refused_with_its_line(text: str) -> None:
    try:
        said = "x.md:" if len(parse(text, "x.md").parts) % 2 else "literals and names alternate"
    except ConfigError as error:
        said = str(error)
    assert said.startswith("x.md:")


FAULTS = [
    pytest.param("a\nb {{callr}}", r"^x\.md:2: unknown variable '\{\{callr\}\}'; allowed: \{\{caller\}\}, ", id="name"),
    pytest.param("{{caller", r"^x\.md:1: '\{\{' without '\}\}' on the same line; allowed: ", id="not closed"),
    pytest.param("{{call\ner}}", r"^x\.md:1: '\{\{' without", id="closed on the next line"),
    pytest.param("{{caller.__class__}}", r"unknown variable", id="no attributes"),
    pytest.param("{{}}", r"unknown variable '\{\{\}\}'", id="no name"),
    pytest.param(" \n", r"^x\.md: empty", id="empty"),
    pytest.param("x" * 14_601, r"^x\.md: can become 20001 characters .* allowed: 20000", id="too long"),
    pytest.param("{{memory}}" * 7, r"can become 22900 characters", id="too long with its values"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), FAULTS)
def test_a_fault_names_file_line_and_what_is_allowed(text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse(text, "x.md")


def test_what_the_language_adds_fits_into_its_share() -> None:
    languages = load_languages(shipped_conf()).by_code
    assert (
        max(len(language_rules(each, languages.values())) for each in languages.values()) < LANGUAGE_CHARS / 4
    )
    longest = languages["rw"].model_copy(update={"instructions": "x" * 4000})
    assert len(language_rules(longest, [each.model_copy() for each in languages.values()])) < LANGUAGE_CHARS
    assert parse("x" * (MAX_CHARS - LANGUAGE_CHARS), "x.md").max_chars == MAX_CHARS


# ---- the files -------------------------------------------------------------------------------------------


def folder(conf: Path, *names: str) -> Path:
    (conf / "instructions").mkdir()
    for name in names:
        (conf / "instructions" / name).write_text(f"I am {name}.")
    return conf


ALL = (
    "default.md", "default.rw.md", "trunk-mtn.md", "trunk-mtn.rw.md", "+250788123456.md", "+250788123456.rw.md",
)  # fmt: skip
GIVEN = [
    (ALL, "+250788123456", "mtn", "rw", "+250788123456.rw.md"),
    (ALL, "+250788123456", "mtn", "en", "+250788123456.md"),
    (ALL, "+250788000000", "mtn", "rw", "trunk-mtn.rw.md"),
    (ALL, None, "mtn", "sw", "trunk-mtn.md"),
    (ALL, None, "twilio", "rw", "default.rw.md"),
    (ALL, "", "", "fr", "default.md"),
    (("default.rw.md", "trunk-mtn.md"), None, "mtn", "rw", "trunk-mtn.md"),  # a trunk before a language
    (("default.rw.md",), None, "mtn", "fr", None),
    ((), None, "mtn", "fr", None),
]


@pytest.mark.parametrize(("names", "number", "trunk", "locale", "given"), GIVEN)
def test_the_most_precise_file_is_given(
    names: tuple[str, ...], number: str | None, trunk: str, locale: str, given: str | None, tmp_path: Path
) -> None:
    instructions = load_instructions(folder(tmp_path, *names), CODES, ("mtn", "twilio"))
    template = instructions.of(our_number=number, trunk=trunk, locale=locale)
    assert (template and template.render({})) == (given and f"I am {given}.")
    assert instructions.notes == ()


@pytest.mark.parametrize(
    "name", ["README.md", "trunk-.md", "250788123456.md", "default.eng.md", "trunk-MTN.md"]
)
def test_a_name_that_fits_nothing_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"not a name of an instructions file; allowed: default\.md, trunk-NAME"
    ) as e:
        load_instructions(folder(tmp_path, name), CODES)
    assert str(e.value).startswith(f"{tmp_path}/instructions/{name}: ")


def test_a_language_that_is_not_offered_is_refused_and_an_unknown_trunk_is_told(tmp_path: Path) -> None:
    folder(tmp_path, "default.de.md")
    with pytest.raises(ConfigError, match=r"language 'de' is not offered; allowed: en, fr, rw, sw"):
        load_instructions(tmp_path, CODES)
    (tmp_path / "instructions" / "default.de.md").rename(tmp_path / "instructions" / "trunk-old.md")
    assert load_instructions(tmp_path, CODES).notes == ()
    (note,) = load_instructions(tmp_path, CODES, ("mtn",)).notes
    assert note.endswith("trunk-old.md: there is no trunk 'old'; nobody is given it")


def test_what_is_no_text_is_named(tmp_path: Path) -> None:
    file = folder(tmp_path, "default.md") / "instructions" / "default.md"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"default\.md: cannot be read: invalid start byte at byte 0"):
        load_instructions(tmp_path, CODES)
    file.write_bytes(b"x" * 100_001)
    with pytest.raises(ConfigError, match=r"default\.md: 100001 bytes; allowed: 100000"):
        load_instructions(tmp_path, CODES)
    file.unlink()
    file.mkdir()
    with pytest.raises(ConfigError, match=r"default\.md: cannot be read: Is a directory"):
        load_instructions(tmp_path, CODES)


def test_a_folder_without_instructions_has_none(tmp_path: Path) -> None:
    assert load_instructions(tmp_path, CODES) == Instructions()


def test_the_shipped_text_uses_what_there_is() -> None:
    template = load_instructions(shipped_conf(), CODES).of(our_number=None, trunk="loopback", locale="rw")
    assert isinstance(template, Template)
    shown = template.render({"caller": "+250788123456", "memory": "Last call 2026-11-20: a moto to town."})
    assert "- Last call 2026-11-20: a moto to town." in shown
    assert "# Departments that you can transfer to\nnone" in shown
