/* SPDX-License-Identifier: Apache-2.0 */
/* hostile_offers.c - the connecting side, when the peer's offers lead nowhere, to somebody else, or
 * to a Weft without the proof: the connection opens in its budget on the path it has, and works.
 *
 * Design notes
 *   - Two devices in a namespace of its own: a path to the same device as the first one is no path
 *     more, so an offer there would not be tried.
 *
 * ctest: timeout=120 */
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib_case.h"
#include "soak/lib_netns.h"

enum { SLOW = WORLD_SANITIZED ? 4 : 1 };
#define FIRST  "10.9.1.1"
#define SECOND "10.9.2.1"

static void tune(weft_opts_t *o) {
  o->connect_timeout_ms = 2000;
  o->peer_timeout_ms = 2000;
  o->beat_ms = 500;
}

static int lfd = -1;

static void offers_nonsense(void);

/* Everything up to our HELLO. What the first connection opens in its context (a rail per device)
 * stays open: that is no leak. */
static void begin(dial_t *d, peer_t *p) {
  static bool warm;
  uint16_t port;
  char url[64];

  if (!warm) {
    warm = true;
    offers_nonsense();
    world_rebase();
  }
  lfd = peer_listen(FIRST, &port);
  snprintf(url, sizeof(url), "weft://" FIRST ":%u", port);
  assert_int_equal(dial_start(d, url), 0);
  assert_true(peer_take(p, lfd, 5000));
  assert_true(peer_answer(p, 5000));
  peer_identity(p, "liar");
}

static void offer(peer_t *p, const char *ip, uint16_t port) {
  weft__offer_t *o = &p->self.offers[p->self.noffers++];
  struct sockaddr_in *sin = (struct sockaddr_in *) &o->addr;
  struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *) &o->addr;

  memset(o, 0, sizeof(*o));
  strcpy(o->provider, "tcp");
  strcpy(o->device, "x0");
  o->speed_bps = UINT64_C(400000000000);
  if (inet_pton(AF_INET, ip, &sin->sin_addr) == 1) {
    sin->sin_family = AF_INET;
    sin->sin_port = htons(port);
  } else {
    assert_int_equal(inet_pton(AF_INET6, ip, &sin6->sin6_addr), 1);
    sin6->sin6_family = AF_INET6;
    sin6->sin6_port = htons(port);
  }
}

static void offers_nobody(void) {
  int silent;
  uint16_t closed_one, silent_one;
  dial_t d;
  peer_t p;

  begin(&d, &p);
  close(peer_listen(SECOND, &closed_one));
  silent = peer_listen(SECOND, &silent_one);
  offer(&p, SECOND, closed_one);
  offer(&p, SECOND, silent_one);
  dial_opens_anyhow(&d, &p);
  dial_leave(&d, &p, &lfd);
  close(silent);
}

static void offers_nonsense(void) {
  static const char *const ips[] = {
      "0.0.0.0", "255.255.255.255", "224.0.0.1",      "240.0.0.1",   "192.0.2.1", "::",
      "ff02::1", "fe80::1",         "::ffff:1.2.3.4", "2001:db8::1", "127.0.0.1", SECOND};
  dial_t d;
  peer_t p;
  unsigned i;

  begin(&d, &p);
  for (i = 0; i < sizeof(ips) / sizeof(ips[0]); i++)
    offer(&p, ips[i], (uint16_t) (i % 3 != 0 ? 9 : 0));
  strcpy(p.self.offers[0].provider, "verbs");
  strcpy(p.self.offers[1].provider, "no such provider");
  dial_opens_anyhow(&d, &p);
  dial_leave(&d, &p, &lfd);
}

/* 16 offers, each of which accepts the connection and says nothing. */
static void offers_silence(void) {
  int silent[WEFT__OFFERS_MAX];
  dial_t d;
  peer_t p;
  unsigned i;

  begin(&d, &p);
  for (i = 0; i < WEFT__OFFERS_MAX; i++) {
    uint16_t port;
    silent[i] = peer_listen(SECOND, &port);
    offer(&p, SECOND, port);
  }
  dial_opens_anyhow(&d, &p);
  dial_leave(&d, &p, &lfd);
  for (i = 0; i < WEFT__OFFERS_MAX; i++) close(silent[i]);
}

/* The offer's listener answers JOINs with this; the connection stays on its first path. */
static void join_answered(unsigned cm, unsigned kind, unsigned code, bool good_proof) {
  int jfd;
  uint16_t port;
  unsigned type;
  uint8_t in[256], b[WEFT__ANSWER_SIZE];
  weft__answer_t an = {.kind = (uint8_t) kind, .version = 1, .code = (uint8_t) code, .key = 77};
  dial_t d;
  peer_t p, j;

  begin(&d, &p);
  jfd = peer_listen(SECOND, &port);
  offer(&p, SECOND, port);
  assert_true(peer_hello(&p));
  assert_true(peer_hear(&p, 5000));
  assert_true(peer_take(&j, jfd, 5000));
  assert_int_equal(peer_cm_read(&j, &type, in, sizeof(in), 5000), WEFT__REQUEST_SIZE);
  assert_true(weft__request_get(in, WEFT__REQUEST_SIZE, &j.rq));
  assert_int_equal(j.rq.kind, WEFT__K_JOIN);
  assert_memory_equal(j.rq.id, p.rq.id, 16);
  weft__join_proof(p.secret, j.rq.id, j.rq.key, an.key, an.aux, an.proof);
  if (!good_proof) an.proof[5] ^= 4;
  weft__answer_put(b, &an);
  peer_cm(&j, cm, b, sizeof(b));
  assert_true(dial_wait(&d, 5000 * SLOW));
  assert_int_equal(d.status, 0);
  assert_true(peer_gone(&j, 5000));
  dial_info(&d);
  assert_int_equal(d.info.open, 1);
  assert_int_equal(d.info.paths, 1);
  world_echo(1000);
  dial_info(&d);
  assert_int_equal(d.info.open, 1);
  peer_close(&j);
  dial_leave(&d, &p, &lfd);
  close(jfd);
}

static void join_bad_proof(void) {
  join_answered(CM_ACCEPT, WEFT__A_ACCEPT, 0, false);
}

static void join_no_session(void) {
  join_answered(CM_REJECT, WEFT__A_REJECT, WEFT__J_NO_SESSION, true);
}

static void join_tombstone_without_proof(void) {
  join_answered(CM_REJECT, WEFT__A_TOMBSTONE, 0, false);
}

/* The peer offers the address of somebody else, who hangs up on all, and asks for more paths
 * without end: what is tried there is what would be tried anyway. */
static void join_please_at_a_third_party(void) {
  struct linger hard = {1, 0};
  uint64_t until;
  unsigned hits = 0, asked = 0;
  uint16_t port;
  int victim, fd;
  peer_frame_t f;
  dial_t d;
  peer_t p;

  begin(&d, &p);
  victim = peer_listen(SECOND, &port);
  offer(&p, SECOND, port);
  dial_opens_anyhow(&d, &p);
  for (until = peer_now_ms() + 1500; peer_now_ms() < until;) {
    struct pollfd pfd = {.fd = victim, .events = POLLIN};
    unsigned i;
    for (i = 0; i < 8; i++, asked++) peer_frame(&p, WEFT__F_JOIN_PLEASE, NULL, 0);
    peer_ping(&p);
    assert_int_equal(peer_read_type(&p, &f, WEFT__F_PONG, 5000), 1);
    while (poll(&pfd, 1, 0) == 1 && (fd = accept(victim, NULL, NULL)) >= 0) {
      setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
      close(fd);
      hits++;
    }
  }
  assert_true(asked > 100);
  /* 20 ms, doubled each time: 7 in this while; more where the machine's network changes meanwhile,
   * for each change has all tried at once. Every wish heeded would be some thousands. */
  if (hits > 100)
    fail_msg("%u wishes made the client connect to a third party %u times", asked, hits);
  dial_info(&d);
  assert_int_equal(d.info.open, 1);
  dial_leave(&d, &p, &lfd);
  close(victim);
}

#define RUN(fn)                                                                                    \
  { .name = #fn, .run = fn }

static const hostile_case_t cases[] = {
    RUN(offers_nobody),
    RUN(offers_nonsense),
    RUN(offers_silence),
    RUN(join_bad_proof),
    RUN(join_no_session),
    RUN(join_tombstone_without_proof),
    RUN(join_please_at_a_third_party),
};

int main(int argc, char **argv) {
  int err = netns_enter();

  if (err == 0 &&
      netns_ip(
          "link add d0 type veth peer name e0\nlink add d1 type veth peer name e1\n"
          "link set d0 addrgenmode none\nlink set d1 addrgenmode none\n" /* one address each, at once */
          "addr add " FIRST "/24 dev d0\naddr add " SECOND "/24 dev d1\n"
          "link set d0 up\nlink set e0 up\nlink set d1 up\nlink set e1 up\n") != 0)
    err = -ENOTSUP;
  if (err != 0) {
    printf("SKIP: no network namespace with two devices is to be had: %s\n", strerror(-err));
    return 77;
  }
  return hostile_main(argc, argv, "hostile_offers", cases, sizeof(cases) / sizeof(cases[0]), tune);
}
