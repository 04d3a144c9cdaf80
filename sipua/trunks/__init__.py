"""The pure cores behind the trunks: numbers, policy, health, registration, routing and the fail-over of one call.

No I/O, no clock and no logging here: ``now`` is an argument (seconds, monotonic), randomness an injected
``random.Random``. The adapters (outbound call, OPTIONS prober, registrar client, ``sipua route``, ``sipua trunks``,
drills) feed these cores and perform what they return.
"""
