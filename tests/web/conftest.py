from tests.postgres import database, empty_database, postgres_server, template  # noqa: F401
