"""The outbox: one order, two policies."""

from __future__ import annotations

import pytest

from sipua.realtime.outbox import Outbox, QueueFullError


def drain(outbox: Outbox) -> list[bytes]:
    entries = []
    while (entry := outbox.pop()) is not None:
        entries.append(entry[1])
    return entries


def test_order_is_kept_across_kinds() -> None:
    outbox = Outbox()
    outbox.push_append(b"a1")
    outbox.push_control(b"c1")
    outbox.push_append(b"a2")
    assert drain(outbox) == [b"a1", b"c1", b"a2"]
    assert outbox.pop() is None


def test_a_full_queue_of_audio_is_a_named_error_and_loses_nothing() -> None:
    outbox = Outbox(appends_max=2)
    outbox.push_control(b"c1")
    outbox.push_append(b"a1")
    outbox.push_append(b"a2")
    with pytest.raises(QueueFullError, match=r"audio .* full \(2 packets\)"):
        outbox.push_append(b"a3")
    assert drain(outbox) == [b"c1", b"a1", b"a2"]
    outbox.push_append(b"a4")


def test_a_full_queue_of_controls_is_a_named_error() -> None:
    outbox = Outbox(controls_max=1)
    outbox.push_append(b"a1")
    outbox.push_control(b"c1")
    with pytest.raises(QueueFullError, match=r"control events .* full \(1\)"):
        outbox.push_control(b"c2")
    outbox.push_append(b"a2")


def test_clear_counts_the_audio() -> None:
    outbox = Outbox()
    outbox.push_append(b"a1")
    outbox.push_control(b"c1")
    assert (outbox.clear(), len(outbox), outbox.clear()) == (1, 0, 0)
