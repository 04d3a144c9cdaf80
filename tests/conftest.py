"""Fixtures and hooks for every test folder."""

from __future__ import annotations

from hypothesis import settings

from tests.ci_skips import pytest_runtest_makereport
from tests.logging_state import logging_put_back
from tests.postgres import database, empty_database, postgres_server, template
from tests.spreading import pytest_collection_modifyitems

__all__ = [
    "database", "empty_database", "logging_put_back", "postgres_server", "pytest_collection_modifyitems",
    "pytest_runtest_makereport", "template",
]  # fmt: skip

# Of whatever profile hypothesis has chosen (with CI=true its own) but how long one example may take on a busy machine.
settings.register_profile("patient", settings(), deadline=None)
settings.load_profile("patient")
