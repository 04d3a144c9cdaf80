"""One response, from ``response.created`` to ``response.done``, as a process that yields its delays.

No I/O, no clock. The order of events is that of the recordings. Cancelling (with and without partial output)
and the incomplete and failed endings are derived from the specification, not observed.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass
from typing import Protocol

import pybase64

from .conversation import Conversation, Item
from .dialogue import Plan
from .formats import Clip, bytes_per_ms, encode, silence
from .script import Line, Tool
from .timeline import Steps
from .usage import ANSWER_AUDIO_TOKEN_MS, context_tokens, response_usage
from .wire import Event, Ids, tokens

_TEXT_TOKEN_S = 0.03  # between two deltas of text or arguments at real-time speed
_REMOTE_CALL_S = 0.5
_LEAD_TOKENS = 4  # the transcript is ahead of the audio by this (observed)
_FAILURES = {
    "quota": (
        "insufficient_quota",
        "You exceeded your current quota, please check your plan and billing details.",
    ),
    "rate_limit": ("rate_limit_exceeded", "Rate limit reached for requests. Please try again in a moment."),
    "server_error": (
        "server_error",
        "The server had an error while processing your request. Sorry about that!",
    ),
}


Said = Generator[float, None, bool]  # yields delays, returns whether all of it was said


class Host(Protocol):
    """What a response needs of the session it belongs to."""

    ids: Ids
    conversation: Conversation

    def emit(self, kind: str, **fields: object) -> None: ...
    def calling(self, call_id: str, tool: Tool) -> None: ...
    def must_ask(self, server: str) -> bool: ...
    def finished(self, response: Response) -> None: ...


@dataclass(frozen=True, slots=True)
class Manner:
    """How responses are delivered: real-time factor, size of an audio delta, 2.x phases."""

    speed: float
    chunk_ms: int
    phases: bool


@dataclass(slots=True)
class _Open:
    """The item being spoken or written."""

    item: Item
    previous: str | None
    index: int
    audio: bool
    said: str = ""


class Response:
    def __init__(
        self,
        host: Host,
        options: Event,
        plan: Plan,
        speech: Mapping[Line, Clip],
        manner: Manner,
        instructions: str,
    ) -> None:
        self.id = host.ids.new("resp")
        self.plan = plan
        self.options = options
        self.status = "in_progress"
        self.audio_ms = 0
        self.failure: str | None = None
        self._host = host
        self._speech = speech
        self._manner = manner
        self._output: list[Event] = []
        self._open: _Open | None = None
        self._text_tokens = 0
        self._usage: Event | None = None
        self._details: Event | None = None
        self._read = context_tokens(host.conversation, instructions)
        limit = options["max_output_tokens"]
        self._token_limit = None if limit == "inf" else int(limit)

    @property
    def in_conversation(self) -> bool:
        return bool(self.options["conversation"] != "none")

    @property
    def has_output(self) -> bool:
        return bool(self._output) or self._open is not None

    def begin(self) -> Steps:
        """Announces the response at once; what is returned goes on with it."""
        self._host.emit("response.created", response=self._body())
        return self._run()

    def _run(self) -> Steps:
        yield self.plan.answer.delay_ms / 1000.0
        failure = self.failure or ("server_error" if self.plan.answer.outcome == "failed" else None)
        if failure is not None:
            self._fail(failure)
            return
        texts = self.options["output_modalities"] == ["text"]
        for index, line in enumerate(self.plan.lines):
            said = self.plan.said if index == 0 else ""
            whole = yield from (self._written(line, said) if texts else self._spoken(line, said))
            if not whole:
                self._finish("incomplete", {"type": "incomplete", "reason": "max_output_tokens"})
                return
        for tool in self.plan.tools:
            if not tool.server:
                yield from self._call(tool)
                continue
            yield from self._remote_call(tool)
            for line in tool.then if self._called_remotely(tool) else ():
                yield from (self._written(line, "") if texts else self._spoken(line, ""))
        self._finish("completed", None)

    def cancel(self, reason: str) -> None:
        """Ends it where it stands (derived from the specification): open parts are closed as incomplete."""
        if self._open is not None and self._open.item.body["type"] != "message":
            self._end({"status": "incomplete"}, previous=None)
        elif self._open is not None:
            self._close_message("incomplete")
        self._finish("cancelled", {"type": "cancelled", "reason": reason})

    def _fail(self, failure: str) -> None:
        code, message = _FAILURES[failure]
        kind = {"quota": code, "rate_limit": "invalid_request_error"}.get(failure, "server_error")
        self._finish("failed", {"type": "failed", "error": {"type": kind, "code": code, "message": message}})

    # --- messages -------------------------------------------------------------------------------------

    def _spoken(self, line: Line, said: str) -> Said:
        """``said``: the beginning of the line, which is left out; its share of the sound is that of its letters."""
        clip = self._speech[line]
        wire = self.options["audio"]["output"]["format"]
        per_ms = bytes_per_ms(wire)
        data = encode(clip, wire)
        data = data[len(data) // per_ms * len(said) // len(line.say) * per_ms :]
        data += silence(wire, self.plan.answer.trailing_silence_ms)
        words = tokens(line.say[len(said) :].lstrip())
        limit_ms = self._limit_ms(len(data) // per_ms, len(words))
        opened = self._open_message(audio=True)
        chunk = self._manner.chunk_ms * per_ms
        data = data if limit_ms is None else data[: limit_ms * per_ms]
        chunks = max(1, -(-len(data) // chunk))
        sent = 0
        for index in range(chunks):
            due = (
                len(words)
                if index == chunks - 1 and limit_ms is None
                else _LEAD_TOKENS + 2 * index * len(words) // chunks
            )
            for word in words[sent:due]:
                self._word("response.output_audio_transcript.delta", word)
            sent = max(sent, min(due, len(words)))
            piece = data[index * chunk : (index + 1) * chunk]
            self._part("response.output_audio.delta", delta=pybase64.b64encode(piece).decode())
            duration_ms = len(piece) // per_ms
            opened.item.audio_ms += duration_ms
            self.audio_ms += duration_ms
            yield duration_ms / 1000.0 / self._manner.speed
        self._close_message("completed" if limit_ms is None else "incomplete")
        return limit_ms is None

    def _written(self, line: Line, said: str) -> Said:
        words = tokens(line.say[len(said) :].lstrip())
        limit = len(words)
        if self._token_limit is not None:
            limit = max(0, self._token_limit - self._text_tokens)
        if self.plan.answer.outcome == "incomplete":
            limit = len(words) // 2
        self._open_message(audio=False)
        for word in words[:limit]:
            self._word("response.output_text.delta", word)
            yield _TEXT_TOKEN_S / self._manner.speed
        self._close_message("completed" if limit >= len(words) else "incomplete")
        return limit >= len(words)

    def _limit_ms(self, duration_ms: int, words: int) -> int | None:
        """How much of an answer ``max_output_tokens`` (or the script) lets out; None is all of it."""
        if self.plan.answer.outcome == "incomplete":
            return duration_ms // 2
        if self._token_limit is None:
            return None
        left = self._token_limit - self._text_tokens - self.audio_ms // ANSWER_AUDIO_TOKEN_MS - words
        return max(0, left) * ANSWER_AUDIO_TOKEN_MS if left * ANSWER_AUDIO_TOKEN_MS < duration_ms else None

    def _open_message(self, *, audio: bool) -> _Open:
        body: Event = {
            "id": self._host.ids.new("item"),
            "type": "message",
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        if self._manner.phases:
            body["phase"] = "commentary" if self.plan.tools else "final_answer"
        opened = self._begin(body, audio=audio)
        part = {"type": "audio", "transcript": ""} if audio else {"type": "text", "text": ""}
        self._part("response.content_part.added", part=part)
        return opened

    def _close_message(self, status: str) -> None:
        assert self._open is not None
        opened = self._open
        said = opened.said
        if opened.audio:
            self._part("response.output_audio.done")
            self._part("response.output_audio_transcript.done", transcript=said)
            self._part("response.content_part.done", part={"type": "audio", "transcript": said})
            content = {"type": "output_audio", "transcript": said}
        else:
            self._part("response.output_text.done", text=said)
            self._part("response.content_part.done", part={"type": "text", "text": said})
            content = {"type": "output_text", "text": said}
        self._end(
            {"status": status, "content": [content]}, previous=None if opened.audio else opened.previous
        )

    def _word(self, kind: str, word: str) -> None:
        assert self._open is not None
        self._open.said += word
        self._text_tokens += 1
        self._part(kind, delta=word, obfuscation=self._host.ids.obfuscation(word))

    def _part(self, kind: str, **fields: object) -> None:
        assert self._open is not None
        self._host.emit(
            kind,
            response_id=self.id,
            item_id=self._open.item.id,
            output_index=self._open.index,
            content_index=0,
            **fields,
        )

    # --- function calls -------------------------------------------------------------------------------

    def _call(self, tool: Tool) -> Steps:
        call_id = self._host.ids.new("call")
        opened = self._begin(
            {
                "id": self._host.ids.new("item"),
                "type": "function_call",
                "status": "in_progress",
                "name": tool.name,
                "call_id": call_id,
                "arguments": "",
            },
            audio=False,
        )
        common = {
            "response_id": self.id,
            "item_id": opened.item.id,
            "output_index": opened.index,
            "call_id": call_id,
        }
        for word in tokens(tool.arguments_json):
            self._text_tokens += 1
            padding = self._host.ids.obfuscation(word)
            self._host.emit(
                "response.function_call_arguments.delta", **common, delta=word, obfuscation=padding
            )
            yield _TEXT_TOKEN_S / self._manner.speed
        done = {"name": tool.name, "arguments": tool.arguments_json}
        self._host.emit("response.function_call_arguments.done", **common, **done)
        self._host.calling(call_id, tool)
        self._end({"status": "completed", "arguments": tool.arguments_json}, previous=None)

    # --- calls of remote MCP servers: derived from the specification, not observed ------------------------

    def _called_remotely(self, tool: Tool) -> bool:
        return self.plan.is_approved or not self._host.must_ask(tool.server)

    def _remote_call(self, tool: Tool) -> Steps:
        """The call with its result, or the request for leave, which the client answers by an item."""
        arguments = tool.arguments_json
        common: Event = {
            "id": self._host.ids.new("item"),
            "server_label": tool.server,
            "name": tool.name,
        }
        if not self._called_remotely(tool):
            request = {**common, "type": "mcp_approval_request", "arguments": arguments}
            opened = self._begin(request, audio=False)
            self._host.calling(opened.item.id, tool)
            self._end({}, previous=None)
            return
        opened = self._begin({**common, "type": "mcp_call", "arguments": ""}, audio=False)
        place: Event = {"item_id": opened.item.id, "output_index": opened.index}
        at: Event = {"response_id": self.id, **place}
        padding = self._host.ids.obfuscation(arguments)
        self._host.emit("response.mcp_call_arguments.delta", **at, delta=arguments, obfuscation=padding)
        self._host.emit("response.mcp_call_arguments.done", **at, arguments=arguments)
        self._host.emit("response.mcp_call.in_progress", **place)
        yield _REMOTE_CALL_S / self._manner.speed
        result: Event = {"arguments": arguments, "output": None if tool.error else tool.output, "error": None}
        if tool.error:
            result["error"] = {"type": "tool_execution_error", "message": tool.error}
        self._host.emit(f"response.mcp_call.{'failed' if tool.error else 'completed'}", **place)
        self._end(result, previous=None)

    # --- items and the response itself ----------------------------------------------------------------

    def _begin(self, body: Event, *, audio: bool) -> _Open:
        item = Item(dict(body))
        index = len(self._output)
        self._host.emit(
            "response.output_item.added", response_id=self.id, output_index=index, item=dict(body)
        )
        previous = None
        if self.in_conversation:
            previous = self._host.conversation.append(item)
            self._host.emit("conversation.item.added", previous_item_id=previous, item=dict(body))
        self._open = _Open(item, previous, index, audio)
        return self._open

    def _end(self, changes: Event, *, previous: str | None) -> None:
        """``previous_item_id`` of item.done is null for audio and calls, real for text (observed)."""
        assert self._open is not None
        opened, self._open = self._open, None
        opened.item.body.update(changes)
        body = dict(opened.item.body)
        self._output.append(body)
        if self.in_conversation:
            self._host.emit("conversation.item.done", previous_item_id=previous, item=body)
        self._host.emit(
            "response.output_item.done", response_id=self.id, output_index=opened.index, item=body
        )

    def _finish(self, status: str, details: Event | None) -> None:
        self.status, self._details = status, details
        written = (self._text_tokens, -(-self.audio_ms // ANSWER_AUDIO_TOKEN_MS))
        self._usage = response_usage(self._read, written, self._read[0] // 2)
        self._host.emit("response.done", response=self._body())
        self._host.finished(self)

    def _body(self) -> Event:
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": self.status,
            "status_details": self._details,
            "output": list(self._output),
            "conversation_id": self._host.conversation.id if self.in_conversation else None,
            "output_modalities": self.options["output_modalities"],
            "max_output_tokens": self.options["max_output_tokens"],
            "audio": {"output": dict(self.options["audio"]["output"])},
            "usage": self._usage,
            "metadata": self.options["metadata"],
        }
