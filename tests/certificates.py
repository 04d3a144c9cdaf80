"""A certificate authority of the tests' own: certificates good, too old, too new or for another host, as PEM files.

``Authority(tmp_path)`` makes the CA; ``authority.file`` is what a ``tls_ca`` names. ``issue("sip.example.test",
"127.0.0.1")`` is good for those names and addresses now, ``expired`` until yesterday, ``not_yet_valid`` from tomorrow;
one for another host is ``issue`` with another name, one that nobody trusts comes from an Authority of its own.
"""

from __future__ import annotations

import ipaddress
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """What a TLS server or client shows: PEM files of the certificate and of its key."""

    certificate: Path
    key: Path


class Authority:
    """Signs certificates; its files and theirs lie in ``folder``."""

    def __init__(self, folder: Path, name: str = "ca") -> None:
        self._folder = folder
        self._name = name
        self._numbers = itertools.count(1)
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._subject = _subject(f"{name} of the tests")
        usage = x509.KeyUsage(
            key_cert_sign=True, crl_sign=True, digital_signature=False, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        now = datetime.now(UTC)
        certificate = (
            self._builder(self._subject, self._key.public_key(), now - 30 * DAY, now + 30 * DAY)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(usage, critical=True)
            .sign(self._key, hashes.SHA256())
        )
        self.file = folder / f"{name}.pem"
        self.file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))

    def issue(self, *names: str) -> Identity:
        """Good now for these DNS names and IP addresses."""
        now = datetime.now(UTC)
        return self._issue(names, now - DAY, now + DAY)

    def expired(self, *names: str) -> Identity:
        now = datetime.now(UTC)
        return self._issue(names, now - 2 * DAY, now - DAY)

    def not_yet_valid(self, *names: str) -> Identity:
        now = datetime.now(UTC)
        return self._issue(names, now + DAY, now + 2 * DAY)

    def _issue(self, names: Sequence[str], begins: datetime, ends: datetime) -> Identity:
        key = ec.generate_private_key(ec.SECP256R1())
        certificate = (
            self._builder(_subject(names[0]), key.public_key(), begins, ends)
            .add_extension(x509.SubjectAlternativeName(list(map(_general_name, names))), critical=False)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(
                x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]),
                critical=False,
            )
            .sign(self._key, hashes.SHA256())
        )
        stem = self._folder / f"{self._name}-{next(self._numbers)}"
        identity = Identity(stem.with_suffix(".pem"), stem.with_suffix(".key"))
        identity.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        identity.key.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return identity

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePublicKey, begins: datetime, ends: datetime
    ) -> x509.CertificateBuilder:
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        return (
            x509.CertificateBuilder(self._subject, subject, key, x509.random_serial_number(), begins, ends)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
            .add_extension(issuer, critical=False)
        )


def _subject(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
