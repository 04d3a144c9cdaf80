"""The demo as a user runs it: a whole call over SIP and RTP between separate processes, and what is left of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import psycopg
import pytest

from rtp.wav import read_wav
from sipua.cli.demo import summary
from sipua.resources import shipped_speech
from tests.peers.processes import similarity
from tests.processes import processes_with, wait_until_gone

pytestmark = pytest.mark.timeout(180)


def run_demo(directory: Path, *arguments: str, env: dict[str, str] | None = None) -> dict[str, Any]:
    result = subprocess.run(
        [sys.executable, "-m", "sipua", "demo", "--dir", str(directory), "--json", *arguments],
        capture_output=True, text=True, timeout=150, env=env, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    document: dict[str, Any] = json.loads(result.stdout)
    return document


def test_a_call_is_answered_heard_and_written(tmp_path: Path) -> None:
    elsewhere = os.environ | {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:9/never",
        "SIPUA_SIP__PORT": "5060",
    }
    document = run_demo(tmp_path / "with a space", env=elsewhere)

    assert document["status"] == "completed"
    assert [each["role"] for each in document["transcripts"]] == ["assistant", "user", "assistant"]
    assert 0 < document["first_assistant_audio_ms"] < 5000
    rtp = document["rtp"]
    assert rtp["lost"] == 0
    assert rtp["received"] > 300
    tables = {
        "voice_calls",
        "openai_sessions",
        "transcripts",
        "voice_events",
        "call_attempts",
        "call_consents",
    }
    assert set(document["database"]) == tables
    assert (document["database"]["voice_calls"], document["database"]["call_attempts"]) == (1, 0)
    assert document["rows"]["openai_sessions"][0]["status"] == "completed"
    assert document["rows"]["openai_sessions"][0]["input_audio_format"] == "audio/pcmu"
    with wave.open(document["recording"]) as recording:
        assert recording.getframerate() == 8000
    heard = read_wav(document["recording"])
    answer = read_wav(shipped_speech("taxi_en.wav"))
    another = read_wav(shipped_speech("moto_en.wav"))
    assert similarity(heard, answer) > 0.9
    assert similarity(heard, another) < 0.5
    assert wait_until_gone(str(tmp_path)) == []


def test_live_uses_the_configured_service_and_database(tmp_path: Path, empty_database: str) -> None:
    script = tmp_path / "script.toml"
    script.write_text('name = "mine"\n[greeting]\nsay = "Hi."\naudio = "greeting_en.wav"\n', "utf-8")
    emulator = subprocess.Popen(
        [sys.executable, "-m", "sipua", "emulate", "realtime", "--script", str(script), "--api-key", "sk-mine"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert emulator.stdout is not None
    try:
        base_url = json.loads(emulator.stdout.readline())["base_url"]
        env = os.environ | {
            "DATABASE_URL": empty_database,
            "OPENAI_BASE_URL": base_url,
            "OPENAI_API_KEY": "sk-mine",
            "SIPUA_REALTIME__VOICE": "cedar",
        }
        document = run_demo(tmp_path / "demo", "--live", "--database", env=env)
    finally:
        emulator.terminate()
        assert emulator.wait(20) == 0
        emulator.stdout.close()

    assert document["rows"]["openai_sessions"][0]["voice"] == "cedar"
    with psycopg.connect(empty_database) as connection:
        rows = connection.execute("SELECT id::text, status FROM voice_calls").fetchall()
    assert rows == [(document["call_id"], "completed")]


def test_ctrl_c_leaves_no_process(tmp_path: Path) -> None:
    mark = str(tmp_path / "work")
    demo = subprocess.Popen(
        [sys.executable, "-m", "sipua", "demo", "--dir", mark],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        assert demo.stderr is not None
        for line in demo.stderr:
            if "call talking" in line:
                break
        assert len(processes_with(mark)) >= 4  # demo, agent, caller, database
        os.killpg(demo.pid, signal.SIGINT)
        _, rest = demo.communicate(timeout=60)
    finally:
        demo.kill()
        demo.wait()
    assert demo.returncode == 1
    assert "stopped" in rest
    assert "Traceback" not in rest
    assert wait_until_gone(mark) == []


def test_the_summary_shows_what_was_said_whatever_brackets_it_holds(
    capsys: pytest.CaptureFixture[str],
) -> None:
    said = [{"role": "user", "lang": "en", "content": "[script] see [/b] [red]now"}]
    rows: dict[str, list[dict[str, Any]]] = {"voice_calls": [], "openai_sessions": [], "voice_events": []}
    summary(
        {
            "call_id": "c", "status": "completed", "duration_seconds": 1.0, "recording": "/r[i].wav",
            "first_assistant_audio_ms": 1.0, "transcripts": said, "rows": rows,
            "rtp": {"sent": 1, "received": 1, "lost": 0, "late": 0, "jitter_ms": 0.0, "quality": None},
        }
    )  # fmt: skip
    shown = capsys.readouterr().out
    assert "[script] see [/b] [red]now" in shown
    assert "/r[i].wav" in shown
