"""The name server of the drills, for tests of ``sipua.resolve`` and ``sipua.names``."""

from sipua.drills.name_server import NameServer, Zone, start_name_server

__all__ = ["NameServer", "Zone", "start_name_server"]
