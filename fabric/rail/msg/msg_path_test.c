/* SPDX-License-Identifier: Apache-2.0 */
/* msg_path_test.c - connecting, refusing, frames in order, flow control, sleeping. */
#include "msg_test.h"

#include <sys/epoll.h>

/* Both families; the same twice when the environment says where. */
static const char *const loopbacks[] = {"127.0.0.1", "::1"};

static void connect_and_blobs(void **state) {
  char answer[WEFT__BLOB_MAX], ask[WEFT__BLOB_MAX];
  unsigned i;

  (void) state;
  memset(answer, 'a', sizeof(answer));
  memset(ask, 'q', sizeof(ask));
  for (i = 0; i < 2; i++) {
    pair_t t;
    pair_rails(&t, loopbacks[i]);
    t.door.answer = answer;
    t.door.answerlen = sizeof(answer);
    dial(t.a, &t.door, &t.x, ask, sizeof(ask));
    assert_int_equal(t.x.connected, 0); /* never inside the call */
    UNTIL(&t.k, t.x.connected && t.door.taken);
    assert_int_equal(t.door.bloblen, sizeof(ask));
    assert_memory_equal(t.door.blob, ask, sizeof(ask));
    assert_int_equal(t.x.bloblen, sizeof(answer));
    assert_memory_equal(t.x.blob, answer, sizeof(answer));
    assert_string_equal(t.x.path->local, t.y.path->remote);
    assert_string_equal(t.x.path->remote, t.y.path->local);
    assert_int_equal(t.y.connected, 0);
    send_number(&t.x, 1, 64);
    send_number(&t.y, 2, 64);
    UNTIL(&t.k, t.x.frames == 1 && t.y.frames == 1);
    pair_close(&t);
  }
}

static void accepted_path_sends_at_once(void **state) {
  pair_t t;
  unsigned i;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  t.x.check = true;
  dial(t.a, &t.door, &t.x, NULL, 0);
  UNTIL(&t.k, t.door.taken);
  for (i = 0; i < 8; i++) send_number(&t.y, i, 100 + i);
  UNTIL(&t.k, t.x.frames == 8);
  assert_int_equal(t.x.connected, 1);
  pair_close(&t);
}

/* What the other thread does to it. */
static bool peek(weft__eq_t *eq) {
  struct fi_eq_cm_entry e;
  uint32_t ev;

  (void) fi_eq_read(eq->eq, &ev, &e, sizeof(e), FI_PEEK);
  return true;
}

/* Another thread has the queue with the event that the path is up (connects_in_read): what the peer
 * sent meanwhile waits for it. Of the second path nothing is left when the event never comes. */
static void frames_before_the_event(void **state) {
  unsigned i, end;

  (void) state;
  if (!kit_is_tcp()) skip_case("of tcp only");
  for (end = 0; end < 2; end++) {
    pair_t t;
    pair_rails(&t, "127.0.0.1");
    t.x.check = true;
    dial(t.a, &t.door, &t.x, NULL, 0);
    t.a->eq->away = true;
    UNTIL(&t.k, peek(t.a->eq) && t.door.taken);
    for (i = 0; i < 8; i++) send_number(&t.y, i, 100 + i);
    UNTIL(&t.k, peek(t.a->eq) && weft__mpath(t.x.path)->rx_early == 8);
    assert_int_equal(t.x.connected, 0);
    assert_int_equal(t.x.frames, 0);
    if (end == 0) {
      t.a->eq->away = false;
      UNTIL(&t.k, t.x.frames == 8);
      assert_int_equal(t.x.connected, 1);
      for (; i < 80; i++) {
        send_number(&t.y, i, 100 + i);
        UNTIL(&t.k, t.x.frames == i + 1);
      }
    } else {
      end_close(&t.k, &t.x);
      assert_int_equal(t.x.frames, 0);
      t.a->eq->away = false;
    }
    pair_close(&t);
  }
}

static void reject_with_blob(void **state) {
  pair_t t;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  t.door.refuse = true;
  t.door.answer = "go away";
  t.door.answerlen = 7;
  dial(t.a, &t.door, &t.x, "x", 1);
  UNTIL(&t.k, t.x.downs);
  assert_int_equal(t.x.err, -ECONNREFUSED);
  assert_int_equal(t.x.bloblen, 7);
  assert_memory_equal(t.x.blob, "go away", 7);
  assert_non_null(strstr(t.x.why, ": connect to "));
  pair_close(&t);
}

static void closing_a_listener_rejects(void **state) {
  pair_t t;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  t.door.hold = true;
  dial(t.a, &t.door, &t.x, "x", 1);
  UNTIL(&t.k, t.door.requests);
  weft__lst_close(t.door.lst);
  t.door.lst = NULL;
  UNTIL(&t.k, t.x.downs);
  assert_int_equal(t.x.err, -ECONNREFUSED);
  pair_close(&t);
}

static void accept_later(void **state) {
  pair_t t;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  t.door.hold = true;
  dial(t.a, &t.door, &t.x, "x", 1);
  UNTIL(&t.k, t.door.requests);
  settle_for(&t.k, 20);
  assert_int_equal(t.x.connected, 0);
  assert_int_equal(weft__req_accept(t.door.held, "yes", 3, &end_cbs, &t.y, &t.y.path), 0);
  UNTIL(&t.k, t.x.connected);
  assert_memory_equal(t.x.blob, "yes", 3);
  pair_close(&t);
}

static void closed_port(void **state) {
  pair_t t;
  struct sockaddr_storage to;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  memcpy(&to, weft__lst_addr(t.door.lst), sizeof(struct sockaddr_in));
  weft__lst_close(t.door.lst);
  t.door.lst = NULL;
  assert_int_equal(weft__rail_connect(t.a, (struct sockaddr *) &to, sizeof(struct sockaddr_in), "x",
                                      1, &end_cbs, &t.x, &t.x.path),
                   0);
  assert_int_equal(t.x.downs, 0);
  UNTIL(&t.k, t.x.downs);
  assert_int_equal(t.x.err, -ECONNREFUSED);
  assert_non_null(strstr(t.x.why, "(ECONNREFUSED)"));
  pair_close(&t);
}

static void wrong_arguments(void **state) {
  pair_t t;
  struct sockaddr_in6 six = {
      .sin6_family = AF_INET6, .sin6_port = htons(9), .sin6_addr = in6addr_loopback};
  weft__path_t *p;
  char big[WEFT__BLOB_MAX + 1] = {0};
  const struct sockaddr *to;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  to = weft__lst_addr(t.door.lst);
  assert_int_equal(
      weft__rail_connect(t.a, (struct sockaddr *) &six, sizeof(six), "", 0, &end_cbs, &t.x, &p),
      -EAFNOSUPPORT);
  assert_int_equal(
      weft__rail_connect(t.a, to, weft__sa_len(to), big, sizeof(big), &end_cbs, &t.x, &p), -EINVAL);
  pair_close(&t);
}

static void same_port_twice(void **state) {
  pair_t t;
  weft__lst_t *again = NULL;
  const struct sockaddr *at;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  at = weft__lst_addr(t.door.lst);
  assert_int_equal(weft__rail_listen(t.b, at, weft__sa_len(at), 64, &door_cbs, &t.door, &again),
                   -EADDRINUSE);
  pair_close(&t);
}

/* On verbs that means the rail's own address. */
static void wildcard(void **state) {
  pair_t t;
  door_t any = {0};
  struct sockaddr_in in = {.sin_family = AF_INET};
  struct sockaddr_in to;
  char text[80];

  (void) state;
  pair_rails(&t, "127.0.0.1");
  any.ends = &t.y;
  any.nends = 1;
  assert_int_equal(
      weft__rail_listen(t.b, (struct sockaddr *) &in, sizeof(in), 64, &door_cbs, &any, &any.lst),
      0);
  memcpy(&to, weft__lst_addr(any.lst), sizeof(to));
  to.sin_addr = ((const struct sockaddr_in *) weft__rail_addr(t.b))->sin_addr;
  assert_int_equal(weft__rail_connect(t.a, (struct sockaddr *) &to, sizeof(to), "x", 1, &end_cbs,
                                      &t.x, &t.x.path),
                   0);
  UNTIL(&t.k, t.x.connected);
  assert_string_equal(t.y.path->local, t.x.path->remote);
  assert_non_null(strstr(any.peer, weft__sa_str(weft__rail_addr(t.a), text, sizeof(text))));
  weft__lst_close(any.lst);
  pair_close(&t);
}

/* 10,000 frames of all sizes there and back, contents and order checked on both ends. */
static void echo_10k(void **state) {
  unsigned v, sent;

  (void) state;
  for (v = 0; v < 2; v++) {
    pair_t t;
    pair_rails(&t, loopbacks[v]);
    pair_connect(&t);
    t.x.check = t.y.check = t.y.echo = true;
    for (sent = 0; sent < 10000;) {
      /* never more than the peer has receives for */
      if (sent - t.x.frames < t.y.path->lim.rx_depth) {
        send_number(&t.x, sent, 1 + (sent * 2654435761u) % WEFT__FRAME_MAX);
        sent++;
      } else {
        pump(&t.k);
      }
    }
    UNTIL(&t.k, t.x.frames == 10000);
    assert_int_equal(t.x.next, 10000);
    assert_int_equal(t.x.bytes, t.y.bytes);
    pair_close(&t);
  }
}

static unsigned to_send;

static void send_more(end_t *e) {
  weft__tbuf_t *b;

  while (to_send < 5000 && (b = e->path->ops->tx_get(e->path)) != NULL) {
    fill(b->data, 4000, to_send++);
    assert_int_equal(e->path->ops->send(e->path, b, 4000), 0);
  }
}

/* The transmit queue fills, `writable` comes, nothing is lost. The peer does not drain meanwhile.
 */
static void full_and_writable(void **state) {
  pair_t t;
  weft__tbuf_t *b;
  unsigned n = 0;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  if (t.a->info->ep_attr->protocol == FI_PROTO_IWARP) {
    pair_close(&t);
    skip_case("iWARP ends a connection that gets more than it has receives for");
  }
  pair_connect(&t);
  t.y.check = true;
  while ((b = t.x.path->ops->tx_get(t.x.path)) != NULL) {
    fill(b->data, 4000, n++);
    assert_int_equal(t.x.path->ops->send(t.x.path, b, 4000), 0);
    assert_true(n < 1000);
  }
  assert_int_equal(n, t.x.path->lim.tx_depth);
  assert_int_equal(t.x.writable, 0);
  to_send = n;
  t.x.on_writable = send_more;
  UNTIL(&t.k, t.y.frames == 5000);
  assert_true(t.x.writable > 0);
  /* Buffers given back unused make room as well. */
  {
    weft__tbuf_t *held[64];
    unsigned i, seen;
    settle_for(&t.k, 5);
    for (n = 0; n < 64 && (held[n] = t.x.path->ops->tx_get(t.x.path)) != NULL; n++)
      ;
    assert_null(t.x.path->ops->tx_get(t.x.path));
    t.x.on_writable = NULL;
    seen = t.x.writable;
    for (i = 0; i < n; i++) t.x.path->ops->tx_put(t.x.path, held[i]);
    pump(&t.k);
    assert_int_equal(t.x.writable, seen + 1);
  }
  pair_close(&t);
}

/* Sleeping: nothing to do means no wakeup; one frame means one. */
static void sleep_and_wake(void **state) {
  pair_t t;
  struct pollfd fd;
  unsigned i, woken = 0;
  int r;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  settle_for(&t.k, 10);
  fd = (struct pollfd){.fd = weft__rail_fd(t.b), .events = POLLIN};
  for (i = 0; i < 200; i++) {
    while (weft__rail_arm(t.b) != 0) weft__rail_drain(t.b, WEFT__DRAIN_FIRED);
    assert_int_equal(poll(&fd, 1, 1), 0);
    send_number(&t.x, i, 64);
    weft__rail_drain(t.a, WEFT__DRAIN_ACTIVE);
    r = poll(&fd, 1, 2000);
    assert_int_equal(r, 1);
    while (t.y.frames <= i) {
      assert_true(woken++ < 2000);
      weft__rail_drain(t.b, WEFT__DRAIN_FIRED);
    }
  }
  /* Idle for 200 ms: count how often poll returns. */
  for (i = 0, woken = 0; i < 20; i++) {
    while (weft__rail_arm(t.b) != 0) weft__rail_drain(t.b, WEFT__DRAIN_FIRED);
    if (poll(&fd, 1, 10) != 0) {
      woken++;
      weft__rail_drain(t.b, WEFT__DRAIN_FIRED);
    }
  }
  assert_true(woken <= 1);
  /* A peer that closes wakes the sleeper. */
  t.x.path->ops->close(t.x.path);
  assert_int_equal(poll(&fd, 1, 2000), 1);
  for (i = 0; i < 100 && t.y.downs == 0; i++) weft__rail_drain(t.b, WEFT__DRAIN_FIRED);
  assert_int_equal(t.y.downs, 1);
  UNTIL(&t.k, t.x.closed);
  t.x.path = NULL;
  pair_close(&t);
}

static void drop_frame(end_t *e, weft__rbuf_t *b) {
  (void) b;
  if (e->frames == 3) e->path->ops->close(e->path);
}

/* Closing inside an upcall: nothing more is reported but `closed`. */
static void close_in_upcall(void **state) {
  pair_t t;
  unsigned i;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  t.y.on_frame = drop_frame;
  for (i = 0; i < 20; i++) send_number(&t.x, i, 64);
  UNTIL(&t.k, t.y.closed);
  assert_int_equal(t.y.frames, 3);
  assert_int_equal(t.y.downs, 0);
  t.y.path = NULL;
  UNTIL(&t.k, t.x.downs);
  assert_int_equal(t.x.err, -ECONNRESET);
  pair_close(&t);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(connect_and_blobs),
      cmocka_unit_test(accepted_path_sends_at_once),
      cmocka_unit_test(frames_before_the_event),
      cmocka_unit_test(reject_with_blob),
      cmocka_unit_test(closing_a_listener_rejects),
      cmocka_unit_test(accept_later),
      cmocka_unit_test(closed_port),
      cmocka_unit_test(wrong_arguments),
      cmocka_unit_test(same_port_twice),
      cmocka_unit_test(wildcard),
      cmocka_unit_test(echo_10k),
      cmocka_unit_test(full_and_writable),
      cmocka_unit_test(sleep_and_wake),
      cmocka_unit_test(close_in_upcall),
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
