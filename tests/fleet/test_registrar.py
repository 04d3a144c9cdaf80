"""One registrar's life in virtual time. The SIP side is scripted; what is sent when is the registrar's own doing."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field

import pytest

from sipua.errors import LocalError
from sipua.ports import Moment
from sipua.registrar import Registered, Registrar
from sipua.sip_events import RegistrationAnswered
from sipua.trunks.answers import Contact
from sipua.trunks.registration import ANSWER_LIMIT_S, Alert, Changed, Phase, RegistrationRules
from tests.fleet.virtual import VirtualClock, run

WHO = Registered("carrier", "carrier", Contact("us", (("192.0.2.7", 5060),)))
Answer = tuple[int, Mapping[str, tuple[str, ...]] | None]
MOVED = Contact("us", (("192.0.2.8", 5060),))
OURS = "<sip:us@192.0.2.7:5060;transport=udp>"
NO_DATE = ("Mon, 16 Nov 2026 13:32:02 +99999999999999999999",)  # beyond what datetime can hold


def ok(seconds: int) -> Answer:
    return 200, {"contact": (f"{OURS};expires={seconds}",)}


@dataclass
class Wire:
    """Answers each REGISTER with the next of ``answers`` (the last one for ever); None is silence, an error is ours."""

    answers: list[Answer | LocalError | None]
    sent: list[tuple[float, int]] = field(default_factory=list)
    steps: list[Changed] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    registrar: Registrar | None = None

    async def register(self, account: str, expires_s: int) -> None:
        assert account == "carrier"
        self.sent.append((asyncio.get_running_loop().time(), expires_s))
        answer = self.answers[min(len(self.sent), len(self.answers)) - 1]
        if isinstance(answer, LocalError):
            raise answer
        if answer is not None:
            asyncio.get_running_loop().call_later(0.1, self._say, *answer)

    def _say(self, code: int, headers: Mapping[str, tuple[str, ...]] | None) -> None:
        assert self.registrar is not None
        self.registrar.deliver(RegistrationAnswered("carrier", code, "", headers))

    @property
    def times(self) -> list[float]:
        return [at for at, _ in self.sent]

    @property
    def asked(self) -> list[int]:
        return [expires_s for _, expires_s in self.sent]


Story = Callable[[Registrar], Awaitable[None]]


def lived(answers: list[Answer | LocalError | None], story: Story, **rules: float) -> Wire:
    """A registrar that is started and then goes through ``story``."""
    wire = Wire(answers)

    async def main() -> None:
        def changed(who: Registered, step: Changed, at: Moment) -> None:
            assert who == WHO
            assert at.monotonic == step.at
            wire.steps.append(step)

        wire.registrar = registrar = Registrar(
            WHO, RegistrationRules(**rules), wire, VirtualClock(), random.Random(1),  # type: ignore[arg-type]
            changed, lambda who, alert: wire.alerts.append(alert),
        )  # fmt: skip
        registrar.start()
        await story(registrar)

    run(main)
    return wire


def after(seconds: float) -> Story:
    async def story(registrar: Registrar) -> None:
        await asyncio.sleep(seconds)
        await registrar.drain(3.0)

    return story


def test_a_binding_is_refreshed_well_before_it_ends_and_taken_back() -> None:
    wire = lived([ok(100)], after(1000))
    assert wire.asked == [3600] * (len(wire.asked) - 1) + [0]
    gaps = [b - a for a, b in zip(wire.times, wire.times[1:-1], strict=False)]
    assert len(gaps) >= 10
    assert all(75 <= gap <= 90.2 for gap in gaps), gaps
    assert wire.steps[-1].after is Phase.STOPPED
    assert wire.steps[-1].why == "unregistered: 200"


def test_what_counts_is_the_lifetime_of_our_own_contact() -> None:
    others = f"<sip:us@192.0.2.99>;expires=7, <sip:else@192.0.2.7>;expires=8, {OURS};expires=1000"
    wire = lived([(200, {"contact": (others,), "expires": ("5",)})], after(700))
    assert wire.asked == [3600, 0]


def test_min_expires_is_obeyed_at_once() -> None:
    wire = lived([(423, {"min-expires": ("7200",)}), ok(7200)], after(10))
    assert wire.asked == [3600, 7200, 0]
    assert wire.times[1] == pytest.approx(0.1)


@pytest.mark.parametrize(
    "header",
    ["600", "600 (maintenance);duration=60", "Sun, 22 Nov 2026 00:10:00 GMT"],
    ids=["s", "comment", "date"],
)
def test_retry_after_is_waited_for(header: str) -> None:
    wire = lived([(503, {"retry-after": (header,)}), ok(3600)], after(900))
    assert 599.9 <= wire.times[1] <= 661


def test_it_never_gives_up_and_slows_down() -> None:
    wire = lived([(500, {})], after(6 * 3600), retry_first_s=10.0, retry_cap_s=600.0)
    gaps = [b - a for a, b in zip(wire.times, wire.times[1:], strict=False)]
    assert len(gaps) > 36
    assert gaps[0] <= 10.2
    assert all(300 <= gap <= 600.2 for gap in gaps[7:])
    assert 0 not in wire.asked, "there was no binding to take back"


def test_refused_credentials_are_told_once_and_tried_slowly() -> None:
    wire = lived([(403, {})], after(1000))
    assert wire.alerts == [Alert("forbidden", 403)]
    assert 4 <= len(wire.sent) <= 7
    assert wire.steps[-2].why_not == "forbidden"


def test_a_silent_registrar_is_no_end() -> None:
    wire = lived([None, ok(3600)], after(120))
    assert wire.times[1] - ANSWER_LIMIT_S <= 30.1
    assert [step.after for step in wire.steps[:3]] == [Phase.REGISTERING, Phase.WAITING, Phase.REGISTERING]


@pytest.mark.parametrize("answer", [LocalError("no such account"), (408, None)], ids=["ours", "pjsip's"])
def test_what_could_not_be_sent_is_tried_again(answer: Answer | LocalError) -> None:
    wire = lived([answer, ok(3600)], after(60))
    assert wire.asked == [3600, 3600, 0]
    assert wire.steps[1].why in ("no such account", "no answer (408)")


@pytest.mark.parametrize(
    "headers",
    [
        {"contact": ("<<>;;expires=;=", "*", "")},
        {"contact": ("<sip:us@192.0.2.7:5060>;expires=soon",), "expires": ("-1",)},
        {"expires": ("99999999999999999999",), "retry-after": ("?",), "min-expires": ("x",)},
        {},
    ],
)
def test_an_answer_full_of_nonsense_grants_what_was_asked(headers: Mapping[str, tuple[str, ...]]) -> None:
    wire = lived([(200, headers)], after(3600))
    assert wire.asked == [3600, 3600, 0]
    assert 2700 <= wire.times[1] <= 3241


@pytest.mark.parametrize("header", ["retry-after", "date"])
def test_a_date_beyond_all_bounds_is_none(header: str) -> None:
    headers = {"retry-after": ("Mon, 16 Nov 2026 13:32:02 GMT",), header: NO_DATE}
    wire = lived([(503, headers), ok(3600)], after(900))
    assert wire.asked == [3600, 3600, 0]


def test_a_lifetime_of_nothing_is_a_failure() -> None:
    wire = lived([ok(0), ok(3600)], after(60))
    assert wire.steps[1].why == "REGISTER 200: granted 0 s"
    assert wire.asked == [3600, 3600, 0]


def test_draining_does_not_wait_for_ever() -> None:
    async def story(registrar: Registrar) -> None:
        await asyncio.sleep(1)
        began = asyncio.get_running_loop().time()
        await registrar.drain(3.0)
        assert asyncio.get_running_loop().time() - began == pytest.approx(3.0)

    assert lived([ok(3600), None], story).asked == [3600, 0]
    assert lived([None], story).asked == [3600]


def test_another_address_of_ours_is_registered_at_once() -> None:
    async def story(registrar: Registrar) -> None:
        registrar.address_changed(MOVED)  # while the first is under way: it is done after its answer
        await asyncio.sleep(10)
        assert wire_times() == [0.0, pytest.approx(0.1)]
        registrar.address_changed(MOVED)
        await asyncio.sleep(10)
        assert wire_times()[2:] == [pytest.approx(10.0)]
        view = registrar.view()
        assert view.phase is Phase.REGISTERED
        assert view.expires_in_s == pytest.approx(3590.1)
        assert registrar.who.contact == MOVED
        await registrar.drain(3.0)

    wire = Wire([ok(3600)])

    def wire_times() -> list[float]:
        return wire.times

    async def main() -> None:
        wire.registrar = registrar = Registrar(
            WHO, RegistrationRules(), wire, VirtualClock(), random.Random(1),
            lambda who, step, at: None, lambda who, alert: None,
        )  # fmt: skip
        registrar.start()
        await story(registrar)

    run(main)
