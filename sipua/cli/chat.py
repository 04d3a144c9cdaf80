"""``sipua chat``: the conversation of a call, in writing."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from sipua.chat_input import LineReader
from sipua.chat_screen import Lines, Text
from sipua.chat_service import ChatOptions, run_chat
from sipua.cli.command import FAILURE_EXIT, Conf, conf_dir, run, settings_of
from sipua.cli.numbers import check_e164
from sipua.log import configure_logging
from sipua.outcome import Ending, Status
from sipua.texts import TextFiles
from sipua.tools.files import load_tool_files


def chat(
    caller: Annotated[
        str, typer.Option("--from", help="Write as this caller, such as +250788123456: memory, language.")
    ] = "",
    line: Annotated[
        str, typer.Option("--to", help="As if this number of yours had been dialled: instructions, hours.")
    ] = "",
    language: Annotated[str, typer.Option(help="Begin in en, sw, fr or rw, whoever writes.")] = "",
    no_ledger: Annotated[
        bool,
        typer.Option(
            "--no-ledger", help="Without the database: no rows, and no tools that look up, order or remember."
        ),
    ] = False,
    conf: Conf = None,
    json: Annotated[bool, typer.Option("--json", help="Print events, one JSON document a line.")] = False,
) -> None:
    """Talk with the agent in writing: its instructions, language, tools and ledger, without a phone.

    Reads lines from the terminal or a pipe; ends with them, with Ctrl-D or Ctrl-C, or when the agent says goodbye.
    """
    settings = settings_of(conf)
    configure_logging("error", settings.log.format)  # what happens is shown; here is what should not
    texts = TextFiles(conf_dir(conf))
    tool_files = load_tool_files(conf_dir(conf))
    offered = texts.texts.languages.by_code
    if language and language not in offered:
        raise typer.BadParameter(f"--language {language!r}; allowed: {', '.join(offered)}")
    options = ChatOptions(_number("--from", caller), _number("--to", line), language, not no_ledger)

    async def work(stop: asyncio.Event) -> Ending:
        reader = LineReader(sys.stdin.fileno())
        if json:
            return await run_chat(settings, texts, tool_files, options, Lines(_write), reader.line, stop)
        is_typed = sys.stdin.isatty()
        view = Text(_write, is_terminal=sys.stdout.isatty(), echoes=not is_typed)

        async def read_line() -> str | None:
            if is_typed:
                view.prompt()
            return await reader.line()

        return await run_chat(settings, texts, tool_files, options, view, read_line, stop)

    if run(work).status is Status.FAILED:
        raise typer.Exit(FAILURE_EXIT)


def _number(option: str, value: str) -> str | None:
    return check_e164(option, value) if value else None


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
