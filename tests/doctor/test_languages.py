"""What doctor says of languages: who has read them, what is missing, and whether the service takes each."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from sipua.checks import languages
from sipua.checks.report import Check
from sipua.checks.services import voice_service
from sipua.resources import shipped_conf
from sipua.settings import Settings
from sipua.texts import Texts
from tests.emulator.test_emulator_server import emulator


def write(conf: Path, name: str, text: str) -> None:
    file = conf / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)


def texts(conf: Path, **realtime: object) -> tuple[Check, Texts | None]:
    return languages.texts(conf, Settings.model_validate({"realtime": realtime}), ["mtn"])


def test_what_no_native_speaker_has_read_is_said(tmp_path: Path) -> None:
    check, found = texts(tmp_path)
    assert found is not None
    assert (check.status, check.detail) == (
        "warn", "en, fr, rw, sw; en, fr, rw, sw: machine-written: to be reviewed by a native speaker",
    )  # fmt: skip
    assert "reviewed_by" in check.todo
    for code in ("en", "fr", "rw", "sw"):
        write(tmp_path, f"languages/{code}.toml", "reviewed_by = 'Somebody'")
    assert texts(tmp_path)[0] == Check("languages", "ok", "en, fr, rw, sw")


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    write(
        tmp_path, "languages/lg.toml",
        "schema = 1\nname = 'Luganda'\nenglish_name = 'Luganda'\ninstructions = 'Speak it.'\nreviewed_by = 'Somebody'",
    )  # fmt: skip
    write(tmp_path, "instructions/trunk-gone.md", "x")
    check, _ = texts(tmp_path)
    assert "lg.toml: greeting: missing; the English text is used; " in check.detail
    assert check.detail.endswith(f"; and {18 + 15 + 1 - languages.NOTED} more")


def test_a_setting_that_a_file_hides_is_said(tmp_path: Path) -> None:
    write(tmp_path, "instructions/default.rw.md", "x")
    assert "is set, but" not in texts(tmp_path, instructions="y")[0].detail
    write(tmp_path, "instructions/default.md", "x")
    assert "is set, but" not in texts(tmp_path)[0].detail
    said = "realtime.instructions is set, but instructions/default.md is what calls get"
    assert said in texts(tmp_path, instructions="y")[0].detail


@pytest.mark.parametrize(
    ("name", "text", "realtime", "said"),
    [
        ("languages/rw.toml", "greeting = ''", {}, r"rw\.toml: greeting = ''"),
        ("instructions/default.md", "{{x}}", {}, r"default\.md:1: unknown variable"),
        (
            "instructions/default.md",
            "x",
            {"instructions": "{{x}}"},
            r"realtime\.instructions:1: unknown variable",
        ),
    ],
)
def test_what_cannot_be_used_is_a_fault_of_configuration(
    name: str, text: str, realtime: dict[str, str], said: str, tmp_path: Path
) -> None:
    write(tmp_path, name, text)
    check, found = texts(tmp_path, **realtime)
    assert (check.status, check.is_configuration, found) == ("fail", True, None)
    assert re.search(said, check.detail)


async def tried(address: str, **realtime: object) -> Check | None:
    settings = Settings.model_validate(
        {
            "openai_base_url": f"http://{address}/v1", "openai_api_key": SecretStr("k"),
            "realtime": {"connect_timeout_s": 1, **realtime},
        }
    )  # fmt: skip
    found = texts(shipped_conf())[1]
    assert found is not None
    return await languages.transcription(settings, found)


async def test_each_language_is_tried_with_the_configured_model() -> None:
    async with emulator() as address:
        check = await tried(address)
    assert check is not None
    assert (check.status, check.todo) == ("ok", "")
    assert check.detail.startswith("gpt-transcribe: en: hint taken, speech heard as ")
    for code in ("fr", "rw", "sw"):
        assert f"; {code}: hint taken, speech heard as " in check.detail


@pytest.mark.parametrize(("faults", "model"), [(["refuse_language=rw"], "gpt-transcribe"), ([], "whisper-1")])
async def test_a_refused_hint_is_said_with_what_happens_instead(faults: list[str], model: str) -> None:
    async with emulator(*faults) as address:
        check = await tried(address, transcription_model=model)
    assert check is not None
    assert check.status == "warn"
    assert "rw: hint refused (invalid_value), speech heard as" in check.detail
    assert "sw: hint taken" in check.detail
    assert check.todo == "rw: left to detection; another realtime.transcription_model may take it"


async def test_speech_that_cannot_be_written_down_is_said() -> None:
    async with emulator("transcription_failed") as address:
        check = await tried(address)
    assert check is not None
    assert check.status == "warn"
    assert "sw: hint taken, speech failed: " in check.detail


async def test_a_service_that_goes_away_leaves_what_was_learnt() -> None:
    async with emulator("drop=6") as address:
        check = await tried(address)
    assert check is not None
    assert check.status == "warn"
    assert "sw: hint not answered, speech not answered; " in check.detail


async def test_a_name_that_will_be_shut_is_said_with_its_date() -> None:
    async with emulator() as address:
        settings = Settings.model_validate(
            {
                "openai_base_url": f"http://{address}/v1", "openai_api_key": SecretStr("k"),
                "realtime": {"service": "openai", "transcription_model": "whisper-1"},
            }
        )  # fmt: skip
        check = await voice_service(settings)
    assert check.status == "warn"
    assert re.search(r"transcription_model = 'whisper-1': .* 2027-02-26; use gpt-transcribe", check.detail)


async def test_a_cap_that_counts_nothing_is_said() -> None:
    async with emulator() as address:
        settings = Settings.model_validate(
            {
                "openai_base_url": f"http://{address}/v1", "openai_api_key": SecretStr("k"),
                "realtime": {"transcription_model": "gpt-live-transcribe"}, "spend": {"day_usd": 5.0},
            }
        )  # fmt: skip
        check = await voice_service(settings)
    assert check.status == "warn"
    assert "'gpt-live-transcribe' has no price" in check.detail
    assert "spend.prices" in check.todo


async def test_nothing_is_tried_where_nothing_is_written_down_or_nobody_answers() -> None:
    silent = await tried("127.0.0.1:9", transcription_model="")
    assert silent is not None
    assert "nothing is written down" in silent.detail
    assert await tried("127.0.0.1:9") is None
