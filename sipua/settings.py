"""What can be set: the tables of ``conf/sipua.toml``, frozen. ``sipua.settings_file`` reads them.

The docstring of a field is its line in docs/settings.md.
"""

from __future__ import annotations

import contextlib
import os
import socket
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from pydantic import (
    Field,
    IPvAnyAddress,
    SecretStr,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sipua.alert_settings import AlertSettings
from sipua.callback_settings import CallbackSettings
from sipua.currency import CurrencySettings
from sipua.dashboard_settings import DashboardSettings
from sipua.http_settings import HttpSettings
from sipua.ingest_settings import IngestSettings
from sipua.media_settings import KeySettings, Port, RtpSettings
from sipua.memory import MemorySettings
from sipua.openai_webhook_settings import OpenAIWebhookSettings
from sipua.outbound_settings import OutboundSettings
from sipua.realtime.endpoint import service_of
from sipua.realtime.names import Service
from sipua.realtime_settings import RealtimeSettings
from sipua.recording_settings import ConsentSettings, RecordingSettings
from sipua.retention_settings import RetentionSettings
from sipua.section import Section, ZoneName
from sipua.spend import SpendSettings
from sipua.tool_settings import ToolSettings, TransferSettings
from sipua.tracing_settings import TracingSettings
from sipua.turn_settings import TurnSettings
from sipua.twilio_settings import TwilioSettings
from sipua.whatsapp import WhatsAppSettings

PREFIX = "SIPUA_"


class SipSettings(Section):
    """Signalling."""

    bind: IPvAnyAddress = Field(default="127.0.0.1", validate_default=True)
    """Address that SIP listens on; a public one is needed for a real trunk."""
    port: Port = 5060
    """UDP port; 0 = any free one, told in the ready line."""
    tls_port: Port = 5061
    """TCP port of the trunks with transport = tls; 0 = any free one."""
    tls_certificate: str = ""
    """Our certificate with its chain (PEM), for trunks that connect to us by TLS; empty = none can."""
    tls_key: str = ""
    """Its private key (PEM)."""
    stun_server: str = Field(default="", pattern=r"^([A-Za-z0-9._-]+(:[0-9]{1,5})?)?$")
    """host or host:port that tells our address (public_ip = auto) until a trunk itself does; empty = none."""
    contact_user: str = Field(default="sipua", pattern=r"^[A-Za-z0-9._+-]{1,64}$")
    """User part of our Contact."""
    max_calls: int = Field(default=1024, ge=1, le=1024)
    """Call slots; the build's limit (PyPI's wheel: 4) if that is lower. Of 8 or more the last one says 503."""
    log_level: int = Field(default=0, ge=0, le=5)
    """1 to 5: pjsip's own log in STATE_DIR/pjsip.log; 5 holds whole SIP messages, SRTP keys in them; 0600."""


class DatabaseSettings(Section):
    """Where the calls are kept."""

    dir: str = ""
    """Data of the embedded PostgreSQL, used when DATABASE_URL is unset; empty = STATE_DIR/postgres."""
    url_file: str = ""
    """A file that holds the DSN, instead of DATABASE_URL."""
    migrate_url: SecretStr | None = None
    """Login that may change the schema, past a pooler; by environment only; unset = DATABASE_URL (docs/database.md)."""
    queue_limit: int = Field(default=10_000, ge=100, le=1_000_000)
    """Facts that may wait for a slow database."""


class LedgerSettings(Section):
    """Rows on their way to the database."""

    spool_dir: str = ""
    """Rows wait here, safe from a crash, until the database has them; empty = STATE_DIR/spool."""
    spool_max_mb: int = Field(default=1024, ge=0, le=1_000_000)
    """The most that waits; beyond it database.queue_limit facts more, in memory. 0 = nothing is kept on disk."""
    project_id: str = Field(default="", max_length=128)
    """What stands in voice_calls.project_id of every call, for readers of several agents; empty = NULL."""


class DrillSettings(Section):
    """`sipua drill run --live`."""

    test_number: str = Field(default="", pattern=r"^(\+[1-9][0-9]{6,14})?$")
    """Who is called on the configured trunks: a number of your own (E.164 with +) that may ring."""


class LogSettings(Section):
    """What is said on stderr."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is said."""
    format: Literal["console", "json"] = "console"
    """json = one object a line; console is for people."""


class Settings(BaseSettings):
    """All of it. ``node``/``worker`` name this process on its rows, logs and metrics."""

    model_config = SettingsConfigDict(
        extra="forbid",
        frozen=True,
        use_attribute_docstrings=True,
        env_prefix=PREFIX,
        env_nested_delimiter="__",
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over what ``load_settings`` read from the file, table by table."""
        return env_settings, init_settings

    node: str = Field(default_factory=socket.gethostname, min_length=1)
    """Name of this machine on its rows, logs and metrics; default: the host name."""
    worker: int = Field(default=0, ge=0)
    """Number of this process on that machine."""
    timezone: ZoneName = ""
    """Of days that are counted and of times that are shown, such as Africa/Kigali; empty = that of the machine."""
    state_dir: str = ""
    """Recordings, control socket, embedded database; empty = /var/lib/sipua as root, else ~/.local/state/sipua."""
    sip: SipSettings = SipSettings()
    rtp: RtpSettings = RtpSettings()
    http: HttpSettings = HttpSettings()
    dashboard: DashboardSettings = DashboardSettings()
    database: DatabaseSettings = DatabaseSettings()
    ledger: LedgerSettings = LedgerSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    turns: TurnSettings = TurnSettings()
    keys: KeySettings = KeySettings()
    tools: ToolSettings = ToolSettings()
    transfer: TransferSettings = TransferSettings()
    callbacks: CallbackSettings = CallbackSettings()
    alerts: AlertSettings = AlertSettings()
    consent: ConsentSettings = ConsentSettings()
    recording: RecordingSettings = RecordingSettings()
    retention: RetentionSettings = RetentionSettings()
    memory: MemorySettings = MemorySettings()
    whatsapp: WhatsAppSettings = WhatsAppSettings()
    openai_webhook: OpenAIWebhookSettings = OpenAIWebhookSettings()
    spend: SpendSettings = SpendSettings()
    currency: CurrencySettings = CurrencySettings()
    outbound: OutboundSettings = OutboundSettings()
    ingest: IngestSettings = IngestSettings()
    twilio: TwilioSettings = TwilioSettings()
    drill: DrillSettings = DrillSettings()
    log: LogSettings = LogSettings()
    tracing: TracingSettings = TracingSettings()

    # the names without a prefix (UNPREFIXED); never in the file
    database_url: SecretStr | None = None
    """PostgreSQL to use; unset = an embedded one."""
    openai_api_key: SecretStr | None = None
    """Key of the voice service."""
    openai_base_url: str = "https://api.openai.com/v1"
    """Another server that speaks the protocol: http(s)://host[:port]/v1 or ws(s)://…"""

    def secrets(self) -> list[str]:
        """Values that no log may show."""
        kept = (self.openai_api_key, self.database_url, self.database.migrate_url)
        found = [each.get_secret_value() for each in kept if each is not None]
        with contextlib.suppress(ValueError):
            found += [unquote(password) for each in found if (password := urlsplit(each).password)]
        return found

    @property
    def zone(self) -> ZoneInfo | None:
        """None = the machine's own, as ``datetime.astimezone`` takes it."""
        return ZoneInfo(self.timezone) if self.timezone else None

    @property
    def voice_service(self) -> Service:
        """Whose names and habits count."""
        chosen = self.realtime.service
        return service_of(self.openai_base_url) if chosen == "auto" else Service(chosen)

    @property
    def rtp_bind(self) -> str:
        """The address that RTP sockets are bound to."""
        return self.rtp.bind or str(self.sip.bind)

    @property
    def state_path(self) -> Path:
        """Where recordings, the control socket and (by default) the embedded database live."""
        if self.state_dir:
            return Path(self.state_dir).expanduser().absolute()
        if os.geteuid() == 0:
            return Path("/var/lib/sipua")
        return Path(os.environ.get("XDG_STATE_HOME") or "~/.local/state").expanduser() / "sipua"

    @property
    def recordings_path(self) -> Path:
        """Where recordings are, or wait for their upload."""
        own = self.recording.dir
        return Path(own).expanduser().absolute() if own else self.state_path / "recordings"

    @property
    def spool_path(self) -> Path | None:
        """Where rows wait for the database; None: only in memory."""
        if not self.ledger.spool_max_mb:
            return None
        own = self.ledger.spool_dir
        return Path(own).expanduser().absolute() if own else self.state_path / "spool"

    @property
    def database_dir(self) -> Path:
        """The embedded server's data directory."""
        return (
            Path(self.database.dir).expanduser().absolute()
            if self.database.dir
            else self.state_path / "postgres"
        )
