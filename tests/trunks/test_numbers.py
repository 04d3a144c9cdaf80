"""Numbers per trunk: every form in both directions, for the plans of MTN's countries; caller ids and digest users."""

from __future__ import annotations

import phonenumbers
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sipua.trunks.numbers import (
    Format,
    NumberError,
    NumberPlan,
    NumberSet,
    caller_id,
    check_redirect,
    dial,
    national_number,
    normalise,
    received,
    written,
)

# region, E.164, e164, national, 00, national significant number
PLANS = [
    ("RW", "+250788123456", "250788123456", "0788123456", "00250788123456", "788123456"),
    ("UG", "+256772123456", "256772123456", "0772123456", "00256772123456", "772123456"),
    ("ZA", "+27821234567", "27821234567", "0821234567", "0027821234567", "821234567"),
    ("GH", "+233241234567", "233241234567", "0241234567", "00233241234567", "241234567"),
    ("NG", "+2348031234567", "2348031234567", "08031234567", "002348031234567", "8031234567"),
]


@pytest.mark.parametrize(("region", "plus", "e164", "national", "zeros", "significant"), PLANS)
def test_every_form_is_read_and_written(
    region: str, plus: str, e164: str, national: str, zeros: str, significant: str
) -> None:
    texts = {Format.PLUS_E164: plus, Format.E164: e164, Format.NATIONAL: national, Format.ZERO_ZERO: zeros}
    plan = NumberPlan(region)
    for form, text in texts.items():
        assert written(plus, form, region) == text
        for bare in Format:  # what bare digits usually are does not spoil the other reading
            assert normalise(plan, text, bare) == plus
    assert normalise(plan, significant, Format.NATIONAL) == plus
    assert national_number(plus) == significant


@pytest.mark.parametrize("form", Format)
def test_a_foreign_number_keeps_its_country(form: Format) -> None:
    expected = {Format.PLUS_E164: "+27821234567", Format.E164: "27821234567"}
    assert written("+27821234567", form, "RW") == expected.get(form, "0027821234567")


READ = [
    ("(0788) 123-456", "+250788123456"),
    ("+250 788.123.456", "+250788123456"),
    ("%2B250788123456", "+250788123456"),
    ("+250799999999999", None),  # too long for Rwanda
    ("+1 415 555 0100", "+14155550100"),
]


@pytest.mark.parametrize(("text", "expected"), READ)
def test_what_people_type(text: str, expected: str | None) -> None:
    plan = NumberPlan("RW")
    if expected is not None:
        assert normalise(plan, text, Format.NATIONAL) == expected
        return
    with pytest.raises(NumberError):
        normalise(plan, text, Format.NATIONAL)


def test_nigerias_own_international_prefix() -> None:
    assert normalise(NumberPlan("NG"), "009250788123456", Format.NATIONAL) == "+250788123456"


@pytest.mark.parametrize(
    "text", ["", "+", "alice", "0", "07881234x6", "+0788123456", "9" * 40, "+250٧٨٨123456"]
)
def test_no_number_is_an_error_that_names_what_is_allowed(text: str) -> None:
    with pytest.raises(NumberError, match=r"allowed: .*RW") as caught:
        normalise(NumberPlan("RW"), text, Format.NATIONAL)
    assert caught.value.number == text


def test_errors_do_not_spell_out_numbers() -> None:
    plan = NumberPlan("RW", may_dial=NumberSet(("+250788000001-+250788000099",)))
    with pytest.raises(NumberError) as caught:
        dial(plan, "0788123456")
    assert "788123456" not in str(caught.value)
    assert "3456" in str(caught.value)
    assert caught.value.number == "+250788123456"


@pytest.mark.parametrize(
    "user",
    [
        "moved",
        "",
        "a0900;x=1",
        "+250788123456",
        "0788123456",
        "250788123456",
        "%2B250788123456",
        "+250788123456;npdi",
    ],
)
def test_a_redirect_to_a_name_or_an_allowed_number(user: str) -> None:
    check_redirect(NumberPlan("RW", may_dial=NumberSet(("+250*",))), user)


@pytest.mark.parametrize(
    "user",
    [
        "+12025550100", "0012025550100", "%2B12025550100", "+1-202-555-0100", "+12025550100;npdi", "112", "*21#",
        "12025550100", "0788123456;phone-context=+1", "256772123456",
    ],
)  # fmt: skip
def test_a_redirect_to_a_number_that_may_not_be_dialled(user: str) -> None:
    with pytest.raises(NumberError, match="number"):
        check_redirect(NumberPlan("RW", may_dial=NumberSet(("+250*",))), user)


@pytest.mark.parametrize("user", ["anonymous", "", "Unavailable", "+", "restricted;x=1"])
def test_a_caller_without_a_number_is_none(user: str) -> None:
    assert received(NumberPlan("RW"), user) is None


def test_received_numbers_are_read_the_trunks_way() -> None:
    assert received(NumberPlan("UG", received_format=Format.E164), "256772123456") == "+256772123456"
    assert received(NumberPlan("UG", received_format=Format.NATIONAL), "0772123456;npdi") == "+256772123456"


MTN = NumberPlan(
    "RW",
    to_format=Format.E164,
    from_format=Format.PLUS_E164,
    caller_id="+250788000001",
    allowed_caller_ids=NumberSet(("+250788000010-+250788000019", "+2507891*")),
    auth_user="agent",
    per_number_auth=True,
)


def test_a_call_has_all_its_numbers() -> None:
    dialled = dial(MTN, "0788123456", "0788000012")
    assert (dialled.to_e164, dialled.to_user) == ("+250788123456", "250788123456")
    assert (dialled.from_e164, dialled.from_user) == ("+250788000012", "+250788000012")
    assert dialled.auth_user == "788000012"


CALLER_IDS = [
    ("", "+250788000001"), ("+250788000001", "+250788000001"), ("0788000019", "+250788000019"),
    ("+250789155555", "+250789155555"), ("0788000020", None), ("+27821234567", None), ("nobody", None),
]  # fmt: skip


@pytest.mark.parametrize(("asked", "expected"), CALLER_IDS)
def test_only_allowed_caller_ids(asked: str, expected: str | None) -> None:
    if expected is not None:
        assert caller_id(MTN, asked) == expected
        return
    with pytest.raises(NumberError):
        caller_id(MTN, asked)


def test_no_caller_id_at_all_is_an_error() -> None:
    with pytest.raises(NumberError, match="neither"):
        caller_id(NumberPlan("RW"))


def test_one_digest_user_for_all_numbers() -> None:
    plan = NumberPlan("RW", caller_id="+250788000001", auth_user="agent")
    assert dial(plan, "0788123456").auth_user == "agent"


@pytest.mark.parametrize(
    "pattern", ["", "250", "0788*", "+250*1", "+250788000009-+250788000001", "+25078-+250788000001", "**"]
)
def test_a_bad_pattern_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="no number pattern"):
        NumberSet((pattern,))


@pytest.mark.parametrize(
    "arguments", [{"region": "XX"}, {"region": ""}, {"region": "RW", "caller_id": "0788000001"}]
)
def test_a_bad_plan_is_refused(arguments: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"region|caller_id"):
        NumberPlan(**arguments)  # type: ignore[arg-type]


@given(st.sampled_from(PLANS), st.sampled_from(Format), st.data())
def test_what_is_written_is_read_back(plan: tuple[str, ...], form: Format, data: st.DataObject) -> None:
    region, example = plan[0], plan[1]
    tail = data.draw(st.text("0123456789", min_size=5, max_size=5))
    number = example[:-5] + tail
    if phonenumbers.is_valid_number(phonenumbers.parse(number)):
        assert normalise(NumberPlan(region), written(number, form, region), form) == number


@given(st.text(max_size=30))
def test_any_text_is_a_number_or_an_error(text: str) -> None:
    try:
        number = normalise(NumberPlan("ZA"), text, Format.NATIONAL)
    except NumberError:
        return
    assert number.startswith("+")
    assert number[1:].isdigit()
