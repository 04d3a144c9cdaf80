"""A task that nobody awaits tells of its failure when it fails."""

from __future__ import annotations

import asyncio

import pytest

from sipua.tasks import tell_of_a_bug


async def test_a_failure_is_logged_at_once_an_orderly_end_is_not(caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        raise ValueError("a bug")

    work = fails(), asyncio.sleep(0), asyncio.sleep(60)
    tasks = [
        asyncio.create_task(each, name=name)
        for each, name in zip(work, ("bad", "well", "cancelled"), strict=True)
    ]
    for task in tasks:
        task.add_done_callback(tell_of_a_bug)
    tasks[2].cancel()
    await asyncio.wait(tasks)
    await asyncio.sleep(0)  # the callbacks
    assert [(each.levelname, each.message) for each in caplog.records] == [("ERROR", "bad failed by a bug")]
    assert caplog.records[0].exc_info is not None
