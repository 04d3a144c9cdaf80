"""The results of a run as one HTML file that needs nothing else: readable by a person, printable."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from sipua.drills.findings import CanaryCall, Check, Result
from sipua.drills.mutations import MEANINGS, Mutation
from sipua.drills.timeline import svg_of

STYLE = files("sipua.drills").joinpath("report.css").read_text("utf-8")

DEFINITIONS = (
    (
        "detected in",
        "from the moment the break could first be felt (an INVITE, OPTIONS or REGISTER sent, RTP due) until our side "
        "had concluded that something is wrong",
    ),
    (
        "post-dial delay",
        "how much later than before the break the caller heard ringing or an answer, on the first call after it",
    ),
    (
        "calls, lost",
        "canary calls placed, and those that should have been answered with sound and were not; calls that were up "
        "when it broke are not counted as lost",
    ),
    ("attempts per call", "INVITEs to targets per canary call while it was broken, on the average"),
    (
        "recovered in",
        "from mending until what had been broken carried a call again, was registered again or had its row",
    ),
    (
        "MOS, worst",
        "what the caller heard, from 1 to 4.5, as the E-model (ITU-T G.107) rates loss, burstiness and delay; the "
        "lowest of the canary calls that heard anything",
    ),
)


@dataclass(frozen=True, slots=True)
class About:
    """Whose results these are."""

    when: str
    version: str
    build: str
    node: str
    mutation: Mutation = Mutation.NONE
    live: str = ""  # "A is made unreachable, B is expected"


def html_of(results: Sequence[Result], about: About) -> str:
    """The whole file."""
    held = [each for each in results if each.held]
    is_good = len(held) == len(results)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>",
        f"<title>Drills: {len(held)} of {len(results)} held</title><style>{STYLE}</style><main><h1>Drills</h1>",
        f"<p class=meta>{escape(' · '.join((about.when, about.node, f'sipua {about.version}', about.build)))}</p>",
        f"<div class='verdict {'good' if is_good else 'bad'}'><b>{len(held)} of {len(results)}</b>"
        f"<p>{_summary(results, about)}</p></div>",
        _table(results),
        "<p class=legend><i class=bad></i>failed attempt<i class=good></i>attempt that was answered"
        "<i class=up></i>call is up<i class=broken></i>broken</p>",
        *(_section(each) for each in results),
        _definitions(),
        "</main></html>",
    ]  # fmt: skip
    return "\n".join(parts)


def _summary(results: Sequence[Result], about: About) -> str:
    failed = [each for each in results if not each.held]
    calls, lost = sum(each.attempted for each in results), sum(each.lost for each in results)
    text = (
        "drills held"
        if not failed
        else "drills held; not: " + ", ".join(escape(each.name) for each in failed)
    )
    text += f". {calls} canary calls, {lost} lost."
    if about.mutation:
        made = f"Made wrong on purpose ({about.mutation.value}): {MEANINGS[about.mutation]}."
        text += f"<br><span class=note>{escape(made)}</span>"
    if about.live:
        text += f"<br><span class=note>On the configured trunks: {escape(about.live)}.</span>"
    return text


def _table(results: Sequence[Result]) -> str:
    heads = (
        "drill",
        "",
        "detected in",
        "post-dial delay",
        "calls",
        "lost",
        "attempts<br>per call",
        "recovered in",
        "MOS,<br>worst",
    )
    rows = "".join(
        f"<tr><td><a href='#{each.name}'>{escape(each.name)}</a></td><td>{_chip(each)}</td>"
        f"<td>{_time(each.detect_ms)}</td><td>{_time(each.extra_pdd_ms, sign=True)}</td><td>{each.attempted}</td>"
        f"<td>{each.lost}</td><td>{_number(each.attempts_per_call)}</td><td>{_time(each.recover_ms)}</td>"
        f"<td>{_mos(each.worst_mos)}</td></tr>"
        for each in results
    )  # fmt: skip
    return f"<table><tr>{''.join(f'<th>{head}</th>' for head in heads)}</tr>{rows}</table>"


def _section(result: Result) -> str:
    kind = " class=bad" if not result.held else ""
    figures = (
        ("detected in", _time(result.detect_ms)),
        ("post-dial delay", _time(result.extra_pdd_ms, sign=True)),
        ("calls, lost", f"{result.attempted}, {result.lost}"),
        ("attempts per call", _number(result.attempts_per_call)),
        ("recovered in", _time(result.recover_ms)),
        ("MOS, worst", _mos(result.worst_mos)),
    )
    shown = "".join(f"<div><dt>{name}</dt><dd>{value}</dd></div>" for name, value in figures)
    checks = "".join(_check(each) for each in result.checks)
    said = f"<p class=note>{escape(result.what_happened)}</p>" if not result.checks else ""
    return (
        f"<section id='{result.name}'{kind}><div class=head><h2>{escape(result.name)}</h2>{_chip(result)}</div>"
        f"<p class=what><b>{_sentence(result.breaks)}</b> {_sentence(result.expected)}</p>"
        f"<dl>{shown}</dl>{svg_of(result.name, result.timeline)}{_calls(result.calls)}{said}<ul>{checks}</ul></section>"
    )


def _calls(calls: Sequence[CanaryCall]) -> str:
    """MOS and R of each canary call that heard something."""
    heard = [each for each in calls if each.mos is not None and each.r is not None]
    if not heard:
        return ""
    shown = " · ".join(
        f"<span>{escape(each.lane)} <b>{each.mos:.2f}</b>{_lost(each.loss_percent)} "
        f"<small>R {each.r:.0f}</small></span>"
        for each in heard
    )
    return f"<p class=calls>MOS of what the caller heard: {shown}</p>"


def _lost(percent: float | None) -> str:
    return f" ({percent:g} % lost)" if percent else ""


def _check(check: Check) -> str:
    kind, mark = ("", "✓") if check.held else (" class=bad", "✗")
    return (
        f"<li{kind}><span class=mark>{mark}</span><span>{escape(check.expected)}</span>"
        f"<span class=found>{escape(check.found)}</span></li>"
    )


def _definitions() -> str:
    rows = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in DEFINITIONS)
    return f"<footer><h2>What the figures mean</h2><dl>{rows}</dl></footer>"


def _chip(result: Result) -> str:
    kind, word = ("good", "held") if result.held else ("bad", "did not hold")
    return f"<span class='chip {kind}'>{word}</span>"


def _time(ms: int | None, *, sign: bool = False) -> str:
    if ms is None:
        return "<span class=none>–</span>"
    plus = "+" if sign and ms > 0 else ""
    if abs(ms) >= 1000:
        return f"{plus}{ms / 1000:.2f} <small>s</small>"
    return f"{plus}{ms} <small>ms</small>"


def _number(value: float | None) -> str:
    return "<span class=none>–</span>" if value is None else f"{value:g}"


def _mos(value: float | None) -> str:
    return "<span class=none>–</span>" if value is None else f"{value:.2f}"


def _sentence(text: str) -> str:
    return escape(text[:1].upper() + text[1:]) + "."
