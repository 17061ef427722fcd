/* SPDX-License-Identifier: Apache-2.0 */
/* session_fuzz.c - a session whose peer sends what the input says, under the right key.
 *
 * Design notes
 *  - The input is a script: each step is an opcode and its operands; bytes that are missing are 0.
 *    A frame's header is right unless the step says which fields come from the input, so that lies
 *    get past the first check and into every state.
 *  - The session runs over the simulator, which checks the path contract. Messages and destinations
 *    are allocated one by one: a sanitizer sees every late or stray access.
 *  - A script ends with an abort; the session must then be gone, and all memory given back. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "rail/sim/sim.h"
#include "session/join.h"
#include "session/session.h"
#include "session/wire.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PATHS = 3, MESSAGES = 64, DESTINATIONS = 64, STEPS = 400 };

typedef struct message {
  weft__txm_t txm;
  struct iovec iov;
  bool queued;
} message_t;

static struct {
  weft__sim_t *sim;
  weft__sim_link_t *link;
  const uint8_t *in;
  size_t left;
  weft__session_t *s;
  bool dirty, waiting, ended, gone;
  uint64_t timer;
  weft__rng_t rng;
  /* the peer's end of each path */
  weft__path_t *path[PATHS];
  uint64_t fc[PATHS], heard[PATHS], seen;
  unsigned npaths;
  message_t msg[MESSAGES];
  unsigned nmsg, unsent;
  void *dst[DESTINATIONS];
  size_t dstlen[DESTINATIONS];
  weft__rbuf_t *kept;
  bool readable; /* the peer has memory that may be read, on each path */
  weft__mr_t mr[PATHS];
  uint8_t source[1 << 16];
} g;

static void fail(void *ctx, const char *text) {
  (void) ctx;
  fprintf(stderr, "violation: %s\n", text);
  abort();
}

static uint8_t get8(void) {
  if (g.left == 0) return 0;
  g.left--;
  return *g.in++;
}

static uint64_t get(unsigned bytes) {
  uint64_t v = 0;
  unsigned i;

  for (i = 0; i < bytes; i++) v |= (uint64_t) get8() << 8 * i;
  return v;
}

/* ---- The session's owner ---- */

static void on_hello(void *o, const weft__hello_t *h) {
  (void) o, (void) h;
  g.waiting = true;
}

static void on_deliver(void *o, const weft__rxm_t *m) {
  volatile const uint8_t *p = m->data;
  size_t i;

  (void) o;
  for (i = 0; i < m->size; i++) (void) p[i];
  if (m->rbuf != NULL && g.kept == NULL && m->size % 3 == 0) {
    weft__rbuf_ref(m->rbuf);
    g.kept = m->rbuf;
  }
  if (m->size == 7) weft__session_rx_stop(g.s);
  for (i = 0; m->large != NULL && i < DESTINATIONS; i++)
    if (g.dst[i] == m->large) {
      free(g.dst[i]);
      g.dst[i] = NULL;
      return;
    }
  if (m->large != NULL) fail(NULL, "a message in memory that was not lent");
}

static void on_eof(void *o) {
  (void) o;
}

static void *on_alloc(void *o, uint64_t size, const void *head, uint32_t headlen) {
  unsigned i;

  (void) o, (void) head;
  if (size > 1 << 20 || headlen % 5 == 4) return NULL;
  for (i = 0; i < DESTINATIONS; i++)
    if (g.dst[i] == NULL) {
      g.dstlen[i] = size;
      return g.dst[i] = malloc(size);
    }
  return NULL;
}

static void on_unalloc(void *o, void *p) {
  unsigned i;

  (void) o;
  for (i = 0; i < DESTINATIONS; i++)
    if (g.dst[i] == p) {
      if (weft__sim_exposed(g.sim, 0, p, g.dstlen[i]))
        fail(NULL, "a destination is given back while the peer may write");
      free(p);
      g.dst[i] = NULL;
      return;
    }
  fail(NULL, "memory given back that was not lent");
}

static void on_sent(void *o, weft__txm_t *t, int status) {
  message_t *m = (message_t *) t;

  (void) o, (void) status;
  if (!m->queued) fail(NULL, "sent twice");
  m->queued = false;
  g.unsent--;
  if (m->iov.iov_len != 0 && weft__sim_reading(g.sim, 0, m->iov.iov_base, m->iov.iov_len))
    fail(NULL, "a message is sent while a device reads it");
  free(m->iov.iov_base);
  m->iov.iov_base = NULL;
}

static void on_event(void *o, const weft__sev_t *ev) {
  (void) o, (void) ev;
}

static void on_path_closed(void *o, weft__path_t *p, int err, const char *why) {
  (void) o, (void) p, (void) err, (void) why;
}

static void on_dirty(void *o) {
  (void) o;
  g.dirty = true;
}

static void tick(void *arg, uint64_t at) {
  (void) arg;
  if (g.s != NULL && at == g.timer) weft__session_tick(g.s);
}

static void on_timer(void *o, uint64_t deadline) {
  (void) o;
  g.timer = deadline;
  weft__sim_at(g.sim, 0, deadline, tick, NULL, deadline);
}

static void on_ended(void *o, int err, const char *why) {
  (void) o, (void) err, (void) why;
  if (g.ended) fail(NULL, "ended twice");
  g.ended = true;
}

static void on_gone(void *o) {
  (void) o;
  g.gone = true;
}

static void on_random(void *o, void *out, size_t len) {
  uint8_t *p = out;

  (void) o;
  while (len-- > 0) *p++ = (uint8_t) weft__rng_next(&g.rng);
}

static const weft__session_ops_t ops = {on_hello,   on_deliver, on_eof,   on_alloc,       NULL,
                                        on_unalloc, on_sent,    on_event, on_path_closed, on_dirty,
                                        on_timer,   on_ended,   on_gone,  on_random};

/* ---- The peer ---- */

static uint64_t my_key(unsigned i) { /* of the session's end */
  return 0x1000 + i;
}

static void peer_frame(weft__path_t *p, weft__rbuf_t *b) {
  unsigned i;
  weft__hdr_t h;

  if (weft__hdr_get(b->data, b->len, &h) != WEFT__W_OK)
    fail(NULL, "the session sends a malformed frame");
  for (i = 0; i < g.npaths; i++)
    if (g.path[i] == p) {
      if (h.fc != ++g.heard[i] || h.key != 0x2000 + i)
        fail(NULL, "the session sends a wrong counter or key");
      if (h.type == WEFT__F_DATA && h.seq + h.count > g.seen) g.seen = h.seq + h.count;
    }
}

static void peer_writable(weft__path_t *p) {
  (void) p;
}

static void peer_rma_done(weft__path_t *p, weft__rma_t *r, int status) {
  (void) p, (void) r, (void) status;
}

static void peer_closed(weft__path_t *p) {
  unsigned i;

  for (i = 0; i < g.npaths; i++)
    if (g.path[i] == p) {
      if (g.readable) p->ops->unexpose(p, &g.mr[i]);
      g.path[i] = NULL;
    }
}

static void peer_down(weft__path_t *p, int err, const char *why, const void *blob, size_t len) {
  (void) err, (void) why, (void) blob, (void) len;
  p->ops->close(p);
}

static const weft__path_cbs_t peer_cbs = {NULL,          peer_frame, peer_writable,
                                          peer_rma_done, peer_down,  peer_closed};

static void add_path(void) {
  weft__path_t *pair[2];
  unsigned i = g.npaths;

  if (i == PATHS || g.s == NULL || g.gone) return;
  weft__sim_pair(g.link, pair);
  weft__sim_liar(pair[0]);
  weft__sim_liar(pair[1]);
  pair[1]->cbs = &peer_cbs;
  g.path[i] = pair[1];
  if (g.readable &&
      pair[1]->ops->expose(pair[1], g.source, sizeof(g.source), WEFT__OPEN_READ, &g.mr[i]) != 0)
    fail(NULL, "nothing to read");
  g.npaths++;
  if (weft__session_add_path(g.s, pair[0], my_key(i), 0x2000 + i, (int) i, 0) != 0) {
    pair[0]->cbs = &peer_cbs;
    pair[0]->ops->close(pair[0]);
  }
}

static void send_frame(unsigned i, uint8_t *f, uint32_t payload, unsigned type, unsigned lies) {
  weft__hdr_t h;

  if (i >= g.npaths || g.path[i] == NULL) return;
  memset(&h, 0, sizeof(h));
  h.type = (uint8_t) type;
  h.key = my_key(i);
  h.fc = ++g.fc[i];
  h.ack = g.seen;
  h.win_seq = g.seen + 1000;
  h.win_bytes = 1 << 24;
  h.length = payload;
  h.grant = (uint32_t) g.heard[i] + 32;
  if (type == WEFT__F_DATA) {
    h.count = (uint16_t) get(1);
    h.seq = get(1);
  }
  if (lies & 1) h.flags = get8();
  if (lies & 2) h.ack = get(8);
  if (lies & 4) h.win_seq = get(8);
  if (lies & 8) h.win_bytes = get(8);
  if (lies & 16) h.grant = (uint32_t) get(4);
  if (lies & 32) h.seq = get(8);
  if (lies & 64) h.key = get(8);
  if (lies & 128) h.fc = get(8);
  weft__hdr_put(f, &h);
  weft__sim_inject(g.path[i], f, WEFT__HDR + payload);
}

static void say_hello(unsigned lies) {
  uint8_t f[WEFT__FRAME_MAX];
  weft__hello_t h;
  size_t n;

  memset(&h, 0, sizeof(h));
  h.max_message = 1 << 20;
  h.win_messages = 1000;
  h.win_bytes = 1 << 20;
  h.peer_timeout_ms = 30000;
  weft_qos_init(&h.qos, sizeof(h.qos));
  if (lies != 0) {
    h.qos.reliability = get8() & 1;
    h.qos.ack = get8() & 1;
    h.qos.interruption_ms = get(2);
    h.max_message = get(3);
  }
  n = weft__hello_put(f + WEFT__HDR, WEFT__HELLO_MAX, &h);
  send_frame(0, f, (uint32_t) n, WEFT__F_HELLO, 0);
}

/* ---- Script ---- */

static void run(uint64_t until) {
  while (weft__sim_step(g.sim, until) >= 0) {
    if (g.waiting) {
      g.waiting = false;
      weft__session_accept(g.s);
    }
    while (g.dirty && !g.gone) {
      g.dirty = false;
      weft__session_flush(g.s);
    }
    if (weft__sim_events(g.sim) > 200000) fail(NULL, "round in circles");
  }
}

static void user_sends(unsigned kind, size_t size) {
  message_t *m = &g.msg[g.nmsg];

  if (g.nmsg == MESSAGES || g.gone) return;
  memset(m, 0, sizeof(*m));
  m->iov.iov_base = size != 0 ? calloc(1, size) : NULL;
  m->iov.iov_len = size;
  m->txm.iov = &m->iov;
  m->txm.niov = size != 0;
  m->txm.kind = (uint8_t) kind;
  if (weft__session_send(g.s, &m->txm) == 0) {
    m->queued = true;
    g.unsent++;
    g.nmsg++;
  } else {
    free(m->iov.iov_base);
  }
}

static void payload(unsigned path, uint8_t *f, unsigned *type, uint32_t *len) {
  static const uint16_t sizes[WEFT__F_TYPES] = {0,  24, 0,  0,  24, 16, 16, 16, 40,
                                                24, 40, 16, 16, 0,  8,  0,  40, 24};
  uint32_t n, i;

  *type = get8();
  n = *type < WEFT__F_TYPES ? sizes[*type] : 0;
  if (*type >= 0x80) { /* with a length of its own */
    *type &= 0x7f;
    n = (uint32_t) get(2) % (WEFT__FRAME_MAX - WEFT__HDR);
  }
  for (i = 0; i < n; i++) f[WEFT__HDR + i] = get8();
  /* a source that says nothing of where it lies is one that is there */
  if (*type == WEFT__F_READY && n == sizes[WEFT__F_READY] && g.readable &&
      weft__get64(f + WEFT__HDR + 24) == 0) {
    weft__put64(f + WEFT__HDR + 16, g.mr[path].addr);
    weft__put64(f + WEFT__HDR + 24, g.mr[path].key);
  }
  *len = n;
}

static void step(void) {
  static uint8_t f[WEFT__FRAME_MAX];
  uint64_t now = weft__sim_time(g.sim);
  unsigned type, op = get8();
  uint32_t len;

  switch (op & 15) {
  case 0:
  case 1:
  case 2:
  case 3: /* a frame, true but for what it says */
    payload((op >> 4 & 3) % PATHS, f, &type, &len);
    send_frame(op >> 4 & 3, f, len, type, 0);
    break;
  case 4: /* ... with lies in the header */
    type = get8();
    payload(0, f, &op, &len);
    send_frame(0, f, len, op, type);
    break;
  case 5: run(now + 50000); break;
  case 6: run(now + get(3) * 1000); break;
  case 7: user_sends(WEFT__R_MSG, get(2)); break;
  case 8: user_sends(WEFT__R_MSG, 16000 + get(2)); break;
  case 9: user_sends(WEFT__R_FIN, 0); break;
  case 10:
    if (!g.gone && (op & 16))
      weft__session_rx_stop(g.s);
    else if (!g.gone)
      weft__session_rx_start(g.s);
    break;
  case 11: add_path(); break;
  case 12: /* the path fails at one end */
    type = op >> 4 & 3;
    if (type < g.npaths && g.path[type] != NULL) weft__sim_fail(g.path[type], -EIO, "script");
    break;
  case 13:
    type = get8() % MESSAGES;
    if (type < g.nmsg && g.msg[type].queued && !g.gone) weft__session_cancel(g.s, &g.msg[type].txm);
    break;
  case 14:
    if (!g.gone && weft__session_is_open(g.s)) weft__session_migrate(g.s, NULL, "script");
    break;
  default:
    if (!g.gone && (op & 16))
      weft__session_tombstone(g.s, get(2), op >> 5 & 1);
    else
      say_hello(op >> 5);
    break;
  }
}

static void setup(void) {
  static const weft__sim_hooks_t hooks = {.violation = fail};
  weft__sim_link_conf_t conf = {.host = {0, 1}, .delay = 10000};
  weft__session_conf_t c;
  unsigned i, mode = get8();

  if (g.sim == NULL) {
    weft__log_level = -1;
    g.sim = weft__sim_create(&hooks, NULL);
    if (g.sim == NULL) abort();
  }
  weft__sim_reset(g.sim, 1);
  for (i = 0; i < 2; i++)
    conf.lim[i] = (weft__path_limits_t){.frame_max = WEFT__FRAME_MAX,
                                        .inject_max = 64,
                                        .tx_depth = 16,
                                        .rx_depth = 32,
                                        .rma_depth = 2,
                                        .rma_max = 1 << 16,
                                        .xfer = mode & 2      ? WEFT__XFER_COPY
                                                : mode & 0x40 ? WEFT__XFER_READ
                                                              : WEFT__XFER_WRITE};
  g.link = weft__sim_link(g.sim, &conf);
  g.readable = (mode & 0x42) == 0x40;
  g.rng = weft__rng_fork(1, 2);
  g.npaths = g.nmsg = g.unsent = 0;
  g.seen = 1;
  g.dirty = g.waiting = g.ended = g.gone = false;
  memset(g.fc, 0, sizeof(g.fc));
  memset(g.heard, 0, sizeof(g.heard));
  memset(g.path, 0, sizeof(g.path));
  memset(&c, 0, sizeof(c));
  c.initiator = mode & 1;
  c.now_ns = weft__sim_clock(g.sim, 0);
  c.handshake_ns = c.peer_timeout_ns = 1000000000;
  c.beat_ns = 500000000;
  c.linger_ns = 100000000;
  c.hello.max_message = 1 << 20;
  c.hello.win_messages = 64;
  c.hello.win_bytes = 65536;
  weft_qos_init(&c.hello.qos, sizeof(c.hello.qos));
  c.hello.qos.reliability = mode >> 4 & 1;
  c.hello.qos.ack = mode >> 5 & 1;
  g.s = weft__session_create(&c, &ops, NULL);
  if (g.s == NULL) abort();
  if (!(mode & 8)) weft__session_rx_start(g.s);
  add_path();
  if (!(mode & 4)) {
    say_hello(0);
    run(weft__sim_time(g.sim) + 100000);
  }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  unsigned i;

  g.in = data;
  g.left = size;
  setup();
  for (i = 0; i < STEPS && g.left != 0; i++) step();
  run(weft__sim_time(g.sim) + 1000000);
  if (!g.gone) weft__session_abort(g.s, -ECANCELED, 0, "the script is over");
  while (g.dirty && !g.gone) {
    g.dirty = false;
    weft__session_flush(g.s);
  }
  run(weft__sim_time(g.sim) + 5000000000u);
  if (!g.gone) fail(NULL, "aborted, and not gone");
  if (g.unsent != 0) fail(NULL, "gone, and messages were never sent");
  weft__session_destroy(g.s);
  g.s = NULL;
  for (i = 0; i < DESTINATIONS; i++)
    if (g.dst[i] != NULL) fail(NULL, "a destination was never given back");
  if (g.kept != NULL) weft__rbuf_unref(g.kept);
  g.kept = NULL;
  return 0;
}
