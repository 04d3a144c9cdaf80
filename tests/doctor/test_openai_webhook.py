"""`sipua doctor` about OpenAI's webhook: its secrets, and a request about a call that there is not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sipua.checks.report import Check
from sipua.checks.services import openai_webhook
from sipua.settings import Settings
from tests.openai_calls.house import SECRET, emulated


async def checked(address: str, secret: Path, **webhook: Any) -> Check | None:
    values = {"openai_base_url": f"http://{address}/v1", "openai_api_key": "right"}
    return await openai_webhook(
        Settings.model_validate(values | {"openai_webhook": {"secret_file": str(secret)} | webhook})
    )


async def test_the_webhook_is_looked_at(tmp_path: Path) -> None:
    assert await openai_webhook(Settings()) is None
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n{SECRET}")
    async with emulated(None, api_key="right") as address:
        found = await checked(address, secret, incoming="accept")
        assert found is not None
        assert (found.status, "2 secrets, calls: accept" in found.detail) == ("ok", True)
    async with emulated(None, api_key="another") as address:
        found = await checked(address, secret, incoming="accept")
        assert found is not None
        assert (found.status, "OPENAI_API_KEY" in found.detail) == ("fail", True)
    found = await checked("127.0.0.1:9", secret)
    assert found is not None
    assert found.status == "ok"  # no call is taken, so nobody is asked
    secret.write_text("sk-pasted")
    found = await checked("127.0.0.1:9", secret)
    assert found is not None
    assert (found.status, found.is_configuration, "sk-pasted" in found.detail) == ("fail", True, False)
