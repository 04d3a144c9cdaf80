"""The command line as a user meets it: exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import orjson
import psycopg
import pytest

from sipua.resources import shipped_conf
from storage.migrate import load, migrate, migrations_dir
from tests.ports import free_port
from tests.postgres import create_database, drop_database

CONFIG_EXIT = 78
NOWHERE = "http://127.0.0.1:9/v1"  # discard: nobody listens


class Shell:
    """Runs ``sipua`` with an environment that holds nothing of the developer's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.conf = folder / "conf"
        bare = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("SIPUA_", "OPENAI_")) and name != "DATABASE_URL"
        }
        self.env = bare | {
            "SIPUA_STATE_DIR": str(folder / "state"),
            "SIPUA_SIP__PORT": "0",
            "SIPUA_HTTP__PORT": "0",
        }

    def __call__(self, *arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(
            [sys.executable, "-m", "sipua", *arguments],
            cwd=self.folder, env=self.env | env, capture_output=True, timeout=60, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def json(self, *arguments: str, code: int = 0, **env: str) -> dict[str, Any]:
        """The document on stdout, which holds nothing else."""
        done = self(*arguments, "--json", **env)
        assert done.returncode == code, done.stderr.decode()
        document: dict[str, Any] = orjson.loads(done.stdout)
        return document


@pytest.fixture
def sipua(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


def test_version_says_what_is_installed(sipua: Shell) -> None:
    document = sipua.json("version")
    assert list(document) == ["sipua", "python", "pjsua2"]
    assert list(document["pjsua2"]) == ["version", "build", "max_calls", "tls"]
    assert document["pjsua2"]["max_calls"] >= 1


def test_init_writes_a_configuration_and_never_overwrites(sipua: Shell) -> None:
    kinds = (".toml", ".md", ".csv", ".yml")
    shipped = [
        path for path in shipped_conf().rglob("*") if path.suffix in kinds or path.parent.name == "grafana"
    ]
    names = sorted(str(path.relative_to(shipped_conf())) for path in shipped if path.is_file())
    document = sipua.json("init", "conf")
    assert document["kept"] == []
    assert sorted(str(Path(name).relative_to("conf")) for name in document["written"]) == names
    (sipua.conf / "sipua.toml").write_text("node = 'mine'\n")
    (sipua.conf / "trunks" / "loopback.toml").unlink()
    document = sipua.json("init", "conf")
    assert document == {
        "written": ["conf/trunks/loopback.toml"],
        "kept": [f"conf/{name}" for name in names if name != "trunks/loopback.toml"],
    }
    assert (sipua.conf / "sipua.toml").read_text() == "node = 'mine'\n"


def test_init_where_a_file_is_in_the_way(sipua: Shell) -> None:
    (sipua.folder / "conf").touch()
    done = sipua("init", "conf")
    assert done.returncode == 1
    assert re.search(rb"sipua: failed: conf/\S+ cannot be written: ", done.stderr)
    assert b"Traceback" not in done.stderr


CONFIG_FAULTS = [
    pytest.param(["serve"], {}, "OPENAI_API_KEY: not set", id="no key"),
    pytest.param(["serve"], {"OPENAI_API_KEY": "k", "SIPUA_SIP__PROT": "1"}, "SIPUA_SIP__PROT: unknown", id="name"),
    pytest.param(["serve"], {"OPENAI_API_KEY": "k", "OPENAI_BASE_URL": "h"}, "OPENAI_BASE_URL", id="base URL"),
    pytest.param(["serve", "--conf", "typo"], {"OPENAI_API_KEY": "k"}, "typo: there is no such folder", id="folder"),
    pytest.param(["migrate"], {"DATABASE_URL": "nonsense:geheim"}, "DATABASE_URL", id="DSN"),
    pytest.param(["call", "sip:a@127.0.0.1", "--trunk", "x"], {}, "--trunk x: no such trunk .*loopback", id="trunk"),
    pytest.param(["call", "0788"], {}, "'0788': expected sip:user@host", id="number without a trunk"),
    pytest.param(["call", "sip:a@127.0.0.1", "--dtmf", "12x"], {}, "--dtmf '12x': 'X' is no key", id="key"),
    pytest.param(["call", "sips:a@127.0.0.1"], {}, "TLS is not in this version", id="sips"),
    pytest.param(["call", "sip:a@127.0.0.1:99999"], {}, "with a port of 1..65535", id="SIP port"),
    pytest.param(["call", "sip:a@127.0.0.1", "--duration", "-1"], {}, "--duration -1: expected more", id="time"),
    pytest.param(["emulate", "realtime", "--fault", "sing"], {}, "sing", id="fault"),
    pytest.param(["emulate", "line", "--to-near", "dull"], {}, "trace 'dull': neither a file nor one of", id="trace"),
    pytest.param(["emulate", "realtime", "--port", "70000"], {}, "--port 70000: allowed", id="port"),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "env", "said"), CONFIG_FAULTS)
def test_a_configuration_fault_is_exit_78_and_one_line(
    sipua: Shell, arguments: list[str], env: dict[str, str], said: str
) -> None:
    shutil.copytree(shipped_conf(), sipua.conf)
    done = sipua(*arguments, "--json", **env)
    assert done.returncode == CONFIG_EXIT, done.stderr.decode()
    document = orjson.loads(done.stdout)
    assert document["error"]["kind"] == "configuration fault"
    assert re.search(said, document["error"]["message"])
    assert done.stderr.decode().startswith("sipua: configuration fault: ")
    assert b"Traceback" not in done.stderr
    assert b"geheim" not in done.stdout + done.stderr


def test_without_json_a_fault_leaves_stdout_empty(sipua: Shell) -> None:
    done = sipua("serve")
    assert (done.returncode, done.stdout) == (CONFIG_EXIT, b"")


def test_wrong_usage_is_exit_2(sipua: Shell) -> None:
    done = sipua("dance")
    assert done.returncode == 2
    assert b"dance" in done.stderr


def test_help_names_every_command(sipua: Shell) -> None:
    done = sipua("--help")
    assert done.returncode == 0
    words = done.stdout.decode().split()
    for command in (
        "serve",
        "demo",
        "init",
        "call",
        "migrate",
        "doctor",
        "trunk",
        "emulate",
        "bench",
        "version",
    ):
        assert command in words


def test_a_sound_that_cannot_be_read_is_named(sipua: Shell) -> None:
    (sipua.folder / "x.wav").write_bytes(b"no sound")
    done = sipua("call", "sip:a@127.0.0.1:9", "--play", "x.wav")
    assert done.returncode == 1
    assert b"sipua: failed: --play " in done.stderr
    assert b"x.wav" in done.stderr


def test_a_call_that_nobody_answers_is_told_in_full(sipua: Shell) -> None:
    document = sipua.json("call", "sip:a@127.0.0.1:9", "--ring-timeout", "1", "--record", "heard.wav", code=1)
    keys = ["status", "sip_code", "reason", "setup_ms", "codec", "duration_seconds", "rtp", "recording"]
    assert set(keys) <= set(document)
    assert document["status"] in ("failed", "no_answer")
    assert (document["setup_ms"], document["codec"], document["duration_seconds"]) == (None, None, 0.0)
    assert document["rtp"]["received"] == 0
    assert (document["rtp"]["jitter_ms"], document["rtp"]["quality"], document["rtp"]["far_end"]) == (
        None,
        None,
        None,
    )
    assert document["recording"] == str(sipua.folder / "heard.wav")


# ---- doctor ----------------------------------------------------------------------------------------------


def checks(document: dict[str, Any]) -> dict[str, dict[str, str]]:
    assert all(list(each) == ["name", "status", "detail", "todo"] for each in document["checks"])
    assert {each["status"] for each in document["checks"]} <= {"ok", "warn", "fail"}
    assert all(each["todo"] for each in document["checks"] if each["status"] != "ok")
    return {each["name"]: each for each in document["checks"]}


def test_doctor_names_a_broken_configuration(sipua: Shell) -> None:
    sipua.conf.mkdir()
    (sipua.conf / "sipua.toml").write_text("[log]\nlevel = 'loud'\n")
    found = checks(sipua.json("doctor", code=CONFIG_EXIT))
    assert list(found) == ["configuration"]
    assert found["configuration"]["status"] == "fail"
    assert "sipua.toml: log.level = 'loud'" in found["configuration"]["detail"]


def test_doctor_names_what_cannot_be_reached(sipua: Shell, database: str) -> None:
    shutil.copytree(shipped_conf(), sipua.conf)
    loopback = sipua.conf / "trunks" / "loopback.toml"
    text = loopback.read_text()
    loopback.write_text(text.replace('domain = "127.0.0.1"', f'domain = "127.0.0.1:{free_port()}"'))
    env = {"DATABASE_URL": database, "OPENAI_API_KEY": "sk-geheim", "OPENAI_BASE_URL": NOWHERE}
    document = sipua.json("doctor", code=1, **env)
    found = checks(document)
    of_machine = ("pjsua2", "rtp ports", "spool")  # as this one is
    assert {name: each["status"] for name, each in found.items() if name not in of_machine} == {
        "configuration": "ok", "trunks": "ok", "agent": "ok", "sip port": "ok", "http port": "ok", "database": "ok",
        "languages": "warn", "voice service": "fail", "alerts": "warn", "clock": "warn", "trunk loopback": "ok",
        "trunk loopback codecs": "ok", "trunk loopback options": "ok", "trunk mtn": "ok", "trunk softphone": "ok",
        "trunk twilio": "ok", "trunk twilio-sip-domain": "ok",
    }  # fmt: skip
    assert found["trunk mtn"]["detail"].startswith("disabled, static, both; ask MTN for domain, ")
    assert found["trunk loopback"]["detail"] == "enabled, static, both"
    assert "127.0.0.1:9" in found["voice service"]["detail"]
    assert "sk-geheim" not in str(document)
    lines = sipua("doctor", **env).stdout.decode().splitlines()
    odd = sum(each["status"] == "warn" for each in found.values())
    assert lines[-1] == f"{len(found)} checks: 1 failed" + (f", {odd} to look at" if odd else "")
    assert [line for line in lines if line.startswith("fail voice service ")]
    assert [line for line in lines if line.startswith("ok     options ")]


def test_doctor_names_a_database_that_is_down_and_a_missing_key(sipua: Shell) -> None:
    shutil.copytree(shipped_conf(), sipua.conf)
    dsn = "postgresql://u:geheim@127.0.0.1:9/x"
    document = sipua.json("doctor", code=CONFIG_EXIT, DATABASE_URL=dsn)
    found = checks(document)
    assert (found["database"]["status"], found["voice service"]["status"]) == ("fail", "fail")
    assert "OPENAI_API_KEY" in found["voice service"]["todo"]
    assert "geheim" not in str(document)


# ---- trunk -----------------------------------------------------------------------------------------------


def test_trunk_setup_tells_the_live_settings(sipua: Shell) -> None:
    shutil.copytree(shipped_conf(), sipua.conf)
    document = sipua.json("trunk", "setup", "twilio", SIPUA_SIP__BIND="8.8.4.4", SIPUA_SIP__PORT="5070")
    assert (document["trunk"], document["enabled"]) == ("twilio", False)
    assert all(list(step) == ["where", "values", "note"] for step in document["steps"])
    assert document["steps"][0]["values"][0] == "sip:8.8.4.4:5070;transport=udp"
    done = sipua("trunk", "setup", "mtn")
    assert done.returncode == 0
    assert b"Ask MTN\n    domain: " in done.stdout


def test_a_trunk_that_is_not_there_is_named_with_those_that_are(sipua: Shell) -> None:
    shutil.copytree(shipped_conf(), sipua.conf)
    done = sipua("trunk", "setup", "nobody")
    assert (done.returncode, done.stdout) == (CONFIG_EXIT, b"")
    assert b"'nobody'" in done.stderr
    assert b"allowed: loopback, mtn, " in done.stderr


def test_the_history_of_trunks_is_that_of_the_database(sipua: Shell, database: str) -> None:
    assert sipua("trunks", "--history", "5", DATABASE_URL=database).stdout == (
        b"no change of any trunk is in the database\n"
    )
    with psycopg.connect(database, autocommit=True) as connection:
        for second, (before, after, why) in enumerate([(None, "30 s", "503"), ("up", "down", "OPTIONS 503")]):
            what = "probe" if before else "retry_after"
            connection.execute(
                "INSERT INTO sipua.trunk_changes"
                " (id, at, node, worker, instance, trunk, target, what, before, after, why) VALUES"
                " (gen_random_uuid(), %s, 'n', 0, gen_random_uuid(), 'mtn', '192.0.2.1:5060;udp', %s, %s, %s, %s)",
                (f"2026-01-01 12:00:0{second}+00", what, before, after, why),
            )
    lines = sipua("trunks", "--history", "5", DATABASE_URL=database, TZ="UTC").stdout.decode().splitlines()
    assert lines == [
        "2026-01-01 12:00:00  mtn 192.0.2.1:5060;udp  retry-after 30 s: 503",
        "2026-01-01 12:00:01  mtn 192.0.2.1:5060;udp  probe up → down: OPTIONS 503",
    ]
    (newest,) = sipua.json("trunks", "--history", "1", DATABASE_URL=database)["changes"]
    assert (newest["trunk"], newest["what"], newest["after"]) == ("mtn", "probe", "down")


def test_a_database_that_was_never_migrated_is_said_to_be(sipua: Shell, postgres_server: str) -> None:
    empty = create_database(postgres_server)
    done = sipua("trunks", "--history", "5", DATABASE_URL=empty)
    drop_database(postgres_server, empty)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"run `sipua migrate`" in done.stderr


# ---- migrate and the emulator ----------------------------------------------------------------------------


def test_migrate_says_what_is_missing(sipua: Shell, database: str) -> None:
    assert sipua.json("migrate", "--check", DATABASE_URL=database)["missing"] == []
    assert sipua.json("migrate", DATABASE_URL=database)["applied"] == []
    down = sipua("migrate", DATABASE_URL="postgresql://u@127.0.0.1:9/x")
    assert down.returncode == 1
    assert down.stderr.startswith(b"sipua: failed: ")


def test_a_database_of_the_first_release_is_brought_up_to_date(sipua: Shell, empty_database: str) -> None:
    first, *later = load()
    folder = sipua.folder / "first"
    folder.mkdir()
    shutil.copy(migrations_dir() / first.file, folder)
    asyncio.run(migrate(empty_database, folder=folder))
    sipua.env["DATABASE_URL"] = empty_database
    missing = sipua.json("migrate", "--check", code=1)["missing"]
    assert missing[: len(later)] == [f"migration {each.file}" for each in later]
    assert "table sipua.call_attempts" in missing
    assert sipua.json("migrate")["applied"] == [each.file for each in later]
    assert sipua.json("migrate", "--check")["missing"] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_emulator_says_when_it_is_ready_and_ends_in_order(sipua: Shell, number: signal.Signals) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "sipua", "emulate", "realtime"], env=sipua.env, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        ready = orjson.loads(process.stdout.readline())
        assert (ready["event"], ready["pid"]) == ("ready", process.pid)
        process.send_signal(number)
        out, err = process.communicate(timeout=15)
    assert (process.returncode, out, err) == (0, b"", b"")
