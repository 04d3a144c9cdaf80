"""The HTTP surface of ``serve``: the only importer of fastapi. Put together in ``sipua.app``; nobody else imports it.

It runs on the loop that carries the audio: nothing here blocks, every answer and every table is bounded.
"""
