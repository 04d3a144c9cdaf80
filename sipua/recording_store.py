"""Where finished recordings stay: a folder, or an S3-compatible store that they are moved to; and for how long.

``sipua.recording_keeper`` brings them and has the old ones deleted. Only names of ours are ever deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Protocol
from urllib.parse import quote, unquote, urlsplit
from uuid import UUID

import obstore
from obstore.exceptions import BaseError
from obstore.store import S3Store

from sipua.config_file import read_secret
from sipua.errors import LocalError
from sipua.recording_settings import RecordingSettings
from sipua.settings import Settings

_NAME = re.compile(r"([0-9a-f-]{36})_([0-9a-f-]{36})\.(wav|flac)")
_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
LINK_TIME = timedelta(minutes=5)  # of a link to the bucket
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


def bucket_url(settings: RecordingSettings) -> str:
    """Where its objects are; signed links lead there too."""
    endpoint, bucket = settings.s3_endpoint, settings.s3_bucket
    return f"{endpoint}/{bucket}" if endpoint else f"https://{bucket}.s3.{settings.s3_region}.amazonaws.com"


def bucket_origin(settings: RecordingSettings) -> str:
    """Scheme, host and port that its links lead to; "" without a bucket."""
    if not settings.s3_bucket:
        return ""
    url = urlsplit(bucket_url(settings))
    return f"{url.scheme}://{url.netloc.rpartition('@')[2]}"


class BucketStore:
    """An S3-compatible store; long files go up in parts. Its errors name no secret."""

    def __init__(self, settings: RecordingSettings) -> None:
        """Raises ConfigError for a secret that cannot be read."""
        self._prefix = f"{settings.s3_prefix}/" if settings.s3_prefix else ""
        endpoint, bucket = settings.s3_endpoint, settings.s3_bucket
        self.where = f"{endpoint or 's3'}/{bucket}/{self._prefix}".rstrip("/")
        self._base_url = settings.base_url or bucket_url(settings)
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

    async def link_to(self, name: str) -> str:
        """Whoever has it may fetch the object, for ``LINK_TIME``."""
        with _mapped(self.where):
            return await obstore.sign_async(self._store, "GET", self._prefix + name, LINK_TIME)

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

    async def delete_of(self, calls: Collection[UUID], days: Collection[date], *, dry: bool) -> int:
        """Those of these calls, from these days; how many there are. StoreRefused."""
        total = 0
        with _mapped(self.where):
            for day in sorted(set(days)):
                async for found in obstore.list(self._store, prefix=f"{self._prefix}{day.isoformat()}"):
                    theirs = [each["path"] for each in found if call_of(each["path"]) in calls]
                    if theirs and not dry:
                        await obstore.delete_async(self._store, theirs)
                    total += len(theirs)
        return total

    async def check(self) -> str:
        trial = f"{self._prefix}.trial-{os.getpid()}"
        with _mapped(self.where):
            await obstore.put_async(self._store, trial, b"trial")
            await obstore.delete_async(self._store, trial)
        return self.where


@dataclass(frozen=True, slots=True)
class LocalCopy:
    """A recording on our disk."""

    file: Path
    status: os.stat_result


class Shelf:
    """Where recordings that were kept can be fetched: our folder, or the bucket."""

    def __init__(self, settings: Settings) -> None:
        """Raises ConfigError for a secret that cannot be read."""
        self._folder = settings.recordings_path
        self._bucket = BucketStore(settings.recording) if settings.recording.s3_bucket else None

    async def find(self, name: str) -> LocalCopy | str | None:
        """A file, or a link to the bucket that is good for minutes; None: it is not there. StoreRefused."""
        file = self._folder / name
        try:
            return LocalCopy(file, await asyncio.to_thread(file.lstat))
        except FileNotFoundError:
            return None if self._bucket is None else await self._bucket.link_to(name)
        except OSError as error:
            raise StoreRefused(f"{file}: {error.strerror}") from None


def name_in(url: str, consent_id: UUID) -> str | None:
    """The name (DATE/CALL_CONSENT.wav or .flac) at the end of an address in the ledger; None: it has none."""
    day, _, file = "/".join(unquote(url).split("/")[-2:]).partition("/")
    is_ours = _DAY.fullmatch(day) and _NAME.fullmatch(file) and consent_of(file) == consent_id
    return f"{day}/{file}" if is_ours else None


def store_of(settings: Settings) -> Store:
    """The store that the settings name."""
    recording = settings.recording
    if recording.s3_bucket:
        return BucketStore(recording)
    return FolderStore(settings.recordings_path, recording.base_url)


async def delete_of(settings: Settings, calls: Collection[UUID], days: Collection[date], *, dry: bool) -> int:
    """Recordings of these calls from these days, here and in the bucket; how many there are. StoreRefused."""
    total = await asyncio.to_thread(_delete_files_of, settings.recordings_path, calls, days, dry=dry)
    if settings.recording.s3_bucket:
        total += await BucketStore(settings.recording).delete_of(calls, days, dry=dry)
    return total


def consent_of(name: str) -> UUID | None:
    """Whose answer allowed the recording of that name; None: the name is none of ours."""
    match = _NAME.fullmatch(name.rpartition("/")[2].removesuffix(".part"))
    if match is None:
        return None
    try:
        return UUID(match[2])
    except ValueError:
        return None


def call_of(name: str) -> UUID | None:
    """Whose call it is a recording of; None: the name is none of ours."""
    match = _NAME.fullmatch(name.rpartition("/")[2].removesuffix(".part"))
    if match is None:
        return None
    try:
        return UUID(match[1])
    except ValueError:
        return None


def _delete_files_of(folder: Path, calls: Collection[UUID], days: Collection[date], *, dry: bool) -> int:
    """Also those that wait for their store. How many there are. StoreRefused."""
    total = 0
    for day in sorted(set(days)):
        for file in (folder / day.isoformat()).glob("*"):
            if call_of(file.name) not in calls:
                continue
            try:
                if not dry:
                    file.unlink(missing_ok=True)
            except OSError as error:
                raise StoreRefused(f"{file}: {error.strerror}") from None
            total += 1
        with contextlib.suppress(OSError):  # others are in it, or it is not there
            if not dry:
                (folder / day.isoformat()).rmdir()
    return total


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
