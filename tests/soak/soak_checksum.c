/* SPDX-License-Identifier: Apache-2.0 */
/* soak_checksum.c - two processes exchange checksummed messages of random sizes over several
 * connections, both ways, while paths are cut and healed, receivers pause, and connections end in
 * order or not and begin again: nothing lost, twice, out of order or changed, and memory stays
 * flat.
 *
 *   soak_checksum [--seconds N] [--seed N] [--conns N] [--no-cuts]
 *
 * Design notes
 *   - The client's process makes two veth pairs into the server's namespace and cuts them; where
 *     the system refuses namespaces, both run over loopback, without cuts, and say so.
 *   - A message is 32 bytes of header and bytes that follow from its number. The last one of a
 *     direction says that it is the last; so an orderly end proves that nothing is missing. After
 *     an abrupt end only what did arrive is checked.
 *   - Everything random comes from --seed; what the network makes of it does not. */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "lib_netns.h"
#include "lib_proc.h"
#include "weft.h"

enum {
  CONNS_MAX = 64,
  FLIGHT = 12,
  FLIGHT_BYTES = 6 << 20,
  SIZE_MAX_SMALL = 4000,
  SIZE_MAX_LARGE = 3 << 20
};
enum { LAST = 1 };

typedef struct head {
  uint64_t seq;
  uint32_t size; /* of all of it */
  uint32_t flags;
  uint64_t salt; /* where the bytes begin */
  uint64_t sum;
} head_t;

typedef struct side side_t;

typedef struct msg { /* one on its way out */
  weft_send_t req;
  struct slot *slot;
  size_t size;
  char bytes[];
} msg_t;

typedef struct slot {
  weft_conn_t conn;
  weft_connect_t connect;
  weft_shutdown_t bye;
  side_t *side;
  uint64_t tx_seq, rx_seq;
  unsigned flight;
  size_t flight_bytes;
  bool open, finishing, said_last, heard_last, shut, eof, paused, abrupt;
  uint64_t paused_until;
} slot_t;

struct side {
  uv_loop_t loop;
  weft_t weft;
  weft_listener_t listener;
  uv_timer_t tick;
  bool server;
  slot_t *slots[CONNS_MAX];
  unsigned nslots, want;
  uint64_t rnd, begin, end;
  bool over;
  int cuts; /* 1: there are pairs to cut */
  int cut;  /* the pair that is down, -1: none */
  uint64_t cut_until, next_cut;
  char url[128];
  long rss_warm;
  /* figures */
  uint64_t sent, received, bytes, lost, twice, reordered, corrupt, orderly, abrupt, ncuts,
      migrations, replayed;
  uint64_t broken;
};

static uint64_t seconds = 20, seed = 1;
static unsigned conns = 6;

static uint64_t rnd(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static uint64_t now_ms(void) {
  return uv_hrtime() / 1000000;
}

/* ---- Messages ---- */

static uint64_t checksum(const head_t *h, const uint8_t *p, size_t n) {
  uint64_t a = h->seq * 31 + h->size + ((uint64_t) h->flags << 40) + h->salt, b = 1, v;

  for (; n >= 8; n -= 8, p += 8) {
    memcpy(&v, p, 8);
    a += v;
    b = b * UINT64_C(0x100000001b3) + a;
  }
  for (; n != 0; n--) b = b * 31 + *p++;
  return a ^ b;
}

static size_t pick_size(uint64_t *state) {
  uint64_t r = rnd(state) % 1000;

  if (r < 5) return sizeof(head_t);
  if (r < 800) return sizeof(head_t) + rnd(state) % SIZE_MAX_SMALL;
  if (r < 900) return 16000 + rnd(state) % 800; /* around the largest that goes in one frame */
  if (r < 985) return sizeof(head_t) + rnd(state) % 200000;
  return sizeof(head_t) + rnd(state) % SIZE_MAX_LARGE;
}

static void fill(slot_t *s);
static void maybe_close(slot_t *s);

/* The client ends some connections abruptly. The server hears of it, or, where the path is cut just
 * then, finds that nobody comes back. */
static bool server_may_see(const slot_t *s, int status) {
  return s->side->server && (status == UV_ECONNRESET || status == WEFT_EPEERLOST);
}

static void on_sent(weft_send_t *req, int status) {
  msg_t *m = (msg_t *) req;
  slot_t *s = m->slot;

  s->flight--;
  s->flight_bytes -= m->size;
  if (status == 0)
    s->side->sent++;
  else if (!s->abrupt && status != UV_ECANCELED && !server_may_see(s, status))
    die("%s: a message ended with %s: %s", s->side->server ? "server" : "client",
        weft_err_name(status), weft_conn_error(&s->conn));
  free(m);
  if (status == 0) fill(s);
}

/* False where the connection is lost and its user has not been told yet. */
static bool send_one(slot_t *s, size_t size, uint32_t flags) {
  msg_t *m = malloc(sizeof(*m) + size);
  head_t h = {
      .seq = ++s->tx_seq, .size = (uint32_t) size, .flags = flags, .salt = rnd(&s->side->rnd)};
  uint64_t state = h.salt;
  uv_buf_t buf[2];
  size_t i, n = size - sizeof(h);
  uint8_t *p;
  int err;

  if (m == NULL) die("out of memory");
  p = (uint8_t *) m->bytes + sizeof(h);
  for (i = 0; i + 8 <= n; i += 8) {
    state = state * UINT64_C(6364136223846793005) + 1442695040888963407;
    memcpy(p + i, &state, 8);
  }
  for (; i < n; i++) p[i] = (uint8_t) (state >> (8 * (i % 8)));
  h.sum = checksum(&h, p, n);
  memcpy(m->bytes, &h, sizeof(h));
  memset(&m->req, 0, sizeof(m->req));
  m->slot = s;
  m->size = size;
  /* sometimes in two pieces */
  buf[0] = uv_buf_init(m->bytes, (unsigned) (size > 64 && h.salt % 2 != 0 ? 48 : size));
  buf[1] = uv_buf_init(m->bytes + buf[0].len, (unsigned) (size - buf[0].len));
  err = weft_send(&m->req, &s->conn, buf, buf[1].len != 0 ? 2 : 1, on_sent);
  if (err == UV_ENOTCONN) { /* lost already; recv_cb says so after what has arrived before */
    free(m);
    return false;
  }
  if (err != 0) die("weft_send: %s", weft_err_name(err));
  s->flight++;
  s->flight_bytes += size;
  return true;
}

static void on_shut(weft_shutdown_t *req, int status) {
  slot_t *s = req->data;

  if (status == UV_ETIMEDOUT &&
      s->side->server) /* no path came back in time: counted, and bounded by the cuts */
    s->side->abrupt++;
  else if (status != 0 && !s->abrupt && status != UV_ECANCELED && !server_may_see(s, status))
    die("%s: a shutdown ended with %s: %s", s->side->server ? "server" : "client",
        weft_err_name(status), weft_conn_error(&s->conn));
  s->shut = true;
  maybe_close(s);
}

static void fill(slot_t *s) {
  if (!s->open || s->said_last) return;
  while (!s->finishing && s->flight < FLIGHT && s->flight_bytes < FLIGHT_BYTES)
    if (!send_one(s, pick_size(&s->side->rnd), 0)) return;
  if (s->finishing) {
    if (!send_one(s, sizeof(head_t), LAST)) return;
    s->said_last = true;
    s->bye.data = s;
    if (weft_shutdown(&s->bye, &s->conn, on_shut) != 0) die("weft_shutdown");
  }
}

static void check(slot_t *s, weft_msg_t *msg) {
  side_t *side = s->side;
  const uint8_t *p = weft_msg_data(msg);
  size_t size = weft_msg_size(msg);
  head_t h;

  side->received++;
  side->bytes += size;
  if (size < sizeof(h)) {
    side->corrupt++;
    return;
  }
  memcpy(&h, p, sizeof(h));
  if (h.size != size || checksum(&h, p + sizeof(h), size - sizeof(h)) != h.sum) {
    side->corrupt++;
    return;
  }
  if (h.seq <= s->rx_seq) {
    side->twice++;
    return;
  }
  if (h.seq != s->rx_seq + 1) side->lost += h.seq - s->rx_seq - 1;
  if (s->heard_last) side->reordered++;
  s->rx_seq = h.seq;
  if (h.flags & LAST) s->heard_last = true;
}

/* ---- Connections ---- */

static void on_closed(weft_conn_t *conn) {
  slot_t *s = conn->data;
  side_t *side = s->side;
  unsigned i;

  for (i = 0; i < side->nslots; i++)
    if (side->slots[i] == s) side->slots[i] = side->slots[--side->nslots];
  free(s);
}

static void close_slot(slot_t *s) {
  weft_conn_info_t info;

  if (weft_is_closing(&s->conn)) return;
  if (weft_conn_info(&s->conn, &info, sizeof(info)) == 0) {
    s->side->migrations += info.migrations;
    s->side->replayed += info.replayed;
  }
  s->open = false;
  weft_conn_close(&s->conn, on_closed);
}

static void maybe_close(slot_t *s) {
  if (!s->shut || !s->eof || weft_is_closing(&s->conn)) return;
  if (!s->heard_last) s->side->lost++;
  s->side->orderly++;
  close_slot(s);
}

static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  slot_t *s = conn->data;

  if (status == 0) {
    check(s, msg);
    return;
  }
  if (status == UV_EOF) {
    s->eof = true;
    s->finishing = true;
    fill(s);
    maybe_close(s);
    return;
  }
  /* The client ends some connections abruptly: then, and only then, the server sees this. */
  if (!server_may_see(s, status)) {
    s->side->broken++;
    fprintf(stderr, "%s: a connection was lost: %s: %s\n", s->side->server ? "server" : "client",
            weft_err_name(status), weft_conn_error(conn));
  }
  s->side->abrupt++;
  close_slot(s);
}

static slot_t *slot_new(side_t *side) {
  slot_t *s = calloc(1, sizeof(*s));

  if (s == NULL || side->nslots == CONNS_MAX) die("too many connections at once");
  s->side = side;
  if (weft_conn_init(&side->weft, &s->conn) != 0) die("weft_conn_init");
  s->conn.data = s;
  side->slots[side->nslots++] = s;
  return s;
}

static void on_peer(weft_listener_t *l, int status) {
  side_t *side = l->data;
  slot_t *s;

  if (status != 0) die("listener: %s", weft_err_name(status));
  s = slot_new(side);
  if (weft_accept(l, &s->conn) != 0) die("weft_accept");
  s->open = true;
  if (weft_recv_start(&s->conn, NULL, on_recv) != 0) die("weft_recv_start");
  fill(s);
}

static void on_connected(weft_connect_t *req, int status) {
  slot_t *s = req->data;

  if (status == UV_ECANCELED) return;
  if (status != 0) {
    /* Its path was cut in the middle of the handshake: that is no promise broken. */
    if (!s->side->cuts) die("connect: %s: %s", weft_err_name(status), weft_conn_error(&s->conn));
    close_slot(s);
    return;
  }
  s->open = true;
  fill(s);
}

static void dial(side_t *side) {
  slot_t *s = slot_new(side);

  s->connect.data = s;
  if (weft_connect(&s->connect, &s->conn, side->url, NULL, on_connected) != 0 ||
      weft_recv_start(&s->conn, NULL, on_recv) != 0)
    die("weft_connect: %s", weft_conn_error(&s->conn));
}

/* ---- What happens to them ---- */

static void pauses(side_t *side, uint64_t now) {
  unsigned i;

  for (i = 0; i < side->nslots; i++) {
    slot_t *s = side->slots[i];
    if (weft_is_closing(&s->conn)) continue;
    if (s->paused && now >= s->paused_until) {
      s->paused = false;
      weft_recv_start(&s->conn, NULL, on_recv);
    } else if (s->open && !s->paused && !s->eof && rnd(&side->rnd) % 100 == 0) {
      s->paused = true;
      s->paused_until = now + rnd(&side->rnd) % 200;
      weft_recv_stop(&s->conn);
    }
  }
}

static void ends(side_t *side) {
  slot_t *s;

  if (side->nslots == 0 || rnd(&side->rnd) % 25 != 0) return;
  s = side->slots[rnd(&side->rnd) % side->nslots];
  if (!s->open || s->finishing || weft_is_closing(&s->conn)) return;
  if (rnd(&side->rnd) % 8 == 0) { /* abruptly */
    s->abrupt = true;
    side->abrupt++;
    close_slot(s);
  } else {
    s->finishing = true;
    fill(s);
  }
}

static void cuts(side_t *side, uint64_t now) {
  if (side->cut >= 0 && now >= side->cut_until) {
    netns_ip("link set v%d up\n", side->cut);
    side->cut = -1;
    side->next_cut = now + 300 + rnd(&side->rnd) % 1500;
  } else if (side->cut < 0 && now >= side->next_cut && !side->over) {
    side->cut = (int) (rnd(&side->rnd) % 2);
    side->cut_until = now + 50 + rnd(&side->rnd) % 1200;
    side->ncuts++;
    netns_ip("link set v%d down\n", side->cut);
  }
}

static void on_weft_closed(weft_t *w) {
  uv_close((uv_handle_t *) &((side_t *) w->data)->tick, NULL);
}

static void finish(side_t *side) {
  if (side->nslots != 0 || weft_loop(&side->weft) == NULL ||
      uv_is_closing((uv_handle_t *) &side->tick))
    return;
  uv_timer_stop(&side->tick);
  weft_close(&side->weft, on_weft_closed);
}

static void on_tick(uv_timer_t *t) {
  side_t *side = t->data;
  uint64_t now = now_ms();
  unsigned i;

  if (side->rss_warm == 0 && now > side->begin + seconds * 1000 / 3) side->rss_warm = rss_kib();
  pauses(side, now);
  if (side->cuts && !side->server) cuts(side, now);
  if (!side->over && now >= side->end) {
    side->over = true;
    for (i = 0; i < side->nslots && !side->server; i++) {
      side->slots[i]->finishing = true;
      fill(side->slots[i]);
    }
  }
  if (!side->server && !side->over) {
    ends(side);
    if (side->nslots < conns) dial(side);
  }
  if (side->over && now > side->end + 60000)
    die("%s: %u connections have not ended 60 s after the end", side->server ? "server" : "client",
        side->nslots);
  if (side->over && (!side->server || now > side->end + 2000) && side->cut < 0) finish(side);
}

static void begin(side_t *side, bool server) {
  side->server = server;
  side->cut = -1;
  side->rnd = seed * 2 + server;
  if (uv_loop_init(&side->loop) != 0 || weft_init(&side->loop, &side->weft, NULL) != 0)
    die("weft_init");
  side->weft.data = side;
  uv_timer_init(&side->loop, &side->tick);
  side->tick.data = side;
}

static int conclude(side_t *side) {
  long rss = rss_kib();
  bool grew = side->rss_warm != 0 && rss > side->rss_warm + side->rss_warm / 5 + 16 * 1024;
  uint64_t wrong = side->lost + side->twice + side->reordered + side->corrupt;

  if (uv_loop_close(&side->loop) != 0) die("handles are left in the loop");
  printf("%s: %" PRIu64 " messages sent, %" PRIu64 " received (%" PRIu64 " MiB), %" PRIu64
         " lost, %" PRIu64 " twice, %" PRIu64 " out of order, %" PRIu64
         " corrupt; connections ended: %" PRIu64 " in order, %" PRIu64 " abruptly, %" PRIu64
         " lost; %" PRIu64 " cuts, %" PRIu64 " migrations, %" PRIu64
         " replayed; RSS %ld KiB warm, %ld KiB at the end\n",
         side->server ? "server" : "client", side->sent, side->received, side->bytes >> 20,
         side->lost, side->twice, side->reordered, side->corrupt, side->orderly, side->abrupt,
         side->broken, side->ncuts, side->migrations, side->replayed, side->rss_warm, rss);
  if (grew && !SANITIZED) printf("%s: memory grew\n", side->server ? "server" : "client");
  return wrong == 0 && side->broken == 0 && side->received > 0 && side->orderly > 0 &&
                 (!grew || SANITIZED)
             ? 0
             : 1;
}

/* ---- The two processes ---- */

/* Lines between them: "ready", then the URL's port, then "go". */
static void tell(int fd, const char *text) {
  if (write(fd, text, strlen(text)) != (ssize_t) strlen(text)) die("the other process is gone");
}

static void hear(int fd, char *text, size_t len) {
  size_t n = 0;

  while (n + 1 < len && read(fd, text + n, 1) == 1 && text[n] != '\n') n++;
  text[n] = '\0';
  if (n == 0) die("the other process is gone");
}

static void run_server(int in, int out, bool net) {
  static side_t side;
  char text[64];
  size_t len = sizeof(side.url);
  int err = net ? netns_enter() : 0;

  prctl(PR_SET_PDEATHSIG, SIGKILL);
  tell(out, err == 0 ? "ready\n" : "refused\n");
  hear(in, text, sizeof(text));
  net = strcmp(text, "net") == 0;
  if (net && netns_ip("addr add 10.9.1.2/24 dev w0\naddr add 10.9.2.2/24 dev w1\n"
                      "link set w0 up\nlink set w1 up\n") != 0)
    die("ip: addresses");
  begin(&side, true);
  side.cuts = net;
  side.listener.data = &side;
  if (weft_listener_init(&side.weft, &side.listener) != 0) die("weft_listener_init");
  err = weft_listen(&side.listener, net ? "weft://*:0" : "weft://127.0.0.1:0", 64, on_peer);
  if (err != 0 || weft_listener_addr(&side.listener, side.url, &len) != 0)
    die("weft_listen: %s", weft_err_name(err));
  snprintf(text, sizeof(text), "%s\n", strrchr(side.url, ':') + 1);
  tell(out, text);
  side.begin = now_ms();
  side.end = side.begin + seconds * 1000;
  uv_timer_start(&side.tick, on_tick, 5, 10);
  uv_run(&side.loop, UV_RUN_DEFAULT);
  err = conclude(&side);
  fflush(stdout);
  snprintf(text, sizeof(text), "%" PRIu64 "\n", side.abrupt);
  tell(out, text);
  exit(err);
}

static bool make_pairs(pid_t server) {
  return netns_ip("link add v0 type veth peer name w0 netns %d\n"
                  "link add v1 type veth peer name w1 netns %d\n"
                  "addr add 10.9.1.1/24 dev v0\naddr add 10.9.2.1/24 dev v1\n"
                  "link set v0 up\nlink set v1 up\n",
                  (int) server, (int) server) == 0;
}

int main(int argc, char **argv) {
  static side_t side;
  int to[2], from[2], i, status;
  bool net = true;
  char text[64];
  pid_t pid;

  for (i = 1; i < argc; i++) {
    if (strcmp(argv[i], "--no-cuts") == 0)
      net = false;
    else if (i + 1 < argc && strcmp(argv[i], "--seconds") == 0)
      seconds = strtoull(argv[++i], NULL, 10);
    else if (i + 1 < argc && strcmp(argv[i], "--seed") == 0)
      seed = strtoull(argv[++i], NULL, 10);
    else if (i + 1 < argc && strcmp(argv[i], "--conns") == 0)
      conns = (unsigned) strtoul(argv[++i], NULL, 10);
    else {
      fprintf(stderr, "usage: soak_checksum [--seconds N] [--seed N] [--conns N] [--no-cuts]\n");
      return 2;
    }
  }
  if (conns == 0 || conns > CONNS_MAX / 2 || seconds == 0)
    die("1 to %d connections, 1 second at least", CONNS_MAX / 2);
  if (net && netns_enter() != 0) net = false;
  if (pipe(to) != 0 || pipe(from) != 0) die("pipe");
  pid = fork();
  if (pid < 0) die("fork");
  if (pid == 0) {
    close(to[1]);
    close(from[0]);
    run_server(to[0], from[1], net);
  }
  close(to[0]);
  close(from[1]);
  hear(from[0], text, sizeof(text));
  net = net && strcmp(text, "ready") == 0 && make_pairs(pid);
  printf("seed %" PRIu64 ", %" PRIu64 " s, %u connections, %s\n", seed, seconds, conns,
         net ? "two pairs between namespaces, cut at random"
             : "loopback, no cuts (namespaces are not to be had)");
  fflush(stdout);
  tell(to[1], net ? "net\n" : "loopback\n");
  hear(from[0], text, sizeof(text));

  begin(&side, false);
  side.cuts = net;
  snprintf(side.url, sizeof(side.url), "weft://%s:%s", net ? "10.9.1.2" : "127.0.0.1", text);
  side.begin = now_ms();
  side.end = side.begin + seconds * 1000;
  side.next_cut = side.begin + 1000;
  uv_timer_start(&side.tick, on_tick, 5, 10);
  uv_run(&side.loop, UV_RUN_DEFAULT);
  i = conclude(&side);
  fflush(stdout);
  hear(from[0], text, sizeof(text));
  if (strtoull(text, NULL, 10) > side.abrupt + side.ncuts) {
    printf("the server lost %s connections, the client ended %" PRIu64 " abruptly, %" PRIu64
           " cuts\n",
           text, side.abrupt, side.ncuts);
    i = 1;
  }
  if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status)) die("the server's process died");
  return i != 0 || WEXITSTATUS(status) != 0;
}
