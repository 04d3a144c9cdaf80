"""``sipua token add|list|remove``: who may use the HTTP surface. Works on the file, whether an agent runs or not."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from sipua.cli.command import Conf, Json, print_json, settings_of
from sipua.clock import SystemClock
from sipua.errors import ConfigError
from sipua.web.tokens import NAME, Role, Token, load_tokens, new_token, save_lines

DAYS_MAX = 3650

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


@app.callback()
def token() -> None:
    """Say who may use the HTTP surface of the agent (http.tokens_file)."""


@app.command()
def add(
    name: Annotated[str, typer.Argument(help="Whose it is, such as grafana or ann@office.")],
    role: Annotated[list[Role], typer.Option(help="What it may do; give it again for more.")],
    expires: Annotated[
        int | None,
        typer.Option(metavar="DAYS", min=1, max=DAYS_MAX, help="So many days it is good (else for ever)."),
    ] = None,
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Make a token and print it: this once, only its SHA-256 is kept. A running agent knows it within seconds."""
    file = _file(conf)
    if not NAME.fullmatch(name):
        raise ConfigError(f"token name {name!r}: allowed: 1 to 64 letters, digits and . _ @ -")
    if any(each.name == name for each in _tokens(file)):
        raise ConfigError(f"token {name}: is there already; `sipua token remove {name}` takes it away")
    until = SystemClock().now().wall.replace(microsecond=0) + timedelta(days=expires) if expires else None
    made, secret = new_token(name, frozenset(role), until)
    save_lines(file, lambda lines: [*lines, made.line()])
    if json:
        print_json({**_row(made), "token": secret})
    else:
        typer.echo(secret)
        typer.echo(
            f"{file}: {name} may {_roles(made)}{_until(made)}. The token is not shown again.", err=True
        )


@app.command("list")
def listed(conf: Conf = None, json: Json = False) -> None:
    """Show whose tokens there are, and what they may do."""
    tokens = _tokens(_file(conf))
    if json:
        print_json({"tokens": [_row(each) for each in tokens]})
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("name", "roles", "expires"):
        table.add_column(column, no_wrap=True)
    now = SystemClock().now().wall
    for each in tokens:
        when = each.expires.strftime("%Y-%m-%d %H:%M UTC") if each.expires else "never"
        table.add_row(each.name, _roles(each), f"{when} (over)" if each.is_expired(now) else when)
    Console().print(table)


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="As `sipua token list` shows it.")],
    conf: Conf = None,
    json: Json = False,
) -> None:
    """Take a token away. A running agent refuses it within seconds."""
    file = _file(conf)
    names = [each.name for each in _tokens(file)]
    if name not in names:
        raise ConfigError(
            f"token {name!r}: there is no such one in {file}; there are: {', '.join(names) or 'none'}"
        )
    save_lines(file, lambda lines: [line for line in lines if line.partition("#")[0].split()[:1] != [name]])
    if json:
        print_json({"removed": name})
    else:
        typer.echo(f"{file}: {name} is removed")


def _file(conf: Path | None) -> Path:
    named = settings_of(conf).http.tokens_file
    if not named:
        raise ConfigError(
            "http.tokens_file is not set: name a file in sipua.toml or in SIPUA_HTTP__TOKENS_FILE, such as "
            "/etc/sipua/tokens"
        )
    return Path(named).expanduser()


def _tokens(file: Path) -> tuple[Token, ...]:
    return load_tokens(file) if file.exists() else ()


def _roles(token: Token) -> str:
    return ", ".join(sorted(each.value for each in token.roles))


def _until(token: Token) -> str:
    return f" until {token.expires:%Y-%m-%d %H:%M} UTC" if token.expires else ""


def _row(token: Token) -> dict[str, object]:
    return {
        "name": token.name,
        "roles": sorted(each.value for each in token.roles),
        "expires": token.expires.isoformat() if token.expires else None,
    }
