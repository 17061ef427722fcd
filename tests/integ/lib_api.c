/* SPDX-License-Identifier: Apache-2.0 */
/* lib_api.c - see lib_api.h. */
#include "lib_api.h"

#include <time.h>

const char *api_listen_url = "weft://127.0.0.1:0";
static api_pair_t *watched;

const char *api_listen_at(void) {
  const char *at = getenv("WEFT_TEST_LISTEN");
  return at ? at : api_listen_url;
}

uint64_t api_now_ms(void) {
  struct timespec ts;
  clock_gettime(CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * 1000 + (uint64_t) ts.tv_nsec / 1000000;
}

unsigned api_slow(void) {
  const char *s = getenv("WEFT_SANITIZE"), *machine = getenv("WEFT_TIME_FACTOR");
  unsigned factor = machine ? (unsigned) atoi(machine) : 1;
  return (s && *s ? 5 : 1) * (factor ? factor : 1);
}

static void on_tick(uv_timer_t *t) {
  (void) t;
}
static void on_tick_closed(uv_handle_t *h) {
  free(h);
}

void api_step(uv_loop_t *loop) {
  uv_timer_t *t = malloc(sizeof *t);
  CHECK(t);
  uv_update_time(loop);
  uv_timer_init(loop, t);
  uv_timer_start(t, on_tick, 10, 0);
  uv_run(loop, UV_RUN_ONCE);
  uv_close((uv_handle_t *) t, on_tick_closed);
  uv_run(loop, UV_RUN_NOWAIT);
}

int api_skip(const char *why) {
  printf("skipped: %s\n", why);
  return 77;
}

uint64_t api_hash(uint64_t h, const void *data, size_t n) {
  const uint8_t *p = data;
  uint64_t w;
  for (; n >= 8; n -= 8, p += 8) {
    memcpy(&w, p, 8);
    h = (h ^ w) * 0x9e3779b97f4a7c15ull;
    h ^= h >> 29;
  }
  for (; n; n--, p++) h = (h ^ *p) * 0x100000001b3ull;
  return h;
}

void api_fill(void *to, size_t n, unsigned seed) {
  uint8_t *p = to;
  uint64_t x = seed * 0x9e3779b97f4a7c15ull + 1;
  for (size_t i = 0; i < n; i++) {
    if (i % 8 == 0) x = x * 6364136223846793005ull + 1442695040888963407ull;
    p[i] = (uint8_t) (x >> (8 * (i % 8)));
  }
}

void api_opts(weft_opts_t *o, ...) {
  va_list ap;
  const char *key, *val;
  weft_opts_init(o, sizeof *o);
  va_start(ap, o);
  while ((key = va_arg(ap, const char *)) != NULL) {
    val = va_arg(ap, const char *);
    assert_int_equal(weft_opts_set(o, key, val), 0);
  }
  va_end(ap);
}

void api_on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  api_rx_t *rx = conn->data;
  if (status == UV_EOF) {
    CHECK(!msg);
    rx->eofs++;
  } else if (status < 0) {
    CHECK(!msg);
    rx->errors++;
    rx->last_error = status;
  } else {
    size_t n = weft_msg_size(msg);
    CHECK((uintptr_t) weft_msg_data(msg) % 8 == 0);
    CHECK(rx->eofs == 0 && rx->errors == 0);
    rx->messages++;
    rx->bytes += n;
    rx->last_size = n;
    rx->hash = api_hash(api_hash(rx->hash, &n, sizeof n), weft_msg_data(msg), n);
  }
}

void api_recv(weft_conn_t *conn, api_rx_t *rx) {
  memset(rx, 0, sizeof *rx);
  conn->data = rx;
  assert_int_equal(weft_recv_start(conn, NULL, api_on_recv), 0);
}

void api_event(weft_conn_t *conn, const weft_event_t *ev) {
  (void) conn;
  if (!watched) return;
  watched->events[ev->type]++;
  watched->last_event = *ev;
}

void api_watch(api_pair_t *p, weft_conn_t *conn) {
  watched = p;
  assert_int_equal(weft_conn_on_event(conn, api_event), 0);
}

static void on_peer(weft_listener_t *lis, int status) {
  api_pair_t *p = lis->data;
  CHECK(status == 0);
  CHECK(weft_conn_init(&p->a, &p->server) == 0);
  CHECK(weft_accept(lis, &p->server) == 0);
  p->accepted++;
}

static void on_connect(weft_connect_t *req, int status) {
  api_pair_t *p = req->data;
  p->connected++;
  p->connect_status = status;
}

/* Each end's own devices, where the environment names them. */
static const weft_opts_t *with_devices(weft_opts_t *mine, const weft_opts_t *given,
                                       const char *variable) {
  const char *devices = getenv(variable);
  if (!devices) return given;
  if (given)
    *mine = *given;
  else
    weft_opts_init(mine, sizeof *mine);
  assert_int_equal(weft_opts_set(mine, "devices", devices), 0);
  return mine;
}

void api_pair_start(api_pair_t *p, const weft_opts_t *a, const weft_opts_t *b) {
  size_t len = sizeof p->url;
  const char *needs = getenv("WEFT_TEST_NEEDS");
  weft_opts_t opts[2];
  memset(p, 0, sizeof *p);
  a = with_devices(&opts[0], a, "WEFT_TEST_DEVICES_A");
  b = with_devices(&opts[1], b, "WEFT_TEST_DEVICES_B");
  assert_int_equal(uv_loop_init(&p->loop), 0);
  assert_int_equal(weft_init(&p->loop, &p->a, a), 0);
  assert_int_equal(weft_init(&p->loop, &p->b, b), 0);
  assert_int_equal(weft_listener_init(&p->a, &p->lis), 0);
  p->lis.data = p;
  assert_int_equal(weft_listen(&p->lis, api_listen_at(), 16, on_peer), 0);
  assert_int_equal(weft_listener_addr(&p->lis, p->url, &len), 0);
  if (needs) snprintf(p->url + strlen(p->url), sizeof p->url - strlen(p->url), "?%s", needs);
  p->req.data = p;
}

void api_pair_open(api_pair_t *p, const weft_opts_t *a, const weft_opts_t *b,
                   const weft_qos_t *qos) {
  api_pair_start(p, a, b);
  assert_int_equal(weft_conn_init(&p->b, &p->client), 0);
  assert_int_equal(weft_connect(&p->req, &p->client, p->url, qos, on_connect), 0);
  RUN_UNTIL(&p->loop, 5000, p->connected && p->accepted);
  if (p->connect_status) fprintf(stderr, "connect: %s\n", weft_conn_error(&p->client));
  assert_int_equal(p->connect_status, 0);
}

void api_conn_closed(weft_conn_t *conn) {
  (void) conn;
}

static void on_ctx_closed(weft_t *w) {
  api_pair_t *p = w->data;
  p->closed++;
}

void api_pair_close(api_pair_t *p) {
  p->a.data = p->b.data = p;
  p->closed = 0;
  weft_close(&p->a, on_ctx_closed);
  weft_close(&p->b, on_ctx_closed);
  RUN_UNTIL(&p->loop, 5000, p->closed == 2);
  if (watched == p) watched = NULL;
  assert_int_equal(uv_run(&p->loop, UV_RUN_DEFAULT), 0);
  assert_int_equal(uv_loop_close(&p->loop), 0);
}
