"""A hook for all tests, taken over by ``conftest.py``.

With ``CI=true`` a test that was skipped for want of a program is a failure, not a silence.
"""

from __future__ import annotations

import os
from collections.abc import Generator

import pytest

INSTALL_HINT = "apt-get install"  # every skip for a missing peer says what to install


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
    if report.skipped and INSTALL_HINT in reason and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid} was skipped, which CI does not allow: {reason}"
    return report
