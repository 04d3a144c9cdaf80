"""Registrars that answer what no registrar should: named in the trunk's state, and never asked in a loop."""

from __future__ import annotations

import asyncio
import itertools
import re
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest

from sipua.control import ask
from tests.peers.agent import Agent, Emulator
from tests.peers.processes import until

pytestmark = pytest.mark.peer
KEPT = re.compile(r"^(?:Via|From|To|Call-ID|CSeq):.*$", re.M)
Answer = Callable[[int], tuple[str, str]]


class FalseRegistrar:
    """Answers its n-th REGISTER with the status and header that ``answer(n)`` says."""

    def __init__(self, answer: Answer) -> None:
        self.asked = 0
        self._answer = answer
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.5", 0))
        self._socket.settimeout(0.05)
        self.port: int = self._socket.getsockname()[1]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="registrar")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()

    def _work(self) -> None:
        for number in itertools.count():
            received = self._receive()
            if received is None:
                return
            text, source = received
            self.asked += 1
            status, header = self._answer(number)
            lines = [f"SIP/2.0 {status}", *KEPT.findall(text), *([header] if header else [])]
            answer = "\r\n".join(line.rstrip("\r") for line in [*lines, "Content-Length: 0", "", ""])
            self._socket.sendto(answer.encode(), source)

    def _receive(self) -> tuple[str, Any] | None:
        while not self._stop.is_set():
            try:
                data, source = self._socket.recvfrom(4096)
            except TimeoutError:
                continue
            return data.decode(), source
        return None


def challenge(parameters: str) -> Answer:
    """A new nonce each time."""
    return lambda number: (
        "401 Who?",
        f'WWW-Authenticate: Digest realm="peers", nonce="n{number}"{parameters}',
    )


def growing(number: int) -> tuple[str, str]:
    return "423 Longer", f"Min-Expires: {4000 + number}"


def says(status: str, header: str = "") -> Answer:
    return lambda _: (status, header)


def states(agent: Agent) -> dict[str, Mapping[str, Any]]:
    """By trunk."""
    answer = asyncio.run(ask(agent.state, {"command": "trunks"}))
    return {each["trunk"]: each["registrations"][0] for each in answer["trunks"]}


@pytest.fixture
def subscribe(start_agent: Callable[..., Agent], emulator: Emulator, tmp_path: Path) -> Callable[..., Agent]:
    def start(*registrars: FalseRegistrar) -> Agent:
        (tmp_path / "password").write_text("secret")
        trunks = {
            f"trunk{number}": f'["127.0.0.5/32"]\nkind = "register"\ndirection = "inbound"\n'
            f'domain = "registrar.example.test"\nregistrar_uri = "sip:127.0.0.5:{each.port}"\nrealm = "peers"\n'
            f'aor_user = "us"\nauth_user = "us"\npassword_file = "{tmp_path}/password"'
            for number, each in enumerate(registrars)
        }
        return start_agent(emulator.base_url, trunks=trunks)

    return start


def test_an_interval_that_is_never_long_enough(subscribe: Callable[..., Agent]) -> None:
    """pjsip alone would send thousands of REGISTERs per second; another trunk has its binding all the same."""
    with (
        FalseRegistrar(growing) as first,
        FalseRegistrar(says("423 Longer", "Min-Expires: 4294967295")) as second,
        FalseRegistrar(says("200 OK", "Expires: 600")) as good,
    ):
        agent = subscribe(first, second, good)
        agent.says("every interval too brief")
        until(lambda: states(agent)["trunk2"]["registered"], "the good one has us")
        assert not any(states(agent)[name]["registered"] for name in ("trunk0", "trunk1"))
        agent.end()  # in order, though REGISTERs are open
        # 64 answers count, whosever they are; beside them the repetitions of what is held back
        assert max(first.asked, second.asked) < 80
        assert first.asked + second.asked < 100


# Three at a time: PyPI's build has accounts for no more.
NONSENSE: dict[str, tuple[tuple[Answer, int, str, str], ...]] = {
    "challenges": (
        (challenge(", stale=true"), 6, "refused", "credentials_refused"),
        (challenge(", algorithm=ROT13"), 1, "refused", "credentials_refused"),
        (says("401 Who?"), 1, "refused", "credentials_refused"),
    ),
    "answers": (
        (says("423 Longer"), 2, "waiting", "REGISTER 423"),
        (says("302 Elsewhere", "Contact: <sip:127.0.0.1:9>"), 1, "waiting", "REGISTER 302"),
        (says("200 OK", "Expires: 0"), 1, "waiting", "REGISTER 200: granted 0 s"),
    ),
}


@pytest.mark.parametrize("kind", NONSENSE)
def test_nonsense_is_named_and_not_asked_for_again(subscribe: Callable[..., Agent], kind: str) -> None:
    """``rows`` are the answer, the most REGISTERs that it may cost, and how the trunk stands then."""
    rows = NONSENSE[kind]
    with ExitStack() as stack:
        registrars = [stack.enter_context(FalseRegistrar(row[0])) for row in rows]
        agent = subscribe(*registrars)
        expected = [(state, why) for _, _, state, why in rows]

        def found() -> list[tuple[str, str]]:
            return [(each["state"], each["why"]) for each in states(agent).values()]

        until(lambda: found() == expected, f"{expected}")
        assert all(not each["registered"] and each["next_in_s"] > 5 for each in states(agent).values())
        assert all(each.asked <= row[1] for each, row in zip(registrars, rows, strict=True))
