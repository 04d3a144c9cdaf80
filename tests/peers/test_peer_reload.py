"""SIGHUP: the trunk files are read again, and calls that are up notice nothing."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from sipua.control import ask
from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp
from tests.peers.phone import Phone
from tests.peers.processes import until

pytestmark = pytest.mark.peer


def trunk_status(folder: Path) -> Mapping[str, Any]:
    status = asyncio.run(ask(folder / "state", {"command": "status"}))
    trunks: Mapping[str, Any] = status["trunks"]
    return trunks


def read_again(agent: Agent, folder: Path) -> Mapping[str, Any]:
    """Sends SIGHUP and waits until the agent has said what it made of it."""
    before = agent.stderr.count("read again")
    agent.signal(signal.SIGHUP)
    until(lambda: agent.stderr.count("read again") > before, "the trunk files were read")
    return trunk_status(folder)


def test_other_files_count_for_new_calls_only(
    emulator: Emulator, sipp: StartSipp, start_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    folder = tmp_path / "agent0"
    agent = start_agent(emulator.base_url, trunks={"here": '["127.0.0.1/32"]', "there": '["127.0.0.2/32"]'})
    file = folder / "conf/trunks/here.toml"
    good = file.read_text()
    with Phone() as phone:
        caller = sipp(agent.sip, "call", rtp_port=phone.port, duration_ms=6000)
        until(caller.got("200"), "answered")
        file.write_text(good + "enabled = false\n")
        assert read_again(agent, folder)["enabled"] == ["there"]
        assert sipp(agent.sip, "refused").wait().received("403")
        file.write_text(
            good.replace('"127.0.0.1/32"', '"127.0.0.1/32", "127.0.0.3/32"') + 'codecs = ["PCMA"]\n'
        )
        assert read_again(agent, folder)["enabled"] == ["here", "there"]
        assert sipp(agent.sip, "refused", source="127.0.0.3", formats="0").wait().received("488")
        caller.wait()
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    assert call["metadata"]["rtp"]["lost"] == 0
    assert phone.is_hearing_sound()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("acl = []", "here.toml: unknown key 'acl'"),
        ("= nonsense", "here.toml: not valid TOML"),
        ("srtp = 'mandatory'", "srtp = 'mandatory', transport = 'udp': SDES keys would travel in clear"),
        ("refer = true", "refer = true: incoming REFER: not in this version"),
        ("enabled = false", "no trunk file in trunks/ of the configuration folder is enabled"),
        ("auth_user = 'us'\npassword_env = 'NOT_SET_ANYWHERE'", "trunk here: password: "),
    ],
    ids=["key", "TOML", "SRTP in clear", "not yet", "none enabled", "password"],
)
def test_a_bad_file_keeps_the_old_settings_and_says_why(
    line: str,
    said: str,
    emulator: Emulator,
    sipp: StartSipp,
    start_agent: Callable[..., Agent],
    tmp_path: Path,
) -> None:
    folder = tmp_path / "agent0"
    agent = start_agent(emulator.base_url, trunks={"here": '["127.0.0.1/32"]'})
    assert trunk_status(folder)["error"] == ""
    file = folder / "conf/trunks/here.toml"
    good = file.read_text()
    file.write_text(f"{good}{line}\n")
    status = read_again(agent, folder)
    assert said in status["error"]
    assert status["enabled"] == ["here"]
    agent.says(said)
    assert said in asyncio.run(ask(folder / "state", {"command": "trunks"}))["files_refused"]
    assert sipp(agent.sip, "call", duration_ms=100).wait().received("200")
    file.write_text(good)
    assert read_again(agent, folder)["error"] == ""
