"""docs/tools.md: made from the tools and the keys of their files."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel

from sipua.tool_round import ROUNDS_MAX, RUNNING_MAX
from sipua.tools.box import ARGUMENTS_MAX_CHARS, OUTPUT_MAX_CHARS
from sipua.tools.builtin import RecordConsent, TransferToHuman, control_tools
from sipua.tools.callback import RequestCallback
from sipua.tools.files import HttpTool, McpServer, RemoteMcp
from sipua.tools.http import ANSWER_MAX_BYTES, RETRIES
from sipua.tools.mcp import BACKOFF_MAX_S
from sipua.tools.memory import Forget, Remember
from sipua.tools.registry import Registry
from sipua.tools.services import BookTransport, SearchServices
from sipua.tools.whatsapp import SendWhatsApp
from sipua.whatsapp import WhatsAppSettings

_HEAD = f"""# Tools

Made by `python -m sipua.reference docs`; do not edit.

What a model may have done during a call. Each call of a tool is one row of `mcp_tool_calls` (`server`, `tool`,
`args`, `result`, `success`, `error`) and one event `tool_call`; metrics: `sipua_tool_calls_total`,
`sipua_tool_seconds`. `[tools] off = "hang_up, …"` leaves tools out.

A tool begins to run as soon as its arguments are complete. Its result goes back when the response that called it
is done; the model is asked for one answer when all tools of that response have answered, or the caller's next
turn brings it. Whatever goes wrong comes back to the model as `{{"error": "…"}}` and never ends a call: a name
that there is not, arguments that do not fit (or are longer than {ARGUMENTS_MAX_CHARS:,} characters), a tool that
fails or is not done in time, a result longer than {OUTPUT_MAX_CHARS:,} characters. At most {RUNNING_MAX} tools of
a call run at once; after {ROUNDS_MAX} responses in a row that call tools, the caller saying nothing, the model is
told to answer. At the end of a call what runs is cancelled.

A tool that takes long is a silence on the telephone: the shipped instructions have the model say a few words first
("one moment, I am looking it up"), which are spoken while the tool runs.

## Ours

| tool | arguments | what the model is told |
|---|---|---|
"""
_CONTROL = """
`hang_up`: the goodbye is heard to its end, then the call ends (`agent_hangup`); a caller who speaks before keeps it.
`wrap_up` writes `intent`, `outcome` and `last_note` of `voice_calls`; why the call ended is `metadata.end_reason`.
`record_consent` is offered where callers are asked for consent, `transfer_to_human` where there are departments.
`transfer_to_human` plays the phrase `transferring`, then sends REFER on the call (blind transfer) and follows its
NOTIFYs: 2xx ends the call as `transferred`, with `handoff` and `handoff_target` (the department); anything else, no
NOTIFY within 15 s or nobody answering within 45 s brings the caller back (`transfer_failed`), and the model gets the
reason. Where the line refuses REFER as such (403, 405, 420, 489, 501, 603), or `transfer_by = "bridge"` in the file of
the trunk or of the department says so at once, the person is dialled through our own trunks as any call of ours is
(`transfer.ring_s`; `dial_by` of the department names one trunk), while the caller hears ringing. The one who answers
and the caller are joined, in any two codecs, with their keys: the call goes on until one of the two hangs up
(`transferred`) or the longest call is over, and the agent says nothing any more. Busy, no answer or no line left: the
caller is back, as above. Each INVITE of it is a row of `sipua.call_attempts`. What is listened to and recorded then:
`docs/privacy.md`. Each step is in `metadata.transfer`. Who can be reached, where and when is in `departments.toml`
(there is one in `conf/examples`); a closed department is not called, and the model is told when it opens, and of a
holiday.

`request_callback` is offered where `departments.toml` names departments or lines (`[lines.NAME]`: opening hours of
numbers and trunks of ours). A request is a row of `sipua.callback_requests`; asked again in the same call with the same
words it is the same one. The number is the caller's unless they say another, which is read as E.164. `sipua callbacks
--open` lists them, `sipua callbacks done REFERENCE` ticks one off. `[callbacks]` names who is told: `notify_url` gets a
`POST` signed as below, `{"type": "callback.requested", "timestamp", "data": {"id", "reference", "number", "name",
"department", "when", "notes", "locale", "call_id"}}`, `notify_command` the same on stdin; either may see one twice, by
its `id`. What is not answered by 2xx (or exit code 0) is tried again after 2, 10, 60 and 300 s; then, or when the
process ends, nobody has been told: `notified_at` stays NULL, and `sipua_callbacks_total{outcome="failed"}` counts it.
"""
_FILES = """
## Yours

A file each in `tools/*.toml` of the configuration folder, read at the start of `serve`; an unknown key or a bad value
refuses the start, with file, key and what is allowed. `sipua doctor` tries them. A name is given once. SIGHUP has them
read again for the calls that begin then: calls that are up keep the tools that they began with, and servers that are
not in the files any more (or have changed) run on until the last of these calls is over. What cannot be read changes
nothing, and the log says why.

`trunks` and `numbers` say on which calls a tool or server is offered; the same for a tool of ours by a file of
`kind = "own"`:

```toml
# tools/book_transport.toml
kind = "own"
name = "book_transport"
trunks = ["mtn"]              # on calls by this trunk only
numbers = ["+250788000001"]   # … to this number of ours only
```
"""
_HTTP = f"""
### An HTTP service: `kind = "http"`

`POST` with the JSON body `{{"id", "tool", "arguments", "call": {{"id", "direction", "caller", "called", "trunk",
"country", "locale"}}}}`, signed as [Standard Webhooks](https://www.standardwebhooks.com) has it: `webhook-id`,
`webhook-timestamp`, `webhook-signature` (`v1,` and base64 of HMAC-SHA256 over `id.timestamp.body`). A secret
`whsec_…` is base64, any other is taken as it stands. Check the signature, and refuse what is older than five
minutes. `webhook-id`, `Idempotency-Key` and `id` are the `id` of the ledger's row: the same id is the same call
of the tool. It is sent again, at most {RETRIES} times, only where the connection failed.

Answer with 2xx and a JSON object of at most {ANSWER_MAX_BYTES:,} bytes, which the model reads; with 4xx or 5xx and
`{{"error": "…"}}` to tell it why not. Redirects are not followed.

| key | default | meaning |
|---|---|---|
"""
_MCP = f"""
### An MCP server of yours: `kind = "mcp"`

By the official SDK, over stdio or streamable HTTP. Its tools are listed at the start (`serve` waits for it no
longer than `start_timeout_s`) and again every few seconds. A server that dies is started or reached again, after
half a second, then less and less often, up to every {BACKOFF_MAX_S:.0f} s; meanwhile its tools answer with an
error. A program inherits HOME, LOGNAME, PATH, SHELL, TERM and USER; what it says on stderr goes where ours goes.

| key | default | meaning |
|---|---|---|
"""
_REMOTE = """
### An MCP server that the voice service calls: `kind = "remote-mcp"`

Handed to each session (`type: mcp`). Its calls are rows all the same. Callers' words go from the voice service to
that server without us.

| key | default | meaning |
|---|---|---|
"""


def tools_text() -> str:
    """The whole document."""
    registry = Registry()
    registry.add(
        *control_tools({"en": "English", "fr": "French"}), RecordConsent(), TransferToHuman({"support": ""})
    )
    desk: Any = None  # what they read and write is not asked
    registry.add(RequestCallback(("support",), desk, desk))
    registry.add(SearchServices(desk), BookTransport(desk, desk), Remember(desk, desk), Forget(desk, desk))
    registry.add(SendWhatsApp(WhatsAppSettings(), "", desk, desk))
    tools = (
        f"| `{tool.name}` | {', '.join(map(_argument, tool.parameters['properties'].items())) or 'none'} "
        f"| {tool.description} |\n"
        for tool in registry.offered().values()
    )
    return "".join(
        [
            _HEAD,
            *tools,
            _CONTROL,
            _FILES,
            _HTTP,
            *_keys(HttpTool),
            _MCP,
            *_keys(McpServer),
            _REMOTE,
            *_keys(RemoteMcp),
        ]
    )


def _argument(argument: tuple[str, dict[str, Any]]) -> str:
    name, schema = argument
    return f"`{name}`" + (f" ({' '.join(schema['enum'])})" if "enum" in schema else "")


def _keys(model: type[BaseModel]) -> Iterable[str]:
    own = [key for key in model.model_fields if key not in COMMON]
    for key in ("kind", "name", *(key for key in own if key not in ("kind", "name")), *COMMON):
        field = model.model_fields[key]
        default = "required" if field.is_required() else f"`{field.default!r}`".replace("'", '"')
        default = {"`True`": "`true`", "`()`": "`[]`"}.get(default, default)
        yield f"| `{key}` | {default} | {field.description or MEANING[key]} |\n"


COMMON = ("trunks", "numbers", "enabled", "secret_env", "secret_file")
MEANING = {"kind": "Which of the three it is", "name": "Of the tool, or of the server"}
