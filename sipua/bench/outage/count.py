"""What is missing and what is twice. No I/O: counts of the database and of what was said in, figures out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sipua.bench.outage.talk import ROWS
from storage.rehearsal import Told


@dataclass(frozen=True, slots=True)
class Count:
    """Rows. ``under_way``: sent to an agent when it was killed, and in no row."""

    said: int = 0
    lost: int = 0
    doubled: int = 0
    under_way: int = 0


def counted(found: Iterable[Told], said: Mapping[str, int], *, was_killed: bool = False) -> Count:
    """``said``: talk → the number of its last utterance. Of an agent that was killed only gaps are losses."""
    by_talk: dict[str, list[Told]] = {talk: [] for talk in said}
    for each in found:
        if each.talk in by_talk:
            by_talk[each.talk].append(each)
    lost = doubled = under_way = 0
    for talk, kinds in by_talk.items():
        last = max((each.last for each in kinds), default=0) if was_killed else said[talk]
        kinds_missing = ROWS - len(kinds)
        complete = max(0, last - 1) if was_killed else last  # the last one may have been cut in two
        lost += sum(max(0, complete - each.different) for each in kinds) + kinds_missing * complete
        doubled += sum(each.rows - each.different for each in kinds)
        under_way += ROWS * max(0, said[talk] - last)
    return Count(ROWS * sum(said.values()), lost, doubled, under_way)
