"""``sipua bench egress``: what fifty telephones get from one agent, packet by packet, while it is busy.

Four processes: the agent's calls on a core of their own, the telephones, the voice service (the emulator) and a bare
ticker on the agent's core, which shows what the machine did to a process that does nothing.
"""
