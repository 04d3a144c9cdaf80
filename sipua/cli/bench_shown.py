"""What ``sipua bench`` shows of its figures to people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from sipua.bench.egress.gaps import LONG_MS
from sipua.bench.figures import machine_line
from sipua.bench.jitter.run import Row, Verdict

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
JITTER_COLUMNS = 160  # the table's width, also into a pipe


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
            for cell in (cells_of(figures[p], targets.get(p)) if p in figures else ("", ""))
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


def show(document: Mapping[str, Any]) -> None:
    """The figures for people, on stdout."""
    table = Table(title=f"{document['codec']}, milliseconds", title_justify="left", box=None)
    for column in ("", "p50", "target", "p95", "target"):
        table.add_column(column, justify="left" if not column else "right")
    for key, name in MEASURES.items():
        targets = document["targets"].get(key, {})
        cells = [cell for p in ("p50", "p95") for cell in cells_of(document[key][p], targets.get(p))]
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


def at_least(value: float, target: float | None) -> tuple[str, str]:
    """Figure and the least that is promised, green where it is met and red where not."""
    if target is None:
        return f"{value:.2f}", ""
    colour = "green" if value >= target else "red"
    return f"[{colour}]{value:.2f}[/{colour}]", f"≥ {target:.2f}"


def cells_of(value: float, target: float | None) -> tuple[str, str]:
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
