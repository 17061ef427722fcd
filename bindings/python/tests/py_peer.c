/* SPDX-License-Identifier: Apache-2.0 */
/* py_peer.c - the C end of test_soak.py: connects, sends COUNT messages of random sizes, each with
 * its number and a CRC-32, and checks as many from the peer: none lost, twice, out of order or
 * changed.
 *
 *   py_peer URL SEED COUNT
 *
 * A message: number (4 bytes, little-endian), CRC-32 of the rest (4), the rest. The last thing it
 * prints is "sent N received N"; exit status 0 when all of it was good. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "weft.h"

enum { POOL = 2 << 20, FLIGHT = 64, HEAD = 8 };

typedef struct slot {
  weft_send_t req;
  char *bytes;
  int busy;
} slot_t;

static weft_t weft;
static weft_conn_t conn;
static weft_connect_t connecting;
static weft_shutdown_t bye;
static slot_t slots[FLIGHT];
static unsigned char *pool;
static uint32_t table[256], count, sent, acked, received;
static uint64_t state;
static int result = 1, said_bye, eof;

static uint64_t next_random(void) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

static uint32_t crc32(const unsigned char *p, size_t len) {
  uint32_t c = 0xffffffffu;
  for (size_t i = 0; i < len; i++) c = table[(c ^ p[i]) & 0xff] ^ (c >> 8);
  return ~c;
}

static void put32(char *p, uint32_t v) {
  for (int i = 0; i < 4; i++) p[i] = (char) (v >> 8 * i);
}

static uint32_t get32(const unsigned char *p) {
  return (uint32_t) p[0] | (uint32_t) p[1] << 8 | (uint32_t) p[2] << 16 | (uint32_t) p[3] << 24;
}

static void finish(const char *wrong, int err) {
  if (wrong != NULL)
    fprintf(stderr, "%s: %s %s\n", wrong, err ? weft_strerror(err) : "", weft_conn_error(&conn));
  result = wrong != NULL;
  if (!weft_is_closing(&conn)) weft_conn_close(&conn, NULL);
}

static void end_if_done(void) {
  if (eof && said_bye == 2) finish(received == count ? NULL : "messages are missing", 0);
}

static void on_bye(weft_shutdown_t *req, int status) {
  (void) req;
  if (status != 0 && status != UV_ECANCELED) finish("shutdown", status);
  said_bye = 2;
  end_if_done();
}

/* Mostly small, some over a frame, a few large: one in 16, one in 256. */
static size_t random_size(void) {
  uint64_t r = next_random();
  if (r % 256 == 0) return (r >> 8) % (POOL / 2);
  return (r >> 8) % (r % 16 == 0 ? 70000 : 3000);
}

static void on_sent(weft_send_t *req, int status);

static void pump(void) {
  for (int i = 0; i < FLIGHT && sent < count; i++) {
    slot_t *s = &slots[i];
    if (s->busy) continue;
    size_t size = random_size();
    const unsigned char *from = pool + next_random() % (POOL - size);
    uv_buf_t bufs[2] = {uv_buf_init(s->bytes, HEAD), uv_buf_init((char *) from, (unsigned) size)};
    put32(s->bytes, sent++);
    put32(s->bytes + 4, crc32(from, size));
    s->busy = 1;
    int err = weft_send(&s->req, &conn, bufs, 2, on_sent);
    if (err != 0) {
      finish("weft_send", err);
      return;
    }
  }
  if (acked == count && !said_bye) {
    said_bye = 1;
    if (weft_shutdown(&bye, &conn, on_bye) != 0) finish("weft_shutdown", 0);
  }
}

static void on_sent(weft_send_t *req, int status) {
  ((slot_t *) req)->busy = 0;
  if (status != 0) {
    if (status != UV_ECANCELED) finish("send", status);
    return;
  }
  acked++;
  pump();
}

static void on_recv(weft_conn_t *c, int status, weft_msg_t *msg) {
  const unsigned char *p;

  (void) c;
  if (status == UV_EOF) {
    eof = 1;
    end_if_done();
    return;
  }
  if (status < 0) {
    finish("lost", status);
    return;
  }
  p = weft_msg_data(msg);
  size_t len = weft_msg_size(msg);
  if (len < HEAD || get32(p) != received)
    finish("a message is missing, doubled or out of order", 0);
  else if (get32(p + 4) != crc32(p + HEAD, len - HEAD))
    finish("a message has changed", 0);
  received++;
}

static void on_connected(weft_connect_t *req, int status) {
  (void) req;
  if (status != 0)
    finish("connect", status);
  else if ((status = weft_recv_start(&conn, NULL, on_recv)) != 0)
    finish("weft_recv_start", status);
  else
    pump();
}

int main(int argc, char **argv) {
  uv_loop_t *loop = uv_default_loop();
  if (argc != 4) return 2;
  state = strtoull(argv[2], NULL, 10) * 0x9e3779b97f4a7c15u + 1;
  count = (uint32_t) strtoul(argv[3], NULL, 10);
  for (uint32_t i = 0; i < 256; i++) {
    table[i] = i;
    for (int k = 0; k < 8; k++)
      table[i] = table[i] & 1 ? 0xedb88320u ^ (table[i] >> 1) : table[i] >> 1;
  }
  pool = malloc(POOL);
  char *heads = malloc(FLIGHT * HEAD);
  if (pool == NULL || heads == NULL) return 1;
  for (size_t i = 0; i < POOL; i += 8) {
    uint64_t r = next_random();
    memcpy(pool + i, &r, 8);
  }
  for (int i = 0; i < FLIGHT; i++) slots[i].bytes = heads + i * HEAD;
  if (weft_init(loop, &weft, NULL) != 0 || weft_conn_init(&weft, &conn) != 0 ||
      weft_connect(&connecting, &conn, argv[1], NULL, on_connected) != 0)
    return 1;
  uv_run(loop, UV_RUN_DEFAULT);
  weft_close(&weft, NULL);
  uv_run(loop, UV_RUN_DEFAULT);
  uv_loop_close(loop);
  free(heads);
  free(pool);
  printf("sent %u received %u\n", sent, received);
  return result;
}
