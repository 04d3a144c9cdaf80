"""What is said when: the core between the voice service's events and the playout. No I/O, no clock.

``on_event`` changes the playout (memory only) and returns what is to be sent to the service and what the ledger
should know; the adapter (``sipua.call``) performs it. Audio deltas do not pass here: they go from the receive task
straight into the playout, since nothing is to be decided about them.

Who speaks when, and what becomes of what is cut off, is ``sipua.turns``. The adapter calls ``tick`` at ``deadline``.

Keys are told to the service as a text item, results of tools as outputs (``sipua.tool_round``), and it is asked for an
answer once it gives none: a response that was created after the item had got its place has read it.

A hang-up that the model wants happens after its goodbye has been heard, unless the caller speaks before.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sipua.actions import (
    Action,
    CallGoesOn,
    CreateResponse,
    EndAfterPlayback,
    EndCall,
    Fault,
    HangUp,
    Logged,
    PlayPhrase,
    StopListening,
    SystemText,
    UserText,
)
from sipua.errors import RealtimeClosed, RealtimeError, RealtimeRefused, RealtimeRejectedConfig
from sipua.idle import Idle, IdleRules, IdleWatch
from sipua.keys import Entry, KeyNews, KeyRules
from sipua.outcome import AGENT_HUNG_UP, CALLER_SILENT, MESSAGE_LEFT
from sipua.ports import Moment
from sipua.realtime import events as ev
from sipua.realtime.severity import Severity, is_expected
from sipua.remote_tools import RemoteTools
from sipua.said import Said
from sipua.tool_round import Delivery, ToolRound
from sipua.turns import Speech, TurnRules, Turns

ODD_KINDS_MAX = 32
ENTRIES_WAITING_MAX = 8  # keyed in while the service answers something else
ASKED_MAX = 2  # times about an item that never got its place: the service has refused it
NO_TURN_RULES, NO_IDLE_RULES = TurnRules(), IdleRules()


class Conversation:
    """One caller and one voice session."""

    def __init__(
        self,
        speech: Speech,
        *,
        greeting: str,
        keys: KeyRules,
        turns: TurnRules = NO_TURN_RULES,
        approvals: Mapping[str, tuple[str, ...]] | None = None,
        idle: IdleRules = NO_IDLE_RULES,
        idle_words: Callable[[Idle], str] = lambda what: what.value,
        answered_at: float = 0.0,
    ) -> None:
        """``idle_words``: instructions, in the language of the moment; ``answered_at`` is monotonic.

        ``approvals``: see ``sipua.remote_tools``.
        """
        self._speech = speech
        self._turns = Turns(turns, speech)
        self._idle = IdleWatch(idle, answered_at)
        self._idle_words = idle_words
        self._is_held = False
        self.is_handed_over = False  # the caller talks with a person: nothing more is asked for
        self._key_rules = keys
        self._entries = 0  # of keys and lines, so far
        self._announced = 0
        self._unanswered: dict[str, int] = {}  # items with keys or results → times an answer was asked for
        self._placed: set[str] = set()  # those of them that the service has given their place
        self._is_asked = False  # response.create is on its way
        self._is_speaking = False  # the caller
        self._said = Said()
        self._tools = ToolRound()
        self._remote = RemoteTools(approvals or {})
        self._is_leaving = False  # the model wants to hang up
        self._opening = CreateResponse(greeting)
        self._request = self._opening  # what a failed response is asked for again
        self._retried = False
        self._odd: set[Fault] = set()  # what has been recorded of events that nobody understands

    @property
    def active_response(self) -> str | None:
        return self._turns.active_response

    def deadline(self) -> float | None:
        """When ``tick`` is to be called, on the monotonic clock, if nothing happens before."""
        if self.is_handed_over:
            return None
        deadlines = (self._turns.deadline(), self._idle.deadline())
        return min((each for each in deadlines if each is not None), default=None)

    def tick(self, now: Moment) -> list[Action]:
        """What is due."""
        if self.is_handed_over:
            return []
        actions = self._turned(self._turns.tick(now.monotonic))
        idle = self._idle.tick(now.monotonic, self._speech.queued_ms, is_busy=self._is_busy)
        if idle is None:
            return actions
        if idle is Idle.FAREWELL:
            self._is_leaving = True
            actions.append(HangUp(CALLER_SILENT))
        self._request = CreateResponse(self._idle_words(idle))
        return [*actions, self._ask(self._request)]

    @property
    def _is_busy(self) -> bool:
        """Somebody speaks, or is about to."""
        speaks = self._is_speaking or self._turns.is_paused or self.active_response is not None
        return speaks or self._is_asked or self._is_held or self._is_leaving or self._tools.is_busy

    @property
    def is_at_rest(self) -> bool:
        """Nothing is being said or done, and nothing waits for an answer."""
        return not (self._is_busy or self._unanswered or self._turns.is_owed)

    def held(self, is_held: bool, now: Moment) -> None:
        """Nobody listens, or somebody does again."""
        self._is_held = is_held
        self._quiet(now)

    def _quiet(self, now: Moment) -> None:
        """Something has ended, and nobody may be speaking from now on."""
        self._idle.quiet(now.monotonic, self._speech.queued_ms)

    def hand_over(self) -> list[Action]:
        """The caller talks with a person from now on: nothing is said or asked for any more."""
        actions = self._turned(self._turns.interrupt())
        self.is_handed_over, self._said.callers_role = True, "caller"
        return actions

    def begin(self) -> list[Action]:
        """The call has been answered: the agent speaks first, unless there is no greeting, or it speaks already."""
        if not self._opening.instructions or self._is_asked or self.active_response is not None:
            return []
        self._request = self._opening
        return [self._ask(self._opening)]

    def on_keys(self, news: KeyNews, now: Moment) -> list[Action]:
        """Keys that the caller pressed; no answer is asked for while one comes or he speaks."""
        if not isinstance(news, Entry):
            return self._turned(self._turns.interrupt()) if self._key_rules.interrupts else []
        if len(self._unanswered) >= ENTRIES_WAITING_MAX:
            return self._once(Fault("keys_dropped", "more keys than the voice service answers"))
        self._idle.caller_spoke()
        self._quiet(now)
        self._entries += 1
        item_id = f"sipua_keys_{self._entries}"
        self._unanswered[item_id] = 0
        shown = f"[keys pressed: {news.keys if self._key_rules.are_kept else len(news.keys)}]"
        text = f"The caller pressed these keys on the telephone: {' '.join(news.keys)}"
        noted = self._said.ours(item_id, shown, now)
        return [SystemText(item_id, text), *noted, *self._answer()]

    def typed(self, text: str, now: Moment) -> list[Action]:
        """A line of who writes instead of speaking; it waits for the end of what is being said."""
        if len(self._unanswered) >= ENTRIES_WAITING_MAX:
            return self._once(Fault("lines_dropped", "more lines than the voice service answers"))
        self._tools.caller_spoke()
        self._entries += 1
        item_id = f"sipua_typed_{self._entries}"
        self._unanswered[item_id] = 0
        return [UserText(item_id, text), *self._said.typed(item_id, text, now), *self._answer()]

    def tool_done(self, call_id: str, output: str, now: Moment) -> list[Action]:
        """A tool of the model's has given its result (JSON text), or its error."""
        self._quiet(now)
        return [*self._deliver(self._tools.done(call_id, output)), *self._answer(), *self._leave()]

    def hang_up(self, now: Moment) -> list[Action]:
        """The model wants to (a tool, whose result comes by ``tool_done``)."""
        self._is_leaving = True
        return [HangUp(AGENT_HUNG_UP)]

    def fall_silent(self) -> list[Action]:
        """Nobody listens to what is being said."""
        return self._turned(self._turns.interrupt())

    def leave_message(self, instructions: str, now: Moment) -> list[Action]:
        """A machine listens: a response by these instructions, then the end. Again: from the beginning."""
        actions = self.fall_silent()
        self._is_leaving = True
        self._request = CreateResponse(instructions)
        return [StopListening(), *actions, HangUp(MESSAGE_LEFT), self._ask(self._request)]

    def _deliver(self, delivery: Delivery) -> list[Action]:
        """Results for the model; no answer is wanted after a goodbye that has been said already."""
        if delivery.asks and not (self._is_leaving and delivery.spoke):
            self._unanswered[delivery.items[-1].item_id] = 0
        return list(delivery.items)

    def _answer(self) -> list[Action]:
        is_wanted = not self.is_handed_over and (self._unanswered or self._turns.is_owed)
        if not is_wanted or self._is_asked or self._is_speaking or self.active_response is not None:
            return []
        self._unanswered = {item: asked + 1 for item, asked in self._unanswered.items()}
        self._request = CreateResponse()
        return [self._ask(self._request)]

    def _leave(self) -> list[Action]:
        """The call ends once nothing more is to be said."""
        is_due = self.active_response is None and not (
            self._is_asked or self._unanswered or self._tools.is_busy
        )
        return [EndAfterPlayback()] if self._is_leaving and is_due and not self.is_handed_over else []

    def _turned(self, actions: list[Action]) -> list[Action]:
        """What the turns have decided; an interruption keeps the call that was about to end."""
        if not self._turns.take_interruption() or not self._is_leaving:
            return actions
        self._is_leaving = False
        return [CallGoesOn(), *actions]

    def _ask(self, request: CreateResponse) -> CreateResponse:
        self._is_asked = True
        return request

    def protect(self, item_id: str) -> None:
        """A recording of ours that the caller's voice does not cut off."""
        self._turns.protect(item_id)

    def announced(self, text: str, now: Moment) -> list[Action]:
        """A recording of ours is being played."""
        self._announced += 1
        return self._said.ours(f"sipua_said_{self._announced}", text, now)

    def on_event(self, event: ev.Event, now: Moment) -> list[Action]:
        """Everything that follows from one event, in the order in which it is to be done."""
        match event:
            case ev.SpeechStarted():
                self._is_speaking = True
                self._said.speech_began(event.item_id, now)
                spoken = {"item_id": event.item_id, "audio_start_ms": event.audio_start_ms}
                if self.is_handed_over:
                    return [Logged(event.raw_type, spoken)]
                return [
                    Logged(event.raw_type, spoken),
                    *self._turned(
                        self._turns.speech_started(
                            event.item_id,
                            event.audio_start_ms,
                            now.monotonic,
                            is_last_chance=self._is_leaving,
                        )
                    ),
                ]
            case ev.SpeechStopped():
                spoken = {"item_id": event.item_id, "audio_end_ms": event.audio_end_ms}
                if self.is_handed_over:
                    return [Logged(event.raw_type, spoken)]
                turned = self._turned(self._turns.speech_stopped(event.item_id, event.audio_end_ms))
                return [Logged(event.raw_type, spoken), *turned]
            case ev.InputCommitted():
                self._is_speaking = False
                self._turns.committed(event.item_id)
                self._idle.caller_spoke()
                self._quiet(now)
                self._tools.caller_spoke()
                self._retried = False
                self._request = CreateResponse()
                self._said.committed(event.item_id, now)
                return [Logged(event.raw_type, {"item_id": event.item_id})]
            case ev.ItemAdded():
                if event.role == "assistant":
                    self._said.appeared(event.item_id, now)
                if event.item_id in self._unanswered:
                    self._placed.add(event.item_id)
                return [
                    Logged(event.raw_type, {"item_id": event.item_id, "role": event.role, "type": event.type})
                ]
            case ev.OutputItemAdded():
                self._turns.item_added(event.response_id, event.item_id)
                if event.type == "message":
                    self._tools.spoke(event.response_id)
                return self._remote.on_event(event)
            case ev.LateAudio():
                return self._turns.late_audio(event.item_id)
            case ev.ResponseCreated():
                is_asked, self._is_asked = self._is_asked, False
                is_opening = is_asked and self._request is self._opening
                self._unanswered = {
                    item: asked
                    for item, asked in self._unanswered.items()
                    if item not in self._placed and asked < ASKED_MAX
                }
                self._placed &= self._unanswered.keys()
                return [
                    Logged(event.raw_type, {"response_id": event.response_id}),
                    *self._turns.response_created(
                        event.response_id, is_asked=is_asked, is_opening=is_opening
                    ),
                ]
            case ev.PlayoutEnded() | ev.PlayoutCleared():
                self._quiet(now)
                return []
            case ev.AudioDone():
                self._speech.end_item(event.item_id)
                self._quiet(now)
                return []
            case ev.ResponseDone():
                return self._response_done(event, now)
            case ev.FunctionCall():
                return [*self._tools.called(event)]
            case ev.McpCall() | ev.McpArguments() | ev.McpCallDone() | ev.McpApproval():
                return self._remote.on_event(event)
            case ev.ServiceError():
                return self._service_error(event)
            case ev.ProtocolFault() | ev.UnknownEvent():
                return self._odd_event(event)
            case ev.SessionUpdated():
                return [Logged(event.raw_type)]
            case ev.UserTranscriptFailed():
                return [Fault("transcription_failed", f"{event.code or 'error'}: {event.message}")]
            case ev.UserTranscript():
                self._turns.transcribed(event.item_id, event.text)
                if not event.text.strip():
                    self._idle.had_no_words()
                return self._said.on_event(event, now)
            case _:
                return self._said.on_event(event, now)

    def _response_done(self, event: ev.ResponseDone, now: Moment) -> list[Action]:
        self._turns.response_done(event.response_id)
        self._quiet(now)
        payload = {"response_id": event.response_id, "status": event.status, "reason": event.reason}
        actions: list[Action] = [Logged(event.raw_type, payload | {"usage": event.usage})]
        actions += self._said.response_over(event.response_id, now)
        actions += self._deliver(self._tools.response_over(event.response_id))
        remote = self._remote.response_over(event.response_id)
        self._unanswered |= dict.fromkeys(remote, 0)
        self._placed |= set(remote)
        if event.status == "failed":
            actions += self._failed(event.severity, event.error_code, event.error_message or "no message")
        elif event.status == "completed":
            self._retried = False
        return actions + self._answer() + self._leave()

    def _failed(self, severity: Severity, code: str | None, message: str) -> list[Action]:
        text = f"{code or 'error'}: {message}"
        error = _fatal(severity, code, text)
        if error is not None:
            return [EndCall(error)]
        if severity is Severity.RETRY_ONCE and not (self._retried or self.is_handed_over):
            self._retried = True
            return [Fault("response_failed", f"{text} (asked again once)"), self._ask(self._request)]
        return [Fault("response_failed", text), PlayPhrase("service_error")]

    def _service_error(self, event: ev.ServiceError) -> list[Action]:
        self._is_asked = False  # it may have been about that; asked once more, the worst is a benign error
        param = f" (param {event.param})" if event.param else ""
        text = f"{event.code or 'error'}: {event.message}{param}"
        if event.code == "session_expired":
            return [EndCall(RealtimeClosed(f"the voice session expired: {text}", code=event.code))]
        error = _fatal(event.severity, event.code, text)
        if error is not None:
            return [EndCall(error)]
        return [] if is_expected(event.code, event.message) else [Fault("service_error", text)]

    def _odd_event(self, event: ev.ProtocolFault | ev.UnknownEvent) -> list[Action]:
        """Recorded once per kind: a type of next year may come fifty times a second."""
        if isinstance(event, ev.UnknownEvent):
            fault = Fault("unknown_event", f"the voice service sent an event of unknown type {event.type!r}")
        else:
            what = f"{event.type or 'a message'}: {event.detail}"
            fault = Fault("invalid_event", f"the voice service sent {what}")
        return self._once(fault)

    def _once(self, fault: Fault) -> list[Action]:
        if fault in self._odd or len(self._odd) >= ODD_KINDS_MAX:
            return []
        self._odd.add(fault)
        return [fault]


def _fatal(severity: Severity, code: str | None, text: str) -> RealtimeError | None:
    """The error that ends the call, if it must end."""
    if severity is Severity.FATAL_ACCOUNT:
        return RealtimeRefused(f"the voice service refused: {text}", code=code)
    if severity is Severity.FATAL_CALL:
        return RealtimeRejectedConfig(f"the voice service cannot go on: {text}", code=code)
    return None
