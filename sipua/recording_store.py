"""Where finished recordings stay: a folder, or an S3-compatible store that they are moved to; and for how long.

``sipua.recording_keeper`` brings them and has the old ones deleted. Only names of ours are ever deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import quote
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from sipua.config_file import read_secret
from sipua.errors import LocalError
from sipua.recording_settings import RecordingSettings
from sipua.settings import Settings

_NAME = re.compile(r"([0-9a-f-]{36})_([0-9a-f-]{36})\.(wav|flac)")
CHUNK_BYTES = 8 << 20  # of a multipart upload: 10,000 of them are allowed
REQUEST_TIMEOUT = timedelta(seconds=60)


class StoreRefused(LocalError):
    """The store did not take or give something; asked again later."""

    reason = "recording_store"


class Store(Protocol):
    async def keep(self, file: Path, name: str) -> str:
        """Takes a finished file as ``name`` (DATE/CALL_CONSENT.wav or .flac); its address. StoreRefused."""

    async def delete_before(self, then: datetime) -> list[str]:
        """Deletes what is older; the names. StoreRefused."""

    async def check(self) -> str:
        """Writes and deletes something; what it was. StoreRefused."""


class FolderStore:
    """Recordings stay where they were written."""

    def __init__(self, folder: Path, base_url: str = "") -> None:
        self._folder = folder
        self._base_url = base_url or folder.absolute().as_uri()

    async def keep(self, file: Path, name: str) -> str:
        target = self._folder / name
        try:
            await asyncio.to_thread(file.replace, target)
        except OSError as error:
            raise StoreRefused(f"{target}: {error.strerror}") from None
        return f"{self._base_url}/{quote(name)}"

    async def delete_before(self, then: datetime) -> list[str]:
        names: list[str] = []
        for kind in ("*.wav", "*.flac"):
            names += await asyncio.to_thread(delete_files, self._folder, then, kind)
        return names

    async def check(self) -> str:
        def probe() -> None:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            trial = self._folder / f".trial-{os.getpid()}"
            trial.write_bytes(b"trial")
            trial.unlink()

        try:
            await asyncio.to_thread(probe)
        except OSError as error:
            raise StoreRefused(f"{self._folder}: {error.strerror}") from None
        return str(self._folder)


class BucketStore:
    """An S3-compatible store; long files go up in parts. Its errors name no secret."""

    def __init__(self, settings: RecordingSettings) -> None:
        """Raises ConfigError for a secret that cannot be read."""
        self._prefix = f"{settings.s3_prefix}/" if settings.s3_prefix else ""
        endpoint, bucket = settings.s3_endpoint, settings.s3_bucket
        self.where = f"{endpoint or 's3'}/{bucket}/{self._prefix}".rstrip("/")
        amazon = f"https://{bucket}.s3.{settings.s3_region}.amazonaws.com"
        self._base_url = settings.base_url or (f"{endpoint}/{bucket}" if endpoint else amazon)
        keys: dict[str, str] = {}
        if settings.s3_access_key_id:
            secret = read_secret("recording.s3_secret_key_file", "", settings.s3_secret_key_file)
            keys = {
                "access_key_id": settings.s3_access_key_id,
                "secret_access_key": secret.get_secret_value(),
            }
        if endpoint:
            keys["endpoint"] = endpoint
        self._store = S3Store(
            bucket,
            region=settings.s3_region,
            virtual_hosted_style_request=not endpoint,
            client_options={
                "allow_http": endpoint.startswith("http://"),
                "timeout": REQUEST_TIMEOUT,
                "connect_timeout": timedelta(seconds=10),
            },
            retry_config={"max_retries": 2, "retry_timeout": REQUEST_TIMEOUT},
            **keys,  # type: ignore[arg-type]  # a TypedDict's
        )

    async def keep(self, file: Path, name: str) -> str:
        with _mapped(self.where):
            await obstore.put_async(
                self._store,
                self._prefix + name,
                file,
                attributes={"Content-Type": f"audio/{name.rpartition('.')[2]}"},
                chunk_size=CHUNK_BYTES,
                max_concurrency=2,
            )
            await asyncio.to_thread(file.unlink)
        return f"{self._base_url}/{quote(self._prefix + name)}"

    async def delete_before(self, then: datetime) -> list[str]:
        names: list[str] = []
        with _mapped(self.where):
            async for found in obstore.list(self._store, prefix=self._prefix.rstrip("/") or None):
                old = [
                    each["path"]
                    for each in found
                    if each["last_modified"] < then and consent_of(each["path"]) is not None
                ]
                if old:
                    await obstore.delete_async(self._store, old)
                    names += old
        return names

    async def check(self) -> str:
        trial = f"{self._prefix}.trial-{os.getpid()}"
        with _mapped(self.where):
            await obstore.put_async(self._store, trial, b"trial")
            await obstore.delete_async(self._store, trial)
        return self.where


def store_of(settings: Settings) -> Store:
    """The store that the settings name."""
    recording = settings.recording
    if recording.s3_bucket:
        return BucketStore(recording)
    return FolderStore(settings.recordings_path, recording.base_url)


def consent_of(name: str) -> UUID | None:
    """Whose answer allowed the recording of that name; None: the name is none of ours."""
    match = _NAME.fullmatch(name.rpartition("/")[2].removesuffix(".part"))
    if match is None:
        return None
    try:
        return UUID(match[2])
    except ValueError:
        return None


def delete_files(folder: Path, then: datetime, pattern: str) -> list[str]:
    """Recordings that nobody has written to since; days without any are removed too. Their names."""
    names = []
    for file in folder.glob(f"*/{pattern}"):
        if consent_of(file.name) is None:
            continue
        try:
            if datetime.fromtimestamp(file.stat().st_mtime, UTC) < then:
                file.unlink()
                names.append(file.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreRefused(f"{file}: {error.strerror}") from None
        with contextlib.suppress(OSError):  # others are in it
            file.parent.rmdir()
    return names


@contextlib.contextmanager
def _mapped(where: str) -> Iterator[None]:
    """The library's errors as ours; its text is cut, since it quotes whole answers."""
    try:
        yield
    except (BaseError, OSError) as error:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise StoreRefused(f"{where}: {first[:300]}") from None
