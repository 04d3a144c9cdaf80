"""Tools of any slowness while the caller talks: an emulated session and our conversation, core against core."""

from __future__ import annotations

from collections import deque

import pytest

from rtp.codec import CODECS
from rtp.playout import Playout
from sipua.actions import CallTool, CreateResponse, ToolOutput
from sipua.conversation import Conversation
from sipua.keys import KeyRules
from sipua.realtime import parse
from sipua.realtime.commands import function_output_item
from tests.emulator.driven import PCMU, Driven, spoken, ulaw
from tests.sipua.test_conversation import moment

SCRIPT = """
[greeting]
say = "One moment."
[[greeting.tool]]
name = "first"
say = "It is the first."
[[greeting.tool]]
name = "second"
say = "It is the second."
[[turn]]
user = "Is it?"
say = "It is."
"""
TOOLS = [{"type": "function", "name": name, "parameters": {"type": "object"}} for name in ("first", "second")]
STEP_MS = 20


class Talk:
    """One conversation in steps of a frame; ``due_ms``: when each tool gives its result."""

    def __init__(self, due_ms: dict[str, int]) -> None:
        self.service = Driven(SCRIPT)
        self.core = Conversation(Playout(CODECS["PCMU"]), greeting="Say hello.", keys=KeyRules())
        self.due_ms = due_ms
        self.calls: dict[str, str] = {}  # call id → name
        self.asked = 0
        self.service.update(tools=TOOLS, **PCMU)
        self._read = len(self.service.events)
        self._perform(deque(self.core.begin()))

    def run(self, audio: bytes, until_ms: int) -> None:
        for now_ms in range(0, until_ms, STEP_MS):
            frame = audio[now_ms * 8 : (now_ms + STEP_MS) * 8] or b"\xff" * STEP_MS * 8
            self.service.hear(frame)
            self.service.run(STEP_MS / 1000)
            for call_id, name in [*self.calls.items()]:
                if now_ms >= self.due_ms[name]:
                    del self.calls[call_id]
                    self._perform(deque(self.core.tool_done(call_id, "{}", moment(now_ms))))
            self._take(now_ms)

    def _take(self, now_ms: int) -> None:
        while self._read < len(self.service.events):
            wire = self.service.events[self._read]
            self._read += 1
            parser = parse.PARSERS.get(wire["type"])
            if parser is not None:
                self._perform(deque(self.core.on_event(parser(wire), moment(now_ms))))

    def _perform(self, actions: deque[object]) -> None:
        for action in actions:
            match action:
                case CallTool(call_id, name):
                    self.calls[call_id] = name
                case ToolOutput(item_id, call_id, output):
                    item = function_output_item(call_id, output, item_id)
                    self.service.send("conversation.item.create", item=item)
                case CreateResponse():
                    self.asked += 1
                    self.service.send("response.create")

    @property
    def story(self) -> list[str]:
        """Outputs and responses, in the order of the service."""
        found = []
        for event in self.service.events:
            if event["type"] == "conversation.item.added" and event["item"]["type"] == "function_call_output":
                found.append("output")
            elif event["type"] in ("response.created", "error"):
                found.append(event["type"].removeprefix("response."))
        return found


DUE_MS = (0, 400, 1200, 2200, 3600, 4600, 5200, 6400)  # before, in and after the caller's four seconds


@pytest.mark.parametrize("first", DUE_MS)
@pytest.mark.parametrize("second", DUE_MS[::3])
def test_however_slow_they_are_each_answers_once_and_the_model_reads_both(first: int, second: int) -> None:
    talk = Talk({"first": first, "second": second})
    talk.run(ulaw(spoken(lead_ms=700)), 9000)
    assert "error" not in talk.story  # never a response beside another
    assert talk.story.count("output") == 2
    assert talk.story[-1] == "created"  # an answer that has read both
    assert talk.story.count("created") <= 4  # greeting, the caller's turn, and one for each that came alone
    assert not talk.calls
