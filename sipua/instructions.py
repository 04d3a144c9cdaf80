"""Instructions with variables: ``{{name}}`` in a text, filled in once per call. No I/O, no clock.

What is filled in comes from strangers (a display name, what was remembered of a call), so it is data and stays data:
control characters and line breaks go, each value has a greatest length, lines of a list begin with a dash, and nothing
that a value holds is ever expanded. A text is parsed when it is read: an unknown name, an unclosed brace or a text that
could grow beyond ``MAX_CHARS`` with all its values is refused then, not in a call.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from sipua.errors import ConfigError

# The service takes 16,384 tokens of instructions and tools together; a token is 4 characters of English, 2 to 3 of
# Kinyarwanda: this leaves half of it to the tools.
MAX_CHARS = 20_000
LANGUAGE_CHARS = (
    5_400  # what is added: 4,000 of the language's instructions, the others' names, a line that is closed
)
_BRACES = re.compile(r"\{\{(.*?)\}\}|\{\{")
_UNPRINTABLE = re.compile(r"[^\S ]|[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")


@dataclass(frozen=True, slots=True)
class Variable:
    """``otherwise`` stands where nothing is known. A list keeps its lines."""

    meaning: str
    max_chars: int
    otherwise: str = "unknown"
    is_list: bool = False

    def shown(self, value: str) -> str:
        """The value as plain text of bounded length."""
        lines = value.splitlines() if self.is_list else [value]
        clean = [text for line in lines if (text := " ".join(_UNPRINTABLE.sub(" ", line).split()))]
        text = "\n".join(f"- {line}" for line in clean) if self.is_list else " ".join(clean)
        return (text if len(text) <= self.max_chars else f"{text[: self.max_chars - 1]}…") or self.otherwise


VARIABLES = {
    "caller": Variable("the far end's number, E.164", 32, "withheld"),
    "country": Variable("its country, ISO 3166", 2),
    "dialled": Variable("our number in the call", 32),
    "trunk": Variable("the trunk that carries it", 32),
    "language": Variable("the language that it begins in, in English", 64, "English"),
    "languages": Variable("all that are offered", 400, "English"),
    "date": Variable("today, such as 2026-11-22", 10),
    "weekday": Variable("such as Sunday", 9),
    "time": Variable("such as 14:05", 5),
    "opening": Variable("whether this line is open, and when next", 160, "open"),
    "departments": Variable("who can be transferred to, one a line", 1_500, "none", is_list=True),
    "memory": Variable("what is remembered of the caller, one a line", 2_500, "nothing", is_list=True),
}


@dataclass(frozen=True, slots=True)
class Template:
    """A parsed text: literal parts, and names of variables at the odd places."""

    parts: tuple[str, ...]

    @property
    def names(self) -> tuple[str, ...]:
        return self.parts[1::2]

    @property
    def max_chars(self) -> int:
        """How long it can become, what the language adds included."""
        values = sum(max(VARIABLES[n].max_chars, len(VARIABLES[n].otherwise)) for n in self.names)
        return sum(map(len, self.parts[::2])) + values + LANGUAGE_CHARS

    def render(self, values: Mapping[str, str]) -> str:
        """With its values; a variable without one says that nothing is known."""
        return "".join(
            VARIABLES[part].shown(values.get(part, "")) if at % 2 else part
            for at, part in enumerate(self.parts)
        ).strip()


def parse(text: str, where: str) -> Template:
    """Raises ConfigError naming ``where`` (the file), the line and what is allowed."""
    parts: list[str] = []
    at = 0
    for match in _BRACES.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match[1] is None:
            raise ConfigError(
                f"{where}:{line}: '{{{{' without '}}}}' on the same line; allowed: {_allowed()}"
            )
        name = match[1].strip()
        if name not in VARIABLES:
            raise ConfigError(f"{where}:{line}: unknown variable {match[0][:64]!r}; allowed: {_allowed()}")
        parts += [text[at : match.start()], name]
        at = match.end()
    template = Template((*parts, text[at:]))
    if not text.strip():
        raise ConfigError(f"{where}: empty; say what the agent is, or remove it")
    if template.max_chars > MAX_CHARS:
        raise ConfigError(
            f"{where}: can become {template.max_chars} characters with its variables and the language's rules; "
            f"allowed: {MAX_CHARS}"
        )
    return template


def _allowed() -> str:
    return ", ".join(f"{{{{{name}}}}}" for name in VARIABLES)
