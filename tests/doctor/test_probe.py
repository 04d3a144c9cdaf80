"""OPTIONS to real little servers: what counts as an answer, and what is said where there is none."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sipua.probe import Answer, Query, Unanswered, Unsent, options
from sipua.sip_message import SipMessage
from sipua.tls_probe import client_context
from sipua.trunks.routing import Address
from tests.certificates import Authority
from tests.doctor.responders import (
    answering,
    response,
    silent,
    stream_responder,
    stream_server,
    udp_responder,
)
from tests.ports import free_port

DATE = "Date: Sun, 22 Nov 2026 10:00:00 GMT"


async def ask(target: Address, **more: object) -> Answer:
    return await options(Query(target, "sip:sip.example.test", **more))  # type: ignore[arg-type]


async def test_an_answer_over_udp_has_code_latency_and_date() -> None:
    async with udp_responder(answering("200 OK", DATE)) as (target, responder):
        answer = await ask(target, user="alice", user_agent="Test 1.0")
    assert (answer.code, answer.phrase) == (200, "OK")
    assert 0 < answer.latency_s < 4
    assert answer.date == datetime(2026, 11, 22, 10, tzinfo=UTC)
    (asked,) = responder.asked
    assert asked.start_line == "OPTIONS sip:sip.example.test SIP/2.0"
    assert asked.header("cseq") == "1 OPTIONS"
    assert asked.header("user-agent") == "Test 1.0"
    assert (asked.header("from") or "").startswith("<sip:alice@127.0.0.1>;tag=")
    assert f"127.0.0.1:{answer.source[1]};branch=z9hG4bK" in (asked.header("via") or "")
    assert asked.header("max-forwards") == "70"


async def test_a_lost_datagram_is_sent_again_as_it_was() -> None:
    repeats: list[str] = []

    def second_time(asked: object) -> list[bytes]:
        repeats.append(str(asked))
        return [response(responder.asked[-1], "404 Not Found")] if len(repeats) == 2 else []

    async with udp_responder(second_time) as (target, responder):
        answer = await ask(target)
    assert answer.code == 404
    assert responder.asked[0] == responder.asked[1]


async def test_provisional_and_foreign_responses_are_waited_past() -> None:
    async with udp_responder(
        lambda asked: [
            response(asked, "100 Trying"),
            response(asked, "200 Wrong", via="SIP/2.0/UDP 127.0.0.1;branch=z9hG4bKother"),
            response(asked, "486 Right"),
        ]
    ) as (target, _):
        assert (await ask(target)).phrase == "Right"


async def test_silence_refusal_and_nonsense_are_told_apart() -> None:
    async with udp_responder(silent) as (target, _):
        with pytest.raises(Unanswered, match=r"no answer within 0\.2 s"):
            await ask(target, timeout_s=0.2)
    async with udp_responder(lambda _: [b"HTTP/1.0 400 Bad Request\r\n\r\n"]) as (target, _):
        with pytest.raises(Unanswered, match="not SIP"):
            await ask(target)
    for transport in ("udp", "tcp"):
        with pytest.raises(Unanswered, match="refused: nothing listens there"):
            await ask(Address("x", "127.0.0.1", free_port(), transport))


async def test_an_address_that_is_not_ours_cannot_be_sent_from() -> None:
    for transport in ("udp", "tcp"):
        with pytest.raises(Unsent, match=r"cannot be sent from 192\.0\.2\.1"):
            await ask(Address("x", "127.0.0.1", 5060, transport), local="192.0.2.1")


async def test_a_stream_is_cut_into_messages() -> None:
    def chatty(asked: SipMessage) -> list[bytes]:
        trying = response(asked, "100 Trying", body="v=0\r\n")
        return [b"\r\n\r\n", trying, response(asked, "200 OK", body="x")]

    async with stream_responder(chatty) as target:
        assert (await ask(target)).code == 200


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"SIP/2.0 200 OK\r\nContent-Length: many\r\n\r\n", "not SIP"),
        (b"SIP/2.0 200 OK\r\nContent-Length: 99999999\r\n\r\n", "not SIP"),
        (b"x" * 200_000, "not SIP"),
        (b"220 mail.example.test ESMTP\r\n\r\n", "not SIP"),
    ],
)
async def test_a_stream_that_is_no_sip_is_said_to_be_none(sent: bytes, said: str) -> None:
    async with stream_responder(lambda _: [sent]) as target:
        with pytest.raises(Unanswered, match=said):
            await ask(target)


async def test_a_stream_that_ends_early_is_said_so() -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        await reader.read()

    async with stream_server(hang_up) as port:
        with pytest.raises(Unanswered, match="closed without an answer"):
            await ask(Address("x", "127.0.0.1", port, "tcp"))


async def test_tls_is_verified_against_the_name(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = client_context(str(authority.file), "1.2")
    async with stream_responder(answering("200 OK"), authority.issue("sip.example.test")) as target:
        query = Query(target, "sip:sip.example.test", timeout_s=30.0)
        assert (await options(query, context, "sip.example.test")).code == 200
        with pytest.raises(Unanswered, match=r"(?i)TLS: certificate.verify.failed"):
            await options(query, context, "other.example.test")
