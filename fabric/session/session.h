/* SPDX-License-Identifier: Apache-2.0 */
/* session.h - the connection's protocol: sequence numbers, acknowledgements, windows, replay,
 * migration.
 *
 * Design notes
 *  - Pure code: bytes, a clock that the owner advances, and paths. No libfabric, no libuv, no
 *    system calls, no time of its own. The simulator and the loop drive the very same object.
 *  - One record stream per direction (messages, announcements of large messages, the end). Numbers
 *    start at 1 and are given when a record first leaves. A record stays in the sender's list until
 *    acknowledged; what replay sends again is the record, re-coalesced to the new path's frames.
 *  - The sender of a direction owns its active path: RESUME{epoch} moves it, the higher epoch wins,
 *    RESUME_ACK says where to go on. Acknowledgements are cumulative and valid on any live path.
 *  - Large messages are pulled: the receiver sends clear-to-send on the path of its choice, and
 *    opens memory to be written to, or reads what the sender opens; a fragment belongs to the path
 *    its clear-to-send came on. Memory is the user's again only when no path can write to it or
 *    read it.
 *  - Upcalls (weft__session_ops) may call any function here except weft__session_destroy. They are
 *    made from path upcalls, tick, flush, rx_start and abort, never from
 *    weft__session_send/shutdown/cancel.
 *  - Every frame goes out in weft__session_flush, or when a full one is ready. The owner calls
 *    flush at the end of a drain and before it sleeps, after `dirty` asked for it. */
#ifndef WEFT_SESSION_SESSION_H
#define WEFT_SESSION_SESSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "rail/path.h"
#include "session/hello.h"

typedef struct weft__session weft__session_t;
typedef struct weft__spath weft__spath_t; /* the session's record of a path: path->user */

#define WEFT__PATHS_MAX 8u

/* Error codes of the session, equal to WEFT_E* of weft.h (asserted in loop/). Others are negative
 * errno. */
#define WEFT__E_PEERLOST  (-5001)
#define WEFT__E_EREJECTED (-5005)
#define WEFT__E_PROTOCOL  (-5006)
#define WEFT__E_NOSESSION (-5007)

/* A message on its way out; lives in the owner's request, untouched by the owner until `sent`. 88
 * bytes. */
typedef struct weft__txm {
  struct weft__txm *next, *prev;
  uint64_t seq; /* 0 until it has left */
  uint64_t size;
  const struct iovec *iov; /* owner's array, valid until `sent` */
  uint32_t niov;
  uint8_t
      kind; /* weft__rkind_t: MSG or FIN; the session makes LARGE of it where size asks for it */
  uint8_t flags;                /* the session's */
  uint16_t rma_refs;            /* RMA operations, ours and the peer's, that may read the source */
  struct weft__txm *next_large; /* the session's */
  int32_t status;
  uint32_t pad;
  uint64_t owner[2]; /* the owner's */
} weft__txm_t;

/* A message that arrived. data is valid during the upcall. */
typedef struct weft__rxm {
  const void *data;
  size_t size;
  weft__rbuf_t *
      rbuf; /* holds data, may be ref'd; NULL: data is the session's copy, copy it to keep it ... */
  void *large; /* ... or this: the memory that `alloc` gave, the owner's again */
} weft__rxm_t;

typedef enum {
  WEFT__SEV_MIGRATED = 1, /* from, to, err/why = cause, gap_ns */
  WEFT__SEV_PATH_UP,      /* to */
  WEFT__SEV_PATH_DOWN,    /* from, err, why: no more traffic on it */
  WEFT__SEV_STALLED,
  WEFT__SEV_BACK,
  WEFT__SEV_JOIN_PLEASE, /* the peer asks the connecting end to open paths */
} weft__sev_type_t;
typedef struct weft__sev {
  weft__sev_type_t type;
  const weft__path_t *from, *to;
  int err;
  const char *why;
  uint64_t gap_ns;
} weft__sev_t;

typedef struct weft__session_ops {
  /* The peer's HELLO arrived. Connecting end: the session is open. Accepting end: call
   * weft__session_accept or _reject, now or later. */
  void (*hello)(void *owner, const weft__hello_t *peer);
  void (*deliver)(void *owner, const weft__rxm_t *);
  void (*eof)(void *owner);
  /* Destination of a large message; NULL refuses it. `head` is its first bytes. */
  void *(*alloc)(void *owner, uint64_t size, const void *head, uint32_t headlen);
  /* Will nobody but this connection's messages be found in the memory that `alloc` gave, for as
   * long as any path may go on writing to it? Only then is it opened on a path whose writes may
   * come late. */
  bool (*lasts)(void *owner, const void *dst);
  /* A destination that will not be delivered is free again (the session ended). */
  void (*unalloc)(void *owner, void *dst);
  /* 0: the peer has it. Negative: UV_ENOBUFS refused, -ECANCELED, or the session's error. */
  void (*sent)(void *owner, weft__txm_t *, int status);
  void (*event)(void *owner, const weft__sev_t *);
  /* The path is closed and gone; err and why say what ended it. The owner may open another one. */
  void (*path_closed)(void *owner, weft__path_t *, int err, const char *why);
  void (*dirty)(void *owner); /* call weft__session_flush before the loop sleeps */
  void (*timer)(
      void *owner,
      uint64_t deadline); /* call weft__session_tick at this time (ns); the last one holds */
  /* The session is over for the user, once. 0: both directions ended in order; else the error.
   * Pending txms have got their `sent` before this. What the session holds may be delivered after
   * it. */
  void (*ended)(void *owner, int err, const char *why);
  void (*gone)(
      void *owner); /* no path is left and nothing is owed: weft__session_destroy now or later */
  void (*random)(void *owner, void *out, size_t len);
} weft__session_ops_t;

typedef struct weft__session_conf {
  bool initiator; /* the connecting end */
  uint8_t id[16];
  weft__hello_t hello; /* what we tell the peer (nonce filled by the session) */
  const uint64_t *now_ns;
  uint64_t handshake_ns; /* longest wait for the peer's HELLO */
  /* accepting end: longest wait for the owner's accept after the peer's HELLO; 0 = for ever */
  uint64_t wait_ns;
  uint64_t peer_timeout_ns, beat_ns, linger_ns;
} weft__session_conf_t;

/* NULL: out of memory. The conf is copied. */
weft__session_t *weft__session_create(const weft__session_conf_t *, const weft__session_ops_t *,
                                      void *owner);
/* Only after `gone`, or before any path was added. */
void weft__session_destroy(weft__session_t *);

/* A path of this rank or a worse one carries no messages: only what keeps the session together. */
#define WEFT__RANK_NO_DATA (1 << 30)

/* Hand an established path to the session: it exchanges path->cbs and path->user. my_key: frames to
 * us carry it. rank: lower is better. settle_ns: how long it must live before sending moves to it
 * while a worse path works. The first path of the initiator starts with HELLO. Makes the PATH_UP
 * upcall. Errors: -ENOMEM, -ENOSPC (WEFT__PATHS_MAX), -EINVAL (limits below the protocol's),
 * -ENOTCONN (ended): the path stays the caller's. */
int weft__session_add_path(weft__session_t *, weft__path_t *, uint64_t my_key, uint64_t peer_key,
                           int rank, uint64_t settle_ns);
void weft__session_set_rank(weft__session_t *, const weft__path_t *,
                            int rank);       /* more is known now. Before accept */
int weft__session_accept(weft__session_t *); /* accepting end: open */
void weft__session_reject(weft__session_t *, int code,
                          const char *why); /* the peer gets code and text */
void weft__session_set_offers(weft__session_t *, const weft__offer_t *,
                              unsigned n); /* before accept */

/* Queue a message (or, kind FIN, the end). 0; -EMSGSIZE, -EPIPE after FIN, -ENOTCONN when ended.
 * Before the session is open it waits. */
int weft__session_send(weft__session_t *, weft__txm_t *);
/* 0: `sent(-ECANCELED)` follows from the next flush; -EBUSY: some of it has left. */
int weft__session_cancel(weft__session_t *, weft__txm_t *);
void weft__session_rx_start(
    weft__session_t *); /* delivers what is held, from the next flush on, after the end too */
void weft__session_rx_stop(weft__session_t *);
void weft__session_flush(weft__session_t *);
void weft__session_tick(weft__session_t *);

/* End it. abort: tells the peer (code, why), pending txms get `status`; `ended` is not called. A
 * session whose both directions have ended in order is only released: it lingers until the peer has
 * the last acknowledgement. */
void weft__session_abort(weft__session_t *, int status, int code, const char *why);
/* Like a fatal error from inside: pending txms get err, `ended(err, why)` is called. The peer is
 * told where there is a path. */
void weft__session_fail(weft__session_t *, int err, const char *why);
/* Proven end of the peer by a tombstone's answer: every record below `next` has arrived. Ends in
 * order when nothing else is owed, else with -ECONNRESET. */
void weft__session_tombstone(weft__session_t *, uint64_t next, int code);

/* Move sending to this path (NULL: the best other one): 0, -ENOENT, -EALREADY; at-most-once also
 * -EBUSY while a large message is on its way, which the move would lose. */
int weft__session_migrate(weft__session_t *, weft__path_t *, const char *why);
/* Let a path go that is not wanted any more; sending moves away first. Makes the PATH_DOWN upcall.
 * 0, -ENOENT, -EBUSY (it is the last one, or as weft__session_migrate), -ENOTCONN. */
int weft__session_drop_path(weft__session_t *, weft__path_t *, const char *why);

/* JOIN at the connecting end: the token for a path with this key; never the same twice. */
void weft__session_join_token(weft__session_t *, uint64_t key, uint8_t token[16]);
/* JOIN at the accepting end: checks the token and that it was not used before; 0 and the proof, or
 * a weft__jcode_t. */
int weft__session_join_check(weft__session_t *, uint64_t joiner_key, const uint8_t token[16],
                             uint64_t my_key, uint8_t proof[16]);
const uint8_t *weft__session_id(const weft__session_t *);
const uint8_t *weft__session_secret(const weft__session_t *);
const weft__hello_t *weft__session_peer(const weft__session_t *); /* NULL before its HELLO */
/* 0 while it lives or when it ended in order; else the error, known before the first `sent` that
 * carries it. */
int weft__session_error(const weft__session_t *, const char **why);
bool weft__session_is_open(const weft__session_t *);
/* Messages, or the end, that arrived before the session ended, and wait for weft__session_rx_start:
 * they come before the owner may call it over. */
bool weft__session_holds(const weft__session_t *);
/* Everything of both directions is done (it may still linger for the peer). */
bool weft__session_is_done(const weft__session_t *);
uint64_t weft__session_rx_next(const weft__session_t *);            /* for tombstones */
const weft__path_t *weft__session_tx_path(const weft__session_t *); /* NULL: none now */
unsigned weft__session_paths(const weft__session_t *, weft__path_t **out,
                             unsigned cap); /* live ones */
uint32_t weft__session_eager_max(void);

typedef struct weft__session_stats {
  uint64_t tx_messages, tx_bytes, rx_messages, rx_bytes, tx_frames, rx_frames, tx_large, rx_large;
  uint64_t replayed, duplicates, late_frames, migrations, last_gap_ns, stalls;
  uint64_t queued_messages, queued_bytes, held_messages, held_bytes, payload_copies;
  /* bytes of large messages moved by RMA: our operations, and the peer's on our memory */
  uint64_t rma_written, rma_read, rma_written_by_peer, rma_read_by_peer;
  uint64_t rtt_p50, rtt_p99, rtt_max; /* ns, of the last 256 samples */
} weft__session_stats_t;
void weft__session_stats(const weft__session_t *, weft__session_stats_t *);
size_t weft__session_queued_bytes(const weft__session_t *);
bool weft__session_moves_large(const weft__session_t *); /* fragments are on their way, in or out */

#endif
