"""`sipua db` as a person types it; and a data directory of another PostgreSQL, moved as printed."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from storage.cluster import Cluster, way_to_move
from storage.errors import EmbeddedError
from tests.storage import debian

SIPUA = [sys.executable, "-m", "sipua", "db"]
CALL = "INSERT INTO voice_calls (direction, from_e164) VALUES ('inbound', '+250788000001')"
COUNT = "SELECT count(*) FROM voice_calls"


def environment(folder: Path, **more: str) -> dict[str, str]:
    (folder / "conf").mkdir(exist_ok=True)
    kept = {
        name: os.environ[name] for name in os.environ if not name.startswith(("SIPUA_", "PG", "DATABASE_"))
    }
    return kept | {"SIPUA_CONF": str(folder / "conf"), "SIPUA_STATE_DIR": str(folder / "state")} | more


def db(
    env: Mapping[str, str], *arguments: str, code: int = 0, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*SIPUA, *arguments], env=dict(env), capture_output=True, text=True, stdin=subprocess.DEVNULL, cwd=cwd
    )
    assert done.returncode == code, done.stderr
    return done


def query(env: Mapping[str, str], text: str) -> str:
    return db(env, "shell", "--", "-X", "-A", "-t", "-c", text).stdout.strip()


def test_by_hand_on_the_embedded_server(tmp_path: Path) -> None:
    """One process after another, each with the server for its time."""
    one, two = environment(tmp_path), environment(tmp_path, SIPUA_STATE_DIR=str(tmp_path / "other"))
    file = str(tmp_path / "our.dump")
    subprocess.run([sys.executable, "-m", "sipua", "migrate"], env=one, check=True, capture_output=True)
    assert db(one, "url").stdout.startswith("postgresql://postgres@/postgres?host=")
    query(one, CALL)
    assert query(one, COUNT) == "1"
    db(one, "dump", file)
    assert "is there already" in db(one, "dump", file, code=1).stderr
    db(two, "restore", file)
    assert query(two, COUNT) == "1"
    query(two, CALL)
    assert "has rows in public.voice_calls: --replace" in db(two, "restore", file, code=1).stderr
    assert "--yes" in db(two, "restore", file, "--replace", code=78).stderr
    assert query(two, COUNT) == "2"
    db(two, "restore", file, "--replace", "--yes")
    assert query(two, COUNT) == "1"


def test_the_password_is_shown_when_it_is_asked_for(tmp_path: Path) -> None:
    dsn = "postgresql://u:geheim@127.0.0.1:9/x"
    env = environment(tmp_path, DATABASE_URL=dsn)
    assert db(env, "url").stdout == "postgresql://u@127.0.0.1:9/x\n"
    assert db(env, "url", "--secret").stdout == f"{dsn}\n"
    failed = db(env, "dump", str(tmp_path / "x"), code=1)
    assert "refused" in failed.stderr
    assert "geheim" not in failed.stderr


def test_a_data_directory_of_another_major_is_refused_with_the_way_to_move_it(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path / "post gres")
    cluster.pg.mkdir(parents=True)
    (cluster.pg / "PG_VERSION").write_text("9\n")
    with pytest.raises(EmbeddedError, match="was made by PostgreSQL 9, but only") as caught:
        cluster.programs()
    assert str(caught.value).endswith(way_to_move(tmp_path / "post gres", 9))
    assert f"  mv '{tmp_path}/post gres' '{tmp_path}/post gres-9'" in str(caught.value)


def test_the_printed_way_moves_debians_15_to_ours(tmp_path: Path) -> None:
    debian.need(debian.PROGRAMS / "initdb", f"postgresql-{debian.VERSION}")
    env = environment(tmp_path)
    data = tmp_path / "state" / "postgres"
    old = data / "pg"
    old.mkdir(parents=True, mode=0o700)
    as_user = {"user": 65534, "group": 65534, "extra_groups": []} if os.geteuid() == 0 else {}
    if as_user:
        os.chown(old, 65534, 65534)
        for folder in (data, data.parent, tmp_path, *tmp_path.parents[:3]):
            folder.chmod(folder.stat().st_mode | 0o011)
    initdb = [debian.PROGRAMS / "initdb", "-D", old, "-U", "postgres", "-A", "trust", "-E", "UTF8", "-N"]
    subprocess.run(initdb, check=True, stdout=subprocess.DEVNULL, cwd="/", **as_user)  # type: ignore[call-overload]
    subprocess.run([sys.executable, "-m", "sipua", "migrate"], env=env, check=True, capture_output=True)
    query(env, CALL)
    assert query(env, "SHOW server_version").startswith("15.")
    steps = [line.strip() for line in way_to_move(data, debian.VERSION).splitlines()[1:]]
    assert steps.pop(0) == "apt-get install postgresql-15"  # is done
    for step in steps:
        argv = shlex.split(step)
        program = [sys.executable, "-m", "sipua", *argv[1:]] if argv[0] == "sipua" else argv
        subprocess.run(program, env=env, check=True, capture_output=True, cwd=tmp_path)
    assert int(query(env, "SHOW server_version").split(".")[0]) >= 17
    assert query(env, COUNT) == "1"
    assert (tmp_path / "state" / "postgres-15" / "pg" / "PG_VERSION").exists()
    shutil.rmtree(tmp_path / "state")
