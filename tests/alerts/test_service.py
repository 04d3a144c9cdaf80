"""Sources, channels and the file together; what fails is tried again and disturbs nobody."""

from __future__ import annotations

import asyncio
import shutil
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sipua.alerts import sources
from sipua.alerts.channels import Channel
from sipua.alerts.incident import Incidents, Patience, Trouble
from sipua.alerts.message import Message
from sipua.alerts.service import Alerts, Source
from sipua.alerts.state_file import FILE_NAME, load
from sipua.clock import SystemClock
from sipua.errors import StoreError
from sipua.metrics import Metrics
from sipua.notify import NotTold
from tests.alerts.parts import SENDER, trouble


class Told:
    """A channel that fails as often as is wanted, and then takes everything."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.words: list[str] = []
        self._came = asyncio.Event()

    async def tell(self, message: Message) -> None:
        if self.failures:
            self.failures -= 1
            raise NotTold("not now")
        self.words.append(message.word.value)
        self._came.set()

    async def wait_for(self, count: int) -> None:
        async with asyncio.timeout(5):
            while len(self.words) < count:
                self._came.clear()
                await self._came.wait()


class Line:
    """A source whose state is set."""

    def __init__(self) -> None:
        self.troubles: Sequence[Trouble] | Exception = [trouble()]

    async def look(self) -> Sequence[Trouble]:
        if isinstance(self.troubles, Exception):
            raise self.troubles
        return self.troubles


def some_metrics() -> Metrics:
    return Metrics(node="n1", worker=0, instance="i", version="0")


@asynccontextmanager
async def alerting(
    folder: Path, line: Line, metrics: Metrics | None = None, **channels: Channel
) -> AsyncIterator[Alerts]:
    source = Source("trunk", line.look, 0.005, Patience())
    file = folder / FILE_NAME
    incidents = Incidents(channels, known=load(file))
    alerts = Alerts(
        [source],
        channels,
        incidents,
        file,
        SENDER,
        metrics or some_metrics(),
        SystemClock(),
        pauses_s=(0.0,),
    )
    alerts.start()
    try:
        yield alerts
    finally:
        await alerts.stop()


async def test_one_alert_and_one_recovery_through_each_channel_also_over_a_restart(tmp_path: Path) -> None:
    line, first, second = Line(), Told(), Told(failures=3)
    metrics = some_metrics()
    async with alerting(tmp_path, line, metrics, first=first, second=second):
        await first.wait_for(1)
        await second.wait_for(1)
    assert metrics.alerts_told.totals() == {"first,told": 1, "second,failed": 3, "second,told": 1}
    async with alerting(tmp_path, line, first=first, second=second):  # the next process
        line.troubles = StoreError("cannot be looked at")
        line.troubles = []
        await first.wait_for(2)
        await second.wait_for(2)
    assert first.words == second.words == ["opened", "recovered"]
    assert load(tmp_path / FILE_NAME) == []


async def test_what_cannot_be_looked_at_stays_as_it_was(tmp_path: Path) -> None:
    line, told = Line(), Told()
    async with alerting(tmp_path, line, told=told):
        await told.wait_for(1)
        line.troubles = StoreError("hangs")
        await asyncio.sleep(0.03)  # some looks
    assert told.words == ["opened"]
    (incident,) = load(tmp_path / FILE_NAME)
    assert (incident.subject, incident.told) == ("mtn", {"told": 1})


async def test_a_recovery_that_was_not_told_is_told_by_the_next_process(tmp_path: Path) -> None:
    line, dead = Line(), Told(failures=10**9)
    async with alerting(tmp_path, line, mail=dead):
        await asyncio.sleep(0.02)
        line.troubles = []
        await asyncio.sleep(0.02)
    alive = Told()
    async with alerting(tmp_path, line, mail=alive):
        await alive.wait_for(2)
    assert alive.words == ["opened", "recovered"]


async def test_a_state_file_that_cannot_be_written_costs_no_alert(tmp_path: Path) -> None:
    line, told = Line(), Told()
    async with alerting(tmp_path / "gone", line, told=told):
        await told.wait_for(1)
        line.troubles = []
        await told.wait_for(2)
    assert told.words == ["opened", "recovered"]


# ---- sources -------------------------------------------------------------------------------------------------


def test_the_voice_service_is_well_again_when_sessions_open_and_none_is_refused() -> None:
    voice = sources.VoiceService()
    assert voice.look({}, 0) == []
    (found,) = voice.look({"realtime_refused": 1}, 0)
    assert "realtime_refused" in found.what
    assert voice.look({"realtime_refused": 1}, 0) == [found]  # nobody calls: nothing is known
    assert len(voice.look({"realtime_refused": 2}, 1)) == 1  # opened and refused
    assert voice.look({"realtime_refused": 2}, 2) == []


def test_lost_rows_are_told_with_their_count() -> None:
    losses = sources.Losses()
    assert losses.look(0) == []
    (found,) = losses.look(7)
    assert "7 since the start" in found.what
    assert losses.look(7) == []


def test_a_disk_ends_being_full_above_where_it_began(tmp_path: Path) -> None:
    free_mb = shutil.disk_usage(tmp_path).free >> 20
    folders = {"the state": tmp_path, "the spool": tmp_path / "not" / "there"}
    (found,) = sources.disks(folders, free_mb * 2, lambda _: False)
    assert found.subject == str(tmp_path)
    assert "for the state and the spool" in found.what
    least = int(free_mb * 0.9)
    assert sources.disks(folders, least, lambda _: False) == []
    assert len(sources.disks(folders, least, lambda _: True)) == 1


async def test_a_disk_that_hangs_takes_one_thread_however_often_it_is_looked_at() -> None:
    looks, is_back = [], threading.Event()

    def hang() -> Sequence[Trouble]:
        looks.append(1)
        is_back.wait(5)
        return [trouble()]

    look = sources.in_thread(hang)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.02):
                await look()
    is_back.set()
    assert await look() == [trouble()]
    assert len(looks) == 1
