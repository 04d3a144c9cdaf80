"""``sipua doctor`` as a whole, on a configuration whose trunks are little servers on loopback."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import orjson

from tests.certificates import Authority
from tests.doctor.responders import Registrar, answering, stream_responder, udp_responder
from tests.ports import free_port

NAME = "sip.example.test"


def write_trunk(folder: Path, name: str, *tables: str, **values: object) -> None:
    """A trunk file; values as JSON has them, which TOML has too for what is used here."""
    fixed = {"schema": 1, "name": name, "provider": "somebody", "direction": "outbound", "codecs": ["PCMU"]}
    lines = [f"{key} = {orjson.dumps(value).decode()}" for key, value in (fixed | values).items()]
    (folder / f"{name}.toml").write_text("\n".join([*lines, *tables]) + "\n")


async def doctor(folder: Path, **env: str) -> tuple[int, dict[str, dict[str, str]]]:
    """Exit code and checks by name."""
    known = {key: value for key, value in os.environ.items() if not key.startswith(("SIPUA_", "OPENAI_"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sipua", "doctor", "--json", "--conf", str(folder), stdout=-1, stderr=-1,
        env={
            **known, "SIPUA_STATE_DIR": str(folder / "state"), "SIPUA_SIP__PORT": str(free_port()),
            "SIPUA_SIP__TLS_PORT": "0", "SIPUA_HTTP__PORT": "0", "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
            "OPENAI_API_KEY": "k", **env,
        },
    )  # fmt: skip
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    document: Mapping[str, Any] = orjson.loads(out or b"{}")
    assert "checks" in document, err.decode()
    return process.returncode, {each["name"]: each for each in document["checks"]}


async def test_every_trunk_is_tried(tmp_path: Path, database: str) -> None:
    authority = Authority(tmp_path)
    trunks = tmp_path / "trunks"
    trunks.mkdir()
    registrar = Registrar("alice", "sesame")
    async with AsyncExitStack() as stack:
        home, _ = await stack.enter_async_context(udp_responder(registrar))
        secure = await stack.enter_async_context(
            stream_responder(answering("200 OK"), authority.issue("other.example.test"))
        )
        write_trunk(
            trunks, "home", kind="register", domain=f"127.0.0.1:{home.port}", auth_user="alice",
            registrar_uri=f"sip:127.0.0.1:{home.port}", password_env="HOME_PASSWORD",
        )  # fmt: skip
        write_trunk(
            trunks, "secure", "[static_hosts]", f'"{NAME}" = ["127.0.0.1"]', transport="tls",
            domain=f"{NAME}:{secure.port}", tls_ca=str(authority.file),
        )  # fmt: skip
        write_trunk(trunks, "later", enabled=False, domain="ask SOMEBODY", caller_id="ask SOMEBODY")
        code, found = await doctor(tmp_path, DATABASE_URL=database, HOME_PASSWORD="sesame")
    of_trunks = {name: each["status"] for name, each in found.items() if name.startswith("trunk ")}
    assert of_trunks == {
        "trunk home": "ok", "trunk home codecs": "ok", "trunk home options": "ok", "trunk home registration": "ok",
        "trunk later": "ok", "trunk secure": of_trunks["trunk secure"], "trunk secure codecs": "ok",
        "trunk secure dns": "ok", "trunk secure tls": "fail",
    }  # fmt: skip
    assert "accepted for 3600 s, and taken back" in found["trunk home registration"]["detail"]
    assert registrar.granted == [3600, 0]
    assert found["trunk later"]["detail"].endswith("ask SOMEBODY for domain, caller_id")
    assert "for other.example.test, not for sip.example.test" in found["trunk secure tls"]["detail"]
    assert found["trunk secure"]["status"] == ("warn" if "1.0.2" in found["pjsua2"]["detail"] else "ok")
    assert found["database"]["status"] == "ok"
    assert code == 1  # nothing that fails is a matter of our configuration


async def test_a_password_that_is_not_there_is_a_fault_of_configuration(
    tmp_path: Path, database: str
) -> None:
    (tmp_path / "trunks").mkdir()
    write_trunk(
        tmp_path / "trunks", "home", kind="register", domain=f"127.0.0.1:{free_port()}", auth_user="alice",
        registrar_uri="sip:127.0.0.1:9", password_env="HOME_PASSWORD", options_timeout_s=0.2,
    )  # fmt: skip
    code, found = await doctor(tmp_path, DATABASE_URL=database)
    assert code == 78
    assert found["trunk home"]["status"] == "fail"
    assert "cannot be tried" in found["trunk home registration"]["detail"]
