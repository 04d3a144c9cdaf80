"""What goes into the fail-over machine of one call (events) and what comes out of it (actions)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sipua.outcome import Ending
from sipua.trunks.policy import Decision, Fault
from sipua.trunks.routing import Target

# ---- events: ``leg`` is the number in Invite -----------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Started:
    """Begin with the first target."""


@dataclass(frozen=True, slots=True)
class Provisional:
    """A 1xx."""

    leg: int
    code: int
    has_sdp: bool = False


@dataclass(frozen=True, slots=True)
class Final:
    """A response of 200 or more; headers by lower-case name. A 2xx of an abandoned leg is a late one."""

    leg: int
    code: int
    headers: Mapping[str, tuple[str, ...]] | None = None


@dataclass(frozen=True, slots=True)
class Failed:
    """The INVITE could not be delivered, or its connection was lost."""

    leg: int
    fault: Fault


@dataclass(frozen=True, slots=True)
class NotSent:
    """``Health.begin`` or ``Capacity.take`` said no between routing and now: on to the next target."""

    leg: int
    why: str


@dataclass(frozen=True, slots=True)
class NoSlot:
    """``Slots.take`` said no: the call ends, since every other target would need a slot as well."""

    leg: int


@dataclass(frozen=True, slots=True)
class Timer:
    """``next_at`` has come; too early does nothing."""


@dataclass(frozen=True, slots=True)
class CancelledByUser:
    """Whoever placed the call gives up."""


Event = Started | Provisional | Final | Failed | NotSent | NoSlot | Timer | CancelledByUser


# ---- actions -------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Invite:
    """Send it: take a slot, ``Health.begin`` and ``Capacity.take`` first. ``redirected_to`` (a 3xx) replaces the
    Request-URI and the route; ``Health`` is not asked about such a leg, which goes to somewhere else."""

    leg: int
    target: Target
    redirected_to: str = ""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Give the leg up. ``was_heard``: it got a provisional, so CANCEL goes out now (RFC 3261 section 9.1) and its
    487 frees the slot; else the slot stays taken until Timer B."""

    leg: int
    was_heard: bool


@dataclass(frozen=True, slots=True)
class AckBye:
    """A late 200 of an abandoned leg: ACK, then BYE."""

    leg: int


@dataclass(frozen=True, slots=True)
class Ringing:
    """First 18x of a leg, and once more when it brings media: for the ledger and ``Health.progressed``."""

    leg: int
    has_media: bool


@dataclass(frozen=True, slots=True)
class Record:
    """One row of ``sipua.call_attempts``; ``decision`` also goes to ``Health.report`` if ``is_of_target``."""

    leg: int
    target: Target
    code: int  # 0: no final response
    ms: int
    decision: Decision
    is_of_target: bool = True  # False: not sent, or redirected to somewhere else


@dataclass(frozen=True, slots=True)
class Finish:
    """Exactly once. ``leg`` is the answered one (``ending`` is IN_PROGRESS), None if there is none."""

    ending: Ending
    leg: int | None = None


Action = Invite | Cancel | AckBye | Ringing | Record | Finish
