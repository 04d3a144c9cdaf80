"""When the last words have been heard: a table of what happens at which second."""

from __future__ import annotations

import pytest

from sipua.last_words import LATEST_S, TAIL_S, LastWords

# (second, what, queued_ms) and whether the call is over then
STORIES = [
    pytest.param([(0, "", 0, False), (99, "", 0, False)], id="nobody leaves"),
    pytest.param(
        [(0, "wanted", 900, False), (1, "said", 900, False), (2, "", 0, False), (2.1 + TAIL_S, "", 0, True)],
        id="the queue is played, then the far end's buffer",
    ),
    pytest.param(
        [(0, "wanted", 0, False), (5, "", 0, False), (LATEST_S, "", 0, True)], id="no goodbye comes"
    ),
    pytest.param(
        [(0, "wanted", 0, False), (3, "said", 500, False), (LATEST_S + 9, "", 20, False)], id="a long goodbye"
    ),
    pytest.param(
        [(0, "wanted", 500, False), (1, "said", 0, False), (1.2, "taken_back", 0, False), (99, "", 0, False)],
        id="the caller speaks",
    ),
    pytest.param(
        [(0, "wanted", 0, False), (1, "taken_back", 0, False), (2, "said", 0, False), (9, "", 0, False)],
        id="said after it was taken back",
    ),
    pytest.param(
        [(0, "wanted", 0, False), (1, "said", 0, False), (1.1, "", 300, False), (1.2, "", 0, False),
         (1.1 + TAIL_S, "", 0, False), (1.3 + TAIL_S, "", 0, True)],
        id="a last delta is late",
    ),
]  # fmt: skip


@pytest.mark.parametrize("story", STORIES)
def test_the_end_comes_when_all_has_been_heard(story: list[tuple[float, str, int, bool]]) -> None:
    words = LastWords()
    for second, what, queued_ms, is_over in story:
        match what:
            case "wanted":
                words.wanted(second)
            case "said":
                words.said()
            case "taken_back":
                words.taken_back()
        assert words.are_heard(second, queued_ms) is is_over, (second, what)
