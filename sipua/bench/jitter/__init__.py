"""``sipua bench jitter``: traces of a network × what a receiver does with them.

``outcome`` says what is measured; ``ours`` drives the agent's own receive path, ``buffers`` models of others' (and
aiortc's real class); ``optimum`` is what hindsight could do; ``run`` puts them side by side, ``plot`` draws them.
All of it is simulated time: the same seed gives the same figures on any machine.
"""
