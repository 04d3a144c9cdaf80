"""``sipua db url | shell | dump | restore``: the database by hand, the embedded one too."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import typer

import storage.errors as store
from sipua.cli.command import Conf, Json, print_json, run, settings_of
from sipua.control import NoAgent, ask
from sipua.database import bring_up_to_date, migrate_dsn, open_database, refuse_misfit
from sipua.errors import ConfigError, LocalError
from sipua.settings import Settings
from storage import dump as archive
from storage.dsn import redact
from storage.programs import PSQL, environment

T = TypeVar("T")

app = typer.Typer(
    help="The database by hand.", no_args_is_help=True, add_completion=False, rich_markup_mode=None,
    pretty_exceptions_enable=False,
)  # fmt: skip


@app.command()
def url(
    secret: Annotated[bool, typer.Option("--secret", help="With the password, for other programs.")] = False,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Print where the database is. The embedded one's address leads somewhere as long as a process of ours runs."""
    settings = settings_of(conf)

    async def work(dsn: str) -> str:
        return dsn if secret else redact(dsn)

    shown = _with_database(settings, work)
    if json:
        print_json({"url": shown})
    else:
        typer.echo(shown)


@app.command()
def shell(
    arguments: Annotated[list[str] | None, typer.Argument(help="For psql, after --.")] = None,
    conf: Conf = None,
) -> None:
    """psql on the database, as the login that may change the schema; the embedded server runs meanwhile."""
    settings = settings_of(conf)

    async def work(dsn: str) -> int:
        owner = migrate_dsn(dsn, settings)
        used = await archive.client(owner, is_embedded=_is_embedded(settings))
        argv = [used.path(PSQL), *(arguments or [])]
        with _interrupts_are_psqls():
            process = await asyncio.create_subprocess_exec(*argv, env=environment(owner))
            return await process.wait()

    code = _with_database(settings, work)
    if code:
        raise typer.Exit(code if code > 0 else 1)


@app.command()
def dump(
    file: Annotated[Path, typer.Argument(help="A new file; pg_restore reads it too.")],
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Write our tables as they are at one moment into a file, whole or not at all. Calls may go on."""
    settings = settings_of(conf)

    async def work(dsn: str) -> int:
        return await archive.dump(migrate_dsn(dsn, settings), file, is_embedded=_is_embedded(settings))

    size = _with_database(settings, work)
    if json:
        print_json({"file": str(file), "bytes": size})
    else:
        typer.echo(f"{file}: {size / 2**20:.1f} MB; it holds numbers and transcripts")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="What `sipua db dump` has written.")],
    replace: Annotated[bool, typer.Option("--replace", help="Throw away the rows that are there.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Put a dump into an empty database, or (--replace) in the place of what is there; no `sipua serve` may run."""
    settings = settings_of(conf)

    async def work(dsn: str) -> str:
        await _refuse_running(settings)
        owner = migrate_dsn(dsn, settings)
        is_embedded = _is_embedded(settings)
        await archive.contents(
            await archive.client(owner, is_embedded=is_embedded), file
        )  # before anything is made
        await bring_up_to_date(dsn, settings)
        if living := await archive.alive(owner):
            when = f"within the last {archive.ALIVE_S} s"
            raise LocalError(f"{', '.join(living)} wrote to {redact(dsn)} {when}: stop it, then wait as long")
        if filled := await archive.filled(owner):
            if not replace:
                raise LocalError(
                    f"{redact(dsn)} has rows in {', '.join(filled[:5])}: --replace throws them away"
                )
            await _confirm(dsn, yes)
        await archive.restore(owner, file, is_embedded=is_embedded)
        await bring_up_to_date(dsn, settings, again=True)
        await refuse_misfit(dsn)
        return redact(dsn)

    place = _with_database(settings, work)
    if json:
        print_json({"file": str(file), "database": place})
    else:
        typer.echo(f"{place}: as in {file}")


def _with_database(settings: Settings, work: Callable[[str], Awaitable[T]]) -> T:
    async def inside(_: asyncio.Event) -> T:
        async with open_database(settings) as dsn:
            try:
                return await work(dsn)
            except store.StoreError as error:
                raise LocalError(str(error)) from error

    return run(inside, patience=0)


def _is_embedded(settings: Settings) -> bool:
    return settings.database_url is None


async def _refuse_running(settings: Settings) -> None:
    try:
        await ask(settings.state_path, {"command": "status"})
    except NoAgent:
        return
    raise LocalError(f"`sipua serve` runs on {settings.state_path}: stop it first")


async def _confirm(dsn: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ConfigError("--replace: nobody is there to be asked; --yes throws the rows away unasked")
    question = f"Throw away what {redact(dsn)} has of calls?"
    if not await asyncio.to_thread(typer.confirm, question):
        raise LocalError("nothing was changed")


@contextlib.contextmanager
def _interrupts_are_psqls() -> Iterator[None]:
    """An interrupt cancels psql's query, not our command."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    try:
        yield
    finally:
        loop.remove_signal_handler(signal.SIGINT)
