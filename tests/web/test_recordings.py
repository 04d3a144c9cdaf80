"""Recordings by signed links: from disk with ranges, from a bucket; deleted ones, wrong links, other paths."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

import httpx
import pytest

from sipua.currency import CurrencySettings
from sipua.ports import Moment
from sipua.recording_store import Shelf, name_in
from sipua.settings import Settings
from sipua.web.calls import calls_router
from sipua.web.guard import Role
from sipua.web.links import LINK_S, Links
from sipua.web.recordings import RecordingLinks, recordings_router
from storage.facts import ConsentAnswered, RecordingDeleted, RecordingKept
from storage.reading import ReadPool
from tests.storage.test_call_reads import at, created, uuid, write
from tests.web.serving import HandClock, a_guard, bearer, serving

CALL, CONSENT, OTHER = uuid(1), UUID(int=99), UUID(int=98)
NAME = f"2026-11-22/{CALL}_{CONSENT}.wav"
SOUND = bytes(range(256)) * 400


@asynccontextmanager
async def fetching(
    dsn: str, clock: HandClock, folder: Path, *, tokens: bool = True, **recording: Any
) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings.model_validate({"recording": {"dir": str(folder), **recording}})
    guard = a_guard(clock=clock) if tokens else a_guard(None)
    links = RecordingLinks(Links(), clock)
    async with ReadPool(dsn) as pool:
        routers = [
            calls_router(guard, pool, links, CurrencySettings()),
            recordings_router(guard, pool, links, Shelf(settings)),
        ]
        async with serving(routers, guard=guard, clock=clock) as client:
            yield client


async def link(client: httpx.AsyncClient) -> str:
    story = (await client.get(f"/calls/{CALL}", headers=bearer(Role.READ))).json()
    return str(story["recordings"][0]["url"])


@pytest.fixture
async def kept(database: str, tmp_path: Path) -> str:
    """A database with one recording, and its file."""
    (tmp_path / NAME).parent.mkdir()
    (tmp_path / NAME).write_bytes(SOUND)
    answer = ConsentAnswered(CONSENT, CALL, at(2), "Do you agree?", True, "voice")
    await write(database, created(1), answer, RecordingKept(CONSENT, f"file:///then/{NAME}"))
    return database


@pytest.fixture
def clock() -> HandClock:
    return HandClock(Moment(1000.0, datetime(2026, 1, 2, tzinfo=UTC)))


async def test_a_link_brings_the_file_and_parts_of_it_until_it_expires(
    kept: str, clock: HandClock, tmp_path: Path
) -> None:
    async with fetching(kept, clock, tmp_path) as client:
        url = await link(client)
        whole = await client.get(url)
        assert (whole.status_code, whole.content) == (200, SOUND)
        assert (whole.headers["Content-Type"], whole.headers["Cache-Control"]) == ("audio/wav", "no-store")
        part = await client.get(url, headers={"Range": "bytes=100-199"})
        assert (part.status_code, part.content) == (206, SOUND[100:200])
        assert part.headers["Content-Range"] == f"bytes 100-199/{len(SOUND)}"
        assert (await client.get(url, headers={"Range": "bytes=999999-"})).status_code == 416
        assert (await client.head(url)).headers["Content-Length"] == str(len(SOUND))
        clock.pass_s(LINK_S)
        late = await client.get(url)
        assert (late.status_code, late.json()["reason"]) == (403, "expired_link")


async def test_a_link_is_for_one_recording_and_one_time(kept: str, clock: HandClock, tmp_path: Path) -> None:
    async with fetching(kept, clock, tmp_path) as client:
        url = await link(client)
        query = {name: value for name, (value,) in parse_qs(urlsplit(url).query).items()}
        path = f"/recordings/{CONSENT}"
        wrong: list[tuple[str, dict[str, str]]] = [
            (f"/recordings/{OTHER}", query),
            (path, {}),
            (path, query | {"expires": str(int(query["expires"]) + 1)}),
            (path, query | {"expires": "9" * 400}),
            (path, query | {"expires": "\N{SUPERSCRIPT TWO}"}),
            (path, query | {"signature": ""}),
            (path, query | {"signature": query["signature"][:-1]}),
            (path, query | {"signature": "\N{SNOWMAN}"}),
        ]
        for where, values in wrong:
            told = await client.get(where, params=values, headers=bearer(Role.OPERATE))
            assert (told.status_code, told.json()["reason"]) == (403, "bad_link"), values
        for where in ("/recordings/../../etc/passwd", "/recordings/..%2f..%2fetc%2fpasswd"):
            assert (await client.get(where, params=query)).status_code in (404, 422)


async def test_what_was_deleted_is_gone(kept: str, clock: HandClock, tmp_path: Path) -> None:
    async with fetching(kept, clock, tmp_path) as client:
        url = await link(client)
        (tmp_path / NAME).unlink()
        assert (await client.get(url)).status_code == 410
        (tmp_path / NAME).write_bytes(SOUND)
        await write(kept, RecordingDeleted(CONSENT))  # its file may still be there
        told = await client.get(url)
    assert (told.status_code, "deleted" in told.json()["detail"]) == (410, True)


async def test_without_tokens_there_are_no_recordings(kept: str, clock: HandClock, tmp_path: Path) -> None:
    links = Links()
    async with fetching(kept, clock, tmp_path, tokens=False) as client:
        assert (await client.get(links.to(f"/recordings/{CONSENT}", 0)[0])).status_code == 404


async def test_a_bucket_gives_it_itself(kept: str, clock: HandClock, tmp_path: Path) -> None:
    (tmp_path / NAME).unlink()
    (tmp_path / "secret").write_text("s3cret")
    bucket: dict[str, Any] = {
        "s3_bucket": "calls", "s3_prefix": "a", "s3_endpoint": "http://127.0.0.1:9", "s3_access_key_id": "key",
        "s3_secret_key_file": str(tmp_path / "secret"),
    }  # fmt: skip
    async with fetching(kept, clock, tmp_path, **bucket) as client:
        told = await client.get(await link(client))
    assert told.status_code == 307
    assert told.headers["Location"].startswith(f"http://127.0.0.1:9/calls/a/{NAME}?")
    assert "X-Amz-Signature=" in told.headers["Location"]


NAMES = [
    (f"file:///a/b/{NAME}", NAME),
    (f"https://x.example/p/{NAME}", NAME),
    (f"https://x.example/2026-11-22/{CALL}_{CONSENT}.flac", f"2026-11-22/{CALL}_{CONSENT}.flac"),
    (f"file:///a/2026-11-22/{CALL}_{OTHER}.wav", None),  # another's
    (f"file:///a/../{CALL}_{CONSENT}.wav", None),
    (f"file:///a/2026-11-22/../{CALL}_{CONSENT}.wav", None),
    (f"file:///a/2026-11-22%2f..%2f..%2f{CALL}_{CONSENT}.wav", None),
    ("file:///etc/passwd", None),
    (f"file:///a/2026-11-22/{CALL}_{CONSENT}.wav.part", None),
    ("", None),
]


@pytest.mark.parametrize(("url", "name"), NAMES)
def test_only_names_of_ours_are_believed(url: str, name: str | None) -> None:
    assert name_in(url, CONSENT) == name
