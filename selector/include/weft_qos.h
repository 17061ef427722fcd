/* SPDX-License-Identifier: Apache-2.0 */
/* weft_qos.h - what a connection needs, and what the selector answers.
 *
 * Needs go in (weft_qos_t), verdicts come out (weft_verdict_t): one for every candidate, its rank or the reason it
 * was passed over. This header includes nothing of Weft's; weft.h includes it. */
#ifndef WEFT_QOS_H
#define WEFT_QOS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define WEFT_EXPORT __attribute__((visibility("default")))
#else
#define WEFT_EXPORT
#endif

/* ---- Needs -------------------------------------------------------------------------------------------------- */

/* What happens to messages when a path dies. */
typedef enum {
  WEFT_EXACTLY_ONCE = 0, /* survives the death of a path: kept until acknowledged, replayed, never twice (default) */
  WEFT_AT_MOST_ONCE = 1, /* keeps nothing for replay: what was in flight when a path died may be lost */
} weft_reliability;

/* When the receiver acknowledges (and so when the sender's callback says 0). */
typedef enum {
  WEFT_ACK_RECEIVED = 0, /* the peer's session has the whole message (default) */
  WEFT_ACK_CONSUMED = 1, /* the peer's receive callback has returned */
} weft_ack_mode;

/* May this connection burn CPU for latency? */
typedef enum {
  WEFT_CPU_AUTO = 0,  /* spin only where the latency need asks for it (under 50 us) */
  WEFT_CPU_SLEEP = 1, /* never spin */
  WEFT_CPU_SPIN = 2,  /* spin up to spin_us before every sleep */
} weft_cpu_mode;

#define WEFT_LIST_MAX 128 /* bytes of a comma-separated list of names, with its terminator */

/* Needs. Set defaults with weft_qos_init, then fields, or weft_qos_set by name. 0 means "no need" unless said. */
typedef struct weft_qos_s {
  size_t size;               /* sizeof of the caller's struct, filled by weft_qos_init */
  uint64_t latency_ns;       /* p99 round trip of a small message that is still acceptable, nanoseconds */
  uint64_t bandwidth;        /* bytes per second */
  uint64_t message_size;     /* typical message, bytes: a hint for the choice (default 64) */
  uint64_t interruption_ms;  /* how long nothing may move when a path dies silently, milliseconds (default 1000) */
  uint32_t reliability;      /* weft_reliability */
  uint32_t ack;              /* weft_ack_mode */
  uint32_t cpu;              /* weft_cpu_mode */
  uint32_t spin_us;          /* longest spin before a sleep, microseconds (default 50). The accepting end
                              * keeps to 200, unless its listener's URL has cpu=spin and more */
  uint32_t strict;           /* 1: fail the connect when a need is not met; 0: take the best and tell (default) */
  uint32_t standby;          /* how many standby paths to keep open (default 1) */
  /* In these lists "tcp" is the system's TCP, whoever carries it: libfabric's tcp and Weft's ksock. */
  char require[WEFT_LIST_MAX];   /* only these providers may carry data, comma-separated, "" = any */
  char forbid[WEFT_LIST_MAX];    /* these providers must not carry data */
  char bootstrap[WEFT_LIST_MAX]; /* providers allowed for the first contact, "" = any TCP-speaking one */
  uint64_t reserved[8];
} weft_qos_t;

/* Fill `q` with the defaults. `sz` is sizeof(*q) as the caller sees it. Any thread. */
WEFT_EXPORT void weft_qos_init(weft_qos_t *q, size_t sz);

/* Set one need by name, as in a URL: latency=20us, bandwidth=1GB, size=64, interruption=500ms,
 * reliability=exactly-once|at-most-once, ack=received|consumed, cpu=auto|sleep|spin, spin=50us, strict=yes|no,
 * standby=1, require=a,b, forbid=a,b, bootstrap=a, preset=realtime|interactive|bulk|background.
 * Durations and rates need their unit. Returns 0, UV_ENOENT (no such need) or UV_EINVAL (bad value). Any thread. */
WEFT_EXPORT int weft_qos_set(weft_qos_t *q, const char *key, const char *val);

/* ---- Verdicts ----------------------------------------------------------------------------------------------- */

/* Stable reason codes: every candidate that is not used has one. Text and help stand in selector/reasons.c. */
typedef enum {
  WEFT_WHY_OK = 0,             /* usable: see rank */
  WEFT_WHY_IN_USE = 1,         /* carries this connection's data now */
  WEFT_WHY_STANDBY = 2,        /* open and ready to take over */
  WEFT_WHY_NO_DEVICE = 10,     /* the provider found no device */
  WEFT_WHY_NO_PROVIDER = 11,   /* libfabric has no such provider, or it failed to load */
  WEFT_WHY_NOT_BUILT = 12,     /* this build of Weft leaves it out */
  WEFT_WHY_NO_ADDRESS = 13,    /* the device has no address that a peer could reach */
  WEFT_WHY_LINK_DOWN = 14,     /* the device's link is down */
  WEFT_WHY_QUIRK = 15,         /* known to misbehave in this libfabric version */
  WEFT_WHY_LOOPBACK = 16,      /* a loopback device, of no use for a peer elsewhere */
  WEFT_WHY_PEER_LACKS = 20,    /* the peer offers nothing of this kind */
  WEFT_WHY_PEER_VETO = 21,     /* the peer refused it */
  WEFT_WHY_UNREACHABLE = 22,   /* it did not connect, or nothing leads there: the detail says how */
  WEFT_WHY_TIMEOUT = 23,       /* it was tried and did not connect in time */
  WEFT_WHY_NO_PROOF = 24,      /* somebody answered, but not the peer of this session */
  WEFT_WHY_DIED = 25,          /* it carried this connection and died */
  WEFT_WHY_FORBIDDEN = 30,     /* the needs forbid it */
  WEFT_WHY_NOT_REQUIRED = 31,  /* the needs require others */
  WEFT_WHY_DEVICE_FILTER = 32, /* devices= leaves it out */
  WEFT_WHY_POLICY_RULE = 33,   /* an operator's rule, named with its line */
  WEFT_WHY_TOO_SLOW = 40,      /* its latency or bandwidth does not meet the need: figures in the detail */
  WEFT_WHY_OUTRANKED = 41,     /* usable, but others are better and enough are open */
  WEFT_WHY_SYSTEM = 50,        /* a system call failed: the detail names it */
} weft_why;

/* What a candidate can do, and what is known of its figures: bits of weft_verdict_t.traits. */
typedef enum {
  WEFT_TRAIT_RMA = 1 << 0,       /* the provider reads and writes the peer's memory (tcp: in software) */
  WEFT_TRAIT_RDMA = 1 << 1,      /* an RDMA device does that, past the kernel */
  WEFT_TRAIT_EVENTS = 1 << 2,    /* wakes its reader by a file descriptor: no CPU when idle */
  WEFT_TRAIT_SHARED_RX = 1 << 3, /* has shared receive contexts (Weft posts receives per path) */
  WEFT_TRAIT_LOOPBACK = 1 << 4,  /* reaches this machine only */
  WEFT_TRAIT_BOOTSTRAP = 1 << 5, /* speaks TCP: may carry the first contact to host:port */
  WEFT_TRAIT_MEASURED = 1 << 6,  /* latency_ns was measured on this very path; else it is expected */
} weft_trait;

/* The selector's answer for one candidate. */
typedef struct weft_verdict_s {
  size_t size;          /* sizeof of the caller's struct */
  int32_t why;          /* weft_why */
  int32_t rank;         /* 0 = best; -1 when it is not usable */
  char provider[32];    /* as fi_info names it */
  char device[64];      /* libfabric's domain name */
  char local[80];       /* own address, "" when unknown */
  char remote[80];      /* peer's address, "" when unknown */
  uint64_t latency_ns;  /* expected or measured (WEFT_TRAIT_MEASURED) round trip of message_size, 0 = unknown */
  uint64_t bandwidth;   /* expected bytes per second, 0 = unknown */
  char detail[160];     /* a sentence with the evidence */
  uint64_t speed_bps;   /* link's speed, BITS per second, 0 = unknown */
  uint64_t max_op;      /* most bytes of one operation of the provider, UINT64_MAX = no limit, 0 = unknown */
  uint32_t mtu;         /* link's MTU, bytes, 0 = unknown */
  uint32_t traits;      /* weft_trait bits; 0 where there is no device to ask */
  uint64_t reserved[1];
} weft_verdict_t;

/* Name ("WEFT_WHY_NO_DEVICE") and help text of a reason code; "WEFT_WHY_?" for an unknown one. Static storage. */
WEFT_EXPORT const char *weft_why_name(int why);
WEFT_EXPORT const char *weft_why_help(int why);

#ifdef __cplusplus
}
#endif
#endif
