"""What may stand in a log line of numbers and secrets, wherever it came from: a peer's header, a library, a traceback.

Whoever logs masks what he knows to be a number; this is the net below. It knows the values of our own secrets, and the
looks of others. Digits are taken for a number where E.164 allows so many and nothing beside them makes them a part of
something else (an id, an address, a time).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from sipua.sip_message import mask_number

HIDDEN = "***"
SECRET_MIN_CHARS = 6  # a shorter one would hide half of the words

_USER = re.compile(r"(?i)\b((?:sips?|tel|whatsapp):)(\+?[0-9][0-9().-]{3,24})(?=[@;>\s\"',)]|$)")
_NUMBER = re.compile(r"(?<![\w.:/+-])(\+[0-9][0-9 ().-]{5,22}[0-9]|[0-9]{9,15})(?!\w|[.:-]+[0-9])")
_LOOKS = (
    re.compile(r"\b(?:sk|ek|pk|rk|whsec|xox[abp])[-_][\w+/=-]{6,}"),
    re.compile(r"(?i)(?<=bearer )[\w.~+/=-]{6,}"),
    re.compile(r"(?i)(?<=basic )[\w+/=]{8,}"),
    re.compile(r"(?<=://)[^\s/@:]*:[^\s/@]+(?=@)"),  # user and password in a URL
    re.compile(r"(?i)(?<=[?&])(?:token|sig|signature|key|secret|password|access_token)=[^&\s\"']+"),
    re.compile(r"(?i)\b(?:api[-_]?key|authorization)\b[\"']?\s*[=:]\s*(?!\*)[^\s,;\"']+"),
    # "password: is not set" is what we say ourselves of a key of that name
    re.compile(
        r"(?i)\b(?:password|passwd|secret)\b(?:[\"']?\s*=\s*|:(?!\s)|[\"']\s*:\s*)[\"']?(?!\*)[^\s,;\"']+"
    ),
)


class Redaction:
    """``secrets``: values that must not be seen."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        known = sorted({each for each in secrets if len(each) >= SECRET_MIN_CHARS}, key=len, reverse=True)
        self._known = re.compile("|".join(map(re.escape, known))) if known else None

    def __call__(self, text: str) -> str:
        if self._known is not None:
            text = self._known.sub(HIDDEN, text)
        for looks in _LOOKS:
            text = looks.sub(HIDDEN, text)
        text = _USER.sub(lambda found: found[1] + mask_number(found[2]), text)
        return _NUMBER.sub(lambda found: mask_number(re.sub(r"[ ().-]", "", found[1])), text)
