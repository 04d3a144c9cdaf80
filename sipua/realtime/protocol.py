"""The Realtime protocol of one session: bytes in, events out; requests in, bytes out. No I/O and no clock.

Theory. A session is usable only between the ``session.updated`` that echoes our audio formats and the end of
the connection: the states and the one table of legal steps below say so, and `_step` alone assigns. A peer's
mistake never raises KeyError: it becomes a `ProtocolFault` and a count. What ends the session is raised:
`RealtimeRefused` (key, quota, model), `RealtimeRejectedConfig` (our session.update was refused, or its echo
differs: a live session with a stranger's persona is worse than a failed call), `RealtimeUnreachable` (a
transient failure before the session was ready). Audio of a response that was cancelled keeps arriving for a
while and must not reach the caller: it is dropped by response id.

Must not import: websockets, asyncio, time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from enum import Enum
from typing import Any

import orjson

from sipua.errors import LocalError, RealtimeRefused, RealtimeRejectedConfig, RealtimeUnreachable
from sipua.realtime import commands, hints, parse
from sipua.realtime import events as ev
from sipua.realtime.config import AudioFormat, SessionConfig
from sipua.realtime.counters import Counters
from sipua.realtime.severity import Severity

IGNORED_RESPONSES_MAX = 256  # late audio follows within seconds; the oldest ids are forgotten
ACTIVE_RESPONSES_MAX = 64  # the service allows one; beyond, the oldest is taken to be over
TYPE_MAX_CHARS = 80  # of an unknown type name that we keep


class State(Enum):
    CONNECTING = "connecting"  # nothing received yet
    CREATED = "created"  # session.created: the service's defaults hold
    CONFIGURING = "configuring"  # our session.update is on its way
    READY = "ready"  # the echo is what we asked for: audio may flow
    CLOSED = "closed"


class Step(Enum):
    CREATED = "session.created"
    UPDATE_SENT = "session.update"
    UPDATED = "session.updated"
    HINT_REFUSED = "error over a hint"
    CLOSED = "closed"


TRANSITIONS: dict[tuple[State, Step], State] = {
    (State.CONNECTING, Step.CREATED): State.CREATED,
    (State.CREATED, Step.UPDATE_SENT): State.CONFIGURING,
    (State.CONFIGURING, Step.UPDATED): State.READY,
    (State.CONFIGURING, Step.HINT_REFUSED): State.CREATED,  # to be asked again without it
    (State.READY, Step.UPDATE_SENT): State.READY,
    (State.READY, Step.UPDATED): State.READY,
    **{(state, Step.CLOSED): State.CLOSED for state in State},
}


class RealtimeMisuseError(LocalError):
    """We asked the session for something that its state does not allow: our bug, named."""

    reason = "realtime_misuse"


class RealtimeProtocol:
    """One session. ``peer`` only names the other side in error messages.

    ``joins``: the session is there already, and its sound is the service's own affair (a call that it terminates). It
    is asked for nothing but its echo, and formats in it are not ours.
    """

    def __init__(
        self, config: SessionConfig, *, peer: str = "the voice service", joins: bool = False
    ) -> None:
        self.config = config
        self.peer = peer
        self.state = State.CREATED if joins else State.CONNECTING
        self._joins = joins
        self.counters = Counters()
        self.session_id = ""
        self.echoed: Mapping[str, Any] = {}
        self.last_error_code: str | None = None
        self._sent = 0
        self._updates: dict[str, bool] = {}  # event_id of an unanswered session.update → is it required?
        self._active: dict[str, None] = {}  # ids of running responses, oldest first
        self._cancelling: set[str] = set()
        self._ignored: dict[str, None] = {}
        self._last_audio: tuple[str, str] = ("", "")

    # received

    def receive(self, raw: bytes | str) -> list[ev.Event]:
        """The events of one message: one, or none if it was late audio. Raises as the module says."""
        self.counters.bytes_received += len(raw)
        try:
            wire = orjson.loads(raw)
        except orjson.JSONDecodeError as exc:
            return [self._fault("", f"not JSON: {len(raw)} bytes, error at byte {exc.pos}")]
        kind = wire.get("type") if isinstance(wire, dict) else None
        if not isinstance(kind, str):
            return [self._fault("", "not an object with a type")]
        parser = parse.PARSERS.get(kind)
        if parser is None:
            return [self._unparsed(kind)]
        counts = self.counters.events
        counts[kind] = counts.get(kind, 0) + 1
        try:
            if kind == "response.output_audio.delta":
                return self._audio(wire, parser(wire))
            return [self._apply(parser(wire))]
        except parse.BadFieldError as exc:
            return [self._fault(kind, str(exc))]

    def _apply(self, event: ev.Event) -> ev.Event:
        """Let one event change the session's state; gives the event to report."""
        match event:
            case ev.SessionCreated() if self._joins:
                self.session_id, self.echoed = event.session_id, event.session
            case ev.SessionCreated():
                if not self._step(Step.CREATED):
                    return self._fault(event.raw_type, f"in state {self.state.value}")
                self.session_id, self.echoed = event.session_id, event.session
            case ev.SessionUpdated():
                return self._updated(event)
            case ev.ServiceError():
                return self._failed(event)
            case ev.ResponseCreated():
                self._active[event.response_id] = None
                if len(self._active) > ACTIVE_RESPONSES_MAX:
                    self._over(next(iter(self._active)))
            case ev.ResponseDone():
                self._over(event.response_id)
                if event.status == "cancelled":
                    self.ignore_response(event.response_id)
        return event

    def _over(self, response_id: str) -> None:
        self._active.pop(response_id, None)
        self._cancelling.discard(response_id)

    def _updated(self, event: ev.SessionUpdated) -> ev.Event:
        if (self.state, Step.UPDATED) not in TRANSITIONS:
            return self._fault(event.raw_type, f"in state {self.state.value}")
        for direction in () if self._joins else ("input", "output"):
            self._check_echo(event.session, direction)
        self._step(Step.UPDATED)
        if self._joins and isinstance(known := event.session.get("id"), str):
            self.session_id = known
        self.echoed = event.session
        if self._updates:  # answered in the order they were sent
            del self._updates[next(iter(self._updates))]
        return event

    def _check_echo(self, session: Mapping[str, Any], direction: str) -> None:
        asked = self.config.audio_format
        echoed: Any = session
        for key in ("audio", direction, "format"):
            echoed = echoed.get(key) if isinstance(echoed, dict) else None
        kind = echoed.get("type") if isinstance(echoed, dict) else None
        rate_differs = asked is AudioFormat.PCM24 and isinstance(echoed, dict) and echoed.get("rate") != 24000
        if kind == asked.value and not rate_differs:
            return
        self._step(Step.CLOSED)
        raise RealtimeRejectedConfig(
            f"{self.peer} echoed {direction} format {str(echoed)[:80]}, asked was {asked.wire}: "
            "it does not support this codec"
        )

    def _failed(self, event: ev.ServiceError) -> ev.Event:
        self.last_error_code = event.code
        if self.state in (State.CONNECTING, State.CREATED):
            raise self._refusal(event, "refused the session")
        required = self._updates.pop(event.event_id, None) if event.event_id is not None else None
        unnamed = self.state is State.CONFIGURING and event.event_id is None
        if (required or unnamed) and not self._leave_out(event):
            raise self._refusal(event, "refused session.update")
        if required is not None or unnamed:
            # a hint, or an optional update: what was before holds, another one may be tried
            fatal = event.severity is Severity.FATAL_ACCOUNT
            return event if fatal else replace(event, severity=Severity.RETRY_ONCE)
        return event

    def _leave_out(self, event: ev.ServiceError) -> bool:
        """Whether only a hint was refused; then the configuration is to be sent again, without it."""
        instead = hints.without_refused(self.config.transcription, event)
        passing = event.severity in (Severity.FATAL_ACCOUNT, Severity.RETRY_ONCE)
        if instead is None or passing or not self._step(Step.HINT_REFUSED):
            return False
        self._updates.clear()
        self.config = replace(self.config, transcription=instead)
        return True

    def _refusal(
        self, event: ev.ServiceError, what: str
    ) -> RealtimeRefused | RealtimeRejectedConfig | RealtimeUnreachable:
        """The error that an ``error`` event means before the session is ready, or for a required update."""
        configuring = self.state not in (State.CONNECTING, State.CREATED)
        self._step(Step.CLOSED)
        # its text may quote a part of the key
        shown = "check OPENAI_API_KEY" if event.code == "invalid_api_key" else event.message
        message = f"{self.peer} {what}: {event.code or 'error'}: {shown}"
        if event.param:
            message += f" (param {event.param})"
        if event.severity is Severity.FATAL_ACCOUNT:
            return RealtimeRefused(message, code=event.code)
        if event.severity is Severity.RETRY_ONCE:
            return RealtimeUnreachable(message, code=event.code)
        if configuring:
            return RealtimeRejectedConfig(message, code=event.code)
        return RealtimeRefused(message, code=event.code)

    def _audio(self, wire: Mapping[str, Any], delta: ev.Event) -> list[ev.Event]:
        """Not twice what came twice in a row, and not the sound of a response that is over for us."""
        assert isinstance(delta, ev.AudioDelta)
        this = (str(wire.get("event_id")), str(wire.get("delta")))
        if this == self._last_audio:  # compares the audio only where the ids are equal
            self.counters.duplicate_audio_dropped += 1
            return []
        self._last_audio = this
        return [self.by_now(delta)]

    def by_now(self, delta: ev.AudioDelta) -> ev.AudioDelta | ev.LateAudio:
        """Late, if its response has been interrupted, be it while the delta waited for its turn."""
        if delta.response_id not in self._ignored:
            return delta
        self.counters.late_audio_dropped += 1
        return ev.LateAudio(delta.response_id, delta.item_id)

    def _unparsed(self, kind: str) -> ev.Event:
        if kind in parse.OTHER_TYPES:
            self.counters.events[kind] = self.counters.events.get(kind, 0) + 1
            return ev.OtherEvent(kind)
        self.counters.unknown += 1
        return ev.UnknownEvent(kind[:TYPE_MAX_CHARS])

    def _fault(self, kind: str, detail: str) -> ev.ProtocolFault:
        self.counters.invalid += 1
        return ev.ProtocolFault(kind, detail)

    def _step(self, step: Step) -> bool:
        """The one place that assigns the state; False if the table does not know the step."""
        following = TRANSITIONS.get((self.state, step))
        if following is None:
            return False
        self.state = following
        return True

    # responses

    @property
    def active_response_id(self) -> str | None:
        """The newest response that is running, None if none is."""
        return next(reversed(self._active), None)

    def ignore_response(self, response_id: str) -> None:
        """Drop all further audio of this response (it was interrupted)."""
        self._ignored[response_id] = None
        if len(self._ignored) > IGNORED_RESPONSES_MAX:
            del self._ignored[next(iter(self._ignored))]

    def closed(self) -> None:
        """The connection is gone."""
        self._step(Step.CLOSED)

    # sent: each gives (event_id, JSON bytes)

    def session_update(
        self, session: Mapping[str, Any] | None = None, *, required: bool = True
    ) -> tuple[str, bytes]:
        """The configuration, or later a part of it. A refusal of a required one ends the session.

        ``required=False`` is for what the call can do without (a language hint): its refusal is reported as a
        `ServiceError` that names the event_id, RETRY_ONCE.
        """
        if not self._step(Step.UPDATE_SENT):
            raise RealtimeMisuseError(f"session.update in state {self.state.value}")
        event_id = self._next_id()
        self._updates[event_id] = required
        wanted = self.config.to_session() if session is None else {"type": "realtime"} | dict(session)
        return event_id, commands.command(event_id, "session.update", {"session": wanted})

    def append(self, audio: bytes) -> tuple[str, bytes]:
        self._needs_ready("input_audio_buffer.append")
        event_id = self._next_id()
        return event_id, commands.append(event_id, audio)

    def commit(self) -> tuple[str, bytes]:
        return self._command("input_audio_buffer.commit")

    def clear(self) -> tuple[str, bytes]:
        return self._command("input_audio_buffer.clear")

    def response_create(
        self, instructions: str | None = None, *, options: Mapping[str, Any] | None = None
    ) -> tuple[str, bytes]:
        """``options``: further fields of the response (``tools``, ``conversation``, ``metadata`` …)."""
        response = dict(options or {}) | ({"instructions": instructions} if instructions else {})
        return self._command("response.create", {"response": response} if response else None)

    def response_cancel(self, response_id: str | None = None) -> tuple[str, bytes] | None:
        """Cancel a running response (default: the newest) and drop its audio; None if there is none."""
        wanted = self.active_response_id if response_id is None else response_id
        if wanted is None or wanted not in self._active or wanted in self._cancelling:
            return None
        sent = self._command("response.cancel", {"response_id": wanted})
        self._cancelling.add(wanted)
        self.ignore_response(wanted)
        return sent

    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> tuple[str, bytes]:
        """Tell the service how much of an item the caller really heard."""
        fields = {"item_id": item_id, "content_index": content_index, "audio_end_ms": audio_end_ms}
        return self._command("conversation.item.truncate", fields)

    def item_create(self, item: Mapping[str, Any], previous_item_id: str | None = None) -> tuple[str, bytes]:
        fields: dict[str, Any] = {"item": dict(item)}
        if previous_item_id is not None:
            fields["previous_item_id"] = previous_item_id
        return self._command("conversation.item.create", fields)

    def item_delete(self, item_id: str) -> tuple[str, bytes]:
        return self._command("conversation.item.delete", {"item_id": item_id})

    def function_call_output(self, call_id: str, output: str) -> tuple[str, bytes]:
        """The result of a tool; ``response.create`` follows once for all, after the response is done."""
        return self.item_create(commands.function_output_item(call_id, output))

    def _command(self, kind: str, fields: Mapping[str, Any] | None = None) -> tuple[str, bytes]:
        self._needs_ready(kind)
        event_id = self._next_id()
        return event_id, commands.command(event_id, kind, fields)

    def _needs_ready(self, kind: str) -> None:
        if self.state is not State.READY:
            raise RealtimeMisuseError(f"{kind} in state {self.state.value}")

    def _next_id(self) -> str:
        self._sent += 1
        return f"sipua_{self._sent}"
