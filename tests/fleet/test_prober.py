"""OPTIONS in virtual time: a target that flaps, answers that come late, targets that go."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from uuid import UUID

import pytest

from sipua.errors import LocalError
from sipua.prober import Ask, Pinger, Prober
from sipua.sip_events import OptionsAnswered
from sipua.trunks.health import Health
from sipua.trunks.watch import HealthRules, Key, Probe
from tests.fleet.virtual import VirtualClock, run

KEY = Key("carrier", "192.0.2.1:5060;udp")
RULES = HealthRules(options_interval_s=30, options_timeout_s=4, down_after=3, up_after=2, hold_down_s=30)
Answer = tuple[float, int, Mapping[str, tuple[str, ...]] | None]  # after so many seconds


@dataclass
class Target:
    """``answer_at(now)`` says what an OPTIONS of this moment is answered with: None is silence."""

    answer_at: Callable[[float], Answer | LocalError | None]
    asked_at: list[float] = field(default_factory=list)
    pinger: Pinger | None = None

    async def options(self, uri: str, token: UUID, account: str) -> None:
        loop = asyncio.get_running_loop()
        assert (uri, account) == ("sip:192.0.2.1:5060;transport=udp", "carrier")
        self.asked_at.append(loop.time())
        answer = self.answer_at(loop.time())
        if isinstance(answer, LocalError):
            raise answer
        if answer is not None:
            after, code, headers = answer
            loop.call_later(after, self._say, OptionsAnswered(token, code, "", headers))

    def _say(self, event: OptionsAnswered) -> None:
        assert self.pinger is not None
        self.pinger.deliver(event)


@dataclass
class Probing:
    target: Target
    health: Health
    prober: Prober
    pinger: Pinger

    def probe(self) -> Probe:
        return next(each.probe for each in self.health.views(self.now) if each.key == KEY)

    @property
    def now(self) -> float:
        return asyncio.get_running_loop().time()

    async def at(self, seconds: float) -> None:
        await asyncio.sleep(seconds - self.now)


def probing(answer_at: Callable[[float], Answer | LocalError | None]) -> Probing:
    target, health, clock = Target(answer_at), Health(random.Random(1)), VirtualClock()
    target.pinger = pinger = Pinger(target, clock)
    health.watch("carrier", RULES, (KEY.address,), 0.0)
    prober = Prober(
        health, pinger, clock,
        lambda key: Ask(f"sip:192.0.2.1:5060;transport={key.address.rpartition(';')[2]}", "carrier", 4.0),
    )  # fmt: skip
    prober.start()
    return Probing(target, health, prober, pinger)


def test_a_target_that_flaps() -> None:
    """Three misses take it down, two answers bring it up again, but not within the hold-down."""

    async def main() -> None:
        world = probing(lambda now: None if 100 < now < 200 else (0.02, 200, {}))
        await world.at(90)
        assert world.probe() is Probe.UP
        view = world.health.views(90.0)[1]
        assert view.latency_s == pytest.approx(0.02)
        assert view.last_code == 200
        await world.at(160)
        assert world.probe() is Probe.UP, "two misses are not enough"
        await world.at(199)
        assert world.probe() is Probe.DOWN
        assert world.health.why_not(KEY, 199.0).startswith("down")
        await world.at(290)
        assert world.probe() is Probe.UP
        await world.prober.stop()
        changes = [(each.before, each.after) for each in world.health.history.drain()]
        assert changes == [("unknown", "up"), ("up", "down"), ("down", "up")]
        gaps = [b - a for a, b in zip(world.target.asked_at, world.target.asked_at[1:], strict=False)]
        assert all(gap == pytest.approx(30, abs=0.01) for gap in gaps)

    run(main)


def test_an_answer_that_comes_too_late_counts_for_nothing() -> None:
    """Every one arrives while the next is under way."""

    async def main() -> None:
        world = probing(lambda now: (31.0, 200, {}))
        await world.at(200)
        assert world.probe() is Probe.DOWN
        await world.prober.stop()

    run(main)


@pytest.mark.parametrize("answer", [(0.0, 408, None), (0.1, 503, {}), LocalError("no transport")])
def test_what_is_not_healthy(answer: Answer | LocalError) -> None:
    async def main() -> None:
        world = probing(lambda now: answer)
        await world.at(100)
        assert world.probe() is Probe.DOWN
        await world.prober.stop()

    run(main)


@pytest.mark.parametrize("header", ["600", "Sun, 22 Nov 2026 00:10:00 GMT"])
def test_a_target_that_asks_to_be_left_alone_is(header: str) -> None:
    async def main() -> None:
        world = probing(lambda now: (0.1, 503, {"retry-after": (header,)}))
        await world.at(590)
        assert len(world.target.asked_at) == 1
        assert world.health.why_not(KEY, 500.0).startswith("asked to be left alone")
        await world.at(660)
        assert len(world.target.asked_at) > 1
        await world.prober.stop()

    run(main)


def test_targets_come_and_go() -> None:
    async def main() -> None:
        world = probing(lambda now: (0.02, 200, {}))
        await world.at(10)
        world.health.forget("carrier")
        world.prober.look_again()
        await world.at(500)
        assert len(world.target.asked_at) == 1
        world.health.watch("carrier", RULES, (KEY.address,), 500.0)
        world.prober.look_again()
        await world.at(510)
        assert len(world.target.asked_at) == 2
        await world.prober.stop()

    run(main)


def test_stopping_leaves_nothing_behind() -> None:
    async def main() -> None:
        world = probing(lambda now: None)
        await world.at(6)
        await world.prober.stop()
        assert len(asyncio.all_tasks()) == 1
        world.pinger.deliver(OptionsAnswered(UUID(int=1), 200, "", {}))  # of nobody's

    run(main)
