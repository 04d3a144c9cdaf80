"""What the calls of a process share, and how one comes to be answered: what ``sipua.call`` is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from rtp.codec import Codec
from rtp.pacer import Pacer
from sipua.call_consent import ConsentPolicy
from sipua.call_leg import CallLeg
from sipua.call_screening import NO_SCREENING, ScreeningPolicy
from sipua.call_voice import VoiceService
from sipua.departments import NO_DEPARTMENTS, Departments
from sipua.dialler import Dialler
from sipua.idle import IdleRules
from sipua.keys import KeyRules
from sipua.media import MediaLeg, MediaRules
from sipua.media_ports import MediaPorts, Sockets
from sipua.metrics import Metrics
from sipua.ports import Clock, Moment, OutboundSip, SipLegs
from sipua.second_leg import SecondLegs
from sipua.tool_settings import TransferSettings
from sipua.trunk import Trunk
from sipua.turns import TurnRules

NO_WISHES = TransferSettings()


class Legs(SipLegs, OutboundSip, Protocol):
    """The SIP side, as the calls and the switchboard need it."""

    async def settle(self) -> None:
        """Returns once everything that was decided before has been delivered."""


@dataclass(frozen=True, slots=True)
class CallServices:
    """What every call of the process shares."""

    legs: Legs
    voice: VoiceService
    pacer: Pacer
    ports: MediaPorts
    media: MediaRules
    turns: TurnRules
    idle: IdleRules
    keys: KeyRules
    metrics: Metrics
    clock: Clock
    consent: ConsentPolicy | None = None  # None: nobody is asked
    screening: ScreeningPolicy = NO_SCREENING  # of who answers calls of ours
    departments: Callable[[], Departments] = lambda: NO_DEPARTMENTS
    dialler: Dialler | None = None  # None: callers are transferred by REFER alone
    transfer: TransferSettings = NO_WISHES

    def media_leg(self, sockets: Sockets, codec: Codec, trunk: Trunk) -> MediaLeg:
        """Of a call by this trunk."""
        hears_tones = trunk.dtmf == "inband"
        return MediaLeg(sockets, self.ports, self.pacer, codec, self.media, hears_tones=hears_tones)

    def second_legs(self) -> SecondLegs | None:
        """Of callers who are joined with a person."""
        if self.dialler is None:
            return None
        legs = self.legs
        return SecondLegs(self.dialler, legs, legs, self.media_leg, self.metrics, self.clock)


class Way(Protocol):
    """How a call comes to be answered, and how it is given up before."""

    @property
    def direction(self) -> str: ...
    @property
    def trunk_name(self) -> str: ...
    @property
    def leg(self) -> CallLeg | None:
        """The leg that there is to talk on."""

    @property
    def rang_at(self) -> Moment | None:
        """When the callee's telephone did, or the answer came without; None of one that we are called by."""

    async def watch(self) -> None:
        """Runs beside the call; raises CallOver (or a SipuaError) when it is over."""

    async def ringing(self) -> Codec:
        """Returns once somebody's telephone rings; the codec that the call will begin with."""

    async def answered(self) -> CallLeg:
        """Answers, or waits for the answer."""

    async def end(self, code: int) -> None:
        """BYE, or what there is before an answer: ``code`` to a caller, CANCEL to a callee. Once; bounded."""

    def close(self) -> None:
        """Gives back what the call held."""
