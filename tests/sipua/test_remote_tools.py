"""Remote MCP servers: an emulated session and our conversation, core against core; the emulator's events are judged."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from rtp.codec import CODECS
from rtp.playout import Playout
from sipua.actions import Action, AnswerApproval, CreateResponse, RemoteToolCalled, RemoteToolDone, Spoken
from sipua.conversation import Conversation
from sipua.keys import KeyRules
from sipua.realtime import events as ev
from sipua.realtime import parse
from sipua.realtime.commands import approval_item
from sipua.remote_tools import CALLS_MAX, REFUSED, RemoteTools
from tests.emulator.driven import Driven, Event
from tests.sipua.test_conversation import moment

SCRIPT = """
[greeting]
say = "One moment."
[[greeting.tool]]
server = "crm"
name = "find"
arguments = { number = "1" }
output = '{"name": "A"}'
say = "Good morning."
"""
CRM = {"type": "mcp", "server_label": "crm", "server_url": "https://crm.example.org/mcp"}


def held(script: str, approval: str, approvals: Mapping[str, tuple[str, ...]]) -> list[Action]:
    """What a conversation does, from the greeting until nothing more happens; it is sent to the service."""
    service = Driven(script)
    core = Conversation(Playout(CODECS["PCMU"]), greeting="Say hello.", keys=KeyRules(), approvals=approvals)
    service.update(output_modalities=["text"], tools=[CRM | {"require_approval": approval}])
    coming: list[Event] = service.send("response.create")
    done: list[Action] = []
    while coming or (coming := service.run(5.0)):
        event = parse.PARSERS.get(coming[0]["type"])
        actions = core.on_event(event(coming[0]), moment(0)) if event is not None else []
        del coming[0]
        done += actions
        for action in actions:
            if isinstance(action, AnswerApproval):
                item = approval_item(action.item_id, action.request_id, action.approve)
                coming += service.send("conversation.item.create", item=item)
            elif isinstance(action, CreateResponse):
                coming += service.send("response.create")
    assert "error" not in service.types()
    return done


def brief(actions: list[Action]) -> list[object]:
    """The actions that matter here, without ids of the service's."""
    found: list[object] = []
    for action in actions:
        match action:
            case RemoteToolCalled(_, server, name, arguments):
                found.append(("called", server, name, arguments))
            case RemoteToolDone(_, output, error):
                found.append(("done", output, error))
            case AnswerApproval(_, _, approve):
                found.append(approve)
            case CreateResponse():
                found.append("ask")
            case Spoken(segment):
                found.append(segment.content)
    return found


CALLED = ("called", "crm", "find", '{"number": "1"}')
FOUND = ("done", '{"name": "A"}', None)
STORIES = [
    pytest.param(SCRIPT, "never", {}, ["One moment.", CALLED, FOUND, "Good morning."], id="not asked"),
    pytest.param(
        SCRIPT, "always", {"crm": ("*",)}, ["One moment.", True, "ask", CALLED, FOUND, "Good morning."], id="approved"
    ),
    pytest.param(
        SCRIPT, "always", {"crm": ("find",)}, ["One moment.", True, "ask", CALLED, FOUND, "Good morning."], id="by name"
    ),
    pytest.param(
        SCRIPT, "always", {"crm": ("read",)},
        ["One moment.", CALLED, ("done", "", REFUSED), False, "ask", "I am sorry, I did not catch that."],
        id="refused",
    ),
    pytest.param(
        SCRIPT.replace('say = "Good morning."', 'error = "no such customer"'), "never", {},
        ["One moment.", CALLED, ("done", "", "no such customer"), "ask", "I am sorry, I did not catch that."],
        id="failed, and nothing said",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("script", "approval", "approvals", "told"), STORIES)
def test_a_call_of_the_services_is_a_row_and_an_answer_follows(
    script: str, approval: str, approvals: dict[str, tuple[str, ...]], told: list[object]
) -> None:
    assert brief(held(script, approval, approvals)) == told


def test_a_call_whose_beginning_was_not_told_is_a_row_all_the_same() -> None:
    done = ev.McpCallDone("r1", "m1", "crm", "find", "{}", "x", None)
    assert brief(RemoteTools({}).on_event(done)) == [("called", "crm", "find", "{}"), ("done", "x", None)]


def test_a_service_that_never_finishes_is_bounded() -> None:
    tools = RemoteTools({})
    began: list[Any] = []
    for number in range(CALLS_MAX + 9):
        tools.on_event(ev.McpCall("r1", f"m{number}", "crm", "find"))
        began += tools.on_event(ev.McpArguments(f"m{number}", "{}"))
    assert len(began) == CALLS_MAX
