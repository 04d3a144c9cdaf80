"""The application's settings: ``conf/sipua.toml``, overridden by ``SIPUA_…`` names, read once and frozen.

Order: environment, then the file, then the defaults below. Nothing else in the package reads the environment.
An unknown key or name, or a bad value, is a ConfigError that names file (or environment name), key, value and
what is allowed. The docstring of a field is its line in docs/settings.md.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import (
    BaseModel,
    Field,
    IPvAnyAddress,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from sipua.errors import ConfigError
from sipua.media_settings import KeySettings, Port, RtpSettings
from sipua.memory import MemorySettings
from sipua.realtime.endpoint import realtime_url, service_of
from sipua.realtime.names import Service
from sipua.realtime_settings import RealtimeSettings, faults
from sipua.recording_settings import ConsentSettings, RecordingSettings
from sipua.section import Section
from sipua.spend import SpendSettings
from sipua.tool_settings import ToolSettings
from sipua.turn_settings import TurnSettings
from sipua.turn_settings import fault as turn_fault
from sipua.whatsapp import WhatsAppSettings

PREFIX = "SIPUA_"
CONF_NAME = "SIPUA_CONF"  # where the folder is; not a setting of its own
CONF_DEFAULT = Path("conf")
# Names that other tools share and that therefore have no prefix.
UNPREFIXED = ("DATABASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL")


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


class HttpSettings(Section):
    """Health and metrics."""

    bind: IPvAnyAddress = Field(default="127.0.0.1", validate_default=True)
    """Address of /healthz, /readyz and /metrics."""
    port: Port = 8080
    """TCP port; 0 = any free one, told in the ready line."""


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
    timezone: str = ""
    """For the time that callers are told, such as Africa/Kigali; empty = that of the machine."""
    state_dir: str = ""
    """Recordings, control socket, embedded database; empty = /var/lib/sipua as root, else ~/.local/state/sipua."""
    sip: SipSettings = SipSettings()
    rtp: RtpSettings = RtpSettings()
    http: HttpSettings = HttpSettings()
    database: DatabaseSettings = DatabaseSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    turns: TurnSettings = TurnSettings()
    keys: KeySettings = KeySettings()
    tools: ToolSettings = ToolSettings()
    consent: ConsentSettings = ConsentSettings()
    recording: RecordingSettings = RecordingSettings()
    memory: MemorySettings = MemorySettings()
    whatsapp: WhatsAppSettings = WhatsAppSettings()
    spend: SpendSettings = SpendSettings()
    drill: DrillSettings = DrillSettings()
    log: LogSettings = LogSettings()

    # the unprefixed names; never in the file
    database_url: SecretStr | None = None
    """PostgreSQL to use; unset = an embedded one."""
    openai_api_key: SecretStr | None = None
    """Key of the voice service."""
    openai_base_url: str = "https://api.openai.com/v1"
    """Another server that speaks the protocol: http(s)://host[:port]/v1 or ws(s)://…"""

    @field_validator("timezone")
    @classmethod
    def _known_zone(cls, value: str) -> str:
        if value:
            try:
                ZoneInfo(value)
            except (ZoneInfoNotFoundError, ValueError):
                raise ValueError("there is no such time zone; allowed: names such as Africa/Kigali") from None
        return value

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
    def database_dir(self) -> Path:
        """The embedded server's data directory."""
        return (
            Path(self.database.dir).expanduser().absolute()
            if self.database.dir
            else self.state_path / "postgres"
        )


def load_settings(conf_dir: Path) -> Settings:
    """Reads ``conf_dir/sipua.toml`` (it may be absent) and the environment. Raises ConfigError."""
    file = conf_dir / "sipua.toml"
    if conf_dir.is_file():
        raise ConfigError(f"{conf_dir}: is a file; name the folder that holds sipua.toml and trunks/")
    if conf_dir != CONF_DEFAULT and not conf_dir.is_dir():
        raise ConfigError(f"{conf_dir}: there is no such folder; `sipua init {conf_dir}` writes one")
    _check_environment()
    data: dict[str, Any] = _file_values(file) if file.exists() else {}
    data |= {name.lower(): text for name in UNPREFIXED if (text := os.environ.get(name, "").strip())}
    try:
        settings = Settings(**data)
    except ValidationError as error:
        raise ConfigError(describe(error, file=file, prefix=PREFIX)) from None
    realtime_url(
        settings.openai_base_url, "any", setting="environment OPENAI_BASE_URL", service=settings.voice_service
    )
    if unknown := faults(settings.realtime, settings.voice_service):
        raise ConfigError("\n".join(_told(key, why, settings, file) for key, why in unknown))
    if text := turn_fault(settings.turns, settings.realtime.vad):
        raise ConfigError(f"{_origin(['turns', 'pause_ms'], file, PREFIX)}: {text}")
    return _with_secret_files(settings, file)


def _told(key: str, why: str, settings: Settings, file: Path) -> str:
    where = _origin(["realtime", key], file, PREFIX)
    return f"{where}: realtime.{key} = {getattr(settings.realtime, key)!r}: {why}"


def describe(error: ValidationError, *, file: Path, prefix: str | None) -> str:
    """One line per fault: file or environment name, key, value, what is allowed."""
    lines = []
    for fault in error.errors():
        keys = [str(part) for part in fault["loc"]]
        where, key = _origin(keys, file, prefix), ".".join(keys)
        if fault["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown key {key!r}{_siblings(keys, prefix)}")
        elif fault["type"] == "missing":
            lines.append(f"{where}: the key {key!r} is missing")
        else:
            # a fault of a whole table names its values itself; people paste the secret where its place belongs
            hidden = isinstance(fault["input"], Mapping) or any("password" in part for part in keys)
            value = "" if hidden else f" = {fault['input']!r}"
            lines.append(f"{where}: {key}{value}: {fault['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def _origin(keys: list[str], file: Path, prefix: str | None) -> str:
    """Where the value came from: environment names of the key or of its table, else the file."""
    if prefix is None:
        return str(file)
    name = prefix + "__".join(keys).upper()
    given = sorted(each for each in os.environ if each == name or each.startswith(name + "__"))
    return f"environment {', '.join(given)}" if given else str(file)


def _siblings(keys: list[str], prefix: str | None) -> str:
    if prefix is None:
        return ""
    model: type[BaseModel] = Settings
    for key in keys[:-1]:
        annotation = model.model_fields[key].annotation
        assert isinstance(annotation, type)  # only tables have keys of their own
        model = annotation
    return f"; allowed: {', '.join(key for key in model.model_fields if key.upper() not in UNPREFIXED)}"


def environment_names(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> list[str]:
    """Every ``SIPUA_…`` name that means something, in the order of the file."""
    names: list[str] = []
    for key, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            names += environment_names(field.annotation, f"{prefix}{key.upper()}__")
        elif key.upper() not in UNPREFIXED:
            names.append(prefix + key.upper())
    return names


def _check_environment() -> None:
    """A ``SIPUA_…`` name that means nothing is an error; pydantic-settings would ignore it."""
    known = environment_names()
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name != CONF_NAME and name not in known:
            table = name.upper().rpartition("__")[0]
            near = get_close_matches(name.upper(), known, cutoff=0.8)
            near += [
                each for each in known if table and each.rpartition("__")[0] == table and each not in near
            ]
            raise ConfigError(f"environment {name}: unknown name; allowed: {', '.join(near or known)}")


def read_toml(file: Path) -> dict[str, Any]:
    """A TOML file, or a ConfigError that names it and the place of the fault."""
    try:
        return tomllib.loads(file.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{file}: cannot be read: {error.reason} at byte {error.start}") from None


def _file_values(file: Path) -> dict[str, Any]:
    data = read_toml(file)
    for key in data:
        if key.startswith("_"):  # BaseSettings would take it for an option of its own
            raise ConfigError(f"{file}: unknown key {key!r}{_siblings([key], PREFIX)}")
    for name in UNPREFIXED:
        if name.lower() in data:
            raise ConfigError(
                f"{file}: {name.lower()} does not belong in the file; set the environment name {name}"
            )
    if "migrate_url" in (data.get("database") or {}):
        name = f"{PREFIX}DATABASE__MIGRATE_URL"
        raise ConfigError(
            f"{file}: database.migrate_url does not belong in the file; set the environment name {name}"
        )
    return data


def _with_secret_files(settings: Settings, file: Path) -> Settings:
    """The secrets that a file holds. A reference is not shown: people paste the secret itself there."""
    changes: dict[str, SecretStr] = {}
    for key, table, name in (
        ("openai_api_key", "realtime", "api_key_file"),
        ("database_url", "database", "url_file"),
    ):
        reference = getattr(getattr(settings, table), name)
        if not reference or getattr(settings, key) is not None:
            continue
        where = f"{_origin([table, name], file, PREFIX)}: {table}.{name}"
        changes[key] = _secret_file(where, reference)
    return settings.model_copy(update=changes) if changes else settings


def read_secret(where: str, name: str, file: str) -> SecretStr:
    """The secret in the environment name, or in the file; ``where`` is the key for messages. Raises ConfigError."""
    if file:
        return _secret_file(where, file)
    text = os.environ.get(name, "").strip()
    if not text:
        raise ConfigError(f"{where}: the environment name that it gives is not set")
    return SecretStr(text)


def _secret_file(where: str, file: str) -> SecretStr:
    try:
        text = Path(file).expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"{where}: the file that it names cannot be read: {why}") from None
    if not text:
        raise ConfigError(f"{where}: the file that it names is empty")
    return SecretStr(text)
