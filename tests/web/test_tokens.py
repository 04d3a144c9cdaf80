"""The file of tokens: lines, modes, what is read again; and the command that keeps it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sipua.cli.command import CONFIG_EXIT
from sipua.errors import ConfigError
from sipua.web.tokens import (
    HEAD,
    PREFIX,
    Role,
    TokenFile,
    find_token,
    load_tokens,
    new_token,
    parse_tokens,
    save_lines,
)
from tests.sipua.test_cli import Shell, sipua  # noqa: F401
from tests.waiting import eventually

A, B = "a" * 64, "b" * 64


def test_lines_are_names_roles_digests_and_times() -> None:
    text = f"# ours\n\nann operate,read {A}\ngrafana  read {B} 2027-01-31T00:00:00Z  # until then\n"
    ann, grafana = parse_tokens(text, "t")
    assert (ann.name, ann.roles, ann.expires) == ("ann", frozenset({Role.OPERATE, Role.READ}), None)
    assert grafana.expires == datetime(2027, 1, 31, tzinfo=UTC)
    assert parse_tokens(grafana.line(), "t") == (grafana,)


FAULTS = [
    ("ann read", "t:1: 2 words; expected NAME ROLES SHA256"),
    (f"ann read {A} 2027-01-31 x", "t:1: 5 words"),
    (f"# x\nan/n read {A}", "t:2: the name may have"),
    (f"ann admin {A}", "t:1: 'admin' is not a valid Role; allowed: read, operate, ingest"),
    (f"ann , {A}", "allowed: read, operate, ingest"),
    ("ann read sipua_pasted", "t:1: ann: the third word is not the SHA-256"),
    (f"ann read {A.upper()}", "not the SHA-256"),
    (f"ann read {A} tomorrow", "'tomorrow' is no time; expected one such as"),
    (f"ann read {A}\nann read {B}", "t:2: the name ann is there twice"),
    (f"ann read {A}\nben read {A}", "t:2: ben is the same token as ann"),
    ("\n".join(f"n{i} read {i:064x}" for i in range(257)), "257 tokens; allowed: 256"),
]


@pytest.mark.parametrize(("text", "why"), FAULTS)
def test_a_fault_names_its_line_and_what_is_allowed(text: str, why: str) -> None:
    with pytest.raises(ConfigError) as raised:
        parse_tokens(text, "t")
    assert why in str(raised.value)
    assert "sipua_pasted" not in str(raised.value)


def test_a_token_is_found_by_nothing_but_itself() -> None:
    made = [new_token(name, frozenset({Role.READ}), None) for name in ("ann", "ben")]
    tokens = [token for token, _ in made]
    for token, secret in made:
        assert secret.startswith(PREFIX)
        assert find_token(tokens, secret) is token
        for wrong in (secret[:-1], f"{secret}x", "", token.digest, secret.upper()):
            assert find_token(tokens, wrong) is None


@pytest.mark.parametrize(
    ("mode", "good"), [(0o600, True), (0o640, True), (0o644, False), (0o660, False), (0o602, False)]
)
def test_a_file_that_others_may_read_or_write_is_refused(tmp_path: Path, mode: int, good: bool) -> None:
    file = tmp_path / "tokens"
    file.write_text(f"ann read {A}\n")
    file.chmod(mode)
    if good:
        assert len(load_tokens(file)) == 1
    else:
        with pytest.raises(ConfigError, match=f"has mode {mode:04o}; allowed: 0600 or 0640"):
            load_tokens(file)


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe")
    (tmp_path / "binary").chmod(0o600)
    for file, why in (
        ("nowhere", "no such file; `sipua token add`"),
        ("", "Is a directory"),
        ("binary", "no UTF-8 text"),
    ):
        with pytest.raises(ConfigError, match=f"http.tokens_file: .*{why}"):
            load_tokens(tmp_path / file)


async def test_a_changed_file_is_read_again_and_a_broken_one_is_not(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "tokens"

    def write(text: str) -> None:
        save_lines(file, lambda _: [text])

    async def read_again(tokens: TokenFile, until: int) -> None:
        tokens.asked.set()  # SIGHUP
        await asyncio.to_thread(
            eventually, lambda: not tokens.asked.is_set() and len(tokens.tokens) == until, "tokens read again"
        )

    write(f"ann read {A}")
    tokens = TokenFile(file)
    following = asyncio.create_task(tokens.follow())
    write(f"ann read {A}\nben read {B}")
    await read_again(tokens, 2)
    write("ann read")
    await read_again(tokens, 2)
    write("# nobody")
    await read_again(tokens, 0)
    following.cancel()
    assert "tokens were not read again, the old ones stay" in caplog.text


def test_lines_are_changed_whole_or_not_at_all(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "tokens"
    save_lines(file, lambda lines: [*lines, f"ann read {A}"])
    assert file.read_text().splitlines() == [HEAD, f"ann read {A}"]
    assert file.stat().st_mode & 0o777 == 0o600
    file.chmod(0o640)
    with pytest.raises(ZeroDivisionError):
        save_lines(file, lambda lines: [str(1 // 0)])
    save_lines(file, lambda lines: [*lines, "# more"])
    assert file.read_text().splitlines() == [HEAD, f"ann read {A}", "# more"]
    assert file.stat().st_mode & 0o777 == 0o640
    assert list(file.parent.iterdir()) == [file]


def test_the_command_makes_shows_and_removes_tokens(sipua: Shell) -> None:  # noqa: F811
    file = sipua.folder / "tokens"
    named = {"SIPUA_HTTP__TOKENS_FILE": str(file)}

    def token(*arguments: str, code: int = 0) -> dict[str, Any]:
        return sipua.json("token", *arguments, code=code, **named)

    made = token("add", "ann", "--role", "operate", "--expires", "30")
    assert made["roles"] == ["operate"]
    assert find_token(load_tokens(file), made["token"]) is not None
    assert made["token"] not in file.read_text()
    assert "is there already" in token("add", "ann", "--role", "read", code=CONFIG_EXIT)["error"]["message"]
    (shown,) = token("list")["tokens"]
    assert (shown["name"], "token" in shown) == ("ann", False)
    assert token("remove", "ann") == {"removed": "ann"}
    assert load_tokens(file) == ()
    named.clear()
    assert "http.tokens_file is not set" in token("list", code=CONFIG_EXIT)["error"]["message"]
