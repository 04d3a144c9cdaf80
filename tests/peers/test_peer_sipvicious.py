"""The tools that scan the internet for telephones to abuse: they find no user of ours, ring no call, get no password.

The same scans of a registrar that talks too much find what is there, so that finding nothing means something.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.kamailio import Kamailio
from tests.peers.sipvicious import Scan, scan
from tests.ports import free_port

pytestmark = pytest.mark.peer

USERS = ("-e", "1000-1010", "--force", "--debug")
SCANS = {
    "devices": ("svmap",),
    "devices that ring": ("svmap", "-m", "INVITE"),
    "users by REGISTER": ("svwar", *USERS, "-m", "REGISTER"),
    "users by OPTIONS": ("svwar", *USERS, "-m", "OPTIONS"),
    "users by INVITE": ("svwar", *USERS, "-m", "INVITE"),
    "password by REGISTER": ("svcrack", "-u", "1002", "-d", "words", "--maximumtime", "2"),
    "password by INVITE": ("svcrack", "-u", "1002", "-d", "words", "--maximumtime", "2", "-m", "INVITE"),
}


def all_scans(folder: Path, target: str) -> dict[str, Scan]:
    """At once, each from a port of its own."""
    (folder / "words").write_text("123456\nsecret\npassword\n")
    with ThreadPoolExecutor(len(SCANS)) as pool:
        jobs = {
            name: pool.submit(scan, folder, tool, target, (*flags, "-P", str(free_port())))
            for name, (tool, *flags) in SCANS.items()
        }
        return {name: job.result() for name, job in jobs.items()}


def statuses(found: Scan) -> set[str]:
    """The status lines that the tool says it received."""
    return set(re.findall(r"SIP/2\.0 (\d{3}) ", found.said))


def test_a_scan_of_the_agent_finds_nobody(
    emulator: Emulator, start_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    agent = start_agent(emulator.base_url, trunks={"elsewhere": '["127.0.0.2/32"]'})
    found = all_scans(tmp_path, agent.sip)
    for name, result in found.items():
        assert "180" not in statuses(result), (name, result.said)
        if name.startswith("devices"):
            assert result.rows in ((), ((agent.sip, "unknown"),)), name  # no name, no version
        else:
            assert result.rows == (), (name, result.said)
    assert statuses(found["users by REGISTER"]) == set()
    assert statuses(found["users by OPTIONS"]) == {"200"}
    assert statuses(found["users by INVITE"]) == {"100", "403"}
    assert "found nothing" in found["password by INVITE"].said
    agent.idle()
    assert agent.metric("sipua_invites_rejected_total", code="403", by="us") >= 12
    assert agent.select("SELECT id FROM voice_calls") == []


def test_a_scan_from_where_telephones_call_by_digest_finds_nobody(
    emulator: Emulator, start_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    """Every user is asked for the password alike, the true one too, and none of the words is it."""
    (tmp_path / "password").write_text("a long one that no list has")
    trunk = (
        '["127.0.0.1/32"]\ninbound_auth_user = "1002"\ninbound_algorithms = ["MD5"]\n'
        f'inbound_password_file = "{tmp_path}/password"'
    )
    agent = start_agent(emulator.base_url, trunks={"telephones": trunk})
    found = all_scans(tmp_path, agent.sip)
    for name, result in found.items():
        assert "180" not in statuses(result), (name, result.said)
    assert all(found[name].rows == () for name in found if not name.startswith("devices"))
    assert statuses(found["users by INVITE"]) == {"100", "401"}
    assert "trying password" in found["password by INVITE"].said
    agent.idle()
    assert agent.select("SELECT id FROM voice_calls") == []


def test_the_same_scans_of_a_careless_registrar_find_it_all(
    kamailio: Kamailio, sipp: StartSipp, tmp_path: Path
) -> None:
    port = free_port()
    sipp("", "uas_rings", flags=("-p", str(port)))
    kamailio.add_user("1001", "not in the list of words")
    kamailio.add_binding("1001", f"sip:1001@127.0.0.1:{port}")
    kamailio.add_user("1002", "secret")
    found = all_scans(tmp_path, f"{kamailio.host}:{kamailio.port}")
    assert [row[1].split()[0] for row in found["devices"].rows] == ["kamailio"]
    assert found["users by REGISTER"].rows == (("1001", "reqauth"), ("1002", "reqauth"))
    assert ("1001", "noauth") in found["users by OPTIONS"].rows
    assert ("1001", "weird") in found["users by INVITE"].rows
    assert "180" in statuses(found["users by INVITE"])
    assert found["password by REGISTER"].rows == (("1002", "secret"),)
