"""Each alert fires when it should and is silent when it should be, by promtool on series of the table.

Series are in promtool's notation, a value each 15 s: ``a+bxn`` is n more values, each larger by b.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.observability.prometheus import RULES, rule_queries

EVERY = "15s"
AT = "25m"  # looked at
N = 100
DAY = 86_400
Series = dict[str, str]


def flat(value: float) -> str:
    return f"{value}x{N}"


def rising(step: float) -> str:
    """By so much each 15 s."""
    return f"0+{step}x{N}"


def appears(value: float = 1) -> str:
    """Nothing until five minutes before."""
    return f"_x80 {value}x20"


def buckets(name: str, fast: float, slow: float, bound: str = "1.6", **labels: str) -> Series:
    """A histogram that grows by ``fast`` up to ``bound`` and ``slow`` beyond, each 15 s."""
    more = "".join(f',{key}="{value}"' for key, value in labels.items())
    le = {bound: fast, "8.0": fast + slow, "+Inf": fast + slow}
    series = {f'{name}_bucket{{le="{key}"{more}}}': rising(step) for key, step in le.items()}
    return series | {f"{name}_count{{{more[1:]}}}": rising(fast + slow)}


TRUNK = '{trunk="mtn"}'
# alert: series that make it fire, series that do not
CASES: dict[str, tuple[Series, Series]] = {
    "SipuaDown": ({'up{job="sipua"}': flat(0)}, {'up{job="sipua"}': flat(1), 'up{job="node"}': flat(0)}),
    "SipuaTrunkDown": ({f"sipua_trunk_up{TRUNK}": flat(0)}, {f"sipua_trunk_up{TRUNK}": f"1x{N - 4} 0x3"}),
    "SipuaTrunkTargetDown": (
        {'sipua_trunk_target_up{trunk="mtn",target="192.0.2.1:5060"}': flat(0)},
        {'sipua_trunk_target_up{trunk="mtn",target="192.0.2.1:5060"}': flat(1)},
    ),
    "SipuaTrunkUnregistered": (
        {f"sipua_trunk_registered{TRUNK}": flat(0)},
        {f"sipua_trunk_registered{TRUNK}": f"0x20 1x{N - 20}"},
    ),
    "SipuaTrunkNeedsMending": (
        {'sipua_trunk_alerts_total{trunk="mtn",reason="forbidden"}': appears()},  # its first
        {'sipua_trunk_alerts_total{trunk="mtn",reason="forbidden"}': flat(7)},
    ),
    "SipuaTrunkFull": (
        {f"sipua_trunk_calls{TRUNK}": flat(29), f"sipua_trunk_channels{TRUNK}": flat(30)},
        {f"sipua_trunk_calls{TRUNK}": flat(20), f"sipua_trunk_channels{TRUNK}": flat(30)},
    ),
    "SipuaSlotsNearlyUsed": (
        {"sipua_call_slots_in_use": flat(960), "sipua_call_slots": flat(1024)},
        {"sipua_call_slots_in_use": flat(0), "sipua_call_slots": flat(0)},  # starting
    ),
    "SipuaPortsNearlyUsed": (
        {"sipua_media_ports_in_use": flat(95), "sipua_media_ports": flat(100)},
        {"sipua_media_ports_in_use": flat(95), "sipua_media_ports": flat(0)},  # any that the system gives
    ),
    "SipuaCallsFail": (
        {'sipua_calls_total{status="failed"}': rising(0.2), 'sipua_calls_total{status="completed"}': rising(1)},
        {'sipua_calls_total{status="failed"}': rising(0.05), 'sipua_calls_total{status="completed"}': rising(0.05)},
    ),
    "SipuaInvitesRefused": (
        {'sipua_invites_rejected_total{code="403",by="us"}': rising(30)},
        {'sipua_invites_rejected_total{code="401",by="us"}': rising(30)},  # half of every call with digest
    ),
    "SipuaVoiceServiceRefuses": (
        {'sipua_realtime_alerts_total{reason="realtime_refused"}': appears()},
        {'sipua_realtime_alerts_total{reason="realtime_refused"}': flat(1)},
    ),
    "SipuaVoiceServiceErrors": (
        {'sipua_realtime_errors_total{reason="response_failed"}': rising(1)},
        {'sipua_realtime_errors_total{reason="response_failed"}': rising(0.1)},
    ),
    "SipuaVoiceServiceSlow": (
        buckets("sipua_realtime_connect_seconds", 0, 1, "2.4", why="first"),
        buckets("sipua_realtime_connect_seconds", 1, 0.01, "2.4", why="first"),
    ),
    "SipuaTurnsSlow": (
        buckets("sipua_turn_latency_seconds", 1, 1),
        buckets("sipua_turn_latency_seconds", 0.1, 0.1),  # slow, but of few
    ),
    "SipuaToolsFail": (
        {
            'sipua_tool_calls_total{tool="book",outcome="timeout"}': rising(0.5),
            'sipua_tool_calls_total{tool="book",outcome="ok"}': rising(0.5),
        },
        {
            'sipua_tool_calls_total{tool="book",outcome="ended"}': rising(0.5),
            'sipua_tool_calls_total{tool="book",outcome="ok"}': rising(0.5),
        },
    ),
    "SipuaCallbacksNotTold": (
        {'sipua_callbacks_total{outcome="failed"}': appears()},
        {'sipua_callbacks_total{outcome="told"}': appears()},
    ),
    "SipuaSpendCapOfTheDay": (
        {'sipua_spend_caps_reached_total{cap="day"}': appears()},
        {'sipua_spend_caps_reached_total{cap="call"}': appears()},
    ),
    "SipuaPriceUnknown": (
        {'sipua_realtime_unpriced_total{model="gpt-next"}': rising(1)},
        {'sipua_realtime_unpriced_total{model="gpt-next"}': flat(3)},
    ),
    "SipuaQualityPoor": (
        {f"sipua_call_mos_sum{TRUNK}": rising(3.2), f"sipua_call_mos_count{TRUNK}": rising(1)},
        {f"sipua_call_mos_sum{TRUNK}": rising(4.3), f"sipua_call_mos_count{TRUNK}": rising(1)},
    ),
    "SipuaEgressGaps": (
        {"sipua_rtp_egress_gaps_total": rising(3)},
        {"sipua_rtp_egress_gaps_total": "0x90 20x10"},  # once
    ),
    "SipuaEventLoopLate": (
        buckets("sipua_event_loop_lag_seconds", 50, 1, "0.04"),
        buckets("sipua_event_loop_lag_seconds", 60, 0, "0.04"),
    ),
    "SipuaSipThreadBehind": (
        {"sipua_sip_commands_waiting": flat(0), "sipua_sip_events_waiting": flat(500)},
        {"sipua_sip_commands_waiting": flat(3), "sipua_sip_events_waiting": flat(9)},
    ),
    "SipuaDatabaseDown": (
        {"sipua_database_up": f"1x{N - 10} 0x20"},
        {"sipua_database_up": f"0x{N - 10} 1x20"},
    ),
    "SipuaLedgerBehind": (
        {"sipua_ledger_lag_seconds": rising(15)},
        {"sipua_ledger_lag_seconds": flat(0.1)},
    ),
    "SipuaRowsLost": (
        {'sipua_ledger_facts_dropped_total{why="queue_full"}': f"0x{N - 5} 12x9"},
        {'sipua_ledger_facts_dropped_total{why="queue_full"}': flat(12)},
    ),
    "SipuaSpoolRefuses": (
        {'sipua_ledger_spool_state{state="ok"}': flat(0), 'sipua_ledger_spool_state{state="no_space"}': flat(1)},
        {'sipua_ledger_spool_state{state="ok"}': flat(1), 'sipua_ledger_spool_state{state="no_space"}': flat(0)},
    ),
    "SipuaSpoolFilling": (
        {"sipua_ledger_spool_bytes": flat(6e8), "sipua_ledger_spool_limit_bytes": flat(1e9)},
        {"sipua_ledger_spool_bytes": flat(1e6), "sipua_ledger_spool_limit_bytes": flat(1e9)},
    ),
    "SipuaRecordingsFail": (
        {'sipua_recording_errors_total{reason="disk_full"}': rising(1)},
        {'sipua_recording_errors_total{reason="disk_full"}': flat(1)},
    ),
    "SipuaCertificateEnds": (  # promtool's clock begins at 0
        {"sipua_certificate_expiry_timestamp_seconds": flat(20 * DAY)},
        {"sipua_certificate_expiry_timestamp_seconds": flat(22 * DAY)},
    ),
    "SipuaFilesNearlyUsed": (
        {'process_open_fds{job="sipua"}': flat(900), 'process_max_fds{job="sipua"}': flat(1024)},
        {'process_open_fds{job="node"}': flat(900), 'process_max_fds{job="node"}': flat(1024)},
    ),
    "SipuaHttpErrors": (
        {'sipua_http_requests_total{route="/calls",code="500"}': rising(3)},
        {'sipua_http_requests_total{route="/calls",code="404"}': rising(3)},
    ),
    "SipuaErrorsLogged": (
        {'sipua_log_lines_total{level="error"}': rising(1)},
        {'sipua_log_lines_total{level="warning"}': rising(1)},
    ),
    "SipuaAlertsNotTold": ({"sipua_alerts_waiting": flat(2)}, {"sipua_alerts_waiting": f"0x{N - 10} 2x20"}),
    "SipuaWebhooksForged": (
        {'sipua_openai_webhooks_total{type="unknown",result="forged"}': rising(1)},
        {'sipua_openai_webhooks_total{type="unknown",result="accepted"}': rising(1)},
    ),
    "SipuaLogLinesDropped": (
        {"sipua_log_lines_dropped_total": rising(1)},
        {"sipua_log_lines_dropped_total": flat(5)},
    ),
}  # fmt: skip


def test_every_alert_has_its_cases() -> None:
    assert CASES.keys() == rule_queries().keys()


@pytest.mark.peer
def test_each_fires_when_it_should_and_else_is_silent(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("apt-get install prometheus")
    tests = [together(fires=True), together(fires=False)]
    file = tmp_path / "alerts.yml"
    file.write_text(json.dumps({"rule_files": [str(RULES)], "evaluation_interval": EVERY, "tests": tests}))
    told = subprocess.run([promtool, "test", "rules", str(file)], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr


def together(*, fires: bool) -> dict[str, Any]:
    """One side of all cases at once, which takes a second instead of a minute: none uses the series of another."""
    series = [each for pair in CASES.values() for each in pair[0 if fires else 1].items()]
    assert len({name for name, _ in series}) == len(series)
    return {
        "name": "each fires" if fires else "each is silent",
        "interval": EVERY,
        "input_series": [{"series": name, "values": values} for name, values in series],
        "promql_expr_test": [
            {
                "expr": f'count(ALERTS{{alertname="{alert}",alertstate="firing"}}) > bool 0 or vector(0)',
                "eval_time": AT,
                "exp_samples": [{"labels": "{}", "value": int(fires)}],
            }
            for alert in CASES
        ],
    }
