/* Compile-time limits of our pjsua2. Every file of pjproject includes this; what is not said here is its default.
   sipua.pj.build reads back what the built library really has, and tests/pjsua2 compares the two. */

#define PJSUA_MAX_CALLS             1024
#define PJSUA_MAX_ACC               512     /* credentials are matched by realm: one account per number of a trunk */
#define PJSUA_MAX_CONF_PORTS        (PJSUA_MAX_CALLS + 32)
#define PJSUA_MAX_PLAYERS           4       /* never used: the audio is ours */
#define PJSUA_MAX_RECORDERS         4

#define PJSIP_MAX_TSX_COUNT         8191    /* 2^n - 1; an ended transaction lives up to 32 s more */
#define PJSIP_MAX_DIALOG_COUNT      2047    /* 2^n - 1 */
#define PJSIP_MAX_PKT_LEN           8000    /* carriers' INVITEs with Identity (STIR/SHAKEN) pass the default of 4000 */
#define PJSIP_UDP_SO_RCVBUF_SIZE    1048576 /* a burst of calls waits in the socket; the kernel caps it at rmem_max */
#define PJSIP_UDP_SO_SNDBUF_SIZE    262144
#define PJ_IOQUEUE_MAX_HANDLES      1024    /* sockets of the signalling: 64 otherwise, and each TLS peer takes one */
/* 1.0 to 1.2 otherwise; the same for every transport that does not say more */
#define PJSIP_SSL_DEFAULT_PROTO     (PJ_SSL_SOCK_PROTO_TLS1_2 | PJ_SSL_SOCK_PROTO_TLS1_3)

#define PJ_HAS_IPV6                 1
#define PJMEDIA_HAS_VIDEO           0
