"""What [http] means beyond loopback, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from sipua.http_settings import HttpSettings

MEANINGS = [
    ({}, True, ""),
    ({"bind": "::1"}, True, ""),
    ({"metrics": "token"}, False, ""),
    ({"bind": "0.0.0.0"}, False, "http.tokens_file is not set: only /healthz"),
    ({"bind": "0.0.0.0", "metrics": "open"}, True, "http.tokens_file is not set"),
    ({"bind": "192.0.2.1", "tokens_file": "/etc/sipua/tokens"}, False, "unencrypted unless a proxy with TLS"),
    ({"bind": "127.0.0.1", "tokens_file": "/etc/sipua/tokens"}, True, ""),
]


@pytest.mark.parametrize(("values", "is_open", "warning"), MEANINGS)
def test_what_is_open_and_what_is_said_of_it(values: dict[str, Any], is_open: bool, warning: str) -> None:
    settings = HttpSettings.model_validate(values)
    assert settings.metrics_are_open is is_open
    assert [warning in text for text in settings.warnings()] == ([True] if warning else [])


FAULTS = [
    {"public_url": "voice.example.com"},
    {"public_url": "https://voice.example.com/"},
    {"public_url": "javascript:alert(1)"},
    {"path_prefix": "functions"},
    {"path_prefix": "/functions/"},
    {"trusted_proxies": ["everybody"]},
    {"trusted_proxies": ["192.0.2.1/24"]},  # bits beyond the network
    {"rate_per_s": 0},
    {"metrics": "closed"},
    {"tokens": "x"},
]


@pytest.mark.parametrize("values", FAULTS)
def test_what_is_refused(values: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        HttpSettings.model_validate(values)
