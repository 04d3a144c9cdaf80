"""A deadline that moves: in virtual time, what rings when."""

from __future__ import annotations

import asyncio

import pytest

from sipua.alarm import Alarm
from tests.fleet.virtual import VirtualClock, run


@pytest.mark.parametrize(
    ("moves", "rings"),
    [
        ([(0, 5.0)], [5.0]),
        ([(0, 5.0), (1, 3.0)], [3.0]),  # brought forward
        ([(0, 5.0), (1, 9.0)], [9.0]),  # put off: it wakes at 5, has nothing to do, and says nothing
        ([(0, None), (2, 4.0)], [4.0]),
        ([(0, 5.0), (1, None)], []),
    ],
)
def test_it_rings_at_the_deadline_of_the_moment(
    moves: list[tuple[float, float | None]], rings: list[float]
) -> None:
    async def story() -> list[float]:
        clock = VirtualClock()
        heard: list[float] = []
        began = clock.now().monotonic
        deadline: float | None = None
        alarm = Alarm(lambda: None if deadline is None else began + deadline, clock)

        async def listen() -> None:
            nonlocal deadline
            async for now in alarm.rings():
                heard.append(round(now.monotonic - began, 3))
                deadline = None

        listening = asyncio.create_task(listen())
        for at, moved in moves:
            await asyncio.sleep(began + at - clock.now().monotonic)
            deadline = moved
            alarm.moved()
        await asyncio.sleep(20)
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)
        return heard

    assert run(story) == rings
