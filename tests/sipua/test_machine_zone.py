"""The machine's time zone by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from sipua.machine_zone import machine_zone

LINKS = [
    ("usr/share/zoneinfo/Africa/Kigali", "Africa/Kigali"),
    ("usr/share/zoneinfo/posix/Europe/Paris", "Europe/Paris"),
    ("usr/share/zoneinfo/Nowhere/At_All", "UTC"),
    ("etc/adjtime", "UTC"),
]


@pytest.mark.parametrize(("target", "name"), LINKS)
def test_what_the_link_says(tmp_path: Path, target: str, name: str) -> None:
    file = tmp_path / target
    file.parent.mkdir(parents=True)
    file.touch()
    link = tmp_path / "localtime"
    link.symlink_to(file)
    assert machine_zone(link).key == name


def test_a_machine_without_any(tmp_path: Path) -> None:
    assert machine_zone(tmp_path / "localtime").key == "UTC"
