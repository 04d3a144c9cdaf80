"""Alerts: what an operator must mend, told once with its recovery, by command, webhook or e-mail.

``incident`` is the core, ``sources`` look, ``channels`` and ``mail`` tell, ``service`` puts them together.
"""
