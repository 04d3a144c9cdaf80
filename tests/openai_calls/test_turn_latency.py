"""How soon a caller hears an answer on a call that OpenAI terminates: of its events alone."""

from __future__ import annotations

import pytest

from sipua.realtime import events as ev
from sipua.sideband_speech import ANSWERS_MAX, TurnLatency

STARTED, STOPPED = ev.SpeechStarted("item_user", 0), ev.SpeechStopped("item_user", 800)


def response(name: str, *, of: str = "message") -> list[tuple[float, ev.Event]]:
    return [(1.2, ev.ResponseCreated(name)), (1.3, ev.OutputItemAdded(name, f"item_{name}", of, None))]


def playout(name: str, at: float = 1.5) -> tuple[float, ev.Event]:
    return at, ev.PlayoutBegan(name)


HEARD = (1.0, STOPPED)
TURNS: dict[str, tuple[list[tuple[float, ev.Event]], list[tuple[str, float]]]] = {
    "an answer": ([HEARD, *response("a"), playout("a")], [("item_a", 0.5)]),
    "the greeting": ([*response("a"), playout("a")], []),
    "a tool first": (
        [HEARD, *response("a", of="function_call"), *response("b"), playout("b", 4.0)],
        [("item_b", 3.0)],
    ),
    "an answer in two parts": (
        [HEARD, *response("a"), playout("a"), *response("b"), playout("b", 3.0)],
        [("item_a", 0.5)],
    ),
    "what was being said before": ([*response("a"), HEARD, playout("a")], []),
    "who goes on speaking": ([HEARD, *response("a"), (1.4, STARTED), playout("a")], []),
    "two turns": (
        [HEARD, *response("a"), playout("a"), (5.0, STARTED), (6.0, STOPPED), *response("b"), playout("b", 6.25)],
        [("item_a", 0.5), ("item_b", 0.25)],
    ),
    "played before its item is told": ([HEARD, (1.2, ev.ResponseCreated("a")), playout("a")], [("", 0.5)]),
    "more responses than anybody asks for": (
        [HEARD, *[(1.1, ev.ResponseCreated(str(n))) for n in range(ANSWERS_MAX)], *response("a"), playout("a")],
        [],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("told", "turns"), TURNS.values(), ids=TURNS.keys())
def test_a_turn_lasts_until_its_answer_is_played(
    told: list[tuple[float, ev.Event]], turns: list[tuple[str, float]]
) -> None:
    latency = TurnLatency()
    found = [turn for now, event in told if (turn := latency.on_event(event, now))]
    assert found == turns
