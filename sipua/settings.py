"""The application's settings: ``conf/sipua.toml``, overridden by ``SIPUA_…`` names, read once and frozen.

Order: environment, then the file, then the defaults below. Nothing else in the package reads the environment.
An unknown key or name, or a bad value, is a ConfigError that names file (or environment name), key, value and
what is allowed: pydantic-settings ignores unknown environment names, so they are checked here.
"""

from __future__ import annotations

import os
import socket
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    IPvAnyAddress,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from sipua.errors import ConfigError
from sipua.realtime.config import VOICES

PREFIX = "SIPUA_"
CONF_NAME = "SIPUA_CONF"  # where the folder is; not a setting of its own
# Names that other tools share and that therefore have no prefix.
UNPREFIXED = ("DATABASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL")

Port = Annotated[int, Field(ge=0, le=65535)]
Milliseconds = Annotated[int, Field(ge=0, le=60_000)]


class Section(BaseModel):
    """A table of the file: frozen, unknown keys refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SipSettings(Section):
    """Signalling. Port 0 is any free one, told in the ready line."""

    bind: IPvAnyAddress = Field(default="127.0.0.1", validate_default=True)
    port: Port = 5060
    contact_user: str = Field(default="sipua", pattern=r"^[A-Za-z0-9._+-]{1,64}$")
    log_level: int = Field(default=0, ge=0, le=5)  # of pjsip's own log, STATE_DIR/pjsip.log


class RtpSettings(Section):
    """Media. ``bind`` empty means the address of SIP; both ports 0 means any free pair."""

    bind: str = ""
    port_min: Port = 16000  # below Linux's ephemeral range (32768…), which would steal ports
    port_max: Port = 16999

    @model_validator(mode="after")
    def _ordered(self) -> RtpSettings:
        if (self.port_min == 0) != (self.port_max == 0):
            raise ValueError("port_min and port_max are both 0 (any free port) or neither")
        if self.port_max < self.port_min or (self.port_min and self.port_max - self.port_min < 1):
            raise ValueError(
                f"port_max {self.port_max} leaves no RTP/RTCP pair above port_min {self.port_min}"
            )
        return self


class HttpSettings(Section):
    """Health and metrics."""

    bind: IPvAnyAddress = Field(default="127.0.0.1", validate_default=True)
    port: Port = 8080


class DatabaseSettings(Section):
    """``dir`` is where the embedded PostgreSQL keeps its data; unused when DATABASE_URL (or url_file) is set."""

    dir: str = ""
    url_file: str = ""
    queue_limit: int = Field(default=10_000, ge=100, le=1_000_000)


class VadSettings(Section):
    """Who decides that the caller has finished (RealtimeSession.audio.input.turn_detection)."""

    kind: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: float = Field(default=0.5, ge=0.0, le=1.0)
    prefix_padding_ms: Milliseconds = 300
    silence_duration_ms: Milliseconds = 500
    eagerness: Literal["auto", "low", "medium", "high"] = "auto"


class RealtimeSettings(Section):
    """The voice service. ``audio`` "match" passes the call's G.711 through; "pcm24" converts to 24 kHz PCM."""

    model: str = Field(default="gpt-realtime-2.1", min_length=1)
    voice: str = "marin"
    audio: Literal["match", "pcm24"] = "match"
    instructions: str = "You are a friendly telephone assistant. Answer briefly and in the caller's language."
    greeting: str = "Greet the caller in one short sentence and ask how you can help."
    transcription_model: str = "gpt-transcribe"
    transcription_language: str = Field(default="", pattern=r"^([a-z]{2})?$")
    noise_reduction: Literal["", "near_field", "far_field"] = ""
    speed: float = Field(default=1.0, ge=0.25, le=1.5)
    max_output_tokens: int = Field(default=0, ge=0, le=4096)  # 0: no limit ("inf")
    vad: VadSettings = VadSettings()
    api_key_file: str = ""
    connect_timeout_s: float = Field(default=4.0, gt=0, le=30)

    @field_validator("voice")
    @classmethod
    def _known_voice(cls, value: str) -> str:
        if value not in VOICES and not value.startswith("voice_"):
            raise ValueError(f"there is no such voice; allowed: {', '.join(VOICES)} or a custom voice_… id")
        return value


class LogSettings(Section):
    """``format`` "json" writes one object a line to stderr, "console" is for people."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["console", "json"] = "console"


class Settings(BaseSettings):
    """All of it. ``node``/``worker`` name this process on its rows, logs and metrics."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=False
    )

    node: str = Field(default_factory=socket.gethostname, min_length=1)
    worker: int = Field(default=0, ge=0)
    state_dir: str = ""
    sip: SipSettings = SipSettings()
    rtp: RtpSettings = RtpSettings()
    http: HttpSettings = HttpSettings()
    database: DatabaseSettings = DatabaseSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    log: LogSettings = LogSettings()

    # the unprefixed names; never in the file
    database_url: SecretStr | None = None
    openai_api_key: SecretStr | None = None
    openai_base_url: str = "https://api.openai.com/v1"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return init_settings, env_settings, TomlConfigSettingsSource(settings_cls, toml_file=_toml_path.path)

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
    def database_dir(self) -> Path:
        """The embedded server's data directory."""
        return (
            Path(self.database.dir).expanduser().absolute()
            if self.database.dir
            else self.state_path / "postgres"
        )


class _TomlPath:
    """Which file the TOML source reads; set for the duration of one load_settings call."""

    path: Path | None = None


_toml_path = _TomlPath()


def load_settings(conf_dir: Path) -> Settings:
    """Reads ``conf_dir/sipua.toml`` (it may be absent) and the environment. Raises ConfigError."""
    file = conf_dir / "sipua.toml"
    _check_environment()
    if file.exists():
        _check_toml(file)
    outside: dict[str, Any] = {
        name.lower(): os.environ[name] for name in UNPREFIXED if os.environ.get(name, "").strip()
    }
    _toml_path.path = file if file.exists() else None
    try:
        settings = Settings(**outside)
    except ValidationError as error:
        raise ConfigError(describe(error, file=file, prefix=PREFIX)) from None
    finally:
        _toml_path.path = None
    settings = _with_secret_files(settings, file)
    _check_base_url(settings.openai_base_url)
    return settings


def describe(error: ValidationError, *, file: Path, prefix: str | None) -> str:
    """One line per fault: file or environment name, key, value, what is allowed. Secrets are not shown."""
    lines = []
    for fault in error.errors():
        keys = [str(part) for part in fault["loc"]]
        name = (prefix or "") + "__".join(keys).upper()
        where = str(file)
        if prefix is not None and name in os.environ:
            where = f"environment {name}"
        elif keys and keys[0].upper() in UNPREFIXED:
            where = f"environment {keys[0].upper()}"
        secret = any(word in keys[-1] for word in ("key", "password", "url")) if keys else False
        value = "***" if secret else repr(fault["input"])
        if fault["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown key {'.'.join(keys)!r}{_siblings(keys, prefix)}")
        else:
            message = fault["msg"].removeprefix("Value error, ")
            lines.append(f"{where}: {'.'.join(keys) or 'the file'} = {value}: {message}")
    return "\n".join(lines)


def _siblings(keys: list[str], prefix: str | None) -> str:
    if prefix is None:
        return ""
    model: type[BaseModel] = Settings
    for key in keys[:-1]:
        field = model.model_fields.get(key)
        annotation = field.annotation if field is not None else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return ""
        model = annotation
    names = [name for name in model.model_fields if name.upper() not in UNPREFIXED]
    return f"; allowed: {', '.join(names)}"


def environment_names(model: type[BaseModel] = Settings, prefix: str = PREFIX) -> set[str]:
    """Every ``SIPUA_…`` name that means something."""
    names: set[str] = set()
    for key, field in model.model_fields.items():
        if key.upper() in UNPREFIXED:
            continue
        name = prefix + key.upper()
        names.add(name)
        candidates = [field.annotation, *get_args(field.annotation)]
        for annotation in candidates:
            if isinstance(annotation, type) and issubclass(annotation, BaseModel):
                names |= environment_names(annotation, name + "__")
    return names


def _check_environment() -> None:
    known = environment_names() | {CONF_NAME}
    for name in sorted(os.environ):
        if name.upper().startswith(PREFIX) and name.upper() not in known:
            table = name.upper().rpartition("__")[0]
            near = sorted(k for k in known if k.rpartition("__")[0] == table) or sorted(known)
            raise ConfigError(f"environment {name}: unknown name; allowed: {', '.join(near)}")


def _check_toml(file: Path) -> None:
    try:
        data = tomllib.loads(file.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: not valid TOML: {error}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file}: cannot be read: {error}") from None
    for name in UNPREFIXED:
        if name.lower() in data:
            raise ConfigError(
                f"{file}: {name.lower()} does not belong in the file; set the environment name {name}"
            )


def _with_secret_files(settings: Settings, file: Path) -> Settings:
    changes: dict[str, SecretStr] = {}
    for key, reference in (
        ("openai_api_key", settings.realtime.api_key_file),
        ("database_url", settings.database.url_file),
    ):
        if reference and getattr(settings, key) is None:
            try:
                changes[key] = SecretStr(Path(reference).expanduser().read_text("utf-8").strip())
            except (OSError, UnicodeDecodeError) as error:
                raise ConfigError(f"{file}: the secret file {reference} cannot be read: {error}") from None
    return settings.model_copy(update=changes) if changes else settings


def _check_base_url(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https", "ws", "wss") or not parts.hostname:
        raise ConfigError(
            f"environment OPENAI_BASE_URL: {url!r} is not a URL; allowed: http(s)://host[:port]/v1 or ws(s)://…"
        )
