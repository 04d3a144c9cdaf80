"""The keys of ``[alerts]``."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, model_validator

from sipua.safe_url import check_url
from sipua.section import Section

ADDRESS = r"^[^@\s<>,;\"]{1,64}@[^@\s<>,;\"]{1,255}$"
Kind = Literal["trunk", "voice_service", "spend", "disk", "database", "spool", "ledger", "certificate"]


class AlertSettings(Section):
    """Who is told, without Prometheus, that something must be mended, and that it is well again (docs/alerts.md)."""

    command: list[str] = Field(default=[], max_length=64)
    """A program and its arguments, which is given one alert as JSON on stdin; empty = none."""
    url: str = ""
    """https (http on this machine or in a private network): one signed POST for each; empty = none."""
    secret_file: str = ""
    """A file with the secret that signs them, as the tools' (docs/tools.md)."""
    mail_to: list[str] = Field(default=[], max_length=32)
    """Who gets an e-mail; empty = nobody."""
    mail_from: str = ""
    """The sender's address."""
    smtp_host: str = Field(default="", pattern=r"^[A-Za-z0-9._:-]{0,255}$")
    """The server that takes our mail."""
    smtp_port: int = Field(default=587, ge=1, le=65535)
    """587 with starttls, 465 with tls, 25 in the house."""
    smtp_tls: Literal["starttls", "tls", "none"] = "starttls"
    """Its encryption, with a certificate that holds for smtp_host; none only without a login."""
    smtp_ca: str = ""
    """A file with the CA certificates (PEM) of that server; empty = the system's."""
    smtp_user: str = ""
    """Login there; empty = none."""
    smtp_password_file: str = ""
    """A file with its password."""
    off: list[Kind] = Field(default=[])
    """Kinds that nobody is told of: trunk, voice_service, spend, disk, database, spool, ledger, certificate."""
    after_s: float = Field(default=30.0, ge=0, le=3600)
    """What is over before that is not told (trunk, database)."""
    clear_s: float = Field(default=60.0, ge=0, le=3600)
    """What is well for so long has recovered; what comes back before is the same incident."""
    remind_h: float = Field(default=0.0, ge=0, le=8760)
    """What goes on is told again so often; 0 = once."""
    min_free_mb: int = Field(default=500, ge=0)
    """Less free space where state, spool and recordings are is told."""
    certificate_days: int = Field(default=14, ge=0, le=365)
    """So long before its end a certificate (ours, a trunk's) is told."""

    @model_validator(mode="after")
    def _whole(self) -> AlertSettings:
        if self.url:
            check_url(self.url, "url")
        if bool(self.url) != bool(self.secret_file):
            raise ValueError("url and secret_file: both or neither, requests are signed")
        if self.command and not self.command[0]:
            raise ValueError("command: its first word is the program")
        if self.mail_to and not (self.smtp_host and self.mail_from):
            raise ValueError("mail_to needs smtp_host and mail_from")
        _check_addresses("mail_to", self.mail_to)
        _check_addresses("mail_from", [self.mail_from] if self.mail_from else [])
        if bool(self.smtp_user) != bool(self.smtp_password_file):
            raise ValueError("smtp_user and smtp_password_file: both or neither")
        if self.smtp_user and self.smtp_tls == "none":
            raise ValueError("smtp_tls = 'none' would send the password in the clear; allowed: starttls, tls")
        return self


def _check_addresses(key: str, addresses: list[str]) -> None:
    for each in addresses:
        if not re.fullmatch(ADDRESS, each):
            raise ValueError(f"{key}: {each!r} is no address; allowed: such as ops@example.org")
