/* SPDX-License-Identifier: Apache-2.0 */
/* lib_foe.c - see lib_foe.h. */
#include "lib_foe.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

world_t world;

/* ---- The world ---- */

enum { RECEIVES_AT = 1024, RECEIVE_STEP = 1024, REGIONS_AT = 8192, REGION_STEP = 8192 };

uint8_t *receive_at(unsigned i) {
  return world.arena + RECEIVES_AT + i * RECEIVE_STEP;
}

uint8_t *region_at(int region) {
  return world.arena + REGIONS_AT + region * REGION_STEP;
}

void world_open(const opts_t *opts) {
  static const uint64_t access[REGIONS] = {FI_REMOTE_READ | FI_REMOTE_WRITE, FI_REMOTE_READ,
                                           FI_REMOTE_WRITE};
  world_t *w = &world;
  socklen_t len = sizeof(w->addr);

  memset(w, 0, sizeof(*w));
  pair_open(&w->p, opts, opts);
  pair_connect(&w->p, &w->l);
  w->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  assert_true(w->listener >= 0);
  w->addr.sin_family = AF_INET;
  w->addr.sin_addr = conform_foe();
  OK(bind(w->listener, (struct sockaddr *) &w->addr, len));
  OK(listen(w->listener, 64));
  OK(getsockname(w->listener, (struct sockaddr *) &w->addr, &len));
  fill(w->arena, sizeof(w->arena), 4711);
  memcpy(w->must, w->arena, sizeof(w->arena));
  for (int i = 0; i < 2; i++)
    for (int r = 0; r < REGIONS; r++)
      OK(fi_mr_reg(i == 0 ? w->p.c.domain : w->p.s.domain, region_at(r), FOE_REGION, access[r], 0,
                   10 + (uint64_t) r, 0, &w->mr[i][r], NULL));
}

void world_close(void) {
  unharmed();
  for (int i = 0; i < 2; i++)
    for (int r = 0; r < REGIONS; r++)
      if (world.mr[i][r] != NULL) OK(fi_close(&world.mr[i][r]->fid));
  close(world.listener);
  pair_disconnect(&world.p, &world.l);
  settle(20); /* what is told twice would be here by now */
  pair_close(&world.p);
}

void unharmed(void) {
  for (size_t i = 0; i < FOE_ARENA; i++)
    if (world.arena[i] != world.must[i]) fail_msg("byte %zu of the arena was overwritten", i);
  exchange(&world.p.c, world.l.c, &world.p.s, world.l.s, 64, 1);
  exchange(&world.p.s, world.l.s, &world.p.c, world.l.c, 64, 2);
}

/* ---- Sockets ---- */

bool fd_put(int fd, const void *p, size_t n) {
  const uint8_t *at = p;

  while (n > 0) {
    ssize_t r;

    UNTIL((r = send(fd, at, n, MSG_DONTWAIT | MSG_NOSIGNAL)) >= 0 || errno != EAGAIN);
    if (r < 0) return false;
    at += r;
    n -= (size_t) r;
  }
  return true;
}

bool fd_get(int fd, void *p, size_t n) {
  uint8_t *at = p;

  while (n > 0) {
    ssize_t r;

    UNTIL((r = recv(fd, at, n, MSG_DONTWAIT)) >= 0 || errno != EAGAIN);
    if (r <= 0) return false;
    at += r;
    n -= (size_t) r;
  }
  return true;
}

bool fd_over(int fd) {
  uint8_t some[4096];
  ssize_t r;

  do r = recv(fd, some, sizeof(some), MSG_DONTWAIT);
  while (r > 0);
  return r == 0 || errno != EAGAIN;
}

/* What it writes in pieces leaves in pieces, at once. */
static void no_delay(int fd) {
  int one = 1;

  OK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)));
}

int stranger(void) {
  int fd = plain_socket(&world.p.addr, world.p.addrlen);

  no_delay(fd);
  return fd;
}

/* ---- A foe ---- */

void foe_open(foe_t *f, bool connector, bool swap, unsigned receives, const void *early, size_t n) {
  uint8_t out[FOE_CM + 65536], in[FOE_CM];
  size_t len = cm_put(out, connector ? CM_RESP : CM_REQ, NULL, 0, swap);
  event_t ev;

  assert_true(n <= 65536 && receives <= FOE_RECEIVES);
  memset(f, 0, sizeof(*f));
  f->swap = swap;
  f->end = connector ? &world.p.c : &world.p.s;
  if (n != 0) memcpy(out + len, early, n);
  if (connector) {
    f->ep = end_ep(f->end, f->end->info, NULL);
  } else {
    f->fd = stranger();
    assert_true(fd_put(f->fd, out, len + n));
    ev = wait_event(f->end, FI_CONNREQ, &f->end->pep->fid);
    f->ep = end_ep(f->end, ev.info, NULL);
    fi_freeinfo(ev.info);
  }
  for (; f->posted < receives; f->posted++)
    OK(fi_recv(f->ep, receive_at(f->posted), FOE_RECEIVE, NULL, 0, &f->rxc[f->posted]));
  if (connector) {
    OK(fi_connect(f->ep, &world.addr, NULL, 0));
    UNTIL((f->fd = accept4(world.listener, NULL, NULL, SOCK_CLOEXEC)) >= 0);
    no_delay(f->fd);
    assert_true(fd_get(f->fd, in, sizeof(in)));
    assert_true(fd_put(f->fd, out, len + n));
  } else {
    OK(fi_accept(f->ep, NULL, 0));
    assert_true(fd_get(f->fd, in, sizeof(in)));
  }
  wait_event(f->end, FI_CONNECTED, &f->ep->fid);
  assert_int_equal(in[0], 3);
  assert_int_equal(in[1], connector ? CM_REQ : CM_RESP);
}

void foe_is_cut_off(foe_t *f, unsigned received) {
  for (unsigned i = received; i < f->posted; i++)
    assert_int_equal(wait_error(f->end, &f->rxc[i]).err, FI_ECANCELED);
  wait_event(f->end, FI_SHUTDOWN, &f->ep->fid);
  UNTIL(fd_over(f->fd));
  expect_quiet(f->end);
  unharmed();
  ep_close(f->ep);
  close(f->fd);
}

void foe_close(foe_t *f) {
  comp_t c;

  ep_close(f->ep);
  settle(1);
  for (unsigned i = 0; i < f->posted; i++)
    if (took(f->end, &f->rxc[i], &c)) assert_int_equal(c.err, FI_ECANCELED);
  unharmed();
  close(f->fd);
}

/* ---- Bytes ---- */

static void put16(uint8_t *p, uint16_t v, bool swap) {
  if (swap) v = __builtin_bswap16(v);
  memcpy(p, &v, sizeof(v));
}

static uint8_t *put64(uint8_t *p, uint64_t v, bool swap) {
  if (swap) v = __builtin_bswap64(v);
  memcpy(p, &v, sizeof(v));
  return p + sizeof(v);
}

static uint16_t get16(const uint8_t *p, bool swap) {
  uint16_t v;

  memcpy(&v, p, sizeof(v));
  return swap ? __builtin_bswap16(v) : v;
}

static uint64_t get64(const uint8_t *p, bool swap) {
  uint64_t v;

  memcpy(&v, p, sizeof(v));
  return swap ? __builtin_bswap64(v) : v;
}

size_t cm_put(uint8_t *p, uint8_t type, const void *data, uint16_t len, bool swap) {
  memset(p, 0, FOE_CM);
  p[0] = 3;
  p[1] = type;
  p[2] = (uint8_t) (len >> 8);
  p[3] = (uint8_t) len;
  if (type != CM_NACK) put64(p + 24, 1, swap);
  if (len != 0) memcpy(p + FOE_CM, data, len);
  return FOE_CM + (size_t) len;
}

size_t frame_put(const foe_t *f, uint8_t *p, const frame_t *fr) {
  int which = f->end == &world.p.s;
  unsigned pieces = fr->op == OP_READ || fr->op == OP_WRITE ? fr->npieces : 0;
  size_t hlen = 16 + (fr->flags & F_DATA ? 8 : 0) + (fr->op == OP_TAGGED ? 8 : 0) + pieces * 24u;
  uint8_t *at = p + 16;

  p[0] = (uint8_t) (3 + fr->version);
  p[1] = fr->op;
  put16(p + 2, fr->flags, f->swap);
  p[4] = fr->opdata;
  p[5] = (uint8_t) (fr->npieces + fr->nrma);
  p[6] = (uint8_t) ((int) hlen + fr->hlen);
  p[7] = 0xa5; /* nobody looks at it */
  put64(p + 8, hlen + fr->payload + (uint64_t) fr->size, f->swap);
  if (fr->flags & F_DATA) at = put64(at, fr->data, f->swap);
  if (fr->op == OP_TAGGED) at = put64(at, 1, f->swap);
  for (unsigned i = 0; i < pieces; i++) {
    const piece_t *pc = &fr->piece[i % 4];
    uint64_t origin = f->end->info->domain_attr->mr_mode & FI_MR_VIRT_ADDR
                          ? (uint64_t) (uintptr_t) region_at(pc->region)
                          : 0;

    at = put64(at, origin + pc->off, f->swap);
    at = put64(at, pc->len, f->swap);
    at = put64(at, fi_mr_key(world.mr[which][pc->region]) + pc->key, f->swap);
  }
  fill(at, fr->payload, fr->seed);
  return hlen + fr->payload;
}

bool foe_put(foe_t *f, const frame_t *fr) {
  static uint8_t bytes[1 << 20];

  return fd_put(f->fd, bytes, frame_put(f, bytes, fr));
}

seen_t foe_get(foe_t *f) {
  uint8_t hdr[120];
  seen_t s = {0};
  uint64_t size;
  size_t at = 16;

  assert_true(fd_get(f->fd, hdr, 16));
  assert_int_equal(hdr[0], 3);
  s.op = hdr[1];
  s.flags = get16(hdr + 2, f->swap);
  s.opdata = hdr[4];
  s.nrma = hdr[5];
  size = get64(hdr + 8, f->swap);
  assert_in_range(hdr[6], 16, sizeof(hdr));
  assert_true(size >= hdr[6]);
  s.payload = size - hdr[6];
  assert_true(fd_get(f->fd, hdr + 16, hdr[6] - 16u));
  if (s.flags & F_DATA) {
    s.data = get64(hdr + at, f->swap);
    at += 8;
  }
  for (unsigned i = 0; at < hdr[6]; at += 8, i++) s.word[i] = get64(hdr + at, f->swap);
  return s;
}
