"""``sipua bench``: measurements that users can repeat."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from rtp.errors import TraceError
from rtp.traces import DEFAULT_SECONDS as TRACE_SECONDS
from rtp.traces import read, standard
from sipua.bench.egress.gaps import LONG_MS
from sipua.bench.egress.run import DEFAULT_SECONDS as EGRESS_SECONDS
from sipua.bench.egress.run import MAX_SECONDS as MAX_EGRESS_SECONDS
from sipua.bench.egress.run import run_egress
from sipua.bench.figures import machine, machine_line
from sipua.bench.flood import DEFAULT_FLOOD_S, DEFAULT_RATE, FloodOptions, run_flood
from sipua.bench.jitter.plot import plot
from sipua.bench.jitter.run import Row, Verdict, judge, measure
from sipua.bench.ledger import MAX_OUTAGE_S, LedgerOptions, run_ledger
from sipua.bench.outage.run import OutageOptions, run_outage
from sipua.bench.path import DEFAULT_SECONDS, MAX_SECONDS, PathOptions, run_path
from sipua.bench.quality import PROMPTS, PROMPTS_PACKAGE, run_quality
from sipua.bench.reads import MAX_CALLS, ReadsOptions, run_reads
from sipua.bench.srtp import rows, run_srtp
from sipua.bench.turns import DEFAULT_INTERRUPTIONS, MAX_INTERRUPTIONS, run_turns
from sipua.cli.command import Json, print_json, run
from sipua.errors import ConfigError
from sipua.log import configure_logging

MEASURES = {
    "uplink_ms": "uplink: caller's RTP sent → append received",
    "downlink_ms": "downlink: first delta sent → first RTP received",
    "tick_wait_ms": "… of it waiting for the 20 ms tick",
    "own_ms": "… of it the agent's own",
}
TURN_MEASURES = {
    "stop_ms": "speech_started sent → last RTP of what was interrupted",
    "truncate_error_ms": "audio_end_ms against what the wire had",
    "uplink_ms": MEASURES["uplink_ms"],
    "downlink_ms": MEASURES["downlink_ms"],
}
FLOORS = {
    "udp": "floor: UDP on loopback, within the bench",
    "websocket": "floor: WebSocket on loopback, within the bench",
}

VERDICTS = {True: ("green", "kept"), False: ("red", "not kept"), None: ("yellow", "cannot tell here")}
PASSED_THROUGH = ("PCMU", "PCMA")  # what is said in codes must come out as it went in
MIN_EGRESS_SECONDS = 2.0
JITTER_COLUMNS = 160  # the table's width, also into a pipe

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
        p95, target = _cells(figures["p95"], document["targets_ms"].get(name))
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
        cells = [*_least(row["pesq_nb"], row["target"]), str(row["cases"])]
        if visqol:
            cells += [f"{row['visqol']:.2f}", str(row["visqol_cases"])]
        table.add_row(f"{row['loss']:.0%}", row["mode"], *cells)
    out = Console(highlight=False)
    out.print(table)
    show_promises(out, document["promises"])
    out.print(machine_line(document["machine"]))


def show_jitter(rows: list[Row], verdicts: list[Verdict]) -> None:
    """One line a trace: added delay in ms and late packets in %."""
    policies = list(dict.fromkeys(row.policy for row in rows))
    table = Table(title="added ms (late %)", title_justify="left", box=None)
    table.add_column("", no_wrap=True)
    for policy in policies:
        table.add_column(policy, justify="right", no_wrap=True)
    for name in dict.fromkeys(row.trace for row in rows):
        cells = {row.policy: row for row in rows if row.trace == name}
        table.add_row(
            name,
            *(
                f"{cells[policy].added_ms_mean:.2f} ({cells[policy].late_fraction * 100:.2f})"
                for policy in policies
            ),
        )
    out = Console(highlight=False)
    out.width = max(out.width, JITTER_COLUMNS)
    out.print(table)
    broken = [each for each in verdicts if not each.is_kept]
    out.print(f"{len(verdicts) - len(broken)} of {len(verdicts)} promises kept")
    for each in broken:
        out.print(f"[red]{each.trace}: not {each.promise}, but {each.measured:g}[/red]")


def show_turns(document: Mapping[str, Any]) -> None:
    """Figures beside what is promised."""
    out = Console(highlight=False)
    table = Table(title="milliseconds", title_justify="left", box=None)
    for column in ("", "p50", "target", "p95", "target", "max", "target"):
        table.add_column(column, justify="left" if not column else "right")
    for key, name in TURN_MEASURES.items():
        figures, targets = document[key], document["targets"][key]
        cells = [
            cell
            for p in ("p50", "p95", "max")
            for cell in (_cells(figures[p], targets.get(p)) if p in figures else ("", ""))
        ]
        table.add_row(name, *cells)
    out.print(table)
    told = document["truncations"]
    out.print(
        f"{document['interruptions']} interruptions ({document['two_items']} of two items), "
        f"{told['right']} truncations, missing {told['missing']}, unwanted {told['unwanted']}"
    )
    out.print(machine_line(document["machine"]))


def show_egress(document: Mapping[str, Any]) -> None:
    """Gaps beside the control's, what a media leg costs, and the promises."""
    out = Console(highlight=False)
    table = Table(title="gaps between packets, milliseconds", title_justify="left", box=None)
    for column in ("", "p50", "p99", "longest", f"> {LONG_MS:g}"):
        table.add_column(column, justify="left" if not column else "right")
    for key, name in (("egress", f"{document['calls']} calls"), ("control", "bare ticker on the same core")):
        figures, long = document["gap_ms"][key], document["long_gaps"][key]
        count = sum(each["count"] for each in long)
        table.add_row(name, *(f"{figures[each]:.2f}" for each in ("p50", "p99", "max")), str(count))
    out.print(table)
    for key in ("control", "unexplained"):
        for each in document["long_gaps"][key]:
            out.print(
                f"{key}: {each['count']} gaps, longest {each['longest_ms']:.1f} ms, in second {each['second']}"
            )
    if document["tshark"] is not None:
        judged = document["tshark"]
        out.print(
            f"tshark: {judged['streams']} streams, {judged['lost']} packets lost, "
            f"jitter {judged['jitter_ms_mean']:.2f} ms, of the worst {judged['jitter_ms_worst']:.2f} ms"
        )
    cut, busy = document["barge_in_ms"], document["busy"]
    out.print(
        f"flush → last packet: p50 {cut['p50']:.2f} ms, longest {cut['max']:.2f} ms ({cut['count']} flushes)\n"
        f"busy: {busy['percent_of_the_core']:.0f} % of the core (others {busy['others_percent_of_the_core']:.0f} %), "
        f"{busy['facts_written']} facts written"
    )
    for cost in document["cost"]:
        out.print(
            f"media alone, {cost['legs']} legs: {cost['percent_of_a_core_per_call']:.3f} % of a core per call "
            f"(others {cost['others_percent_of_the_core']:.0f} % of the core)"
        )
    show_promises(out, document["promises"])
    out.print(machine_line(document["machine"]))


def show_promises(out: Console, promises: list[dict[str, Any]]) -> None:
    """One line each."""
    for each in promises:
        colour, words = VERDICTS[each["is_kept"]]
        out.print(f"[{colour}]{words}[/{colour}]: {each['promise']}")


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


def show(document: Mapping[str, Any]) -> None:
    """The figures for people, on stdout."""
    table = Table(title=f"{document['codec']}, milliseconds", title_justify="left", box=None)
    for column in ("", "p50", "target", "p95", "target"):
        table.add_column(column, justify="left" if not column else "right")
    for key, name in MEASURES.items():
        targets = document["targets"].get(key, {})
        cells = [cell for p in ("p50", "p95") for cell in _cells(document[key][p], targets.get(p))]
        table.add_row(name, *cells)
    for key, name in FLOORS.items():
        if key in document["floor_ms"]:
            figures = document["floor_ms"][key]
            table.add_row(name, f"{figures['p50']:.2f}", "", f"{figures['p95']:.2f}", "", style="dim")
    out = Console(highlight=False)
    out.print(table)
    lost, means = document["lost"], document["mean_ms"]
    out.print(
        f"{document['samples']} first deltas (lost {lost['downlink']}), {document['uplink_samples']} caller frames "
        f"(lost {lost['uplink']}); mean own {means['own']:.2f} ms"
    )
    out.print(machine_line(document["machine"]))


def _least(value: float, target: float | None) -> tuple[str, str]:
    """Figure and the least that is promised, green where it is met and red where not."""
    if target is None:
        return f"{value:.2f}", ""
    colour = "green" if value >= target else "red"
    return f"[{colour}]{value:.2f}[/{colour}]", f"≥ {target:.2f}"


def _cells(value: float, target: float | None) -> tuple[str, str]:
    """Figure and target, green where it is met and red where not."""
    if target is None:
        return f"{value:.2f}", ""
    colour = "green" if value <= target else "red"
    return f"[{colour}]{value:.2f}[/{colour}]", f"≤ {target:g}"


def show_ledger(document: Mapping[str, Any]) -> None:
    flat_out, outage = document["flat_out"], document["outage"]
    table = Table(box=None, show_header=False)
    for name in ("without_spool", "with_spool"):
        costs = document[name]
        said = f"{costs['append_us_p50']:.1f} µs (p99 {costs['append_us_p99']:.1f})"
        table.add_row(f"append, {name.replace('_', ' ')}", said)
    table.add_row("sustained", f"{flat_out['rows_per_s']} rows/s")
    table.add_row(
        "outage", f"{outage['seconds']:g} s, {outage['calls']} calls, {outage['rows_per_s']:g} rows/s"
    )
    table.add_row(
        "rows that waited", f"{outage['waiting_rows']}, {outage['spool_bytes'] / 2**20:.1f} MB on disk"
    )
    table.add_row("lost, doubled", f"{outage['lost']}, {outage['doubled']}")
    table.add_row("caught up after", f"{outage['catch_up_s']:.1f} s")
    ticks = {"alone": document["control_tick_late_ms"], "flat out": flat_out["tick_late_ms"]}
    for name, late in (ticks | outage["tick_late_ms"]).items():
        table.add_row(f"20 ms tick late, {name}", f"{late['p99']:.1f} ms p99, {late['p100']:.1f} ms worst")
    console = Console()
    console.print(table)
    console.print(machine_line(document["machine"]), style="dim")


def show_outage(document: Mapping[str, Any]) -> None:
    table = Table(box=None, show_header=False)
    table.add_row(
        "calls",
        f"{document['calls']} by SIP, {document['rows_per_s']:g} rows/s, {document['seconds']:g} s without database",
    )
    for name, part in (("outage", document["outage"]), ("outage and kill -9", document["kill"])):
        table.add_row(name, f"{part['said']} rows: {part['lost']} lost, {part['doubled']} doubled")
        table.add_row("  caught up after", f"{part['catch_up_s']:.1f} s")
        table.add_row("  calls", f"{part['calls']} rows, {part['open']} of them open")
    kill, outage = document["kill"], document["outage"]
    table.add_row("  under way at the kill", f"{kill['under_way']} rows")
    for name, gap in outage["gap_ms"].items():
        said = f"p50 {gap['p50']:.1f}, p99 {gap['p99']:.1f}, longest {gap['max']:.1f} ms"
        table.add_row(f"RTP gap, {name}", said)
    gaps = outage["long_gaps"]
    table.add_row(
        f"gaps above {LONG_MS:g} ms",
        f"{gaps['egress']} of {outage['packets']}, control {gaps['control']}, unexplained {len(gaps['unexplained'])}",
    )
    console = Console()
    console.print(table)
    console.print(machine_line(document["machine"]), style="dim")
