"""The script: what the emulator says, what it claims the caller said, which tools it calls.

Parses and validates; opens the one file it is given. A user's mistake is a :class:`ConfigError` that names
file, key and what is allowed. The transcripts of the caller come from here and are labelled with
``user_prefix``: the emulator hears *that* somebody speaks, not *what*.
"""

from __future__ import annotations

import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sipua.errors import ConfigError

TURN_FAULTS = (
    "close_1011",
    "drop",
    "duplicate_delta",
    "invalid_json",
    "late_delta",
    "no_response",
    "quota",
    "rate_limit",
    "server_error",
    "stall",
    "unknown_event",
)


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Line(_Strict):
    """One thing said: a text and the speech for it (a WAV, else espeak-ng in ``lang``)."""

    say: str = Field(min_length=1)
    audio: str | None = None
    lang: str | None = None


class Tool(_Strict):
    """A function call; ``then`` is said once the client has sent the output and asked for a response.

    For what models do wrong: ``raw`` are arguments as they stand, ``padding`` so many characters more; ``undeclared``
    is called whether the session declared it or not. With ``server`` it is a tool of a remote MCP server, whose call
    gives ``output`` or fails with ``error``; ``then`` is said in the same response.
    """

    name: str = Field(min_length=1)
    arguments: dict[str, Any] = {}
    raw: str | None = None
    padding: int = Field(default=0, ge=0, le=4_000_000)
    undeclared: bool = False
    server: str = ""
    output: str = ""
    error: str = ""
    then: tuple[Line, ...] = ()

    @property
    def declaration(self) -> str:
        """By which it is known whether the session has it."""
        return f"mcp {self.server}" if self.server else self.name

    @property
    def arguments_json(self) -> str:
        if self.raw is not None:
            return self.raw
        padding = {"padding": "x" * self.padding} if self.padding else {}
        return json.dumps(self.arguments | padding, ensure_ascii=False)


class Answer(_Strict):
    """What one response contains and how it goes; several lines are several items of one response."""

    lines: tuple[Line, ...] = ()
    tools: tuple[Tool, ...] = ()
    delay_ms: int = Field(default=200, ge=0, le=60_000)
    trailing_silence_ms: int = Field(default=0, ge=0, le=10_000)
    outcome: Literal["completed", "incomplete", "failed"] = "completed"
    faults: tuple[str, ...] = ()

    @field_validator("faults")
    @classmethod
    def _known_faults(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if name not in TURN_FAULTS:
                raise ValueError(f"{name!r} is not a fault of a turn; allowed: {', '.join(TURN_FAULTS)}")
        return value


class Turn(Answer):
    """The caller's next utterance (``user`` is its transcript) and the answer to it."""

    user: str = Field(min_length=1)
    lang: str | None = None
    transcript: Literal["early", "during", "late", "next_turn", "failed", "none"] = "during"


class Script(_Strict):
    """The whole conversation. ``user_prefix`` labels every transcript of the caller as scripted."""

    name: str = "script"
    language: str = "en"
    user_prefix: str = "[script] "
    chunk_ms: int = Field(default=250, ge=20, le=2000)
    rate_limits: bool = True
    greeting: Answer | None = None
    fallback: Answer = Answer(lines=(Line(say="I am sorry, I did not catch that."),))
    fallback_user: str = Field(default="(not in the script)", min_length=1)
    turns: tuple[Turn, ...] = ()

    def lines(self) -> list[Line]:
        """Every line that may be said, for loading its speech before the first connection."""
        answers = [*self.turns, self.fallback, *([self.greeting] if self.greeting else [])]
        found = [line for answer in answers for line in answer.lines]
        return found + [line for answer in answers for tool in answer.tools for line in tool.then]


def load_script(path: Path | None) -> Script:
    """Reads a TOML script; ``None`` is the one in the package."""
    if path is None:
        source = resources.files(__package__).joinpath("default.toml")
        return parse_script(source.read_text(encoding="utf-8"), "default.toml")
    try:
        content = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot read the script: {error}") from error
    return parse_script(content, str(path))


def parse_script(content: str, name: str) -> Script:
    try:
        table = tomllib.loads(content)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{name}: not TOML: {error}") from error
    try:
        return Script.model_validate(_written_form(table))
    except ValidationError as error:
        raise ConfigError("; ".join(_describe(name, each) for each in error.errors())) from error


def _written_form(table: dict[str, Any]) -> dict[str, Any]:
    """From what one writes (``[[turn]]`` with ``say``, ``audio``, ``lang``) to the model's shape."""
    script = {key: value for key, value in table.items() if key != "turn"}
    for key in ("greeting", "fallback"):
        if key in script:
            script[key] = _answer(script[key])
    if "turn" in table:
        turns = table["turn"]
        script["turns"] = (
            [_answer(turn, keep_lang=True) for turn in turns] if isinstance(turns, list) else turns
        )
    return script


def _answer(written: Any, *, keep_lang: bool = False) -> Any:
    if not isinstance(written, dict):
        return written
    answer = {key: value for key, value in written.items() if key not in ("say", "audio", "lang", "tool")}
    answer["lines"] = _lines(written) if "say" in written else answer.get("lines", ())
    if "audio" in written and "say" not in written:
        answer["audio"] = written["audio"]  # refused as unknown: speech without its text
    if keep_lang and "lang" in written:
        answer["lang"] = written["lang"]
    tools = written.get("tool", [])
    tools = [tools] if isinstance(tools, dict) else tools
    answer["tools"] = (
        [_tool(tool, written.get("lang")) for tool in tools] if isinstance(tools, list) else tools
    )
    return answer


def _tool(written: Any, lang: Any) -> Any:
    if not isinstance(written, dict):
        return written
    tool = {key: value for key, value in written.items() if key not in ("say", "audio", "lang")}
    if "say" in written:
        tool["then"] = _lines({"lang": lang, **written})
    return tool


def _lines(written: dict[str, Any]) -> list[dict[str, Any]]:
    say, audio = written["say"], written.get("audio")
    texts = say if isinstance(say, list) else [say]
    files = audio if isinstance(audio, list) else [audio]
    files = [*files, *[None] * len(texts)]
    return [
        {"say": text, "audio": file, "lang": written.get("lang")}
        for text, file in zip(texts, files, strict=False)
    ]


def _describe(name: str, error: Any) -> str:
    place = ".".join(str(part) for part in error["loc"])
    place = place.replace("turns.", "turn.").replace(".lines.", ".say.")
    allowed = ""
    if error["type"] == "extra_forbidden":
        allowed = f"; allowed: {', '.join(_allowed_keys(error['loc']))}"
    return f"{name}: {place}: {error['msg']} (value {error['input']!r}){allowed}"


def _allowed_keys(where: tuple[str | int, ...]) -> list[str]:
    written = {"lines": ("say", "audio", "lang"), "tools": ("tool",), "turns": ("turn",)}
    if "tools" in where:
        return [
            "name",
            "arguments",
            "raw",
            "padding",
            "undeclared",
            "server",
            "output",
            "error",
            "say",
            "audio",
            "lang",
        ]
    model: type[BaseModel] = Turn if "turns" in where else Answer if len(where) > 1 else Script
    return sorted(key for field in model.model_fields for key in written.get(field, (field,)))
