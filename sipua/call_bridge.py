"""The caller and a person, joined by us: performs what ``sipua.bridge`` decides.

Until the person answers it runs in the task of the tool; from then on it is a part of the call, which ``follow``s the
person's leg and ``close``s it. What is heard of one leg goes to the other's playout (``rtp.relay``), keys too.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import uuid4

from rtp.relay import Relay
from sipua.announcer import Announcer
from sipua.bridge import Bridge, Dial, Drop, Join, Noted, Ring, Side, State, Step
from sipua.call_leg import CallLeg, CallOver
from sipua.errors import LocalError
from sipua.media import MediaLeg
from sipua.outbound import Rings
from sipua.outcome import MAX_DURATION, TRANSFERRED, Ending
from sipua.ports import Clock
from sipua.ringback import ringback
from sipua.second_leg import News, SecondLeg
from sipua.tools.schema import ToolError
from sipua.transfer import Resume, Say

LOOK_S = 0.02
RINGBACKS = 12  # of 5 s: longer than anybody's telephone rings
KEY_S = 0.2  # that one takes to be sent
KEYS_MAX = 32  # that wait to be sent; more is no finger


class CallBridge:
    """Of one transfer. ``note`` writes down how it stands; ``on_joined`` is the call's."""

    def __init__(
        self,
        core: Bridge,
        caller: CallLeg,
        second: SecondLeg,
        announcer: Announcer,
        say: Callable[[str], None],
        clock: Clock,
        note: Callable[[Mapping[str, Any], bool], None],
        on_joined: Callable[[Callable[[str], None]], None],
    ) -> None:
        """``on_joined`` gets who takes the caller's keys from now on."""
        self._core = core
        self._caller = caller
        self._second = second
        self._announcer = announcer
        self._say = say
        self._clock = clock
        self._note = note
        self._on_joined = on_joined
        self._item_id = f"sipua_bridge_{uuid4().hex}"  # of both playouts

    @property
    def person(self) -> CallLeg | None:
        """The leg that was answered."""
        return self._second.leg

    @property
    def is_joined(self) -> bool:
        return self._core.state is State.BRIDGED

    async def reach(self, *, was_told: bool) -> None:
        """Returns when the two are joined; ToolError if the caller is back with the agent."""
        try:
            self._take(self._core.begin(self._now(), was_told=was_told))
            while not self._core.is_settled:
                self._take(await self._next())
        finally:
            if not self.is_joined:
                self._take(self._core.left(Side.CALLER))
                await self._second.close()

    async def follow(self) -> None:
        """Once joined; raises when the person's leg is gone, or the longest call is over.

        The caller's sound is watched too: there may be no conversation that does it.
        """
        person = self._second.leg
        assert person is not None
        async with asyncio.TaskGroup() as group:
            group.create_task(person.watch(), name="person")
            for leg in (person, self._caller):
                group.create_task(leg.watch_media(self._clock, lambda at, figures: None), name="media")
            await asyncio.sleep(min(person.trunk.max_call_s, self._caller.trunk.max_call_s))
            raise CallOver(MAX_DURATION)

    async def close(self) -> None:
        """The call is over, whatever ended it."""
        person = self._second.leg
        if self.is_joined and person is not None:
            person.catch_up()
            self._caller.catch_up()
            gone = (
                Side.PERSON if person.ended else Side.CALLER if self._caller.ended is not None else Side.AGENT
            )
            self._take(self._core.left(gone))
        await self._second.close()

    async def _next(self) -> Sequence[Step]:
        """What follows from what happens next."""
        if self._core.state is State.SAYING:
            await asyncio.sleep(LOOK_S)
            now = self._now()
            return self._core.tick(now) if self._caller.media.playout.queued_ms else self._core.said(now)
        due = self._core.deadline()
        assert due is not None
        try:
            async with asyncio.timeout(max(0.0, due - self._now())):
                news: News = await self._second.news.get()
        except TimeoutError:
            return self._core.tick(self._now())
        match news:
            case Rings():
                return self._core.rings()
            case Ending():
                return self._core.refused(news.sip_code)
            case _:
                return self._core.answered()

    def _take(self, steps: Sequence[Step]) -> None:
        for step in steps:
            match step:
                case Say(phrase):
                    self._say(phrase)
                case Dial():
                    self._second.dial()
                case Ring():
                    self._ring()
                case Join():
                    self._join()
                case Drop():
                    self._part()
                case Noted():
                    self._note(_told(step), step.state in (State.BRIDGED, State.OVER))
                case Resume(reason):
                    raise ToolError(reason)

    def _ring(self) -> None:
        """For as long as nobody answers."""
        playout = self._caller.media.playout
        tone = ringback(playout.codec)
        for _ in range(RINGBACKS):
            playout.append(f"{self._item_id}_ring", tone)
        playout.end_item(f"{self._item_id}_ring")

    def _join(self) -> None:
        caller, person = self._caller, self._second.leg
        assert person is not None
        self._announcer.hush()
        caller.handed_over(TRANSFERRED)
        caller.media.playout.flush()
        to_caller, to_person = _Keys(caller.media, self._clock), _Keys(person.media, self._clock)
        self._on_joined(to_person.press)
        person.media.start(on_audio=self._way(person.media, to_caller), on_digit=to_caller.press)
        person.hear_keys(to_caller.press)
        caller.media.pass_on(self._way(caller.media, to_person))

    def _way(self, source: MediaLeg, keys: _Keys) -> Callable[[bytes], None]:
        sink = keys.sink
        relay, playout = Relay(source.codec, sink.codec), sink.playout

        def pass_on(payload: bytes) -> None:
            if sink.is_sending and not keys.are_sent:  # else it would wait, and be late for a long time
                playout.append(self._item_id, relay.passed(payload, playout.queued_ms))

        return pass_on

    def _part(self) -> None:
        """No ringing and no person any more."""
        self._caller.media.pass_on(None)
        self._caller.media.playout.flush()
        if self._second.leg is not None:
            self._second.leg.media.start(on_audio=lambda payload: None)

    def _now(self) -> float:
        return self._clock.now().monotonic


class _Keys:
    """Those of one leg, to the other: as events, or as tones where it takes none."""

    def __init__(self, sink: MediaLeg, clock: Clock) -> None:
        self.sink = sink
        self._clock = clock
        self._sent_at = 0.0  # when the last of them will be

    @property
    def are_sent(self) -> bool:
        """Just now, in place of sound."""
        return self._clock.now().monotonic < self._sent_at

    def press(self, key: str) -> None:
        now = self._clock.now().monotonic
        if self._sent_at - now > KEYS_MAX * KEY_S:
            return
        self._sent_at = max(self._sent_at, now) + KEY_S
        with contextlib.suppress(LocalError):  # the leg has nothing negotiated
            self.sink.send_digits(key)


def _told(noted: Noted) -> dict[str, Any]:
    """For ``metadata.transfer``."""
    told: dict[str, Any] = {"by": "bridge", "state": noted.state.value, "code": noted.code}
    if noted.cause is not None:
        told["cause"] = noted.cause.value
    if noted.ended_by is not None:
        told["ended_by"] = noted.ended_by.value
    return told
