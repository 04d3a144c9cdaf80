"""The timeline of one drill as an SVG: a lane per call and trunk, a bar per attempt, a line where it broke. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from sipua.drills.findings import Entry

WIDTH, GUTTER, RIGHT = 960.0, 118.0, 12.0
LANE, BAR, COMPACT_LANE, COMPACT_BAR = 26.0, 12.0, 5.0, 4.0
AXIS = 22.0
LETTER = 5.9  # the mean width of one at 11 px
MANY_CALLS = 14  # more are drawn without a label each
DRILL = "drill"
STEPS_MS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 30_000, 60_000)
LEAST_BAR = 2.5


@dataclass(frozen=True, slots=True)
class _Scale:
    begin_ms: int
    end_ms: int

    def x(self, at_ms: float) -> float:
        share = (at_ms - self.begin_ms) / max(1, self.end_ms - self.begin_ms)
        return GUTTER + share * (WIDTH - GUTTER - RIGHT)


@dataclass(slots=True)
class _Drawing:
    parts: list[str] = field(default_factory=list)

    def text(self, x: float, y: float, text: str, kind: str, *, anchor: str = "start") -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" class="{kind}" text-anchor="{anchor}"'
        self.parts.append(f"<text {place}>{escape(text)}</text>")

    def bar(self, x: float, until: float, y: float, height: float, kind: str, title: str) -> None:
        place = f'x="{x:.1f}" y="{y:.1f}" width="{max(LEAST_BAR, until - x):.1f}" height="{height:.1f}"'
        self.parts.append(
            f'<rect {place} rx="{min(2.0, height / 3):.1f}" class="{kind}"><title>{escape(title)}</title></rect>'
        )

    def line(self, x: float, y: float, x2: float, y2: float, kind: str) -> None:
        self.parts.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def dot(self, x: float, y: float, kind: str, title: str) -> None:
        self.parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" class="{kind}"><title>{escape(title)}</title></circle>'
        )


def svg_of(name: str, entries: Sequence[Entry]) -> str:
    """The picture; empty if nothing happened."""
    if not entries:
        return ""
    scale = _scale_of(entries)
    lanes = _lanes_of(entries)
    calls = [lane for lane in lanes if lane.startswith("call ")]
    is_compact = len(calls) > MANY_CALLS
    drawing = _Drawing()
    y = AXIS
    for lane in lanes:
        own = [each for each in entries if each.lane == lane]
        if is_compact and lane in calls:
            if lane == calls[0]:
                y += 6.0
                drawing.text(
                    GUTTER - 10,
                    y + len(calls) * COMPACT_LANE / 2,
                    f"{len(calls)} calls",
                    "lane",
                    anchor="end",
                )
            y = _compact(drawing, scale, own, y)
        elif all(each.until_ms is None for each in own):
            y = _marks(drawing, scale, lane, own, y)
        else:
            y = _bars(drawing, scale, lane, own, y)
    height = y + 6.0
    behind = _Drawing()
    _ticks(behind, scale, height)
    _broken(behind, scale, entries, height)
    size = f'viewBox="0 0 {WIDTH:.0f} {height:.0f}" role="img" aria-label="{escape(name)}: timeline"'
    return f"<svg {size}>{''.join(behind.parts)}{''.join(drawing.parts)}</svg>"


def _scale_of(entries: Sequence[Entry]) -> _Scale:
    begin = min(each.at_ms for each in entries)
    end = max(each.until_ms if each.until_ms is not None else each.at_ms for each in entries)
    spare = max(20, (end - begin) // 40)
    return _Scale(max(0, begin - spare), end + spare)


def _lanes_of(entries: Sequence[Entry]) -> list[str]:
    """The drill, the trunks, then calls by number."""

    def rank(lane: str) -> tuple[int, int, str]:
        number = lane.removeprefix("call ")
        if lane == DRILL:
            return 0, 0, ""
        return (2, int(number), "") if number.isdecimal() else (1, 0, lane)

    return sorted({each.lane for each in entries}, key=rank)


def _bars(drawing: _Drawing, scale: _Scale, lane: str, entries: Sequence[Entry], y: float) -> float:
    """A lane of stretches, and what they were in one label beside them."""
    drawing.text(GUTTER - 10, y + LANE / 2 + 4, lane, "lane", anchor="end")
    top = y + (LANE - BAR) / 2
    stretches = sorted(entries, key=lambda each: each.at_ms)
    for each in stretches:
        until = each.until_ms if each.until_ms is not None else each.at_ms
        kind = f"bar {each.tone}" if not each.text.startswith("up ") else "bar up"
        drawing.bar(
            scale.x(each.at_ms), scale.x(until), top, BAR, kind, f"{each.text} ({until - each.at_ms} ms)"
        )
    words = " → ".join(f"{each.text} {(each.until_ms or each.at_ms) - each.at_ms} ms" for each in stretches)
    begin = scale.x(stretches[0].at_ms)
    end = scale.x(max(each.until_ms or each.at_ms for each in stretches))
    widest = max(stretches, key=lambda each: (each.until_ms or each.at_ms) - each.at_ms)
    inside = scale.x(widest.at_ms), scale.x(widest.until_ms or widest.at_ms)
    _label(drawing, (begin, end), inside, y + LANE / 2 + 4, words)
    return y + LANE


def _label(
    drawing: _Drawing, bars: tuple[float, float], widest: tuple[float, float], y: float, words: str
) -> None:
    """Right of the bars if there is room, else left of them, else in the widest; shortened if it fits nowhere."""
    needed = len(words) * LETTER
    after, before = WIDTH - RIGHT - bars[1] - 8, bars[0] - GUTTER - 8
    if needed > max(after, before) and needed + 12 <= widest[1] - widest[0]:
        drawing.text(widest[0] + 6, y - 0.5, words, "inside")
        return
    room = after if needed <= after or after >= before else before
    if room < 4 * LETTER:
        return
    shown = words if needed <= room else words[: int(room / LETTER) - 1] + "…"
    if room == after:
        drawing.text(bars[1] + 8, y, shown, "label")
    else:
        drawing.text(bars[0] - 8, y, shown, "label", anchor="end")


def _marks(drawing: _Drawing, scale: _Scale, lane: str, entries: Sequence[Entry], y: float) -> float:
    """A lane of moments; labels that would meet stand below each other."""
    drawing.text(GUTTER - 10, y + LANE / 2 + 4, lane, "lane", anchor="end")
    rows: list[float] = []  # where each row is free from
    for each in sorted(entries, key=lambda entry: entry.at_ms):
        x, length = scale.x(each.at_ms), len(each.text) * LETTER + 16
        is_left = x + length > WIDTH - RIGHT and x - length > GUTTER
        begin = x - length if is_left else x - 5
        row = next((n for n, free in enumerate(rows) if free <= begin), len(rows))
        if row == len(rows):
            rows.append(0.0)
        rows[row] = max(rows[row], x + 8 if is_left else x + length)
        middle = y + row * (LANE - 6) + LANE / 2
        drawing.dot(x, middle, f"dot {each.tone}", each.text)
        label_x, anchor = (x - 9, "end") if is_left else (x + 9, "start")
        drawing.text(label_x, middle + 4, each.text, "label", anchor=anchor)
    return y + LANE + (len(rows) - 1) * (LANE - 6)


def _compact(drawing: _Drawing, scale: _Scale, entries: Sequence[Entry], y: float) -> float:
    for each in entries:
        until = each.until_ms if each.until_ms is not None else each.at_ms
        kind = f"bar {each.tone}" if not each.text.startswith("up ") else "bar up"
        drawing.bar(scale.x(each.at_ms), scale.x(until), y, COMPACT_BAR, kind, f"{each.lane}: {each.text}")
    return y + COMPACT_LANE


def _ticks(drawing: _Drawing, scale: _Scale, height: float) -> None:
    span = scale.end_ms - scale.begin_ms
    step = next((each for each in STEPS_MS if span / each <= 10), STEPS_MS[-1])
    at = -(-scale.begin_ms // step) * step
    while at <= scale.end_ms:
        x = scale.x(at)
        drawing.line(x, AXIS - 4, x, height, "tick")
        drawing.text(x, AXIS - 9, _seconds(at), "axis", anchor="middle")
        at += step


def _broken(drawing: _Drawing, scale: _Scale, entries: Sequence[Entry], height: float) -> None:
    """A band from each break to what mends it, or to the end."""
    moments = sorted((each for each in entries if each.lane == DRILL), key=lambda each: each.at_ms)
    since: int | None = None
    for each in moments:
        if each.tone == "bad" and since is None:
            since = each.at_ms
        elif each.tone == "good" and since is not None:
            _band(drawing, scale, since, each.at_ms, height)
            drawing.line(scale.x(each.at_ms), AXIS, scale.x(each.at_ms), height, "mended")
            since = None
    if since is not None:
        _band(drawing, scale, since, scale.end_ms, height)


def _band(drawing: _Drawing, scale: _Scale, since: int, until: int, height: float) -> None:
    drawing.bar(scale.x(since), scale.x(until), AXIS, height - AXIS, "broken", "broken")
    drawing.line(scale.x(since), AXIS, scale.x(since), height, "breaks")


def _seconds(at_ms: int) -> str:
    return f"{at_ms / 1000:g} s" if at_ms else "0"
