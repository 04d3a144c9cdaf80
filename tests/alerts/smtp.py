"""A mail server of a page: EHLO, STARTTLS, AUTH, one mail after another. Keeps what it was given."""

from __future__ import annotations

import asyncio
import base64
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage


@dataclass
class MailServer:
    """What it takes, and what came."""

    context: ssl.SSLContext | None = None
    is_tls: bool = False  # from the first byte
    login: tuple[str, str] | None = None
    refuses: tuple[str, ...] = ()  # recipients
    hangs: bool = False
    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[bool] = field(default_factory=list)
    encrypted: list[bool] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await self._talk(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.hangs:
            await reader.read()
            return
        secure, known = self.is_tls, self.login is None
        writer.write(b"220 mail\r\n")
        while line := (await reader.readline()).decode().strip():
            verb = line.partition(" ")[0].upper()
            match verb:
                case "EHLO" | "HELO":
                    more = [] if secure or self.context is None else ["STARTTLS"]
                    more += ["AUTH PLAIN"] if self.login and secure else []
                    names = ["mail", *more, "8BITMIME"]
                    answer = "\r\n".join(f"250{'-' if each != names[-1] else ' '}{each}" for each in names)
                case "STARTTLS":
                    writer.write(b"220 go\r\n")
                    assert self.context is not None
                    await writer.start_tls(self.context)
                    secure = True
                    continue
                case "AUTH":
                    given = base64.b64decode(line.split()[2]).decode().split("\0")[1:]
                    known = tuple(given) == self.login
                    self.logins.append(known)
                    answer = "235 ok" if known else "535 5.7.8 no"
                case "RCPT":
                    address = line.partition("<")[2].partition(">")[0]
                    answer = "550 no such user" if address in self.refuses else "250 ok"
                case "DATA":
                    writer.write(b"354 go\r\n")
                    content = await reader.readuntil(b"\r\n.\r\n")
                    mail = message_from_bytes(content[:-3], policy=policy.default)
                    assert isinstance(mail, EmailMessage)
                    self.mails.append(mail)
                    self.encrypted.append(secure)
                    answer = "250 taken"
                case "MAIL" if not known:
                    answer = "530 log in"
                case "QUIT":
                    writer.write(b"221 bye\r\n")
                    return
                case _:
                    answer = "250 ok"
            writer.write(answer.encode() + b"\r\n")


@asynccontextmanager
async def mail_server(server: MailServer) -> AsyncIterator[MailServer]:
    """On a free port of this machine."""
    tls = server.context if server.is_tls else None
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0, ssl=tls)
    server.port = listening.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listening.close()
