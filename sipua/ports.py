"""What the call logic needs from the outside, as Protocols that the consumer defines."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, Protocol
from uuid import UUID

from sipua.errand import Errand
from sipua.outcome import Ending
from sipua.sip_events import SdpPlan
from sipua.transcript import Segment
from sipua.trunks.registration import Changed
from sipua.trunks.watch import HealthChange, HealthView


@dataclass(frozen=True, slots=True)
class Moment:
    """One reading of both clocks: ``monotonic`` for durations, ``wall`` (aware, UTC) for rows."""

    monotonic: float
    wall: datetime

    def at(self, monotonic: float) -> Moment:
        """Another moment, on both clocks, as these read now."""
        return Moment(monotonic, self.wall + timedelta(seconds=monotonic - self.monotonic))


class Clock(Protocol):
    """Where time comes from."""

    def now(self) -> Moment: ...


@dataclass(frozen=True, slots=True)
class CallOpening:
    """What is known of a call at its INVITE.

    Of an outbound call that is not routed yet ``sip_call_id``, ``provider``, ``trunk`` and ``source`` are "": what
    carries it is said by ``CallRecord.carried``.
    """

    id: UUID
    direction: Literal["inbound", "outbound"]
    from_uri: str
    to_uri: str
    from_number: str | None
    to_number: str | None
    sip_call_id: str
    carrier_sid: str | None
    provider: str
    trunk: str
    locale: str
    country: str | None
    source: str
    channel: Literal["voice", "text"] = "voice"  # text: a chat, which no line carries
    errand: Errand | None = None  # of a call of ours
    openai_call_id: str = ""  # of a call whose sound is OpenAI's own affair

    @property
    def our_number(self) -> str | None:
        """The one that was dialled, or that we present."""
        return self.from_number if self.direction == "outbound" else self.to_number


@dataclass(frozen=True, slots=True)
class SessionOpening:
    """A voice session as the service echoed it."""

    session_id: str
    model: str
    echoed: Mapping[str, Any]
    why: str = "first"  # or rotation, reconnect
    connect_s: float = 0.0


@dataclass(frozen=True, slots=True)
class AttemptMade:
    """One INVITE of an outbound call, when it is over. ``code`` 0: no final response."""

    trunk: str
    target: str
    code: int
    reason: str
    ms: int
    decision: str

    def as_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in self.__slots__}


class CallRecord(Protocol):
    """One call's way into the ledger. None of it blocks or fails: the writer owns the trouble."""

    @property
    def id(self) -> UUID: ...
    @property
    def opening(self) -> CallOpening: ...
    def attempt(self, at: Moment, made: AttemptMade) -> None: ...
    def carried(
        self, *, trunk: str, provider: str, sip_call_id: str, carrier_sid: str | None = None
    ) -> None: ...
    def ringing(self, at: Moment) -> None: ...
    def answered(self, at: Moment, codec: str = "") -> None: ...
    def answered_by(self, at: Moment, by: str, why: str, after_ms: int) -> None:
        """Who has taken a call of ours, as far as can be told: person, machine or unsure."""

    def session_opened(self, at: Moment, session: SessionOpening) -> None: ...
    def session_ended(self, at: Moment, session_id: str, *, failed: bool) -> None: ...
    def language(self, at: Moment, locale: str, why: str) -> None: ...
    def consent_asked(self, at: Moment, text: str) -> None:
        """The question stands; what follows is ``consent``, unless the process dies."""

    def consent(
        self,
        at: Moment,
        id: UUID,
        *,
        text: str,
        result: bool | None,
        channel: Literal["voice", "dtmf", "text"] | None,
    ) -> None: ...
    def keep_transcripts(self, kept: bool) -> None:
        """False: those that come from now on are shown, not written."""

    def usage(self, at: Moment, usage: Mapping[str, Any]) -> None: ...
    def transcript(self, segment: Segment, lang: str | None) -> None: ...
    def answered_caller(self, at: Moment, item_id: str, seconds: float) -> None:
        """The first sound of this item came so long after the end of the caller's words."""

    def cut_off(self, at: Moment, item_id: str, heard_ms: int) -> None:
        """Of that item the caller has heard so much; its text is told as it was made, before or after."""

    def transcript_delta(self, role: str, item_id: str, text: str) -> None: ...
    def service_event(self, at: Moment, type: str, payload: Mapping[str, Any]) -> None: ...
    def tool_called(
        self, at: Moment, id: UUID, *, server: str | None, tool: str, args: Mapping[str, Any] | None
    ) -> None: ...
    def tool_done(self, id: UUID, *, result: Mapping[str, Any] | None, error: str | None) -> None: ...
    def wrapped_up(self, at: Moment, *, intent: str, outcome: str, note: str) -> None: ...
    def transfer(self, at: Moment, department: str, told: Mapping[str, Any], *, is_done: bool) -> None:
        """How a transfer to a person stands; ``is_done``: the caller talks with them."""

    def error(self, at: Moment, reason: str, message: str) -> None: ...
    def first_audio(self, at: Moment, seconds: float) -> None: ...
    def phase(self, phase: str) -> None: ...
    def spoke(self, at: Moment) -> None:
        """Sound of the voice service is there to be played."""

    def rtp(self, at: Moment, measure: Callable[[], Mapping[str, Any]]) -> None: ...
    def ended(self, at: Moment, ending: Ending, rtp: Mapping[str, Any], srtp: str = "") -> None: ...


class Announcements(Protocol):
    """Words of ours, by their names in ``sipua.languages.Phrases``, to who talks with the agent."""

    on_said: Callable[[str], None]
    is_closing: bool

    def say(self, phrase: str) -> str: ...
    async def close_with(self, phrase: str) -> None: ...


class Ledger(Protocol):
    """Opens records."""

    def open(self, opening: CallOpening, at: Moment) -> CallRecord: ...
    def refused(self, opening: CallOpening, at: Moment, ending: Ending) -> None: ...


class TrunkLedger(Protocol):
    """Where the state of trunks goes, and its history. None of it blocks or fails."""

    def watching(self, trunk: str, addresses: Sequence[str]) -> None: ...
    def health_changed(self, change: HealthChange, at: Moment) -> None: ...
    def health_seen(self, views: Sequence[HealthView], at: Moment) -> None: ...
    def registration_changed(self, trunk: str, account: str, change: Changed, at: Moment) -> None: ...


class SipLegs(Protocol):
    """What a call may ask of the SIP side."""

    async def answer(self, key: UUID) -> None: ...
    async def hang_up(
        self, key: UUID, code: int = 0, *, phrase: str = "", headers: Sequence[tuple[str, str]] = ()
    ) -> None: ...
    async def reinvite(self, key: UUID, address: str = "") -> None: ...
    async def refer(self, key: UUID, target_uri: str) -> None: ...


class OutboundSip(Protocol):
    """What a call asks of the SIP side (``sipua.pj.endpoint.SipEndpoint``)."""

    async def invite(
        self,
        uri: str,
        plan: SdpPlan,
        key: UUID,
        headers: Sequence[tuple[str, str]] = (),
        *,
        route: str = "",
        from_uri: str = "",
        account: str = "",
        authenticated: bool = True,
    ) -> None: ...
    async def hang_up(self, key: UUID) -> None: ...
