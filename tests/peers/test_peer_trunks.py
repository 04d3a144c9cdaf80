"""The trunks of a running agent: registration, OPTIONS, what the commands show of them, an end with all of it open."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sipua.pj.build import max_accounts
from sipua.sip_message import parse_uri
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.processes import arguments_of, clean_environment, until
from tests.peers.trunk_side import trunk_side
from tests.pjsua2.registrar import Registrar
from tests.ports import free_port

pytestmark = pytest.mark.peer
StartAgent = Callable[..., Agent]
CALLER = 'caller_id = "+250788000001"'


def registering(where: Registrar, folder: Path, **keys: Any) -> str:
    """A trunk that registers; digest user, address of record and contact are three."""
    (folder / "password").write_text("geheim")
    values = {
        "kind": "register", "domain": f"ims.test:{where.port}", "registrar_uri": f"sip:127.0.0.1:{where.port}",
        "auth_user": "impi@ims.test", "aor_user": "line1", "password_file": str(folder / "password"),
        "options_interval_s": 0, **keys,
    }  # fmt: skip
    lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(["[]", CALLER, *lines, '[static_hosts]\n"ims.test" = ["127.0.0.1"]'])


def asked(agent: Agent, *command: str, code: int = 0) -> Any:
    """A command's JSON, asked of this agent."""
    env = clean_environment(
        {"SIPUA_STATE_DIR": str(agent.state), "SIPUA_CONF": str(agent.state.parent / "conf")}
    )
    done = subprocess.run(
        arguments_of([*command, "--json"]), env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return json.loads(done.stdout)


def for_people(agent: Agent, *command: str) -> str:
    """What a command prints in a terminal of 80 columns."""
    env = clean_environment({"SIPUA_STATE_DIR": str(agent.state)})
    done = subprocess.run(
        arguments_of(command), env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def shown(agent: Agent, name: str) -> Mapping[str, Any]:
    """A trunk as ``sipua trunks`` shows it."""
    return next(each for each in asked(agent, "trunks")["trunks"] if each["trunk"] == name)


def is_registered(agent: Agent) -> Callable[[], bool]:
    return lambda: agent.metric("sipua_trunk_registered") == 1


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_a_trunk_registers_is_shown_and_takes_its_binding_back(
    algorithm: str, emulator: Emulator, start_agent: StartAgent, tmp_path: Path
) -> None:
    with trunk_side(algorithms=(algorithm,)) as registrar:
        agent = start_agent(emulator.base_url, trunks={"ims": registering(registrar, tmp_path)})
        until(is_registered(agent), "registered")
        trunk = shown(agent, "ims")
        (binding,) = trunk["registrations"]
        assert (trunk["state"], binding["state"], binding["registered"]) == ("up", "registered", True)
        assert 3500 < binding["expires_in_s"] <= 3600
        assert "expires in 59 min" in for_people(agent, "trunks")
        agent.end()
        expires = [each.header("expires") for each in registrar.sent("REGISTER")]
        assert (expires[0], expires[-1]) == ("3600", "0")
        assert registrar.answered[-1] == 200
        rows = agent.select(
            "SELECT before, after FROM sipua.trunk_changes WHERE what = 'registration' ORDER BY at"
        )
        steps = ["stopped", "registering", "registered", "unregistering", "stopped"]
        assert [row["after"] for row in rows] == steps[1:]
        assert [row["before"] for row in rows] == steps[:-1]


def test_a_registrar_that_is_busy_is_left_alone_as_long_as_it_asks(
    emulator: Emulator, start_agent: StartAgent, tmp_path: Path
) -> None:
    script = ((503, ("Retry-After: 2 (soon)",)), (200, ()))
    with trunk_side(script=script) as registrar:
        agent = start_agent(
            emulator.base_url, trunks={"ims": registering(registrar, tmp_path, reg_retry_first_s=0.1)}
        )
        until(is_registered(agent), "registered")
        assert len(asked(agent, "route", "0788123456")["targets"]) == 1
        rows = agent.select(
            "SELECT at, after, why FROM sipua.trunk_changes WHERE what = 'registration' ORDER BY at"
        )
        at = {row["after"]: row["at"] for row in rows}
        assert [row["why"] for row in rows if row["after"] == "waiting"] == ["REGISTER 503"]
        assert (at["registered"] - at["waiting"]).total_seconds() >= 2
        agent.end()


def test_a_refusal_is_told_and_heals_when_it_does(
    emulator: Emulator, start_agent: StartAgent, tmp_path: Path
) -> None:
    with trunk_side(algorithms=("MD5",), password="another") as registrar:
        agent = start_agent(emulator.base_url, trunks={"ims": registering(registrar, tmp_path)})
        until(
            lambda: agent.metric("sipua_trunk_alerts_total", trunk="ims", reason="credentials_refused"),
            "told",
        )
        assert shown(agent, "ims")["why"] == "not registered: credentials_refused"
        assert len(registrar.sent("REGISTER")) <= 3, "a loop of challenges"
        agent.says("this heals only when somebody mends it")
        (tmp_path / "password").write_text("another")
        agent.signal(signal.SIGHUP)
        until(is_registered(agent), "registered after the password was mended")
        agent.end()


def test_a_nonce_that_has_become_stale_is_no_refusal(
    emulator: Emulator, start_agent: StartAgent, tmp_path: Path
) -> None:
    with trunk_side(algorithms=("SHA-256",), stale=1) as registrar:
        agent = start_agent(emulator.base_url, trunks={"ims": registering(registrar, tmp_path)})
        until(is_registered(agent), "registered")
        assert registrar.answered == [401, 401, 200]
        assert agent.metric("sipua_trunk_alerts_total") == 0
        agent.end()


def test_another_public_address_is_registered(
    emulator: Emulator, start_agent: StartAgent, tmp_path: Path
) -> None:
    """Without a gap; the binding of the old address is taken back, and that of the new one at the end."""
    with trunk_side(algorithms=("MD5",)) as registrar:
        agent = start_agent(emulator.base_url, trunks={"ims": registering(registrar, tmp_path)})
        until(is_registered(agent), "registered")
        file = agent.state.parent / "conf/trunks/ims.toml"
        file.write_text(
            file.read_text().replace("[static_hosts]", 'public_ip = "203.0.113.7"\n[static_hosts]')
        )
        agent.signal(signal.SIGHUP)

        def contacts(expires: str) -> set[str]:
            sent = [each for each in registrar.sent("REGISTER") if each.header("authorization")]
            uris = (
                parse_uri(each.header("contact") or "") for each in sent if each.header("expires") == expires
            )
            return {each.host for each in uris if each is not None}

        until(lambda: "203.0.113.7" in contacts("3600"), "the new one is registered")
        until(lambda: contacts("0"), "the old one is taken back")
        assert shown(agent, "ims")["registrations"][0]["registered"]
        agent.end()
        assert contacts("3600") == contacts("0") == {"127.0.0.1", "203.0.113.7"}
        rows = agent.select("SELECT after FROM sipua.trunk_changes WHERE what = 'registration' ORDER BY at")
        steps = ["registering", "registered", "registering", "registered", "unregistering", "stopped"]
        assert [row["after"] for row in rows] == steps


@pytest.mark.parametrize("options", [0, 0.5], ids=["REGISTER", "REGISTER and OPTIONS"])
def test_the_end_with_requests_in_flight(
    options: float, emulator: Emulator, start_agent: StartAgent, tmp_path: Path
) -> None:
    """Nobody answers anything; pjsua2 of PyPI aborted when it was destroyed with an OPTIONS open."""
    with trunk_side(is_silent=True) as registrar:
        lines = registering(registrar, tmp_path, options_interval_s=options, options_timeout_s=0.2)
        agent = start_agent(emulator.base_url, trunks={"ims": lines})
        wanted = {"REGISTER", "OPTIONS"} if options else {"REGISTER"}
        until(lambda: wanted <= {each.start_line.split()[0] for each in registrar.received}, "the requests")
        agent.end()  # exit code 0, nothing odd said


def test_the_files_are_read_again(emulator: Emulator, start_agent: StartAgent, tmp_path: Path) -> None:
    """Removed: unregistered. Added: registered. Too many: everything stays, and both numbers are named."""
    with trunk_side() as registrar, trunk_side() as other:
        first, second = tmp_path / "first", tmp_path / "second"
        first.mkdir()
        second.mkdir()
        agent = start_agent(
            emulator.base_url, trunks={"here": '["127.0.0.1/32"]', "first": registering(registrar, first)}
        )
        until(is_registered(agent), "registered")
        trunks = agent.state.parent / "conf/trunks"
        text = (trunks / "first.toml").read_text()
        for number in range(max_accounts()):
            (trunks / f"many{number}.toml").write_text(
                f'schema = 1\nname = "many{number}"\nprovider = "x"\ninbound_acl = ["192.0.2.{number % 200}/32"]\n'
            )
        agent.signal(signal.SIGHUP)
        limit = f"this build of pjsua2 has {max_accounts()}"
        agent.says(limit)
        assert asked(agent, "trunks")["trunks"][0]["registrations"][0]["registered"]
        for file in trunks.glob("many*.toml"):
            file.unlink()
        (trunks / "first.toml").unlink()
        added = text.replace('name = "first"', 'name = "second"').replace(
            str(registrar.port), str(other.port)
        )
        (trunks / "second.toml").write_text(added)
        agent.signal(signal.SIGHUP)
        until(lambda: other.sent("REGISTER"), "the new one registers")
        assert registrar.sent("REGISTER")[-1].header("expires") == "0"
        assert [each["trunk"] for each in asked(agent, "trunks")["trunks"]] == ["here", "second"]
        until(lambda: agent.metric("sipua_trunk_registered", trunk="second") == 1, "registered")
        assert agent.metric("sipua_trunk_up", trunk="first") == 0
        agent.end()


def test_more_trunks_than_accounts_refuse_the_start(tmp_path: Path) -> None:
    (tmp_path / "trunks").mkdir()
    count = max_accounts()
    for number in range(count):
        (tmp_path / f"trunks/t{number}.toml").write_text(
            f'schema = 1\nname = "t{number}"\nprovider = "x"\ninbound_acl = ["192.0.2.{number % 200}/32"]\n'
        )
    env = {
        "SIPUA_CONF": str(tmp_path), "SIPUA_STATE_DIR": str(tmp_path / "state"), "SIPUA_SIP__PORT": "0",
        "SIPUA_HTTP__PORT": "0", "OPENAI_API_KEY": "sk-x", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "sipua", "serve"], env=clean_environment(env), capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 78, done.stderr
    assert f"need {count + 1} SIP accounts" in done.stderr
    assert f"this build of pjsua2 has {count}" in done.stderr


PROBED = "options_interval_s = 0.5\noptions_timeout_s = 0.3\ndown_after = 2\nup_after = 1\nhold_down_s = 1"


def test_a_target_that_flaps(emulator: Emulator, start_agent: StartAgent, sipp: StartSipp) -> None:
    port = free_port()
    lines = f'[]\n{CALLER}\ndomain = "127.0.0.1:{port}"\n{PROBED}'
    carrier = sipp("", "uas_options", flags=("-p", str(port)), calls=1000)
    agent = start_agent(emulator.base_url, trunks={"carrier": lines})
    target = f"127.0.0.1:{port};udp"

    def up(state: int) -> Callable[[], bool]:
        return lambda: agent.metric("sipua_trunk_target_up", trunk="carrier", target=target) == state

    until(carrier.got("OPTIONS"), "asked")
    until(lambda: shown(agent, "carrier")["targets"][0]["probe"] == "up", "up")
    assert shown(agent, "carrier")["targets"][0]["options_code"] == 200
    assert agent.metric("sipua_trunk_options_latency_seconds", trunk="carrier") > 0
    carrier.stop()
    until(up(0), "down")
    trunk = shown(agent, "carrier")
    assert (trunk["state"], trunk["why"]) == ("down", "down: OPTIONS unanswered or not healthy")
    assert agent.metric("sipua_trunk_up", trunk="carrier") == 0
    (pong,) = asked(agent, "trunk", "ping", "carrier", code=1)["targets"]
    assert (pong["target"], pong["code"]) == (target, None)
    sipp("", "uas_options", flags=("-p", str(port)), calls=1000)
    until(up(1), "up again")
    (pong,) = asked(agent, "trunk", "ping", "carrier")["targets"]
    assert pong["code"] == 200
    assert target in for_people(agent, "trunk", "ping", "carrier")
    agent.end()
    rows = agent.select("SELECT after FROM sipua.trunk_changes WHERE what = 'probe' ORDER BY at")
    assert [row["after"] for row in rows][:3] == ["up", "down", "up"]


def test_ping_without_an_agent(sipp: StartSipp, tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "trunks").mkdir()
    (tmp_path / "trunks/carrier.toml").write_text(
        f'schema = 1\nname = "carrier"\nprovider = "x"\ndomain = "127.0.0.1:{port}"\noptions_timeout_s = 0.5\n'
    )
    env = clean_environment({"SIPUA_STATE_DIR": str(tmp_path / "state"), "SIPUA_CONF": str(tmp_path)})

    def ping(*flags: str) -> subprocess.CompletedProcess[str]:
        command = arguments_of(["trunk", "ping", "carrier", *flags])
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60, check=False)

    carrier = sipp("", "uas_options", flags=("-p", str(port)), calls=2)
    done = ping("--json")
    assert done.returncode == 0, done.stderr
    (pong,) = json.loads(done.stdout)["targets"]
    assert (pong["target"], pong["code"]) == (f"127.0.0.1:{port};udp", 200)
    carrier.stop()
    done = ping()
    assert done.returncode == 1
    assert "no answer within 0.5 s" in done.stdout


@pytest.mark.parametrize("command", [["trunks"], ["dial", "0788123456"]])
def test_what_needs_an_agent_says_so(command: list[str], tmp_path: Path) -> None:
    env = clean_environment({"SIPUA_STATE_DIR": str(tmp_path)})
    done = subprocess.run(
        arguments_of(command), env=env, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 1
    assert f"no agent is running: nothing answers on {tmp_path}/control.sock" in done.stderr
