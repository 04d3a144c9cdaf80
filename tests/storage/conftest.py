"""The PostgreSQL fixtures for this folder."""

from tests.postgres import database, empty_database, postgres_server, template

__all__ = ["database", "empty_database", "postgres_server", "template"]
