"""Our own address changes: what the trunk is told, in Contact and SDP, of new calls and of those that are up."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from uuid import uuid4

import pytest

from tests.peers.agent import Agent, Emulator
from tests.peers.conftest import StartSipp, need
from tests.peers.namespace import Namespace, NotPermittedError
from tests.peers.phone import Phone
from tests.peers.processes import until
from tests.peers.sipp import Message

pytestmark = pytest.mark.peer

FIRST, SECOND = "203.0.113.7", "203.0.113.8"


class Beyond:
    """A trunk on the far side of an address translation: its answers say that it sees us at ``seen``.

    It answers OPTIONS and REGISTER; ``contacts`` are those that are registered with it, in order.
    """

    def __init__(self, seen: str) -> None:
        self.seen = seen
        self.contacts: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.6", 0))
        self.address = "{}:{}".format(*self._socket.getsockname())
        self._thread = threading.Thread(target=self._answer, daemon=True)

    def __enter__(self) -> Beyond:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", self._socket.getsockname())
        self._thread.join(5)
        self._socket.close()

    def _answer(self) -> None:
        while True:
            data, source = self._socket.recvfrom(4096)
            if not data:
                return
            text = data.decode()
            via = re.findall(r"^Via: (.*?)\r$", text, re.M)[0].replace(";rport", f";rport={source[1]}")
            kept = re.findall(r"^(?:From|Call-ID|CSeq): .*?(?=\r$)", text, re.M)
            to = re.findall(r"^To: .*?(?=\r$)", text, re.M)[0] + ";tag=beyond"
            contact = []
            if text.startswith("REGISTER "):
                contact = [f"{each};expires=300" for each in re.findall(r"^Contact: .*?>", text, re.M)]
                self.contacts += re.findall(r"^Contact: <sip:sipua@([0-9.]+):", text, re.M)
            via = f"Via: {via};received={self.seen}"
            lines = ["SIP/2.0 200 OK", via, *kept, to, *contact, "Content-Length: 0", "", ""]
            self._socket.sendto("\r\n".join(lines).encode(), source)


@pytest.fixture
def beyond() -> Iterator[Beyond]:
    with Beyond(FIRST) as responder:
        yield responder


def told(message: Message) -> set[str]:
    """The addresses in Contact and c=. (An offer in a dialog keeps its o=, RFC 3264 section 8.)"""
    contact = re.findall(r"@([0-9.]+):", message.header("Contact") or "")
    return {*contact, *re.findall(r"^c=IN IP4 (\S+)$", message.body, re.M)}


def test_a_public_address_is_learnt_and_a_call_that_is_up_follows_when_it_changes(
    emulator: Emulator, sipp: StartSipp, beyond: Beyond, start_agent: Callable[..., Agent]
) -> None:
    lines = (
        f'domain = "{beyond.address}"\noptions_interval_s = 1\noptions_timeout_s = 0.5\npublic_ip = "auto"'
    )
    agent = start_agent(emulator.base_url, trunks={"nat": f'["127.0.0.1/32"]\n{lines}'})
    agent.says(f"our address is {FIRST} now")

    with Phone() as phone:
        caller = sipp(agent.sip, "call_reoffered", rtp_port=phone.port, duration_ms=300)
        until(caller.got("200"), "answered")
        assert told(caller.received("200")[0]) == {FIRST}
        beyond.seen = SECOND
        caller.wait()
        assert phone.is_hearing_sound()
    (offer,) = caller.received("INVITE")
    assert told(offer) == {SECOND}
    call = agent.closed_call(caller.call_id)
    assert (call["status"], call["outcome"]) == ("completed", "caller_hangup")
    after = sipp(agent.sip, "call", duration_ms=100).wait()
    assert told(after.received("200")[0]) == {SECOND}


def test_a_learnt_address_is_registered(
    emulator: Emulator, beyond: Beyond, start_agent: Callable[..., Agent], tmp_path: Path
) -> None:
    """The answer to the first REGISTER tells it; the second has it, and so has one more when it changes."""
    (tmp_path / "password").write_text("secret")
    lines = (
        f'kind = "register"\nregistrar_uri = "sip:{beyond.address}"\ndomain = "{beyond.address}"\nauth_user = "us"\n'
        f'password_file = "{tmp_path / "password"}"\npublic_ip = "auto"\n'
        "options_interval_s = 1\noptions_timeout_s = 0.5"
    )
    start_agent(emulator.base_url, trunks={"nat": f'["127.0.0.1/32"]\n{lines}'})
    until(lambda: FIRST in beyond.contacts, "the public address is registered")
    assert beyond.contacts[0] == "127.0.0.1"
    beyond.seen = SECOND
    until(lambda: SECOND in beyond.contacts, "the other one too")


def test_a_fixed_public_address_is_told(
    emulator: Emulator, sipp: StartSipp, start_agent: Callable[..., Agent]
) -> None:
    agent = start_agent(
        emulator.base_url, trunks={"nat": f'["127.0.0.1/32"]\npublic_ip = "{FIRST}"'}, SIPUA_SIP__PORT="0"
    )
    port = agent.sip.rpartition(":")[2]
    caller = sipp(f"127.0.0.1:{port}", "call", duration_ms=100).wait()
    answer = caller.received("200")[0]
    assert told(answer) == {FIRST}
    assert re.findall(r"^o=.*IN IP4 (\S+)$", answer.body, re.M) == [FIRST]


WATCHING = """
import asyncio, subprocess, sys
from sipua import own_address
from sipua.media_ports import MediaPorts
from sipua.own_address import OwnAddress
from rtp.ports import PortAllocator
from sipua.trunk import Trunk
own_address.LOOK_EVERY_S = 0.1
trunk = Trunk.model_validate({"schema": 1, "name": "a", "provider": "p"})
fixed = trunk.model_copy(update={"name": "b", "public_ip": "203.0.113.7"})
async def main():
    address = OwnAddress([trunk, fixed], "0.0.0.0", "")
    ports = MediaPorts(PortAllocator(0, 0), "0.0.0.0", address.address_of)
    changes = asyncio.Queue()
    watching = asyncio.create_task(address.watch(lambda name: ("192.0.2.99",), changes.put))
    async with asyncio.timeout(10):
        for step in ("ip addr add 192.0.2.11/24 dev lo", "ip addr del 192.0.2.10/24 dev lo", ""):
            if step != "ip addr del 192.0.2.10/24 dev lo":
                names = await changes.get()
                print(sorted(names), address.address_of(trunk), address.address_of(fixed),
                      ports.open(trunk, "192.0.2.99").address)
            if step:
                subprocess.run(step.split(), check=True)
    watching.cancel()
asyncio.run(main())
"""


def test_another_local_address_is_noticed() -> None:
    """In a network of its own: the machine loses the address that it spoke to the trunk from, and has another."""
    need("ip")
    try:
        with Namespace(f"sipua-{uuid4().hex[:8]}") as network:
            network.run("sysctl", "-qw", "net.ipv4.conf.lo.promote_secondaries=1")
            network.run("ip", "addr", "add", "192.0.2.10/24", "dev", "lo")
            said = subprocess.run(
                [*network.prefix, sys.executable, "-c", WATCHING], cwd=Path(__file__).parents[2],
                capture_output=True, text=True, timeout=30, check=False,
            )  # fmt: skip
    except NotPermittedError as error:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip(f"no network namespace may be made here (root may): {error}")
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines() == [
        "['a'] 192.0.2.10 203.0.113.7 192.0.2.10",
        "['a'] 192.0.2.11 203.0.113.7 192.0.2.11",
    ]
