/* SPDX-License-Identifier: Apache-2.0 */
/* file_send.c - send a file to file_recv, with a progress bar and a SHA-256 over the whole of it.
 *
 *   file_send FILE URL
 *
 * On the connection: one message "weft-file 1 SIZE NAME", the content in messages of 1 MiB, one
 * message with the 32 bytes of the digest. The receiver answers "ok" or "error: why".
 *
 * It shows: several messages in flight, memory that the network reads without a copy
 * (weft_mem_alloc), progress by what the peer has acknowledged, and that a cut path is Weft's
 * business: there is no code here for it but the line that prints the event. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "weft.h"

enum { CHUNK = 1 << 20, IN_FLIGHT = 8 };

/* A chunk under way. Its memory is the network's until on_chunk_sent. */
struct slot {
  weft_send_t req;
  char *base;
  size_t len; /* 0 = free */
};

static weft_t weft;
static weft_conn_t conn;
static weft_connect_t connecting;
static weft_send_t header_req, digest_req;
static weft_shutdown_t bye;
static uv_buf_t memory;
static struct slot slots[IN_FLIGHT];

static int file;
static uint64_t file_size, bytes_read, bytes_acked;
static char header[320];
static unsigned char digest[EVP_MAX_MD_SIZE];
static EVP_MD_CTX *hash;
static uint64_t started_at;
static int result = 1;

static void finish(void) {
  if (!weft_is_closing(&conn)) weft_conn_close(&conn, NULL);
}

static void fail(const char *what, const char *why) {
  fprintf(stderr, "\n%s: %s\n", what, why);
  finish();
}

static void fail_weft(const char *what, int err) {
  const char *why = weft_conn_error(&conn);
  fail(what, *why != '\0' ? why : weft_strerror(err));
}

/* ---- Progress: a bar on a terminal, a line for every 5 % elsewhere ---- */

static void print_progress(void) {
  static const char bar[] = "########################################";
  static int shown = -1;
  int percent = file_size > 0 ? (int) (bytes_acked * 100 / file_size) : 100;
  double seconds = (double) (uv_hrtime() - started_at) / 1e9;
  double rate = seconds > 0 ? (double) bytes_acked / 1e6 / seconds : 0;

  if (percent == shown) return;
  if (isatty(STDERR_FILENO)) {
    shown = percent;
    fprintf(stderr, "\r[%-40.*s] %3d %%  %.0f MB/s ", percent * 40 / 100, bar, percent, rate);
  } else if (percent / 5 != shown / 5 || shown < 0) {
    shown = percent;
    fprintf(stderr, "progress %d %%, %llu of %llu bytes, %.0f MB/s\n", percent,
            (unsigned long long) bytes_acked, (unsigned long long) file_size, rate);
  }
}

/* ---- Sending ---- */

static void on_chunk_sent(weft_send_t *req, int status);

static void on_small_sent(weft_send_t *req, int status) {
  (void) req;
  if (status != 0 && status != UV_ECANCELED) fail_weft("send", status);
}

static int send_digest(void) {
  uv_buf_t buf;
  unsigned len;

  if (EVP_DigestFinal_ex(hash, digest, &len) != 1) return UV_ENOMEM;
  buf = uv_buf_init((char *) digest, len);
  return weft_send(&digest_req, &conn, &buf, 1, on_small_sent);
}

/* Read the next chunk into a free slot and send it. A plain read is fine here; a server with other
 * work on its loop would use uv_fs_read. */
static int send_chunk(struct slot *slot) {
  uint64_t left = file_size - bytes_read;
  size_t want = left < CHUNK ? (size_t) left : CHUNK;
  size_t got = 0;
  uv_buf_t buf;

  while (got < want) {
    ssize_t n = pread(file, slot->base + got, want - got, (off_t) (bytes_read + got));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return uv_translate_sys_error(errno);
    if (n == 0)
      return UV_EIO; /* the file has become shorter: what was announced is no longer there */
    got += (size_t) n;
  }
  if (EVP_DigestUpdate(hash, slot->base, want) != 1) return UV_ENOMEM;
  bytes_read += want;
  slot->len = want;
  buf.base = slot->base;
  buf.len = want;
  return weft_send(&slot->req, &conn, &buf, 1, on_chunk_sent);
}

/* Keep IN_FLIGHT chunks under way; the digest follows the last one. */
static void pump(void) {
  int i, err = 0;

  if (weft_is_closing(&conn)) return;
  for (i = 0; i < IN_FLIGHT && bytes_read < file_size && err == 0; i++)
    if (slots[i].len == 0) {
      err = send_chunk(&slots[i]);
      if (err == 0 && bytes_read == file_size) err = send_digest();
    }
  if (err != 0) fail_weft("sending the file", err);
}

/* Status 0: the receiver's end has the whole chunk, whatever happened to the paths meanwhile. */
static void on_chunk_sent(weft_send_t *req, int status) {
  struct slot *slot = (struct slot *) req;

  if (status == UV_ECANCELED) return;
  if (status != 0) {
    fail_weft("send", status);
    return;
  }
  bytes_acked += slot->len;
  slot->len = 0;
  print_progress();
  pump();
}

/* ---- The receiver's answer ---- */

static void on_bye(weft_shutdown_t *req, int status) {
  (void) req;
  if (status != 0 && status != UV_ECANCELED) finish();
}

static void on_recv(weft_conn_t *c, int status, weft_msg_t *msg) {
  if (status < 0 && result == 0) {
    finish(); /* the end after "ok" */
  } else if (status < 0) {
    fail_weft("connection", status);
  } else if (weft_msg_size(msg) == 2 && memcmp(weft_msg_data(msg), "ok", 2) == 0) {
    result = 0;
    if (weft_shutdown(&bye, c, on_bye) != 0) finish();
  } else {
    fprintf(stderr, "\nreceiver: %.*s\n", (int) (weft_msg_size(msg) & 0xffff),
            (const char *) weft_msg_data(msg));
    finish();
  }
}

static void on_event(weft_conn_t *c, const weft_event_t *ev) {
  (void) c;
  if (ev->type == WEFT_EV_MIGRATED)
    fprintf(stderr, "\nmoved from %s to %s after %.0f ms: %s\n", ev->from, ev->to,
            (double) ev->gap_ns / 1e6, ev->detail);
  else if (ev->type == WEFT_EV_PEER_STALLED)
    fprintf(stderr, "\nthe receiver is silent; waiting for it\n");
}

static void on_connected(weft_connect_t *req, int status) {
  (void) req;
  if (status == UV_ECANCELED) return;
  if (status == 0) status = weft_recv_start(&conn, NULL, on_recv);
  if (status == 0) {
    uv_buf_t buf = uv_buf_init(header, (unsigned) strlen(header));
    status = weft_send(&header_req, &conn, &buf, 1, on_small_sent);
  }
  if (status == 0 && file_size == 0) status = send_digest();
  if (status != 0) {
    fail_weft("connect", status);
    return;
  }
  started_at = uv_hrtime();
  print_progress();
  pump();
}

/* ---- Start and end ---- */

static int open_file(const char *path) {
  const char *name = strrchr(path, '/') != NULL ? strrchr(path, '/') + 1 : path;
  struct stat st;

  file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0 || fstat(file, &st) != 0) {
    fprintf(stderr, "%s: %s\n", path, strerror(errno));
    return -1;
  }
  if (!S_ISREG(st.st_mode) || strlen(name) > 255) {
    fprintf(stderr, "%s: not a regular file\n", path);
    return -1;
  }
  file_size = (uint64_t) st.st_size;
  snprintf(header, sizeof(header), "weft-file 1 %llu %s", (unsigned long long) file_size, name);
  return 0;
}

/* One piece of registered memory for all chunks: the network reads from it directly. */
static int get_memory(void) {
  int i, err = weft_mem_alloc(&weft, (size_t) CHUNK * IN_FLIGHT, &memory);

  for (i = 0; err == 0 && i < IN_FLIGHT; i++) slots[i].base = memory.base + (size_t) i * CHUNK;
  return err;
}

int main(int argc, char **argv) {
  uv_loop_t loop;
  int err;

  if (argc != 3) {
    fprintf(stderr, "Usage: file_send FILE URL\n");
    return 2;
  }
  if (open_file(argv[1]) != 0) return 1;
  hash = EVP_MD_CTX_new();
  if (hash == NULL || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1) {
    fprintf(stderr, "SHA-256 is not available\n");
    return 1;
  }
  if ((err = uv_loop_init(&loop)) != 0 || (err = weft_init(&loop, &weft, NULL)) != 0 ||
      (err = weft_conn_init(&weft, &conn)) != 0) {
    fprintf(stderr, "starting: %s\n", weft_strerror(err));
    return 1;
  }
  weft_conn_on_event(&conn, on_event);
  err = get_memory();
  if (err == 0) err = weft_connect(&connecting, &conn, argv[2], NULL, on_connected);
  if (err != 0) {
    char why[256] = "";
    weft_url_parse(argv[2], NULL, NULL, why, sizeof(why));
    fail(argv[2], *why != '\0' ? why : weft_strerror(err));
  }

  uv_run(&loop, UV_RUN_DEFAULT);
  if (result == 0) fprintf(stderr, "\n%s: sent and verified\n", argv[1]);
  if (memory.base != NULL) weft_mem_free(&weft, &memory); /* all sends have had their callbacks */
  weft_close(&weft, NULL);
  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  EVP_MD_CTX_free(hash);
  close(file);
  return result;
}
