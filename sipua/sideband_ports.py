"""What a call has on the telephone and must find elsewhere when its sound is the service's: words of ours, a transfer.

Nothing of ours can be played, so phrases are said by the model, which is asked to say them as they stand; where the
service itself has failed nothing is said. A transfer is a REFER that the service sends; what became of it it does not
say, so the call's own end is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Mapping
from typing import Any

from rtp.codec import Codec, codec_by_name
from sipua.actions import Action
from sipua.call_language import CallLanguage
from sipua.call_transfer import NEXT, target_among, told_closed
from sipua.departments import Departments
from sipua.errors import RemoteError
from sipua.openai_calls import OpenAICalls
from sipua.openai_webhook import TRUNK
from sipua.outcome import CALLER_HUNG_UP, TRANSFERRED
from sipua.ports import CallRecord, Clock
from sipua.recorder import Tape
from sipua.sideband import Sideband
from sipua.sideband_speech import RemoteSpeech
from sipua.tools.schema import ToolError

log = logging.getLogger(__name__)

WORD_FOR_WORD = 'Say exactly these words, and nothing before or after them: "{}"'
NO_TOOLS = {"tool_choice": "none"}
LAST_WORDS_S = 15.0  # for what is said before we hang up
LOOK_S = 0.05
REFERRED_S = 25.0  # for the call to leave us after the REFER; the tool has 60
UNSAYABLE = frozenset({"service_error", "please_hold", "assistant_away"})  # there is nobody who could


class ModelWords:
    """``sipua.ports.Announcements``; the transcript is that of what the model says."""

    def __init__(self, session: Callable[[], Sideband], speech: RemoteSpeech, language: CallLanguage) -> None:
        """``session`` gives the one that there is by then."""
        self.on_said: Callable[[str], None] = lambda text: None
        self.is_closing = False
        self._session = session
        self._speech = speech
        self._language = language
        self._said = 0

    def say(self, phrase: str) -> str:
        if phrase in UNSAYABLE or self._session().is_over:
            return ""
        text = str(getattr(self._language.language.phrases, phrase))
        self._session().response_create(WORD_FOR_WORD.format(text), options=NO_TOOLS)
        self._said += 1
        return f"sipua_phrase_{self._said}"

    async def close_with(self, phrase: str) -> None:
        self.is_closing = True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST_WORDS_S):
                await self._quiet()
                if self.say(phrase):
                    await self._begun()
                    await self._quiet()

    async def _begun(self) -> None:
        await self._until(lambda: self._session().active_response_id is not None)

    async def _quiet(self) -> None:
        """Nothing is being made or heard."""
        await self._until(lambda: not (self._session().active_response_id or self._speech.queued_ms))

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while True:
            if self._session().is_over or is_so():
                return
            await asyncio.sleep(LOOK_S)


class RemoteMedia:
    """``sipua.call_consent.Heard``: nothing of it can be kept."""

    codec: Codec = codec_by_name("PCMU")

    def __init__(self, speech: RemoteSpeech) -> None:
        self.playout = speech

    def record(self, tape: Tape | None) -> None:
        assert tape is None, "a policy without a recorder makes no tape"


class SidebandTransfer:
    """``sipua.call_control.TransferPort``, by the service's REFER."""

    def __init__(
        self,
        departments: Departments,
        calls: OpenAICalls,
        session: Sideband,
        record: CallRecord,
        clock: Clock,
        referred_s: float = REFERRED_S,
    ) -> None:
        self.perform: Callable[[list[Action]], None] = lambda actions: None
        self.has_agent = True
        self.is_joined = False
        self._departments = departments
        self._calls = calls
        self._session = session
        self._record = record
        self._clock = clock
        self._referred_s = referred_s
        self._department = ""  # of the latest transfer
        self._is_under_way = False

    async def follow(self) -> None:
        """Nobody is joined here."""

    async def settled(self) -> bool:
        return False

    async def to(self, department: str, reason: str) -> Mapping[str, Any]:
        """Never returns once the caller has left us for the person: the call is over then."""
        if self._is_under_way:
            raise ToolError("a transfer is under way: wait for its result")
        target = target_among(self._departments, TRUNK, department)
        if closed := told_closed(self._departments, department, self._clock.now()):
            return closed
        self._department, self._is_under_way = department, True
        try:
            await self._refer(f"tel:{target}" if target.startswith("+") else target)
        finally:
            self._is_under_way = False
        raise ToolError(f"they could not be reached; {NEXT}")

    async def _refer(self, target: str) -> None:
        self._session.hung_up = TRANSFERRED
        self._note("requested")
        try:
            await self._calls.refer(self._record.opening.openai_call_id, target)
        except RemoteError as error:
            log.warning("call=%s > REFER could not be sent: %s", self._record.id, error)
            self._failed("not_sent")
            raise ToolError(f"the transfer could not be begun; {NEXT}") from None
        self._note("accepted")
        await asyncio.sleep(self._referred_s)
        self._failed("untold")

    def left(self) -> None:
        """The call is over, and went to the person."""
        self._record.transfer(self._clock.now(), self._department, {"state": "done"}, is_done=True)

    def _failed(self, cause: str) -> None:
        self._session.hung_up = CALLER_HUNG_UP
        self._note("failed", cause=cause)

    def _note(self, state: str, **told: str) -> None:
        log.info("call=%s transfer %s %s", self._record.id, state, told.get("cause", ""))
        self._record.transfer(self._clock.now(), self._department, {"state": state, **told}, is_done=False)
