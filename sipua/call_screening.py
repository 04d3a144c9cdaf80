"""Who has taken a call of ours, and what is done if it is a machine. The findings are ``sipua.answering_machine``'s.

Until a person is found (or nobody can tell) nothing is said, and the voice session hears silence of equal length, so
that the model neither answers a machine nor greets over a "hello". A machine is hung up on, or left a message after its
beep: the given words by the model, or a recording. If a message was begun because the machine was silent and the beep
follows, it is begun again.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from typing import Any

import numpy as np

from rtp.beep import RATE
from sipua.actions import Action
from sipua.announcer import Announcer
from sipua.answering_machine import AnsweringMachine, Finding, Found, MachineRules
from sipua.call_leg import CallOver
from sipua.conversation import Conversation
from sipua.echo_filter import SILENCE
from sipua.errand import Errand
from sipua.last_words import TAIL_S
from sipua.media import MediaLeg
from sipua.metrics import Metrics
from sipua.outbound_settings import MachineWay, OutboundSettings
from sipua.outcome import ANSWERING_MACHINE, MESSAGE_LEFT
from sipua.ports import CallRecord, Clock, Moment
from sipua.realtime.config import AudioFormat

FOUND_MAX = 32  # a machine that beeps for ever
VERDICTS = frozenset({Finding.PERSON, Finding.MACHINE, Finding.UNSURE})
LOOK_S = 0.1
LATE_MS = 400  # so late may sound be; then nothing has come, which is silence
SAY = 'You have reached an answering machine. Leave exactly these words, and nothing else: "{}"'


@dataclass(frozen=True, slots=True)
class ScreeningPolicy:
    """For all calls of ours. ``message`` "": the phrase voicemail."""

    rules: MachineRules
    way: MachineWay = "off"
    message: str = ""
    wait_s: float = 45.0
    late_s: float = 20.0


NO_SCREENING = ScreeningPolicy(MachineRules())


def screening_policy(settings: OutboundSettings) -> ScreeningPolicy:
    """As the settings want it."""
    return ScreeningPolicy(
        settings.machine,
        settings.answering_machine,
        settings.message,
        settings.amd_wait_s,
        settings.amd_late_s,
    )


class Screening:
    """Of one answered call. ``heard`` and ``pressed`` take what comes; ``run`` is the call's beginning."""

    def __init__(
        self,
        policy: ScreeningPolicy,
        errand: Errand,
        media: MediaLeg,
        format: AudioFormat,
        answered: Moment,
        record: CallRecord,
        announcer: Announcer,
        metrics: Metrics,
        clock: Clock,
    ) -> None:
        self.on_verdict: Callable[[str], None] = lambda by: None
        self._policy = policy
        self._way = errand.answering_machine or policy.way
        self._message = errand.message or policy.message
        self._machine = AnsweringMachine(policy.rules)
        self._decode = media.codec.decoder(RATE)
        self._silence = SILENCE[format]
        self._media = media
        self._answered = answered.monotonic
        self._record = record
        self._announcer = announcer
        self._metrics = metrics
        self._clock = clock
        self._found: asyncio.Queue[Found] = asyncio.Queue(FOUND_MAX)
        self._is_listening = True
        self._is_open = False  # the voice session hears the far end

    def heard(self, payload: bytes, audio: bytes) -> bytes:
        """Sound of the far end, as it came and as the session takes it: what the session gets."""
        if self._is_listening:
            self._add(self._machine.receive(self._decode(payload)))
        return audio if self._is_open else (self._silence * len(audio))[: len(audio)]

    def pressed(self) -> None:
        """Only a person presses keys."""
        if self._is_listening and not self._is_open:
            self._add(self._machine.is_person("a key"))

    async def run(
        self,
        conversation: Conversation,
        perform: Callable[[list[Action]], None],
        begin: Callable[[], Coroutine[Any, Any, None]],
    ) -> None:
        """Until it is known who has answered, then the conversation by ``begin``, or what a machine gets."""
        conversation.held(True, self._clock.now())  # nobody is asked whether they are still there
        async with asyncio.TaskGroup() as group:
            ticking = group.create_task(self._keep_time(), name="silence")
            found = await self._next(VERDICTS)
            assert found is not None
            self._tell(found)
            is_machine = found.finding is Finding.MACHINE
            if not is_machine or self._way == "ignore":
                ticking.cancel()
                self._is_open = True
                self._is_listening = not is_machine and self._policy.late_s > 0
                conversation.held(False, self._clock.now())
                talking = group.create_task(begin(), name="opening")
                late = await self._next(VERDICTS, self._policy.late_s) if self._is_listening else None
                if late is not None:
                    self._tell(late)
                if late is None or self._way == "ignore":
                    self._is_listening = False
                    return
                talking.cancel()
                self._is_open = False
            await self._with_machine(conversation, perform)

    async def _with_machine(
        self, conversation: Conversation, perform: Callable[[list[Action]], None]
    ) -> None:
        if self._way != "leave_message":
            raise CallOver(ANSWERING_MACHINE)
        ready = await self._next({Finding.BEEP, Finding.SILENCE}, self._policy.wait_s)
        if ready is None:  # it talks and talks
            raise CallOver(ANSWERING_MACHINE)
        async with asyncio.TaskGroup() as group:
            leaving = group.create_task(self._leave(conversation, perform), name="message")
            if ready.finding is Finding.SILENCE:
                await self._next({Finding.BEEP})
                leaving.cancel()
                group.create_task(self._leave(conversation, perform), name="message again")
            self._is_listening = False

    async def _leave(self, conversation: Conversation, perform: Callable[[list[Action]], None]) -> None:
        """Says the message; the call is over when it has been heard."""
        now = self._clock.now()
        if self._message:
            perform(conversation.leave_message(SAY.format(self._message), now))
            await asyncio.Event().wait()  # until the last words have been heard, or the call ends otherwise
        perform(conversation.fall_silent())
        self._media.playout.flush()
        await self._announcer.close_with("voicemail")
        await asyncio.sleep(TAIL_S)
        raise CallOver(MESSAGE_LEFT)

    async def _next(self, wanted: Collection[Finding], timeout_s: float | None = None) -> Found | None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                while True:
                    found = await self._found.get()
                    if found.finding in wanted:
                        return found
        return None

    async def _keep_time(self) -> None:
        """Where nothing comes at all, that is silence."""
        while True:
            await asyncio.sleep(LOOK_S)
            passed_ms = (self._clock.now().monotonic - self._answered) * 1000
            missing_ms = round(passed_ms - LATE_MS - self._machine.at_ms)
            if missing_ms > 0:
                self._add(self._machine.receive(np.zeros(missing_ms * RATE // 1000, np.int16)))

    def _add(self, found: list[Found]) -> None:
        for each in found:
            if not self._found.full():
                self._found.put_nowait(each)

    def _tell(self, found: Found) -> None:
        by = found.finding.value
        self._record.answered_by(self._clock.now(), by, found.why, found.at_ms)
        self._metrics.answered_by.labels(by).inc()
        self.on_verdict(by)
