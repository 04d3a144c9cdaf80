"""``instructions/*.md`` of the configuration folder: which text a call is given, by its number, trunk and language.

A file is named by what it is for: ``+250788123456.md`` (a number of ours), ``trunk-mtn.md``, ``default.md``; each may
have one more for a language, ``trunk-mtn.rw.md``. The most precise one wins, a number before a trunk, and of the same
kind that of the language. Without any the setting ``realtime.instructions`` is used.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sipua.errors import ConfigError
from sipua.instructions import Template, parse

FOLDER = "instructions"
MAX_BYTES = 100_000  # of a file that is read at all
DEFAULT = "default"
_NAME = re.compile(r"(default|trunk-[a-z0-9][a-z0-9-]{0,31}|\+[1-9][0-9]{6,14})(?:\.([a-z]{2}))?\.md")
ALLOWED = "default.md, trunk-NAME.md or +NUMBER.md, each also with a language, such as default.rw.md"


@dataclass(frozen=True, slots=True)
class Instructions:
    """By what they are for and language ("" = any). ``notes`` are for the operator."""

    templates: Mapping[tuple[str, str], Template] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def of(self, *, our_number: str | None, trunk: str, locale: str) -> Template | None:
        """The most precise text; None if no file fits."""
        for what in (our_number, f"trunk-{trunk}", DEFAULT):
            for language in (locale, ""):
                template = self.templates.get((what or "", language))
                if template is not None:
                    return template
        return None


def load_instructions(
    conf_dir: Path, languages: Collection[str], trunks: Collection[str] | None = None
) -> Instructions:
    """Raises ConfigError naming file and line. ``trunks``: those that there are, None if it is not known."""
    templates: dict[tuple[str, str], Template] = {}
    notes: list[str] = []
    for file in sorted((conf_dir / FOLDER).glob("*.md")):
        match = _NAME.fullmatch(file.name)
        if match is None:
            raise ConfigError(f"{file}: not a name of an instructions file; allowed: {ALLOWED}")
        what, language = match[1], match[2] or ""
        if language and language not in languages:
            raise ConfigError(
                f"{file}: language {language!r} is not offered; allowed: {', '.join(sorted(languages))}"
            )
        if trunks is not None and what.startswith("trunk-") and what.removeprefix("trunk-") not in trunks:
            notes.append(f"{file}: there is no trunk {what.removeprefix('trunk-')!r}; nobody is given it")
        templates[what, language] = parse(_text(file), str(file))
    return Instructions(templates, tuple(notes))


def _text(file: Path) -> str:
    try:
        if file.stat().st_size > MAX_BYTES:
            raise ConfigError(f"{file}: {file.stat().st_size} bytes; allowed: {MAX_BYTES}")
        return file.read_text("utf-8")
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: cannot be read: {error.reason} at byte {error.start}") from None
