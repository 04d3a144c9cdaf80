"""The alerts of one process, as its settings and parts want them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sipua.alert_settings import AlertSettings
from sipua.alerts import sources
from sipua.alerts.channels import open_channels
from sipua.alerts.incident import Incidents, Patience, Trouble
from sipua.alerts.message import Sender
from sipua.alerts.service import Alerts, Source
from sipua.alerts.sources import Look, at_once, in_thread
from sipua.alerts.state_file import load
from sipua.fleet_view import TrunkView
from sipua.metrics import Metrics
from sipua.ports import Clock

LOOK_S = 2.0  # values that are there
DISK_S = 10.0
CERTIFICATE_S = 6 * 3600.0  # handshakes with the trunks
LOST_CLEAR_S = 300.0


@dataclass(frozen=True, slots=True)
class Watched:
    """What a process has that may be in trouble. Counts are since its start; texts are "" where all is well."""

    trunks: Callable[[], Sequence[TrunkView]]
    refused: Callable[[], Mapping[str, float]]
    opened: Callable[[], float]
    day_cap_reached: Callable[[], bool]
    day_cap: str
    folders: Mapping[str, Path]
    database: Callable[[], str]
    spool: Callable[[], Awaitable[str]]
    lost: Callable[[], int]
    certificates: Callable[[], Awaitable[Sequence[Trouble]]]


def sources_of(settings: AlertSettings, watched: Watched, incidents: Incidents) -> list[Source]:
    """But those that are off."""
    voice, losses = sources.VoiceService(), sources.Losses()
    steady = Patience(settings.after_s, settings.clear_s)
    at_first = Patience(0.0, settings.clear_s)

    def disks() -> list[Trouble]:
        return sources.disks(
            watched.folders, settings.min_free_mb, lambda folder: incidents.is_open("disk", folder)
        )

    async def spool() -> list[Trouble]:
        return sources.spool(await watched.spool())

    table: dict[str, tuple[Look, float, Patience]] = {
        "trunk": (at_once(lambda: sources.trunks(watched.trunks())), LOOK_S, steady),
        "voice_service": (at_once(lambda: voice.look(watched.refused(), watched.opened())), LOOK_S, at_first),
        "spend": (
            at_once(lambda: sources.spend(watched.day_cap_reached(), watched.day_cap)), LOOK_S, Patience(),
        ),
        "disk": (in_thread(disks), DISK_S, at_first),
        "database": (at_once(lambda: sources.database(watched.database())), LOOK_S, steady),
        "spool": (spool, LOOK_S, at_first),
        "ledger": (at_once(lambda: losses.look(watched.lost())), LOOK_S, Patience(0.0, LOST_CLEAR_S)),
        "certificate": (watched.certificates, CERTIFICATE_S, Patience()),
    }  # fmt: skip
    return [
        Source(kind, look, every_s, patience)
        for kind, (look, every_s, patience) in table.items()
        if kind not in settings.off
    ]


@asynccontextmanager
async def alerting(
    settings: AlertSettings, watched: Watched, file: Path, sender: Sender, metrics: Metrics, clock: Clock
) -> AsyncIterator[None]:
    """Looks and tells meanwhile. ConfigError for a secret that cannot be read."""
    async with open_channels(settings) as channels:
        incidents = Incidents(channels, settings.remind_h * 3600, load(file))
        found = sources_of(settings, watched, incidents)
        alerts = Alerts(found, channels, incidents, file, sender, metrics, clock)
        alerts.start()
        try:
            yield
        finally:
            await alerts.stop()
