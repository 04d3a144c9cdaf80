"""A TLS handshake with one address, judged by OpenSSL against a name, and what certificate was shown.

For ``sipua doctor``. A certificate that does not hold is looked at in a second handshake that verifies nothing and
sends nothing: so that its names and dates can be told.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.x509.oid import NameOID

from sipua.errors import ConfigError, RemoteError

VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class HandshakeFailed(RemoteError):
    """No TLS connection, for another reason than the certificate."""

    retryable = True
    reason = "tls_handshake_failed"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a server showed: the names that it holds for (common name if it has no others) and its dates."""

    names: tuple[str, ...]
    issuer: str
    begins: datetime
    ends: datetime


@dataclass(frozen=True, slots=True)
class Handshake:
    """``refusal`` is why OpenSSL does not accept the certificate for the name, "" if it does."""

    version: str
    certificate: Certificate
    refusal: str


def client_context(ca: str, min_version: str) -> ssl.SSLContext:
    """Verifies against the file ``ca`` ("" = the system's). Raises ConfigError."""
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"tls_ca = {ca!r}: no file with certificates in PEM: {error.strerror or error}"
        ) from None
    context.minimum_version = VERSIONS[min_version]
    return context


async def shake_hands(
    address: str, port: int, name: str, context: ssl.SSLContext, *, local: str = "", timeout_s: float = 5.0
) -> Handshake:
    """Connects, with SNI, and looks at the certificate. Raises HandshakeFailed."""
    try:
        return await _shown(address, port, name, context, local, timeout_s)
    except ssl.SSLCertVerificationError as error:
        looking = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        looking.check_hostname, looking.verify_mode = False, ssl.CERT_NONE
        looking.minimum_version = context.minimum_version
        seen = await _shown(address, port, name, looking, local, timeout_s)
        return Handshake(seen.version, seen.certificate, error.verify_message)


async def _shown(
    address: str, port: int, name: str, context: ssl.SSLContext, local: str, timeout_s: float
) -> Handshake:
    try:
        async with asyncio.timeout(timeout_s):
            _, writer = await asyncio.open_connection(
                address, port, ssl=context, server_hostname=name, local_addr=(local, 0) if local else None
            )
    except ssl.SSLCertVerificationError:
        raise
    except TimeoutError:
        raise HandshakeFailed(f"no TLS connection within {timeout_s:g} s") from None
    except ssl.SSLError as error:
        raise HandshakeFailed(f"the handshake failed: {_words(error)}") from None
    except ConnectionRefusedError:
        raise HandshakeFailed("refused: nothing listens there") from None
    except ConnectionError:
        raise HandshakeFailed("the handshake failed: the other side closed the connection") from None
    except OSError as error:
        raise HandshakeFailed(f"no connection: {error.strerror or error}") from None
    try:
        connection: ssl.SSLObject = writer.get_extra_info("ssl_object")
        der = connection.getpeercert(binary_form=True)
        assert der is not None  # a server always shows one
        return Handshake(connection.version() or "", _certificate(x509.load_der_x509_certificate(der)), "")
    finally:
        writer.transport.abort()


def _words(error: ssl.SSLError) -> str:
    return (error.reason or str(error)).replace("_", " ").lower()


def read_certificate(pem: bytes) -> Certificate:
    """The first one of a file. Raises ValueError."""
    return _certificate(x509.load_pem_x509_certificate(pem))


def _certificate(certificate: x509.Certificate) -> Certificate:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = [str(each.value) for each in extension if isinstance(each, x509.DNSName | x509.IPAddress)]
    except x509.ExtensionNotFound:
        names = _common_names(certificate.subject)
    issuer = _common_names(certificate.issuer) or [certificate.issuer.rfc4514_string()]
    return Certificate(
        tuple(names), issuer[0], certificate.not_valid_before_utc, certificate.not_valid_after_utc
    )


def _common_names(name: x509.Name) -> list[str]:
    return [str(each.value) for each in name.get_attributes_for_oid(NameOID.COMMON_NAME)]
