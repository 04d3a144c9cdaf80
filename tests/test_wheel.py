"""The wheel alone, in an empty environment outside the checkout: it must carry all that the demo needs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def run(*command: str, cwd: Path, env: dict[str, str] | None = None, timeout: float = 300) -> str:
    result = subprocess.run(
        command, cwd=cwd, env=env, capture_output=True, text=True, timeout=timeout, check=False
    )
    assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}\n{result.stderr}"
    return result.stdout


@pytest.mark.timeout(600)
def test_the_wheel_runs_the_demo_twice_in_an_empty_environment(tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "dist"), cwd=ROOT)
    (wheel,) = (tmp_path / "dist").glob("sipua-*.whl")
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
