"""What is shipped for Prometheus and Grafana names only what there is, and names all that there is."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sipua.cli import app
from sipua.metrics import Metrics
from sipua.settings import Settings
from tests.observability.prometheus import (
    DASHBOARD,
    RULES,
    dashboard_queries,
    faults,
    labels_of_metrics,
    names_in,
    rule_queries,
    runbooks,
)

KNOWN = labels_of_metrics()
OTHERS = {"process_virtual_memory_bytes", "process_start_time_seconds", "sipua_process_info"}  # of no panel


@pytest.mark.parametrize(("alert", "query"), rule_queries().items(), ids=rule_queries())
def test_an_alert_names_what_there_is(alert: str, query: str) -> None:
    assert names_in(query), query
    assert list(faults(query, KNOWN)) == []


def test_the_dashboard_names_what_there_is() -> None:
    for panel, query, legend in dashboard_queries():
        assert names_in(query), (panel, query)
        assert list(faults(query, KNOWN)) == [], panel
        labels = set().union(*(KNOWN[name] for name in names_in(query))) | {"instance"}
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels, panel


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for _, query, _ in dashboard_queries() for name in names_in(query)}
    metrics = Metrics(node="", worker=0, instance="", version="")
    for each in (*metrics.described, *metrics.process_rows()):
        if each.name not in OTHERS:
            is_shown = any(name.startswith(each.name) for name in shown)
            assert is_shown, f"{each.name}: give it a panel in {DASHBOARD.name}"


@pytest.mark.parametrize(
    ("query", "fault"),
    [
        ("sipua_nothing > 1", "no metric sipua_nothing"),
        ('sipua_calls_total{colour="red"}', "sipua_calls_total has no label colour"),
        ("sum by (colour) (sipua_calls_total)", "by (colour): none of sipua_calls_total has it"),
        ("sipua_tool_seconds > 1", "no metric sipua_tool_seconds"),  # a histogram has no series of its name
    ],
)
def test_a_name_that_is_wrong_is_found(query: str, fault: str) -> None:
    assert list(faults(query, KNOWN)) == [fault]


def test_what_a_runbook_says_can_be_done() -> None:
    settings = {
        f"{table}.{key}"
        for table, field in Settings.model_fields.items()
        for key in getattr(field.annotation, "model_fields", {})
    }
    tables = {each.partition(".")[0] for each in settings}
    for alert, text in runbooks().items():
        assert "summary:" in text, alert
        assert "runbook:" in text, alert
        for table, key in re.findall(r"(?<!docs/)\b([a-z]+)\.([a-z_]+)\b", text):
            if table in tables:
                assert f"{table}.{key}" in settings, (alert, f"{table}.{key}")
        for command in re.findall(r"`sipua ([a-z]+(?: [a-z]+)?)", text):
            assert CliRunner().invoke(app, [*command.split(), "--help"]).exit_code == 0, (alert, command)
        quoted = re.findall(r'"([^"]*)"', text.partition("runbook:")[2].strip(' "').replace('\\"', '"'))
        for panel in (each for each in quoted if each[0].isupper()):
            assert panel in {title for title, _, _ in dashboard_queries()}, (alert, panel)


@pytest.mark.peer
def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("apt-get install prometheus")
    rules = [
        {
            "record": f"panel:{number}",
            "expr": query.replace("$__rate_interval", "1m").replace("$instance", ".*"),
        }
        for number, (_, query, _) in enumerate(dashboard_queries())
    ]
    queries = tmp_path / "panels.yml"
    queries.write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))  # JSON is YAML
    told = subprocess.run(
        [promtool, "check", "rules", str(RULES), str(queries)], capture_output=True, text=True, timeout=20
    )
    assert told.returncode == 0, told.stdout + told.stderr


def test_the_dashboard_can_be_imported() -> None:
    document = json.loads(DASHBOARD.read_text())
    assert document["uid"] == "sipua"
    ids = [panel["id"] for panel in document["panels"]]
    assert len(ids) == len(set(ids))
    boxes = [panel["gridPos"] for panel in document["panels"]]
    for first, a in enumerate(boxes):
        assert a["x"] + a["w"] <= 24
        for b in boxes[first + 1 :]:
            apart = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
            assert apart or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (a, b)
