/* SPDX-License-Identifier: Apache-2.0 */
/* lib_peer.c - the tcp provider's framing and Weft's, byte by byte over a socket.
 *
 * Design notes
 *   - The connection message must arrive in one piece (the provider reads it with one recv), so it
 *     leaves with one send.
 *   - Bytes of the provider's headers are in this machine's order, as between two equal machines.
 */
#include "lib_peer.h"

#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "rail/path.h"

enum { IN_MAX = 1 << 17, GRANT = 64 };

uint64_t peer_now_ms(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000 + (uint64_t) t.tv_nsec / 1000000;
}

uint64_t peer_random(uint64_t *state) {
  uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return z ^ z >> 31;
}

static void die(const char *what) {
  fprintf(stderr, "hostile peer: %s: %s\n", what, strerror(errno));
  abort();
}

/* ---- Sockets ---- */

static void begin(peer_t *p, int fd) {
  struct sockaddr_in me;
  struct timeval limit = {.tv_sec = 5};
  socklen_t len = sizeof(me);
  char ip[INET_ADDRSTRLEN];
  int one = 1;

  memset(p, 0, sizeof(*p));
  p->fd = fd;
  p->in = malloc(IN_MAX);
  if (p->in == NULL) die("malloc");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  if (getsockname(fd, (struct sockaddr *) &me, &len) != 0) die("getsockname");
  inet_ntop(AF_INET, &me.sin_addr, ip, sizeof(ip));
  snprintf(p->name, sizeof(p->name), "%s:%u", ip, ntohs(me.sin_port));
  p->seq = p->next = 1;
}

void peer_dial(peer_t *p, const char *from, uint16_t port) {
  struct sockaddr_in a = {.sin_family = AF_INET};
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

  if (fd < 0) die("socket");
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  inet_pton(AF_INET, from != NULL ? from : "127.0.0.1", &a.sin_addr);
  if (bind(fd, (struct sockaddr *) &a, sizeof(a)) != 0) die("bind");
  inet_pton(AF_INET, "127.0.0.1", &a.sin_addr);
  a.sin_port = htons(port);
  if (connect(fd, (struct sockaddr *) &a, sizeof(a)) != 0) die("connect");
  begin(p, fd);
}

int peer_listen(const char *ip, uint16_t *port) {
  struct sockaddr_in a = {.sin_family = AF_INET};
  socklen_t len = sizeof(a);
  int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

  inet_pton(AF_INET, ip, &a.sin_addr);
  if (fd < 0 || bind(fd, (struct sockaddr *) &a, sizeof(a)) != 0 || listen(fd, 64) != 0 ||
      getsockname(fd, (struct sockaddr *) &a, &len) != 0)
    die("listen");
  *port = ntohs(a.sin_port);
  return fd;
}

static bool wait_for(int fd, short events, int ms) {
  struct pollfd f = {.fd = fd, .events = events};
  int n;

  do n = poll(&f, 1, ms < 0 ? 0 : ms);
  while (n < 0 && errno == EINTR);
  return n > 0;
}

bool peer_take(peer_t *p, int lfd, int ms) {
  int fd;

  if (!wait_for(lfd, POLLIN, ms)) return false;
  fd = accept(lfd, NULL, NULL);
  if (fd < 0) return false;
  begin(p, fd);
  p->listening = true;
  return true;
}

void peer_close(peer_t *p) {
  if (p->fd >= 0 && p->in != NULL) close(p->fd);
  free(p->in);
  p->in = NULL;
  p->fd = -1;
}

void peer_reset(peer_t *p) {
  struct linger now = {.l_onoff = 1};

  setsockopt(p->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
  peer_close(p);
}

bool peer_raw(peer_t *p, const void *bytes, size_t len) {
  const char *b = bytes;

  while (len != 0) {
    ssize_t n = send(p->fd, b, len, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return false;
    b += n;
    len -= (size_t) n;
  }
  return true;
}

/* Bring at least `want` bytes into p->in. 1; 0: time is over; -1: closed. */
static int fill(peer_t *p, size_t want, uint64_t until) {
  while (p->have < want || p->skip != 0) {
    uint64_t now = peer_now_ms();
    ssize_t n;

    if (p->skip != 0 && p->have != 0) {
      size_t drop = p->have < p->skip ? p->have : p->skip;
      memmove(p->in, p->in + drop, p->have - drop);
      p->have -= drop;
      p->skip -= drop;
      continue;
    }
    if (p->ended) return -1;
    if (!wait_for(p->fd, POLLIN, until > now ? (int) (until - now) : 0)) return 0;
    n = recv(p->fd, p->in + p->have, IN_MAX - p->have, 0);
    if (n < 0 && (errno == EINTR || errno == EAGAIN)) continue;
    if (n <= 0) {
      p->ended = true;
      return -1;
    }
    p->have += (size_t) n;
  }
  return 1;
}

static void consume(peer_t *p, size_t n) {
  memmove(p->in, p->in + n, p->have - n);
  p->have -= n;
}

bool peer_gone(peer_t *p, int ms) {
  uint64_t until = peer_now_ms() + (uint64_t) ms;
  peer_frame_t f;

  while (!p->ended) {
    uint64_t now = peer_now_ms();
    if (now >= until) return false;
    if (p->rq.vhigh != 0 && p->an.kind == WEFT__A_ACCEPT) {
      (void) peer_read(p, &f, (int) (until - now)); /* an ABORT may stand in front */
    } else {
      p->have = 0;
      (void) fill(p, 1, until);
    }
  }
  return true;
}

/* ---- The provider's messages ---- */

size_t peer_cm_bytes(uint8_t *out, unsigned type, const void *data, size_t len) {
  uint64_t one = 1;

  memset(out, 0, CM_SIZE);
  out[0] = 3;
  out[1] = (uint8_t) type;
  out[2] = (uint8_t) (len >> 8);
  out[3] = (uint8_t) len;
  memcpy(out + 24, &one, sizeof(one));
  if (len != 0) memcpy(out + CM_SIZE, data, len);
  return CM_SIZE + len;
}

bool peer_cm(peer_t *p, unsigned type, const void *data, size_t len) {
  uint8_t b[CM_SIZE + 1024];

  assert(len <= 1024);
  return peer_raw(p, b, peer_cm_bytes(b, type, data, len));
}

int peer_cm_read(peer_t *p, unsigned *type, void *data, size_t cap, int ms) {
  uint64_t until = peer_now_ms() + (uint64_t) ms;
  size_t len;

  if (fill(p, CM_SIZE, until) != 1) return -1;
  *type = p->in[1];
  len = (size_t) p->in[2] << 8 | p->in[3];
  if (fill(p, CM_SIZE + len, until) != 1) return -1;
  memcpy(data, p->in + CM_SIZE, len < cap ? len : cap);
  consume(p, CM_SIZE + len);
  return (int) (len < cap ? len : cap);
}

size_t peer_op_bytes(uint8_t *out, unsigned op, unsigned flags, const uint64_t *words,
                     unsigned nwords, size_t payload) {
  uint64_t size = OP_SIZE + 8u * nwords + payload;
  uint16_t f = (uint16_t) flags;

  memset(out, 0, OP_SIZE);
  out[0] = 3;
  out[1] = (uint8_t) op;
  memcpy(out + 2, &f, sizeof(f));
  out[6] = (uint8_t) (OP_SIZE + 8 * nwords);
  memcpy(out + 8, &size, sizeof(size));
  if (nwords != 0) memcpy(out + OP_SIZE, words, 8u * nwords);
  return OP_SIZE + 8u * nwords;
}

bool peer_msg(peer_t *p, const void *bytes, size_t len) {
  uint8_t *b = malloc(OP_SIZE + len);
  size_t n;
  bool ok;

  if (b == NULL) die("malloc");
  n = peer_op_bytes(b, OP_MSG, 0, NULL, 0, len);
  if (len != 0) memcpy(b + n, bytes, len);
  ok = peer_raw(p, b, n + len);
  free(b);
  return ok;
}

bool peer_write(peer_t *p, uint64_t addr, uint64_t key, const void *bytes, size_t len,
                bool cq_data) {
  uint64_t words[4] = {42, addr, len, key};
  uint8_t head[OP_SIZE + sizeof(words)];
  size_t n;

  n = cq_data ? peer_op_bytes(head, OP_WRITE, OP_CQ_DATA, words, 4, len)
              : peer_op_bytes(head, OP_WRITE, 0, words + 1, 3, len);
  head[5] = 1;
  return peer_raw(p, head, n) && peer_raw(p, bytes, len);
}

/* ---- Weft: requests and HELLO ---- */

static void fresh(void *out, size_t len) {
  if (getrandom(out, len, 0) != (ssize_t) len) die("getrandom");
}

void peer_identity(peer_t *p, const char *label) {
  weft__hello_t *h = &p->self;

  if (!p->listening) {
    memset(&p->rq, 0, sizeof(p->rq));
    p->rq.vlow = p->rq.vhigh = WEFT__WIRE_VERSION;
    p->rq.kind = WEFT__K_HELLO;
    fresh(&p->rq.key, sizeof(p->rq.key));
    fresh(p->rq.id, sizeof(p->rq.id));
  }
  memset(h, 0, sizeof(*h));
  fresh(h->instance, sizeof(h->instance));
  fresh(h->nonce, sizeof(h->nonce));
  h->max_message = 64u << 20;
  h->win_messages = 16384;
  h->win_bytes = 4u << 20;
  h->peer_timeout_ms = 30000;
  snprintf(h->name, sizeof(h->name), "%s", label);
  weft_qos_init(&h->qos, sizeof(h->qos));
  h->qos.interruption_ms = 100; /* so that nobody waits long for us when we are gone */
}

bool peer_request(peer_t *p) {
  uint8_t blob[WEFT__REQUEST_SIZE], answer[256];
  unsigned type = 99;
  int n;

  memset(&p->an, 0, sizeof(p->an));
  weft__request_put(blob, &p->rq);
  if (!peer_cm(p, CM_REQUEST, blob, sizeof(blob))) return false;
  n = peer_cm_read(p, &type, answer, sizeof(answer), 5000);
  if (n < 0 || !weft__answer_get(answer, (size_t) n, &p->an)) return false;
  return type == CM_ACCEPT && p->an.kind == WEFT__A_ACCEPT;
}

bool peer_answer(peer_t *p, int ms) {
  uint8_t blob[256], answer[WEFT__ANSWER_SIZE];
  unsigned type;
  int n = peer_cm_read(p, &type, blob, sizeof(blob), ms);

  if (n < 0 || type != CM_REQUEST || !weft__request_get(blob, (size_t) n, &p->rq)) return false;
  p->an.kind = WEFT__A_ACCEPT;
  p->an.version = WEFT__WIRE_VERSION;
  fresh(&p->an.key, sizeof(p->an.key));
  weft__answer_put(answer, &p->an);
  return peer_cm(p, CM_ACCEPT, answer, sizeof(answer));
}

bool peer_hello(peer_t *p) {
  uint8_t b[WEFT__HELLO_MAX];
  size_t n = weft__hello_put(b, sizeof(b), &p->self);

  assert(n != 0);
  return peer_frame(p, WEFT__F_HELLO, b, (uint32_t) n);
}

bool peer_hear(peer_t *p, int ms) {
  peer_frame_t f;
  const char *why;
  const uint8_t *c = p->self.nonce, *a = p->other.nonce;

  if (peer_read_type(p, &f, WEFT__F_HELLO, ms) != 1 ||
      weft__hello_get(f.payload, f.h.length, &p->other, &why) != 0)
    return false;
  if (p->listening) {
    c = p->other.nonce;
    a = p->self.nonce;
  }
  weft__join_secret(c, a, p->rq.id, p->secret);
  return true;
}

void peer_open(peer_t *p, uint16_t port, const char *label) {
  peer_dial(p, NULL, port);
  peer_identity(p, label);
  if (!peer_request(p) || !peer_hello(p) || !peer_hear(p, 5000)) {
    fprintf(stderr,
            "hostile peer: a valid session with port %u did not open: answer %u code %u, abort %d "
            "\"%s\"\n",
            port, p->an.kind, p->an.code, p->abort_code, p->abort_text);
    abort();
  }
}

void peer_join_request(const peer_t *p, peer_t *joiner) {
  static uint32_t joins; /* grows over all sessions: each sees it grow */

  memset(&joiner->rq, 0, sizeof(joiner->rq));
  joiner->rq.vlow = joiner->rq.vhigh = WEFT__WIRE_VERSION;
  joiner->rq.kind = WEFT__K_JOIN;
  fresh(&joiner->rq.key, sizeof(joiner->rq.key));
  memcpy(joiner->rq.id, p->rq.id, 16);
  weft__join_token(p->secret, joiner->rq.id, joiner->rq.key, ++joins, joiner->rq.token);
}

/* ---- Weft: frames ---- */

weft__hdr_t peer_hdr(peer_t *p, unsigned type) {
  weft__hdr_t h;

  memset(&h, 0, sizeof(h));
  h.type = (uint8_t) type;
  h.key = p->listening ? p->rq.key : p->an.key;
  h.fc = ++p->tx_fc;
  h.ack = p->next;
  h.win_seq = p->next + p->self.win_messages;
  h.win_bytes = UINT64_C(1) << 40;
  h.grant = (uint32_t) (p->rx_fc + GRANT);
  return h;
}

bool peer_put(peer_t *p, const weft__hdr_t *h, const void *payload, size_t len) {
  uint8_t *b = malloc(WEFT__HDR + len);
  bool ok;

  if (b == NULL) die("malloc");
  weft__hdr_put(b, h);
  if (len != 0) memcpy(b + WEFT__HDR, payload, len);
  ok = peer_msg(p, b, WEFT__HDR + len);
  free(b);
  return ok;
}

bool peer_frame(peer_t *p, unsigned type, const void *payload, uint32_t len) {
  weft__hdr_t h = peer_hdr(p, type);

  h.length = len;
  return peer_put(p, &h, payload, len);
}

bool peer_record(peer_t *p, unsigned kind, const void *bytes, uint32_t len) {
  uint32_t space = weft__rec_space(len);
  uint8_t *b = calloc(1, space);
  weft__hdr_t h = peer_hdr(p, WEFT__F_DATA);
  bool ok;

  if (b == NULL) die("calloc");
  weft__rec_put(b, kind, len);
  if (len != 0) memcpy(b + WEFT__REC, bytes, len);
  h.flags = WEFT__FL_ACK_REQ;
  h.count = 1;
  h.seq = p->seq++;
  h.length = space;
  ok = peer_put(p, &h, b, space);
  free(b);
  return ok;
}

bool peer_announce(peer_t *p, uint64_t total) {
  uint8_t b[8 + WEFT__HEAD_MAX] = {0};

  weft__put64(b, total);
  return peer_record(p, WEFT__R_LARGE, b, sizeof(b));
}

bool peer_ping(peer_t *p) {
  uint8_t b[WEFT__PING_SIZE] = {7};

  return peer_frame(p, WEFT__F_PING, b, sizeof(b));
}

static void note(peer_t *p, const peer_frame_t *f) {
  p->last = f->h;
  if (f->h.type == WEFT__F_DATA) {
    uint64_t next = f->h.seq + f->h.count;
    if (next > p->next) p->next = next;
  } else if (f->h.type == WEFT__F_ABORT) {
    uint32_t n = weft__get32(f->payload + 4);
    p->abort_code = (int) (int32_t) weft__get32(f->payload);
    memcpy(p->abort_text, f->payload + 8, n);
    p->abort_text[n] = '\0';
  }
}

int peer_read(peer_t *p, peer_frame_t *f, int ms) {
  uint64_t until = peer_now_ms() + (uint64_t) ms;

  for (;;) {
    uint64_t size;
    size_t head;
    int r = fill(p, OP_SIZE, until);

    if (r != 1) return r;
    head = p->in[6];
    memcpy(&size, p->in + 8, sizeof(size));
    if (p->in[1] == OP_WRITE) {
      p->rma_writes++;
      p->rma_bytes += size - head;
      p->skip = size;
      continue;
    }
    if (p->in[1] != OP_MSG || p->in[4] == 2) { /* the provider's acknowledgement */
      p->skip = size;
      continue;
    }
    assert(size <= IN_MAX && size - head <= sizeof(f->payload));
    r = fill(p, size, until);
    if (r != 1) return r;
    p->rx_fc++;
    if (weft__hdr_get(p->in + head, size - head, &f->h) != WEFT__W_OK) {
      fprintf(stderr, "hostile peer: the other end sent a malformed frame\n");
      abort();
    }
    memcpy(f->payload, p->in + head + WEFT__HDR, f->h.length);
    consume(p, size);
    note(p, f);
    return 1;
  }
}

int peer_read_type(peer_t *p, peer_frame_t *f, unsigned type, int ms) {
  uint64_t until = peer_now_ms() + (uint64_t) ms, now;

  while ((now = peer_now_ms()) < until) {
    int r = peer_read(p, f, (int) (until - now));
    if (r != 1) return r;
    if (f->h.type == type) return 1;
  }
  return 0;
}

bool peer_brought(const peer_frame_t *f, const void *bytes, uint32_t len) {
  uint32_t off = 0;
  weft__rec_t r;

  return f->h.type == WEFT__F_DATA && weft__data_next(&f->h, f->payload, &off, &r) == WEFT__W_OK &&
         r.kind == WEFT__R_MSG && r.size == len && memcmp(r.data, bytes, len) == 0;
}
