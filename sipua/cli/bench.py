"""``sipua bench``: measurements that users can repeat."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from rtp.errors import TraceError
from rtp.traces import DEFAULT_SECONDS as TRACE_SECONDS
from rtp.traces import read, standard
from sipua.bench.egress.run import DEFAULT_SECONDS as EGRESS_SECONDS
from sipua.bench.egress.run import MAX_SECONDS as MAX_EGRESS_SECONDS
from sipua.bench.egress.run import run_egress
from sipua.bench.figures import machine, machine_line
from sipua.bench.flood import DEFAULT_FLOOD_S, DEFAULT_RATE, FloodOptions, run_flood
from sipua.bench.jitter.plot import plot
from sipua.bench.jitter.run import judge, measure
from sipua.bench.ledger import MAX_OUTAGE_S, LedgerOptions, run_ledger
from sipua.bench.outage.run import OutageOptions, run_outage
from sipua.bench.path import DEFAULT_SECONDS, MAX_SECONDS, PathOptions, run_path
from sipua.bench.quality import PROMPTS, PROMPTS_PACKAGE, run_quality
from sipua.bench.reads import MAX_CALLS, ReadsOptions, run_reads
from sipua.bench.srtp import rows, run_srtp
from sipua.bench.turns import DEFAULT_INTERRUPTIONS, MAX_INTERRUPTIONS, run_turns
from sipua.cli.bench_shown import (
    at_least,
    cells_of,
    show,
    show_egress,
    show_jitter,
    show_ledger,
    show_outage,
    show_promises,
    show_turns,
)
from sipua.cli.command import Json, print_json, run
from sipua.errors import ConfigError
from sipua.log import configure_logging

PASSED_THROUGH = ("PCMU", "PCMA")  # what is said in codes must come out as it went in
MIN_EGRESS_SECONDS = 2.0

app = typer.Typer(
    help="Measurements: ratios and times in one run.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)


@app.callback()
def _bench() -> None:
    """Measurements: ratios and times in one run."""


@app.command("path")
def path(
    seconds: Annotated[
        float | None,
        typer.Option(help="Measure for so long.", show_default=f"{DEFAULT_SECONDS:g}"),
    ] = None,
    samples: Annotated[int | None, typer.Option(help="Measure so many first deltas instead.")] = None,
    codec: Annotated[str, typer.Option(help="PCMU or PCMA.")] = "PCMU",
    json: Json = False,
) -> None:
    """Time a call's audio through the agent, from outside: it runs as a process of its own on loopback."""
    options = _options(seconds, samples, codec)
    configure_logging("warning", "console")
    document = run(lambda stop: run_path(options, stop, lambda text: typer.echo(f"· {text}", err=True)))
    if json:
        print_json(document)
    else:
        show(document)


@app.command("turns")
def turns(
    interruptions: Annotated[
        int, typer.Option(min=1, max=MAX_INTERRUPTIONS, help="Interrupt the agent so often.")
    ] = DEFAULT_INTERRUPTIONS,
    json: Json = False,
) -> None:
    """Interrupt the agent at random: how soon it is silent, and whether it tells truly how much was heard."""
    configure_logging("warning", "console")
    document = run(
        lambda stop: run_turns(interruptions, stop, lambda text: typer.echo(f"· {text}", err=True))
    )
    if json:
        print_json(document)
    else:
        show_turns(document)


@app.command("egress")
def egress(
    seconds: Annotated[float, typer.Option(help="Measure the calls for so long.")] = EGRESS_SECONDS,
    json: Json = False,
) -> None:
    """What 50 telephones get from a busy agent on one core: gaps, barge-in, and what a call's media cost.

    The exit code is 0 whatever the verdicts are: where others use the machine as well they may be "cannot tell here".
    """
    if not MIN_EGRESS_SECONDS <= seconds <= MAX_EGRESS_SECONDS:
        raise ConfigError(
            f"--seconds {seconds:g}: allowed are {MIN_EGRESS_SECONDS:g} to {MAX_EGRESS_SECONDS:g}"
        )
    configure_logging("warning", "console")
    document = run(lambda stop: run_egress(seconds, stop, lambda text: typer.echo(f"· {text}", err=True)))
    if json:
        print_json(document)
    else:
        show_egress(document)


@app.command("ledger")
def ledger(
    seconds: Annotated[
        float, typer.Option(min=1, max=MAX_OUTAGE_S, help="The database is gone for so long.")
    ] = 60,
    calls: Annotated[int, typer.Option(min=1, max=200, help="Calls that go on meanwhile.")] = 20,
    rows_per_s: Annotated[float, typer.Option(min=0.1, max=1000, help="Rows that each of them makes.")] = 50,
    rows: Annotated[int, typer.Option(min=100, max=10**7, help="Rows to write as fast as they go.")] = 60_000,
    json: Json = False,
) -> None:
    """What a row costs, how many are written in a second, and an outage of the database: lost, doubled, caught up."""
    configure_logging("critical", "console")
    options = LedgerOptions(seconds, calls, rows_per_s, rows)
    document = run(lambda stop: run_ledger(options, stop, lambda text: typer.echo(f"· {text}", err=True)))
    if json:
        print_json(document)
    else:
        show_ledger(document)


@app.command("outage")
def outage(
    seconds: Annotated[
        float, typer.Option(min=1, max=MAX_OUTAGE_S, help="The database is gone for so long, twice.")
    ] = 60,
    calls: Annotated[int, typer.Option(min=1, max=200, help="Telephones that call by SIP.")] = 20,
    rows_per_s: Annotated[float, typer.Option(min=1, max=1000, help="Rows that each call makes.")] = 50,
    json: Json = False,
) -> None:
    """Real calls while the database is away, then while the agent is killed besides: rows lost, doubled, RTP gaps."""
    configure_logging("critical", "console")
    options = OutageOptions(seconds, calls, rows_per_s)
    document = run(lambda stop: run_outage(options, stop, lambda text: typer.echo(f"· {text}", err=True)))
    if json:
        print_json(document)
    else:
        show_outage(document)


@app.command("reads")
def reads(
    calls: Annotated[int, typer.Option(min=1000, max=MAX_CALLS, help="Calls in the database.")] = 1_000_000,
    repeats: Annotated[int, typer.Option(min=10, max=10_000, help="Read each so often.")] = 200,
    json: Json = False,
) -> None:
    """How soon lists, live calls and a call's story are there, with so many calls in a database of its own."""
    configure_logging("critical", "console")
    options = ReadsOptions(calls, repeats)
    document = run(lambda stop: run_reads(options, stop, lambda text: typer.echo(f"· {text}", err=True)))
    if json:
        print_json(document)
        return
    table = Table(title=f"{document['calls']} calls, milliseconds", title_justify="left", box=None)
    for column in ("", "p50", "p95", "target", "p99"):
        table.add_column(column, justify="left" if not column else "right")
    for name, figures in document["reads_ms"].items():
        p95, target = cells_of(figures["p95"], document["targets_ms"].get(name))
        table.add_row(name.replace("_", " "), f"{figures['p50']:.2f}", p95, target, f"{figures['p99']:.2f}")
    out = Console(highlight=False)
    out.print(table)
    for name, key in (("alone", "control_tick_late_ms"), ("meanwhile", "tick_late_ms")):
        late = document[key]
        out.print(f"20 ms tick late, {name}: {late['p99']:.1f} ms p99, {late['p100']:.1f} ms worst")
    out.print(machine_line(document["machine"]))


@app.command("srtp")
def srtp(
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds of 400 packets for each suite.")] = 20,
    json: Json = False,
) -> None:
    """What SRTP costs: CPU time of a packet sent and received, plain RTP and each suite in turns."""
    configure_logging("warning", "console")
    document = run(lambda stop: run_srtp(rounds, stop))
    if json:
        print_json(document)
        return
    table = Table(box=None)
    for column in ("", "µs per packet", "ratio", "% of a core per call"):
        table.add_column(column, justify="left" if not column else "right")
    for row in rows(document):
        table.add_row(*row)
    out = Console(highlight=False)
    out.print(table)
    out.print(machine_line(document["machine"]))


@app.command("flood")
def flood(
    rate: Annotated[int, typer.Option(min=1, max=200_000, help="Random datagrams a second.")] = DEFAULT_RATE,
    seconds: Annotated[float, typer.Option(min=0.1, max=60, help="For so long.")] = DEFAULT_FLOOD_S,
    json: Json = False,
) -> None:
    """A call whose RTP port is flooded with random datagrams from another address: what it loses."""
    configure_logging("warning", "console")
    document = run(lambda stop: run_flood(FloodOptions(rate, seconds), stop))
    if json:
        print_json(document)
        return
    out = Console(highlight=False)
    out.print(
        f"{document['flooded']} datagrams: of {document['talked']} packets of the phone {document['lost']} lost "
        f"({document['lost_percent']} %), {document['foreign']} of others heard"
    )
    for kind, count in sorted(document["dropped"].items(), key=lambda each: -each[1]):
        out.print(f"  {count:>7} {kind}")
    out.print(machine_line(document["machine"]))


@app.command("jitter")
def jitter(
    seed: Annotated[int, typer.Option(help="Of the generated traces.")] = 1,
    seconds: Annotated[float, typer.Option(help="Length of each generated trace.")] = TRACE_SECONDS,
    trace: Annotated[
        list[Path] | None,
        typer.Option(help="A file with a trace instead: a delay in ms or L (lost) per packet. Repeatable."),
    ] = None,
    plot_to: Annotated[Path | None, typer.Option("--plot", help="Draw it as this PNG file.")] = None,
    json: Json = False,
) -> None:
    """What waiting for late packets costs: the agent's receive path beside other buffers, on simulated lines."""
    if not 1 <= seconds <= MAX_SECONDS:
        raise ConfigError(f"--seconds {seconds:g}: allowed are 1 to {MAX_SECONDS:g}")
    if seed < 0:
        raise ConfigError(f"--seed {seed}: at least 0")
    try:
        traces = [read(path) for path in trace] if trace else standard(seed, seconds)
    except TraceError as error:
        raise ConfigError(str(error)) from None
    rows = measure(traces, lambda name: typer.echo(f"· {name}", err=True))
    verdicts = judge(traces, rows)
    if plot_to is not None:
        plot(rows, plot_to)
    if json:
        print_json(
            {
                "rows": [row.document() for row in rows],
                "promises": [asdict(each) for each in verdicts],
                "seed": seed,
                "machine": machine(),
            }
        )
    else:
        show_jitter(rows, verdicts)


@app.command("quality")
def quality(
    prompts: Annotated[
        Path, typer.Option(help=f"Folder with recorded speech as WAV ({PROMPTS_PACKAGE} has it).")
    ] = PROMPTS,
    count: Annotated[int, typer.Option(min=1, max=500, help="So many prompts of it.")] = 40,
    seeds: Annotated[int, typer.Option(min=1, max=20, help="Patterns of loss for each.")] = 3,
    visqol: Annotated[
        bool, typer.Option("--visqol", help="ViSQOL beside it, of the first pattern: minutes more.")
    ] = False,
    json: Json = False,
) -> None:
    """What the voice service hears when packets are lost: PESQ with concealment, with silence, with gaps left out."""
    workers = len(os.sched_getaffinity(0))
    document = run_quality(
        prompts, count, seeds, workers, lambda text: typer.echo(f"· {text}", err=True), with_visqol=visqol
    )
    if json:
        print_json(document)
        return
    table = Table(title="MOS-LQO, means", title_justify="left", box=None)
    for column in (
        "loss",
        "heard as",
        "PESQ-NB",
        "target",
        "cases",
        *(["ViSQOL", "cases"] if visqol else []),
    ):
        table.add_column(column, justify="left" if column == "heard as" else "right")
    for row in document["rows"]:
        cells = [*at_least(row["pesq_nb"], row["target"]), str(row["cases"])]
        if visqol:
            cells += [f"{row['visqol']:.2f}", str(row["visqol_cases"])]
        table.add_row(f"{row['loss']:.0%}", row["mode"], *cells)
    out = Console(highlight=False)
    out.print(table)
    show_promises(out, document["promises"])
    out.print(machine_line(document["machine"]))


def _options(seconds: float | None, samples: int | None, codec: str) -> PathOptions:
    if seconds is not None and samples is not None:
        raise ConfigError("--seconds and --samples: only one of them")
    if codec.upper() not in PASSED_THROUGH:
        raise ConfigError(f"--codec {codec}: allowed: {', '.join(PASSED_THROUGH)}")
    if samples is not None and samples < 1:
        raise ConfigError(f"--samples {samples}: at least 1")
    options = PathOptions(codec.upper(), DEFAULT_SECONDS if seconds is None else seconds, samples)
    if not 0 < options.expected_seconds <= MAX_SECONDS:
        raise ConfigError(f"{options.expected_seconds:g} s of measuring: allowed are up to {MAX_SECONDS:g}")
    return options
