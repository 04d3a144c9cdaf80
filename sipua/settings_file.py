"""Where the settings come from: environment, then ``conf/sipua.toml``, then the defaults. Read once, at the start.

An unknown key or name, or a bad value, is a ConfigError that names file (or environment name), key, value and what is
allowed.
"""

from __future__ import annotations

import os
from difflib import get_close_matches
from json import JSONDecodeError
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import SettingsError

from sipua.config_file import UNPREFIXED, describe, origin, read_toml, secret_file, siblings
from sipua.errors import ConfigError
from sipua.realtime.endpoint import realtime_url
from sipua.realtime_settings import faults
from sipua.settings import PREFIX, Settings
from sipua.turn_settings import fault as turn_fault

CONF_NAME = "SIPUA_CONF"  # where the folder is; not a setting of its own
CONF_DEFAULT = Path("conf")


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
    except SettingsError as error:
        raise ConfigError(_no_json(error.__cause__)) from None
    except ValidationError as error:
        raise ConfigError(describe(error, file=file, prefix=PREFIX, model=Settings)) from None
    realtime_url(
        settings.openai_base_url, "any", setting="environment OPENAI_BASE_URL", service=settings.voice_service
    )
    if unknown := faults(settings.realtime, settings.voice_service):
        raise ConfigError("\n".join(_told(key, why, settings, file) for key, why in unknown))
    if text := turn_fault(settings.turns, settings.realtime.vad):
        raise ConfigError(f"{origin(['turns', 'pause_ms'], file, PREFIX)}: {text}")
    return _with_secret_files(settings, file)


def _no_json(cause: BaseException | None) -> str:
    """A list in the environment that is no JSON: pydantic-settings names the table only, and the text in its cause."""
    text = cause.doc if isinstance(cause, JSONDecodeError) else None
    names = [name for name in environment_names() if text is not None and os.environ.get(name) == text]
    where = f"environment {', '.join(names) or PREFIX + '…'}"
    return f"""{where}: expected JSON, such as '["one", "two"]' for a list"""


def _told(key: str, why: str, settings: Settings, file: Path) -> str:
    where = origin(["realtime", key], file, PREFIX)
    return f"{where}: realtime.{key} = {getattr(settings.realtime, key)!r}: {why}"


def _file_values(file: Path) -> dict[str, Any]:
    data = read_toml(file)
    for key in data:
        if key.startswith("_"):  # BaseSettings would take it for an option of its own
            raise ConfigError(f"{file}: unknown key {key!r}{siblings([key], Settings)}")
    for name in UNPREFIXED:
        if name.lower() in data:
            raise ConfigError(
                f"{file}: {name.lower()} does not belong in the file; set the environment name {name}"
            )
    table = data.get("database")
    if isinstance(table, dict) and "migrate_url" in table:
        raise ConfigError(
            f"{file}: database.migrate_url does not belong in the file; set the environment name "
            f"{PREFIX}DATABASE__MIGRATE_URL"
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
        where = f"{origin([table, name], file, PREFIX)}: {table}.{name}"
        changes[key] = secret_file(where, reference)
    return settings.model_copy(update=changes) if changes else settings


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
