/* SPDX-License-Identifier: Apache-2.0 */
/* weft.h - Weft's whole C API. Read it from top to bottom.
 *
 * Weft carries messages between two programs over the best transport that both ends really have, and moves a
 * connection to another one, live, when that one dies: no message is lost, none is delivered twice.
 *
 *   weft_t          a context: one instance of Weft on one uv_loop_t and its thread
 *   weft_listener_t waits for peers
 *   weft_conn_t     a connection; it outlives every transport ("path") it runs on
 *   message         bytes with a boundary; in order, exactly once while both processes live
 *
 * Conventions (libuv's, kept strictly)
 *   - Handles and requests are caller-owned. A handle may be reused in or after its close callback, a request in or
 *     after its callback. They must not move. `data` is yours; nothing else is.
 *   - `int` results are 0 or a negative UV_E* / WEFT_E* code. An error returned means that the callback never fires;
 *     otherwise it fires exactly once, on the loop's thread, never inside the call that started it.
 *   - Closing a handle ends its pending requests with UV_ECANCELED before its close callback.
 *   - Everything is loop-thread only, except weft_post, weft_msg_release, weft_mem_free and what says "any thread".
 *   - Structs that may grow take their size. Zero `reserved` fields.
 *   - After fork() the child's calls answer WEFT_EFORK; closing there is local and says nothing to the peer.
 *
 * What "sent" means
 *   The status 0 of a send callback says that the peer's session has the whole message (weft_qos_t.ack: or that its
 *   receive callback returned). When a connection ends in an error (UV_ECONNRESET, WEFT_EPEERLOST, ...), the fate of
 *   messages not yet acknowledged is unknown: each was delivered at most once.
 *
 * Security: trusted networks only. There is no authentication and no encryption yet; docs/trust.md says what a peer
 * or an attacker on the network can do. */
#ifndef WEFT_H
#define WEFT_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "weft_qos.h"

#ifdef __cplusplus
extern "C" {
#endif

#define WEFT_VERSION_MAJOR 0
#define WEFT_VERSION_MINOR 1
#define WEFT_VERSION_PATCH 0

/* ---- Errors ------------------------------------------------------------------------------------------------- */

/* Weft's own codes, beside libuv's UV_E*. FI_* codes never leak out. */
#define WEFT_ERRNO_MAP(XX)                                                                                       \
  XX(EFORK, -5000, "not usable in a forked child")                                                               \
  XX(EPEERLOST, -5001, "the peer fell silent for longer than peer_timeout")                                      \
  XX(ENOPROVIDER, -5002, "no provider can reach the peer")                                                       \
  XX(EUNMET, -5003, "no candidate meets the declared needs")                                                     \
  XX(EVERSION, -5004, "the peer speaks another protocol version")                                                \
  XX(EREJECTED, -5005, "the peer's program rejected the connection")                                             \
  XX(EPROTOCOL, -5006, "the peer broke the protocol")                                                            \
  XX(ENOSESSION, -5007, "the peer does not know this session (it restarted or gave up)")                         \
  XX(EURL, -5008, "malformed weft:// URL")                                                                       \
  XX(ENOTWEFT, -5009, "something answers at the address, but it does not speak Weft")                            \
  XX(EOPTION, -5010, "unknown option or bad value")

enum {
#define XX(name, code, text) WEFT_##name = code,
  WEFT_ERRNO_MAP(XX)
#undef XX
};

/* Text and name ("UV_ECONNREFUSED", "WEFT_EFORK") of any code Weft returns. Static storage, any thread. */
WEFT_EXPORT const char *weft_strerror(int err);
WEFT_EXPORT const char *weft_err_name(int err);

/* Version of the library in use, "0.1.0". Static storage, any thread. */
WEFT_EXPORT const char *weft_version(void);

/* ---- Types -------------------------------------------------------------------------------------------------- */

typedef struct weft_s weft_t;                   /* context */
typedef struct weft_listener_s weft_listener_t; /* handle */
typedef struct weft_conn_s weft_conn_t;         /* handle */
typedef struct weft_connect_s weft_connect_t;   /* request */
typedef struct weft_send_s weft_send_t;         /* request */
typedef struct weft_shutdown_s weft_shutdown_t; /* request */
typedef struct weft_post_s weft_post_t;         /* request */
typedef struct weft_msg_s weft_msg_t;           /* a received message, opaque */
typedef struct weft_mem_s weft_mem_t;           /* registered memory, opaque */

/* Handles are 64 bytes, requests 128; `priv` and `reserved` belong to Weft. */
struct weft_s { void *data; void *priv; uint64_t reserved[6]; };
struct weft_listener_s { void *data; void *priv; uint64_t reserved[6]; };
struct weft_conn_s { void *data; void *priv; uint64_t reserved[6]; };
struct weft_connect_s { void *data; void *priv; uint64_t reserved[14]; };
struct weft_send_s { void *data; void *priv; uint64_t reserved[14]; };
struct weft_shutdown_s { void *data; void *priv; uint64_t reserved[14]; };
struct weft_post_s { void *data; void *priv; uint64_t reserved[14]; };

typedef void (*weft_close_cb)(weft_t *);
typedef void (*weft_listener_close_cb)(weft_listener_t *);
typedef void (*weft_conn_close_cb)(weft_conn_t *);
/* status 0: a peer waits, call weft_accept or weft_reject; < 0: the listener failed and accepts nobody any more. */
typedef void (*weft_listen_cb)(weft_listener_t *, int status);
typedef void (*weft_connect_cb)(weft_connect_t *, int status);
typedef void (*weft_send_cb)(weft_send_t *, int status);
typedef void (*weft_shutdown_cb)(weft_shutdown_t *, int status);
/* status 0, or UV_ECANCELED when the context closed first. */
typedef void (*weft_post_cb)(weft_post_t *, int status);
/* A large message begins: put its destination into dst. `head` shows its first `head->len` bytes (at most 256).
 * dst->len must be at least `size`, or 0 to refuse (the sender gets UV_ENOBUFS, the connection lives). The memory is
 * Weft's to write until recv_cb has delivered the message, or the connection's close callback. */
typedef void (*weft_alloc_cb)(weft_conn_t *, size_t size, const uv_buf_t *head, uv_buf_t *dst);
/* status 0: msg is a message, valid until the callback returns (weft_msg_retain keeps it). status < 0: msg is NULL;
 * UV_EOF once when the peer has shut down, any other error once when the connection is lost: after all messages that had
 * arrived by then, also those that wait for weft_recv_start. */
typedef void (*weft_recv_cb)(weft_conn_t *, int status, weft_msg_t *msg);

/* ---- Options of a context ----------------------------------------------------------------------------------- */

/* Every option has a name, a default, a help text and an environment variable WEFT_<NAME>: see weft_option. The order
 * is: default, environment, weft_opts_set. */
typedef struct weft_opts_s {
  size_t size;
  uint64_t max_message;         /* largest message accepted from a peer, bytes (64 MiB) */
  uint64_t window_bytes;        /* bytes of small messages a peer may have in flight to us (4 MiB) */
  uint64_t window_messages;     /* messages a peer may have in flight to us (16384) */
  uint64_t send_queue;          /* weft_try_send answers UV_EAGAIN above this many queued bytes (1 MiB) */
  uint64_t pool_bytes;          /* most bytes of receive buffers a rail may hold; untouched ones cost no memory (8 GiB) */
  uint32_t rx_depth;            /* receive buffers posted per path (32) */
  uint32_t tx_depth;            /* frames in flight per path (64) */
  uint32_t connect_timeout_ms;  /* 5000 */
  uint32_t handshake_timeout_ms;/* 5000 */
  uint32_t upgrade_budget_ms;   /* longest wait for better paths before a connection opens (250) */
  uint32_t peer_timeout_ms;     /* all paths silent for this long: the connection is lost (30000) */
  uint32_t shutdown_timeout_ms; /* 5000 */
  uint32_t beat_ms;             /* heartbeat of an idle path (15000) */
  uint32_t settle_ms;           /* a better path must live this long before failback (10000) */
  uint32_t tombstone_ms;        /* how long a closed session is remembered (60000) */
  uint32_t half_open_max;       /* unfinished handshakes per source: IPv4 address, IPv6 /64 network (64) */
  uint32_t connect_retry_ms;    /* keep trying for this long while nobody listens (0) */
  char providers[WEFT_LIST_MAX];/* only these providers are opened, comma-separated, "" = all that work */
  char devices[WEFT_LIST_MAX];  /* only these devices (fi_info's domain names), "" = all */
  uint64_t reserved[8];
} weft_opts_t;

/* Defaults, then the environment. Any thread. */
WEFT_EXPORT void weft_opts_init(weft_opts_t *, size_t sz);
/* Set one option by name; numbers take units ("64MiB", "250ms"). 0, UV_ENOENT or UV_EINVAL. Any thread. */
WEFT_EXPORT int weft_opts_set(weft_opts_t *, const char *key, const char *val);
/* One option's value as text that weft_opts_set takes and that gives the same value ("64MiB", "250ms"). *len is the
 * buffer's size, then the text's length; UV_ENOBUFS when it is too small. UV_ENOENT, UV_EINVAL. Any thread. */
WEFT_EXPORT int weft_opts_get(const weft_opts_t *, const char *key, char *buf, size_t *len);
/* The i-th option's name, default, and help; UV_ENOENT past the last. Static storage, any thread. */
WEFT_EXPORT int weft_option(unsigned i, const char **name, const char **deflt, const char **help);

/* ---- Context ------------------------------------------------------------------------------------------------ */

/* Start a context on `loop`, or on a private loop when `loop` is NULL: then drive it by weft_fd, weft_timeout_ms and
 * weft_process. opts NULL: defaults and environment. Does not block: providers are opened on first need, on one
 * private thread. Open handles keep the loop alive, Weft's own timers never do.
 * Errors: UV_EINVAL, UV_ENOMEM, UV_EMFILE. If it fails there is nothing to undo, else weft_close must follow. */
WEFT_EXPORT int weft_init(uv_loop_t *loop, weft_t *, const weft_opts_t *opts);
/* Close all handles of the context (their callbacks fire first, requests end with UV_ECANCELED), then the context.
 * The callback (may be NULL) is the last one. With a private loop keep calling weft_process until it has fired. */
WEFT_EXPORT void weft_close(weft_t *, weft_close_cb);
/* The loop given to weft_init, or the private one. */
WEFT_EXPORT uv_loop_t *weft_loop(const weft_t *);

/* For programs without libuv. Watch weft_fd for reading (level-triggered; it never changes); wait at most
 * weft_timeout_ms (-1: for ever, 0: do not wait); then call weft_process, which runs callbacks and never blocks. After
 * any other call into Weft from outside its callbacks, call weft_process once before waiting again.
 * weft_process returns 1 while handles are open or closing, else 0. Only for a private loop (else UV_EINVAL). */
WEFT_EXPORT int weft_fd(const weft_t *);
WEFT_EXPORT int weft_timeout_ms(const weft_t *);
WEFT_EXPORT int weft_process(weft_t *);

/* Run cb on the context's thread. The one call for other threads. `req` is yours again in the callback, which fires
 * exactly once. Errors: UV_ECANCELED (context closing), WEFT_EFORK. */
WEFT_EXPORT int weft_post(weft_t *, weft_post_t *req, weft_post_cb cb);

/* As uv_ref, uv_unref, uv_is_closing, for weft_listener_t and weft_conn_t. */
WEFT_EXPORT void weft_ref(void *handle);
WEFT_EXPORT void weft_unref(void *handle);
WEFT_EXPORT int weft_is_closing(const void *handle);

/* ---- Addresses ---------------------------------------------------------------------------------------------- */

/* weft://HOST:PORT?key=value&...  HOST is a name, an IPv4 address, [IPv6] (with %25zone) or * (listen on all).
 * Keys: every need of weft_qos_set, and bind=ADDRESS, devices=LIST, ports=LOW-HIGH. An unknown or repeated key, or a
 * number without its unit, is refused by name. */
typedef struct weft_addr_s {
  char host[256];
  char bind[256];
  char devices[WEFT_LIST_MAX];
  uint16_t port, port_low, port_high;
  uint16_t reserved[5];
} weft_addr_t;

/* Parse a URL. `addr` and `qos` may be NULL; `qos` is initialised here. On error WEFT_EURL and a sentence in err. */
WEFT_EXPORT int weft_url_parse(const char *url, weft_addr_t *addr, weft_qos_t *qos, char *err, size_t errlen);

/* ---- Listening ---------------------------------------------------------------------------------------------- */

/* Make a listener; weft_listener_close must follow. Errors: UV_EINVAL, UV_ENOMEM, UV_ECANCELED (context closing),
 * WEFT_EFORK. */
WEFT_EXPORT int weft_listener_init(weft_t *, weft_listener_t *);
/* Listen at `url`. The callback fires for each peer that has finished its handshake. Port 0 takes a free one.
 * Returns once the address is bound (this may block for the time of one libfabric look-up, under 1 s, where the
 * providers have not been opened yet, and for a host name's look-up; each at most 5 s, or connect_timeout_ms where that
 * is longer). Errors: WEFT_EURL, UV_EADDRINUSE, UV_EADDRNOTAVAIL, UV_EACCES, WEFT_ENOPROVIDER, UV_ETIMEDOUT,
 * UV_EALREADY. */
WEFT_EXPORT int weft_listen(weft_listener_t *, const char *url, int backlog, weft_listen_cb);
/* The address in use as a URL, with the real port. *len is the buffer's size, then the text's length; UV_ENOBUFS when
 * it is too small. */
WEFT_EXPORT int weft_listener_addr(const weft_listener_t *, char *url, size_t *len);

/* Who waits, inside listen_cb. NULL outside. */
typedef struct weft_peer_s {
  size_t size;
  char address[80];       /* numeric address and port */
  char name[64];          /* weft_conn_info's peer name: what the peer calls itself ("" when it does not) */
  uint8_t instance[16];   /* identifies the peer's process */
  weft_qos_t qos;         /* what the peer declared */
  unsigned offers;        /* how many ways it offered to be reached */
} weft_peer_t;
WEFT_EXPORT const weft_peer_t *weft_listener_peer(weft_listener_t *);

/* Take the waiting peer: `conn` must be fresh from weft_conn_init and is open when this returns 0. The first call
 * inside listen_cb succeeds; UV_EAGAIN when nobody waits: who has gone meanwhile is passed over. A peer neither accepted
 * nor rejected waits in the backlog for this context's connect_timeout_ms (its own is not known here), then it is turned
 * away; until then it counts against half_open_max of its source. */
WEFT_EXPORT int weft_accept(weft_listener_t *, weft_conn_t *conn);
/* Turn the waiting peer away: it gets WEFT_EREJECTED and `why` (at most 200 bytes) in weft_conn_error. */
WEFT_EXPORT int weft_reject(weft_listener_t *, int err, const char *why);
/* Stop listening; who waits in the backlog is turned away. Accepted connections live on. The callback may be NULL. */
WEFT_EXPORT void weft_listener_close(weft_listener_t *, weft_listener_close_cb);

/* ---- Connecting --------------------------------------------------------------------------------------------- */

/* Make a connection for weft_connect or weft_accept; weft_conn_close must follow. Errors: UV_EINVAL, UV_ENOMEM,
 * UV_ECANCELED (context closing), WEFT_EFORK. */
WEFT_EXPORT int weft_conn_init(weft_t *, weft_conn_t *);
/* Connect to `url`; `qos` (may be NULL) overrides what the URL says. The callback's status: 0, UV_ECONNREFUSED,
 * UV_ETIMEDOUT, UV_EAI_*, UV_EHOSTUNREACH, WEFT_ENOTWEFT, WEFT_EVERSION, WEFT_EREJECTED, WEFT_EUNMET,
 * WEFT_ENOPROVIDER, UV_ECANCELED; weft_conn_error says the whole sentence. Returned at once: WEFT_EURL, UV_EINVAL,
 * UV_EALREADY. A failed connection must still be closed and cannot connect again. Sends may be queued at once; they leave
 * when there is a path that the needs allow. */
WEFT_EXPORT int weft_connect(weft_connect_t *, weft_conn_t *, const char *url, const weft_qos_t *qos, weft_connect_cb);
/* Give up: the callback fires with UV_ECANCELED. UV_EALREADY when it has fired. */
WEFT_EXPORT int weft_connect_cancel(weft_connect_t *);
/* Abort: the peer gets UV_ECONNRESET, pending requests end with UV_ECANCELED, then the callback (may be NULL).
 * After weft_shutdown has completed and UV_EOF has been seen this is the orderly end. Retained messages live on. */
WEFT_EXPORT void weft_conn_close(weft_conn_t *, weft_conn_close_cb);

/* ---- Sending ------------------------------------------------------------------------------------------------ */

/* Send one message made of n buffers. The memory must stay valid and unchanged until the callback; the uv_buf_t array
 * is copied. Queued without bound (see weft_conn_queued_bytes): backpressure is the caller's to watch.
 * Errors: UV_EMSGSIZE (over the peer's limit), UV_ENOTCONN (not connected, or lost: recv_cb says so after what had
 * arrived), UV_EPIPE (after shutdown), UV_EINVAL, UV_ENOMEM.
 * Callback: 0; UV_ENOBUFS (the receiver refused it); UV_ECANCELED; UV_ECONNRESET, WEFT_EPEERLOST, ... */
WEFT_EXPORT int weft_send(weft_send_t *, weft_conn_t *, const uv_buf_t bufs[], unsigned n, weft_send_cb);
/* Copy and send, no callback: 0, or UV_EAGAIN when more than opts.send_queue bytes are queued (WEFT_EV_WRITABLE tells
 * when to try again), or as weft_send. Messages over 64 KiB answer UV_EMSGSIZE: use weft_send. Nobody is told of one message
 * alone, so the connection is lost where one turns out to be over the peer's limit (sent before the connection was open) or
 * is refused by its alloc_cb: UV_EMSGSIZE, UV_ENOBUFS. */
WEFT_EXPORT int weft_try_send(weft_conn_t *, const uv_buf_t bufs[], unsigned n);
/* Take back a message of which nothing has left: its callback fires with UV_ECANCELED. UV_EBUSY when some of it has
 * left (it completes normally); UV_EALREADY when its callback has fired. */
WEFT_EXPORT int weft_cancel(weft_send_t *);
/* Bytes of messages accepted and not yet acknowledged. */
WEFT_EXPORT size_t weft_conn_queued_bytes(const weft_conn_t *);
/* Send what is queued, then tell the peer that no more comes; it gets UV_EOF and may still send. The callback's
 * status is 0 when the peer has everything, UV_ETIMEDOUT after opts.shutdown_timeout_ms. UV_EALREADY the second time. */
WEFT_EXPORT int weft_shutdown(weft_shutdown_t *, weft_conn_t *, weft_shutdown_cb);

/* ---- Receiving ---------------------------------------------------------------------------------------------- */

/* Start delivering. alloc_cb NULL: Weft allocates the destination of large messages. Until the first call, and after
 * weft_recv_stop, messages wait in the session and the peer's window closes. Errors: UV_EINVAL, UV_EALREADY. */
WEFT_EXPORT int weft_recv_start(weft_conn_t *, weft_alloc_cb, weft_recv_cb);
/* Nothing is delivered after this returns, until weft_recv_start. */
WEFT_EXPORT int weft_recv_stop(weft_conn_t *);
/* The bytes of a message, 8-byte aligned, and how many there are. */
WEFT_EXPORT const void *weft_msg_data(const weft_msg_t *);
WEFT_EXPORT size_t weft_msg_size(const weft_msg_t *);
/* Keep a message beyond its callback: returns the message to keep (it may be another pointer), NULL when memory is
 * out. Small ones pin their receive buffer while the pool is above its low-water mark and are copied below it. */
WEFT_EXPORT weft_msg_t *weft_msg_retain(weft_msg_t *);
/* Give a retained message back. Any thread, also after the connection, before weft_close's callback. */
WEFT_EXPORT void weft_msg_release(weft_msg_t *);

/* ---- Watching ----------------------------------------------------------------------------------------------- */

/* What may happen to a connection. */
typedef enum {
  WEFT_EV_WRITABLE = 1,     /* weft_try_send answered UV_EAGAIN before and would succeed now */
  WEFT_EV_MIGRATED = 2,     /* sending moved to another path: from, to, cause, gap */
  WEFT_EV_PATH_UP = 3,      /* a path was added: to */
  WEFT_EV_PATH_DOWN = 4,    /* a path died: from, cause */
  WEFT_EV_PEER_STALLED = 5, /* every path is silent while something waits for the peer: nothing moves, all is kept */
  WEFT_EV_PEER_BACK = 6,    /* the stalled peer answers again */
  WEFT_EV_NEED_MISSED = 7,  /* a declared need is not met: detail says which */
} weft_event_type;

/* What an event says. */
typedef struct weft_event_s {
  size_t size;
  int32_t type;       /* weft_event_type */
  int32_t why;        /* weft_why of the cause, where there is one */
  char from[128];     /* "tcp v0 10.9.1.1:41234 -> 10.9.1.2:7000", "" when there is none */
  char to[128];
  char detail[160];   /* a sentence */
  uint64_t gap_ns;    /* MIGRATED: from the last sign of life of the old path to the first byte on the new one */
  uint64_t reserved[4];
} weft_event_t;

/* One callback per connection; NULL removes it. `ev` is valid in the callback. */
typedef void (*weft_event_cb)(weft_conn_t *, const weft_event_t *ev);
WEFT_EXPORT int weft_conn_on_event(weft_conn_t *, weft_event_cb);

/* ---- Asking ------------------------------------------------------------------------------------------------- */

/* One connection's state and figures. */
typedef struct weft_conn_info_s {
  size_t size;
  int32_t open;                 /* 1 between connect/accept and the end */
  int32_t paths;                /* live paths */
  char provider[32];            /* of the path that carries our messages, "" when there is none */
  char device[64];
  char local[80], remote[80];
  char peer_name[64];
  uint8_t session_id[16];
  uint64_t max_message;         /* the peer's limit for us, bytes */
  uint64_t eager_max;           /* up to this size a message travels in one frame, bytes */
  uint64_t rtt_ns_p50, rtt_ns_p99, rtt_ns_max; /* of acknowledgements, last 256 samples, nanoseconds */
  uint64_t tx_messages, tx_bytes, rx_messages, rx_bytes; /* acknowledged by the peer / delivered here */
  uint64_t tx_frames, rx_frames, tx_large, rx_large;
  uint64_t replayed;            /* messages sent again after a migration */
  uint64_t duplicates;          /* messages received again and dropped */
  uint64_t late_frames;         /* frames of revoked paths, dropped */
  uint64_t migrations;          /* how often sending moved to another path */
  uint64_t last_gap_ns;         /* of the last migration */
  uint64_t stalls;              /* how often the peer was stalled */
  uint64_t queued_messages, queued_bytes; /* accepted and not yet acknowledged */
  uint64_t held_messages, held_bytes;     /* received, waiting for weft_recv_start */
  uint64_t payload_copies;      /* bytes of large messages that were copied by Weft (0 on the zero-copy path) */
  /* bytes of large messages that were moved by RMA instead, in either direction: by reads of whoever receives, by
   * writes of whoever sends; both ends count them */
  uint64_t bytes_read, bytes_written;
  char last_cause[160];         /* of the last migration */
  /* memory registrations that the context's rails made so far: buffers, weft_mem_*, destinations of large messages,
   * and sources of large messages that are in no weft_mem_* memory */
  uint64_t registrations;
  uint64_t reserved[7];
} weft_conn_info_t;

/* Fill in what is known of the connection; `sz` is sizeof the caller's struct. */
WEFT_EXPORT int weft_conn_info(const weft_conn_t *, weft_conn_info_t *, size_t sz);
/* The i-th candidate's verdict, best first; UV_ENOENT past the last. */
WEFT_EXPORT int weft_conn_verdict(const weft_conn_t *, unsigned i, weft_verdict_t *, size_t sz);
/* All of it as JSON. *len as in weft_listener_addr. */
WEFT_EXPORT int weft_conn_info_json(const weft_conn_t *, char *buf, size_t *len);
/* Why the connection failed, one sentence naming object and cause; "" when it did not. Valid until it is closed. */
WEFT_EXPORT const char *weft_conn_error(const weft_conn_t *);
/* An operator's order: move sending to an open path over `provider` ("tcp" as in weft_qos_t's lists), or to the path
 * named "provider/device", or with NULL to the next best path. UV_ENOENT when there is none; UV_EALREADY when it is there; UV_EBUSY for an at-most-once
 * connection while a large message is on its way: ask again. The other end follows. */
WEFT_EXPORT int weft_conn_migrate(weft_conn_t *, const char *provider);

/* ---- Capabilities ------------------------------------------------------------------------------------------- */

/* Everything this machine could use, usable or not, best first: fills at most `cap` verdicts, returns how many there
 * are, or an error. `elemsize` is sizeof(weft_verdict_t). Blocks for the time libfabric takes (under 1 s without RDMA
 * devices, up to 3 s with). Any thread, no context needed. */
WEFT_EXPORT int weft_candidates(const weft_opts_t *opts, weft_verdict_t *out, size_t elemsize, unsigned cap);

/* ---- Memory ------------------------------------------------------------------------------------------------- */

/* Memory that every rail of the context can send large messages from without a copy, and without a registration per
 * message: each rail registers it once (weft_conn_info_t.registrations). Messages up to eager_max travel in a frame of
 * Weft's own, which is one copy from any memory. It may be used as soon as the call returns: up to 4 MiB are registered
 * by then with every rail that is open; more is registered on a private thread, for pinning takes its time (1 GiB some
 * hundred milliseconds), and so is what a rail finds that opens later. Until a rail knows it, and where it cannot be
 * registered (the log says so once: a limit of locked memory), each fragment of a message from it is registered for
 * itself. Errors: UV_EINVAL, UV_ENOMEM, UV_ECANCELED (context closing), WEFT_EFORK.
 * weft_mem_free: any thread, after the callbacks of all sends that use it. It returns at once, and the memory goes back to
 * the system when no device has it any more.
 * On verbs a peer that was sent a large message from it can read all of it until it is freed: docs/trust.md. */
WEFT_EXPORT int weft_mem_alloc(weft_t *, size_t size, uv_buf_t *out);
WEFT_EXPORT void weft_mem_free(weft_t *, uv_buf_t *);
/* The same for memory you own; it must stay mapped until weft_mem_unregister, and is yours again when that returns. More
 * than 4 MiB is let go of on the private thread: until then, milliseconds later, such a peer can read what is in it. */
WEFT_EXPORT int weft_mem_register(weft_t *, void *base, size_t size, weft_mem_t **out);
WEFT_EXPORT void weft_mem_unregister(weft_mem_t *);

/* ---- Log and sizes ------------------------------------------------------------------------------------------ */

enum { WEFT_LOG_ERROR = 0, WEFT_LOG_WARN = 1, WEFT_LOG_INFO = 2, WEFT_LOG_DEBUG = 3 };
/* One hook per process, called on any thread Weft runs on; `line` has no newline. cb NULL: stderr. Default level:
 * WEFT_LOG_WARN, or the environment's WEFT_LOG=error|warn|info|debug. Call it before weft_init. */
typedef void (*weft_log_cb)(void *arg, int level, const char *line);
WEFT_EXPORT void weft_log_set(int level, weft_log_cb, void *arg);

typedef enum {
  WEFT_SIZE_CONTEXT, WEFT_SIZE_LISTENER, WEFT_SIZE_CONN, WEFT_SIZE_CONNECT, WEFT_SIZE_SEND, WEFT_SIZE_SHUTDOWN,
  WEFT_SIZE_POST, WEFT_SIZE_OPTS, WEFT_SIZE_QOS, WEFT_SIZE_VERDICT, WEFT_SIZE_PEER, WEFT_SIZE_EVENT, WEFT_SIZE_INFO,
  WEFT_SIZE_ADDR,
} weft_size_id;
/* sizeof the struct in this library, 0 for an unknown id: for bindings. */
WEFT_EXPORT size_t weft_size(weft_size_id);

#ifdef __cplusplus
}
#endif
#endif
