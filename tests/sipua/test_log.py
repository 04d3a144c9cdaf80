"""Log lines: one object a line as JSON, one readable line for people."""

from __future__ import annotations

import asyncio
import logging
import sys
import threading
import warnings

import orjson
import pytest

from sipua.log import QUEUE_LIMIT, LineQueue, call_of_task, configure_logging, is_json

log = logging.getLogger("sipua.test")


@pytest.fixture(autouse=True)
def _no_handlers() -> None:
    logging.getLogger().handlers[:] = []  # ours closes what it replaces


def written(capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """stdout and stderr once the writing thread is done."""
    for handler in logging.getLogger().handlers:
        handler.close()
    out, err = capsys.readouterr()
    return out, err


def test_json_is_one_object_a_line_with_the_fields_given(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    log.debug("not this")
    log.info("call=%s up", "abc", extra={"trunk": "t"})
    try:
        raise ValueError("two\nlines")
    except ValueError:
        log.exception("bad")
    out, err = written(capsys)
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
    out, err = written(capsys)
    assert out == ""
    assert "careful" in err
    assert "not this" not in err
    assert "\x1b" not in err  # no colours into a file


def test_other_peoples_chatter_is_kept_down(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json")
    logging.getLogger("websockets").info("> TEXT …")
    logging.getLogger("websockets").warning("odd")
    assert [orjson.loads(line)["event"] for line in written(capsys)[1].splitlines()] == ["odd"]


CALL = "0d9a3c52-1c41-4a5c-9e4b-123456789abc"
OTHER = "1d9a3c52-1c41-4a5c-9e4b-123456789abc"


async def test_a_line_of_a_call_has_its_id_also_where_it_is_a_librarys(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logging("info", "json")

    async def below() -> None:
        logging.getLogger("websockets").warning("odd")
        log.info("call=%s is another", OTHER)

    async def call() -> None:
        call_of_task.set(CALL)
        await asyncio.create_task(below())

    await asyncio.create_task(call())
    log.info("of none")
    lines = [orjson.loads(line) for line in written(capsys)[1].splitlines()]
    assert [line.get("call") for line in lines] == [CALL, OTHER, None]


def test_people_read_an_id_once(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    log.info("call=%s up", CALL)
    assert written(capsys)[1].count(CALL) == 1


def test_as_json_there_is_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("debug", "json", secrets=["hunter2!"])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("of +250788123456", stacklevel=1)
    thread = threading.Thread(target=lambda: int("hunter2!"), name="a thread")
    thread.start()
    thread.join()
    sys.excepthook(KeyError, KeyError("sip:+250788123456@h"), None)
    assert is_json()
    err = written(capsys)[1]
    warned, failed, died = (orjson.loads(line) for line in err.splitlines())
    assert (warned["logger"], warned["level"]) == ("py.warnings", "warning")
    assert "ValueError" in failed["exception"]
    assert (died["event"], died["level"]) == ("nobody caught KeyError", "critical")
    assert "hunter2!" not in err
    assert "250788123456" not in err


def test_asking_twice_says_nothing_twice(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    configure_logging("info", "json")
    log.info("once")
    assert len(written(capsys)[1].splitlines()) == 1


def test_what_a_peer_says_forges_no_line_and_moves_no_cursor(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "console")
    log.info("refused: %s", "c=\x1b[31mred\nsipua: all is well")
    (line,) = written(capsys)[1].splitlines()
    assert "\\x1b[31mred\\nsipua" in line


class Stuck(logging.Handler):
    """A reader of stderr that takes nothing until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.took = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.go.wait(10)
        self.took += 1


def test_a_stuck_reader_costs_lines_and_no_time() -> None:
    stuck = Stuck()
    lines = LineQueue(stuck)
    record = log.makeRecord("x", logging.INFO, "f", 1, "line %d", (1,), None)
    for _ in range(QUEUE_LIMIT + 100):
        lines.handle(record)
    assert lines.dropped >= 99  # one may be in the writer's hands
    stuck.go.set()
    lines.close()
    assert stuck.took + lines.dropped == QUEUE_LIMIT + 100


def test_other_handlers_see_the_record_whole(caplog: pytest.LogCaptureFixture) -> None:
    class Taken(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None: ...

    lines = LineQueue(Taken())
    logging.getLogger().handlers[:] = [lines, caplog.handler]
    try:
        raise ValueError("a bug")
    except ValueError:
        log.exception("bad\nthing")
    assert "bad\nthing" in caplog.text
    assert "ValueError: a bug" in caplog.text
