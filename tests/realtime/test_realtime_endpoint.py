"""URL and key: what is derived, what is refused, and that no secret shows."""

from __future__ import annotations

from typing import Any

import pytest

from sipua.errors import ConfigError
from sipua.realtime.backend import OpenAIBackend
from sipua.realtime.endpoint import auth_headers, is_in_the_clear, realtime_url, service_of
from sipua.realtime.names import Service


@pytest.mark.parametrize(
    ("base_url", "url"),
    [
        ("https://api.openai.com/v1", "wss://api.openai.com/v1/realtime?model=m"),
        ("http://127.0.0.1:8000/v1/", "ws://127.0.0.1:8000/v1/realtime?model=m"),
        ("ws://127.0.0.1:8000/v1", "ws://127.0.0.1:8000/v1/realtime?model=m"),
        ("wss://host/v1/realtime", "wss://host/v1/realtime?model=m"),
        ("wss://r.openai.azure.com/openai/v1", "wss://r.openai.azure.com/openai/v1/realtime?model=m"),
        ("https://r.openai.azure.com/", "wss://r.openai.azure.com/openai/v1/realtime?model=m"),
        ("ws://[::1]:9", "ws://[::1]:9/realtime?model=m"),
        ("https://host/v1?tenant=a&model=old", "wss://host/v1/realtime?tenant=a&model=m"),
    ],
)
def test_url(base_url: str, url: str) -> None:
    assert realtime_url(base_url, "m")[0] == url


@pytest.mark.parametrize(
    ("base_url", "service"),
    [
        ("https://api.openai.com/v1", Service.OPENAI),
        ("https://eu.api.openai.com/v1", Service.OPENAI),
        ("https://r.openai.azure.com", Service.AZURE),
        ("https://r.cognitiveservices.azure.com/openai/v1", Service.AZURE),
        ("https://openai.azure.com.example.org/v1", Service.COMPATIBLE),
        ("https://notapi.openai.com/v1", Service.COMPATIBLE),
        ("ws://127.0.0.1:9/v1", Service.COMPATIBLE),
        ("http://[::1/v1", Service.COMPATIBLE),
    ],
)
def test_the_host_says_whose_service_it_is(base_url: str, service: Service) -> None:
    assert service_of(base_url) is service


@pytest.mark.parametrize(
    "base_url",
    [
        "https://r.openai.azure.com/openai/realtime?api-version=2025-04-01-preview&deployment=d",
        "https://r.openai.azure.com/openai/v1/realtime?api-version=2025-04-01-preview",
        "https://r.openai.azure.com/v1",
    ],
)
def test_azures_preview_interface_is_refused(base_url: str) -> None:
    with pytest.raises(ConfigError, match=r"preview interface; allowed is https://RESOURCE"):
        realtime_url(base_url, "m")


@pytest.mark.parametrize(
    ("base_url", "options", "headers"),
    [
        ("https://api.openai.com/v1", {}, {"Authorization": "Bearer k"}),
        ("https://r.openai.azure.com", {}, {"api-key": "k"}),
        ("https://voice.example.org/v1", {}, {"Authorization": "Bearer k"}),
        ("https://voice.example.org/v1", {"service": Service.AZURE}, {"api-key": "k"}),
        ("https://voice.example.org/v1", {"header_name": "X-Key"}, {"X-Key": "k"}),
        ("https://r.openai.azure.com", {"header_name": "authorization"}, {"authorization": "Bearer k"}),
    ],
)
def test_each_service_has_its_header(base_url: str, options: dict[str, Any], headers: dict[str, str]) -> None:
    assert OpenAIBackend(base_url, "k", **options).endpoint("m").headers == headers


def test_a_private_host_may_be_azure() -> None:
    backend = OpenAIBackend("https://voice.example.org", "k", service=Service.AZURE)
    assert backend.endpoint("ours").url == "wss://voice.example.org/openai/v1/realtime?model=ours"


def test_model_is_quoted_and_host_has_its_port() -> None:
    url, host = realtime_url("http://127.0.0.1:80/v1", "my model&x")
    assert url.endswith("?model=my+model%26x")
    assert host == "127.0.0.1:80"


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "api.openai.com/v1",
        "ftp://host/v1",
        "http:///v1",
        "http://host:99999/v1",
        "http://host:x/v1",
        "http://[::1/v1",
        "http://host/v1#x",
        "http://ho st/v1",
        "https://user:secret@host/v1",
    ],
)
def test_bad_url_is_a_config_error(base_url: str) -> None:
    with pytest.raises(ConfigError, match=r"OPENAI_BASE_URL: .*allowed is http") as caught:
        OpenAIBackend(base_url, "sk-key")
    assert "secret" not in str(caught.value)


def test_a_bad_url_is_shown_as_it_was_written() -> None:
    with pytest.raises(ConfigError, match=r"OPENAI_BASE_URL: '127\.0\.0\.1:9090' is not a URL"):
        OpenAIBackend("127.0.0.1:9090", "sk-key")


def test_headers() -> None:
    assert auth_headers("sk-1") == {"Authorization": "Bearer sk-1"}
    azure = auth_headers("k", header_name="api-key", scheme="", extra={"X-A": "b"})
    assert azure == {"X-A": "b", "api-key": "k"}
    assert auth_headers(None) == {}


@pytest.mark.parametrize("key", ["", "sk 1", "sk-1\n", "sk-é"])
def test_bad_key_is_a_config_error_that_does_not_show_it(key: str) -> None:
    with pytest.raises(ConfigError, match=r"^OPENAI_API_KEY: ") as caught:
        auth_headers(key)
    assert not key or key not in str(caught.value)


def test_the_key_is_in_no_repr() -> None:
    backend = OpenAIBackend(api_key="sk-secret")
    assert "sk-secret" not in repr(backend) + repr(backend.endpoint("m"))
    assert backend.endpoint("m").headers["Authorization"] == "Bearer sk-secret"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://api.openai.com/v1", False),
        ("wss://voice.example.com/v1", False),
        ("http://127.0.0.1:8765/v1", False),
        ("ws://[::1]:8765/v1", False),
        ("http://localhost:8765/v1", False),
        ("ws://voice.example.com/v1", True),
        ("http://192.0.2.7:8080/v1", True),
    ],
)
def test_speech_in_the_clear_is_noticed(url: str, expected: bool) -> None:
    assert is_in_the_clear(url) is expected
