"""The table [http] of the settings."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, IPvAnyAddress

from sipua.media_settings import Port
from sipua.section import Section


def _network(text: str) -> str:
    try:
        ip_network(text)
    except ValueError as error:
        raise ValueError(f"{error}; allowed: addresses and networks such as 192.0.2.0/24") from None
    return text


Network = Annotated[str, AfterValidator(_network)]


class HttpSettings(Section):
    """Health, metrics, and what operators and other programs ask (docs/http.md)."""

    bind: IPvAnyAddress = Field(default="127.0.0.1", validate_default=True)
    """Address of the HTTP server. It speaks no TLS: beyond this machine put a proxy before it."""
    port: Port = 8080
    """TCP port; 0 = any free one, told in the ready line."""
    tokens_file: str = ""
    """Who may ask what (`sipua token add`); empty = only /healthz, /readyz, /metrics and signed webhooks are there."""
    metrics: Literal["auto", "open", "token"] = "auto"
    """Who may read /metrics and the parts of /readyz: open = all, token = role read; auto = open on loopback only."""
    public_url: str = Field(
        default="", pattern=r"^(https?://[A-Za-z0-9.:\[\]_-]+(/[A-Za-z0-9._~/-]*[A-Za-z0-9._~-])?)?$"
    )
    """How others reach this server, such as https://voice.example.com: for links and webhook signatures."""
    path_prefix: str = Field(default="", pattern=r"^((/[A-Za-z0-9._~-]+)+)?$")
    """Webhooks and the routes of the former function are there too, such as /functions/v1."""
    trusted_proxies: list[Network] = Field(default=[], max_length=64)
    """Proxies whose X-Forwarded-For and X-Forwarded-Proto count: addresses or networks."""
    rate_per_s: Annotated[float, Field(gt=0, le=100_000)] = 50.0
    """Requests a second of one token, and of one address; four times as many at once. Beyond: 429."""

    @property
    def metrics_are_open(self) -> bool:
        return self.metrics == "open" or (self.metrics == "auto" and self.bind.is_loopback)

    def warnings(self) -> list[str]:
        """What works, and may not be what is meant."""
        if self.bind.is_loopback:
            return []
        if not self.tokens_file:
            return [
                f"http.bind = {self.bind} is reachable from elsewhere and http.tokens_file is not set: only /healthz, "
                "/readyz and signed webhooks are there (`sipua token add` makes a file of tokens)"
            ]
        return [
            f"http.bind = {self.bind}: tokens and calls cross the network unencrypted unless a proxy with TLS "
            "stands before it (docs/http.md)"
        ]
