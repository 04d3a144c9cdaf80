"""The softphone's behaviour: when it speaks, dials and hangs up, from what it heard. The clock is turned by hand."""

from __future__ import annotations

from typing import Any

import pytest

from sipua.phone_script import GREETING_PAUSE_S, GREETING_WAIT_S, LOUD_RMS, CallOptions, Script

FRAME_S = 0.02


class Phone:
    def __init__(self, *, play_s: float = 1.0, **options: Any) -> None:
        self.script = Script(CallOptions("sip:a@b", **options), play_s=play_s, answered_at=100.0)
        self.now = 100.0
        self.done: list[tuple[str, float]] = []

    def goes_on(self, seconds: float, rms: float = 0.0) -> Phone:
        """So long, a frame and a step at a time; ``rms`` is what the far end sends."""
        for _ in range(round(seconds / FRAME_S)):
            self.now += FRAME_S
            self.script.heard(rms, self.now, 20.0)
            action = self.script.step(self.now)
            if action is not None:
                self.done.append((action, round(self.now - 100.0, 2)))
        return self

    @property
    def actions(self) -> list[str]:
        return [action for action, _ in self.done]

    def time_of(self, action: str) -> float:
        """When it was first said, in seconds since the answer."""
        return next(at for name, at in self.done if name == action)


LOUD = 1000.0


def test_it_speaks_at_once_and_stays() -> None:
    assert Phone().goes_on(30).done == [("speak", 0.02)]


def test_it_dials_before_it_speaks() -> None:
    phone = Phone(dtmf="12#").goes_on(1)
    assert phone.actions == ["dial"]  # until the keys are out
    phone.script.dialled()
    assert phone.goes_on(1).actions == ["dial", "speak"]


def test_it_lets_a_greeting_end_first() -> None:
    phone = Phone(after_greeting=True).goes_on(0.5).goes_on(2.0, LOUD).goes_on(0.4).goes_on(1.0, LOUD)
    assert phone.done == []
    assert phone.goes_on(2).time_of("speak") == pytest.approx(3.9 + GREETING_PAUSE_S, abs=0.05)


def test_it_speaks_though_nobody_greets() -> None:
    phone = Phone(after_greeting=True).goes_on(GREETING_WAIT_S + 1)
    assert phone.time_of("speak") == pytest.approx(GREETING_WAIT_S, abs=0.05)


def test_it_hangs_up_when_the_answer_is_over() -> None:
    phone = Phone(until_quiet_s=1.5).goes_on(1.5).goes_on(2.0, LOUD).goes_on(1.0).goes_on(0.5, LOUD)
    assert phone.actions == ["speak"]
    assert phone.goes_on(1.6).time_of("hang_up") == pytest.approx(5.0 + 1.5, abs=0.05)
    assert phone.script.reply_ms == pytest.approx(2500, abs=20)


def test_what_is_heard_while_it_speaks_is_no_answer() -> None:
    phone = Phone(play_s=2.0, until_quiet_s=0.5).goes_on(1.9, LOUD).goes_on(5)
    assert phone.actions == ["speak"]
    assert phone.script.reply_ms == 0
    assert phone.script.first_loud_at == pytest.approx(100.02)


@pytest.mark.parametrize("options", [{}, {"after_greeting": True}, {"until_quiet_s": 5.0}])
def test_it_hangs_up_at_its_time_whatever_happens(options: dict[str, Any]) -> None:
    phone = Phone(duration_s=3.0, **options).goes_on(3.02, LOUD)
    assert phone.time_of("hang_up") == pytest.approx(3.0, abs=0.03)


def test_idle_noise_is_not_speech() -> None:
    phone = Phone(after_greeting=True).goes_on(1.0, LOUD_RMS * 0.99)
    assert phone.script.first_loud_at is None
    assert phone.done == []
