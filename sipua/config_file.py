"""The files of the configuration folder: read, their faults told one a line, the secrets that they point to fetched.

A secret is never shown, nor what stands where its file's name belongs: people paste the secret itself there.
"""

from __future__ import annotations

import base64
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel, SecretStr, ValidationError

from sipua.errors import ConfigError

# Names that other tools share and that therefore have no prefix; never in a file.
UNPREFIXED = ("DATABASE_URL", "OPENAI_API_KEY", "OPENAI_BASE_URL")
SIGNING_PREFIX = "whsec_"  # what follows is base64; any other secret is taken as it stands


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


def describe(
    error: ValidationError, *, file: Path, prefix: str | None = None, model: type[BaseModel] | None = None
) -> str:
    """One line per fault: file or environment name, key, value, what is allowed.

    ``prefix``: of the environment names that stand for its keys. ``model``: whose keys an unknown one is told.
    """
    lines = []
    for fault in error.errors():
        keys = [str(part) for part in fault["loc"]]
        where, key = origin(keys, file, prefix), ".".join(keys)
        if fault["type"] == "extra_forbidden":
            lines.append(f"{where}: unknown key {key!r}{siblings(keys, model)}")
        elif fault["type"] == "missing":
            lines.append(f"{where}: the key {key!r} is missing")
        else:
            # a fault of a whole table names its values itself; people paste the secret where its place belongs
            hidden = isinstance(fault["input"], Mapping) or any("password" in part for part in keys)
            value = "" if hidden else f" = {fault['input']!r}"
            named = f"{key}{value}: " if key else ""  # a fault of the whole file names its keys itself
            lines.append(f"{where}: {named}{fault['msg'].removeprefix('Value error, ')}")
    return "\n".join(lines)


def origin(keys: list[str], file: Path, prefix: str | None) -> str:
    """Where the value came from: environment names of the key or of its table, else the file."""
    if prefix is None:
        return str(file)
    name = prefix + "__".join(keys).upper()
    given = sorted(each for each in os.environ if each == name or each.startswith(name + "__"))
    return f"environment {', '.join(given)}" if given else str(file)


def siblings(keys: list[str], model: type[BaseModel] | None) -> str:
    """The keys that are allowed where the last of ``keys`` stands."""
    if model is None:
        return ""
    inside: Any = model
    for key in keys[:-1]:
        # in a dict of tables the key is a name of the operator's
        inside = get_args(inside)[1] if get_origin(inside) is dict else inside.model_fields[key].annotation
    return f"; allowed: {', '.join(key for key in inside.model_fields if key.upper() not in UNPREFIXED)}"


def read_secret(where: str, name: str, file: str) -> SecretStr:
    """The secret in the environment name, or in the file; ``where`` is the key for messages. Raises ConfigError."""
    if file:
        return secret_file(where, file)
    text = os.environ.get(name, "").strip()
    if not text:
        raise ConfigError(f"{where}: the environment name that it gives is not set")
    return SecretStr(text)


def secret_file(where: str, file: str) -> SecretStr:
    """The secret that is the text of a file."""
    try:
        text = Path(file).expanduser().read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"{where}: the file that it names cannot be read: {why}") from None
    if not text:
        raise ConfigError(f"{where}: the file that it names is empty")
    return SecretStr(text)


def check_signing_secret(where: str, secret: SecretStr) -> SecretStr:
    """One of Standard Webhooks: ``whsec_`` and base64, or any other text. Raises ConfigError."""
    text = secret.get_secret_value()
    try:
        base64.b64decode(text.removeprefix(SIGNING_PREFIX), validate=True)
    except ValueError:
        if text.startswith(SIGNING_PREFIX):
            raise ConfigError(
                f"{where}: a secret that begins with {SIGNING_PREFIX} goes on in base64"
            ) from None
    return secret
