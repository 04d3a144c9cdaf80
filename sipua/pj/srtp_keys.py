"""The SRTP key of the far end as pjsua negotiated it, read out of its media transport: pjsua2 does not offer it.

For the one answer that pjsua2 shows nowhere: that in the ACK to a re-INVITE without an offer. The structure
(``pjmedia_srtp_info``: two policies of key and suite, the far end's and ours) is looked for by its lengths, and taken
for it only if our own key stands where it should.
"""

from __future__ import annotations

import ctypes
import struct
from collections.abc import Mapping

from sipua.pj.build import c_library

_BYTES = 8192  # pjmedia_transport_info has less than 2,000
_KEY, _SUITE = 30, 23  # bytes of master key and salt, and of the names of both suites that we run
_POLICY = 5  # words: two pj_str_t (address, length) and flags


def remote_key(call_id: int, media_index: int, own: Mapping[str, bytes]) -> tuple[str, bytes] | None:
    """Suite and master key of the far end, where pjsua runs SRTP with our key ``own`` of that suite."""
    read = c_library().pjsua_call_get_med_transport_info
    read.argtypes = (ctypes.c_int, ctypes.c_uint, ctypes.c_char_p)
    info = ctypes.create_string_buffer(_BYTES)
    if read(call_id, media_index, info) != 0:
        return None
    words = struct.unpack(f"={_BYTES // 8}Q", info.raw)
    for at in range(len(words) - 2 * _POLICY):
        theirs, ours = words[at : at + _POLICY], words[at + _POLICY : at + 2 * _POLICY]
        if any((each[1], each[3]) != (_KEY, _SUITE) or not each[0] or not each[2] for each in (theirs, ours)):
            continue
        suite = ctypes.string_at(theirs[2], _SUITE).decode("ascii", "replace")
        if own.get(suite) == ctypes.string_at(ours[0], _KEY):
            return suite, ctypes.string_at(theirs[0], _KEY)
    return None
