"""Rounds of tools as a table: what the model calls, what comes back when, and whether it is asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.realtime.events import FunctionCall
from sipua.tool_round import IN_A_CIRCLE, ROUNDS_MAX, RUNNING_MAX, TOO_MANY, WAITING_MAX, Delivery, ToolRound


def call(call_id: str = "c1", response: str = "r1", name: str = "book") -> FunctionCall:
    return FunctionCall(response, f"item_{call_id}", call_id, name, "{}")


def ids(delivery: Delivery) -> list[str]:
    return [item.call_id for item in delivery.items]


# Each step: "c1" is called, "c1=" is done, "." is the end of the response; with it what goes back and whether it asks.
ROUNDS = [
    pytest.param([("c1", [], False), ("c1=", [], False), (".", ["c1"], True)], id="quick"),
    pytest.param([("c1", [], False), (".", [], False), ("c1=", ["c1"], True)], id="slow"),
    pytest.param(
        [("c1", [], False), ("c2", [], False), ("c2=", [], False), ("c1=", [], False), (".", ["c2", "c1"], True)],
        id="two, both quick",
    ),
    pytest.param(
        [("c1", [], False), ("c2", [], False), ("c2=", [], False), (".", ["c2"], False), ("c1=", ["c1"], True)],
        id="two, one slow",
    ),
    pytest.param([("c1", [], False), ("c1", [], False), ("c1=", [], False), (".", ["c1"], True)], id="told twice"),
    pytest.param([("c1", [], False), ("c9=", [], False), ("c1=", [], False), (".", ["c1"], True)], id="a stranger"),
    pytest.param([(".", [], False)], id="none"),
    pytest.param([("c1", [], False), ("c1=", [], False), (".", ["c1"], True), (".", [], False)], id="over twice"),
]  # fmt: skip


@pytest.mark.parametrize("steps", ROUNDS)
def test_results_wait_for_the_response_and_ask_once(steps: list[tuple[str, list[str], bool]]) -> None:
    tools = ToolRound()
    for step, back, asks in steps:
        delivery = Delivery()
        if step == ".":
            delivery = tools.response_over("r1")
        elif step.endswith("="):
            delivery = tools.done(step[:-1], "{}")
        else:
            tools.called(call(step))
        assert (ids(delivery), delivery.asks) == (back, asks), step
    assert not tools.is_busy


@given(st.permutations(["c1=", "c2=", "c3=", "."]))
def test_in_any_order_each_result_goes_back_once_and_one_answer_is_asked_for(order: list[str]) -> None:
    tools = ToolRound()
    for number in (1, 2, 3):
        tools.called(call(f"c{number}"))
    deliveries = [tools.response_over("r1") if each == "." else tools.done(each[:-1], each) for each in order]
    assert sorted(id for each in deliveries for id in ids(each)) == ["c1", "c2", "c3"]
    assert [each.asks for each in deliveries] == [False] * 3 + [True]
    assert len({item.item_id for each in deliveries for item in each.items}) == 3


def test_too_many_at_once_are_refused_but_answered() -> None:
    tools = ToolRound()
    called = [tools.called(call(f"c{number}"))[0].refused for number in range(RUNNING_MAX + 1)]
    assert called == [""] * RUNNING_MAX + [TOO_MANY]
    tools.done("c0", "{}")
    assert tools.called(call("another"))[0].refused == TOO_MANY  # the refused one is not answered yet
    tools.done(f"c{RUNNING_MAX}", "{}")
    assert tools.called(call("one more"))[0].refused == TOO_MANY
    tools.done("another", "{}")
    tools.done("one more", "{}")
    assert tools.called(call("at last"))[0].refused == ""


def test_a_model_that_goes_round_in_a_circle_is_told_and_then_not_asked() -> None:
    tools = ToolRound()
    refused, asked = [], []
    for number in range(2 * ROUNDS_MAX + 1):
        refused.append(tools.called(call(f"c{number}", f"r{number}"))[0].refused)
        tools.done(f"c{number}", "{}")
        asked.append(tools.response_over(f"r{number}").asks)
    assert refused == [""] * ROUNDS_MAX + [IN_A_CIRCLE] * (ROUNDS_MAX + 1)
    assert asked == [True] * 2 * ROUNDS_MAX + [False]
    tools.caller_spoke()
    assert tools.called(call("again", "r99"))[0].refused == ""


def test_responses_that_never_end_are_bounded() -> None:
    tools = ToolRound()
    called = [tools.called(call(f"c{number}", f"r{number}")) for number in range(WAITING_MAX + 9)]
    assert [len(each) for each in called] == [1] * WAITING_MAX + [0] * 9


def test_it_is_known_whether_the_response_said_something() -> None:
    tools = ToolRound()
    tools.spoke("r1")
    for response in ("r1", "r2"):
        tools.called(call(response, response))
        tools.done(response, "{}")
    assert [tools.response_over(each).spoke for each in ("r1", "r2")] == [True, False]
