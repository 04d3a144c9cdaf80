"""Measurements of a running agent, taken outside of it: we are its caller and its voice service.

``code``, ``grid``, ``figures`` and ``evaluate`` are pure; ``agent``, ``caller``, ``service`` and ``floor`` do the
I/O and only write down what happened and when; a benchmark (``path``) drives them and evaluates afterwards. All times
are time.monotonic(), which is one clock for all processes of a machine.
"""
