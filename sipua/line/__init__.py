"""A bad line between two network namespaces, for tests and for listening: ``sipua emulate line``.

Each end is a namespace with nothing but lo and a TUN device; one process carries IP packets from one device to the
other. What looks like RTP suffers what ``rtp.impairment`` says; all else (SIP, RTCP) passes at once, so that a call
comes up and its reports arrive. TUN, as it needs neither a compiler nor what some kernels lack: netem, nftables'
``queue``.
"""
