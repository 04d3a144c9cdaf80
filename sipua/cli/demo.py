"""``sipua demo``: one call to the agent and back, on this machine alone."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sipua.cli.command import Conf, Json, conf_dir, print_json, run
from sipua.demo import DemoOptions, run_demo
from sipua.settings_file import load_settings

Wav = Path | None


def demo(
    live: Annotated[
        bool, typer.Option("--live", help="Use the configured voice service, not the emulator.")
    ] = False,
    database: Annotated[
        bool, typer.Option("--database", help="Write to the configured DATABASE_URL.")
    ] = False,
    directory: Annotated[
        Path | None,
        typer.Option("--dir", help="Where recording, logs and data go.", show_default="STATE_DIR/demo"),
    ] = None,
    play: Annotated[Wav, typer.Option(help="The caller's question (WAV); default: a recorded one.")] = None,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Call the agent, ask a question, hear the answer. Shows what stands in the database; exit 0 if it all did."""
    settings = load_settings(conf_dir(conf))
    options = DemoOptions(
        directory=directory or settings.state_path / "demo",
        conf=conf_dir(conf),
        live=live,
        use_database=database,
        play=play,
    )
    view = View()
    try:
        document = run(lambda stop: run_demo(options, settings, stop, view.show))
    finally:
        view.end_line()
    if json:
        print_json(document)
    else:
        summary(document)


class View:
    """The live view on stderr: states, both transcripts as they come, RTP counters every few seconds.

    The two speakers' words arrive interleaved: one utterance at a time is written through, the others wait until
    its line is complete.
    """

    RTP_EVERY = 4  # entries come twice a second

    def __init__(self) -> None:
        self._open: str | None = None  # the utterance being written
        self._waiting: dict[str, tuple[str, str, bool]] = {}  # item → role, text, complete
        self._rtp = 0

    def show(self, entry: Mapping[str, Any]) -> None:
        """One entry of the feed (or of the demo itself)."""
        match entry.get("event"):
            case "step":
                self._line(f"· {entry['text']}")
            case "call" if entry["state"] != "ended":  # "ended" says more
                self._line(f"· call {entry['state']}")
            case "ended":
                self._line(f"· call ended: {entry['status']} ({entry['reason']}), {entry['seconds']:.1f} s")
            case "error":
                self._line(f"! {entry['reason']}: {entry['message']}")
            case "first_audio":
                self._line(f"· first assistant audio {entry['seconds'] * 1000:.0f} ms after the answer")
            case "transcript_delta":
                self._words(entry["item"], entry["role"], entry["text"], complete=False)
            case "transcript":
                known = entry["item"] == self._open or entry["item"] in self._waiting
                self._words(entry["item"], entry["role"], "" if known else entry["text"], complete=True)
            case "rtp":
                self._rtp += 1
                if self._rtp % self.RTP_EVERY == 0 and self._open is None:
                    self._line(
                        f"· RTP at the agent: sent {entry['sent']:.0f}, received {entry['received']:.0f}, "
                        f"lost {entry['lost']:.0f}, jitter {entry['jitter_ms'] or 0:.1f} ms"
                    )

    def _words(self, item: str, role: str, text: str, *, complete: bool) -> None:
        if self._open not in (None, item):
            _, before, _ = self._waiting.get(item, (role, "", False))
            self._waiting[item] = (role, before + text, complete)
            return
        self._write(text if self._open == item else f"{_speaker(role)}: {text.lstrip()}")
        self._open = item
        if complete:
            self._next()

    def _next(self) -> None:
        """The open line is complete: write the next utterance that waits."""
        self.end_line()
        while self._waiting and self._open is None:
            item = next(iter(self._waiting))
            role, text, complete = self._waiting.pop(item)
            self._words(item, role, text, complete=complete)

    def _line(self, text: str) -> None:
        if self._open is None:
            self._write(text + "\n")
        else:  # a state changes in the middle of a sentence: go on below it
            self._write(f"\n{text}\n  ")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()

    def end_line(self) -> None:
        """Closes an open transcript line."""
        if self._open is not None:
            self._write("\n")
            self._open = None


def _speaker(role: str) -> str:
    return {"user": "caller", "assistant": "agent"}.get(role, role)


def summary(document: Mapping[str, Any]) -> None:
    """The closing summary for people, on stdout."""
    out = Console(highlight=False, markup=False)  # what was said is text, whatever brackets it holds
    rtp = document["rtp"]
    facts = Table(show_header=False, box=None, pad_edge=False)
    facts.add_row("call", document["call_id"])
    facts.add_row("status", f"{document['status']}, {document['duration_seconds']:.1f} s")
    facts.add_row("recording", str(document["recording"]))
    facts.add_row("time to first audio", f"{document['first_assistant_audio_ms']:.0f} ms after the 200")
    facts.add_row(
        "RTP at the caller",
        f"sent {rtp['sent']:.0f}, received {rtp['received']:.0f}, lost {rtp['lost']:.0f}, late {rtp['late']:.0f}, "
        f"jitter {rtp['jitter_ms'] or 0:.1f} ms, MOS {'–' if rtp['quality'] is None else rtp['quality']['mos']}",
    )
    out.print()
    out.print(facts)
    said = Table(title="transcripts", title_justify="left", box=None)
    for column in ("role", "lang", "content"):
        said.add_column(column, overflow="fold")
    for each in document["transcripts"]:
        said.add_row(each["role"], each["lang"], Text(each["content"]))
    out.print()
    out.print(said)
    rows = document["rows"]
    out.print()
    _print_rows(
        out,
        "voice_calls",
        rows["voice_calls"],
        ("status", "outcome", "trunk", "started_at", "ended_at"),
    )
    _print_rows(
        out,
        "openai_sessions",
        rows["openai_sessions"],
        ("session_id", "model", "voice", "input_audio_format", "status"),
    )
    counts: dict[str, int] = {}
    for event in rows["voice_events"]:
        counts[event["type"]] = counts.get(event["type"], 0) + 1
    out.print(
        f"voice_events {len(rows['voice_events'])}: " + ", ".join(f"{n} × {t}" for t, n in counts.items())
    )


def _print_rows(out: Console, name: str, rows: list[dict[str, Any]], columns: tuple[str, ...]) -> None:
    table = Table(title=f"{name} ({len(rows)})", title_justify="left", box=None)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row.get(column))) for column in columns))
    out.print(table)
    out.print()


def _cell(value: object) -> str:
    return value.strftime("%H:%M:%S UTC") if hasattr(value, "strftime") else str(value)
