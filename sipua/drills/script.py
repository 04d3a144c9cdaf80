"""What a carrier of a drill does with requests, as data; ``responder`` obeys. No I/O, no clock.

A request is answered by ``Step``s, each so many seconds after the one before; no step at all is silence.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """One response."""

    code: int
    after_s: float = 0.0
    headers: tuple[tuple[str, str], ...] = ()
    has_sdp: bool = False


@dataclass(frozen=True, slots=True)
class Challenge:
    """Digest (RFC 7616, MD5). With ``stale_first`` a right answer is called stale, as if its nonce had just expired.

    The next one of that Call-ID is good then.
    """

    user: str
    password: str
    realm: str = "carrier"
    code: int = 401
    stale_first: bool = False


ANSWER = (Step(100), Step(180, 0.02), Step(200, 0.05, has_sdp=True))
OK = (Step(200),)
SILENCE: tuple[Step, ...] = ()


@dataclass(frozen=True, slots=True)
class Script:
    """``options`` and ``register`` are used in turn, request by request. ``hears`` False is a black hole.

    ``received`` is where it says that our requests come from, in the Via of its answers (RFC 3261 section 18.2.1).
    """

    invite: tuple[Step, ...] = ANSWER
    on_cancel: tuple[Step, ...] = (Step(487),)
    options: tuple[tuple[Step, ...], ...] = (OK,)
    register: tuple[tuple[Step, ...], ...] = (OK,)
    invite_challenge: Challenge | None = None
    register_challenge: Challenge | None = None
    min_expires_s: int = 0  # a REGISTER that asks for less gets 423
    grants_s: int = 0  # 0: what is asked for
    hears: bool = True
    received: str = ""


WELL = Script()
BLACK_HOLE = Script(hears=False)


def refuses(code: int, *headers: tuple[str, str]) -> Script:
    """Every INVITE gets this; OPTIONS are answered still."""
    return Script(invite=(Step(100), Step(code, headers=headers)))


def trying_only(*, late_answer_s: float | None = None) -> Script:
    """100 and nothing more; with ``late_answer_s`` a CANCEL is followed by 200 to the INVITE that late."""
    late = (Step(200, late_answer_s, has_sdp=True),) if late_answer_s is not None else (Step(487),)
    return Script(invite=(Step(100),), on_cancel=late)


def wakes_up(after_s: float) -> Script:
    """Silence, then 200: nothing had been heard, so there was no CANCEL either."""
    return Script(invite=(Step(200, after_s, has_sdp=True),))


def rings_for(seconds: float) -> Script:
    """180 at once, 200 so much later."""
    return Script(invite=(Step(180), Step(200, seconds, has_sdp=True)))
