"""One conversation in writing is one coroutine: the session, tools, language and rows of a call, without a line.

What is said when is decided by ``sipua.conversation`` as on the telephone. Here nothing is played, so nothing waits to
be heard or can be interrupted, and our recordings are lines of text. The row says so: ``channel`` is text, and the
columns of a carrier stay empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from typing import Any
from uuid import uuid4

from sipua.actions import Action
from sipua.call_language import CallLanguage
from sipua.call_leg import CallOver
from sipua.call_voice import VoiceService, converse, ending_of, leaves, voice_session
from sipua.clock import CallClock
from sipua.conversation import Conversation
from sipua.errors import SipuaError
from sipua.keypad import Keypad
from sipua.keys import KeyRules
from sipua.locale import country_of, locale_of
from sipua.metrics import Metrics
from sipua.outcome import CALLER_LEFT, Ending, Status
from sipua.ports import CallOpening, CallRecord, Clock, Ledger
from sipua.realtime.config import AudioFormat
from sipua.realtime.events import Event
from sipua.session_watch import SessionWatch
from sipua.tools.schema import ToolError
from sipua.turns import Flushed
from sipua.voice_link import VoiceLink

LOOK_S = 0.02  # how often it is asked whether the agent has finished
ANSWER_S = 60.0  # of waiting for an answer before the next line is taken all the same
NO_LINE = (
    "this conversation is in writing, there is no telephone line here: say so, and help or take a message"
)
NEVER_SOUND = AudioFormat.PCMU  # named in a session that speaks and hears nothing

ReadLine = Callable[[], Awaitable[str | None]]


def opening_of_chat(caller: str | None, line: str | None) -> CallOpening:
    """Of somebody who writes as ``caller`` to our number ``line``."""
    return CallOpening(
        id=uuid4(),
        direction="inbound",
        from_uri="",
        to_uri="",
        from_number=caller,
        to_number=line,
        sip_call_id="",
        carrier_sid=None,
        provider="",
        trunk="",
        locale=locale_of(caller),
        country=country_of(caller),
        source="",
        channel="text",
    )


async def chat(
    service: VoiceService,
    opening: CallOpening,
    ledger: Ledger,
    read_line: ReadLine,
    metrics: Metrics,
    clock: Clock,
    *,
    withholds_transcripts: bool = False,
) -> Ending:
    """From the greeting until the last line, or the agent's goodbye; ``read_line`` gives None after the last.

    Cancelled, it ends in order too: its rows are closed.
    """
    clock = CallClock(clock)
    record = ledger.open(opening, clock.now())
    ending = Ending(Status.FAILED, "internal_error")
    try:
        with service.of_call(opening.trunk, opening.our_number) as mine:
            await _talk(mine, record, read_line, metrics, clock, withholds_transcripts)
    except (CallOver, SipuaError) as reason:
        ending = ending_of([reason], record, metrics, clock, answered=True)
    except BaseExceptionGroup as group:
        ending = ending_of(leaves(group), record, metrics, clock, answered=True)
    except asyncio.CancelledError:
        ending = CALLER_LEFT
    finally:
        record.ended(clock.now(), ending, {})
    return ending


async def _talk(
    service: VoiceService,
    record: CallRecord,
    read_line: ReadLine,
    metrics: Metrics,
    clock: Clock,
    withholds_transcripts: bool,
) -> None:
    remembered = await service.recall(record.opening)
    language = service.language_of(record.opening, clock.now(), remembered)
    record.language(clock.now(), language.locale, language.choice.why)
    announcer = WrittenWords(language)
    watch = SessionWatch(record, metrics, clock, language, announcer)
    async with voice_session(service, language, NEVER_SOUND, lambda delta: None, watch, clock) as session:
        begun = clock.now()
        record.answered(begun)
        silence = Silence()
        conversation = Conversation(
            silence,
            greeting=language.greeting,
            keys=KeyRules(),
            approvals=service.tools.approvals,
            answered_at=begun.monotonic,
        )
        await converse(
            session, service, language, conversation, Keypad(KeyRules(), clock), silence, announcer,
            record, metrics, clock,
            consent=WrittenConsent(record, language, clock, withholds_transcripts),
            transfer=NoLine(),
            typist=Turns(read_line, session),
        )  # fmt: skip


class Turns:
    """``sipua.call_voice.Typist``: a line is read when the agent has finished."""

    def __init__(self, read_line: ReadLine, link: VoiceLink) -> None:
        self._read_line = read_line
        self._link = link

    async def lines(self, conversation: Conversation) -> AsyncIterator[str]:
        while True:
            for _ in range(round(ANSWER_S / LOOK_S)):
                if conversation.is_at_rest and self._link.is_settled:
                    break
                await asyncio.sleep(LOOK_S)
            line = await self._read_line()
            if line is None:
                raise CallOver(CALLER_LEFT)
            if line.strip():
                yield line.strip()


class Silence:
    """``sipua.turns.Speech``: a playout of nothing."""

    queued_ms = 0

    def flush(self, keep: Collection[str] = ()) -> Sequence[Flushed]:
        return ()

    def pause(self) -> None:
        pass

    def resume(self) -> None:
        pass

    def end_item(self, item_id: str) -> None:
        pass

    def sent_ms(self, item_id: str) -> int:
        return 0

    def received_ms(self, item_id: str) -> int:
        return 0

    def waiting_ms(self, item_id: str) -> int:
        return 0


class WrittenWords:
    """``sipua.ports.Announcements``: what is a recording on the telephone."""

    def __init__(self, language: CallLanguage) -> None:
        self.on_said: Callable[[str], None] = lambda text: None
        self.is_closing = False
        self._language = language

    def say(self, phrase: str) -> str:
        self.on_said(str(getattr(self._language.language.phrases, phrase)))
        return ""

    async def close_with(self, phrase: str) -> None:
        self.is_closing = True
        self.say(phrase)


class WrittenConsent:
    """``sipua.call_control.ConsentPort``: nothing is recorded here, so nobody is asked; an answer is a row."""

    def __init__(
        self, record: CallRecord, language: CallLanguage, clock: Clock, withholds_transcripts: bool
    ) -> None:
        self._record = record
        self._language = language
        self._clock = clock
        self._withholds_transcripts = withholds_transcripts
        if withholds_transcripts:
            record.keep_transcripts(False)

    async def run(self, conversation: Conversation, perform: Callable[[list[Action]], None]) -> None:
        perform(conversation.begin())

    def on_event(self, event: Event) -> None:
        pass

    async def answered(self, agreed: bool, words: str) -> Mapping[str, Any]:
        question = self._language.language.phrases.consent_question
        self._record.consent(self._clock.now(), uuid4(), text=question, result=agreed, channel="text")
        if self._withholds_transcripts:
            self._record.keep_transcripts(agreed)
        return {"consent": "given" if agreed else "refused", "recorded": False}


class NoLine:
    """``sipua.call_control.TransferPort``."""

    def __init__(self) -> None:
        self.perform: Callable[[list[Action]], None] = lambda actions: None
        self.has_agent = True
        self.is_joined = False

    async def follow(self) -> None:
        """Nobody is joined here."""

    async def settled(self) -> bool:
        return False

    async def to(self, department: str, reason: str) -> Mapping[str, Any]:
        raise ToolError(NO_LINE)
