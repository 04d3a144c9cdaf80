"""All that is said and told to the model: languages, recordings and instructions of the configuration folder.

Read together, because instructions may be for a language; again on SIGHUP, for the calls that begin then. What cannot
be read keeps the old texts, and the log says why.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from sipua.departments import NO_DEPARTMENTS, Departments, load_departments
from sipua.errand import Errand
from sipua.errors import SipuaError
from sipua.instruction_files import Instructions, load_instructions
from sipua.instructions import VARIABLES, Template
from sipua.language_choice import language_rules
from sipua.languages import Languages, load_languages
from sipua.opening import DAY_NAMES
from sipua.recordings import Recordings, load_recordings

log = logging.getLogger(__name__)

# Added to instructions that do not say {{opening}}.
CLOSED = """# Opening hours
This line is {}. Say so once, help all the same, and offer that somebody calls back (request_callback)."""


@dataclass(frozen=True, slots=True)
class Texts:
    """What one call holds on to from its beginning to its end."""

    languages: Languages
    recordings: Recordings
    instructions: Instructions
    departments: Departments = NO_DEPARTMENTS

    @property
    def notes(self) -> tuple[str, ...]:
        """For the operator: what is missing and what stands in for it."""
        return (*self.languages.notes, *self.recordings.notes, *self.instructions.notes)


def load_texts(conf_dir: Path, trunks: Collection[str] | None = None) -> Texts:
    """Raises ConfigError naming file, key or line, and what is allowed."""
    languages = load_languages(conf_dir)
    recordings = load_recordings(conf_dir, languages)
    instructions = load_instructions(conf_dir, languages.by_code, trunks)
    return Texts(languages, recordings, instructions, load_departments(conf_dir, trunks))


@dataclass(frozen=True, slots=True)
class Briefing:
    """What the instructions of one call are made from. ``now`` has the time zone that the caller is told."""

    our_number: str | None
    their_number: str | None
    country: str | None
    trunk: str
    now: datetime
    opening: str = ""  # of our line; "": nobody has said
    departments: str = ""  # one a line
    memory: str = ""  # one a line

    def values(self, languages: Languages, locale: str) -> Mapping[str, str]:
        """By the names of ``sipua.instructions.VARIABLES``."""
        return {
            "caller": self.their_number or "",
            "country": self.country or "",
            "dialled": self.our_number or "",
            "trunk": self.trunk,
            "language": languages.of(locale).english_name,
            "languages": ", ".join(each.english_name for each in languages.by_code.values()),
            "date": self.now.strftime("%Y-%m-%d"),
            "weekday": DAY_NAMES[self.now.weekday()],
            "time": self.now.strftime("%H:%M"),
            "opening": self.opening,
            "departments": self.departments,
            "memory": self.memory,
        }


def instructions_of(
    texts: Texts, briefing: Briefing, locale: str, otherwise: Template, errand: Errand | None = None
) -> str:
    """What the model is told; ``otherwise`` where no file is for this call. Never longer than was checked.

    What a call of ours is for is added (1,900 characters at most), and its own instructions count, if it has any.
    """
    own = errand.instructions if errand is not None else None
    template = own or texts.instructions.of(
        our_number=briefing.our_number, trunk=briefing.trunk, locale=locale
    )
    languages = texts.languages
    chosen = template or otherwise
    told = chosen.render(briefing.values(languages, locale))
    if briefing.opening.startswith("closed") and "opening" not in chosen.names:
        told += f"\n\n{CLOSED.format(VARIABLES['opening'].shown(briefing.opening))}"
    if errand is not None:
        told = f"{told}\n\n{errand.told()}"
    return f"{told}\n\n{language_rules(languages.of(locale), languages.by_code.values())}"


class TextFiles:
    """``texts`` are those in force. Set ``asked`` to have them read again while ``follow`` runs."""

    def __init__(self, conf_dir: Path, trunks: Collection[str] | None = None) -> None:
        self.texts = load_texts(conf_dir, trunks)
        self.asked = asyncio.Event()
        self.check: Callable[[Texts], None] = lambda texts: None  # raises SipuaError for what does not fit
        self.on_read: Callable[[Texts], None] = lambda texts: None
        self._conf_dir = conf_dir
        self._knows_trunks = trunks is not None

    def _read(self) -> Texts:
        """Trunks that may be named are those of the files as they are now: they are read again together."""
        names = [file.stem for file in (self._conf_dir / "trunks").glob("*.toml")]
        return load_texts(self._conf_dir, names if self._knows_trunks else None)

    async def follow(self) -> None:
        """Reads them whenever asked, until cancelled."""
        while True:
            await self.asked.wait()
            self.asked.clear()
            try:
                texts = await asyncio.to_thread(self._read)
                self.check(texts)
            except SipuaError as error:
                log.error("languages and instructions were not read again, the old ones stay: %s", error)
                continue
            self.texts = texts
            self.on_read(texts)
            log.info("languages and instructions read again: %s", ", ".join(self.texts.languages.by_code))
            for note in self.texts.notes:
                log.warning("%s", note)
