"""RTP for a machine listener: packets, codecs, reordering, playout, pacing. Imports nothing of ours."""
