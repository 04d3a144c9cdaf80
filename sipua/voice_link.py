"""The one voice session that a call sees; behind it sessions are opened, followed by others, and closed.

What is to happen is decided by ``sipua.realtime.continuity``, what a new session is told by ``history``, what it has to
hear again by ``uplink``; here they are performed, on the sessions that ``sipua.voice_sessions`` keeps. Audio that a
session has sent goes on being played whatever becomes of the session. While there is none, audio is kept, items and
cuts go into the history, and a request for a response is made again when there is one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

from sipua.echo_filter import codec_of, level_of
from sipua.errors import RealtimeClosed, RealtimeDeaf, RealtimeError, RealtimeTooSlow
from sipua.ports import Clock
from sipua.realtime import events as ev
from sipua.realtime.backend import VoiceBackend, VoiceSession
from sipua.realtime.commands import answers_turns, function_output_item, laid_over
from sipua.realtime.config import SessionConfig
from sipua.realtime.continuity import (
    LATE,
    Cause,
    Continuity,
    Drop,
    GiveUp,
    OpenNext,
    Output,
    PlayComfort,
    Retire,
    Switch,
    life_s,
)
from sipua.realtime.counters import Counters
from sipua.realtime.floor import Ask, Floor
from sipua.realtime.hints import as_change
from sipua.realtime.history import History
from sipua.realtime.outbox import QueueFullError
from sipua.realtime.unheard import Unheard
from sipua.realtime.uplink import LOOK_BACK_MS, Uplink
from sipua.voice_events import VoiceEvents
from sipua.voice_sessions import Listener, Observer, Plan, VoiceSessions

log = logging.getLogger(__name__)

OWNERS_MAX = 64  # responses of which it is known whose they are
ONSET_MS = 1500  # an utterance that the former session had heard the beginning of, and not told yet
GO_ON = (
    "You were cut off in the middle of your last message, for a technical reason. Say the rest of it, from exactly "
    "where it ends. Repeat nothing of it and do not mention the interruption."
)


class VoiceLink:
    """A ``VoiceSession`` that outlives its sessions. ``await open()`` first, ``close`` at the end."""

    def __init__(
        self,
        backend: VoiceBackend,
        plan: Plan,
        observer: Observer,
        clock: Clock,
        on_audio: Callable[[ev.AudioDelta], None],
    ) -> None:
        self.on_audio: Callable[[ev.AudioDelta], None] | None = on_audio
        self._backend = backend
        self._plan = plan
        self._observer = observer
        self._clock = clock
        self._events = VoiceEvents(self._play)
        listener = Listener(self._on_audio, self._on_event, self._gone, self._events.end_with)
        self._sessions = VoiceSessions(backend, plan, observer, listener)
        self._owners: dict[str, int] = {}  # response → session
        self._history = History()
        self._updates: dict[str, Any] = {}
        self._request: tuple[str | None, Mapping[str, Any] | None] = None, None  # the latest for a response
        self._unfinished: str | None = None  # item that was cut off with its session
        self._lost_at = 0.0
        self._heard_at: float | None = None  # the end of the caller's words, as long as no answer has begun
        self._answers: list[str] = []  # responses since then: those that only call tools say nothing
        self._wake = asyncio.Event()
        self._only_listens = False
        self._leaving: asyncio.Task[None] | None = None
        self._core: Continuity
        self._uplink: Uplink
        self._unheard: Unheard
        self._seen: VoiceSession  # the one that hears the caller, or was the last to
        self._bytes_per_ms = 8

    # life

    async def open(self) -> None:
        """The first session; errors as ``RealtimeSession.open``."""
        session = self._seen = await self._sessions.open(0, "first")
        self._bytes_per_ms = session.config.audio_format.bytes_per_ms
        self._uplink = Uplink(self._bytes_per_ms)
        self._unheard = Unheard(level_of(codec_of(session.config.audio_format)), self._bytes_per_ms)
        self._core = Continuity(self._plan.rules, self._plan.chance, self._now(), self._cap_s(session))
        self._sessions.follow(0)
        self._sessions.start(self._keep_time())

    async def close(self, *, failed: bool = False) -> None:
        """Ends all sessions; ``failed`` of the present one, for its row."""
        if self._leaving is not None and self._leaving is not asyncio.current_task():
            await asyncio.shield(self._leaving)
            return
        await self._sessions.close(self._core.current if failed else None)
        self._events.end_with(None)

    def leave(self) -> None:
        """Closes it beside what goes on without it."""
        self._leaving = asyncio.create_task(self.close(), name="voice-link-leaves")

    def only_listen(self) -> None:
        """The caller's words are written down from now on and nothing is answered, by later sessions neither."""
        self._only_listens = True
        detection = self.config.turn_detection
        if detection is not None:
            heard = detection.wire() | {"create_response": False, "interrupt_response": False}
            self.session_update({"audio": {"input": {"turn_detection": heard}}})

    def events(self) -> AsyncIterator[ev.Event]:
        """Of all sessions, as if they were one; raises what ended the last of them."""
        return self._events.read()

    # what a call sees of its session

    @property
    def config(self) -> SessionConfig:
        return self._seen.config

    @property
    def session_id(self) -> str:
        return self._seen.session_id

    @property
    def echoed(self) -> Mapping[str, Any]:
        return self._seen.echoed

    @property
    def counters(self) -> Counters:
        return self._seen.counters

    @property
    def active_response_id(self) -> str | None:
        return next(reversed(self._core.floor.responses), None)

    @property
    def is_settled(self) -> bool:
        """There is a session, and nothing is asked of it."""
        return not self._core.is_lost and self._core.floor.is_free

    def append(self, audio: bytes) -> None:
        if audio:
            self._uplink.append(audio)
            if (session := self._present) is not None:
                session.append(audio)
                self._unheard.heard(audio)
                if self._unheard.is_clear and (outputs := self._core.unheard(self._now())):
                    self._perform(outputs)

    def commit(self) -> str:
        return self._tell(lambda session: session.commit())

    def clear(self) -> str:
        return self._tell(lambda session: session.clear())

    def response_create(
        self, instructions: str | None = None, *, options: Mapping[str, Any] | None = None
    ) -> str:
        if self._only_listens:
            return ""
        self._request = instructions, options
        self._core.floor.asked(self._now())
        self._wake.set()  # it is due now
        return self._tell(lambda session: session.response_create(instructions, options=options))

    def response_cancel(self, response_id: str | None = None) -> str | None:
        session = self._owner(response_id)
        if session is None:
            return None
        try:
            return session.response_cancel(response_id)
        except RealtimeClosed:
            return None

    def ignore_response(self, response_id: str) -> None:
        self._events.ignore(response_id)
        if (session := self._owner(response_id)) is not None:
            session.ignore_response(response_id)

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> str:
        """An item that the present session knows as text only is written anew, as far as it was heard."""
        if not self._history.knows(item_id):
            return ""  # a recording of ours
        was_text = self._history.is_text(item_id)
        self._history.heard(item_id, audio_end_ms)
        if not was_text:
            return self._tell(lambda session: session.truncate(item_id, content_index, audio_end_ms))
        sent = self._tell(lambda session: session.item_delete(item_id))
        self._create_all(self._history.rewritten(item_id))
        return sent

    def item_create(self, item: Mapping[str, Any], previous_item_id: str | None = None) -> str:
        self._history.created(item)
        if item.get("type") == "function_call_output":
            call_id = str(item.get("call_id"))
            self._core.floor.tool_answered(call_id, self._now())
            if late := self._history.tool_result(call_id):
                self._create_all(late)
                return ""
        return self._tell(lambda session: session.item_create(item, previous_item_id))

    def item_delete(self, item_id: str) -> str:
        self._history.heard(item_id, 0)
        return self._tell(lambda session: session.item_delete(item_id))

    def function_call_output(self, call_id: str, output: str) -> str:
        return self.item_create(function_output_item(call_id, output))

    def session_update(self, changes: Mapping[str, Any], *, required: bool = False) -> str:
        self._updates = laid_over(self._updates, changes)
        self._core.answers_turns = answers_turns(self._updates)
        return self._tell(lambda session: session.session_update(changes, required=required))

    # the session behind it

    @property
    def _present(self) -> VoiceSession | None:
        """The one that hears the caller."""
        return None if self._core.is_lost else self._sessions.get(self._core.current)

    def _owner(self, response_id: str | None) -> VoiceSession | None:
        number = self._owners.get(response_id) if response_id is not None else None
        return self._present if number is None else self._sessions.get(number)

    def _tell(self, command: Callable[[VoiceSession], str]) -> str:
        """ "" where there is no session, or not any more: its task is about to say so."""
        session = self._present
        if session is None:
            return ""
        try:
            return command(session)
        except RealtimeClosed:
            return ""
        except QueueFullError as error:  # it takes nothing: another one may
            log.warning("session %s: %s", session.session_id, error)
            self._sessions.start(session.close())
            return ""

    def _create_all(self, items: list[tuple[dict[str, Any], str]]) -> None:
        for item, before in items:
            self._tell(lambda session, item=item, before=before: session.item_create(item, before))  # type: ignore[misc]

    # what comes from the sessions

    def _on_audio(self, number: int, delta: ev.AudioDelta) -> None:
        self._history.audio(delta.item_id, len(delta.audio) // self._bytes_per_ms)
        self._events.put(delta)
        if self._heard_at is not None and delta.response_id in self._answers:
            self._observer.answered(delta.item_id, self._now() - self._heard_at)
            self._heard_at = None

    def _play(self, delta: ev.AudioDelta) -> None:
        if self.on_audio is not None:
            self.on_audio(delta)

    def _on_event(self, number: int, event: ev.Event) -> None:
        if number != self._core.current:
            if number in self._core.former and isinstance(event, LATE):
                self._core.former[number].on_event(event, self._now())
                self._on_late(event)
            return
        if isinstance(event, ev.ServiceError) and event.code == "session_expired":
            return  # its close follows
        if isinstance(event, ev.ItemAdded | ev.ItemDone | ev.ItemDeleted) and self._history.is_text(
            event.item_id
        ):
            return  # our own telling
        self._unheard.answered()
        self._history.on_event(event, is_present=True)
        self._core.floor.on_event(event, self._now())
        match event:
            case ev.SpeechStarted():
                self._heard_at = None
            case ev.SpeechStopped():
                self._heard_at, self._answers = self._now(), []
            case ev.ResponseCreated():
                self._answers = [*self._answers[1 - OWNERS_MAX :], event.response_id]
                self._owners[event.response_id] = number
                if len(self._owners) > OWNERS_MAX:
                    del self._owners[next(iter(self._owners))]
            case ev.InputCommitted():
                self._request = None, None  # the next response is to that
        self._events.put(event)
        self._wake.set()

    def _on_late(self, event: ev.Event) -> None:
        self._history.on_event(event, is_present=False)
        self._events.put(event)
        self._create_all(self._history.late(event))

    def _gone(self, number: int, session: VoiceSession, error: RealtimeError) -> None:
        self._observer.ended(session, failed=number >= self._core.current)
        if number == self._core.current:
            log.warning("session %s is gone: %s", session.session_id, error)
            if isinstance(error, RealtimeTooSlow | RealtimeDeaf):  # else these look like a lost connection
                self._observer.fault(error)
            self._lost_at = self._now()
            self._unfinished = self._break_off(self._core.floor)
            self._perform(self._core.lost(self._lost_at, error))
        elif number in self._core.former:
            self._former_gone(number)
        elif number > self._core.current:
            self._perform(self._core.failed(self._now(), error))

    def _break_off(self, floor: Floor) -> str | None:
        """What will not come any more is said to have ended; the item that the caller has heard a part of."""
        response_id = floor.responses[-1] if floor.responses else ""
        unfinished = None
        for item_id, text in self._history.broken_off():
            self._events.put(ev.AudioDone(response_id, item_id, 0))
            self._events.put(ev.AssistantTranscript(item_id, response_id, text))
            unfinished = item_id if text else None
        for each in floor.responses:
            status = "completed" if floor.awaits_tools(each) else "cancelled"
            self._events.put(ev.ResponseDone(each, status, "connection_lost", None, None, None))
        return unfinished

    def _former_gone(self, number: int) -> None:
        """Its cap came in the middle of its last answer: the present session gives the rest."""
        floor = self._core.former[number]
        self._core.forget(number)
        ask = floor.resumption().ask
        unfinished = self._break_off(floor) if floor.responses else None
        if unfinished is not None:
            self._create_all(self._history.unfinished(unfinished))
        if ask is not Ask.NOTHING and self._core.floor.quiet_at() is not None:
            self.response_create(GO_ON if unfinished is not None else None)

    # what the core decides

    async def _keep_time(self) -> None:
        while True:
            self._wake.clear()
            self._do(self._core.tick(self._now()))
            delay_s = self._core.deadline() - self._now()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, delay_s) if delay_s < float("inf") else None):
                    await self._wake.wait()

    def _perform(self, outputs: list[Output]) -> None:
        """What follows from something that has happened."""
        self._do(outputs)
        self._wake.set()

    def _do(self, outputs: list[Output]) -> None:
        for output in outputs:
            match output:
                case OpenNext(number):
                    self._sessions.start(self._open_next(number))
                case Switch():
                    self._switch(output)
                case Retire(number):
                    self._sessions.retire(number)
                case Drop(number, error):
                    self._sessions.drop(number, error)
                case PlayComfort():
                    self._observer.comfort()
                case GiveUp(error):
                    self._events.end_with(error)

    async def _open_next(self, number: int) -> None:
        try:
            session = await self._sessions.open(number, "reconnect" if self._core.is_lost else "rotation")
        except RealtimeError as error:
            self._observer.fault(error)
            self._perform(self._core.failed(self._now(), error))
            return
        self._sessions.follow(number)
        self._perform(self._core.ready(self._now(), self._cap_s(session)))

    def _switch(self, switch: Switch) -> None:
        """The session behind ``_present`` is the new one already."""
        session = self._sessions.get(switch.number)
        assert session is not None, switch
        self._seen = session
        self._unheard.answered()
        left, is_lost = switch.resumption, switch.cause is Cause.LOST
        goes_on = left.ask is Ask.CONTINUE and self._unfinished is not None
        self._bring_up_to_date(switch.number)
        for item in self._history.seed(self._unfinished if goes_on else None):
            self._tell(lambda session, item=item: session.item_create(item))  # type: ignore[misc]
        back_ms = LOOK_BACK_MS if is_lost else ONSET_MS
        replayed = self._uplink.replay(left.replay_from_ms, look_back_ms=back_ms, is_speech=left.is_speech)
        if replayed and (session := self._present) is not None:
            session.append(replayed)
        if goes_on:
            self.response_create(GO_ON)
        elif left.ask is not Ask.NOTHING:
            instructions, options = self._request
            self.response_create(instructions, options=options)
        if is_lost:
            self._observer.outage(self._now() - self._lost_at)
        log.info(
            "session %s follows (%s), %d ms of the caller said again",
            self.session_id, switch.cause.value, len(replayed) // self._bytes_per_ms,
        )  # fmt: skip

    def _bring_up_to_date(self, number: int) -> None:
        """With what has changed since it was opened: minutes may have passed, in another language."""
        asked, wanted = self._sessions.asked(number), self._plan.configure()
        updates: list[Mapping[str, Any]] = [self._updates] if self._updates else []
        if wanted.instructions != asked.instructions:
            updates.append({"instructions": wanted.instructions})
        if wanted.transcription is not None and wanted.transcription != asked.transcription:
            updates.append(as_change(wanted.transcription))  # by itself: its hint may be refused
        for update in updates:
            self._tell(lambda session, update=update: session.session_update(update))  # type: ignore[misc]

    # small things

    def _cap_s(self, session: VoiceSession) -> float | None:
        known, wall = self._backend.capabilities.session_cap_s, self._clock.now().wall
        return life_s(known, session.echoed.get("expires_at"), wall.timestamp())

    def _now(self) -> float:
        return self._clock.now().monotonic
