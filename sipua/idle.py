"""How long nobody has said anything: prompts, and in the end a farewell. No I/O, no clock.

Silence is counted from where the caller has heard the last of what the agent said, not from its last delta: the service
speaks faster than real time, and a prompt would cut into an answer of ten seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Protocol


class Idle(Enum):
    """What is to be said."""

    PROMPT = "prompt"
    FAREWELL = "farewell"


@dataclass(frozen=True, slots=True)
class IdleRules:
    """After ``after_s`` of silence a prompt, ``prompts`` times; then the farewell. 0 s: never."""

    after_s: float = 0.0
    prompts: int = 2


class Words(Protocol):
    """What is said in a language (``sipua.languages.Phrases``)."""

    @property
    def still_there(self) -> str: ...
    @property
    def goodbye(self) -> str: ...


def instructions(what: Idle, words: Words) -> str:
    """For the response that says it."""
    said = words.still_there if what is Idle.PROMPT else words.goodbye
    why = "has not said anything for a while" if what is Idle.PROMPT else "does not answer: the call ends now"
    return f'The caller {why}. Say exactly these words and nothing else: "{said}"'


class IdleWatch:
    """One call's. ``now`` is monotonic."""

    def __init__(self, rules: IdleRules, answered_at: float) -> None:
        self._rules = rules
        self._since = answered_at
        self._prompts = self._before = 0

    def caller_spoke(self) -> None:
        """In words or keys: the prompts begin anew."""
        self._before, self._prompts = self._prompts, 0

    def had_no_words(self) -> None:
        """What the service took for speech, a breath or a car: they go on where they were."""
        self._prompts = max(self._prompts, self._before)

    def quiet(self, now: float, queued_ms: int) -> None:
        """Something has ended just now; ``queued_ms`` are still to be heard."""
        self._since = now + queued_ms / 1000

    def deadline(self) -> float | None:
        """When ``tick`` has something to do."""
        if not self._rules.after_s or self._prompts > self._rules.prompts:
            return None
        return self._since + self._rules.after_s

    def tick(self, now: float, queued_ms: int, *, is_busy: bool) -> Idle | None:
        """``is_busy``: somebody speaks, or is about to."""
        deadline = self.deadline()
        if deadline is None or now < deadline:
            return None
        self.quiet(now, queued_ms)
        if is_busy or queued_ms:
            return None
        self._prompts += 1
        return Idle.PROMPT if self._prompts <= self._rules.prompts else Idle.FAREWELL
