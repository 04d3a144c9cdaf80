"""What is made wrong on purpose, so that a drill can be seen to fail: `sipua drill run --mutate NAME`."""

from __future__ import annotations

from enum import StrEnum


class Mutation(StrEnum):
    """``NONE`` is the product as it is."""

    NONE = ""
    NO_FAILOVER = "no-failover"
    RETRY_ALWAYS = "retry-always"
    NO_BREAK = "no-break"


MEANINGS = {
    Mutation.NO_FAILOVER: "only the first target of the trunk files is tried, whatever is known of its health",
    Mutation.RETRY_ALWAYS: "every refusal is taken elsewhere, a busy callee's too",
    Mutation.NO_BREAK: "nothing is broken: what a drill watches for does not happen",
}
