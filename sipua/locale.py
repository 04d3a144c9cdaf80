"""Country and language from a telephone number. ``phonenumbers`` knows the plans; the language table is ours."""

from __future__ import annotations

from zoneinfo import ZoneInfo

import phonenumbers
from phonenumbers import timezone

DEFAULT_LOCALE = "en"
# Language by country calling code, unless configured otherwise (rules of the shared schema).
LOCALE_BY_PREFIX = {250: "rw", 254: "sw", 255: "sw", 33: "fr", 225: "fr", 221: "fr"}


# ISO 639-2/3 codes and names that models give instead of two letters, for the languages that we ship.
_LONG_FORMS = {
    "eng": "en", "english": "en", "fra": "fr", "fre": "fr", "french": "fr", "kin": "rw", "kinyarwanda": "rw",
    "swa": "sw", "swh": "sw", "swc": "sw", "swahili": "sw", "kiswahili": "sw",
}  # fmt: skip


def two_letters(tag: str) -> str | None:
    """ISO 639-1 of a language tag ("sw-KE", "swa", "Swahili"), or None (Cantonese, yue, has none)."""
    main = tag.strip().replace("_", "-").partition("-")[0].lower()
    code = _LONG_FORMS.get(main, main)
    return code if len(code) == 2 and code.isascii() and code.isalpha() else None


def country_of(number: str | None) -> str | None:
    """ISO 3166 alpha-2 of an E.164 number, or None."""
    parsed = _parse(number)
    region = phonenumbers.region_code_for_number(parsed) if parsed is not None else None
    return region if region is not None and region.isalpha() else None  # "001" is no country


def locale_of(number: str | None) -> str:
    """Two-letter language for a caller."""
    parsed = _parse(number)
    code = parsed.country_code if parsed is not None else None
    return LOCALE_BY_PREFIX.get(code, DEFAULT_LOCALE) if code is not None else DEFAULT_LOCALE


def zones_of(number: str) -> tuple[ZoneInfo, ...]:
    """Where an E.164 number may be: one time zone, several (mobiles of large countries), or none that is known."""
    parsed = _parse(number)
    if parsed is None:
        return ()
    names = timezone.time_zones_for_number(parsed)
    try:
        return tuple(ZoneInfo(name) for name in names if name != "Etc/Unknown")
    except (LookupError, ValueError, OSError):  # the machine's table of zones is older than the library's
        return ()


def _parse(number: str | None) -> phonenumbers.PhoneNumber | None:
    if not number or not number.startswith("+"):
        return None
    try:
        return phonenumbers.parse(number)
    except phonenumbers.NumberParseException:
        return None
