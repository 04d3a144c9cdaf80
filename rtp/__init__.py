"""RTP for a machine listener: packets, codecs, reordering, playout, pacing. Imports nothing of ours.

The cores (everything but ``ports``, ``transport``, ``pacer`` and ``wav``) have no I/O and no clock: they take
bytes and ``now`` (float seconds, monotonic) and return values. ``stream.RtpStream`` is the centre of one
media leg; ``transport.MediaTransport`` gives it two sockets and ``pacer.Pacer`` one tick every 20 ms.
"""
