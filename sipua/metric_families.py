"""What metrics are made of: families whose labels cannot grow without end, and families that are read when asked.

A label value may come from others (a SIP code, a model, a reason): a family has at most ``SERIES_MAX`` series, what
would be one more is counted under ``other``, and no value is longer than ``VALUE_MAX_CHARS``.

``Standing`` families show what is kept where it arises (a queue's length, a writer's counts). ``take`` reads them all,
on the loop that owns them; the text may then be made in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

SERIES_MAX = 500  # of one family
VALUE_MAX_CHARS = 64
OTHER = "other"

M = TypeVar("M", Counter, Gauge, Histogram)
Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Described:
    """One family as the documents have it; a counter's name ends with ``_total``."""

    name: str
    kind: Kind
    labels: tuple[str, ...]
    help: str


@dataclass(frozen=True, slots=True)
class Buckets:
    """A histogram that was counted elsewhere: (upper bound, how many up to it), +inf last."""

    cumulative: Sequence[tuple[float, int]]
    sum: float


Reading = float | Buckets | Mapping[tuple[str, ...], float]
Read = Callable[[], Reading]


class Labelled(Generic[M]):
    """A family with labels."""

    def __init__(self, family: M) -> None:
        self._family: M = family
        self._known: set[tuple[str, ...]] = set()

    def labels(self, *values: object) -> M:
        """The series of these values, or the one for all that are too many."""
        series = tuple(str(value)[:VALUE_MAX_CHARS] for value in values)
        if series not in self._known:
            if len(self._known) >= SERIES_MAX - 1:
                series = (OTHER,) * len(series)
            self._known.add(series)
        found: M = self._family.labels(*series)
        return found

    def totals(self) -> dict[str, float]:
        """What a counter has counted, by label values (joined by a comma)."""
        return {
            ",".join(sample.labels.values()): sample.value
            for metric in self._family.collect()
            for sample in metric.samples
            if sample.name.endswith("_total")
        }

    def clear(self) -> None:
        self._known.clear()
        self._family.clear()


class Families:
    """Makes them, and knows their names."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.described: list[Described] = []

    def counter(self, name: str, help: str) -> Counter:
        self._describe(f"{name}_total", "counter", (), help)
        return Counter(name, help, registry=self.registry)

    def counters(self, name: str, labels: Sequence[str], help: str) -> Labelled[Counter]:
        self._describe(f"{name}_total", "counter", labels, help)
        return Labelled(Counter(name, help, labels, registry=self.registry))

    def gauge(self, name: str, help: str) -> Gauge:
        self._describe(name, "gauge", (), help)
        return Gauge(name, help, registry=self.registry)

    def gauges(self, name: str, labels: Sequence[str], help: str) -> Labelled[Gauge]:
        self._describe(name, "gauge", labels, help)
        return Labelled(Gauge(name, help, labels, registry=self.registry))

    def histogram(self, name: str, help: str, buckets: Sequence[float]) -> Histogram:
        self._describe(name, "histogram", (), help)
        return Histogram(name, help, buckets=buckets, registry=self.registry)

    def histograms(
        self, name: str, labels: Sequence[str], help: str, buckets: Sequence[float]
    ) -> Labelled[Histogram]:
        self._describe(name, "histogram", labels, help)
        return Labelled(Histogram(name, help, labels, buckets=buckets, registry=self.registry))

    def standing(self, rows: Sequence[Described]) -> Standing:
        self.described += rows
        standing = Standing(rows)
        self.registry.register(standing)
        return standing

    def _describe(self, name: str, kind: Kind, labels: Sequence[str], help: str) -> None:
        self.described.append(Described(name, kind, tuple(labels), help))


class Standing(Collector):
    """The families of ``rows``. One that nobody ``reads`` has no series."""

    def __init__(self, rows: Sequence[Described]) -> None:
        self.rows = rows
        self._rows = {row.name: row for row in rows}
        self._reads: dict[str, Read] = {}
        self._taken: list[Metric] = []

    def reads(self, sources: Mapping[str, Read]) -> None:
        """Where they come from; KeyError for a name that is no row."""
        for name, read in sources.items():
            self._reads[self._rows[name].name] = read

    def take(self) -> None:
        """As they are now."""
        self._taken = [_family(row, self._reads.get(name)) for name, row in self._rows.items()]

    def collect(self) -> Iterable[Metric]:
        return self._taken

    def describe(self) -> Iterator[Metric]:
        return iter(())


def _family(row: Described, read: Read | None) -> Metric:
    reading: Reading = {} if read is None else read()
    if isinstance(reading, Buckets):
        bounds = [
            ("+Inf" if bound == float("inf") else repr(bound), count) for bound, count in reading.cumulative
        ]
        return HistogramMetricFamily(row.name, row.help, bounds, reading.sum)
    family: CounterMetricFamily | GaugeMetricFamily
    if row.kind == "counter":
        family = CounterMetricFamily(row.name, row.help, labels=row.labels)
    else:
        family = GaugeMetricFamily(row.name, row.help, labels=row.labels)
    for labels, value in (reading if isinstance(reading, Mapping) else {(): reading}).items():
        family.add_metric(labels, value)
    return family
