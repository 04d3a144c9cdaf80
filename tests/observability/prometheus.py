"""The alert rules and the dashboard as they are shipped, and which metrics their queries name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from sipua.metrics import Metrics

CONF = Path(__file__).parents[2] / "conf"
RULES = CONF / "prometheus" / "sipua.rules.yml"
DASHBOARD = CONF / "grafana" / "sipua.json"
OF_TARGETS = {"job", "instance"}  # what Prometheus adds to each series
SUFFIXES = ("_bucket", "_sum", "_count")
WORDS = {"le"}  # of histograms


def labels_of_metrics() -> dict[str, set[str]]:
    """By every name that a query may use."""
    metrics = Metrics(node="", worker=0, instance="", version="")
    found: dict[str, set[str]] = {"up": set()}
    for each in (*metrics.described, *metrics.process_rows()):
        names = [each.name + suffix for suffix in SUFFIXES] if each.kind == "histogram" else [each.name]
        extra = WORDS if each.kind == "histogram" else set()
        found |= {name: {*each.labels, *extra} for name in names}
    return found


def dashboard_queries() -> list[tuple[str, str, str]]:
    """Panel, query and legend."""
    document = json.loads(DASHBOARD.read_text())
    return [
        (panel["title"], target["expr"], target["legendFormat"])
        for panel in document["panels"]
        for target in panel.get("targets", ())
    ]


def rule_queries() -> dict[str, str]:
    """By alert: all that stands in its rule."""
    texts = re.split(r"\n\s+- alert: ", RULES.read_text())[1:]
    found = {}
    for text in texts:
        name, _, rest = text.partition("\n")
        expr = re.search(r"expr: (?:>-)?(.*?)\n\s+(?:for|labels):", rest, re.S)
        assert expr is not None, name
        found[name] = " ".join(expr[1].split())
    return found


def runbooks() -> dict[str, str]:
    """By alert: its annotations."""
    texts = re.split(r"\n\s+- alert: ", RULES.read_text())[1:]
    return {text.split("\n")[0]: " ".join(text.partition("annotations:")[2].split()) for text in texts}


def names_in(query: str) -> set[str]:
    return set(re.findall(r"\b(?:sipua|process)_[a-z0-9_]+\b|\bup\b", _bare(query)))


def faults(query: str, known: dict[str, set[str]]) -> Iterator[str]:
    """Names that there are not, labels that they do not have."""
    names = names_in(query)
    yield from (f"no metric {name}" for name in names - known.keys())
    for name, matchers in re.findall(r"\b((?:sipua|process)_[a-z0-9_]+|up)\{([^}]*)\}", query):
        for label in re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", re.sub(r'"[^"]*"', "", matchers)):
            if label not in known.get(name, set()) | OF_TARGETS:
                yield f"{name} has no label {label}"
    everywhere = set().union(*(known.get(name, set()) for name in names)) | OF_TARGETS
    for group in re.findall(r"\bby \(([^)]*)\)", query):
        for label in (each.strip() for each in group.split(",")):
            if label not in everywhere:
                yield f"by ({label}): none of {', '.join(sorted(names))} has it"


def _bare(query: str) -> str:
    return re.sub(r'"[^"]*"', '""', query)
