"""Log lines: one object a line as JSON, one readable line for people."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import orjson
import pytest

from sipua.log import configure_logging

log = logging.getLogger("sipua.test")


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def test_json_is_one_object_a_line_with_the_fields_given(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    log.debug("not this")
    log.info("call=%s up", "abc", extra={"trunk": "t"})
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("bad")
    out, err = capsys.readouterr()
    assert out == ""  # stdout belongs to results
    first, second = (orjson.loads(line) for line in err.splitlines())
    assert first | {"timestamp": ""} == {
        "event": "call=abc up", "level": "info", "logger": "sipua.test", "trunk": "t", "timestamp": "",
    }  # fmt: skip
    assert first["timestamp"].endswith("Z")
    assert "ValueError: two\nlines" in second["exception"]


def test_console_is_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("warning", "console")
    log.info("not this")
    log.warning("careful")
    out, err = capsys.readouterr()
    assert out == ""
    assert "careful" in err
    assert "not this" not in err
    assert "\x1b" not in err  # no colours into a file


def test_other_peoples_chatter_is_kept_down(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json")
    logging.getLogger("websockets").info("> TEXT …")
    logging.getLogger("websockets").warning("odd")
    assert [orjson.loads(line)["event"] for line in capsys.readouterr().err.splitlines()] == ["odd"]


def test_asking_twice_says_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    configure_logging("info", "json")
    log.info("once")
    assert len(capsys.readouterr().err.splitlines()) == 1
