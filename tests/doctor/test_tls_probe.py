"""Handshakes with real TLS servers, and the words for what is wrong with a certificate."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sipua.checks.trunk_wire import Finding, judged
from sipua.errors import ConfigError
from sipua.tls_probe import Handshake, HandshakeFailed, client_context, shake_hands
from tests.certificates import Authority, Identity
from tests.doctor.responders import answering, stream_responder, stream_server
from tests.ports import free_port

NAME = "sip.example.test"
OK = answering("200 OK")


async def seen(identity: Identity, authority: Authority, name: str = NAME) -> Handshake:
    async with stream_responder(OK, identity) as target:
        context = client_context(str(authority.file), "1.2")
        return await shake_hands(target.address, target.port, name, context)


def said(found: Handshake, name: str = NAME) -> Finding:
    return judged(found, name, "mtn", datetime.now(UTC))


async def test_a_certificate_that_holds_has_names_dates_and_version(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    found = await seen(authority.issue(NAME, "127.0.0.1"), authority)
    assert (found.refusal, found.version) == ("", "TLSv1.3")
    assert found.certificate.names == (NAME, "127.0.0.1")
    finding = said(found)
    assert finding.status == "warn"  # it ends tomorrow
    assert finding.todo == "mtn has to renew it: tell them"
    later = replace(
        found, certificate=replace(found.certificate, ends=datetime.now(UTC) + timedelta(days=22))
    )
    assert said(later).status == "ok"
    assert said(later).text.startswith(f"TLSv1.3, certificate for {NAME}, 127.0.0.1 until 20")


async def test_an_expired_certificate_is_named_with_its_day(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    finding = said(await seen(authority.expired(NAME), authority))
    yesterday = datetime.now(UTC) - timedelta(days=1)
    assert (finding.status, finding.text) == (
        "fail",
        f"the certificate for {NAME} expired on {yesterday:%Y-%m-%d}",
    )


async def test_a_certificate_of_tomorrow_makes_one_look_at_the_clock(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    finding = said(await seen(authority.not_yet_valid(NAME), authority))
    assert finding.status == "fail"
    assert f"the certificate for {NAME} is valid from 20" in finding.text
    assert finding.todo.startswith("check our clock")


async def test_a_certificate_for_another_host_is_named_with_both(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    finding = said(await seen(authority.issue("other.example.test", "192.0.2.1"), authority))
    assert finding.status == "fail"
    assert finding.text == f"the certificate is for other.example.test, 192.0.2.1, not for {NAME}"
    by_address = said(await seen(authority.issue("other.example.test"), authority, "127.0.0.1"), "127.0.0.1")
    assert by_address.text == "the certificate is for other.example.test, not for 127.0.0.1"


async def test_a_certificate_that_nobody_vouches_for_names_its_issuer(tmp_path: Path) -> None:
    stranger = Authority(tmp_path, "stranger")
    finding = said(await seen(stranger.issue(NAME), Authority(tmp_path)))
    assert finding.status == "fail"
    assert "is not trusted" in finding.text
    assert "signed by stranger of the tests" in finding.text
    assert "set tls_ca" in finding.todo


async def test_what_is_no_tls_and_what_is_too_old_are_told(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = client_context(str(authority.file), "1.3")
    async with stream_responder(OK, authority.issue(NAME), version=ssl.TLSVersion.TLSv1_2) as target:
        with pytest.raises(HandshakeFailed, match=r"handshake failed: .*(version|closed)"):
            await shake_hands(target.address, target.port, NAME, context)

    async def mail(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.test ESMTP\r\n")
        await reader.read()

    async with stream_server(mail) as port:
        with pytest.raises(HandshakeFailed, match="handshake failed: "):
            await shake_hands("127.0.0.1", port, NAME, context)
    with pytest.raises(HandshakeFailed, match="refused: nothing listens there"):
        await shake_hands("127.0.0.1", free_port(), NAME, context)


async def test_a_server_that_says_nothing_is_not_waited_for(tmp_path: Path) -> None:
    authority = Authority(tmp_path)

    async def mute(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with stream_server(mute) as port:
        context = client_context(str(authority.file), "1.2")
        with pytest.raises(HandshakeFailed, match=r"no TLS connection within 0\.2 s"):
            await shake_hands("127.0.0.1", port, NAME, context, timeout_s=0.2)


def test_a_ca_file_that_is_none_is_a_configuration_fault(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    for file in (tmp_path / "nowhere", tmp_path / "empty"):
        with pytest.raises(ConfigError, match="tls_ca = "):
            client_context(str(file), "1.2")
