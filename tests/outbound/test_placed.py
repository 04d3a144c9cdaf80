"""Giving a placed call up before it is answered, as far as we know: nothing may stay up, and every attempt is told."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast
from uuid import UUID, uuid4

import pytest

from rtp.pacer import Pacer
from sipua.call_leg import CallOver
from sipua.call_services import CallServices, Legs
from sipua.call_voice import VoiceService
from sipua.clock import SystemClock
from sipua.idle import IdleRules
from sipua.keys import KeyRules
from sipua.media import MediaRules
from sipua.metrics import Metrics
from sipua.placed import Placed
from sipua.ports import AttemptMade, CallRecord, Moment
from sipua.turns import TurnRules
from tests.outbound.test_outbound import NUMBER, OK, Answer, Office, office


@dataclass
class Record:
    """What a placed call tells its record."""

    id: UUID = field(default_factory=uuid4)
    attempts: list[str] = field(default_factory=list)
    trunks: list[str] = field(default_factory=list)

    def attempt(self, at: Moment, made: AttemptMade) -> None:
        self.attempts.append(f"{made.trunk}:{made.reason}")

    def carried(self, *, trunk: str, **rest: Any) -> None:
        self.trunks.append(trunk)


@dataclass
class Scene:
    place: Office
    way: Placed
    record: Record

    async def given_up(self) -> None:
        """As soon as the INVITE is out."""
        watching = asyncio.create_task(self.way.watch())
        await self.place.sip.was_invited.wait()
        watching.cancel()
        await asyncio.gather(watching, return_exceptions=True)
        await self.way.end(500)
        self.way.close()


async def scene(folder: Path, answer: Sequence[Answer]) -> Scene:
    place = await office(folder, {5100: answer, 5101: [OK]})
    record = Record()
    services = CallServices(
        legs=cast(Legs, place.sip),
        voice=cast(VoiceService, None),  # nobody speaks
        pacer=Pacer(),
        ports=place.dialler.ports,
        media=MediaRules(),
        turns=TurnRules(),
        idle=IdleRules(),
        keys=KeyRules(),
        metrics=Metrics(node="", worker=0, instance="", version=""),
        clock=SystemClock(),
    )
    route = place.dialler.route(NUMBER)
    way = Placed(place.dialler, place.sip, route, cast(CallRecord, record), services)
    return Scene(place, way, record)


@pytest.mark.parametrize(
    ("answer", "attempts"),
    [
        ([(180, {})], ["primary:caller_cancelled"]),
        ([OK], ["primary:answered"]),  # its 200 crossed our giving up: BYE
    ],
    ids=["rings", "answers"],
)
async def test_nobody_is_left_ringing_or_talking(
    answer: Sequence[Answer], attempts: list[str], tmp_path: Path
) -> None:
    each = await scene(tmp_path, answer)
    await each.given_up()
    assert each.way.leg is None
    assert len(each.place.sip.hung_up) == 1
    assert each.record.attempts == attempts
    assert each.record.trunks == ["primary"]
    assert each.place.ports.in_use == 0
    assert each.place.dialler.occupancy.calls_up("primary") == 0


@pytest.mark.parametrize(
    ("answers", "rings"), [([(180, {}), OK], True), ([OK], False)], ids=["rings", "at once"]
)
async def test_what_rings_does_so_no_later_than_it_is_answered(
    answers: Sequence[Answer], rings: bool, tmp_path: Path
) -> None:
    """However late the call comes to hear of it: without a telephone that rang it is the moment of the answer."""
    each = await scene(tmp_path, answers)
    watching = asyncio.create_task(each.way.watch())
    leg = await each.way.answered()
    await each.way.ringing()
    assert leg.answered_at is not None
    assert each.way.rang_at is not None
    assert each.way.rang_at.monotonic <= leg.answered_at.monotonic
    assert (each.way.rang_at is leg.answered_at) is not rings
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    each.way.close()


async def test_a_call_that_nobody_takes_is_over(tmp_path: Path) -> None:
    each = await scene(tmp_path, [(486, {})])
    with pytest.raises(CallOver, match="busy"):
        await each.way.watch()
    await each.way.end(500)
    each.way.close()
    assert (each.record.attempts, each.record.trunks) == (["primary:busy"], ["primary"])
    assert each.place.ports.in_use == 0
