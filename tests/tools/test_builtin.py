"""The tools by which a model controls its own call."""

from __future__ import annotations

import pytest
from openai.types.realtime import RealtimeFunctionTool

from sipua.tools.builtin import RecordConsent, TransferToHuman, control_tools
from sipua.tools.registry import Registry
from tests.tools.calls import Desk

LANGUAGES = {"en": "English", "fr": "French"}


@pytest.fixture
def registry() -> Registry:
    registry = Registry()
    registry.add(
        *control_tools(LANGUAGES), RecordConsent(), TransferToHuman({"support": "", "sales": "new customers"})
    )
    return registry


USES: list[tuple[str, dict[str, object], tuple[object, ...]]] = [
    ("hang_up", {}, ("hang_up",)),
    ("hang_up", {"reason": "models like to add one"}, ("hang_up",)),
    ("set_language", {"language": " fr "}, ("set_language", "fr")),
    ("wrap_up", {"intent": "book a taxi", "outcome": "booked"}, ("wrap_up", "book a taxi", "booked", "")),
    ("record_consent", {"agreed": False, "words": "no"}, ("record_consent", False, "no")),
    ("transfer_to_human", {"department": "sales", "reason": "x"}, ("transfer", "sales", "x")),
]


@pytest.mark.parametrize(("name", "arguments", "asked"), USES)
async def test_each_asks_the_call(
    registry: Registry, name: str, arguments: dict[str, object], asked: tuple[object, ...]
) -> None:
    desk = Desk(registry)
    assert "error" not in await desk.use(name, arguments)
    assert desk.control.asked == [asked]


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("set_language", {}),
        ("wrap_up", {"intent": "x", "outcome": "splendid"}),
        ("wrap_up", {"intent": " ", "outcome": "booked"}),
        ("record_consent", {"words": "hm"}),
        ("transfer_to_human", {"department": ""}),
    ],
)
async def test_unfit_arguments_ask_nothing(
    registry: Registry, name: str, arguments: dict[str, object]
) -> None:
    desk = Desk(registry)
    assert (await desk.use(name, arguments))["error"].startswith("the arguments do not fit")
    assert desk.control.asked == []


def test_the_service_takes_them_and_the_descriptions_name_what_there_is(registry: Registry) -> None:
    tools = {tool["name"]: RealtimeFunctionTool.model_validate(tool) for tool in registry.wire()}
    assert list(tools) == ["hang_up", "set_language", "wrap_up", "record_consent", "transfer_to_human"]
    assert "fr (French)" in (tools["set_language"].description or "")
    assert "support; sales: new customers" in (tools["transfer_to_human"].description or "")
    # a model pays for them in every response
    assert sum(len(str(tool)) for tool in registry.wire()) < 5000
