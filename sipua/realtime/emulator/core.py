"""The emulated session: client events and ``now`` in, timed server events out. No I/O, no clock.

Feed :meth:`RealtimeSession.receive`, then :meth:`advance` to ``now``, then perform what :meth:`outputs`
gives; :meth:`deadline` says when to call again. Everything the service does by itself (answers, transcripts,
idle timeout, expiry) is a process on one :class:`~.timeline.Timeline`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from . import session as configuration
from .conversation import Conversation, Item
from .dialogue import Dialogue
from .faults import Fault, Injector
from .formats import Clip, Samples
from .input_buffer import InputBuffer
from .outputs import Abort, Close, Output
from .responses import Manner, Response
from .schema import unknown_language
from .script import Line, Script, Tool
from .timeline import Process, Steps, Timeline
from .transcripts import Transcriber
from .vad import SpeechStarted
from .validate import RequestError, missing, text
from .wire import Event, Ids

_MAX_EVENT_ID = 512
_RATE_LIMIT_TOKENS = 40_000


@dataclass(frozen=True, slots=True)
class SessionSetup:
    """What a session is made of. ``unix_time`` is the wall clock at its start, for ``expires_at`` only."""

    model: str
    script: Script
    speech: Mapping[Line, Clip]
    unix_time: int
    speed: float = 4.0
    session_cap_s: float = 3600.0
    faults: list[Fault] = field(default_factory=list)
    update: Event | None = None  # the session of a client secret
    seed: int | None = None
    records: bool = False  # the caller is to be recorded


class RealtimeSession:
    """One conversation with one client. Implements the ``Host`` that responses need."""

    def __init__(self, setup: SessionSetup, *, now: float) -> None:
        self.ids = Ids(setup.seed)
        self.conversation = Conversation(self.ids)
        self.closed = False
        self._setup = setup
        self._now = now
        self._timeline = Timeline()
        self._outbox: deque[tuple[float, Output]] = deque()
        self._faults = Injector(setup.faults, self.ids)
        delay = self._faults.has("delay_ms")
        self._delay_s = delay.number / 1000.0 if delay else 0.0
        self._dialogue = Dialogue(setup.script)
        self._response: tuple[Response, Process] | None = None
        self._utterance: tuple[str, int] | None = None  # item id and start in ms
        self._idle: Process | None = None
        self._transcriber = Transcriber(setup.script, self._faults, self.emit, self.ids, self._spawn)
        expire = self._faults.has("expire")
        cap_s = expire.number if expire else setup.session_cap_s
        self._session = configuration.defaults(
            self.ids.new("sess"), setup.model, setup.unix_time + int(cap_s)
        )
        if setup.update is not None:
            self._session = configuration.updated(self._session, setup.update, voice_locked=False)
        self._input = InputBuffer(self._session["audio"]["input"], records=setup.records)
        self._voice_locked = False
        self._spawn(self._opening())
        self._spawn(self._expiry(cap_s))
        for after_s, name in self._faults.seconds():
            self._spawn(self._strike(after_s, name))

    # --- driving --------------------------------------------------------------------------------------

    def receive(self, message: str | bytes, now: float) -> None:
        """One WebSocket message of the client."""
        self._now = now
        if self.closed:
            return
        event_id: str | None = None
        try:
            event = _parsed(message)
            event_id = _event_id(event)
            self._handle(event)
        except RequestError as refusal:
            self.emit("error", error=refusal.body(event_id))

    def advance(self, now: float) -> None:
        """Runs everything that is due at ``now``."""
        while not self.closed and (entry := self._timeline.pop(now)) is not None:
            due, process = entry
            self._now = due
            self._timeline.run(due, process)
        self._now = now

    def outputs(self, now: float) -> list[Output]:
        """What is to be performed by ``now``, in order."""
        found: list[Output] = []
        while self._outbox and self._outbox[0][0] <= now:
            found.append(self._outbox.popleft()[1])
        return found

    @property
    def session(self) -> Event:
        """As it is configured now."""
        return self._session

    @property
    def interrupts(self) -> bool:
        """Whether the caller's voice cuts off an answer."""
        detection = self._session["audio"]["input"]["turn_detection"]
        return detection is not None and bool(detection["interrupt_response"])

    def heard(self) -> list[Samples]:
        """What the caller said since the last time (8 kHz), if it is to be recorded."""
        return self._input.take()

    @property
    def backlog(self) -> int:
        """Outputs that wait to be performed: the adapter reads no more while there are too many."""
        return len(self._outbox)

    def deadline(self) -> float | None:
        """When :meth:`advance` has something to do next."""
        dues = [self._outbox[0][0]] if self._outbox else []
        due = None if self.closed else self._timeline.due()
        return min([*dues, due] if due is not None else dues, default=None)

    def emit(self, kind: str, **fields: object) -> None:
        self._put(self._faults.outgoing({"type": kind, "event_id": self.ids.new("event"), **fields}))

    def _put(self, outputs: list[Output]) -> None:
        for output in outputs:
            if self.closed:
                return
            self._outbox.append((self._now + self._delay_s, output))
            self.closed = isinstance(output, Close | Abort)

    def _spawn(self, steps: Steps) -> Process:
        return self._timeline.start(steps, self._now)

    # --- what happens by itself -----------------------------------------------------------------------

    def _opening(self) -> Steps:
        self.emit("session.created", session=self._session)
        fault = self._faults.has("error_event")
        if fault is not None:
            refusal = RequestError(fault.word, f"The emulator was asked to fail with {fault.word}.")
            self.emit("error", error=refusal.body(None))
        yield from ()

    def _expiry(self, cap_s: float) -> Steps:
        """The 60-minute cap (derived from the specification and others' logs, not observed)."""
        yield cap_s
        minutes = round(self._setup.session_cap_s / 60)
        refusal = RequestError(
            "session_expired", f"Your session hit the maximum duration of {minutes} minutes."
        )
        self.emit("error", error=refusal.body(None))
        self._put([Close(1001, "session_expired")])

    def _strike(self, after_s: float, name: str) -> Steps:
        yield after_s
        self._put(self._faults.strike(name))

    def _idle_timeout(self, after_s: float, timeout_ms: int) -> Steps:
        """``idle_timeout_ms`` after the end of playback (derived from the specification, not observed)."""
        yield after_s
        self._idle = None
        if self._response is not None or self._input.speaking:
            return
        end_ms = int(self._input.written_ms)
        item_id = self.ids.new("item")
        start_ms = max(0, end_ms - timeout_ms)
        self.emit(
            "input_audio_buffer.timeout_triggered",
            audio_start_ms=start_ms,
            audio_end_ms=end_ms,
            item_id=item_id,
        )
        self._add_utterance(item_id, self._input.clear())
        self._respond(None, timeout=True)

    # --- client events --------------------------------------------------------------------------------

    def _handle(self, event: Event) -> None:
        match event["type"]:
            case "input_audio_buffer.append":
                self._append(event)
            case "session.update":
                self._update(event)
            case "input_audio_buffer.commit":
                self._heard(self.ids.new("item"), self._input.commit(), None)
            case "input_audio_buffer.clear":
                self._input.clear()
                self._utterance = None
                self.emit("input_audio_buffer.cleared")
            case "conversation.item.create":
                self._create_item(event)
            case "conversation.item.retrieve":
                item = self.conversation.known(event, "retrieve")
                self.emit("conversation.item.retrieved", item=dict(item.body))
            case "conversation.item.delete":
                self.emit("conversation.item.deleted", item_id=self.conversation.delete(event).id)
            case "conversation.item.truncate":
                item = self.conversation.truncate(event)
                fields = {key: event[key] for key in ("content_index", "audio_end_ms")}
                self.emit("conversation.item.truncated", item_id=item.id, **fields)
            case "response.create":
                if self._response is not None:
                    raise RequestError(
                        "conversation_already_has_active_response",
                        f"Conversation already has an active response in progress: {self._response[0].id}. "
                        "Wait until the response is finished before creating a new one.",
                    )
                self._respond(event.get("response"))
            case "response.cancel":
                self._cancel_by_client(event)
            case "output_audio_buffer.clear":
                raise RequestError(
                    "invalid_value", "output_audio_buffer.clear is for WebRTC and SIP only.", "type"
                )
            case other:
                raise RequestError(
                    "invalid_value", f"Invalid value: '{other}'. Not a client event type.", "type"
                )

    def _update(self, event: Event) -> None:
        if "session" not in event:
            raise missing("session")
        if self._faults.has("reject_session_update"):
            raise RequestError(
                "invalid_value", "The emulator was asked to refuse every session.update.", "session"
            )
        before = self._session
        session = configuration.updated(before, event["session"], voice_locked=self._voice_locked)
        refused = self._faults.has("refuse_language")
        if refused is not None and refused.word == (session["audio"]["input"]["transcription"] or {}).get(
            "language"
        ):
            raise unknown_language(refused.word, "session.audio.input.transcription.language")
        self._session = session
        self._input.configure(self._session["audio"]["input"])
        self.emit("session.updated", session=self._session)
        known = {tool.get("server_label") for tool in before["tools"]}
        for tool in self._session["tools"]:
            if tool["type"] == "mcp" and tool["server_label"] not in known:
                self._list_mcp_tools(tool["server_label"])

    def _list_mcp_tools(self, label: str) -> None:
        """Minimal: an empty list (derived from the specification, not observed)."""
        item = Item(
            {"id": self.ids.new("item"), "type": "mcp_list_tools", "server_label": label, "tools": []}
        )
        previous = self.conversation.append(item)
        self.emit("conversation.item.added", previous_item_id=previous, item=dict(item.body))
        self.emit("mcp_list_tools.in_progress", item_id=item.id)
        self.emit("mcp_list_tools.completed", item_id=item.id)
        self.emit("conversation.item.done", previous_item_id=previous, item=dict(item.body))

    def _create_item(self, event: Event) -> None:
        previous, item = self.conversation.create(event)
        for kind in ("conversation.item.added", "conversation.item.done"):
            self.emit(kind, previous_item_id=previous, item=dict(item.body))
        if item.body["type"] == "function_call_output":
            self._dialogue.tool_output(item.body["call_id"])
        elif item.body["type"] == "mcp_approval_response":
            self._dialogue.approval(item.body["approval_request_id"], approve=bool(item.body["approve"]))
        elif item.body["type"] == "message":
            is_history = any(each.body.get("role") == "assistant" for each in self.conversation.after(item))
            self._dialogue.text_message(item.body, is_history=is_history)

    def _cancel_by_client(self, event: Event) -> None:
        wanted = event.get("response_id")
        if self._response is None or (wanted is not None and wanted != self._response[0].id):
            raise RequestError("response_cancel_not_active", "Cancellation failed: no active response found")
        self._cancel("client_cancelled")

    # --- the caller's speech --------------------------------------------------------------------------

    def _append(self, event: Event) -> None:
        if "audio" not in event:
            raise missing("audio")
        for found in self._input.append(event["audio"]):
            if isinstance(found, SpeechStarted):
                self._speech_started(found.audio_start_ms)
            else:
                self._speech_stopped(found.audio_end_ms)

    def _speech_started(self, start_ms: int) -> None:
        item_id = self.ids.new("item")
        self.emit("input_audio_buffer.speech_started", audio_start_ms=start_ms, item_id=item_id)
        self._stop_idle()
        detection = self._session["audio"]["input"]["turn_detection"]
        if (
            detection["interrupt_response"]
            and self._response is not None
            and self._response[0].in_conversation
        ):
            self._cancel("turn_detected")
        self._utterance = (item_id, start_ms)
        self._transcriber.speaking(item_id, self._dialogue.coming(), self._session)

    def _speech_stopped(self, end_ms: int) -> None:
        if self._utterance is None:
            return
        item_id, start_ms = self._utterance
        self._utterance = None
        self.emit("input_audio_buffer.speech_stopped", audio_end_ms=end_ms, item_id=item_id)
        self._input.buffered_ms = 0.0
        self._heard(item_id, end_ms - start_ms, self._session["audio"]["input"]["turn_detection"])

    def _heard(self, item_id: str, audio_ms: int, detection: Event | None) -> None:
        """A turn of the caller is complete: by the VAD (``detection``) or committed by hand."""
        turn = self._dialogue.heard()
        self._transcriber.ended(item_id, audio_ms, turn, self._session)
        self._add_utterance(item_id, audio_ms)
        answering = detection is not None and detection["create_response"]
        # While a response that may not be interrupted is active, none is created (from the specification).
        if answering and self._response is None:
            self._respond(None)
        self._transcriber.spoken(item_id, audio_ms, turn, self._session, answering=self._response is not None)

    def _add_utterance(self, item_id: str, audio_ms: int) -> None:
        body: Event = {
            "id": item_id,
            "type": "message",
            "status": "completed",
            "role": "user",
            "content": [{"type": "input_audio", "transcript": None}],
        }
        previous = self.conversation.append(Item(body, audio_ms))
        self.emit("input_audio_buffer.committed", previous_item_id=previous, item_id=item_id)
        for kind in ("conversation.item.added", "conversation.item.done"):
            self.emit(kind, previous_item_id=previous, item=dict(body))

    # --- responses ------------------------------------------------------------------------------------

    def _respond(self, wanted: Any, *, timeout: bool = False) -> None:
        options = configuration.effective_response(self._session, wanted, voice_locked=self._voice_locked)
        if self._faults.has("no_response"):
            return
        declared = frozenset(
            tool["name"] if tool["type"] == "function" else f"mcp {tool['server_label']}"
            for tool in options["tools"]
        )
        plan = self._dialogue.fallback() if timeout else self._dialogue.plan(declared)
        self._faults.of_turn(plan.answer.faults)
        if self._faults.has("no_response"):
            return
        script = self._setup.script
        manner = Manner(self._setup.speed, script.chunk_ms, configuration.has_phases(self._setup.model))
        response = Response(self, options, plan, self._setup.speech, manner, self._session["instructions"])
        response.failure = next(
            (name for name in ("quota", "rate_limit", "server_error") if self._faults.take(name)), None
        )
        if response.failure is not None:
            self._dialogue.unsaid(plan)
        self._stop_idle()
        self._response = (response, self._spawn(response.begin()))

    def _cancel(self, reason: str) -> None:
        assert self._response is not None
        response, process = self._response
        process.cancel()
        if response.status == "in_progress":
            response.cancel(reason)
        if not response.has_output and response.plan.turn is not None:
            self._dialogue.give_back(response.plan.turn)

    def calling(self, call_id: str, tool: Tool) -> None:
        self._dialogue.calling(call_id, tool)

    def must_ask(self, server: str) -> bool:
        """Whether the session wants to be asked before a tool of this server is called."""
        return any(
            tool.get("server_label") == server and tool.get("require_approval") == "always"
            for tool in self._session["tools"]
        )

    def finished(self, response: Response) -> None:
        """Called by the response after its response.done."""
        self._response = None
        self._voice_locked = self._voice_locked or response.audio_ms > 0
        if self._setup.script.rate_limits:
            self.emit("rate_limits.updated", rate_limits=self._rate_limits())
        self._transcriber.answered()
        detection = self._session["audio"]["input"]["turn_detection"]
        timeout_ms = detection.get("idle_timeout_ms") if detection else None
        if timeout_ms is not None and response.status == "completed":
            after_s = (response.audio_ms + timeout_ms) / 1000.0
            self._idle = self._spawn(self._idle_timeout(after_s, timeout_ms))

    def _rate_limits(self) -> list[Event]:
        limit = _RATE_LIMIT_TOKENS
        return [{"name": "tokens", "limit": limit, "remaining": limit - 500, "reset_seconds": 0.75}]

    def _stop_idle(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None


def _parsed(message: str | bytes) -> Event:
    try:
        event = orjson.loads(message)
    except orjson.JSONDecodeError as error:
        raise RequestError(
            "invalid_json", f"We could not parse the JSON body of your event: {error}"
        ) from error
    if not isinstance(event, dict):
        raise RequestError("invalid_json", "An event must be a JSON object.")
    return event


def _event_id(event: Event) -> str | None:
    event_id = event.get("event_id")
    if event_id is not None and len(text(event_id, "event_id")) > _MAX_EVENT_ID:
        raise RequestError(
            "string_above_max_length", "Invalid 'event_id': at most 512 characters.", "event_id"
        )
    if "type" not in event:
        raise missing("type")
    return event_id
