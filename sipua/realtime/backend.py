"""Voice services behind one interface: what a call needs of them, and what each of them can do.

Theory: the conversation asks the capability flags, never which service it is. OpenAI's GA Realtime API and
its kin (Azure, self-hosted servers) differ by URL, header and flags only; a full-duplex service without turns or
truncation would be another `VoiceBackend`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from sipua.realtime.client import OPEN_TIMEOUT_S, RealtimeSession
from sipua.realtime.config import AudioFormat, SessionConfig, Transcription
from sipua.realtime.counters import Counters
from sipua.realtime.endpoint import (
    Endpoint,
    auth_headers,
    call_url,
    realtime_url,
    service_of,
    sideband_url,
)
from sipua.realtime.events import AudioDelta, Event
from sipua.realtime.names import Service

OPENAI_BASE_URL = "https://api.openai.com/v1"
ACCEPTED_MAX = 256  # one for each language and prompt of ours
SESSION_CAP_S = 3600.0  # OpenAI ends every session after 60 minutes


@dataclass(frozen=True, slots=True)
class Capabilities:
    """``client_truncates``: we own playback and must say how much was heard. ``formats`` always has PCM24."""

    client_truncates: bool = True
    formats: frozenset[AudioFormat] = frozenset(AudioFormat)
    session_cap_s: float | None = SESSION_CAP_S
    has_tools: bool = True


# Of a compatible server nothing is known but what its owner says: it ends no session and takes what ours takes.
CAPABILITIES = {
    Service.OPENAI: Capabilities(),
    Service.AZURE: Capabilities(),
    Service.COMPATIBLE: Capabilities(session_cap_s=None),
}
# The header that carries the key, and its scheme.
AUTHORISATION = {
    Service.OPENAI: ("Authorization", "Bearer"),
    Service.AZURE: ("api-key", ""),
    Service.COMPATIBLE: ("Authorization", "Bearer"),
}


class VoiceSession(Protocol):
    """An open session; `RealtimeSession` says what each member means."""

    on_audio: Callable[[AudioDelta], None] | None

    @property
    def config(self) -> SessionConfig: ...
    @property
    def session_id(self) -> str: ...
    @property
    def echoed(self) -> Mapping[str, Any]: ...
    @property
    def counters(self) -> Counters: ...
    @property
    def active_response_id(self) -> str | None: ...

    def append(self, audio: bytes) -> None: ...
    def commit(self) -> str: ...
    def clear(self) -> str: ...
    def response_create(
        self, instructions: str | None = None, *, options: Mapping[str, Any] | None = None
    ) -> str: ...
    def response_cancel(self, response_id: str | None = None) -> str | None: ...
    def ignore_response(self, response_id: str) -> None: ...
    def truncate(self, item_id: str, content_index: int, audio_end_ms: int) -> str: ...
    def item_create(self, item: Mapping[str, Any], previous_item_id: str | None = None) -> str: ...
    def item_delete(self, item_id: str) -> str: ...
    def function_call_output(self, call_id: str, output: str) -> str: ...
    def session_update(self, changes: Mapping[str, Any], *, required: bool = False) -> str: ...
    def events(self) -> AsyncIterator[Event]: ...
    async def close(self) -> None: ...


class VoiceBackend(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...

    async def open(
        self, config: SessionConfig, *, on_audio: Callable[[AudioDelta], None] | None = None
    ) -> VoiceSession: ...


class OpenAIBackend:
    """The GA Realtime API or a compatible server. A bad URL or key is a ConfigError at construction.

    ``service``: None = by the host. ``header_name``: "" = the service's own; only Authorization has Bearer.
    """

    def __init__(
        self,
        base_url: str = OPENAI_BASE_URL,
        api_key: str | None = None,
        *,
        service: Service | None = None,
        header_name: str = "",
        extra_headers: Mapping[str, str] | None = None,
        open_timeout_s: float = OPEN_TIMEOUT_S,
        capabilities: Capabilities | None = None,
    ) -> None:
        self._service = service or service_of(base_url)
        realtime_url(base_url, "any", service=self._service)  # refuse a bad one now, not at the first call
        self._base_url = base_url
        usual, scheme = AUTHORISATION[self._service]
        if header_name:
            scheme = "Bearer" if header_name.lower() == "authorization" else ""
        self._headers = auth_headers(
            api_key, header_name=header_name or usual, scheme=scheme, extra=extra_headers
        )
        self._open_timeout_s = open_timeout_s
        self._accepted: dict[Transcription | None, Transcription] = {}  # asked → what was taken instead
        self._capabilities = capabilities or CAPABILITIES[self._service]

    @property
    def name(self) -> str:
        return self._service.value

    @property
    def capabilities(self) -> Capabilities:
        return self._capabilities

    def endpoint(self, model: str) -> Endpoint:
        url, host = realtime_url(self._base_url, model, service=self._service)
        return Endpoint(url, host, self._headers)

    def about_call(self, call_id: str, action: str) -> Endpoint:
        """Where a call that the service terminates is accepted, rejected, referred, hung up."""
        session = self.endpoint("any")
        return replace(session, url=call_url(session.url, call_id, action))

    async def join(self, call_id: str, config: SessionConfig) -> RealtimeSession:
        """The sideband of such a call: its session as it stands, of which no sound comes; errors as ``open``."""
        session = self.endpoint("any")
        joined = RealtimeSession(
            replace(session, url=sideband_url(session.url, call_id)),
            config,
            on_audio=lambda delta: None,
            open_timeout_s=self._open_timeout_s,
            joins=True,
        )
        await joined.open()
        return joined

    async def open(
        self, config: SessionConfig, *, on_audio: Callable[[AudioDelta], None] | None = None
    ) -> RealtimeSession:
        """A session that is configured and ready; errors as `RealtimeSession.open`.

        A transcription hint that the service refused once is not tried again.
        """
        asked = config.transcription
        if asked in self._accepted:
            config = replace(config, transcription=self._accepted[asked])
        session = RealtimeSession(
            self.endpoint(config.model),
            config,
            on_audio=on_audio,
            open_timeout_s=self._open_timeout_s,
        )
        await session.open()
        got = session.config.transcription
        if asked is not None and got is not None and got != asked and len(self._accepted) < ACCEPTED_MAX:
            self._accepted[asked] = got
        return session
