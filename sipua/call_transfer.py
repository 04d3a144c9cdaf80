"""Hands the caller of one call to a person: performs what ``sipua.transfer`` decides, in the task of the tool."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sipua.actions import Action, EndAfterPlayback
from sipua.actions import HangUp as LeaveCall
from sipua.announcer import Announcer
from sipua.call_leg import CallLeg
from sipua.conversation import Conversation
from sipua.departments import Departments
from sipua.errors import SipuaError
from sipua.outcome import TRANSFERRED
from sipua.ports import CallRecord, Clock, SipLegs
from sipua.sip_events import TransferProgress
from sipua.sip_message import parse_uri
from sipua.tools.schema import ToolError
from sipua.transfer import HangUp, Noted, Refer, Resume, Say, State, Step, Transfer

log = logging.getLogger(__name__)

BYE_S = 2.0  # the far end's own comes first, mostly
LOOK_S = 0.02
TOLD_MAX = 32  # NOTIFYs that wait
NEXT = (
    "the caller has been told so and is back with you: go on helping, or offer that somebody calls back "
    "(request_callback)"
)


class CallTransfer:
    """``perform`` is set by who performs the conversation's actions."""

    def __init__(
        self,
        departments: Departments,
        leg: CallLeg,
        legs: SipLegs,
        conversation: Conversation,
        announcer: Announcer,
        record: CallRecord,
        clock: Clock,
    ) -> None:
        self.perform: Callable[[list[Action]], None] = lambda actions: None
        self.instead: Mapping[str, str] = {}  # phrases that are said in the place of others
        self._departments = departments
        self._leg = leg
        self._legs = legs
        self._conversation = conversation
        self._announcer = announcer
        self._record = record
        self._clock = clock
        self._told: asyncio.Queue[TransferProgress] = asyncio.Queue(TOLD_MAX)
        self._is_running = False

    async def to(self, department: str, reason: str) -> Mapping[str, Any]:
        """Returns when the caller talks with the person, or with words of when they open. ToolError: it failed.

        ``reason`` stands in the ledger with the call of the tool.
        """
        if self._is_running:
            raise ToolError("a transfer is under way: wait for its result")
        target = self._target_of(department)
        hours, now = self._departments.hours[department], self._clock.now()
        if not hours.is_open(now.wall):
            return {
                "status": "closed",
                "opens": hours.told(now.wall) or "not known",
                "next": "tell the caller, and offer to help or that somebody calls back (request_callback)",
            } | ({"holiday": holiday} if (holiday := hours.holiday(now.wall)) else {})
        self._is_running = True
        self._told = asyncio.Queue(TOLD_MAX)
        self._leg.on_transfer = self._hear
        self._conversation.held(True, now)
        try:
            await self._run(Transfer(target), department)
        finally:
            self._is_running = False
            self._conversation.held(self._leg.is_held, self._clock.now())
        return {"status": "connected"}

    def _target_of(self, department: str) -> str:
        """As a URI."""
        trunk = self._leg.trunk.name
        reachable = {
            name: target
            for name, each in self._departments.by_name.items()
            if (target := each.target_of(trunk))
        }
        if department not in reachable:
            known = ", ".join(reachable) or "none from this call"
            raise ToolError(f"there is no department {department!r}; departments: {known}")
        target = reachable[department]
        if not target.startswith("+"):
            return target
        opening = self._record.opening
        theirs = parse_uri(opening.from_uri if opening.direction == "inbound" else opening.to_uri)
        return f"sip:{target}@{theirs.host}" if theirs is not None else f"tel:{target}"

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
                    self._announcer.say(self.instead.get(phrase, phrase))
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
                case Resume(reason):
                    raise ToolError(f"{reason}; {NEXT}")

    def _leave(self) -> None:
        """Nothing more is said; our BYE, unless theirs comes before."""
        self._announcer.is_closing = True
        self._leg.handed_over(TRANSFERRED)
        self._conversation.is_handed_over = True
        ending: list[Action] = [LeaveCall(TRANSFERRED), EndAfterPlayback()]
        asyncio.get_running_loop().call_later(BYE_S, self.perform, ending)

    def _now(self) -> float:
        return self._clock.now().monotonic
