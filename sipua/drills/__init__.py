"""Drills: break something on purpose while canary calls run through the real routing, and measure what happens.

``responder`` is the pure core of a SIP peer that misbehaves as its ``script`` says, ``carriers`` puts it on sockets.
``ground`` is what a drill stands on (carriers, trunk files, endpoint, dialler, canary calls), ``scenarios`` lists the
drills, ``runner`` starts each in a process of its own, ``report`` shows what came of them. docs/drills.md defines the
figures.
"""
