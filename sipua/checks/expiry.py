"""Certificates that end soon, ours and those that trunks show: for the alerts of a process that runs."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from sipua.alerts.incident import Trouble
from sipua.checks.trunk_wire import Report, local_address, spots_of
from sipua.errors import ConfigError
from sipua.settings import Settings
from sipua.tls_probe import Certificate, HandshakeFailed, client_context, read_certificate, shake_hands
from sipua.trunk import Trunk


class Expiry:
    """Remembers what was seen of a trunk, for when it cannot be reached: that is another trouble."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._seen: dict[str, list[Certificate]] = {}

    async def look(self, trunks: Sequence[Trunk], now: datetime) -> list[Trouble]:
        """Each that has ended, or does so within ``alerts.certificate_days``."""
        secure = [each for each in trunks if each.enabled and each.transport == "tls"]
        troubles: list[Trouble] = []
        if secure and self._settings.sip.tls_certificate:
            own = await asyncio.to_thread(_own, self._settings.sip.tls_certificate)
            todo = "renew it (sip.tls_certificate, sip.tls_key), then start anew"
            troubles += self._judged("own", "our certificate", own, todo, now)
        for trunk in secure:
            shown = await self._shown(trunk)
            if shown:
                self._seen[trunk.name] = shown
            what = f"the certificate of trunk {trunk.name}"
            todo = f"{trunk.provider} has to renew it: tell them; `sipua doctor` shows it"
            troubles += self._judged(trunk.name, what, self._seen.get(trunk.name, []), todo, now)
        return troubles

    def _judged(
        self, subject: str, what: str, shown: Sequence[Certificate], todo: str, now: datetime
    ) -> list[Trouble]:
        """By the one that ends first."""
        first = min(shown, key=lambda each: each.ends, default=None)
        if first is None:
            return []
        names, days = ", ".join(first.names), (first.ends - now).days
        if first.ends < now:
            return [Trouble(subject, f"{what} ({names}) has expired on {first.ends:%Y-%m-%d}", todo)]
        if days < self._settings.alerts.certificate_days:
            when = f"{first.ends:%Y-%m-%d}"
            return [Trouble(subject, f"{what} ({names}) expires on {when}, in {days} days", todo)]
        return []

    async def _shown(self, trunk: Trunk) -> list[Certificate]:
        try:
            context = client_context(trunk.tls_ca, trunk.tls_min_version)
        except ConfigError:
            return []  # `serve` refuses it
        local, found = local_address(trunk, self._settings), []
        for spot in await spots_of(trunk, str(self._settings.sip.bind), Report(), ()):
            try:
                place = spot.address
                seen = await shake_hands(place.address, place.port, spot.tls_name, context, local=local)
            except HandshakeFailed:
                continue
            found.append(seen.certificate)
        return found


def _own(file: str) -> list[Certificate]:
    try:
        return [read_certificate(Path(file).read_bytes())]
    except (OSError, ValueError):
        return []  # doctor tells it; the process has the one that it was started with
