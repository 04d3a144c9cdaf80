"""``tools/*.toml``: what is read, and how each fault names file, key and what is allowed."""

from __future__ import annotations

import re
from contextlib import nullcontext
from pathlib import Path

import pytest
from openai.types.realtime.realtime_tools_config_union import Mcp

from sipua.errors import ConfigError
from sipua.resources import shipped_conf
from sipua.tools.files import ToolFiles, load_tool_files

HTTP = """
kind = "http"
name = "book_table"
description = "Books a table."
url = "https://tools.example.org/book"
secret_env = "BOOK_SECRET"
[parameters]
required = ["people"]
[parameters.properties.people]
type = "integer"
"""
MCP = 'kind = "mcp"\nname = "maps"\ncommand = ["maps-server", "--stdio"]\n'
REMOTE = """
kind = "remote-mcp"
name = "crm"
url = "https://crm.example.org/mcp"
secret_env = "CRM_TOKEN"
tools = ["find"]
approval = "approve"
"""


@pytest.fixture(autouse=True)
def _secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOOK_SECRET", "s1")
    monkeypatch.setenv("CRM_TOKEN", "s2")


def load(conf: Path, *files: str) -> ToolFiles:
    folder = conf / "tools"
    folder.mkdir()
    for number, text in enumerate(files):
        (folder / f"{number}.toml").write_text(text)
    return load_tool_files(conf)


def test_one_of_each_kind(tmp_path: Path) -> None:
    files = load(tmp_path, HTTP, MCP, REMOTE, MCP.replace("maps", "off") + "enabled = false")
    ((tool, secret),) = files.http
    assert (tool.name, secret.get_secret_value()) == ("book_table", "s1")
    assert tool.parameters["type"] == "object"
    assert [(server.name, secret) for server, secret in files.servers] == [("maps", None)]
    ((remote, token),) = files.remote
    Mcp.model_validate(remote.wire(token))
    assert remote.wire(token) == {
        "type": "mcp",
        "server_label": "crm",
        "server_url": "https://crm.example.org/mcp",
        "require_approval": "always",
        "allowed_tools": ["find"],
        "authorization": "s2",
    }
    assert remote.approved == ("find",)


def test_no_folder_is_no_tools(tmp_path: Path) -> None:
    assert load_tool_files(tmp_path) == ToolFiles()


FAULTS = [
    pytest.param("name = 'x'", "the key 'kind' is missing; allowed: http, mcp", id="no kind"),
    pytest.param(
        HTTP.replace('"http"', '"carrier-pigeon"'), "kind = 'carrier-pigeon': allowed: http, mcp, ", id="kind"
    ),
    pytest.param(HTTP + "\n[more]\n", "unknown key 'more'; allowed: ", id="key"),
    pytest.param(HTTP.replace("https", "http"), "unencrypted; use https", id="in the clear"),
    pytest.param(
        HTTP.replace("tools.", "u:p@tools."), "a secret does not belong in it", id="secret in the URL"
    ),
    pytest.param(HTTP.replace("https://tools.example.org/book", "book"), "not a URL", id="no URL"),
    pytest.param(HTTP.replace("secret_env", "# secret_env"), "requests are signed", id="no secret"),
    pytest.param(
        HTTP.replace("BOOK_SECRET", "NOT_THERE"), "secret_env: the environment name", id="secret not set"
    ),
    pytest.param(HTTP.replace("book_table", "book table"), "name = 'book table'", id="name"),
    pytest.param(HTTP.replace('"integer"', '"intger"'), "parameters: not a JSON schema", id="schema"),
    pytest.param(
        HTTP.replace("[parameters]", '[parameters]\ntype = "array"'), "arguments are an object", id="array"
    ),
    pytest.param(MCP + 'url = "https://maps.example.org"', "command or url: one of them", id="both ways"),
    pytest.param(MCP.replace('"maps"', '"sipua"'), "our own tools have it", id="our own name"),
    pytest.param('kind = "mcp"\nname = "maps"', "command or url: one of them", id="no way"),
    pytest.param(MCP + "timeout_s = 900", "timeout_s = 900", id="time"),
]


@pytest.mark.parametrize(("text", "told"), FAULTS)
def test_a_fault_names_file_and_key(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "tools" / "0.toml") in str(caught.value)
    assert "s1" not in str(caught.value)


def test_a_name_is_given_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"1\.toml: name = 'book_table': .*0\.toml has it already"):
        load(tmp_path, HTTP, HTTP)


@pytest.mark.parametrize(
    ("secret", "is_good"), [("whsec_eA==", True), ("any words", True), ("whsec_?", False)]
)
def test_a_secret_that_cannot_sign_is_named(
    secret: str, is_good: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    example = shipped_conf() / "tools" / "example-http.toml"
    monkeypatch.setenv("OPENING_HOURS_SECRET", secret)
    told = (
        pytest.raises(ConfigError, match=r"secret_env: .* goes on in base64")
        if not is_good
        else nullcontext()
    )
    with told as caught:
        load(tmp_path, example.read_text().replace("enabled = false", ""))
    assert caught is None or secret not in str(caught.value)


def test_the_shipped_examples_are_read_when_they_are_enabled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped = sorted((shipped_conf() / "tools").glob("*.toml"))
    assert load_tool_files(shipped_conf()) == ToolFiles()
    for name in ("OPENING_HOURS_SECRET", "CRM_TOKEN"):
        monkeypatch.setenv(name, "x")
    files = load(tmp_path, *(file.read_text().replace("enabled = false", "") for file in shipped))
    assert [len(each) for each in (files.http, files.servers, files.remote)] == [1, 1, 1]
