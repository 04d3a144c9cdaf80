"""The keys of ``[outbound]``: conversations that the agent begins."""

from __future__ import annotations

import re
from datetime import date
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from sipua.answering_machine import MachineRules
from sipua.opening import parse_span
from sipua.section import Section, ZoneName

MachineWay = Literal["off", "ignore", "hang_up", "leave_message"]
AskedWay = Literal["", "off", "ignore", "hang_up", "leave_message"]  # "": as for all calls
MESSAGE_MAX = 400
_MACHINE = MachineRules()
_HOLIDAY = re.compile(r"(?:([A-Z]{2}) )?([0-9]{4}-[0-9]{2}-[0-9]{2})")


def parse_holiday(text: str) -> tuple[str, date]:
    """``2026-12-25`` or ``RW 2026-07-01``: country ("" for all) and day; ValueError says what is allowed."""
    found = _HOLIDAY.fullmatch(text.strip())
    try:
        if found is not None:
            return found[1] or "", date.fromisoformat(found[2])
    except ValueError:
        pass
    raise ValueError(f'{text!r}: allowed: a day such as "2026-12-25", or of one country, "RW 2026-07-01"')


class OutboundSettings(Section):
    """`sipua dial` (docs/outbound.md)."""

    greeting: Annotated[str, Field(min_length=1, max_length=1000)] = (
        "Greet the person whom you have called with exactly these words: {{greeting}}"
    )
    """Instructions for the first words; {{greeting}} = those of the language for calls of ours."""
    answering_machine: MachineWay = "hang_up"
    """What is done when a machine answers; ignore = talk to it; off = whoever answers is greeted at once."""
    message: Annotated[str, Field(max_length=MESSAGE_MAX)] = ""
    """What leave_message says, by the model's voice; empty = the phrase voicemail of the language."""
    amd_initial_silence_ms: int = Field(default=_MACHINE.initial_silence_ms, ge=500, le=10_000)
    """Who says nothing for so long is spoken to."""
    amd_greeting_ms: int = Field(default=_MACHINE.greeting_ms, ge=500, le=10_000)
    """Who talks for so long without a pause is a machine."""
    amd_pause_ms: int = Field(default=_MACHINE.pause_ms, ge=200, le=3000)
    """Who pauses for so long after fewer words is a person; it is also how long they wait for us."""
    amd_total_ms: int = Field(default=_MACHINE.total_ms, ge=1000, le=30_000)
    """Whoever could not be told by then is taken for a person."""
    amd_beep_ms: int = Field(default=_MACHINE.beep_ms, ge=60, le=1000)
    """The shortest tone that is a beep."""
    amd_voice_db: float = Field(default=_MACHINE.voice_db, ge=-60.0, le=-20.0)
    """The least level of voice in dBov; 10 dB above the line's own noise at least."""
    amd_message_silence_ms: int = Field(default=_MACHINE.message_silence_ms, ge=500, le=10_000)
    """A machine that has said nothing for so long is left the message without a beep."""
    amd_wait_s: float = Field(default=45.0, ge=5.0, le=180.0)
    """So long a machine may talk; then the call ends without a message."""
    amd_late_s: float = Field(default=20.0, ge=0.0, le=120.0)
    """So long after a person was found a beep still makes it a machine; 0 = not at all."""
    calling_hours: tuple[str, ...] = Field(default=(), max_length=50)
    """When people may be called, on their clocks: ["Mon-Fri 08:00-20:00", "Sat 09:00-18:00"]; empty = always."""
    holidays: tuple[str, ...] = Field(default=(), max_length=1000)
    """Days when nobody is called, such as ["2026-12-25", "RW 2026-07-01"]."""
    timezone: ZoneName = ""
    """That of numbers whose own is not known, such as satellite telephones; empty = timezone, or the machine's."""
    do_not_call: str = ""
    """A file of numbers or patterns (+250788123456, +88*), one a line, # begins a remark; read when it changes."""
    attempts_per_day: int = Field(default=0, ge=0, le=100)
    """Calls to one number in a day of its own; 0 = any number."""

    @field_validator("calling_hours")
    @classmethod
    def _hours(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            parse_span(each)
        return value

    @field_validator("holidays")
    @classmethod
    def _days(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for each in value:
            parse_holiday(each)
        return value

    @model_validator(mode="after")
    def _in_order(self) -> OutboundSettings:
        longest = max(self.amd_initial_silence_ms, self.amd_greeting_ms + self.amd_pause_ms)
        if self.amd_total_ms < longest:
            raise ValueError(
                f"amd_total_ms {self.amd_total_ms} ends before anything is decided; allowed: {longest} or more "
                "(amd_initial_silence_ms, and amd_greeting_ms + amd_pause_ms)"
            )
        return self

    @property
    def machine(self) -> MachineRules:
        """By which it is decided who has answered."""
        return MachineRules(
            initial_silence_ms=self.amd_initial_silence_ms,
            greeting_ms=self.amd_greeting_ms,
            pause_ms=self.amd_pause_ms,
            total_ms=self.amd_total_ms,
            message_silence_ms=self.amd_message_silence_ms,
            beep_ms=self.amd_beep_ms,
            voice_db=self.amd_voice_db,
        )
