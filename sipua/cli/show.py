"""``sipua show CALL``: one call from its beginning to its end."""

from __future__ import annotations

import asyncio
import statistics
import textwrap
from collections.abc import Iterator, Mapping
from datetime import datetime, tzinfo
from typing import Annotated, Any

import typer

from sipua.cli.calls import Full, reading
from sipua.cli.columns import printable, width_of_stdout
from sipua.cli.command import Conf, Json, print_json, run, settings_of
from sipua.currency import CurrencySettings, cost_fields, cost_of, cost_text
from sipua.errors import LocalError
from sipua.masked import masked
from storage.call_story import call_story

# What happens in every turn of a call, many times.
DETAILS = (
    "response_created", "response_done", "committed", "speech_started", "speech_stopped", "item_created", "updated",
    "quality", "created",
)  # fmt: skip
LABELS = {"conversation": "talk"}
HANG = 19  # columns: time and kind
LEAST_WIDTH = 60


def show(
    call: Annotated[
        str, typer.Argument(help="Its id or the first 8 letters of it, the carrier's id, or the SIP Call-ID.")
    ],
    all: Annotated[bool, typer.Option("--all", help="Every event, not only what matters.")] = False,
    full: Full = False,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Tell one call: who, how it ended, how it sounded, what was said and done. Numbers are masked unless --full."""
    settings = settings_of(conf)

    async def work(_: asyncio.Event) -> dict[str, Any] | None:
        async with reading(settings) as pool:
            return await call_story(pool, call)

    story = run(work, patience=0)
    if story is None:
        raise LocalError(
            f"no call {call!r}: allowed are an id as `sipua calls` shows it, a carrier's id or a SIP Call-ID"
        )
    if not full:
        story = masked(story)
    if json:
        print_json(
            story
            | {"call": story["call"] | cost_fields(cost_of(story["call"]["metadata"]), settings.currency)}
        )
        return
    width = max(LEAST_WIDTH, width_of_stdout())
    for line in story_lines(story, settings.zone, settings.currency, is_all=all):
        typer.echo(_wrapped(line, width))


def story_lines(
    story: Mapping[str, Any], zone: tzinfo | None, currency: CurrencySettings, *, is_all: bool
) -> Iterator[str]:
    """Head, figures, and the timeline with times since the beginning."""
    call = story["call"]
    yield f"{call['id']}  {call['direction']}"
    yield f"  {call['from_e164'] or '-'} → {call['to_e164'] or '-'}" + "".join(
        f" · {part}"
        for part in (
            call["trunk"] and f"trunk {call['trunk']}",
            call["country"],
            call["locale"],
            call["lead_name"],
        )
        if part
    )
    began = datetime.fromisoformat(call["started_at"]).astimezone(zone) if call["started_at"] else None
    ended = f"{call['duration_seconds']} s" if call["ended_at"] else "goes on"
    outcome = f"{call['status']}" + (f": {call['outcome']}" if call["outcome"] else "")
    yield f"  {began:%Y-%m-%d %H:%M:%S %Z}, {ended}, {outcome}" if began else f"  {ended}, {outcome}"
    for name in ("intent", "last_note"):
        if call[name]:
            yield f"  {name.replace('_', ' ')}: {call[name]}"
    yield from _figures(story, currency)
    for part in story["cut"]:
        yield f"  of {part} only the latest are shown; `sipua export --table {part}` has all"
    yield ""
    for entry in story["timeline"]:
        if is_all or entry["what"] not in DETAILS:
            yield entry_line(entry, began)


def _figures(story: Mapping[str, Any], currency: CurrencySettings) -> Iterator[str]:
    call, media, quality = story["call"], story["media"] or {}, story["quality"] or {}
    if cost := cost_text(cost_of(call["metadata"]), currency):
        yield f"  cost {cost}"
    whole = media.get("quality") or {}
    told = (("MOS {:.1f}", whole.get("mos")), ("loss {:g} %", whole.get("loss_percent")),
            ("jitter {:.1f} ms", media.get("jitter_ms")))  # fmt: skip
    if said := ", ".join(words.format(value) for words, value in told if isinstance(value, int | float)):
        yield f"  heard with {said}"
    waits = [turn["ms"] for turn in quality.get("turns") or () if isinstance(turn, Mapping) and "ms" in turn]
    if call["first_time_to_assistant_seconds"] is not None:
        yield f"  first words after {call['first_time_to_assistant_seconds']:g} s"
    if waits:
        told_of = f"{len(waits)} answer{'s' * (len(waits) > 1)}"
        yield f"  {told_of}, after {statistics.median(waits):g} ms (median), {max(waits)} ms at worst"
    for recording in story["recordings"]:
        yield f"  recording {recording['url']}"


def entry_line(entry: Mapping[str, Any], began: datetime | None) -> str:
    """``+12.3 s  sip  answered  codec PCMU``."""
    at = datetime.fromisoformat(entry["t"])
    since = f"{(at - began).total_seconds():+.1f}" if began else f"{at:%H:%M:%S}"
    what = "" if entry["what"] == "said" or (entry["kind"] == "tool" and entry["text"]) else entry["what"]
    text = printable(" ".join(part for part in (what.replace("_", " "), entry["text"]) if part))
    return f"{since:>7}  {LABELS.get(entry['kind'], entry['kind']):8}  {text}"


def _wrapped(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    return textwrap.fill(
        line, width, subsequent_indent=" " * HANG, break_on_hyphens=False, drop_whitespace=True
    )
