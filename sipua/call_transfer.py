"""Hands the caller of one call to a person, in the task of the tool.

By REFER it performs what ``sipua.transfer`` decides; for a second leg of ours there is ``sipua.call_bridge``. Which of
the two is said by the trunk of the call, then by the department; else a second leg is tried where REFER is refused.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sipua.actions import Action, EndAfterPlayback
from sipua.actions import HangUp as LeaveCall
from sipua.announcer import Announcer
from sipua.bridge import Bridge
from sipua.call_bridge import CallBridge
from sipua.call_leg import CallLeg
from sipua.conversation import Conversation
from sipua.departments import Department, Departments
from sipua.errors import SipuaError
from sipua.keypad import Keypad
from sipua.outcome import TRANSFERRED
from sipua.ports import CallRecord, Clock, Moment, SipLegs
from sipua.second_leg import SecondLegs
from sipua.sip_events import TransferProgress
from sipua.sip_message import parse_uri
from sipua.tool_settings import TransferSettings
from sipua.tools.schema import ToolError
from sipua.transfer import (
    LIMIT_S,
    DialInstead,
    HangUp,
    Noted,
    Refer,
    Resume,
    Say,
    State,
    Step,
    Transfer,
)
from sipua.trunks.routing import Route

log = logging.getLogger(__name__)

BYE_S = 2.0  # the far end's own comes first, mostly
LOOK_S = 0.02
TOLD_MAX = 32  # NOTIFYs that wait
NOWHERE = ".invalid"  # the host of who withholds their number (RFC 3323 section 4.1.1.3)
NEXT = (
    "the caller has been told so and is back with you: go on helping, or offer that somebody calls back "
    "(request_callback)"
)
NO_LINE = "no line of ours leads to them now: offer to help, or that somebody calls back (request_callback)"
DEFAULTS = TransferSettings()
ALONE = {"transfer_failed": "all_busy"}  # the caller is not back with an agent


class CallTransfer:
    """``perform`` is set by who performs the conversation's actions, ``on_joined`` by the call."""

    def __init__(
        self,
        departments: Departments,
        leg: CallLeg,
        legs: SipLegs,
        conversation: Conversation,
        announcer: Announcer,
        record: CallRecord,
        clock: Clock,
        keypad: Keypad,
        second_legs: SecondLegs | None = None,
        settings: TransferSettings = DEFAULTS,
    ) -> None:
        """Without ``second_legs`` there is REFER alone."""
        self.perform: Callable[[list[Action]], None] = lambda actions: None
        self.has_agent = True  # until the voice service has refused us
        self.on_joined: Callable[[], None] = lambda: None  # the caller talks with a person, through us
        self.settings = settings
        self._keypad = keypad
        self._second_legs = second_legs
        self._bridge: CallBridge | None = None
        self._joined = asyncio.Event()
        self._departments = departments
        self._leg = leg
        self._legs = legs
        self._conversation = conversation
        self._announcer = announcer
        self._record = record
        self._clock = clock
        self._told: asyncio.Queue[TransferProgress] = asyncio.Queue(TOLD_MAX)
        self._is_idle = asyncio.Event()  # no transfer is under way
        self._is_idle.set()

    @property
    def lets_agent_listen(self) -> bool:
        """Not while the caller waits for a person, and while they talk with one only if so set."""
        is_wanted = self.settings.transcribe_bridged if self.is_joined else self._is_idle.is_set()
        return is_wanted and self.has_agent

    @property
    def is_joined(self) -> bool:
        return self._joined.is_set()

    @property
    def person(self) -> CallLeg | None:
        """Whom the caller talks with, through us."""
        return self._bridge.person if self._bridge is not None and self.is_joined else None

    async def settled(self) -> bool:
        """Once no transfer is under way: whether the caller talks with the person."""
        await self._is_idle.wait()
        return self._conversation.is_handed_over

    async def follow(self) -> None:
        """Beside the call: raises when the person whom the caller was joined with is gone."""
        await self._joined.wait()
        assert self._bridge is not None
        await self._bridge.follow()

    async def aclose(self) -> None:
        """The call is over: a second leg ends with it."""
        if self._bridge is not None:
            await self._bridge.close()

    async def to(self, department: str, reason: str) -> Mapping[str, Any]:
        """Returns when the caller talks with the person, or with words of when they open. ToolError: it failed.

        ``reason`` stands in the ledger with the call of the tool.
        """
        if not self._is_idle.is_set() or self.is_joined:
            raise ToolError("a transfer is under way: wait for its result")
        target = self._target_of(department)
        chosen, now = self._departments.by_name[department], self._clock.now()
        if closed := told_closed(self._departments, department, now):
            return closed
        way = self._leg.trunk.transfer_by
        way = chosen.transfer_by if way == "auto" else way
        route = self._route_to(chosen) if way != "refer" else None
        if way == "bridge" and route is None:
            raise ToolError(NO_LINE)
        self._is_idle.clear()
        self._told = asyncio.Queue(TOLD_MAX)
        self._leg.on_transfer = self._hear
        self._conversation.held(True, now)
        try:
            is_done = way != "bridge" and await self._refer(target, department, can_dial=route is not None)
            if not is_done:
                assert route is not None
                left_s = LIMIT_S - (self._now() - now.monotonic)
                await self._dial(route, department, left_s, was_told=way != "bridge")
        finally:
            self._is_idle.set()
            self._conversation.held(self._leg.is_held, self._clock.now())
        return {"status": "connected"}

    def _target_of(self, department: str) -> str:
        """As a URI."""
        target = target_among(self._departments, self._leg.trunk.name, department)
        if not target.startswith("+"):
            return target
        opening = self._record.opening
        theirs = parse_uri(opening.from_uri if opening.direction == "inbound" else opening.to_uri)
        host = theirs.host if theirs is not None else ""  # a tel: URI has none
        return f"tel:{target}" if not host or host.endswith(NOWHERE) else f"sip:{target}@{host}"

    def _route_to(self, department: Department) -> Route | None:
        """Where a second leg would go; None if there is no way for it."""
        number = department.number_of(self._leg.trunk.name)
        if self._second_legs is None or not number:
            return None
        opening = self._record.opening
        theirs = opening.from_number if opening.direction == "inbound" else opening.to_number
        route = self._second_legs.route(number, theirs or "", department.dial_by)
        return route if route.targets else None

    async def _refer(self, target: str, department: str, *, can_dial: bool) -> bool:
        """Whether the caller talks with the person; if not, and nothing is raised, they can be dialled."""
        transfer = Transfer(target, can_dial=can_dial)
        await self._run(transfer, department)
        return transfer.state is State.DONE

    async def _dial(self, route: Route, department: str, left_s: float, *, was_told: bool) -> None:
        assert self._second_legs is not None
        opening = self._record.opening
        ours = opening.to_number if opening.direction == "inbound" else opening.from_number
        ring_s = self.settings.ring_s
        second = self._second_legs.leg(route, self._record, ring_s, ours or "")

        def note(told: Mapping[str, Any], is_done: bool) -> None:
            shown = " ".join(f"{key}={value}" for key, value in told.items() if value)
            log.info("call=%s transfer %s", self._record.id, shown)
            self._record.transfer(self._clock.now(), department, told, is_done=is_done)

        self._bridge = CallBridge(
            Bridge(ring_s, left_s),
            self._leg,
            second,
            self._announcer,
            self._say,
            self._clock,
            note,
            self._join,
        )
        try:
            await self._bridge.reach(was_told=was_told)
        except ToolError as error:
            raise ToolError(f"{error}; {NEXT}") from None

    def _join(self, press: Callable[[str], None]) -> None:
        """From here on the caller's keys are the person's, and the agent says nothing."""

        def claim(key: str) -> bool:
            press(key)
            return True

        self._keypad.collector.claim = claim
        self.perform(self._conversation.hand_over())
        self._joined.set()
        self.on_joined()

    def _hear(self, told: TransferProgress) -> None:
        with contextlib.suppress(asyncio.QueueFull):
            self._told.put_nowait(told)

    async def _run(self, transfer: Transfer, department: str) -> None:
        playout = self._leg.media.playout
        await self._take(transfer, department, transfer.begin(self._now()))
        while transfer.state is State.SAYING:
            steps = transfer.tick(self._now()) if playout.queued_ms else transfer.said(self._now())
            await self._take(transfer, department, steps)
            await asyncio.sleep(LOOK_S)
        while not transfer.is_over:
            due = transfer.deadline()
            assert due is not None
            try:
                async with asyncio.timeout(max(0.0, due - self._now())):
                    told = await self._told.get()
            except TimeoutError:
                steps = transfer.tick(self._now())
            else:
                steps = transfer.told(told.code, told.is_final, self._now())
            await self._take(transfer, department, steps)

    async def _take(self, transfer: Transfer, department: str, steps: Sequence[Step]) -> None:
        for step in steps:
            match step:
                case Say(phrase):
                    self._say(phrase)
                case Noted(state, code, cause):
                    log.info("call=%s transfer %s %d %s", self._record.id, state, code, cause or "")
                    told = {"state": state.value, "code": code} | ({"cause": cause.value} if cause else {})
                    is_done = state is State.DONE
                    self._record.transfer(self._clock.now(), department, told, is_done=is_done)
                case Refer(target):
                    try:
                        await self._legs.refer(self._leg.key, target)
                    except SipuaError as error:
                        log.warning("call=%s > REFER could not be sent: %s", self._record.id, error)
                        await self._take(transfer, department, transfer.not_sent())
                case HangUp():
                    self._leave()
                case DialInstead():
                    pass  # by who called us
                case Resume(reason):
                    raise ToolError(f"{reason}; {NEXT}")

    def _say(self, phrase: str) -> None:
        self._announcer.say(phrase if self.has_agent else ALONE.get(phrase, phrase))

    def _leave(self) -> None:
        """Nothing more is said; our BYE, unless theirs comes before."""
        self._announcer.is_closing = True
        self._leg.handed_over(TRANSFERRED)
        self._conversation.is_handed_over = True
        ending: list[Action] = [LeaveCall(TRANSFERRED), EndAfterPlayback()]
        asyncio.get_running_loop().call_later(BYE_S, self.perform, ending)

    def _now(self) -> float:
        return self._clock.now().monotonic


def target_among(departments: Departments, trunk: str, department: str) -> str:
    """Of a call by this trunk, as departments.toml has it. ToolError names those that can be reached."""
    reachable = {
        name: target for name, each in departments.by_name.items() if (target := each.target_of(trunk))
    }
    if department not in reachable:
        known = ", ".join(reachable) or "none from this call"
        raise ToolError(f"there is no department {department!r}; departments: {known}")
    return reachable[department]


def told_closed(departments: Departments, department: str, now: Moment) -> dict[str, Any]:
    """What the model is to say where nobody is there now; {} if somebody is."""
    hours = departments.hours[department]
    if hours.is_open(now.wall):
        return {}
    return {
        "status": "closed",
        "opens": hours.told(now.wall) or "not known",
        "next": "tell the caller, and offer to help or that somebody calls back (request_callback)",
    } | ({"holiday": holiday} if (holiday := hours.holiday(now.wall)) else {})
