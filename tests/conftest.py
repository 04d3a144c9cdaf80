"""Fixtures and hooks for every test folder."""

from __future__ import annotations

from tests.ci_skips import pytest_runtest_makereport
from tests.postgres import database, empty_database, postgres_server, template

__all__ = ["database", "empty_database", "postgres_server", "pytest_runtest_makereport", "template"]
