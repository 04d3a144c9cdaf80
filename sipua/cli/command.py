"""What a command is made of: its options, the settings, signals, output."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import sys
import textwrap
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar

import orjson
import typer
import uvloop

from sipua.errors import Stopped
from sipua.log import configure_logging
from sipua.settings import Settings
from sipua.settings_file import CONF_NAME, load_settings

CONFIG_EXIT = 78  # EX_CONFIG, sysexits.h
FAILURE_EXIT = 1

T = TypeVar("T")

Json = Annotated[
    bool, typer.Option("--json", help="Print one JSON document (stdout then holds nothing else).")
]
Conf = Annotated[
    Path | None,
    typer.Option(
        help=f"Folder with sipua.toml and trunks/ (else {CONF_NAME}, else ./conf).", show_default=False
    ),
]


def wants_json(argv: list[str]) -> bool:
    """Whether the command line asks for JSON, also before it has been parsed."""
    return "--json" in argv


def print_json(document: Mapping[str, Any]) -> None:
    """One line on stdout."""
    sys.stdout.write(orjson.dumps(dict(document), default=str).decode() + "\n")
    sys.stdout.flush()


def hanging(head: str, text: str, indent: int) -> str:
    """``head`` and ``text`` in lines that fit the terminal; those after the first stand ``indent`` columns in."""
    width = max(indent + 40, shutil.get_terminal_size().columns)
    margin = " " * indent
    return textwrap.fill(
        text,
        width,
        initial_indent=head,
        subsequent_indent=margin,
        break_long_words=False,
        break_on_hyphens=False,
    )


def conf_dir(conf: Path | None) -> Path:
    """The folder of the configuration files."""
    return conf if conf is not None else Path(os.environ.get(CONF_NAME) or "conf")


def settings_of(conf: Path | None) -> Settings:
    """Settings read and logging set up by them. Raises ConfigError."""
    settings = load_settings(conf_dir(conf))
    configure_logging(settings.log.level, settings.log.format, secrets=settings.secrets())
    return settings


def run(main: Callable[[asyncio.Event], Awaitable[T]], *, patience: int = 2) -> T:
    """Runs ``main(stop)`` on uvloop. SIGTERM and SIGINT set ``stop``; what comes after ``patience`` of them cancels.

    0 is for commands that do not look at ``stop``. A cancelled command is Stopped, not a traceback.
    """

    async def guarded() -> T:
        stop = asyncio.Event()
        task = asyncio.ensure_future(main(stop))
        signals = 0

        def on_signal() -> None:
            nonlocal signals
            signals += 1
            stop.set()
            if signals > patience:
                task.cancel()

        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        try:
            return await task
        except asyncio.CancelledError:
            raise Stopped("stopped") from None

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(guarded())
