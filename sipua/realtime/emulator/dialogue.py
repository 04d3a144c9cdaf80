"""Where the conversation stands in the script: which turn is heard next, which answer is due.

No I/O, no clock. A turn whose answer was cut off before anything of it was sent ("false end of turn") is
given back: the caller's next utterance gets it again, so a pause inside a question costs no turn.
"""

from __future__ import annotations

from dataclasses import dataclass

from .script import Answer, Line, Script, Tool, Turn
from .wire import Event


@dataclass(frozen=True, slots=True)
class Plan:
    """What one response will contain."""

    answer: Answer
    lines: tuple[Line, ...]
    tools: tuple[Tool, ...] = ()
    turn: Turn | None = None
    said: str = ""  # of the first line, in an earlier session
    is_approved: bool = False


class Dialogue:
    def __init__(self, script: Script) -> None:
        self._script = script
        self._position = 0
        self._greeted = script.greeting is None
        self._unanswered: Turn | None = None
        self._texts = 0  # text messages that nobody has answered
        self._unfinished = ""  # text of an answer that was cut off in an earlier session
        self._waiting: dict[str, Tool] = {}  # call_id -> the tool whose output has not come
        self._results: list[Tool] = []
        self._approved: list[Tool] = []

    def heard(self) -> Turn:
        """The caller said something: the next turn of the script, or the fallback."""
        turn = self.coming()
        self._position = min(len(self._script.turns), self._position + 1)
        self._unanswered = turn
        self._greeted = True
        return turn

    def coming(self) -> Turn:
        """The turn that the next utterance will be."""
        turns = self._script.turns
        if self._position < len(turns):
            return turns[self._position]
        return Turn(user=self._script.fallback_user, **dict(self._script.fallback))

    def text_message(self, item: Event, *, is_history: bool) -> None:
        """The client wrote an item; assistant items are history of an earlier session, with its turns.

        So is the caller's item that stands before one, whenever it is written (``is_history``). An incomplete
        assistant item is an answer that was cut off; it is finished when a response is asked for. A system item after
        the first words is news, such as keys that were pressed; before them it is a setting.
        """
        role = item["role"]
        if role == "assistant":
            self._advance(self._texts)
            self._texts = 0
            self._greeted = True
            self._unfinished = _text_of(item) if item.get("status") == "incomplete" else ""
        elif role == "user" and is_history:
            self._advance(1)
        elif role == "user" or (role == "system" and self._greeted and not is_history):
            self._texts += 1

    def _advance(self, turns: int) -> None:
        self._position = min(len(self._script.turns), self._position + turns)

    def calling(self, call_id: str, tool: Tool) -> None:
        self._waiting[call_id] = tool

    def tool_output(self, call_id: str) -> None:
        tool = self._waiting.pop(call_id, None)
        if tool is not None:
            self._results.append(tool)

    def approval(self, request_id: str, *, approve: bool) -> None:
        """The client's answer to the request to call a remote tool."""
        tool = self._waiting.pop(request_id, None)
        if tool is not None and approve:
            self._approved.append(tool)

    def plan(self, declared: frozenset[str]) -> Plan:
        """What the next response says. A tool that the session did not declare is not called."""
        if self._approved:
            approved, self._approved = tuple(self._approved), []
            return Plan(Answer(), (), approved, is_approved=True)
        if self._results:
            said = tuple(line for tool in self._results for line in tool.then)
            self._results.clear()
            return Plan(Answer(lines=said), said) if said else self.fallback()
        if self._unanswered is None and not self._greeted and self._script.greeting is not None:
            self._greeted, self._texts = True, 0
            return _planned(self._script.greeting, declared)
        unfinished, self._unfinished = self._unfinished, ""
        if self._unanswered is None and not self._texts:
            return self._rest_of(unfinished) if unfinished else self.fallback()
        turn = self._unanswered or self.heard()
        self._unanswered, self._texts = None, 0
        return _planned(turn, declared, turn)

    def fallback(self) -> Plan:
        return Plan(self._script.fallback, self._script.fallback.lines)

    def _rest_of(self, said: str) -> Plan:
        """The line that begins like this, from there on."""
        answers: list[Answer] = [*self._script.turns, self._script.fallback]
        answers += [self._script.greeting] if self._script.greeting is not None else []
        for answer in answers:
            for index, line in enumerate(answer.lines):
                if line.say.startswith(said):
                    return Plan(Answer(lines=answer.lines[index:]), answer.lines[index:], said=said)
        return self.fallback()

    def unsaid(self, plan: Plan) -> None:
        """The response failed before it said anything: the next one says the same."""
        if plan.turn is not None:
            self._unanswered = plan.turn
        elif plan.answer is self._script.greeting:
            self._greeted = False

    def give_back(self, turn: Turn) -> None:
        turns = self._script.turns
        if 0 < self._position <= len(turns) and turns[self._position - 1] is turn:
            self._position -= 1


def _planned(answer: Answer, declared: frozenset[str], turn: Turn | None = None) -> Plan:
    if all(tool.undeclared or tool.declaration in declared for tool in answer.tools):
        return Plan(answer, answer.lines, answer.tools, turn)
    return Plan(answer, answer.lines + tuple(line for tool in answer.tools for line in tool.then), (), turn)


def _text_of(item: Event) -> str:
    return "".join(str(part.get("text", "")) for part in item["content"])
