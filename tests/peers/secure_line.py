"""An agent with a TLS trunk for each value of ``srtp``, told apart by the port that is called."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.certificates import Authority
from tests.peers.agent import Agent
from tests.ports import free_port


@dataclass(frozen=True, slots=True)
class SecureLine:
    """``identity`` has certificate and key in one file."""

    agent: Agent
    ports: dict[str, int]
    authority: Path
    certificate: Path
    key: Path
    identity: Path

    def uri(self, use: str) -> str:
        return f"sip:agent@127.0.0.1:{self.ports[use]}"


@contextmanager
def running_line(folder: Path, dsn: str, base_url: str) -> Iterator[SecureLine]:
    authority = Authority(folder)
    identity = authority.issue("127.0.0.1")
    both = folder / "both.pem"
    both.write_bytes(identity.certificate.read_bytes() + identity.key.read_bytes())
    ports = {use: free_port() for use in ("off", "optional", "mandatory")}
    trunks = {
        use: f'["127.0.0.1/32"]\ntransport = "tls"\nbind_port = {port}\nsrtp = "{use}"\ntls_ca = "{authority.file}"'
        for use, port in ports.items()
    }
    agent = Agent(
        folder / "agent", dsn, base_url, trunks=trunks,
        SIPUA_SIP__TLS_CERTIFICATE=str(identity.certificate), SIPUA_SIP__TLS_KEY=str(identity.key),
    )  # fmt: skip
    yield SecureLine(agent, ports, authority.file, identity.certificate, identity.key, both)
    agent.end()
