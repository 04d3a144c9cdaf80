"""``sipua bench outage``: telephones that talk to ``sipua serve`` while its database is away, and while it is killed.

Processes: the agent as a user runs it, on a core of its own with a bare ticker beside it (what the ticker shows was the
machine); telephones, which note when each packet came; and this one with SIP, the voice service and PostgreSQL. The
voice service has so much said that every call makes its rows; each utterance has a number, so that what is missing or
twice in the database is found by counting.
"""
