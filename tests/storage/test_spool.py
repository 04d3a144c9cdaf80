"""The spool's thread and files: order, deletion, adoption, cap, damage, and a file system that is full."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from storage import codec
from storage.errors import SpoolError
from storage.spool import Spool, SpoolState
from storage.spool_file import HEADER_SIZE, RECORD_SIZE, header, record
from storage.spool_folder import Segments, adopt, left_behind, segment_files
from tests.waiting import eventually

ME = UUID(int=7)
NAMESPACE = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", ME, max_bytes=2**20, segment_bytes=200, sync_s=0.05)
    yield made
    made.close()


def fill(spool: Spool, first: int, last: int) -> None:
    """A few at a time: what the thread takes at once goes into one file."""
    for seq in range(first, last + 1):
        spool.append(seq, 2, b"payload %d" % seq)
        if seq % 5 == 0 or seq == last:
            eventually(lambda seq=seq: spool.written == seq, "it is written")  # type: ignore[misc]


def everything(reader: Segments, after: int = 0) -> list[int]:
    found: list[int] = []
    while records := reader.read(found[-1] if found else after):
        assert all(payload == b"payload %d" % seq for seq, payload in records)
        found += [seq for seq, _ in records]
    return found


def dead(folder: Path, instance: UUID = ME) -> Path:
    """A folder as a killed process leaves it: its lock is free."""
    (folder / str(instance)).mkdir(parents=True)
    (folder / str(instance) / "lock").touch()
    return folder / str(instance)


def test_what_is_appended_is_read_in_order_over_all_files(spool: Spool) -> None:
    fill(spool, 1, 40)
    assert len(segment_files(spool.folder)) > 3
    assert (spool.groups, spool.backlog_facts, spool.state) == (40, 0, SpoolState.OK)
    assert spool.bytes == sum(path.stat().st_size for path in segment_files(spool.folder))
    reader = Segments(spool.folder)
    assert everything(reader) == list(range(1, 41))
    fill(spool, 41, 60)  # the same reader goes on where it was
    assert everything(reader, 40) == list(range(41, 61))


def test_files_go_when_all_of_them_is_in_the_database(spool: Spool) -> None:
    fill(spool, 1, 40)
    before = spool.bytes
    spool.acknowledge(39)
    eventually(lambda: len(segment_files(spool.folder)) == 1, "the old files are gone")
    assert spool.groups == 1
    assert spool.bytes < before
    assert everything(Segments(spool.folder), 39) == [40]


def test_what_the_database_has_is_gone_from_the_disk_soon(spool: Spool) -> None:
    fill(spool, 1, 2)
    spool.acknowledge(2)
    eventually(lambda: spool.bytes == HEADER_SIZE, "the file is gone")
    fill(spool, 3, 4)
    assert everything(spool.reader(), 2) == [3, 4]
    eventually(lambda: spool._unsynced is None, "it is synced")
    spool.acknowledge(4)
    eventually(lambda: spool.bytes == HEADER_SIZE, "the file is gone after an outage too")


def test_a_spool_with_nothing_in_it_leaves_nothing(tmp_path: Path) -> None:
    made = Spool(tmp_path, ME, max_bytes=2**20)
    fill(made, 1, 3)
    made.acknowledge(3)
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_at_the_end_is_adopted_once(tmp_path: Path) -> None:
    made = Spool(tmp_path, ME, max_bytes=2**20)
    fill(made, 1, 3)
    assert adopt(tmp_path).spools == []  # its process lives
    made.close()
    assert [(folder.name, why) for folder, _, why in left_behind(tmp_path)] == [(str(ME), "")]
    (adopted,) = adopt(tmp_path).spools
    assert adopt(tmp_path).spools == []  # somebody has it
    assert (adopted.instance, everything(adopted.reader)) == (ME, [1, 2, 3])
    adopted.remove()
    assert list(tmp_path.iterdir()) == []


def test_the_oldest_comes_first(tmp_path: Path) -> None:
    for age, instance in ((3, UUID(int=1)), (9, UUID(int=2)), (5, UUID(int=3))):
        os.utime(dead(tmp_path, instance) / "lock", (1e9 - age, 1e9 - age))
    found = adopt(tmp_path).spools
    assert [adopted.instance.int for adopted in found] == [2, 3, 1]
    for adopted in found:
        adopted.release()


@pytest.mark.parametrize("cut", range(0, RECORD_SIZE + 9, 5))
def test_a_torn_last_record_costs_only_itself(tmp_path: Path, cut: int) -> None:
    folder = dead(tmp_path)
    whole = header(ME, codec.VERSION) + record(1, b"payload 1") + record(2, b"payload 2")
    (folder / "00000001.log").write_bytes(whole + record(3, b"payload 3")[:cut])
    (folder / "00000002.log").write_bytes(header(ME, codec.VERSION) + record(4, b"payload 4"))
    (adopted,) = adopt(tmp_path).spools
    assert everything(adopted.reader) == [1, 2, 4]
    assert adopted.reader.torn == (cut > 0)
    adopted.release()


@pytest.mark.parametrize("cut", range(HEADER_SIZE))
def test_a_file_that_was_cut_in_its_header_is_empty(tmp_path: Path, cut: int) -> None:
    (dead(tmp_path) / "00000001.log").write_bytes(header(ME, codec.VERSION)[:cut])
    (adopted,) = adopt(tmp_path).spools
    assert everything(adopted.reader) == []
    adopted.release()


def test_a_record_longer_than_a_chunk_is_read(tmp_path: Path) -> None:
    made = Spool(tmp_path, ME, max_bytes=2**22)
    for seq, size in ((1, 10), (2, 600_000), (3, 10)):
        made.append(seq, 1, b"x" * size)
    eventually(lambda: made.written == 3, "it is written")
    reader = Segments(made.folder)
    assert [len(payload) for after in (0, 1, 2) for _, payload in reader.read(after)] == [10, 600_000, 10]
    made.close()


def test_a_file_of_another_version_is_left_alone_and_named(tmp_path: Path) -> None:
    folder = dead(tmp_path)
    (folder / "00000001.log").write_bytes(header(ME, codec.VERSION + 1) + record(1, b"x"))
    found = adopt(tmp_path)
    assert found.spools == []
    assert "00000001.log is a spool of another version" in found.refused[0]
    assert [why for _, _, why in left_behind(tmp_path)] == found.refused
    assert folder.exists()


def test_a_cap_is_announced_and_ends_when_the_database_has_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = Spool(tmp_path, ME, max_bytes=400, segment_bytes=100)
    for seq in range(1, 31):
        made.append(seq, 2, b"payload %d" % seq)
    eventually(lambda: made.state is SpoolState.CAPPED, "it is full")
    assert "ledger.spool_max_mb" in caplog.text
    assert not made.keeps_up
    assert made.bytes <= 400
    reader = made.reader()
    found: list[int] = []  # from the disk, then from memory
    while records := made.read(reader, found[-1] if found else 0):
        found += [seq for seq, _ in records]
    assert found == list(range(1, 31))
    made.acknowledge(29)
    eventually(lambda: made.written == 30, "the last is written")
    assert made.state is SpoolState.OK
    made.close()


def test_groups_that_the_database_had_first_are_not_written(tmp_path: Path) -> None:
    made = Spool(tmp_path, ME, max_bytes=100)
    for seq in (1, 2, 3):
        made.append(seq, 2, b"x" * 200)
    eventually(lambda: made.state is SpoolState.CAPPED, "it is full")
    assert made.backlog_facts == 6
    made.acknowledge(3)
    assert made.backlog_facts == 0
    made.close()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_below_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SpoolError, match=r"ledger\.spool_dir"):
        Spool(tmp_path / "file", ME, max_bytes=100)


# ---- a kill, and a file system that is full: in processes of their own -----------------------------------

CHILD = """
import os, sys
from pathlib import Path
from uuid import UUID
from storage.spool import Spool
spool = Spool(Path(sys.argv[1]), UUID(int=7), max_bytes=2**24, segment_bytes=5000)
for seq in range(1, 2001):
    spool.append(seq, 2, b"payload %d" % seq)
while spool.written < 2000:
    pass
print("written", flush=True)
seq = 2000
while True:
    seq += 1
    spool.append(seq, 2, b"payload %d" % seq)
"""


def test_a_killed_process_leaves_what_it_wrote(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", CHILD, str(tmp_path)], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.kill()
    (adopted,) = adopt(tmp_path).spools
    found = everything(adopted.reader)
    assert len(found) >= 2000
    assert found == list(range(1, len(found) + 1))
    adopted.release()


SMALL_DISK = """
import subprocess, sys, time
from pathlib import Path
from uuid import UUID
from storage.spool import Spool, SpoolState
from storage.spool_folder import Segments
def until(done):
    end = time.monotonic() + 10
    while not done():
        assert time.monotonic() < end
        time.sleep(0.01)
disk = Path(sys.argv[1])
subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", disk], check=True)
spool = Spool(disk / "spool", UUID(int=7), max_bytes=2**24, segment_bytes=20_000)
(disk / "others").write_bytes(bytes(100_000))
for seq in range(1, 3001):
    spool.append(seq, 1, b"payload %d" % seq + bytes(100))
until(lambda: spool.state is SpoolState.NO_SPACE)
assert 0 < spool.written < 3000
reader, found = spool.reader(), []
while records := spool.read(reader, found[-1] if found else 0):
    found += [seq for seq, _ in records]
assert found == list(range(1, 3001)), len(found)
spool.acknowledge(1000)  # the database has some: there is room again
until(lambda: spool.written > 1000)
(disk / "others").unlink()
spool.acknowledge(2990)
until(lambda: spool.written == 3000 and spool.state is SpoolState.OK)
found = []
while records := Segments(spool.folder).read(found[-1] if found else 2990):
    found += [seq for seq, _ in records]
assert found == list(range(2991, 3001)), found
print("held")
"""


@pytest.mark.skipif(
    subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode != 0,
    reason="no mount namespace may be made here",
)
def test_a_full_file_system_is_announced_and_nothing_is_torn(
    tmp_path: Path,
) -> None:
    command = [*NAMESPACE, sys.executable, "-c", SMALL_DISK, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.stdout == "held\n", done.stderr
    assert "No space left on device" in done.stderr
    assert "takes again" in done.stderr


def test_instances_do_not_share(tmp_path: Path) -> None:
    first, second = (Spool(tmp_path, uuid4(), max_bytes=2**20) for _ in range(2))
    fill(first, 1, 2)
    fill(second, 1, 3)
    assert everything(Segments(first.folder)) == [1, 2]
    assert everything(Segments(second.folder)) == [1, 2, 3]
    first.close()
    second.close()
