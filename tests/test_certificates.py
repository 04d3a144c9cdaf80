"""The tests' own certificates, held against OpenSSL's judgement: TLS tests stand on them."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.certificates import Authority, Identity


def complaint(ca: Path, identity: Identity, host: str) -> str:
    """Why a client refuses the server for ``host``; "" if it does not."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(identity.certificate, identity.key)
    client = ssl.create_default_context(cafile=str(ca))
    client.verify_flags |= ssl.VERIFY_X509_STRICT
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    far = server.wrap_bio(to_server, to_client, server_side=True)
    near = client.wrap_bio(to_client, to_server, server_hostname=host)
    for _ in range(3):
        for side in (near, far):
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLCertVerificationError as error:
                return error.verify_message
    return ""


def good(authority: Authority) -> Identity:
    return authority.issue("a.example.test", "127.0.0.7")


@pytest.mark.parametrize(
    ("issue", "host", "said"),
    [
        (good, "a.example.test", ""),
        (good, "127.0.0.7", ""),
        (good, "b.example.test", "Hostname mismatch"),
        (good, "127.0.0.8", "IP address mismatch"),
        (lambda authority: authority.expired("a.example.test"), "a.example.test", "certificate has expired"),
        (lambda authority: authority.not_yet_valid("a.example.test"), "a.example.test", "not yet valid"),
    ],
    ids=["name", "address", "another name", "another address", "expired", "not yet valid"],
)
def test_what_openssl_says(
    tmp_path: Path, issue: Callable[[Authority], Identity], host: str, said: str
) -> None:
    authority = Authority(tmp_path)
    found = complaint(authority.file, issue(authority), host)
    assert said in found
    assert bool(said) == bool(found)


def test_another_authority_is_not_trusted(tmp_path: Path) -> None:
    ours, theirs = Authority(tmp_path), Authority(tmp_path, "theirs")
    assert "unable to get" in complaint(ours.file, theirs.issue("a.example.test"), "a.example.test")
