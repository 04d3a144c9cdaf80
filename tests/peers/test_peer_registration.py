"""The agent as a subscriber of kamailio's: registered, kept so, refused, told to wait, called, calling and gone."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sipua.control import ask
from tests.certificates import Authority
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.kamailio import DOMAIN, REALM, Kamailio
from tests.peers.processes import run, until
from tests.ports import free_port

pytestmark = pytest.mark.peer
NUMBER = "+250788000001"
USER, PASSWORD = "id-7", "secret"
StartKamailio = Callable[..., Kamailio]
Subscribe = Callable[..., Agent]


@pytest.fixture
def subscribe(start_agent: Callable[..., Agent], emulator: Emulator, tmp_path: Path) -> Subscribe:
    """An agent with one trunk, kamailio's subscriber; ``lines`` are more of its trunk file."""

    def start(kamailio: Kamailio, lines: str = "", *, password: str = PASSWORD) -> Agent:
        if kamailio.is_running:
            kamailio.add_user(USER, PASSWORD, owns=NUMBER)
        (tmp_path / "password").write_text(password)
        host, port = (DOMAIN, kamailio.tls_port) if kamailio.tls_port else (kamailio.host, kamailio.port)
        trunk = (
            f'["{kamailio.host}/32"]\nkind = "register"\ndomain = "{DOMAIN}"\n'
            f'registrar_uri = "sip:{host}:{port}"\noutbound_proxies = ["{host}:{port}"]\n'
            f'aor_user = "{NUMBER}"\nauth_user = "{USER}"\npassword_file = "{tmp_path}/password"\n'
            f'realm = "{REALM}"\ncaller_id = "{NUMBER}"\noptions_interval_s = 0\n{lines}\n'
        )
        return start_agent(emulator.base_url, trunks={"carrier": trunk})

    return start


def registration(agent: Agent) -> Mapping[str, Any]:
    """As the agent tells it of its one trunk."""
    answer = asyncio.run(ask(agent.state, {"command": "trunks"}))
    found: Mapping[str, Any] = answer["trunks"][0]["registrations"][0]
    return found


def is_in(agent: Agent, state: str) -> Callable[[], Any]:
    def look() -> Mapping[str, Any] | None:
        found = registration(agent)
        return found if found["state"] == state else None

    return look


def history(agent: Agent) -> list[str]:
    """The states that its database has, in order; those of a moment too."""
    rows = agent.select("SELECT after FROM sipua.trunk_changes WHERE what = 'registration' ORDER BY at, id")
    return [row["after"] for row in rows]


@pytest.mark.parametrize("algorithm", ["MD5", "SHA-256"])
def test_it_registers_and_takes_its_binding_back(
    start_kamailio: StartKamailio, subscribe: Subscribe, algorithm: str
) -> None:
    """Digest user, address of record and Contact have a user part each."""
    kamailio = start_kamailio(algorithm=algorithm)
    agent = subscribe(kamailio, 'contact_user = "desk"')
    found = until(is_in(agent, "registered"), "registered")
    assert (found["account"], found["registered"], found["failures"]) == ("carrier", True, 0)
    assert 3500 < found["expires_in_s"] <= 3600
    (binding,) = kamailio.bindings()[NUMBER]
    assert binding["Address"] == f"sip:desk@{agent.sip}"
    requests = kamailio.requests("REGISTER")
    assert [each.user for each in requests] == ["", USER]
    assert {each.sender for each in requests} == {f"sip:{NUMBER}@{DOMAIN}"}
    until(lambda: history(agent) == ["registering", "registered"], "its history")
    (state,) = agent.select("SELECT trunk, state FROM sipua.trunk_states WHERE what = 'registration'")
    assert (state["trunk"], state["state"]) == ("carrier", "registered")

    agent.signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert kamailio.bindings() == {}
    assert history(agent)[-2:] == ["unregistering", "stopped"]


def test_it_stays_registered_through_a_stale_nonce(
    start_kamailio: StartKamailio, subscribe: Subscribe
) -> None:
    """Granted ten seconds whatever it asks for: it refreshes when 75 to 90 % are over."""
    kamailio = start_kamailio(max_expires_s=10)
    agent = subscribe(kamailio)
    until(is_in(agent, "registered"), "registered")
    (first,) = kamailio.bindings()[NUMBER]
    kamailio.set("stale", "1")
    until(lambda: len(kamailio.requests("REGISTER")) >= 5, "a refresh with a stale nonce")
    assert [each.user for each in kamailio.requests("REGISTER")] == ["", USER, "", USER, USER]
    begun = [each.at for each in kamailio.requests("REGISTER") if not each.user]
    assert begun[1] - begun[0] > 7
    until(lambda: history(agent)[2:] == ["registering", "registered"], "registered again")
    (binding,) = kamailio.bindings()[NUMBER]
    assert binding["Call-ID"] == first["Call-ID"]
    assert binding["CSeq"] > first["CSeq"]


@pytest.mark.parametrize(("code", "reason"), [("401", "credentials_refused"), ("403", "forbidden")])
def test_a_wrong_password_is_not_tried_again_and_again(
    kamailio: Kamailio, subscribe: Subscribe, code: str, reason: str
) -> None:
    """Registrars say so either by another challenge or by 403."""
    kamailio.set("refuse", code)
    agent = subscribe(kamailio, "reg_retry_first_s = 0.2\nreg_retry_cap_s = 0.2", password="wrong")
    found = until(is_in(agent, "refused"), "refused")
    assert (found["why"], found["registered"]) == (reason, False)
    assert found["next_in_s"] > 100
    assert [each.user for each in kamailio.requests("REGISTER")] == ["", USER]
    assert agent.metric("sipua_trunk_alerts_total", trunk="carrier", reason=reason) == 1
    assert kamailio.bindings() == {}


def test_an_interval_too_brief(kamailio: Kamailio, subscribe: Subscribe) -> None:
    kamailio.set("min_expires", "900")
    agent = subscribe(kamailio, "reg_expires_s = 60")
    found = until(is_in(agent, "registered"), "registered")
    assert 800 < found["expires_in_s"] <= 900
    (binding,) = kamailio.bindings()[NUMBER]
    assert 800 < binding["Expires"] <= 900


def test_retry_after_is_waited_for_and_the_registrar_comes_back(
    kamailio: Kamailio, subscribe: Subscribe
) -> None:
    kamailio.fail("REGISTER", "503", header="Retry-After: 2")
    agent = subscribe(kamailio, "reg_retry_first_s = 0.2\nreg_retry_cap_s = 0.2")
    found = until(is_in(agent, "waiting"), "waiting")
    assert (found["why"], found["registered"]) == ("REGISTER 503", False)
    until(lambda: len(kamailio.requests("REGISTER")) >= 2, "it asks again")
    first, second = kamailio.requests("REGISTER")[:2]
    assert 2 <= second.at - first.at < 3
    kamailio.unset("REGISTER", "header")
    until(is_in(agent, "registered"), "registered")
    assert history(agent)[:3] == ["registering", "waiting", "registering"]


def test_a_silent_registrar_comes_back(kamailio: Kamailio, subscribe: Subscribe) -> None:
    kamailio.fail("REGISTER", "silent")
    agent = subscribe(kamailio)
    until(lambda: len(kamailio.requests("REGISTER", repeated=True)) >= 3, "it repeats itself")
    assert not registration(agent)["registered"]
    kamailio.unset("REGISTER")
    until(is_in(agent, "registered"), "registered")


def test_a_registrar_that_is_down_is_asked_until_it_is_up(
    start_kamailio: StartKamailio, subscribe: Subscribe
) -> None:
    """Over TCP, where nobody's port says so at once."""
    down = start_kamailio()
    down.end()
    agent = subscribe(down, 'transport = "tcp"\nreg_retry_first_s = 0.3\nreg_retry_cap_s = 0.6')
    until(lambda: registration(agent)["failures"] >= 3, "three failures")
    up = start_kamailio(port=down.port)
    up.add_user(USER, PASSWORD, owns=NUMBER)
    until(is_in(agent, "registered"), "registered")
    assert {each.transport for each in up.requests("REGISTER")} == {"tcp"}


def test_calls_come_in_by_the_binding_and_go_out_by_the_proxy(
    kamailio: Kamailio, subscribe: Subscribe, sipp: StartSipp
) -> None:
    agent = subscribe(kamailio, 'contact_user = "desk"')
    until(is_in(agent, "registered"), "registered")
    caller = sipp(f"{kamailio.host}:{kamailio.port}", "call", duration_ms=500, flags=("-s", NUMBER)).wait()
    assert caller.received("200")[0].header("Contact") == f"<sip:desk@{agent.sip}>"
    received = agent.closed_call(caller.call_id)
    assert (received["trunk"], received["direction"], received["outcome"]) == (
        "carrier", "inbound", "caller_hangup",
    )  # fmt: skip

    port = free_port()
    callee = sipp("", "uas_hangs_up", flags=("-p", str(port)), duration_ms=500, formats="0 101")
    kamailio.set("carrier", f"sip:127.0.0.1:{port}")
    conf = agent.state.parent / "conf"
    done = run(
        ["dial", "0788123456", "--machine", "off", "--conf", str(conf), "--json"],
        env={"SIPUA_STATE_DIR": str(agent.state)},
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    assert json.loads(done.stdout)["trunk"] == "carrier"
    invite = callee.wait().received("INVITE")[0]
    assert (invite.header("Contact") or "").startswith(f"<sip:desk@{agent.sip}")
    assert [each.user for each in kamailio.requests("INVITE")][-2:] == ["", USER]


def test_news_of_a_mailbox_are_taken_note_of(kamailio: Kamailio, subscribe: Subscribe) -> None:
    """MWI that nobody subscribed to (RFC 3842): an answer, or the registrar repeats it for ever."""
    agent = subscribe(kamailio)
    until(is_in(agent, "registered"), "registered")
    (binding,) = kamailio.bindings()[NUMBER]
    answer = kamailio.notify(binding["Address"], NUMBER)
    assert answer["code"] == 200
    assert registration(agent)["registered"]


# ---- TLS -----------------------------------------------------------------------------------------------------


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def over_tls(kamailio: Kamailio, authority: Authority) -> str:
    """More of the trunk file: the registrar by its name."""
    return (
        f'transport = "tls"\ntls_ca = "{authority.file}"\n'
        f"[static_hosts]\n{DOMAIN!r} = ['{kamailio.host}']\n"
    )


def test_it_registers_over_tls_with_the_registrar_s_name(
    start_kamailio: StartKamailio, subscribe: Subscribe, sipp: StartSipp, authority: Authority
) -> None:
    """Calls come in over the connection that the registration keeps."""
    kamailio = start_kamailio(tls=authority.issue(DOMAIN))
    agent = subscribe(kamailio, over_tls(kamailio, authority))
    until(is_in(agent, "registered"), "registered")
    assert {each.transport for each in kamailio.requests("REGISTER")} == {"tls"}
    caller = sipp(f"{kamailio.host}:{kamailio.port}", "call", duration_ms=500, flags=("-s", NUMBER)).wait()
    assert agent.closed_call(caller.call_id)["trunk"] == "carrier"


@pytest.mark.parametrize("fault", ["another host", "expired", "nobody's"])
def test_a_registrar_whose_certificate_does_not_hold(
    start_kamailio: StartKamailio, subscribe: Subscribe, authority: Authority, tmp_path: Path, fault: str
) -> None:
    """Not one byte of SIP reaches it."""
    identity = {
        "another host": lambda: authority.issue("other.example.test"),
        "expired": lambda: authority.expired(DOMAIN),
        "nobody's": lambda: Authority(tmp_path, "theirs").issue(DOMAIN),
    }[fault]()
    kamailio = start_kamailio(tls=identity)
    agent = subscribe(kamailio, over_tls(kamailio, authority))
    found = until(is_in(agent, "waiting"), "waiting")
    assert not found["registered"]
    assert "certificate" in found["why"]
    assert kamailio.requests("REGISTER") == []
