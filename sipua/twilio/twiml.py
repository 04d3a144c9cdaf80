"""What Twilio is told to do with a call, as TwiML. No I/O, no clock."""

from __future__ import annotations

from urllib.parse import quote, urlencode
from xml.etree.ElementTree import Element, SubElement, tostring

from sipua.trunk import PARENT_SID_HEADER
from sipua.twilio_settings import TwilioSettings

STATUSES = "initiated ringing answered completed"  # of the leg, which are told


def dial(settings: TwilioSettings, sid: str, *, after: str, status: str) -> str:
    """Sends the call to us by SIP. ``after``: the URL that is asked when that is over; ``status``: that is told of it.

    Our leg has a sid of its own, so that of the call goes with it in a header.
    """
    response = Element("Response")
    timeout = str(settings.timeout_s)
    rules = {"answerOnBridge": "true", "timeout": timeout, "action": after, "method": "POST"}
    dialled = SubElement(response, "Dial", rules)
    leg = SubElement(
        dialled,
        "Sip",
        {"statusCallback": status, "statusCallbackEvent": STATUSES, "statusCallbackMethod": "POST"},
    )
    leg.text = f"{settings.sip_uri}?{urlencode({PARENT_SID_HEADER: sid}, quote_via=quote)}"
    return _document(response)


def over(settings: TwilioSettings, *, was_answered: bool) -> str:
    """When our leg is over: the end, with an apology to who never reached us."""
    response = Element("Response")
    if not was_answered and settings.apology:
        said = SubElement(response, "Say", {"language": settings.apology_language})
        said.text = settings.apology
    SubElement(response, "Hangup")
    return _document(response)


def _document(response: Element) -> str:
    return '<?xml version="1.0" encoding="UTF-8"?>' + tostring(response, "unicode")
