"""The impairment tool itself, on real sockets in its two namespaces."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

import pytest

from rtp.traces import read
from tests.peers.line import Line, inside

pytestmark = pytest.mark.peer
PORT = 5000


def bound_in(line: Line, end: str) -> socket.socket:
    sock = inside(line.namespaces[end], lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sock.bind((line.addresses[end], PORT))
    sock.settimeout(5)
    return sock


def test_each_packet_meets_its_fate(start_line: Callable[..., Line], tmp_path: Path) -> None:
    """RTP by the trace, one way only; all else at once. Nothing is left behind."""
    (tmp_path / "trace.txt").write_text("0 L 300 0+150 0 L")
    line = start_line(to_near=read(tmp_path / "trace.txt"))
    near, far = (bound_in(line, end) for end in ("near", "far"))
    with near, far:
        for number in range(6):
            far.sendto(bytes([0x80, 0, 0, number]) + bytes(168), (line.addresses["near"], PORT))
        far.sendto(b"\x81\xc9" + bytes(30), (line.addresses["near"], PORT))  # RTCP
        far.sendto(b"OPTIONS sip:near SIP/2.0\r\n\r\n", (line.addresses["near"], PORT))
        received = [near.recv(200) for _ in range(7)]
        assert [data[:2] for data in received].count(b"\x80\x00") == 5
        assert [data[3] for data in received if data[0] == 0x80] == [0, 3, 4, 3, 2]
        assert {data[:2] for data in received[:-2]} == {b"\x80\x00", b"\x81\xc9", b"OP"}
        near.sendto(received[0], (line.addresses["far"], PORT))
        assert far.recv(200) == received[0]
    made = [Path("/run/netns") / namespace for namespace in line.namespaces.values()]
    assert all(path.exists() for path in made)
    line.end()
    assert not any(path.exists() for path in made)
    assert line.counts["to_near"] == {
        "sent": 6, "arrived": 5, "lost": 2, "repeated": 1, "reordered": 1, "overflow": 0, "refused": 0,
    }  # fmt: skip
    assert line.counts["to_far"] == {"refused": 0}
