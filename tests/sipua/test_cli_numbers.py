"""What is no number is the same fault for every command, and is named without being shown."""

from __future__ import annotations

import pytest

from sipua.cli.numbers import check_e164, check_number
from sipua.errors import ConfigError
from sipua.trunks.numbers import NumberError, NumberPlan, dial

CALLED = "+12025550123"


@pytest.mark.parametrize("text", ["5", "", "bob", "+", "+1; DROP TABLE", "sip:bob@example.org"])
def test_what_is_no_number_is_a_fault_of_configuration(text: str) -> None:
    for check in (check_number, check_e164):
        with pytest.raises(ConfigError, match=r"^--from .* allowed: "):
            check("--from", text)


def test_a_number_is_taken_as_it_is() -> None:
    assert check_number("TO", "0788 123 456") == "0788 123 456"
    assert check_e164("--from", CALLED) == CALLED


def test_a_caller_id_that_is_none_is_not_blamed_on_the_number_called() -> None:
    with pytest.raises(NumberError, match="is no number to be presented as caller id; allowed: "):
        dial(NumberPlan("US", caller_id="+12025550100"), CALLED, "5")
