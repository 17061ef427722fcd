/* SPDX-License-Identifier: Apache-2.0 */
/* hostile_garbage.c - strangers at Weft's port, random bytes in every layer that Weft owns, and
 * valid frames with random damage. Seeded: --seed N replays a run, WEFT_ROUNDS makes it longer.
 *
 * Design notes
 *   - Random bytes stay inside valid messages of the provider: what its own headers can do to it is
 *     libfabric's (lib_peer.h).
 *
 * ctest: timeout=120 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib_case.h"

/* A damaged HELLO may ask for any patience; this is what it gets. */
static void tune(weft_opts_t *o) {
  o->peer_timeout_ms = 2000;
}

static uint64_t seed = 1;
static unsigned rounds = 200;

static void random_bytes(uint64_t *state, uint8_t *b, size_t n) {
  size_t i;

  for (i = 0; i < n; i++) b[i] = (uint8_t) peer_random(state);
}

static uint64_t begin(const char *what) {
  uint64_t state = seed;

  printf("%s: seed %llu, %u rounds\n", what, (unsigned long long) seed, rounds);
  return state;
}

/* ---- Strangers ---- */

static void stranger(const void *bytes, size_t len) {
  unsigned mark = log_mark();
  peer_t p;

  peer_dial(&p, NULL, world_port());
  peer_raw(&p, bytes, len);
  must_close(mark, &p, 5000);
  peer_close(&p);
}

static void http_client(void) {
  static const char text[] =
      "GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: curl/7.88.1\r\nAccept: */*\r\n\r\n";

  stranger(text, sizeof(text) - 1);
}

static void tls_client(void) {
  static const uint8_t hello[64] = {0x16, 0x03, 0x01, 0x02, 0x00, 0x01,
                                    0x00, 0x01, 0xfc, 0x03, 0x03};

  stranger(hello, sizeof(hello));
}

static void ssh_client(void) {
  static const char text[] = "SSH-2.0-OpenSSH_9.2p1 Debian-2+deb12u3\r\n";

  stranger(text, sizeof(text) - 1);
}

/* Another program of libfabric, with connection data of its own. */
static void other_libfabric_program(void) {
  unsigned mark = log_mark(), type = 0;
  uint8_t answer[256];
  peer_t p;

  peer_dial(&p, NULL, world_port());
  peer_cm(&p, CM_REQUEST, "fi_msg_pingpong", 15);
  if (peer_cm_read(&p, &type, answer, sizeof(answer), 5000) >= 0) assert_int_equal(type, CM_REJECT);
  must_close(mark, &p, 5000);
  must_log(mark, p.name, "request is malformed");
  peer_close(&p);
}

static void random_strangers(void) {
  uint64_t state = begin("random_strangers");
  uint8_t b[4096];
  unsigned i;

  for (i = 0; i < rounds; i++) {
    size_t n = 32 + peer_random(&state) % (sizeof(b) - 32);
    random_bytes(&state, b, n);
    stranger(b, n);
    if (i % 50 == 49) world_echo(1000);
  }
}

/* ---- Random requests ---- */

static void random_requests(void) {
  uint64_t state = begin("random_requests");
  uint8_t b[256], answer[256];
  unsigned i, type;

  for (i = 0; i < rounds; i++) {
    size_t n = peer_random(&state) % (sizeof(b) + 1);
    unsigned mark = log_mark();
    peer_t p;
    peer_dial(&p, NULL, world_port());
    random_bytes(&state, b, n);
    if (i % 2 != 0 && n >= 8) { /* half a good one */
      memcpy(b, "WEFT\1\1", 6);
      b[6] = (uint8_t) (1 + i / 2 % 2);
      b[7] = 0;
    }
    peer_cm(&p, CM_REQUEST, b, n);
    type = 0;
    if (peer_cm_read(&p, &type, answer, sizeof(answer), 5000) < 0 || type == CM_REJECT)
      must_close(mark, &p, 5000);
    peer_close(&p);
    if (i % 50 == 49) world_check();
  }
}

/* ---- Random frames ---- */

/* Frames of random bytes on an open session; the first bytes are sometimes right, to get further.
 */
static void random_frames(void) {
  uint64_t state = begin("random_frames");
  uint8_t b[2048];
  unsigned i;

  for (i = 0; i < rounds; i++) {
    unsigned mark = log_mark(), how = (unsigned) (peer_random(&state) % 4);
    size_t n = peer_random(&state) % sizeof(b);
    weft__hdr_t h;
    peer_t p;
    peer_open(&p, world_port(), i % 3 != 0 ? "hostile" : "push");
    h = peer_hdr(&p, (unsigned) (1 + peer_random(&state) % 15));
    if (how != 0 && n < WEFT__HDR) n += WEFT__HDR;
    random_bytes(&state, b, n);
    if (how == 1) { /* right up to the payload */
      h.length = (uint32_t) (n - WEFT__HDR);
      weft__hdr_put(b, &h);
    } else if (how >= 2) { /* records */
      n &= ~(size_t) 7;
      h.type = WEFT__F_DATA;
      h.length = (uint32_t) (n - WEFT__HDR);
      h.count = (uint16_t) (1 + peer_random(&state) % (1 + h.length / 8));
      h.seq = 1;
      if (how == 3 && h.length >= 8)
        weft__rec_put(b + WEFT__HDR, (unsigned) (peer_random(&state) % 4),
                      (uint32_t) (peer_random(&state) % 300));
      weft__hdr_put(b, &h);
    }
    peer_msg(&p, b, n);
    if (how != 1 && how != 3) must_close(mark, &p, 5000);
    peer_close(&p);
    if (i % 50 == 49) world_check();
  }
}

/* ---- Valid frames with random damage ---- */

static size_t sample(peer_t *p, uint64_t *state, uint8_t *b) {
  static const uint8_t types[] = {WEFT__F_DATA,   WEFT__F_DATA,   WEFT__F_ACK,  WEFT__F_PING,
                                  WEFT__F_RESUME, WEFT__F_CTS,    WEFT__F_FRAG, WEFT__F_CHUNK,
                                  WEFT__F_BYE,    WEFT__F_REFUSE, WEFT__F_SKIP, WEFT__F_READY,
                                  WEFT__F_DONE};
  weft__hdr_t h = peer_hdr(p, types[peer_random(state) % sizeof(types)]);
  uint8_t *w = b + WEFT__HDR;

  memset(b, 0, 512);
  switch (h.type) {
  case WEFT__F_DATA:
    h.count = 2;
    h.seq = p->seq;
    weft__rec_put(w, WEFT__R_MSG, 20);
    weft__rec_put(w + 32, WEFT__R_LARGE, 8 + 64);
    weft__put64(w + 40, 300000);
    h.length = 112;
    break;
  case WEFT__F_PING: h.length = WEFT__PING_SIZE; break;
  case WEFT__F_RESUME:
    h.length = WEFT__RESUME_SIZE;
    weft__put64(w, 1);
    weft__put64(w + 8, 1);
    break;
  case WEFT__F_CTS:
    h.length = WEFT__CTS_SIZE;
    weft__put64(w, 1);
    weft__put32(w + 32, 4096);
    weft__put32(w + 36, WEFT__CTS_COPY);
    break;
  case WEFT__F_READY:
    h.length = WEFT__READY_SIZE;
    weft__put64(w, 2);
    weft__put32(w + 32, 64);
    break;
  case WEFT__F_DONE:
  case WEFT__F_FRAG:
  case WEFT__F_CHUNK:
    h.length = WEFT__FRAG_SIZE + (h.type == WEFT__F_CHUNK ? 64 : 0);
    weft__put64(w, 2);
    weft__put32(w + 16, h.type == WEFT__F_CHUNK ? 64 : 300000);
    break;
  case WEFT__F_REFUSE:
  case WEFT__F_SKIP:
    h.length = WEFT__REFUSE_SIZE;
    weft__put64(w, 1);
    break;
  default: break;
  }
  weft__hdr_put(b, &h);
  return WEFT__HDR + h.length;
}

/* Up to 6 frames in one go, one of them with up to 3 bits flipped. Whatever the server makes of it:
 * no crash, and nobody else notices. */
static void damaged_frames(void) {
  uint64_t state = begin("damaged_frames");
  uint8_t b[512];
  unsigned i, k;

  for (i = 0; i < rounds; i++) {
    unsigned frames = 1 + (unsigned) (peer_random(&state) % 6),
             bad = (unsigned) (peer_random(&state) % frames);
    peer_t p;
    peer_open(&p, world_port(), i % 2 != 0 ? "push" : "hold");
    for (k = 0; k < frames; k++) {
      size_t n = sample(&p, &state, b);
      unsigned flips = k == bad ? 1 + (unsigned) (peer_random(&state) % 3) : 0;
      while (flips-- != 0) {
        uint64_t bit = peer_random(&state) % (8 * n);
        b[bit / 8] ^= (uint8_t) (1u << bit % 8);
      }
      if (!peer_msg(&p, b, n)) break;
      if (b[1] == WEFT__F_DATA) p.seq += 2;
    }
    (void) peer_gone(&p, i % 8 == 0 ? 20 : 0);
    if (i % 5 == 0)
      peer_reset(&p);
    else
      peer_close(&p);
    if (i % 50 == 49) world_check();
  }
}

/* A HELLO with up to 8 bytes replaced. */
static void damaged_hellos(void) {
  uint64_t state = begin("damaged_hellos");
  uint8_t b[WEFT__HELLO_MAX];
  peer_frame_t f;
  unsigned i;

  for (i = 0; i < rounds; i++) {
    unsigned flips = 1 + (unsigned) (peer_random(&state) % 8);
    size_t n;
    peer_t p;
    peer_dial(&p, NULL, world_port());
    peer_identity(&p, "hostile");
    p.self.noffers = 1;
    p.self.offers[0].addr.ss_family = AF_INET;
    strcpy(p.self.offers[0].provider, "tcp");
    strcpy(p.self.offers[0].device, "v0");
    strcpy(p.self.qos.forbid, "udp");
    assert_true(peer_request(&p));
    n = weft__hello_put(b, sizeof(b), &p.self);
    while (flips-- != 0) b[peer_random(&state) % n] = (uint8_t) peer_random(&state);
    if (i % 4 == 0) n = 1 + peer_random(&state) % n;
    peer_frame(&p, WEFT__F_HELLO, b, (uint32_t) n);
    (void) peer_read(&p, &f, 20);
    peer_close(&p);
    if (i % 50 == 49) world_check();
  }
}

#define RUN(fn)                                                                                    \
  { .name = #fn, .run = fn }

static const hostile_case_t cases[] = {
    RUN(http_client),      RUN(tls_client),      RUN(ssh_client),    RUN(other_libfabric_program),
    RUN(random_strangers), RUN(random_requests), RUN(random_frames), RUN(damaged_frames),
    RUN(damaged_hellos),
};

int main(int argc, char **argv) {
  const char *text = getenv("WEFT_ROUNDS");

  if (text != NULL) rounds = (unsigned) strtoul(text, NULL, 10);
  if (argc > 2 && strcmp(argv[1], "--seed") == 0) {
    seed = strtoull(argv[2], NULL, 10);
    argc -= 2;
    argv += 2;
  }
  return hostile_main(argc, argv, "hostile_garbage", cases, sizeof(cases) / sizeof(cases[0]), tune);
}
