"""The wheel: it has every file that is used, and alone, in an empty environment outside the checkout, runs the demo."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str, cwd: Path, env: dict[str, str] | None = None, timeout: float = 300) -> str:
    result = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder), cwd=ROOT)
    (built,) = folder.glob("sipua-*.whl")
    return built


# Where the files of a folder are in it; one of them, so that a folder that moves is noticed.
FOLDERS = [
    ("sipua", "sipua", "py.typed"),
    ("rtp", "rtp", "packet.py"),
    ("storage", "storage", "py.typed"),
    ("sipua/web/static", "sipua/web/static", "index.html"),
    ("migrations", "storage/_migrations", "20261123040000_webhooks.sql"),
    ("conf", "sipua/_conf", "sipua.toml"),
    ("conf/grafana", "sipua/_conf/grafana", "sipua.json"),
    ("conf/prometheus", "sipua/_conf/prometheus", "sipua.rules.yml"),
    ("conf/deploy", "sipua/_conf/deploy", "sipua.service"),
]


@pytest.mark.parametrize(("folder", "place", "one"), FOLDERS, ids=[row[0] for row in FOLDERS])
def test_the_wheel_has_every_file_as_it_is_here(wheel: Path, folder: str, place: str, one: str) -> None:
    files = [
        each for each in (ROOT / folder).rglob("*") if each.is_file() and "__pycache__" not in each.parts
    ]
    wanted = {f"{place}/{each.relative_to(ROOT / folder)}": each for each in files}
    assert f"{place}/{one}" in wanted
    with ZipFile(wheel) as found:
        assert wanted.keys() - set(found.namelist()) == set()
        assert [name for name, each in wanted.items() if found.read(name) != each.read_bytes()] == []


@pytest.mark.timeout(600)
def test_the_wheel_runs_the_demo_twice_in_an_empty_environment(wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "venv", str(tmp_path / "venv"), cwd=tmp_path)
    python = str(tmp_path / "venv" / "bin" / "python")
    lock = str(ROOT / "requirements.lock")
    run(python, "-m", "pip", "install", "--quiet", "--require-hashes", "-r", lock, cwd=tmp_path)
    run(python, "-m", "pip", "install", "--quiet", "--no-deps", str(wheel), cwd=tmp_path)

    home = tmp_path / "home"
    home.mkdir()
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}
    sipua = str(tmp_path / "venv" / "bin" / "sipua")
    where = run(python, "-c", "import sipua, rtp, storage; print(sipua.__file__)", cwd=home, env=env)
    assert str(ROOT) + "/" not in where
    run(sipua, "init", str(home / "conf"), cwd=home, env=env)
    assert (home / "conf" / "sipua.toml").read_text("utf-8") == (ROOT / "conf" / "sipua.toml").read_text(
        "utf-8"
    )
    assert (home / "conf" / "trunks" / "loopback.toml").exists()
    for _ in range(2):
        document = json.loads(
            run(
                sipua,
                "demo",
                "--dir",
                str(home / "demo"),
                "--conf",
                str(home / "conf"),
                "--json",
                cwd=home,
                env=env,
            )
        )
        assert document["status"] == "completed"
        assert Path(document["recording"]).is_relative_to(home)
