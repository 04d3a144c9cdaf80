"""Names that the SIP side meets: the trunks' static hosts, then DNS, and nothing where nobody knows."""

from __future__ import annotations

from sipua.names import Names
from sipua.trunk import Trunk
from tests.outbound.name_server import Zone, start_name_server

ZONE: Zone = {
    ("_sips._tcp.carrier.test", "SRV"): ["20 0 5062 second.test.", "10 7 5063 first.test."],
    ("first.test", "A"): ["192.0.2.1"],
    ("first.test", "AAAA"): ["2001:db8::1"],
    ("second.test", "A"): ["192.0.2.2"],
}


def trunk(name: str, addresses: list[str], *, enabled: bool = True) -> Trunk:
    return Trunk.model_validate(
        {
            "schema": 1, "name": name, "provider": "p", "enabled": enabled,
            "static_hosts": {"Edge.Carrier.Test": addresses},
        }
    )  # fmt: skip


async def found(names: Names, host: str, port: int = 0, transport: str = "tls") -> list[tuple[str, int]]:
    return await names.find(host, port, transport)


async def test_static_hosts_of_the_enabled_trunks_come_first_and_dns_after_them() -> None:
    server = await start_name_server(ZONE)
    try:
        off = trunk("off", ["192.0.2.9"], enabled=False)
        names = Names("A", [off, trunk("on", ["192.0.2.7"])], nameservers=[server.address])
        assert await found(names, "edge.carrier.test") == [("192.0.2.7", 5061)]
        assert server.asked == []
        assert await found(names, "carrier.test") == [("192.0.2.1", 5063), ("192.0.2.2", 5062)]
        assert await found(names, "first.test", 5070, "udp") == [("192.0.2.1", 5070)]
        assert await found(names, "nobody.test") == []
        names.replace([trunk("on", ["192.0.2.8"])])
        assert await found(names, "edge.carrier.test", 5070) == [("192.0.2.8", 5070)]
        assert await found(Names("AAAA", [], nameservers=[server.address]), "first.test", 5070) == [
            ("2001:db8::1", 5070)
        ]
    finally:
        server.transport.close()
