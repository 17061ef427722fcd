/* SPDX-License-Identifier: Apache-2.0 */
/* lib_peer.c - the two processes that exchange checked messages while a bench cuts what is between
 * them. */
#include "lib_peer.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <weft.h>

#define SMALL 64
#define LARGE (4u << 20)
#define HEAD  sizeof(head_t)
#define STAMP                                                                                      \
  1024 /* every so many bytes carry the number, so that a stale piece of a buffer shows */
#define MISSING   64 /* numbers remembered as missing, to tell reordering from loss */
#define FINISH_MS 30000

typedef struct head_s {
  uint64_t seq;
  uint32_t conn;
  uint32_t dir; /* the bench_side that sends */
  uint64_t size, sent_ns;
  uint64_t sum;
} head_t;

typedef struct side_s side_t;
typedef struct peer_conn_s peer_conn_t;

typedef struct slot_s {
  weft_send_t req;
  peer_conn_t *conn;
  char *mem;
  size_t cap;
  int busy;
} slot_t;

struct peer_conn_s {
  weft_conn_t handle;
  weft_connect_t connect;
  weft_shutdown_t shutdown;
  side_t *side;
  unsigned id;
  slot_t *slot;
  uint64_t next_tx, next_rx, random;
  uint64_t missing[MISSING];
  unsigned missings;
  uint32_t cut_seen;
  int open, down, eof;
};

struct side_s {
  peer_shared_t *shared;
  peer_side_t *me;
  bench_side which;
  uv_loop_t loop;
  weft_t weft;
  weft_listener_t listener;
  uv_timer_t pace, watch;
  uv_poll_t parent;
  peer_conn_t conn[PEER_MAX_CONNS];
  unsigned accepted;
  int stopping;
};

static uint64_t load64(const void *p) {
  uint64_t v;
  memcpy(&v, p, 8);
  return v;
}

/* Fast, and every bit of every word counts: four lanes of multiply and rotate. */
static uint64_t checksum(const char *p, size_t n) {
  const uint64_t k = 0x9e3779b97f4a7c15ull;
  uint64_t a = n, b = k, c = ~n, d = ~k;
  for (; n >= 32; p += 32, n -= 32) {
    a = (a ^ load64(p)) * k;
    b = (b ^ load64(p + 8)) * k;
    c = (c ^ load64(p + 16)) * k;
    d = (d ^ load64(p + 24)) * k;
    a ^= a >> 29;
    b ^= b >> 31;
    c ^= c >> 30;
    d ^= d >> 33;
  }
  for (; n > 0; p++, n--) a = (a ^ (uint8_t) *p) * k;
  a = (a ^ (b << 1 | b >> 63)) * k;
  a = (a ^ (c << 2 | c >> 62)) * k;
  a = (a ^ (d << 3 | d >> 61)) * k;
  return a ^ a >> 32;
}

/* Of a whole message, taken with the head's sum as 0. */
static uint64_t message_sum(head_t h, const char *data, size_t size) {
  h.sum = 0;
  uint64_t head = checksum((const char *) &h, HEAD), body = checksum(data + HEAD, size - HEAD);
  return head ^ (body << 1 | body >> 63);
}

static uint64_t next_random(uint64_t *s) {
  *s ^= *s << 13;
  *s ^= *s >> 7;
  *s ^= *s << 17;
  return *s;
}

/* Mostly small, some of a frame, some of many fragments: 64 B to 4 MiB. */
static size_t next_size(peer_conn_t *c) {
  uint64_t r = next_random(&c->random);
  unsigned pick = (unsigned) (r & 127), more = (unsigned) (r >> 8) & 0xffffff;
  if (c->side->shared->config.size) return c->side->shared->config.size;
  if (!c->side->shared->config.mixed || pick < 60) return SMALL;
  if (pick < 100) return SMALL + more % 4096;
  if (pick < 118) return 4096 + more % 60000;
  if (pick < 126) return 65536 + more % (192 << 10);
  return (256 << 10) + more % (LARGE - (256 << 10));
}

static void note_error(side_t *s, const char *what, int status, const char *why) {
  if (!*s->me->error)
    snprintf(s->me->error, sizeof(s->me->error), "%s: %s: %s", what, weft_strerror(status), why);
}

static void fill(peer_conn_t *c);

static void on_sent(weft_send_t *req, int status) {
  slot_t *slot = req->data;
  slot->busy = 0;
  if (status < 0)
    note_error(slot->conn->side, "send", status, weft_conn_error(&slot->conn->handle));
  else if (slot->conn->side->shared->config.pace_ms == 0)
    fill(slot->conn);
}

static void send_one(peer_conn_t *c, slot_t *slot) {
  size_t size = next_size(c);
  if (slot->cap < size) {
    free(slot->mem);
    slot->cap = size;
    slot->mem = malloc(size);
    if (!slot->mem) bench_die("out of memory");
    uint64_t r = c->random;
    for (size_t i = 0; i + 8 <= size; i += 8) {
      uint64_t v = next_random(&r);
      memcpy(slot->mem + i, &v, 8);
    }
  }
  head_t h = {.seq = c->next_tx,
              .conn = c->id,
              .dir = (uint32_t) c->side->which,
              .size = size,
              .sent_ns = perf_now()};
  for (size_t i = STAMP; i + 8 <= size; i += STAMP) memcpy(slot->mem + i, &h.seq, 8);
  h.sum = message_sum(h, slot->mem, size);
  memcpy(slot->mem, &h, HEAD);
  uv_buf_t buf = {.base = slot->mem, .len = size};
  slot->req.data = slot;
  int rc = weft_send(&slot->req, &c->handle, &buf, 1, on_sent);
  if (rc) {
    note_error(c->side, "weft_send", rc, weft_conn_error(&c->handle));
    return;
  }
  slot->busy = 1;
  c->next_tx++;
  c->side->me->sent[c->id] = c->next_tx;
}

static void fill(peer_conn_t *c) {
  const peer_config_t *cfg = &c->side->shared->config;
  for (unsigned i = 0; i < cfg->window && c->open && !c->down && !c->side->stopping; i++) {
    if (c->slot[i].busy) continue;
    send_one(c, &c->slot[i]);
    if (cfg->pace_ms) return;
  }
}

static void check_order(peer_conn_t *c, uint64_t seq) {
  peer_side_t *me = c->side->me;
  if (seq == c->next_rx) {
    c->next_rx++;
    return;
  }
  if (seq > c->next_rx) {
    for (uint64_t s = c->next_rx; s < seq; s++) {
      me->lost++;
      if (c->missings < MISSING) c->missing[c->missings++] = s;
    }
    c->next_rx = seq + 1;
    return;
  }
  for (unsigned i = 0; i < c->missings; i++) {
    if (c->missing[i] == seq) {
      c->missing[i] = c->missing[--c->missings];
      me->lost--;
      me->reordered++;
      return;
    }
  }
  me->duplicated++;
}

/* The first message sent after a cut was complete ends the gap of this connection and direction. */
static void check_gap(peer_conn_t *c, const head_t *h) {
  peer_shared_t *sh = c->side->shared;
  uint32_t cut = __atomic_load_n(&sh->cut, __ATOMIC_ACQUIRE);
  if (cut == c->cut_seen || h->sent_ns <= sh->cut_end) return;
  c->cut_seen = cut;
  if (!(sh->cut_who[!c->side->which] >> c->id & 1)) return;
  peer_side_t *me = c->side->me;
  if (me->samples < PEER_MAX_SAMPLES)
    me->sample_us[me->samples++] = (uint32_t) ((perf_now() - sh->cut_begin) / 1000);
}

static void maybe_finished(peer_conn_t *c) {
  if (c->down == 2 && c->eof) c->side->me->finished++;
}

static void on_recv(weft_conn_t *handle, int status, weft_msg_t *msg) {
  peer_conn_t *c = handle->data;
  side_t *s = c->side;
  if (status == UV_EOF) {
    c->eof = 1;
    maybe_finished(c);
    return;
  }
  if (status < 0) {
    note_error(s, "connection", status, weft_conn_error(handle));
    c->open = 0;
    s->me->broken++;
    return;
  }
  const char *data = weft_msg_data(msg);
  size_t size = weft_msg_size(msg);
  head_t h;
  memcpy(&h, data, size < HEAD ? 0 : HEAD);
  if (size < HEAD || h.size != size || h.conn != c->id || h.dir == s->which ||
      h.sum != message_sum(h, data, size)) {
    s->me->corrupted++;
    return;
  }
  check_order(c, h.seq);
  check_gap(c, &h);
  s->me->received[c->id]++;
  s->me->bytes += size;
  if (__atomic_load_n(&s->shared->block_side, __ATOMIC_ACQUIRE) == 1u + s->which) {
    __atomic_store_n(&s->shared->block_side, 0, __ATOMIC_RELEASE);
    usleep(s->shared->block_ms * 1000);
  }
}

static void on_event(weft_conn_t *handle, const weft_event_t *ev) {
  peer_side_t *me = ((peer_conn_t *) handle->data)->side->me;
  switch (ev->type) {
  case WEFT_EV_MIGRATED: me->migrations++; break;
  case WEFT_EV_PATH_UP: me->path_ups++; break;
  case WEFT_EV_PATH_DOWN: me->path_downs++; break;
  case WEFT_EV_PEER_STALLED: me->stalls++; break;
  case WEFT_EV_PEER_BACK: me->backs++; break;
  default: break;
  }
}

static peer_conn_t *conn_new(side_t *s, unsigned id) {
  peer_conn_t *c = &s->conn[id];
  c->side = s;
  c->id = id;
  c->random = 0x1234567ull * (id + 1) + s->which + 1;
  c->slot = calloc(s->shared->config.window, sizeof(*c->slot));
  if (!c->slot || weft_conn_init(&s->weft, &c->handle)) bench_die("weft_conn_init failed");
  for (unsigned i = 0; i < s->shared->config.window; i++) c->slot[i].conn = c;
  c->handle.data = c;
  weft_conn_on_event(&c->handle, on_event);
  return c;
}

static void conn_open(peer_conn_t *c) {
  c->open = 1;
  c->side->me->connected++;
  int rc = weft_recv_start(&c->handle, NULL, on_recv);
  if (rc) bench_die("weft_recv_start: %s", weft_strerror(rc));
  fill(c);
}

/* Connections are made one after the other, so that both sides number them alike. */
static void connect_next(side_t *s, unsigned id);

static void on_connected(weft_connect_t *req, int status) {
  peer_conn_t *c = req->data;
  if (status < 0)
    bench_die("connecting: %s: %s", weft_strerror(status), weft_conn_error(&c->handle));
  conn_open(c);
  if (c->id + 1 < c->side->shared->config.conns) connect_next(c->side, c->id + 1);
}

static void connect_next(side_t *s, unsigned id) {
  peer_conn_t *c = conn_new(s, id);
  c->connect.data = c;
  int rc = weft_connect(&c->connect, &c->handle, s->shared->url, NULL, on_connected);
  if (rc) bench_die("weft_connect %s: %s", s->shared->url, weft_strerror(rc));
}

static void on_listen(weft_listener_t *l, int status) {
  side_t *s = l->data;
  if (status < 0 || s->accepted == s->shared->config.conns)
    bench_die("listening: %s", status < 0 ? weft_strerror(status) : "too many connections");
  peer_conn_t *c = conn_new(s, s->accepted++);
  int rc = weft_accept(l, &c->handle);
  if (rc) bench_die("weft_accept: %s", weft_strerror(rc));
  conn_open(c);
}

static void on_pace(uv_timer_t *t) {
  side_t *s = t->data;
  for (unsigned i = 0; i < s->shared->config.conns; i++)
    if (s->conn[i].open) fill(&s->conn[i]);
}

static void on_shutdown(weft_shutdown_t *req, int status) {
  peer_conn_t *c = req->data;
  if (status < 0) note_error(c->side, "shutdown", status, weft_conn_error(&c->handle));
  c->down = status < 0 ? 1 : 2;
  maybe_finished(c);
}

static void answer(side_t *s, uint32_t ask) {
  weft_verdict_t v;
  for (unsigned i = 0; i < s->shared->config.conns; i++)
    for (unsigned k = 0;
         s->conn[i].open && weft_conn_verdict(&s->conn[i].handle, k, &v, sizeof(v)) == 0; k++)
      if (strstr(v.detail, s->shared->asked)) s->me->answered = ask;
}

static void on_watch(uv_timer_t *t) {
  side_t *s = t->data;
  peer_side_t sum = {0};
  uint32_t ask = __atomic_load_n(&s->shared->ask, __ATOMIC_ACQUIRE);
  if (ask != s->me->answered) answer(s, ask);
  for (unsigned i = 0; i < s->shared->config.conns; i++) {
    weft_conn_info_t info;
    if (!s->conn[i].open || weft_conn_info(&s->conn[i].handle, &info, sizeof(info))) continue;
    sum.standby += info.paths >= 2;
    if (strncmp(info.local, "10.9.2.", 7) == 0) sum.on_pair |= 1ull << i;
    sum.replayed += info.replayed;
    sum.duplicates += info.duplicates;
    sum.late_frames += info.late_frames;
    if (info.last_gap_ns > s->me->max_gap_ns) s->me->max_gap_ns = info.last_gap_ns;
  }
  s->me->standby = sum.standby;
  s->me->on_pair = sum.on_pair;
  s->me->replayed = sum.replayed;
  s->me->duplicates = sum.duplicates;
  s->me->late_frames = sum.late_frames;
  if (!__atomic_load_n(&s->shared->stop, __ATOMIC_ACQUIRE) || s->stopping) return;
  s->stopping = 1;
  for (unsigned i = 0; i < s->shared->config.conns; i++) {
    peer_conn_t *c = &s->conn[i];
    c->shutdown.data = c;
    if (c->open && weft_shutdown(&c->shutdown, &c->handle, on_shutdown) == 0) c->down = 1;
  }
}

static void on_parent(uv_poll_t *p, int status, int events) {
  side_t *s = p->data;
  (void) status;
  (void) events;
  weft_close(&s->weft, NULL);
  uv_close((uv_handle_t *) &s->pace, NULL);
  uv_close((uv_handle_t *) &s->watch, NULL);
  uv_close((uv_handle_t *) p, NULL);
}

static int side_main(int fd, peer_shared_t *shared, bench_side which) {
  side_t *s = calloc(1, sizeof(*s));
  weft_opts_t opts;
  char byte = 0, url[256];
  const peer_config_t *cfg = &shared->config;
  size_t len = sizeof(shared->url);
  int rc;
  if (cfg->net && which == BENCH_SERVER) bench_net_server(fd);
  if (which == BENCH_CLIENT && recv(fd, &byte, 1, 0) != 1) return 1;
  if (cfg->devices[which]) setenv("WEFT_DEVICES", cfg->devices[which], 1);
  for (unsigned i = 0; i < 4 && cfg->environment[which][i]; i++)
    if (putenv((char *) cfg->environment[which][i])) bench_die("putenv: %s", strerror(errno));
  weft_opts_init(&opts, sizeof(opts));
  if (!s || uv_loop_init(&s->loop) || weft_init(&s->loop, &s->weft, &opts))
    bench_die("weft_init failed");
  s->shared = shared;
  s->which = which;
  s->me = &shared->side[which];
  uv_timer_init(&s->loop, &s->pace);
  uv_timer_init(&s->loop, &s->watch);
  uv_poll_init(&s->loop, &s->parent, fd);
  s->pace.data = s->watch.data = s->parent.data = s;
  uv_timer_start(&s->watch, on_watch, 20, 20);
  uv_poll_start(&s->parent, UV_READABLE | UV_DISCONNECT, on_parent);
  if (cfg->pace_ms) uv_timer_start(&s->pace, on_pace, cfg->pace_ms, cfg->pace_ms);
  if (which == BENCH_SERVER) {
    weft_listener_init(&s->weft, &s->listener);
    s->listener.data = s;
    snprintf(url, sizeof(url), "weft://%s:0%s%s", cfg->host ? cfg->host : "*",
             cfg->needs ? "?" : "", cfg->needs ? cfg->needs : "");
    if ((rc = weft_listen(&s->listener, url, 128, on_listen)) ||
        (rc = weft_listener_addr(&s->listener, url, &(size_t){sizeof(url)})))
      bench_die("weft_listen: %s", weft_strerror(rc));
    const char *port = strrchr(url, ':');
    snprintf(shared->url, len, "weft://%s%.*s%s%s",
             cfg->host  ? cfg->host
             : cfg->net ? bench_net_addr(BENCH_SERVER, 0)
                        : "127.0.0.1",
             (int) strcspn(port, "?/"), port, cfg->needs ? "?" : "", cfg->needs ? cfg->needs : "");
    if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) return 1;
  } else {
    connect_next(s, 0);
  }
  uv_run(&s->loop, UV_RUN_DEFAULT);
  return 0;
}

static int client_main(int fd, void *arg) {
  return side_main(fd, arg, BENCH_CLIENT);
}

static int server_main(int fd, void *arg) {
  return side_main(fd, arg, BENCH_SERVER);
}

/* ---- The bench's side ---- */

void peer_check(peer_rig_t *rig) {
  for (int i = 0; i < 2; i++) {
    const peer_side_t *side = &rig->shared->side[i];
    int status;
    if (waitpid(rig->child[i].pid, &status, WNOHANG) == rig->child[i].pid)
      bench_die("the %s died (status %#x) %s", i ? "server" : "client", status, side->error);
    if (side->broken)
      bench_die("the %s lost %u connections: %s", i ? "server" : "client", side->broken,
                side->error);
  }
}

int peer_wait_pair(peer_rig_t *rig, unsigned pair, unsigned ms) {
  volatile peer_side_t *side = rig->shared->side;
  uint64_t want = pair ? (1ull << rig->shared->config.conns) - 1 : 0;
  for (unsigned waited = 0; waited <= ms; waited += 5) {
    peer_check(rig);
    if (side[0].on_pair == want && side[1].on_pair == want) return 1;
    usleep(5000);
  }
  return 0;
}

int peer_wait_progress(peer_rig_t *rig, unsigned n, unsigned ms) {
  volatile peer_side_t *side = rig->shared->side;
  uint64_t from[2][PEER_MAX_CONNS];
  unsigned conns = rig->shared->config.conns, short_of = 1;
  for (unsigned i = 0; i < 2 * conns; i++)
    from[i / conns][i % conns] = side[i / conns].received[i % conns];
  for (unsigned waited = 0; waited <= ms && short_of; waited += 5) {
    peer_check(rig);
    usleep(5000);
    short_of = 0;
    for (unsigned i = 0; i < 2 * conns; i++)
      short_of += side[i / conns].received[i % conns] < from[i / conns][i % conns] + n;
  }
  return !short_of;
}

int peer_wait_verdict(peer_rig_t *rig, bench_side which, const char *words, unsigned ms) {
  peer_shared_t *sh = rig->shared;
  volatile peer_side_t *side = &sh->side[which];
  snprintf(sh->asked, sizeof(sh->asked), "%s", words);
  __atomic_store_n(&sh->ask, sh->ask + 1, __ATOMIC_RELEASE);
  for (unsigned waited = 0; waited <= ms; waited += 5) {
    peer_check(rig);
    if (side->answered == sh->ask) return 1;
    usleep(5000);
  }
  return 0;
}

int peer_wait_standby(peer_rig_t *rig, unsigned ms) {
  volatile peer_side_t *side = rig->shared->side;
  for (unsigned waited = 0; waited <= ms; waited += 5) {
    peer_check(rig);
    if (side[0].standby == rig->shared->config.conns &&
        side[1].standby == rig->shared->config.conns)
      return 1;
    usleep(5000);
  }
  return 0;
}

void peer_start(peer_rig_t *rig, const peer_config_t *config) {
  char byte = 0;
  memset(rig, 0, sizeof(*rig));
  rig->shared = bench_shared(sizeof(*rig->shared));
  rig->shared->config = *config;
  if (config->net) bench_net_enter();
  bench_spawn(&rig->child[BENCH_CLIENT], BENCH_CLIENT_CORE, client_main, rig->shared);
  bench_spawn(&rig->child[BENCH_SERVER], BENCH_SERVER_CORE, server_main, rig->shared);
  if (config->net) bench_net_join(&rig->net, &rig->child[BENCH_SERVER]);
  if (recv(rig->child[BENCH_SERVER].fd, &byte, 1, 0) != 1 ||
      send(rig->child[BENCH_CLIENT].fd, &byte, 1, MSG_NOSIGNAL) != 1)
    bench_die("the peers did not start (server %d)", bench_reap(&rig->child[BENCH_SERVER]));
  volatile peer_side_t *side = rig->shared->side;
  unsigned slow = config->slow ? config->slow : 1;
  if (config->opening) config->opening(config->opening_arg);
  for (unsigned i = 0; side[0].connected < config->conns || side[1].connected < config->conns;
       i++) {
    peer_check(rig);
    if (i > 4000 * slow)
      bench_die("only %u of %u connections opened in %u s", side[0].connected, config->conns,
                20 * slow);
    usleep(5000);
  }
  if (!peer_wait_standby(rig, 5000 * slow))
    bench_die("no standby path: client %u, server %u of %u connections have two", side[0].standby,
              side[1].standby, config->conns);
}

uint64_t peer_finish(peer_rig_t *rig) {
  volatile peer_side_t *side = rig->shared->side;
  unsigned conns = rig->shared->config.conns;
  __atomic_store_n(&rig->shared->stop, 1, __ATOMIC_RELEASE);
  for (unsigned i = 0; i < FINISH_MS / 5 && (side[0].finished < conns || side[1].finished < conns);
       i++) {
    peer_check(rig);
    usleep(5000);
  }
  uint64_t fault = 0, sent = 0, unfinished = 0;
  for (int i = 0; i < 2; i++) {
    fault += side[i].lost + side[i].duplicated + side[i].reordered + side[i].corrupted;
    unfinished += conns - side[i].finished;
    for (unsigned c = 0; c < conns; c++) {
      uint64_t s = side[i].sent[c], r = side[!i].received[c];
      sent += s;
      if (s != r) {
        printf("connection %u, from the %s: %lu sent, %lu received\n", c, i ? "server" : "client",
               (unsigned long) s, (unsigned long) r);
        fault += s > r ? s - r : r - s;
      }
    }
  }
  printf("%lu messages, %.1f MB; lost %lu, duplicated %lu, reordered %lu, corrupted %lu, "
         "unfinished %lu\n",
         (unsigned long) sent, (double) (side[0].bytes + side[1].bytes) / 1e6,
         (unsigned long) (side[0].lost + side[1].lost),
         (unsigned long) (side[0].duplicated + side[1].duplicated),
         (unsigned long) (side[0].reordered + side[1].reordered),
         (unsigned long) (side[0].corrupted + side[1].corrupted), (unsigned long) unfinished);
  printf("migrations %lu + %lu, replayed %lu, duplicates dropped %lu, late frames dropped %lu\n",
         (unsigned long) side[0].migrations, (unsigned long) side[1].migrations,
         (unsigned long) (side[0].replayed + side[1].replayed),
         (unsigned long) (side[0].duplicates + side[1].duplicates),
         (unsigned long) (side[0].late_frames + side[1].late_frames));
  for (int i = 0; i < 2; i++)
    if (rig->shared->side[i].error[0])
      printf("%s: %s\n", i ? "server" : "client", rig->shared->side[i].error);
  for (int i = 0; i < 2; i++)
    rig->exit[i] = bench_reap_within(&rig->child[i],
                                     5 * (rig->shared->config.slow ? rig->shared->config.slow : 1));
  return fault + unfinished;
}

int peer_cut(peer_rig_t *rig, int silent, bench_side end, unsigned pair, unsigned wait_ms) {
  peer_shared_t *sh = rig->shared;
  volatile peer_side_t *side = sh->side;
  uint64_t before = side[0].samples + side[1].samples, all = (1ull << sh->config.conns) - 1;
  for (int i = 0; i < 2; i++) sh->cut_who[i] = pair ? side[i].on_pair : ~side[i].on_pair & all;
  unsigned want =
      (unsigned) (__builtin_popcountll(sh->cut_who[0]) + __builtin_popcountll(sh->cut_who[1]));
  sh->cut_begin = perf_now();
  if (silent)
    bench_net_silence(&rig->net, pair, 1);
  else
    bench_net_link(&rig->net, end, pair, 0);
  sh->cut_end = perf_now();
  __atomic_store_n(&sh->cut, sh->cut + 1, __ATOMIC_RELEASE);
  unsigned got = 0;
  for (unsigned i = 0; i < wait_ms && got < want; i++) {
    usleep(1000);
    got = (unsigned) (side[0].samples + side[1].samples - before);
  }
  if (silent)
    bench_net_silence(&rig->net, pair, 0);
  else
    bench_net_link(&rig->net, end, pair, 1);
  return (int) (want - got);
}

void peer_gaps(const peer_rig_t *rig, perf_hist_t *out) {
  perf_hist_reset(out);
  for (int i = 0; i < 2; i++)
    for (uint64_t k = 0; k < rig->shared->side[i].samples; k++)
      perf_hist_add(out, rig->shared->side[i].sample_us[k] * 1000ull);
}
