"""The box: whatever a model asks for, and whatever a tool does, is one short answer and one row."""

from __future__ import annotations

import asyncio
import math
from typing import Any

import pytest
from pydantic import BaseModel, Field

from sipua.actions import CallTool, RemoteToolCalled, RemoteToolDone
from sipua.errors import ConfigError
from sipua.tools.box import ARGUMENTS_MAX_CHARS, CALL_ENDED, OUTPUT_MAX_CHARS, read_arguments
from sipua.tools.context import ToolContext
from sipua.tools.registry import Registry, Result, by_schema
from sipua.tools.schema import ToolError, checked_schema
from tests.sipua.test_ledger import OPENING
from tests.tools.calls import Desk


class Ride(BaseModel):
    pickup: str = Field(min_length=1, description="Where from")
    passengers: int = Field(default=1, ge=1, le=8)


class Book:
    name, description, Arguments, timeout_s = "book", "Books a ride.", Ride, 5.0

    async def run(self, arguments: Ride, context: ToolContext) -> Result:
        return {"from": arguments.pickup, "for": context.person, "in": context.locale}


def call(call_id: str, name: str = "book", arguments: str = '{"pickup": "x"}') -> CallTool:
    return CallTool(call_id, name, arguments, "r1")


class Odd:
    """Does what its argument says."""

    name, description, Arguments, timeout_s = "odd", "Is odd.", Ride, 0.05

    def __init__(self) -> None:
        self.is_stubborn_over = asyncio.Event()

    async def run(self, arguments: Ride, context: ToolContext) -> Any:
        match arguments.pickup:
            case "raise":
                raise KeyError("a secret of ours")
            case "say no":
                raise ToolError("there are no rides today")
            case "never":
                await asyncio.Event().wait()
            case "stubborn":
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    self.is_stubborn_over.set()
                return {}
            case "cancel":
                raise asyncio.CancelledError
            case "long":
                return {"x": "y" * OUTPUT_MAX_CHARS}
            case "nan":
                return {"x": math.nan}
            case "object":
                return {"x": object()}
        return [1, 2]


@pytest.fixture
def desk() -> Desk:
    registry = Registry()
    registry.add(Book(), Odd())
    return Desk(registry)


async def test_a_tool_gets_its_arguments_and_its_call_and_a_row(desk: Desk) -> None:
    assert await desk.use("book", {"pickup": "Remera"}) == {
        "from": "Remera", "for": OPENING.from_number, "in": "rw",
    }  # fmt: skip
    ((called,), (done,)) = desk.called, desk.done
    assert (called.server, called.tool, called.args) == ("sipua", "book", {"pickup": "Remera"})
    assert (done.id, done.success, done.error) == (called.id, True, None)
    assert done.result is not None
    assert done.result["from"] == "Remera"
    assert desk.counted("book", "ok") == 1


FAULTS: list[tuple[str, object, str]] = [
    ("teleport", {}, "there is no tool named teleport"),
    ("x" * 500, {}, "there is no tool named " + "x" * 64),
    ("it's \"x\" \\ \0", {}, "there is no tool named it's \"x\" \\ \0"),
    ("book", {}, "pickup: Field required"),
    ("book", {"pickup": ""}, "pickup: String should have at least 1 character"),
    ("book", {"pickup": "x", "passengers": "many"}, "passengers: Input should be a valid integer"),
    ("book", {"pickup": "x", "passengers": 99}, "passengers: Input should be less than or equal to 8"),
    ("book", "[1]", "not a JSON object"),
    ("book", "{pickup", "not JSON"),
    ("book", '"\ud800"', "not JSON"),
    ("book", "[" * 5000, "not JSON"),
    ("book", '{"pickup": "' + "x" * 1_000_000 + '"}', "too long: 1000014 characters; at most 16384"),
    ("odd", {"pickup": "raise"}, "the tool failed (KeyError)"),
    ("odd", {"pickup": "say no"}, "there are no rides today"),
    ("odd", {"pickup": "never"}, "no result within 0.05 s"),
    ("odd", {"pickup": "stubborn"}, "no result within 0.05 s"),
    ("odd", {"pickup": "cancel"}, "the tool was cancelled"),
    ("odd", {"pickup": "long"}, "too long"),
    ("odd", {"pickup": "nan"}, "cannot be read"),
    ("odd", {"pickup": "object"}, "cannot be read"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "told"), FAULTS, ids=range(len(FAULTS)))
async def test_whatever_goes_wrong_is_a_short_error_and_a_row(
    desk: Desk, name: str, arguments: object, told: str
) -> None:
    answer = await desk.use(name, arguments)
    assert list(answer) == ["error"]
    assert told in answer["error"]
    assert len(answer["error"]) < 300
    assert "secret" not in answer["error"]
    ((called,), (done,)) = desk.called, desk.done
    assert (done.id, done.success, done.result, done.error) == (called.id, False, None, answer["error"])
    assert called.args is None or len(str(called.args)) < 2 * ARGUMENTS_MAX_CHARS


async def test_what_the_round_refused_is_not_run(desk: Desk) -> None:
    assert await desk.use("book", {"pickup": "x"}, refused="wait") == {"error": "wait"}
    assert [each.success for each in desk.done] == [False]


async def test_what_is_no_object_becomes_one(desk: Desk) -> None:
    assert await desk.use("odd", {"pickup": "a list"}) == {"result": [1, 2]}


async def test_a_quick_tool_does_not_wait_for_a_slow_one(desk: Desk) -> None:
    desk.box.start(call("slow", "odd", '{"pickup": "never"}'))
    desk.box.start(call("quick"))
    assert "from" in await desk.next("quick")
    assert "no result" in (await desk.next("slow"))["error"]


async def test_the_end_of_the_call_cancels_what_runs_and_its_rows_say_so(desk: Desk) -> None:
    desk.box.start(call("c1", "odd", '{"pickup": "never"}'))
    await asyncio.sleep(0)  # it begins
    desk.box.close()
    await asyncio.sleep(0)
    (done,) = desk.done
    assert (done.success, done.error) == (False, CALL_ENDED)
    assert desk.counted("odd", "ended") == 1
    assert not [task for task in asyncio.all_tasks() if task.get_name() == "tool odd"]


async def test_a_tool_that_does_not_let_itself_be_cancelled_answers_once(desk: Desk) -> None:
    tool = Odd()
    registry = Registry()
    registry.add(tool)
    desk = Desk(registry)
    await desk.use("odd", {"pickup": "stubborn"})
    await tool.is_stubborn_over.wait()
    await asyncio.sleep(0)
    assert len(desk.done) == 1


def test_no_arguments_at_all_are_an_empty_object() -> None:
    assert read_arguments("") == read_arguments(" ") == ({}, "")


async def test_calls_that_the_service_makes_are_rows_too(desk: Desk) -> None:
    desk.box.remote_called(RemoteToolCalled("m1", "crm", "find", '{"n": 1}'))
    desk.box.remote_called(RemoteToolCalled("m2", "crm", "read", "no JSON"))
    desk.box.remote_called(RemoteToolCalled("m3", "crm", "write", "{}"))
    desk.box.remote_done(RemoteToolDone("m1", "a text", None))
    desk.box.remote_done(RemoteToolDone("m2", "", "gone"))
    desk.box.remote_done(RemoteToolDone("m9", "", None))
    desk.box.close()
    assert [(called.server, called.tool, called.args) for called in desk.called] == [
        ("crm", "find", {"n": 1}), ("crm", "read", None), ("crm", "write", {}),
    ]  # fmt: skip
    assert [(done.success, done.result, done.error) for done in desk.done] == [
        (True, {"result": "a text"}, None), (False, None, "gone"), (False, None, CALL_ENDED),
    ]  # fmt: skip


# ---- the registry ----------------------------------------------------------------------------------------


def test_a_model_reads_a_plain_schema() -> None:
    class Arguments(BaseModel):
        """Not for the model."""

        what: str = Field(description="What")
        category: str | None = None
        many: int = 1

    class Search:
        name, description, timeout_s = "search", "Searches.", 1.0

        def __init__(self) -> None:
            self.Arguments = Arguments

        async def run(self, arguments: Arguments, context: ToolContext) -> Result:
            return {}

    registry = Registry()
    registry.add(Search())
    assert registry.wire() == (
        {
            "type": "function",
            "name": "search",
            "description": "Searches.",
            "parameters": {
                "type": "object",
                "properties": {
                    "what": {"type": "string", "description": "What"},
                    "category": {"type": "string"},
                    "many": {"type": "integer", "default": 1},
                },
                "required": ["what"],
            },
        },
    )


async def _nothing(arguments: Any, context: ToolContext) -> Result:
    return {}


def test_names_are_unique_and_fit_for_the_service() -> None:
    registry = Registry(off=["book"])
    registry.add(Book(), Odd())
    assert registry.find("book") is None
    assert list(registry.offered()) == ["odd"]
    with pytest.raises(ConfigError, match=r"'odd': there is one of this name already, of sipua"):
        registry.add(Odd())
    theirs = [
        by_schema(name, "", {"type": "object"}, 1.0, _nothing, "maps") for name in ("odd", "a b", "route")
    ]
    assert registry.replace("maps", theirs) == [
        "odd: there is one of this name already, of sipua",
        "a b: not a name; allowed: 1 to 64 letters, digits, _ and -",
    ]
    assert list(registry.offered()) == ["odd", "route"]
    assert registry.replace("maps", theirs[2:]) == []  # its own names are free
    assert registry.replace("maps", []) == []
    assert list(registry.offered()) == ["odd"]


async def test_arguments_of_others_tools_are_held_to_their_schema() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer", "maximum": 3}}, "required": ["n"]}
    registry = Registry()
    registry.add_foreign(by_schema("count", "", schema, 1.0, _nothing, "maps"))
    desk = Desk(registry)
    assert await desk.use("count", {"n": 2}) == {}
    assert (await desk.use("count", {"n": 7}))["error"] == (
        "the arguments do not fit: n: 7 is greater than the maximum of 3"
    )
    assert "'n' is a required property" in (await desk.use("count", {}))["error"]
    assert [called.server for called in desk.called] == ["maps"] * 3


@pytest.mark.parametrize(
    "reference",
    ["#/$defs/missing", "http://127.0.0.1:9/schema.json", "#anchor", "#/properties/n/enum/7", "other.json"],
)
def test_a_schema_that_refers_to_what_it_does_not_hold_is_refused(reference: str) -> None:
    schema = {"properties": {"n": {"enum": [1]}, "m": {"anyOf": [{"$ref": reference}]}}}
    with pytest.raises(ConfigError, match=r"^count: \$ref '.*': nothing in this schema$"):
        checked_schema(schema, "count")


def test_a_schema_may_refer_to_itself() -> None:
    schema = {
        "$defs": {"a/b": {"type": "string"}},
        "properties": {"n": {"$ref": "#/$defs/a~1b"}, "m": {"$ref": "#"}},
    }
    assert checked_schema(schema, "count")["properties"] == schema["properties"]


async def test_a_schema_that_cannot_be_checked_costs_the_tool_not_the_call() -> None:
    circle = checked_schema({"properties": {"n": {"$ref": "#/properties/n"}}}, "count")
    registry = Registry()
    registry.add_foreign(by_schema("count", "", circle, 1.0, _nothing, "maps"))
    desk = Desk(registry)
    assert await desk.use("count", {"n": 1}) == {"error": "the tool failed (RecursionError): do without it"}
    assert [each.success for each in desk.done] == [False]


async def test_an_expression_of_a_stranger_does_not_hold_the_calls() -> None:
    text = {"type": "string", "pattern": "^(a+)+$"}
    endless = {"properties": {"n": text}, "patternProperties": {"(a+)+$": {}}, "additionalProperties": False}
    registry = Registry()
    registry.add_foreign(by_schema("count", "", endless, 1.0, _nothing, "maps", is_strangers=True))
    desk = Desk(registry)
    assert await desk.use("count", {"n": "a" * 200 + "b", "a" * 200 + "b": 1}) == {}
    assert "5 is not of type 'string'" in (await desk.use("count", {"n": 5}))["error"]
