"""Where the voice service is and how we show who we are: a URL and headers, checked before use.

Theory: operators know one base URL (``OPENAI_BASE_URL``, ``https://host/v1``), the same that the HTTP API
uses; the WebSocket URL is derived from it. The model (at Azure: the deployment) is a query parameter. Keys stand only
in headers: never in a URL, an error message or a repr.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from urllib.parse import SplitResult, parse_qsl, quote, urlencode, urlsplit, urlunsplit

from sipua.errors import ConfigError
from sipua.realtime.names import Service

SCHEMES = {"http": "ws", "https": "wss", "ws": "ws", "wss": "wss"}
SHAPE = "http(s)://host[:port]/v1 or ws(s)://host[:port]/v1"
AZURE_PATH = "/openai/v1"
AZURE_SHAPE = f"https://RESOURCE.openai.azure.com{AZURE_PATH}"
OPENAI_HOSTS = ("api.openai.com",)  # and what lies below: eu.api.openai.com …
AZURE_HOSTS = ("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com", "openai.azure.us")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """``host`` is ``host:port`` for messages; ``headers`` are secret."""

    url: str
    host: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)


def service_of(base_url: str) -> Service:
    """Whose names and habits are meant, by the host."""
    try:
        host = urlsplit(base_url.strip()).hostname or ""
    except ValueError:
        return Service.COMPATIBLE
    for hosts, service in ((OPENAI_HOSTS, Service.OPENAI), (AZURE_HOSTS, Service.AZURE)):
        if any(host == each or host.endswith("." + each) for each in hosts):
            return service
    return Service.COMPATIBLE


def realtime_url(
    base_url: str, model: str, *, setting: str = "OPENAI_BASE_URL", service: Service | None = None
) -> tuple[str, str]:
    """``(url, host)`` of the WebSocket for ``model``; ConfigError names ``setting`` and what is allowed.

    ``service``: None = by the host.
    """
    try:
        parts = urlsplit(base_url.strip())
        host, _ = parts.hostname, parts.port  # .port raises on a bad one
    except ValueError as exc:
        raise ConfigError(f"{setting}: {exc}; allowed is {SHAPE}") from None
    if parts.username is not None or parts.password is not None:
        raise ConfigError(
            f"{setting}: holds a user name or password; allowed is {SHAPE}, keys go into headers"
        )
    shown = base_url.strip().partition("?")[0].partition("#")[0]  # as it was written, less what may be secret
    if parts.scheme not in SCHEMES or not host or parts.fragment:
        raise ConfigError(f"{setting}: {shown!r} is not a URL of a voice service; allowed is {SHAPE}")
    if any(character.isspace() or not character.isprintable() for character in base_url.strip()):
        raise ConfigError(f"{setting}: {shown!r} holds white space; allowed is {SHAPE}")
    path = parts.path.rstrip("/")
    if Service.AZURE in (service, service_of(base_url)):
        path = path or AZURE_PATH
    if service_of(base_url) is Service.AZURE and (AZURE_PATH not in path or "api-version" in parts.query):
        raise ConfigError(f"{setting}: {shown!r} is Azure's preview interface; allowed is {AZURE_SHAPE}")
    if not path.endswith("/realtime"):
        path += "/realtime"
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "model"]
    url = SplitResult(SCHEMES[parts.scheme], parts.netloc, path, urlencode([*query, ("model", model)]), "")
    return urlunsplit(url), parts.netloc


def sideband_url(url: str, call_id: str) -> str:
    """Of a WebSocket that joins a call, from that of a session (``realtime_url``)."""
    parts = urlsplit(url)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "model"]
    return urlunsplit(parts._replace(query=urlencode([*query, ("call_id", call_id)])))


def call_url(url: str, call_id: str, action: str) -> str:
    """Of a request about a call, from that of a session: ``…/realtime/calls/CALL/accept``."""
    parts = urlsplit(url)
    query = [pair for pair in parse_qsl(parts.query, keep_blank_values=True) if pair[0] != "model"]
    scheme = {"ws": "http", "wss": "https"}[parts.scheme]
    path = f"{parts.path}/calls/{quote(call_id, safe='')}/{action}"
    return urlunsplit(parts._replace(scheme=scheme, path=path, query=urlencode(query)))


def is_in_the_clear(base_url: str) -> bool:
    """Whether key and speech would cross a network unencrypted: no TLS, and not to this machine."""
    parts = urlsplit(base_url.strip())
    host = parts.hostname or ""
    try:
        local = ip_address(host).is_loopback
    except ValueError:
        local = host == "localhost"
    return parts.scheme in ("http", "ws") and not local


def auth_headers(
    api_key: str | None,
    *,
    header_name: str = "Authorization",
    scheme: str = "Bearer",
    extra: Mapping[str, str] | None = None,
    setting: str = "OPENAI_API_KEY",
) -> dict[str, str]:
    """Headers that carry the key, if there is one; ``scheme=""`` sends it bare (Azure ``api-key``)."""
    headers = dict(extra or {})
    if api_key is None:
        return headers
    if not api_key or not api_key.isascii() or not api_key.isprintable() or " " in api_key:
        raise ConfigError(f"{setting}: empty, or holds white space or characters outside ASCII")
    return headers | {header_name: f"{scheme} {api_key}" if scheme else api_key}
