"""Turns what calls report into the storage package's typed facts, and into entries of the live feed.

Only the event types of the shared schema's CHECK list are written to ``voice_events``; the rest is counted in metrics
and logs. Nothing here blocks: the writer's queue is bounded and its overflow is counted by the writer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

from sipua.feed import Feed
from sipua.outcome import Ending, Status
from sipua.ports import AttemptMade, CallOpening, Moment, SessionOpening
from sipua.sip_message import mask_number
from sipua.transcript import Segment
from storage.facts import (
    CallChanged,
    CallCreated,
    CallEnded,
    ConsentAnswered,
    Event,
    Fact,
    Group,
    RecordingDeleted,
    RecordingKept,
    SessionEnded,
    SessionOpened,
    ToolCalled,
    ToolDone,
    Transcript,
)
from storage.trunk_facts import CallAttempt, CallCarried
from storage.words import ConsentChannel, EventType

# Names on the wire → the CHECK list of voice_events.type (shared schema, rule 4).
EVENT_TYPES: dict[str, EventType] = {
    "session.created": "openai_session_created",
    "session.updated": "openai_session_updated",
    "response.created": "openai_response_created",
    "response.done": "openai_response_done",
    "input_audio_buffer.committed": "openai_audio_buffer_committed",
    "input_audio_buffer.speech_started": "openai_input_audio_buffer_speech_started",
    "input_audio_buffer.speech_stopped": "openai_input_audio_buffer_speech_stopped",
    "conversation.item.added": "openai_conversation_item_created",
}


class Writer(Protocol):
    """storage.writer.LedgerWriter, as far as this module needs it."""

    def put(self, group: Group) -> None: ...


class Ledger:
    """Opens records; ``identity`` (node, worker, instance) stands in the metadata of every call."""

    def __init__(self, writer: Writer, feed: Feed, identity: Mapping[str, Any]) -> None:
        self._writer = writer
        self._feed = feed
        self._identity = dict(identity)

    def open(self, opening: CallOpening, at: Moment) -> Record:
        """The call's row, at its INVITE."""
        self.put(*_started(opening, at, self._identity))
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
        return Record(opening, self, self._feed)

    def refused(self, opening: CallOpening, at: Moment, ending: Ending) -> None:
        """An INVITE of a known source that never became a call: one closed row."""
        self.put(
            *_started(opening, at, self._identity),
            CallEnded(
                call_id=opening.id,
                ended_at=at.wall,
                duration_seconds=0,
                status=ending.status.value,
                outcome=ending.reason,
                metadata=_ending_metadata(ending),
            ),
            _event(opening.id, "call_ended", at.wall, {"reason": ending.reason, "sip_code": ending.sip_code}),
        )

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

    def __init__(self, opening: CallOpening, ledger: Ledger, feed: Feed) -> None:
        self.opening = opening
        self._locale = opening.locale
        self._answered: Moment | None = None
        self._put = ledger.put
        self._feed = feed
        self._sessions: dict[
            str, UUID
        ] = {}  # open ones, by the service's id: two while one follows the other
        self._attempts = 0
        self._outcome = ""  # as the agent has it
        self._ended = False
        self._keeps_transcripts = True

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
                **_carrier_ids(provider, carrier_sid or sip_call_id),
            )
        )

    def ringing(self, at: Moment) -> None:
        self._put(
            CallChanged(call_id=self.id, at=at.wall, status=Status.RINGING.value),
            _event(self.id, "ringing", at.wall, {}),
        )

    def answered(self, at: Moment, codec: str) -> None:
        self._answered = at
        self._put(
            CallChanged(
                call_id=self.id, at=at.wall, status=Status.IN_PROGRESS.value, metadata={"codec": codec}
            ),
            _event(self.id, "answered", at.wall, {"codec": codec}),
        )

    def session_opened(self, at: Moment, session: SessionOpening) -> None:
        id = self._sessions[session.session_id] = uuid4()
        self._put(
            _session_fact(id, self.id, at.wall, session),
            # its session.updated waits in the session's queue and comes through service_event
            _event(self.id, "openai_session_created", at.wall, {"session_id": session.session_id}),
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
            _event(
                self.id, "transcript_segment", segment.t, {"sequence": segment.sequence, "role": segment.role}
            ),
        )

    def transcript_delta(self, role: str, item_id: str, text: str) -> None:
        if self._feed.is_watched:
            self._publish("transcript_delta", role=role, item=item_id, text=text)

    def service_event(self, at: Moment, type: str, payload: Mapping[str, Any]) -> None:
        mapped = EVENT_TYPES.get(type)
        if mapped is not None:
            self._put(_event(self.id, mapped, at.wall, payload))

    def tool_called(
        self, at: Moment, id: UUID, *, server: str | None, tool: str, args: Mapping[str, Any] | None
    ) -> None:
        """The model wants a tool: a row, which ``tool_done`` completes."""
        self._put(
            ToolCalled(id=id, call_id=self.id, server=server, tool=tool, args=args, t=at.wall),
            _event(self.id, "tool_call", at.wall, {"id": str(id), "tool": tool, "server": server}),
        )
        self._publish("tool", id=str(id), tool=tool)

    def tool_done(self, id: UUID, *, result: Mapping[str, Any] | None, error: str | None) -> None:
        self._put(ToolDone(id=id, call_id=self.id, success=error is None, result=result, error=error or None))
        self._publish("tool_done", id=str(id), error=error)

    def wrapped_up(self, at: Moment, *, intent: str, outcome: str, note: str) -> None:
        """What the caller wanted and what became of it; ``outcome`` stays at the end, why it ended is metadata."""
        self._outcome = outcome
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
        self._put(_event(self.id, "error", at.wall, {"reason": reason, "message": message}))
        self._publish("error", reason=reason, message=message)

    def first_audio(self, at: Moment, seconds: float) -> None:
        self._put(CallChanged(call_id=self.id, at=at.wall, first_time_to_assistant_seconds=round(seconds, 3)))
        self._publish("first_audio", seconds=round(seconds, 3))

    def phase(self, phase: str) -> None:
        self._publish("call", state=phase)

    def rtp(self, measure: Callable[[], Mapping[str, Any]]) -> None:
        """Twice a second and call: ``measure`` takes 150 µs and is asked only if somebody looks on."""
        if self._feed.is_watched:
            self._publish("rtp", **measure())

    def ended(self, at: Moment, ending: Ending, rtp: Mapping[str, Any], srtp: str = "") -> None:
        """``rtp`` is read by the view ``sipua.call_media``; ``srtp`` is the suite of the media, "" for plain RTP."""
        if self._ended:
            return
        self._ended = True
        talked = at.monotonic - self._answered.monotonic if self._answered is not None else 0.0
        self._put(
            CallEnded(
                call_id=self.id,
                ended_at=at.wall,
                duration_seconds=round(talked),
                status=ending.status.value,
                outcome=self._outcome or ending.reason,
                metadata=_ending_metadata(ending) | {"rtp": dict(rtp)} | ({"srtp": srtp} if srtp else {}),
            ),
            _event(self.id, "call_ended", at.wall, {"reason": ending.reason, "sip_code": ending.sip_code}),
        )
        self._publish("ended", status=ending.status.value, reason=ending.reason, seconds=round(talked, 3))

    def _publish(self, event: str, **values: Any) -> None:
        self._feed.publish({"event": event, "call": str(self.id), **values})


def _started(opening: CallOpening, at: Moment, identity: Mapping[str, Any]) -> Group:
    began = {"direction": opening.direction, "trunk": opening.trunk}
    return _created(opening, at, identity), _event(opening.id, "call_started", at.wall, began)


def _created(opening: CallOpening, at: Moment, identity: Mapping[str, Any]) -> CallCreated:
    return CallCreated(
        id=opening.id,
        direction=opening.direction,
        from_e164=opening.from_number,
        to_e164=opening.to_number,
        **_carrier_ids(opening.provider, opening.carrier_sid or opening.sip_call_id),
        sip_session_id=opening.sip_call_id,
        provider=opening.provider,
        trunk=opening.trunk,
        locale=opening.locale,
        country=opening.country,
        status=Status.INITIATED.value,
        started_at=at.wall,
        metadata={
            **identity,
            "from_uri": opening.from_uri,
            "to_uri": opening.to_uri,
            "source": opening.source,
        },
    )


def _carrier_ids(provider: str, sid: str) -> dict[str, Any]:
    """Rule 1 of the shared schema: the carrier's id in its own column, the SIP Call-ID where it gave none."""
    return {
        "twilio_call_sid": sid if provider == "twilio" else None,
        "mtn_call_sid": sid if provider == "mtn" else None,
    }


def _session_fact(id: UUID, call_id: UUID, at: datetime, session: SessionOpening) -> SessionOpened:
    # The echo is the service's: a value of another type is left out, it must not cost the call.
    echoed = session.echoed
    audio = _mapping(echoed.get("audio"))
    source, sink = _mapping(audio.get("input")), _mapping(audio.get("output"))
    limit = echoed.get("max_output_tokens")
    voice = sink.get("voice")
    tools = echoed.get("tools")
    return SessionOpened(
        id=id,
        call_id=call_id,
        session_id=session.session_id,
        model=session.model,
        voice=_text(_mapping(voice).get("id") or voice),
        instructions=_text(echoed.get("instructions")),
        modalities=_texts(echoed.get("output_modalities")),
        input_audio_format=_text(_mapping(source.get("format")).get("type")),
        output_audio_format=_text(_mapping(sink.get("format")).get("type")),
        turn_detection=_mapping(source.get("turn_detection")) or None,
        tools=tuple(map(_without_secrets, tools)) if isinstance(tools, list) else (),
        temperature=None,
        max_response_output_tokens=limit if type(limit) is int and 0 <= limit < 2**31 else None,
        started_at=at,
        metadata={"opened_for": session.why},
    )


def _without_secrets(tool: object) -> Mapping[str, Any]:
    """A tool as the service echoed it: that of a remote server may hold the token that it was given."""
    return {key: value for key, value in _mapping(tool).items() if key not in ("authorization", "headers")}


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _texts(value: object) -> tuple[str, ...]:
    """A list of strings, or nothing: neither the letters of one nor a part of a list."""
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        return ()
    return tuple(value)


def _event(call_id: UUID, type: EventType, t: datetime, payload: Mapping[str, Any]) -> Event:
    return Event(id=uuid4(), call_id=call_id, type=type, t=t, payload=dict(payload))


def _ending_metadata(ending: Ending) -> dict[str, Any]:
    metadata: dict[str, Any] = {"end_reason": ending.reason}
    if ending.detail:
        metadata["end_detail"] = ending.detail
    if ending.sip_code:
        metadata["sip_code"] = ending.sip_code
    return metadata
