/* SPDX-License-Identifier: Apache-2.0 */
/* internal.h - the session's own structures; nobody outside fabric/session includes this.
 *
 * Design notes
 *  - What has to be sent is state, not a queue of frames: "a PONG is owed", "this fragment waits
 *    for its clear-to-send". weft__session_flush turns the state into frames as far as credits and
 *    buffers go. So a frame lost with its path is sent again simply by setting its state back.
 *  - Entry points bracket their work with enter/leave. Upcalls to the owner's user (sent, ended,
 *    gone) collect and are made by leave of the outermost bracket, so no function has to survive
 *    the session's end in its middle. deliver, eof and alloc are made in place; whoever makes them
 *    looks at `ended` afterwards.
 *  - Credits: DATA, CHUNK, CTS, FRAG, READY, DONE, REFUSE, SKIP leave the last four frames of a grant alone;
 *    PING and the rest the last two; so ACK always finds room and two full ends can never lock each
 *    other. */
#ifndef WEFT_SESSION_INTERNAL_H
#define WEFT_SESSION_INTERNAL_H

#include "rail/path.h"
#include "session/join.h"
#include "session/session.h"
#include "session/wire.h"

#define WEFT__RMA_SLOTS     16u
#define WEFT__PAYLOAD_MAX   (WEFT__FRAME_MAX - WEFT__HDR)
#define WEFT__EAGER_MAX     (WEFT__PAYLOAD_MAX - WEFT__REC)
#define WEFT__FRAGMENT_MAX  (4u << 20)
#define WEFT__FRAGMENT_MIN  (64u << 10)
#define WEFT__READ_MIN      4096u      /* shorter pieces of a source are copied, not read */
#define WEFT__READ_FIRST    (1u << 20) /* bytes read at once on a fresh path */
#define WEFT__AHEAD_FIRST   (4u << 20) /* bytes asked for ahead on a fresh path, never less */
#define WEFT__LARGE_OPEN    16u        /* large messages whose memory is asked for ahead */
#define WEFT__RTT_SAMPLES   256u
#define WEFT__MIN_WIN_BYTES (2u * WEFT__FRAME_MAX)
#define WEFT__MIN_WIN_SEQ   8u

/* Frames of a grant that this kind of frame must leave unused. */
enum { WEFT__KEEP_DATA = 4, WEFT__KEEP_CTRL = 2, WEFT__KEEP_ACK = 0 };

typedef enum {
  WEFT__S_HELLO, /* waiting for the peer's HELLO */
  WEFT__S_WAIT,  /* accepting end: the owner has not answered yet */
  WEFT__S_OPEN,
  WEFT__S_ENDED, /* failed or aborted: paths are closing */
} weft__sstate_t;

/* txm.flags */
enum {
  WEFT__TX_LARGE = 1,   /* announced as large */
  WEFT__TX_POSTED = 2,  /* large: its last fragment was written, what follows may go */
  WEFT__TX_REFUSED = 4, /* the peer refuses it: its number stays empty */
  WEFT__TX_SKIP = 8,    /* a SKIP frame is owed */
  WEFT__TX_ENDED = 16,  /* out of the list: waits for rma_refs, or for its `sent` */
  WEFT__TX_ASKED = 32, /* large: all of it was opened to the peer's reads, posted when it is done */
};

typedef struct weft__xfer_in { /* a clear-to-send we got and have not finished */
  weft__txm_t *m;              /* NULL: nothing is owed for it any more */
  weft__cts_t cts;
  uint32_t pos;        /* bytes posted */
  uint32_t copy_until; /* what is to be read is copied up to here: crumbs, or not to be had open */
} weft__xfer_in_t;

typedef struct weft__source { /* a piece of a message that the peer may read */
  weft__txm_t *m;             /* NULL: acknowledged, and closed to reads */
  uint64_t seq, off;
  uint32_t len; /* 0: free; else its DONE has not come */
  weft__mr_t mr;
} weft__source_t;

struct weft__cts_out;
typedef struct weft__ready_in { /* a source of the peer's that we read */
  struct weft__cts_out *c;      /* NULL: all is there, or nobody waits for it; DONE is owed */
  uint64_t seq, off, addr, key;
  uint32_t len, posted, done; /* bytes */
} weft__ready_in_t;

typedef struct weft__rma_slot {
  weft__rma_t rma;
  weft__txm_t *m;          /* a write */
  weft__ready_in_t *ready; /* a read */
  uint64_t bytes, at;
  struct weft__rma_slot *next;
} weft__rma_slot_t;

typedef struct weft__ahead { /* what is asked for ahead on a path: see large.c */
  unsigned n;                /* fragments that were asked for and are not there, */
  uint64_t bytes;            /* and their bytes */
  uint64_t most;             /* so many bytes at most, */
  bool full;                 /* and more would have been asked for just now */
  uint64_t least;            /* the shortest that one took, ns; 0 = none is there yet */
} weft__ahead_t;

struct weft__spath {
  weft__session_t *s;
  weft__path_t *path;
  unsigned slot; /* 0 .. WEFT__PATHS_MAX-1, its own until it is closed */
  bool live;     /* carries traffic */
  bool broken;   /* a send failed: `down` will come */
  bool refused;  /* its provider refused a read or a write */
  bool pinned;   /* an operator's order brought sending here */
  int rank;
  int err; /* why it ended */
  char why[160];
  uint64_t my_key, peer_key;
  uint64_t tx_fc, tx_grant;         /* frames sent, frames we may have sent */
  uint64_t rx_fc, rx_done, granted; /* frames received, processed, granted to the peer */
  uint64_t up_at, settle, last_rx;
  uint64_t ping_at;        /* when the unanswered PING was sent, 0 = none is out */
  uint64_t other_alive_at; /* when another path answered a PING as young, 0 = none did */
  uint64_t ping_id, beat_jitter;
  uint64_t rtt; /* of the shortest round trip lately, ns; 0 = unknown */
  weft__ping_t pong;
  bool ping_due, pong_due, resume_due, resume_ack_due, hello_due, join_please_due;
  bool starved; /* something waits for credits */
  /* Clear-to-sends that came on this path, in order. Per path, because the peer may hold another
   * one for dead, and ask for its fragments again here, long before we know. */
  weft__xfer_in_t xfers[WEFT__CTS_MAX];
  unsigned xfer_head, nxfers;
  weft__ahead_t ahead; /* of our clear-to-sends, but for reads */
  weft__source_t sources[WEFT__CTS_MAX];
  unsigned nsources;
  weft__ready_in_t ready[WEFT__CTS_MAX]; /* in the order in which they came */
  unsigned ready_head, nready;
  unsigned nreads; /* reads under way, and their bytes */
  uint64_t read_bytes;
  uint64_t read_window;               /* so many at most: see read.c */
  uint64_t read_cut_at;               /* when it last shrank */
  bool read_full;                     /* more would have been read just now */
  weft__mr_t unclosed[WEFT__CTS_MAX]; /* what could not be closed: once more when the path is */
  unsigned nunclosed;
  weft__rma_slot_t slots[WEFT__RMA_SLOTS];
  weft__rma_slot_t *free_slots;
};

/* Something received that is not delivered yet: a held small message, a large one, the end. A peer
 * may have us hold a whole window of them, empty ones too, so they are small: see
 * weft__s_item_size. */
typedef struct weft__rxi {
  struct weft__rxi *next;
  uint64_t seq;
  uint64_t total;          /* bytes */
  struct weft__rxl *large; /* LARGE: from when its memory was asked for */
  uint32_t headlen;
  uint8_t kind;  /* weft__rkind_t */
  bool complete; /* may be delivered */
  _Alignas(8)
      uint8_t data[]; /* held bytes, or the head of a large one; users see them, 8-byte aligned */
} weft__rxi_t;

/* A large message whose memory was asked for: at most WEFT__LARGE_OPEN of them. While it is not
 * complete it is in s->open, the oldest first. */
typedef struct weft__rxl {
  struct weft__rxl *next_open;
  weft__rxi_t *item;
  uint64_t seq, total; /* the item's */
  bool given_up;  /* at-most-once: it will not come, but a closing path may still write to it */
  uint8_t refuse; /* 0 no, 1 REFUSE is owed, 2 sent on refuse_path */
  weft__spath_t *refuse_path;
  uint64_t issued; /* bytes for which a clear-to-send went out at least once */
  uint64_t done;   /* bytes in place */
  void *dst;
  uint32_t pins;  /* bit per path slot: closing, might still write to dst */
  uint32_t nout;  /* clear-to-sends outstanding */
  uint32_t nredo; /* ranges that a dying path took with it */
  struct {
    uint64_t off, len;
  } redo[2 * WEFT__CTS_MAX];
} weft__rxl_t;

typedef struct weft__cts_out { /* a clear-to-send we issued */
  weft__rxl_t *item;           /* NULL: free */
  weft__spath_t *sp;
  uint64_t off;
  uint32_t len, pos, got; /* pos: bytes that arrived or are being read; got: that are in place */
  uint64_t at;            /* when it was issued */
  weft__xfer_t how;
  weft__mr_t mr; /* but where it is copied */
} weft__cts_out_t;

struct weft__session {
  const weft__session_ops_t *ops;
  void *owner;
  const uint64_t *now;
  weft__session_conf_t conf;
  weft__sstate_t state;
  unsigned depth;
  bool dirty, in_flush, started, have_peer, hello_heard, hello_sent;
  bool aborting, end_pending, end_called, gone_called, released;
  int end_err, abort_code;
  char end_why[WEFT__TEXT_MAX + 120], abort_text[WEFT__TEXT_MAX + 1];
  uint8_t secret[32];
  weft__hello_t peer;
  uint64_t tolerance, born, waits_since, tick_at, done_at;
  bool at_most_once, ack_consumed;

  weft__spath_t *paths[WEFT__PATHS_MAX];
  unsigned npaths, nlive, pings_out;
  uint64_t nolive_at;
  bool nolive_closed; /* the last path was closed by the peer, not lost */
  bool stalled;
  uint32_t join_last; /* counter of the newest token given out (connecting end) or taken */
  uint64_t join_seen; /* taken ones: bit n is that of join_last - n */

  /* sending */
  weft__txm_t *head, *tail,
      *unsent; /* unacknowledged .. queued; first that has to be sent (again) */
  weft__txm_t *large,
      *large_tail; /* unacknowledged large ones that have a number, the oldest first */
  weft__txm_t *done_head, *done_tail;
  unsigned limbo;                    /* ended txms that wait for RMA */
  uint64_t tx_seq;                   /* number of the next new record */
  uint64_t tx_ack;                   /* every record below it has been acknowledged */
  uint64_t tx_bytes, tx_bytes_acked; /* MSG bytes before `unsent`, before `head` */
  uint64_t tx_win_seq, tx_win_bytes;
  uint64_t queued_space; /* frame space that queued records will take */
  uint64_t queued_bytes, queued_messages;
  unsigned unposted; /* large ones that left and are not written yet: small ones wait */
  bool fin_queued, fin_acked, tx_stuck, skips_due;
  unsigned writes_refused, reads_refused; /* by the provider, in a row, a path each */
  unsigned nxfers, nready;                /* of all paths */
  uint64_t bandwidth;                     /* bytes per second of fragments, smoothed */

  /* migration of our direction */
  uint64_t epoch;
  weft__spath_t *tx_path;
  bool resuming,
      left_dead; /* waiting for RESUME_ACK; all paths left since the last one were dead */
  weft__path_t mig_from;
  bool mig_has_from;
  int mig_err;
  char mig_why[160];
  uint64_t mig_gap_from;
  /* since when something waits for an acknowledgement without progress, 0 = nothing */
  uint64_t unacked_at;

  /* receiving */
  uint64_t rx_epoch, rx_expect;
  weft__spath_t *rx_path;
  weft__rxi_t *rxq, *rxq_tail, *first_incomplete;
  /* large ones whose memory was asked for and which are not complete, the oldest first ... */
  weft__rxl_t *open;
  weft__rxi_t *unasked; /* ... and the first large one behind them, which waits to be asked for */
  /* memory asked for and not delivered yet: in `open`, or complete behind one of those */
  unsigned nlarge;
  unsigned nrefused;                           /* of `open`: wait for their SKIP */
  uint64_t rx_bytes;                           /* MSG bytes received */
  uint64_t rx_seq_consumed, rx_bytes_consumed; /* first number not delivered, bytes delivered */
  uint64_t rx_end; /* ended: what was complete below this number may still be delivered */
  uint64_t adv_seq, adv_bytes, ack_sent, ack_want; /* last told to the peer */
  bool ack_now, rx_fin, eof_done;
  weft__cts_out_t cts[WEFT__CTS_MAX];
  unsigned ncts;
  bool bye_sent, bye_heard;

  /* figures */
  uint64_t
      steps; /* list items looked at to find those that frames name: tests bound it per frame */
  weft__session_stats_t st;
  uint32_t rtt[WEFT__RTT_SAMPLES]; /* in 16 ns, so that 68 s fit */
  unsigned rtt_n;
  uint64_t rtt_seq, rtt_at;
};

static inline uint64_t weft__now(const weft__session_t *s) {
  return *s->now;
}
static inline bool weft__ended(const weft__session_t *s) {
  return s->state == WEFT__S_ENDED || s->aborting;
}

/* session.c */
void weft__s_enter(weft__session_t *);
void weft__s_leave(weft__session_t *);
void weft__s_dirty(weft__session_t *);
void weft__s_end(weft__session_t *, int err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The peer broke the protocol: log, tell it, end. */
void weft__s_violation(weft__session_t *, weft__spath_t *, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void weft__s_hello_frame(weft__session_t *, const uint8_t *payload, uint32_t len, weft__spath_t *);
void weft__s_not_accepted(weft__session_t *); /* in time: tell the peer, end */
void weft__s_check_done(weft__session_t *);
void weft__s_timer_before(weft__session_t *, uint64_t deadline);

/* frame.c: building frames */
/* A buffer for one frame, or NULL when credits (leaving `keep`) or buffers are out. */
weft__tbuf_t *weft__s_frame_get(weft__spath_t *, unsigned keep);
/* Header with everything current, then post. */
int weft__s_frame_post(weft__spath_t *, weft__tbuf_t *, unsigned type, unsigned flags,
                       uint16_t count, uint64_t seq, uint32_t length);
uint64_t weft__s_rx_ack(const weft__session_t *);
bool weft__s_ctrl(weft__spath_t *, unsigned type, const void *payload, uint32_t len, unsigned keep);
void weft__s_flush_control(weft__session_t *, weft__spath_t *);
void weft__s_flush_acks(weft__session_t *);

/* tx.c */
void weft__s_emit(weft__session_t *, bool full_only);
void weft__s_acked(weft__session_t *, uint64_t ack);
void weft__s_rewind(weft__session_t *, uint64_t next);
void weft__s_tx_finish(weft__session_t *, weft__txm_t *, int status); /* out of the list already */
void weft__s_tx_fail_all(weft__session_t *, int status);
void weft__s_gate(weft__session_t *, const weft__txm_t *);
weft__txm_t *weft__s_tx_find(weft__session_t *,
                             uint64_t seq); /* a large one that the peer may name */
bool weft__s_tx_refused(weft__session_t *,
                        weft__txm_t *); /* marks it; true: its record waits for replay */
bool weft__s_tx_gone(const weft__session_t *, uint64_t seq); /* no longer ours to send */
void weft__s_unref(weft__session_t *, weft__txm_t *); /* an RMA operation or a reader fewer */
void weft__s_tx_fin_done(weft__session_t *);
void weft__s_tx_amo_lost(weft__session_t *); /* at-most-once: what a dead path took */

/* rx.c */
extern const weft__path_cbs_t weft__s_path_cbs;
void weft__s_rx_pump(weft__session_t *); /* deliver what may be delivered */
void weft__s_rx_skip_to(weft__session_t *, uint64_t first);
void weft__s_rx_complete(weft__session_t *, weft__rxl_t *);
weft__rxl_t *weft__s_rx_find(weft__session_t *, uint64_t seq); /* in `open` */
/* Memory held for a record of so many payload bytes: at most 64 more than these, the heap's own
 * share included. */
static inline size_t weft__s_item_size(uint32_t len) {
  return offsetof(weft__rxi_t, data) + len;
}
void weft__s_rx_free_unfinished(
    weft__session_t *); /* no path is left: what had not arrived whole never will */
void weft__s_rx_free_all(weft__session_t *);

/* large.c */
void weft__s_large_flush(weft__session_t *);
bool weft__s_on_cts(weft__session_t *, weft__spath_t *,
                    const uint8_t *p); /* false: violation reported */
bool weft__s_on_frag(weft__session_t *, weft__spath_t *, const uint8_t *p);
bool weft__s_on_chunk(weft__session_t *, weft__spath_t *, const uint8_t *p, uint32_t len);
bool weft__s_on_refuse(weft__session_t *, weft__spath_t *, const uint8_t *p);
bool weft__s_on_skip(weft__session_t *, weft__spath_t *, const uint8_t *p);
void weft__s_large_path_down(weft__session_t *, weft__spath_t *);
void weft__s_large_path_closed(weft__session_t *, weft__spath_t *);
void weft__s_rma_done(weft__path_t *, weft__rma_t *, int status);
/* A read or a write ended with err: was it refused? Counts once for a path. */
void weft__s_refused(weft__spath_t *, unsigned *in_a_row, int err);
void weft__s_large_give_up(weft__session_t *,
                           weft__rxl_t *); /* nothing of it is awaited any more */
void weft__s_large_forget(weft__session_t *, const weft__txm_t *); /* the record leaves the list */

/* A fragment's bytes arrived: the clear-to-send may be over. */
void weft__s_fragment_got(weft__session_t *, weft__cts_out_t *, uint32_t len);
weft__cts_out_t *weft__s_cts_at(weft__session_t *, const weft__spath_t *, uint64_t seq,
                                uint64_t off); /* whose next byte is this */
/* CHUNK frames up to byte `end` of the fragment. false: no more now. */
bool weft__s_push_chunks(weft__session_t *, weft__spath_t *, weft__xfer_in_t *, uint32_t end);
bool weft__s_rx_given_up(const weft__session_t *, const weft__spath_t *);

/* read.c */
bool weft__s_push_sources(weft__session_t *, weft__spath_t *, weft__xfer_in_t *);
bool weft__s_on_ready(weft__session_t *, weft__spath_t *, const uint8_t *p);
bool weft__s_on_done(weft__session_t *, weft__spath_t *, const uint8_t *p);
void weft__s_sources_acked(weft__session_t *, const weft__txm_t *); /* nobody reads it any more */
void weft__s_push_reads(weft__session_t *, weft__spath_t *);
void weft__s_read_done(weft__session_t *, weft__spath_t *, weft__rma_slot_t *, int status);
void weft__s_reads_forget(weft__spath_t *, const weft__cts_out_t *);
void weft__s_read_path_down(weft__session_t *, weft__spath_t *);
void weft__s_read_path_closed(weft__session_t *, weft__spath_t *);

/* live.c */
void weft__s_path_down(weft__spath_t *, int err, const char *why);
void weft__s_path_closed(weft__spath_t *);
void weft__s_close_paths(weft__session_t *);
void weft__s_heard(weft__spath_t *); /* proof of life */
void weft__s_answered(weft__spath_t *, uint64_t time);
void weft__s_move(weft__session_t *, weft__spath_t *to, int err, const char *why);
void weft__s_on_resume(weft__session_t *, weft__spath_t *, const weft__resume_t *, bool left);
void weft__s_on_resume_ack(weft__session_t *, weft__spath_t *, const weft__resume_ack_t *);
void weft__s_wake(weft__session_t *); /* something waits for the peer: tick soon */
weft__spath_t *weft__s_best(weft__session_t *, const weft__spath_t *but);

#endif
