"""Where the dashboard's page may fetch recordings from: the bucket's own origin, which is where its links lead."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from starlette.requests import Request

from sipua.recording_settings import RecordingSettings
from sipua.recording_store import BucketStore, bucket_origin
from sipua.web.dashboard_static import Pages

BUCKETS = [
    ({"s3_region": "eu-west-1"}, "https://calls.s3.eu-west-1.amazonaws.com"),
    ({"s3_endpoint": "https://minio.example.com"}, "https://minio.example.com"),
    ({"s3_endpoint": "https://minio.example.com:9000/s3"}, "https://minio.example.com:9000"),
    ({"s3_endpoint": "http://127.0.0.1:9000", "s3_prefix": "a/b"}, "http://127.0.0.1:9000"),
]


@pytest.mark.parametrize(("values", "origin"), BUCKETS)
async def test_recordings_may_come_from_where_links_lead(
    values: dict[str, Any], origin: str, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text("not one")
    keys = {"s3_bucket": "calls", "s3_access_key_id": "AKID", "s3_secret_key_file": str(secret)}
    settings = RecordingSettings.model_validate(keys | values)
    link = urlsplit(await BucketStore(settings).link_to("2026-01-02/x.wav"))
    assert f"{link.scheme}://{link.netloc}" == bucket_origin(settings) == origin
    assert media_src(bucket_origin(settings)) == f"media-src 'self' {origin}"


def test_without_a_bucket_they_come_from_us() -> None:
    assert media_src(bucket_origin(RecordingSettings())) == "media-src 'self'"


def media_src(origin: str) -> str:
    page = Pages(origin).answer("index.html", Request({"type": "http", "method": "GET", "headers": []}))
    (found,) = (
        each for each in page.headers["Content-Security-Policy"].split("; ") if each.startswith("media-src")
    )
    return found
