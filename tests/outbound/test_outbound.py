"""One outbound call on a SIP side made of a few lines: slots, channels, sockets, redirects, faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from rtp.ports import PortAllocator
from sipua.dialler import Dialler
from sipua.errors import LocalError
from sipua.media_ports import MediaPorts, Sockets
from sipua.outbound import OutboundCall, Winner
from sipua.outcome import Ending
from sipua.resolve import resolve_trunks
from sipua.sip_events import (
    EndpointFailed,
    KeyAnswered,
    KeyPressed,
    LegChanged,
    LegProgress,
    LegState,
    MediaChanged,
    MediaDescription,
    SdpPlan,
)
from sipua.trunk import Trunk
from sipua.trunk_files import load_trunks
from sipua.trunks.attempt import CallRules

NUMBER = "0788123456"
Answer = tuple[int, Mapping[str, tuple[str, ...]] | None]
OK: Answer = (200, {})


def trunk_files(folder: Path, **lines: str) -> tuple[Trunk, ...]:
    (folder / "trunks").mkdir(exist_ok=True)
    for rank, (name, more) in enumerate(lines.items()):
        domain = "" if "domain" in more else f'domain = "127.0.0.1:{5100 + rank}"\n'
        (folder / "trunks" / f"{name}.toml").write_text(
            f'schema = 1\nname = "{name}"\nprovider = "carrier"\npriority = {rank}\ndirection = "outbound"\n'
            f'caller_id = "+250788000001"\nfirst_response_timeout_ms = 150\n{domain}{more}\n'
        )
    return load_trunks(folder)


@dataclass
class Carriers:
    """``answers`` maps the port of a target to what it says: (code, headers), nothing, or an error of ours."""

    answers: dict[int, Sequence[Answer] | LocalError]
    dialler: Dialler | None = None
    invited: list[tuple[str, str]] = field(default_factory=list)  # Request-URI and route
    keys: list[UUID] = field(default_factory=list)
    hung_up: list[UUID] = field(default_factory=list)
    accounts: list[tuple[str, bool]] = field(default_factory=list)  # and whether it authenticates
    plans: list[SdpPlan] = field(default_factory=list)
    was_invited: asyncio.Event = field(default_factory=asyncio.Event)

    async def invite(
        self, uri: str, plan: SdpPlan, key: UUID, headers: Sequence[tuple[str, str]] = (), *,
        route: str = "", from_uri: str = "", account: str = "", authenticated: bool = True,
    ) -> None:  # fmt: skip
        self.invited.append((uri, route))
        self.accounts.append((account, authenticated))
        self.keys.append(key)
        self.plans.append(plan)
        self.was_invited.set()
        answer = self.answers[int(route.split(";")[0].rpartition(":")[2])]
        if isinstance(answer, LocalError):
            raise answer
        for code, response in answer:
            self.say(key, code, response)

    def say(self, key: UUID, code: int, headers: Mapping[str, tuple[str, ...]] | None) -> None:
        assert self.dialler is not None
        if code < 200:
            self.dialler.deliver(LegProgress(key, code, False))
            return
        state = LegState.CONNECTING if code < 300 else LegState.DISCONNECTED
        self.dialler.deliver(LegChanged(key, state, code, "", time.monotonic(), headers))

    async def hang_up(self, key: UUID) -> None:
        self.hung_up.append(key)
        self.say(key, 487, None)


@dataclass
class Office:
    dialler: Dialler
    sip: Carriers
    ports: PortAllocator

    async def dial(self) -> tuple[Winner | Ending, OutboundCall]:
        call = self.dialler.call(self.sip, self.dialler.route(NUMBER), CallRules())
        try:
            async with asyncio.timeout(5):
                return await call.dial(), call
        except BaseException:
            call.close()
            raise


async def office(
    folder: Path, answers: dict[int, Sequence[Answer] | LocalError], *, limit: int = 8, **lines: str
) -> Office:
    trunks = trunk_files(folder, **(lines or {"primary": "", "secondary": ""}))
    addresses, faults = await resolve_trunks(trunks)
    assert faults == {}
    sip, ports = Carriers(answers), PortAllocator(0, 0)
    sip.dialler = Dialler.alone(trunks, addresses, limit=limit, held=lambda: limit, ports=MediaPorts(ports))
    return Office(sip.dialler, sip, ports)


def close(*outcomes: Winner | Ending) -> None:
    for outcome in outcomes:
        assert isinstance(outcome, Winner)
        for each in outcome.sockets:
            each.close()


def reasons(call: OutboundCall) -> list[str]:
    return [f"{each.trunk}:{each.reason}" for each in call.attempts]


async def test_the_winner_keeps_its_sockets_and_its_story(tmp_path: Path) -> None:
    """What happens to the leg before the machine has chosen it is not lost: here the far end hangs up at once."""
    place = await office(tmp_path, {5100: [(503, {})], 5101: [(100, {}), (180, {}), OK, (487, None)]})
    outcome, call = await place.dial()
    assert isinstance(outcome, Winner)
    assert reasons(call) == ["primary:service_unavailable", "secondary:answered"]
    assert place.dialler.occupancy.calls_up("secondary") == 1
    states = []
    while not call.events.empty():
        event = call.events.get_nowait()
        assert isinstance(event, LegChanged)
        states.append(event.state)
    assert states == [LegState.CONNECTING, LegState.DISCONNECTED]
    assert place.ports.in_use == 1
    close(outcome)
    call.close()
    assert place.dialler.occupancy.calls_up("secondary") == 0


async def test_each_trunk_says_how_keys_travel(tmp_path: Path) -> None:
    answers: dict[int, Sequence[Answer] | LocalError] = {5100: [(503, {})], 5101: [OK]}
    place = await office(tmp_path, answers, primary='dtmf = "inband"', secondary="")
    outcome, call = await place.dial()
    close(outcome)
    call.close()
    assert [plan.has_telephone_events for plan in place.sip.plans] == [False, True]


async def test_keys_by_info_are_heard_of_the_leg_that_talks(tmp_path: Path) -> None:
    place = await office(tmp_path, {5100: [(180, {})]}, primary='dtmf = "info"')
    call = place.dialler.call(place.sip, place.dialler.route(NUMBER), CallRules())
    dialling = asyncio.create_task(call.dial())
    await place.sip.was_invited.wait()
    (key,) = place.sip.keys
    place.dialler.deliver(KeyPressed(key, "1"))  # while it rings
    place.sip.say(key, 200, {})
    outcome = await dialling
    for event in (KeyPressed(key, "2"), KeyAnswered(key, 200), KeyPressed(uuid4(), "3")):
        place.dialler.deliver(event)
    close(outcome)
    call.close()
    heard = [call.events.get_nowait() for _ in range(call.events.qsize())]
    assert [each for each in heard if not isinstance(each, LegChanged)] == [
        KeyPressed(key, "2"), KeyAnswered(key, 200),
    ]  # fmt: skip


class Listener:
    """``EarlyMedia``: takes the sockets, and keeps where they were."""

    def __init__(self, ports: MediaPorts) -> None:
        self._ports = ports
        self.taken: list[Sockets] = []
        self.heard: list[str] = []

    def hear(self, sockets: Sockets, media: MediaDescription) -> None:
        self.taken = [sockets]
        self.heard.append(media.codec)

    def silence(self) -> None:
        self._ports.give_back(self.taken.pop())


PCMA = MediaDescription("PCMA", 8, 8, -1, -1, ("127.0.0.1", 9), ("127.0.0.1", 10), "sendrecv")


@pytest.mark.parametrize("code", [200, 486])
async def test_early_media_is_heard_until_the_leg_is_given_up(tmp_path: Path, code: int) -> None:
    """The listener has the sockets; the winner's are the same, the loser's are given back once."""
    place = await office(tmp_path, {5100: [(180, {})]}, primary="")
    listener = Listener(place.dialler.ports)
    call = place.dialler.call(place.sip, place.dialler.route(NUMBER), CallRules(), early_media=listener)
    dialling = asyncio.create_task(call.dial())
    await place.sip.was_invited.wait()
    (key,) = place.sip.keys
    for media in (None, PCMA):
        place.dialler.deliver(MediaChanged(key, media))
    assert (listener.heard, len(listener.taken)) == (["PCMA"], 1)
    place.sip.say(key, code, {})
    outcome = await dialling
    assert isinstance(outcome, Winner) is (code == 200)
    assert len(listener.taken) == (code == 200)
    if isinstance(outcome, Winner):
        assert outcome.sockets is listener.taken[0]
        listener.silence()
    assert place.ports.in_use == 0
    call.close()


async def test_nothing_is_left_of_a_call_that_failed(tmp_path: Path) -> None:
    place = await office(tmp_path, {5100: [], 5101: [(486, {})]})
    outcome, call = await place.dial()
    call.close()
    assert isinstance(outcome, Ending)
    assert (outcome.reason, reasons(call)) == ("busy", ["primary:no_response", "secondary:busy"])
    assert len(place.sip.hung_up) == 1
    assert place.ports.in_use == 0
    assert place.dialler.occupancy.calls_up("secondary") == 0
    assert place.dialler.occupancy.slots_in_use() == 1  # the unheard INVITE, until Timer B


async def test_no_slot_is_left(tmp_path: Path) -> None:
    place = await office(tmp_path, {5100: [], 5101: [OK]}, limit=1)
    outcome, call = await place.dial()
    call.close()
    assert isinstance(outcome, Ending)
    assert (outcome.reason, outcome.sip_code) == ("no_call_slot", 503)
    assert len(place.sip.invited) == 1


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ([(503, None)], "transport_error"),  # of pjsip, not of the peer: no response came with it
        ([(408, None)], "no_response"),
        ([(502, None)], "dns_error"),
        (LocalError("no such transport"), "transport_error"),
    ],
)
async def test_an_invite_that_goes_nowhere(
    tmp_path: Path, answer: Sequence[Answer] | LocalError, reason: str
) -> None:
    place = await office(tmp_path, {5100: answer, 5101: [(404, {})]})
    _, call = await place.dial()
    call.close()
    assert reasons(call) == [f"primary:{reason}", "secondary:not_found"]
    assert "breaker open" in place.dialler.route(NUMBER).rejected[0].reason
    assert place.ports.in_use == 0


async def test_retry_after_is_kept(tmp_path: Path) -> None:
    place = await office(tmp_path, {5100: [(503, {"retry-after": ("17",)})], 5101: [(404, {})]})
    _, call = await place.dial()
    call.close()
    (rejected,) = place.dialler.route(NUMBER).rejected
    assert rejected.reason == "asked to be left alone for 17 s more"


async def test_a_full_trunk_is_passed_over(tmp_path: Path) -> None:
    """The last channel went between routing and the INVITE."""
    answers: dict[int, Sequence[Answer] | LocalError] = {5100: [OK], 5101: [OK]}
    place = await office(tmp_path, answers, primary="max_channels = 1", secondary="")
    late = place.dialler.call(place.sip, place.dialler.route(NUMBER), CallRules())
    winner, first = await place.dial()
    other = await late.dial()
    close(winner, other)
    assert reasons(late) == ["primary:all 1 channels are in use", "secondary:answered"]
    first.close()
    late.close()


async def test_a_redirect_goes_to_the_address_it_names(tmp_path: Path) -> None:
    moved = (302, {"contact": ("<sip:other@127.0.0.1:5109>",)})
    place = await office(tmp_path, {5100: [moved], 5109: [OK]})
    outcome, call = await place.dial()
    assert isinstance(outcome, Winner)
    assert place.sip.invited[1] == ("sip:other@127.0.0.1:5109", "sip:127.0.0.1:5109;transport=udp")
    close(outcome)
    call.close()


async def test_a_redirect_leads_where_the_trunk_file_says(tmp_path: Path) -> None:
    """The name is one that no DNS knows; the redirect is the trunk's, its hosts are too."""
    moved = (302, {"contact": ("<sip:other@away.invalid:5109>",)})
    hosts = '[static_hosts]\n"away.invalid" = ["127.0.0.1"]'
    place = await office(tmp_path, {5100: [moved], 5109: [OK]}, primary=hosts)
    outcome, call = await place.dial()
    assert place.sip.invited[1] == ("sip:other@away.invalid:5109", "sip:127.0.0.1:5109;transport=udp")
    close(outcome)
    call.close()


@pytest.mark.parametrize(
    "contact",
    [
        "sip:+12025550100@127.0.0.1:5109",
        "sip:112@127.0.0.1:5109",
        "sips:x@127.0.0.1",
        "sip:x@127.0.0.1:99999",
    ],
)
async def test_a_redirect_that_leads_too_far(tmp_path: Path, contact: str) -> None:
    """Nothing is sent there; another trunk may carry the call, and the target's breaker knows nothing of it."""
    moved = (302, {"contact": (f"<{contact}>",)})
    answers: dict[int, Sequence[Answer] | LocalError] = {5100: [moved], 5101: [OK], 5109: [OK]}
    place = await office(tmp_path, answers, primary='may_dial = ["+250*"]', secondary="")
    outcome, call = await place.dial()
    close(outcome)
    call.close()
    assert [each.reason for each in call.attempts] == ["redirected", "redirect_refused", "answered"]
    assert [route for _, route in place.sip.invited] == [
        "sip:127.0.0.1:5100;transport=udp", "sip:127.0.0.1:5101;transport=udp"
    ]  # fmt: skip
    assert place.dialler.route(NUMBER).rejected == ()


async def test_the_sip_thread_dies(tmp_path: Path) -> None:
    place = await office(tmp_path, {5100: [(100, {})]}, primary="")
    dialling = asyncio.create_task(place.dial())
    await place.sip.was_invited.wait()
    place.dialler.deliver(EndpointFailed("boom"))
    with pytest.raises(LocalError, match="boom"):
        await dialling


async def test_the_caller_gives_up(tmp_path: Path) -> None:
    place = await office(tmp_path, {5100: [(180, {})], 5101: [OK]})
    call = place.dialler.call(place.sip, place.dialler.route(NUMBER), CallRules())
    dialling = asyncio.create_task(call.dial())
    await place.sip.was_invited.wait()
    call.cancel()
    outcome = await dialling
    call.close()
    assert isinstance(outcome, Ending)
    assert (outcome.reason, len(place.sip.invited), len(place.sip.hung_up)) == ("caller_cancelled", 1, 1)


async def test_a_cancelled_task_leaves_nobody_ringing(tmp_path: Path) -> None:
    place = await office(tmp_path, {5100: [(180, {})], 5101: [OK]})
    dialling = asyncio.create_task(place.dial())
    await place.sip.was_invited.wait()
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling
    assert len(place.sip.hung_up) == 1
    assert place.ports.in_use == 0


class Stuck(Carriers):
    """Its thread has not looked at the INVITE yet, and knows no such leg when it is to be hung up."""

    async def invite(self, *arguments: object, **more: object) -> None:
        self.was_invited.set()
        await asyncio.Event().wait()

    async def hang_up(self, key: UUID) -> None:
        self.hung_up.append(key)


async def test_a_leg_that_nobody_has_heard_of_gives_back_its_slot(tmp_path: Path) -> None:
    place = await office(tmp_path, {})
    place.sip = Stuck({}, place.dialler)
    dialling = asyncio.create_task(place.dial())
    await place.sip.was_invited.wait()
    assert place.dialler.occupancy.slots_in_use() == 1
    dialling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await dialling
    assert (place.ports.in_use, place.dialler.occupancy.slots_in_use()) == (0, 0)


async def test_a_call_whose_invite_was_not_sent_is_forgotten(tmp_path: Path) -> None:
    """No event will come of its leg."""
    place = await office(tmp_path, {5100: LocalError("no such account")}, primary="")
    _, call = await place.dial()
    call.close()
    place.dialler.deliver(EndpointFailed("boom"))  # it is told to every call that has a leg
    assert call.events.empty()


async def test_outbound_proxies_stand_for_the_domain_in_their_order(tmp_path: Path) -> None:
    proxies = 'domain = "carrier.test"\noutbound_proxies = ["192.0.2.9", "edge.test:5070"]\n'
    hosts = '[static_hosts]\n"edge.test" = ["192.0.2.1", "192.0.2.2"]'
    addresses, faults = await resolve_trunks(trunk_files(tmp_path, only=proxies + hosts))
    assert faults == {}
    found = [(each.label, each.priority) for each in addresses["only"]]
    assert found == [
        ("192.0.2.9:5060;udp", 0), ("192.0.2.1:5070;udp", 65536), ("192.0.2.2:5070;udp", 65536),
    ]  # fmt: skip


async def test_a_number_has_its_own_account_and_passwords_do_not_follow_redirects(tmp_path: Path) -> None:
    numbers = 'per_number_credentials = [{ number = "+250788000001", password_env = "ANY" }]'
    moved = (302, {"contact": ("<sip:other@127.0.0.1:5109>",)})
    answers: dict[int, Sequence[Answer] | LocalError] = {5100: [(503, {})], 5101: [moved], 5109: [(404, {})]}
    place = await office(
        tmp_path, answers, primary='auth_user = "us"\npassword_env = "ANY"', secondary=numbers
    )
    _, call = await place.dial()
    call.close()
    own = "secondary/+250788000001"
    assert place.sip.accounts == [("primary", True), (own, True), (own, False)]
