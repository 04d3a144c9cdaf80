"""Callers who want to be called back: what the model is told, what is written, and who is told of it."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import openai
import psycopg
import pytest
from psycopg.rows import dict_row
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sipua.callback_notifier import CallbackNotifier
from sipua.callback_settings import CallbackSettings
from sipua.clock import SystemClock
from sipua.departments import Department, Departments
from sipua.desk import Desk
from sipua.desk_service import callback_notifier, people_tools
from sipua.http import bind_tcp, running
from sipua.memory import MemorySettings
from sipua.metrics import Metrics
from sipua.opening import Hours
from sipua.our_lines import Line, Lines
from sipua.tools.callback import RequestCallback, Wish
from sipua.tools.context import ToolContext
from sipua.tools.registry import Registry
from sipua.tools.schema import ToolError
from storage.desk_facts import CallbackNotified, CallbackRequested
from storage.facts import CallChanged, CallCreated, Fact, Group
from storage.writer import LedgerWriter
from tests.sipua.test_ledger import OPENING
from tests.tools import calls

SECRET = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
SUPPORT = Department(target="+250788000001")
PEOPLE = Departments({"support": SUPPORT, "sales": SUPPORT}, {})
LINES = Departments({}, {}, Lines({"office": Line()}, {"office": Hours((), None)}))


class Queue:
    """The ledger's, as a list."""

    def __init__(self) -> None:
        self.facts: list[Fact] = []

    def put(self, group: Group) -> None:
        self.facts += group


def desk(queue: Queue) -> Desk:
    return Desk("", queue, MemorySettings(), SystemClock())


async def asked(tool: RequestCallback, context: ToolContext, **arguments: str) -> Mapping[str, Any]:
    return await tool.run(tool.Arguments.model_validate(arguments), context)


WITHHELD = {"caller": None, "country": None}
NUMBERS = [
    ({}, {}, "+250788123456"),
    ({}, {"number": "0788 000 002"}, "+250788000002"),
    ({}, {"number": "+33 6 12 34 56 78"}, "+33612345678"),
    ({}, {"number": "0033612345678"}, "+33612345678"),
    (
        {"caller": "+256772000001", "country": "UG"},
        {"number": "0772000002"},
        "+256772000002",
    ),  # of the caller's country
    (WITHHELD, {"number": "0788000002"}, "+250788000002"),  # of ours
    (WITHHELD | {"called": None}, {"number": "+33612345678"}, "+33612345678"),
    ({"direction": "outbound"}, {}, "+250700000001"),  # whom we called
    (WITHHELD, {}, "withheld: ask which number"),
    (WITHHELD | {"called": None}, {"number": "0788000002"}, "with its country code"),
    ({}, {"number": "seven eight"}, "is no telephone number"),
    ({}, {"number": "12"}, "is no telephone number"),
]


@pytest.mark.parametrize(("call", "arguments", "told"), NUMBERS, ids=range(len(NUMBERS)))
async def test_the_number_is_the_callers_or_read_as_e164(
    call: dict[str, Any], arguments: dict[str, str], told: str
) -> None:
    queue = Queue()
    tool = RequestCallback((), desk(queue), SystemClock())
    context = replace(calls.context(calls.Desk(Registry())), **call)
    if not told.startswith("+"):
        with pytest.raises(ToolError, match=told):
            await asked(tool, context, **arguments)
        assert queue.facts == []
        return
    result = await asked(tool, context, **arguments)
    request, _ = queue.facts
    assert isinstance(request, CallbackRequested)
    assert result["number"] == request.number == told


async def test_the_same_wish_has_the_same_reference_and_is_one_request() -> None:
    queue = Queue()
    tool = RequestCallback(("support", "sales"), desk(queue), SystemClock())
    context = calls.context(calls.Desk(Registry()))
    wish = {"department": "support", "name": "Ann", "when": "tomorrow morning", "notes": "a lost bag"}
    first = await asked(tool, context, **wish)
    again = await asked(
        tool, replace(context, id=uuid4()), **wish | {"name": " ANN ", "department": "Support"}
    )
    assert again["reference"] == first["reference"] == first["say"].replace(", ", "")
    request, lead = queue.facts
    assert isinstance(request, CallbackRequested)
    assert isinstance(lead, CallChanged)
    assert (lead.lead_name, lead.lead_phone, lead.last_note) == ("Ann", request.number, "a lost bag")
    assert (request.reference, request.department, request.wanted_at) == (
        first["reference"], "support", "tomorrow morning",
    )  # fmt: skip
    others = [
        await asked(tool, context, **wish | {"when": "tonight"}),
        await asked(tool, replace(context, call_id=uuid4()), **wish),
    ]
    assert len({first["reference"], *(each["reference"] for each in others)}) == 3
    with pytest.raises(ToolError, match="no department 'cargo'; departments: support, sales"):
        await asked(tool, context, department="cargo")


def test_it_is_offered_as_departments_or_lines_are_there_also_after_reading_again() -> None:
    registry, queue = Registry(), Queue()
    offered = []
    for known in (Departments({}, {}), LINES, PEOPLE, Departments({}, {})):
        people_tools(registry, known, desk(queue), SystemClock())
        offered.append(sorted(registry.offered()))
    assert offered == [[], ["request_callback"], ["request_callback", "transfer_to_human"], []]


async def test_a_request_is_a_row(database: str) -> None:
    writer = LedgerWriter(database, batch_ms=5)
    try:
        behind = Desk(database, writer, MemorySettings(), SystemClock())
        writer.put((CallCreated(id=OPENING.id, direction="inbound"),))
        tool = RequestCallback(("support",), behind, SystemClock())
        result = await asked(tool, calls.context(calls.Desk(Registry())), department="support", notes="a bag")
        assert await writer.flush(5)
    finally:
        await writer.close(1)
    with psycopg.connect(database, row_factory=dict_row) as connection:
        [row] = connection.execute("SELECT * FROM sipua.callback_requests").fetchall()
    assert (row["reference"], row["number"], row["department"], row["reason"], row["call_id"]) == (
        result["reference"], "+250788123456", "support", "a bag", OPENING.id,
    )  # fmt: skip
    assert (row["status"], row["notified_at"]) == ("new", None)


# ---- who is told -----------------------------------------------------------------------------------------

WISH = Wish(
    uuid4(), "K7M2QX", "+250788123456", "Ann \ud800", "support", "tomorrow", "a lost bag", OPENING.id, "rw",
    datetime(2026, 11, 22, tzinfo=UTC),
)  # fmt: skip


class Receiver:
    """The operator's service; it refuses the first requests."""

    def __init__(self, refusals: int) -> None:
        self.refusals = refusals
        self.requests: list[tuple[dict[str, str], bytes]] = []
        self.app = Starlette(routes=[Route("/told", self._take, methods=["POST"])])

    async def _take(self, request: Request) -> Response:
        self.requests.append((dict(request.headers), await request.body()))
        return Response(status_code=503 if len(self.requests) <= self.refusals else 204)


class Told:
    """A desk with its notifier, which is left once everything has been tried."""

    def __init__(self) -> None:
        self.queue = Queue()
        self.desk = desk(self.queue)
        self.metrics = Metrics(node="n", worker=0, instance="i", version="v")

    def counted(self, outcome: str) -> float:
        return self.metrics.registry.get_sample_value("sipua_callbacks_total", {"outcome": outcome}) or 0.0

    @asynccontextmanager
    async def notifying(self, **settings: Any) -> AsyncIterator[CallbackNotifier]:
        chosen = CallbackSettings(**settings)
        async with CallbackNotifier(
            chosen, SECRET, self.desk.callback_told, self.metrics, SystemClock(), pauses_s=(0.0, 0.0)
        ) as notifier:
            yield notifier


@pytest.mark.parametrize(("refusals", "is_told"), [(0, True), (2, True), (3, False)])
async def test_a_signed_post_is_tried_again_but_not_for_ever(
    refusals: int, is_told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    told, receiver = Told(), Receiver(refusals)
    async with running(receiver.app, bind_tcp("127.0.0.1", 0, "HTTP")) as (host, port):
        url = f"http://{host}:{port}/told"
        async with told.notifying(notify_url=url, notify_secret_file="x") as notifier:
            notifier.tell(WISH)
    assert len(receiver.requests) == min(refusals + 1, 3)
    judge = openai.OpenAI(api_key="x", webhook_secret=SECRET)
    for headers, body in receiver.requests:
        judge.webhooks.verify_signature(body, headers)
        assert headers["webhook-id"] == str(WISH.id)
    document = json.loads(receiver.requests[0][1])
    assert (document["type"], document["timestamp"]) == ("callback.requested", "2026-11-22T00:00:00+00:00")
    assert document["data"]["number"] == "+250788123456"
    assert (document["data"]["reference"], document["data"]["when"]) == ("K7M2QX", "tomorrow")
    known = [fact.id for fact in told.queue.facts if isinstance(fact, CallbackNotified)]
    assert known == ([WISH.id] if is_told else [])
    assert (told.counted("told"), told.counted("failed")) == (float(is_told), float(not is_told))
    assert ("K7M2QX: nobody could be told: callbacks.notify_url answered 503" in caplog.text) is not is_told


COMMANDS = [
    ("import pathlib, sys; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read())", True, ""),
    ("import sys; sys.exit(3)", False, "callbacks.notify_command ended with 3"),
]


@pytest.mark.parametrize(("program", "is_told", "why"), COMMANDS)
async def test_a_command_is_given_the_same_on_stdin(
    program: str, is_told: bool, why: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    told, file = Told(), tmp_path / "told.json"
    async with told.notifying(notify_command=[sys.executable, "-c", program, str(file)]) as notifier:
        notifier.tell(WISH)
    assert [type(fact) for fact in told.queue.facts] == ([CallbackNotified] if is_told else [])
    if is_told:
        assert json.loads(file.read_text())["data"]["id"] == str(WISH.id)
    assert why in caplog.text


async def test_what_earlier_processes_could_tell_nobody_is_told_once_it_can_be_read(tmp_path: Path) -> None:
    queue, file, tries = Queue(), tmp_path / "told.json", 0
    known = asyncio.Event()

    async def left() -> list[Wish]:
        nonlocal tries
        tries += 1
        return [WISH]

    settings = CallbackSettings(notify_command=[sys.executable, "-c", COMMANDS[0][0], str(file)])
    desk_of_ours = desk(queue)
    desk_of_ours.callback_told = lambda id: known.set()  # type: ignore[method-assign]
    metrics = Metrics(node="n", worker=0, instance="i", version="0")
    async with callback_notifier(settings, desk_of_ours, metrics, SystemClock(), left), asyncio.timeout(10):
        await known.wait()
    assert (json.loads(file.read_text())["data"]["id"], tries) == (str(WISH.id), 1)


async def test_of_two_channels_only_the_one_that_failed_is_tried_again(tmp_path: Path) -> None:
    told, receiver, file = Told(), Receiver(0), tmp_path / "tries"
    program = "import pathlib, sys; f = pathlib.Path(sys.argv[1]); n = f.exists(); f.touch(); sys.exit(not n)"
    async with running(receiver.app, bind_tcp("127.0.0.1", 0, "HTTP")) as (host, port), told.notifying(
        notify_url=f"http://{host}:{port}/told", notify_secret_file="x",
        notify_command=[sys.executable, "-c", program, str(file)],
    ) as notifier:  # fmt: skip
        notifier.tell(WISH)
    assert len(receiver.requests) == 1
    assert told.counted("told") == 1


async def test_a_program_that_is_not_there_and_nobody_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    told = Told()
    async with told.notifying(notify_command=["/nowhere/tell"]) as notifier:
        notifier.tell(WISH)
    assert "/nowhere/tell" in caplog.text
    async with told.notifying() as notifier:
        notifier.tell(WISH)
    assert told.counted("failed") == 1
    assert told.queue.facts == []


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"notify_url": "https://example.org/x"}, "both or neither"),
        ({"notify_secret_file": "x"}, "both or neither"),
        ({"notify_url": "http://example.org/x", "notify_secret_file": "x"}, "notify_url = .*unencrypted"),
        ({"notify_url": "https://example.org:port/x", "notify_secret_file": "x"}, "Port could not be cast"),
        ({"notify_url": "https://example.org/a b", "notify_secret_file": "x"}, "not a URL"),
        ({"notify_url": "example.org", "notify_secret_file": "x"}, "not a URL"),
        ({"notify_command": [""]}, "its first word is the program"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        CallbackSettings(**settings)
