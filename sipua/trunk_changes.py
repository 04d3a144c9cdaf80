"""Trunks that change while calls are up: other files (SIGHUP), or another address of ours. One change at a time.

All who know the trunks know the same ones, before and after: what one of them refuses is taken back from the others.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from sipua.admission import Admission, callers_of
from sipua.errors import SipuaError
from sipua.fleet import Fleet
from sipua.names import Names
from sipua.own_address import OwnAddress
from sipua.pj.build import missing_codecs
from sipua.switchboard import Switchboard
from sipua.trunk import Trunk
from sipua.trunk_files import TrunkFiles, check_codecs


class TrunkChanges:
    """``apply`` and ``moved`` are what ``TrunkFiles.follow`` and ``OwnAddress.watch`` call."""

    def __init__(
        self,
        files: TrunkFiles,
        own_address: OwnAddress,
        fleet: Fleet,
        admission: Admission,
        names: Names,
        switchboard: Switchboard,
    ) -> None:
        self._files = files
        self._own_address = own_address
        self._fleet = fleet
        self._admission = admission
        self._names = names
        self._switchboard = switchboard
        self._changing = asyncio.Lock()

    async def apply(self, trunks: Sequence[Trunk]) -> None:
        """From now on these. Raises SipuaError if they cannot be; then nothing has changed."""
        check_codecs(trunks, missing_codecs())
        callers_of(trunks)  # before any trunk has noticed
        async with self._changing:
            self._own_address.replace(trunks)
            try:
                await self._fleet.replace(trunks)
                self._admission.replace(trunks)
            except SipuaError:
                self._own_address.replace(self._files.trunks)
                await self._fleet.replace(self._files.trunks)
                raise
            self._names.replace(trunks)

    async def moved(self, trunks: set[str]) -> None:
        """These see us at another address."""
        async with self._changing:
            await self._fleet.replace(self._fleet.trunks)
            await self._switchboard.own_address_changed(trunks, self._own_address.address_of)
