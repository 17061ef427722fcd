/* SPDX-License-Identifier: Apache-2.0 */
/* hostile_listener.c - the connecting side: what answers at the address is nobody, somebody else,
 * or a Weft that lies. The right error, a sentence that names the address, and within the time
 * budget.
 *
 * ctest: timeout=120 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "lib_case.h"

enum { CONNECT = 1500, SLOW = WORLD_SANITIZED ? 4 : 1 };

static void tune(weft_opts_t *o) {
  o->connect_timeout_ms = CONNECT;
  o->handshake_timeout_ms = CONNECT;
  o->peer_timeout_ms = 2000;
  o->beat_ms = 500;
}

static int lfd = -1;
static uint16_t lport;
static char at[32]; /* "127.0.0.1:PORT" */

static void dial_it(dial_t *d) {
  char url[64];

  lfd = peer_listen("127.0.0.1", &lport);
  snprintf(at, sizeof(at), "127.0.0.1:%u", lport);
  snprintf(url, sizeof(url), "weft://%s", at);
  assert_int_equal(dial_start(d, url), 0);
}

/* The connect fails with one of two codes, in time, and says whom it was about. */
static void fails(dial_t *d, int want, int or_else, unsigned most_ms) {
  if (!dial_wait(d, (int) (most_ms * SLOW + 3000))) {
    log_print(0);
    fail_msg("the connect has neither succeeded nor failed");
  }
  if ((d->status != want && d->status != or_else) || strstr(d->why, at) == NULL ||
      d->took_ms > most_ms * SLOW)
    fail_msg("the connect to %s ended with %s after %u ms: \"%s\"; expected %s within %u ms", at,
             weft_err_name(d->status), (unsigned) d->took_ms, d->why, weft_err_name(want), most_ms);
  dial_close(d);
  if (lfd >= 0) close(lfd);
  lfd = -1;
}

/* ---- Nobody ---- */

static void closed_port(void) {
  dial_t d;
  char url[64];

  lfd = peer_listen("127.0.0.1", &lport);
  close(lfd);
  lfd = -1;
  snprintf(at, sizeof(at), "127.0.0.1:%u", lport);
  snprintf(url, sizeof(url), "weft://%s", at);
  assert_int_equal(dial_start(&d, url), 0);
  fails(&d, UV_ECONNREFUSED, UV_ECONNREFUSED, 500);
}

static void unknown_host(void) {
  dial_t d;

  strcpy(at, "no-such-host.invalid");
  assert_int_equal(dial_start(&d, "weft://no-such-host.invalid:7000"), 0);
  fails(&d, UV_EAI_NONAME, UV_EAI_AGAIN, CONNECT + 500);
}

static void never_answers(void) {
  dial_t d;

  dial_it(&d);
  fails(&d, UV_ETIMEDOUT, UV_ETIMEDOUT, CONNECT + 500);
}

/* ---- Somebody else ---- */

/* Everybody who comes gets `bytes`: at once or (`first_hears`) after the first bytes from them;
 * then the connection is closed or kept. */
static void serve(const void *bytes, size_t len, bool first_hears, bool keeps, int want,
                  unsigned most_ms) {
  peer_t peers[16];
  unsigned n = 0, i;
  dial_t d;

  dial_it(&d);
  while (!dial_wait(&d, 0)) {
    peer_t *p = &peers[n];
    assert_true(n < 16);
    if (!peer_take(p, lfd, 10)) continue;
    if (first_hears) {
      uint8_t in[512];
      (void) recv(p->fd, in, sizeof(in), 0);
    }
    peer_raw(p, bytes, len);
    if (keeps)
      n++;
    else
      peer_close(p);
  }
  for (i = 0; i < n; i++) peer_close(&peers[i]);
  fails(&d, want, want, most_ms);
}

static void http_server(void) {
  static const char text[] =
      "HTTP/1.1 400 Bad Request\r\nServer: nginx/1.22.1\r\nContent-Type: text/html\r\n"
      "Content-Length: 0\r\nConnection: close\r\n\r\n";

  serve(text, sizeof(text) - 1, true, false, WEFT_ENOTWEFT, 1000);
}

static void short_answer(void) {
  serve("-ERR\r\n", 6, true, false, WEFT_ENOTWEFT, CONNECT + 500);
}

static void closes_without_a_word(void) {
  serve("", 0, false, false, WEFT_ENOTWEFT, CONNECT + 500);
}

static void closes_after_the_request(void) {
  serve("", 0, true, false, WEFT_ENOTWEFT, CONNECT + 500);
}

/* Keeps the connection open after its answer. */
static void http_server_keeps_open(void) {
  static const char text[] = "HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n";

  serve(text, sizeof(text) - 1, true, true, WEFT_ENOTWEFT, 1000);
}

static void banner_server(void) {
  static const char text[] = "220 mail.example.org ESMTP Postfix (Debian/GNU)\r\n";

  serve(text, sizeof(text) - 1, false, true, WEFT_ENOTWEFT, CONNECT + 500);
}

static void random_server(void) {
  uint64_t state = 3;
  uint8_t b[300];
  size_t i;

  for (i = 0; i < sizeof(b); i++) b[i] = (uint8_t) peer_random(&state);
  serve(b, sizeof(b), true, false, WEFT_ENOTWEFT, CONNECT + 500);
}

/* A program of libfabric that is not Weft: its accept has data of its own, or none. */
static void accepts_with(const void *blob, size_t len) {
  uint8_t in[256];
  unsigned type;
  dial_t d;
  peer_t p;

  dial_it(&d);
  assert_true(peer_take(&p, lfd, 5000));
  assert_true(peer_cm_read(&p, &type, in, sizeof(in), 5000) >= 0);
  peer_cm(&p, CM_ACCEPT, blob, len);
  fails(&d, WEFT_ENOTWEFT, WEFT_ENOTWEFT, 1000);
  peer_close(&p);
}

static void accept_empty(void) {
  accepts_with(NULL, 0);
}

static void accept_short(void) {
  accepts_with("WEFT\1\1\0\0", 8);
}

static void accept_garbage(void) {
  uint64_t state = 5;
  uint8_t b[256];
  size_t i;

  for (i = 0; i < sizeof(b); i++) b[i] = (uint8_t) peer_random(&state);
  accepts_with(b, sizeof(b));
}

static void accept_wrong_kind(void) {
  uint8_t b[WEFT__ANSWER_SIZE];
  weft__answer_t an = {.kind = 9, .version = WEFT__WIRE_VERSION, .key = 1};

  weft__answer_put(b, &an);
  accepts_with(b, sizeof(b));
}

/* ---- A Weft that refuses ---- */

static void answers(unsigned cm, const weft__answer_t *an, int want, int or_else,
                    unsigned most_ms) {
  uint8_t in[256], b[WEFT__ANSWER_SIZE];
  unsigned type;
  dial_t d;
  peer_t p;

  dial_it(&d);
  assert_true(peer_take(&p, lfd, 5000));
  assert_true(peer_cm_read(&p, &type, in, sizeof(in), 5000) == WEFT__REQUEST_SIZE);
  weft__answer_put(b, an);
  peer_cm(&p, cm, b, sizeof(b));
  fails(&d, want, or_else, most_ms);
  peer_close(&p);
}

static void rejects_version(void) {
  weft__answer_t an = {.kind = WEFT__A_REJECT, .version = 2, .code = WEFT__J_VERSION};

  answers(CM_REJECT, &an, WEFT_EVERSION, WEFT_EVERSION, 1000);
}

static void rejects_busy(void) {
  weft__answer_t an = {.kind = WEFT__A_REJECT, .version = 1, .code = WEFT__J_BUSY};

  answers(CM_REJECT, &an, UV_ETIMEDOUT, UV_ETIMEDOUT, CONNECT + 500); /* tried again until then */
}

static void rejects_closing(void) {
  weft__answer_t an = {.kind = WEFT__A_REJECT, .version = 1, .code = WEFT__J_CLOSING};

  answers(CM_REJECT, &an, UV_ECONNREFUSED, UV_ECONNREFUSED, 1000);
}

static void rejects_unknown_code(void) {
  weft__answer_t an = {.kind = WEFT__A_REJECT, .version = 1, .code = 200};

  answers(CM_REJECT, &an, UV_ECONNREFUSED, WEFT_EREJECTED, 1000);
}

/* Says "accepted" in the provider's message and "rejected" in ours, and the other way round. */
static void accepts_a_rejection(void) {
  weft__answer_t an = {.kind = WEFT__A_REJECT, .version = 1, .code = WEFT__J_BUSY};

  answers(CM_ACCEPT, &an, WEFT_ENOTWEFT, UV_ETIMEDOUT, CONNECT + 500);
}

static void rejects_an_acceptance(void) {
  weft__answer_t an = {.kind = WEFT__A_ACCEPT, .version = 1, .key = 7};

  answers(CM_REJECT, &an, UV_ECONNREFUSED, WEFT_ENOTWEFT, 1000);
}

/* A tombstone of a session that never was. */
static void answers_tombstone(void) {
  weft__answer_t an = {.kind = WEFT__A_TOMBSTONE, .version = 1, .key = 7, .aux = 99};

  answers(CM_REJECT, &an, UV_ECONNREFUSED, WEFT_ENOTWEFT, 1000);
}

static void answers_version_2(void) {
  weft__answer_t an = {.kind = WEFT__A_ACCEPT, .version = 2, .key = 7};

  answers(CM_ACCEPT, &an, WEFT_EVERSION, WEFT_ENOTWEFT, 1000);
}

/* ---- A Weft whose HELLO is wrong ---- */

static void accept_peer(peer_t *p) {
  assert_true(peer_take(p, lfd, 5000));
  assert_true(peer_answer(p, 5000));
  peer_identity(p, "liar");
}

static void never_hello(void) {
  dial_t d;
  peer_t p;

  dial_it(&d);
  accept_peer(&p);
  fails(&d, UV_ETIMEDOUT, UV_ETIMEDOUT, CONNECT + 500);
  assert_true(peer_gone(&p, 3000));
  peer_close(&p);
}

static void bad_hello(void) {
  dial_t d;
  peer_t p;

  dial_it(&d);
  accept_peer(&p);
  peer_frame(&p, WEFT__F_HELLO, "\1\0\2\0xx", 6);
  fails(&d, WEFT_EPROTOCOL, WEFT_EPROTOCOL, 1000);
  assert_true(peer_gone(&p, 3000));
  assert_int_equal(p.abort_code, WEFT_EPROTOCOL);
  peer_close(&p);
}

static void data_before_hello(void) {
  dial_t d;
  peer_t p;

  dial_it(&d);
  accept_peer(&p);
  peer_record(&p, WEFT__R_MSG, "12345678", 8);
  fails(&d, WEFT_EPROTOCOL, WEFT_EPROTOCOL, 1000);
  peer_close(&p);
}

static void program_rejects(void) {
  uint8_t b[8 + 15];
  dial_t d;
  peer_t p;

  dial_it(&d);
  accept_peer(&p);
  weft__put32(b, (uint32_t) UV_EACCES);
  weft__put32(b + 4, 15);
  memcpy(b + 8, "not\non the list", 15);
  peer_frame(&p, WEFT__F_ABORT, b, sizeof(b));
  assert_true(dial_wait(&d, 3000 * SLOW));
  assert_int_equal(d.status, WEFT_EREJECTED);
  assert_true(strstr(d.why, "not?on the list") != NULL);
  fails(&d, WEFT_EREJECTED, WEFT_EREJECTED, 1000);
  peer_close(&p);
}

static void closes_before_hello(void) {
  dial_t d;
  peer_t p;

  dial_it(&d);
  accept_peer(&p);
  peer_reset(&p);
  fails(&d, UV_ECONNRESET, UV_ECONNREFUSED, CONNECT + 500);
}

/* ---- After it is open ---- */

static void open_it(dial_t *d, peer_t *p) {
  dial_it(d);
  accept_peer(p);
  dial_opens_anyhow(d, p);
}

static void malformed_later(void) {
  dial_t d;
  peer_t p;

  open_it(&d, &p);
  peer_msg(&p, "garbage", 7);
  assert_true(dial_wait_lost(&d, 5000));
  assert_int_equal(d.lost_status, WEFT_EPROTOCOL);
  assert_true(strstr(d.lost_why, at) != NULL);
  assert_true(peer_gone(&p, 5000));
  peer_close(&p);
  dial_close(&d);
  close(lfd);
}

/* The peer asks for more paths, a thousand times; there are none to be had. */
static void join_please_flood(void) {
  unsigned i, taken = 0;
  peer_frame_t f;
  dial_t d;
  peer_t p, j;

  open_it(&d, &p);
  for (i = 0; i < 1000; i++) {
    peer_frame(&p, WEFT__F_JOIN_PLEASE, NULL, 0);
    if (i % 8 == 7) {
      peer_ping(&p);
      assert_int_equal(peer_read_type(&p, &f, WEFT__F_PONG, 5000), 1);
    }
  }
  while (taken < 100 && peer_take(&j, lfd, 100)) {
    taken++;
    peer_close(&j);
  }
  assert_true(taken < 20);
  dial_info(&d);
  assert_int_equal(d.info.open, 1);
  dial_leave(&d, &p, &lfd);
}

static void vanishes(void) {
  dial_t d;
  peer_t p;

  open_it(&d, &p);
  close(lfd);
  lfd = -1;
  peer_reset(&p);
  assert_true(dial_wait_lost(&d, 4000 * SLOW));
  assert_true(d.lost_status == UV_ECONNRESET || d.lost_status == WEFT_EPEERLOST);
  assert_true(d.lost_why[0] != '\0');
  dial_close(&d);
}

/* Its place is taken by a Weft that knows nothing of the session: it has restarted. */
static void restarts(void) {
  uint8_t in[256], b[WEFT__ANSWER_SIZE];
  weft__answer_t an = {.kind = WEFT__A_REJECT, .version = 1, .code = WEFT__J_NO_SESSION};
  unsigned type, i;
  dial_t d;
  peer_t p, j;

  open_it(&d, &p);
  peer_reset(&p);
  weft__answer_put(b, &an);
  for (i = 0; i < 50 && !d.lost; i++) {
    if (!peer_take(&j, lfd, 200)) continue;
    if (peer_cm_read(&j, &type, in, sizeof(in), 1000) >= 0) peer_cm(&j, CM_REJECT, b, sizeof(b));
    peer_close(&j);
  }
  assert_true(dial_wait_lost(&d, 4000 * SLOW));
  assert_int_equal(d.lost_status, WEFT_ENOSESSION);
  assert_true(strstr(d.lost_why, "does not know this session") != NULL);
  dial_close(&d);
  close(lfd);
}

static void falls_silent(void) {
  uint64_t from;
  dial_t d;
  peer_t p;

  open_it(&d, &p);
  from = peer_now_ms();
  assert_true(dial_wait_lost(&d, 8000 * SLOW));
  assert_int_equal(d.lost_status, WEFT_EPEERLOST);
  assert_in_range(peer_now_ms() - from, 1000, 5000 * SLOW);
  dial_close(&d);
  peer_close(&p);
  close(lfd);
}

#define RUN(fn)                                                                                    \
  { .name = #fn, .run = fn }

static const hostile_case_t cases[] = {
    RUN(closed_port),
    RUN(unknown_host),
    RUN(never_answers),
    RUN(http_server),
    RUN(short_answer),
    RUN(closes_without_a_word),
    RUN(closes_after_the_request),
    RUN(http_server_keeps_open),
    RUN(banner_server),
    RUN(random_server),
    RUN(accept_empty),
    RUN(accept_short),
    RUN(accept_garbage),
    RUN(accept_wrong_kind),
    RUN(rejects_version),
    RUN(rejects_busy),
    RUN(rejects_closing),
    RUN(rejects_unknown_code),
    RUN(accepts_a_rejection),
    RUN(rejects_an_acceptance),
    RUN(answers_tombstone),
    RUN(answers_version_2),
    RUN(never_hello),
    RUN(bad_hello),
    RUN(data_before_hello),
    RUN(program_rejects),
    RUN(closes_before_hello),
    RUN(malformed_later),
    RUN(join_please_flood),
    RUN(vanishes),
    RUN(restarts),
    RUN(falls_silent),
};

HOSTILE_MAIN("hostile_listener", cases, tune)
