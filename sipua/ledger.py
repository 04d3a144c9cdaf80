"""Turns what calls report into the storage package's typed facts, and into entries of the live feed.

What a fact looks like is ``sipua.ledger_facts``. Nothing here blocks: the writer's queue is bounded and its overflow is
counted by the writer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

from sipua.call_notes import intent_of, noted
from sipua.call_times import TICK, CallTimes
from sipua.course import Course
from sipua.ledger_facts import (
    EVENT_TYPES,
    call_event,
    call_started,
    carrier_ids,
    ending_metadata,
    opened_session,
    webhook_came,
)
from sipua.outcome import Ending, Status
from sipua.ports import AttemptMade, CallOpening, Moment, SessionOpening
from sipua.sip_message import mask_number
from sipua.transcript import Segment
from storage.facts import (
    CallChanged,
    CallEnded,
    ConsentAnswered,
    Event,
    Fact,
    Group,
    RecordingDeleted,
    RecordingKept,
    SessionEnded,
    ToolCalled,
    ToolDone,
    Transcript,
)
from storage.trunk_facts import CallAttempt, CallCarried
from storage.words import ConsentChannel, EventType

CUTS_MAX = 64  # items of one call whose text or cut may still come


class Watchers(Protocol):
    """sipua.feed.Feed, as far as this module needs it."""

    @property
    def is_watched(self) -> bool: ...
    def publish(self, entry: Mapping[str, Any]) -> None: ...


class Writer(Protocol):
    """storage.writer.LedgerWriter, as far as this module needs it."""

    def put(self, group: Group) -> None: ...


class Webhook(Protocol):
    """One that was signed, as far as its rows need it."""

    @property
    def id(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def object_id(self) -> str: ...
    @property
    def event_id(self) -> UUID: ...
    @property
    def payload(self) -> Mapping[str, Any]: ...


class Ledger:
    """Opens records; ``identity`` (node, worker, instance) stands in the metadata of every call."""

    def __init__(
        self, writer: Writer, feed: Watchers, identity: Mapping[str, Any], project_id: str = ""
    ) -> None:
        self._writer = writer
        self._project_id = project_id
        self._feed = feed
        self._identity = dict(identity)

    def open(self, opening: CallOpening, at: Moment) -> Record:
        """The call's row, at its INVITE."""
        self.put(*call_started(opening, at, self._identity, self._project_id))
        self._feed.publish(
            {
                "event": "call",
                "call": str(opening.id),
                "state": "incoming" if opening.direction == "inbound" else "outgoing",
                "from": mask_number(opening.from_number),
                "to": mask_number(opening.to_number),
                "trunk": opening.trunk,
            }
        )
        return Record(opening, self, self._feed, at)

    def refused(self, opening: CallOpening, at: Moment, ending: Ending) -> None:
        """An INVITE of a known source that never became a call: one closed row."""
        self.put(
            *call_started(opening, at, self._identity, self._project_id),
            CallEnded(
                call_id=opening.id,
                ended_at=at.wall,
                duration_seconds=0,
                status=ending.status.value,
                outcome=ending.reason,
                metadata=ending_metadata(ending),
            ),
            call_event(
                opening.id,
                "call_ended",
                at.wall + TICK,
                {"reason": ending.reason, "sip_code": ending.sip_code},
            ),
        )

    def webhook(self, told: Webhook, at: Moment, outcome: str, *, call_id: UUID | None = None) -> None:
        """A signed webhook, and what was made of it; an event of its call where we have a row of that."""
        came = webhook_came(
            told.id,
            told.source,
            told.kind,
            at.wall,
            object_id=told.object_id,
            call_id=call_id,
            outcome=outcome,
        )
        if call_id is None:
            self.put(came)
        else:
            self.put(came, Event(told.event_id, call_id, "webhook", at.wall, dict(told.payload)))

    def recording_kept(self, consent_id: UUID, url: str) -> None:
        """The recording that this answer allowed can be fetched."""
        self.put(RecordingKept(consent_id, url))

    def recording_deleted(self, consent_id: UUID) -> None:
        """It can no longer."""
        self.put(RecordingDeleted(consent_id))

    def put(self, *facts: Fact) -> None:
        """Hands a group to the writer, which counts and announces what it must refuse; a call never waits."""
        self._writer.put(facts)


class Record:
    """One call's rows (``sipua.ports.CallRecord``)."""

    def __init__(self, opening: CallOpening, ledger: Ledger, feed: Watchers, at: Moment) -> None:
        self.opening = opening
        self._times = CallTimes(at.wall)
        self._times.event(at.wall)  # call_started's
        self._locale = opening.locale
        self._answered: Moment | None = None
        self._course = Course()
        self._put = ledger.put
        self._feed = feed
        self._sessions: dict[
            str, UUID
        ] = {}  # open ones, by the service's id: two while one follows the other
        self._attempts = 0
        self._outcome = ""  # as the agent has it
        self._has_intent = False
        self._ended = False
        self._keeps_transcripts = True
        self._spoken: dict[str, int] = {}  # items of the agent: their segments
        self._latency: dict[str, dict[str, Any]] = {}  # of items whose text has not come yet
        self._heard_ms: dict[str, int] = {}  # … and of those that were cut off, what was heard

    @property
    def id(self) -> UUID:
        return self.opening.id

    def attempt(self, at: Moment, made: AttemptMade) -> None:
        """One INVITE of an outbound call, at its end."""
        self._attempts += 1
        self._put(
            CallAttempt(
                id=uuid4(),
                call_id=self.id,
                ordinal=self._attempts,
                trunk=made.trunk,
                target=made.target,
                code=made.code or None,
                reason=made.reason,
                ms=made.ms,
                decision=made.decision,
                started_at=at.wall - timedelta(milliseconds=made.ms),
            )
        )
        self._publish("attempt", **made.as_dict())

    def carried(self, *, trunk: str, provider: str, sip_call_id: str, carrier_sid: str | None = None) -> None:
        """The trunk whose leg was answered, or the last one tried."""
        self._put(
            CallCarried(
                call_id=self.id,
                trunk=trunk,
                provider=provider,
                sip_session_id=sip_call_id,
                **carrier_ids(provider, carrier_sid or sip_call_id),
            )
        )

    def ringing(self, at: Moment) -> None:
        self._put(
            CallChanged(call_id=self.id, at=at.wall, status=Status.RINGING.value),
            self._event("ringing", at.wall, {}),
        )

    def answered(self, at: Moment, codec: str = "") -> None:
        """A chat has no codec."""
        self._answered = at
        told = {"codec": codec} if codec else {}
        self._put(
            CallChanged(call_id=self.id, at=at.wall, status=Status.IN_PROGRESS.value, metadata=told),
            self._event("answered", at.wall, told),
        )

    def answered_by(self, at: Moment, by: str, why: str, after_ms: int) -> None:
        known = {"answered_by": by, "why": why, "after_ms": after_ms}
        self._put(
            CallChanged(call_id=self.id, at=at.wall, metadata={"answered_by": by}),
            self._event("answered", at.wall, known),
        )
        self._publish("answered_by", by=by, why=why, after_ms=after_ms)

    def session_opened(self, at: Moment, session: SessionOpening) -> None:
        id = self._sessions[session.session_id] = uuid4()
        self._put(
            opened_session(id, self.id, at.wall, session),
            # its session.updated waits in the session's queue and comes through service_event
            self._event("openai_session_created", at.wall, {"session_id": session.session_id}),
        )

    def session_ended(self, at: Moment, session_id: str, *, failed: bool) -> None:
        id = self._sessions.pop(session_id, None)
        if id is not None:
            self._put(
                SessionEnded(
                    id=id,
                    call_id=self.id,
                    ended_at=at.wall,
                    status="failed" if failed else "completed",
                )
            )

    def language(self, at: Moment, locale: str, why: str) -> None:
        """The language that the call is in from now on; ``why`` as ``sipua.language_choice`` has it."""
        if locale == self._locale:
            return
        self._locale = locale
        self._put(CallChanged(call_id=self.id, at=at.wall, locale=locale, metadata={"language": why}))
        self._publish("language", locale=locale, why=why)

    def consent_asked(self, at: Moment, text: str) -> None:
        """Whoever finds the call without an answer, after a crash, knows that there was none."""
        self._put(CallChanged(call_id=self.id, at=at.wall, metadata={"consent_question": text}))

    def consent(
        self, at: Moment, id: UUID, *, text: str, result: bool | None, channel: ConsentChannel | None
    ) -> None:
        """What the caller answered to ``text``; None: nothing."""
        self._put(ConsentAnswered(id, self.id, at.wall, text, result, channel))
        self._publish("consent", result=result, channel=channel)

    def keep_transcripts(self, kept: bool) -> None:
        self._keeps_transcripts = kept

    def usage(self, at: Moment, usage: Mapping[str, Any]) -> None:
        """What the voice service has charged for the call so far."""
        self._put(CallChanged(call_id=self.id, at=at.wall, metadata={"usage": dict(usage)}))

    def transcript(self, segment: Segment, lang: str | None) -> None:
        lang = lang or self._locale
        self._publish("transcript", role=segment.role, item=segment.item_id, text=segment.content, lang=lang)
        if not self._keeps_transcripts:
            return
        self._put(
            Transcript(
                id=uuid4(),
                call_id=self.id,
                sequence=segment.sequence,
                role=segment.role,
                content=segment.content,
                lang=lang,
                confidence=segment.confidence,
                t=segment.t,
            ),
            self._segment(segment.t, segment.item_id, segment.sequence, segment.role),
        )
        if segment.role == "assistant":
            self._spoken[segment.item_id] = segment.sequence
            _bound(self._spoken)

    def answered_caller(self, at: Moment, item_id: str, seconds: float) -> None:
        """Stands in the event of the segment, whose text comes later."""
        self._latency[item_id] = {"first_audio_at": at.wall.isoformat(), "latency_seconds": round(seconds, 3)}
        _bound(self._latency)
        self._publish("turn", item=item_id, ms=round(seconds * 1000))

    def cut_off(self, at: Moment, item_id: str, heard_ms: int) -> None:
        """Its transcript says what was made, as nobody knows which words these milliseconds were."""
        self._heard_ms[item_id] = heard_ms
        _bound(self._heard_ms)
        if (sequence := self._spoken.get(item_id)) is not None:
            self._put(self._segment(at.wall, item_id, sequence, "assistant"))

    def _segment(self, at: datetime, item_id: str, sequence: int, role: str) -> Event:
        payload: dict[str, Any] = {"sequence": sequence, "role": role, "item_id": item_id}
        payload |= self._latency.pop(item_id, {})
        if (heard_ms := self._heard_ms.get(item_id)) is not None:
            payload["audio_end_ms"] = heard_ms
        return self._event("transcript_segment", at, payload)

    def _event(self, type: EventType, at: datetime, payload: Mapping[str, Any]) -> Event:
        return call_event(self.id, type, self._times.event(at), payload)

    def transcript_delta(self, role: str, item_id: str, text: str) -> None:
        if self._feed.is_watched:
            self._publish("transcript_delta", role=role, item=item_id, text=text)

    def service_event(self, at: Moment, type: str, payload: Mapping[str, Any]) -> None:
        if type == "input_audio_buffer.speech_started":
            self._course.caller_spoke()
        elif type == "input_audio_buffer.speech_stopped":
            self._course.caller_stopped(self._since_answer(at))
        mapped = EVENT_TYPES.get(type)
        if mapped is not None:
            self._put(self._event(mapped, at.wall, payload))

    def tool_called(
        self, at: Moment, id: UUID, *, server: str | None, tool: str, args: Mapping[str, Any] | None
    ) -> None:
        """The model wants a tool: a row, which ``tool_done`` completes."""
        self._put(
            *self._noted(at, tool, args),
            ToolCalled(id=id, call_id=self.id, server=server, tool=tool, args=args, t=at.wall),
            self._event("tool_call", at.wall, {"id": str(id), "tool": tool, "server": server}),
        )
        self._publish("tool", id=str(id), tool=tool)

    def _noted(self, at: Moment, tool: str, args: Mapping[str, Any] | None) -> Group:
        known = noted(tool, args)
        if not self._has_intent and (intent := intent_of(tool)) is not None:
            self._has_intent = True
            known["intent"] = intent
        return (CallChanged(call_id=self.id, at=at.wall, **known),) if known else ()  # type: ignore[arg-type]

    def tool_done(self, id: UUID, *, result: Mapping[str, Any] | None, error: str | None) -> None:
        self._put(ToolDone(id=id, call_id=self.id, success=error is None, result=result, error=error or None))
        self._publish("tool_done", id=str(id), error=error)

    def wrapped_up(self, at: Moment, *, intent: str, outcome: str, note: str) -> None:
        """What the caller wanted and what became of it; ``outcome`` stays at the end, why it ended is metadata."""
        self._outcome, self._has_intent = outcome, True
        self._put(
            CallChanged(call_id=self.id, at=at.wall, intent=intent, outcome=outcome, last_note=note or None)
        )

    def transfer(self, at: Moment, department: str, told: Mapping[str, Any], *, is_done: bool) -> None:
        """How a transfer to a person stands."""
        known = {"department": department, **told}
        self._put(
            CallChanged(
                call_id=self.id,
                at=at.wall,
                handoff=is_done or None,
                handoff_target=department if is_done else None,
                metadata={"transfer": known},
            )
        )
        self._publish("transfer", **known)

    def error(self, at: Moment, reason: str, message: str) -> None:
        self._put(self._event("error", at.wall, {"reason": reason, "message": message}))
        self._publish("error", reason=reason, message=message)

    def first_audio(self, at: Moment, seconds: float) -> None:
        self._put(CallChanged(call_id=self.id, at=at.wall, first_time_to_assistant_seconds=round(seconds, 3)))
        self._publish("first_audio", seconds=round(seconds, 3))

    def spoke(self, at: Moment) -> None:
        turn = self._course.answered(self._since_answer(at))
        if turn is not None:
            self._publish("turn", at_s=turn.at_s, ms=turn.ms)

    def phase(self, phase: str) -> None:
        self._publish("call", state=phase)

    def rtp(self, at: Moment, measure: Callable[[], Mapping[str, Any]]) -> None:
        """Twice a second and call: ``measure`` takes 150 µs and is asked only if it is due or somebody looks on."""
        at_s = self._since_answer(at)
        if not (is_due := self._course.is_due(at_s)) and not self._feed.is_watched:
            return
        figures = measure()
        if is_due:
            self._course.measured(at_s, figures)
        if self._feed.is_watched:
            self._publish("rtp", **figures)

    def ended(self, at: Moment, ending: Ending, rtp: Mapping[str, Any], srtp: str = "") -> None:
        """``rtp`` is read by the view ``sipua.call_media``; ``srtp`` is the suite of the media, "" for plain RTP.

        How it came to that is ``quality`` (``sipua.course``).
        """
        if self._ended:
            return
        self._ended = True
        ended = self._times.end(at.wall)
        talked = self._since_answer(at)
        self._put(
            CallEnded(
                call_id=self.id,
                ended_at=ended,
                duration_seconds=max(0, round(talked)),
                status=ending.status.value,
                outcome=self._outcome or ending.reason,
                metadata=ending_metadata(ending)
                | ({"rtp": dict(rtp)} if self._has_media else {})
                | ({"srtp": srtp} if srtp else {})
                | self._quality(),
            ),
            self._event("call_ended", ended, {"reason": ending.reason, "sip_code": ending.sip_code}),
        )
        self._publish("ended", status=ending.status.value, reason=ending.reason, seconds=round(talked, 3))

    def _since_answer(self, at: Moment) -> float:
        return at.monotonic - self._answered.monotonic if self._answered is not None else 0.0

    def _quality(self) -> dict[str, Any]:
        series = self._course.as_dict()
        if not series or self._answered is None:
            return {}
        return {"quality": {"from": self._answered.wall.isoformat(), **series}}

    @property
    def _has_media(self) -> bool:
        """Of ours: nothing is heard of a chat, or of a call whose sound is OpenAI's."""
        return self.opening.channel == "voice" and not self.opening.openai_call_id

    def _publish(self, event: str, **values: Any) -> None:
        self._feed.publish({"event": event, "call": str(self.id), **values})


def _bound(items: dict[str, Any]) -> None:
    if len(items) > CUTS_MAX:
        del items[next(iter(items))]
