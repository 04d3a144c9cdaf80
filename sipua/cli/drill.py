"""``sipua drill``: break something on purpose and see whether calls come through."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from sipua import __version__
from sipua.children import agent_environment
from sipua.cli.command import FAILURE_EXIT, Conf, Json, conf_dir, hanging, print_json, run, settings_of
from sipua.database import bring_up_to_date, open_database
from sipua.drills.findings import Result
from sipua.drills.live import KINDS, Live, check_number, check_trunks, scenario_of
from sipua.drills.mutations import MEANINGS, Mutation
from sipua.drills.performance import perform
from sipua.drills.record import record, rows_of
from sipua.drills.report import About, html_of
from sipua.drills.runner import AT_ONCE, Plan, run_drills
from sipua.drills.scenario import Scenario
from sipua.drills.scenarios import ALL, SCENARIOS, chosen
from sipua.errors import ConfigError, LocalError, StoreError
from sipua.log import configure_logging
from sipua.pj.build import probe_library
from sipua.settings import Settings
from sipua.trunk_files import load_trunks
from storage.queries import drill_runs

app = typer.Typer(
    help="Break something on purpose and see whether calls come through.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
MUTATIONS = "; ".join(f"{mutation.value}: {meaning}" for mutation, meaning in MEANINGS.items())
LIVE_WITHIN_S = 15.0  # first response, and what a mobile network takes until it rings
NAME_WIDTH = max(len(name) for name in SCENARIOS)


@app.callback()
def drill() -> None:
    """Break something on purpose and see whether calls come through."""


@app.command("list")
def list_(json: Json = False) -> None:
    """Name the drills: what each breaks and what is expected."""
    if json:
        document = [
            {
                "name": each.name,
                "breaks": each.breaks,
                "expected": each.expected,
                "expects_failover": each.expects_failover,
            }
            for each in SCENARIOS.values()
        ]
        print_json({"drills": document})
        return
    for each in SCENARIOS.values():
        typer.echo(hanging(f"{each.name:{NAME_WIDTH}}  ", each.breaks, NAME_WIDTH + 2))
        typer.echo(hanging(f"{'':{NAME_WIDTH}}  → ", each.expected, NAME_WIDTH + 4))


@app.command("run")
def run_(
    names: Annotated[list[str], typer.Argument(help="Names of drills, or all.")],
    live: Annotated[
        bool,
        typer.Option(
            "--live", help="On the configured trunks: --trunk is made unreachable on our side alone."
        ),
    ] = False,
    trunk: Annotated[str, typer.Option(help="With --live: the trunk that is made unreachable.")] = "",
    expect: Annotated[str, typer.Option(help="With --live: the trunk that is to carry the call.")] = "",
    within: Annotated[
        float | None,
        typer.Option(help="Seconds within which a call must be up elsewhere (else each drill's own)."),
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Where to write a report for people.")] = None,
    mutate: Annotated[
        Mutation,
        typer.Option(help=f"Make something wrong on purpose: {MUTATIONS}"),
    ] = Mutation.NONE,
    at_once: Annotated[
        int, typer.Option(min=1, max=16, help="Drills at a time; more spoil each other's figures.")
    ] = AT_ONCE,
    keep: Annotated[
        bool, typer.Option("--record/--no-record", help="Write the results to the database.")
    ] = True,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Perform drills; exit 1 when one did not hold."""
    settings = settings_of(conf)
    configure_logging("error", "console")
    if within is not None and within <= 0:
        raise ConfigError(f"--within {within:g}: expected more than 0 seconds")
    scenarios, more = _live(names, settings, conf, trunk, expect, within) if live else (chosen(names), ())
    if not live and (trunk or expect):
        raise ConfigError(
            "--trunk and --expect: belong to --live; the trunks of a drill on loopback are its own"
        )
    if html is not None and not html.parent.is_dir():
        raise ConfigError(f"--html {html}: there is no folder {html.parent}")
    with tempfile.TemporaryDirectory(prefix="sipua-drill-") as folder:
        environment = agent_environment(Path(folder), Path(folder), "drill")
        plan = Plan(Path(folder), environment, mutate, within, more, at_once)
        results = run(lambda stop: run_drills(scenarios, plan, stop, _show))
    if html is not None:
        about = _about(settings, mutate, f"{trunk} is made unreachable, {expect} is expected" if live else "")
        _write(html, html_of(results, about))
    if keep:
        _record(results, settings, live=live)
    if json:
        print_json({"drills": [each.as_dict() for each in results]})
    if not all(each.held for each in results):
        raise typer.Exit(FAILURE_EXIT)


@app.command("history")
def history(
    name: Annotated[str | None, typer.Argument(help="One drill; all of them otherwise.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="How many rows.")] = 30,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """The results of earlier runs, the newest first."""
    settings = settings_of(conf)
    if name is not None:
        chosen([name])

    async def rows(_: asyncio.Event) -> list[dict[str, Any]]:
        async with open_database(settings) as dsn:
            await bring_up_to_date(dsn, settings)
            return await drill_runs(dsn, drill=name, limit=limit)

    found = run(rows, patience=0)
    if json:
        print_json({"runs": [{key: each[key] for key in each if key != "details"} for each in found]})
        return
    if not found:
        typer.echo(f"no run of {name or 'any drill'} is in the database")
        return
    figures = {
        "detect_ms": "detect",
        "extra_pdd_ms": "pdd",
        "recover_ms": "recover",
        "attempts_per_call": "tries",
    }
    typer.echo(
        f"{'when (times in ms)':18}  {'drill':{NAME_WIDTH}}  held {'lost':>6}"
        + "".join(f"{each:>8}" for each in figures.values())
    )
    for each in found:
        when = each["started_at"].astimezone(settings.zone)
        shown = "".join(f"{'-' if each[key] is None else f'{each[key]:.4g}':>8}" for key in figures)
        how = "  live" if each["live"] else f"  {each['mutate']}" if each["mutate"] else ""
        typer.echo(
            f"{when:%Y-%m-%d %H:%M}    {each['drill']:{NAME_WIDTH}}  {'yes' if each['held'] else 'NO':4} "
            f"{each['lost']:>3}/{each['attempted']:<2}{shown}{how}"
        )


@app.command("one", hidden=True)
def one(
    name: str,
    folder: Annotated[Path, typer.Option()],
    within: float | None = None,
    mutate: Mutation = Mutation.NONE,
    trunk: str = "",
    expect: str = "",
    number: str = "",
    conf: Conf = None,
) -> None:
    """Perform one drill in this process; its result is one line of JSON. With --trunk it is a live one."""
    configure_logging("warning", "console")
    if trunk:
        trunks = load_trunks(conf_dir(conf))
        scenario = scenario_of(name, trunks, Live(trunk, expect, within or LIVE_WITHIN_S, number))
    else:
        (scenario,) = chosen([name])
    folder.mkdir(parents=True, exist_ok=True)
    result = run(lambda stop: perform(scenario, folder, mutate, within), patience=0)
    print_json(result.as_dict())


def _live(
    names: Sequence[str], settings: Settings, conf: Path | None, trunk: str, expect: str, within: float | None
) -> tuple[tuple[Scenario, ...], tuple[str, ...]]:
    """The live drills of these names, and what their processes are told. ConfigError for what cannot be."""
    if not (trunk and expect):
        raise ConfigError("--live: name the trunks, --trunk A --expect B")
    kinds = tuple(KINDS) if ALL in names else tuple(dict.fromkeys(names))
    unknown = [name for name in kinds if name not in KINDS]
    if unknown:
        raise ConfigError(
            f"--live {', '.join(unknown)}: cannot be done on our side alone; allowed: {ALL}, {', '.join(KINDS)}"
        )
    live = Live(trunk, expect, within or LIVE_WITHIN_S, check_number(settings.drill.test_number))
    trunks = load_trunks(conf_dir(conf))
    check_trunks(trunks, live)
    more = ("--trunk", trunk, "--expect", expect, "--number", live.number, "--conf", str(conf_dir(conf)))
    return tuple(scenario_of(kind, trunks, live) for kind in kinds), more


def _show(result: Result) -> None:
    word = "held" if result.held else "DID NOT HOLD"
    mos = "" if result.worst_mos is None else f"; MOS {result.worst_mos:.2f} or better"
    typer.echo(
        hanging(f"{result.name:{NAME_WIDTH}}  {word}: ", result.what_happened + mos, NAME_WIDTH + 2), err=True
    )


def _about(settings: Settings, mutation: Mutation, live: str) -> About:
    facts = probe_library()
    build = f"pjsua2 {facts.version} ({facts.build}, {facts.max_calls} calls)"
    now = datetime.now(UTC).astimezone(settings.zone)
    return About(f"{now:%Y-%m-%d %H:%M %Z}", __version__, build, settings.node, mutation, live)


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, "utf-8")
    except OSError as error:
        raise LocalError(f"--html {file}: cannot be written: {error.strerror}") from None


def _record(results: Sequence[Result], settings: Settings, *, live: bool) -> None:
    """Rows for later comparison; without a database the results are told all the same."""
    rows = rows_of(results, settings.node, live=live)

    async def work(_: asyncio.Event) -> None:
        async with open_database(settings) as dsn:
            await bring_up_to_date(dsn, settings)
            await record(rows, dsn)

    try:
        run(work, patience=0)
    except (StoreError, ConfigError) as error:
        typer.echo(f"not recorded: {error}", err=True)
