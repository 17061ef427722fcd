/* SPDX-License-Identifier: Apache-2.0 */
/* file_recv.c - receive files from file_send. A file appears under its name only when all of it is
 * here, its SHA-256 is right, and the disk has it; until then it is a hidden temporary file, and
 * when the sender is lost nothing remains.
 *
 *   file_recv [--once] DIRECTORY [URL]      default: all addresses, port 7000
 *
 * With --once it ends after the first transfer, 0 if that was good.
 * file_send.c says what goes over the connection. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <unistd.h>

#include "weft.h"

enum { NAME_LEN = 256, SHA256_LEN = 32 };

struct transfer;
/* What the next message must be: answers NULL, or what is wrong. */
typedef const char *(*step_fn)(struct transfer *, const void *data, size_t len);

struct transfer {
  weft_conn_t conn;
  weft_shutdown_t bye;
  weft_send_t reply_req;
  char reply[200];
  step_fn step; /* NULL: nothing more is expected */
  char name[NAME_LEN];
  char temporary[NAME_LEN + 16];
  int file;
  uint64_t size, got;
  EVP_MD_CTX *hash;
  LIST_ENTRY(transfer) link;
};

static weft_t weft;
static weft_listener_t listener;
static uv_signal_t signals[2];
static LIST_HEAD(, transfer) transfers = LIST_HEAD_INITIALIZER(transfers);
static int directory = -1;
static int once, closing, result;

static void stop(void);

/* ---- The content ---- */

static const char *take_digest(struct transfer *t, const void *data, size_t len);
static const char *take_data(struct transfer *t, const void *data, size_t len);

static const char *take_header(struct transfer *t, const void *data, size_t len) {
  char text[NAME_LEN + 64], *end;
  unsigned long long size;
  int name_at = 0;

  if (len >= sizeof(text)) return "header too long";
  memcpy(text, data, len);
  text[len] = '\0';
  if (strncmp(text, "weft-file 1 ", 12) != 0 || text[12] < '0' || text[12] > '9')
    return "not a file transfer";
  errno = 0;
  size = strtoull(text + 12, &end, 10);
  if (errno != 0 || *end != ' ' || size > INT64_MAX) return "bad size";
  name_at = (int) (end + 1 - text);

  /* The name comes from the network: it must name a file in our directory and nothing else. */
  if (text[name_at] == '\0' || text[name_at] == '.' || strlen(text) != len ||
      strchr(text + name_at, '/') != NULL || strlen(text + name_at) >= NAME_LEN)
    return "bad file name";
  strcpy(t->name, text + name_at);
  t->size = size;

  snprintf(t->temporary, sizeof(t->temporary), ".%.200s.%08x.part", t->name,
           (unsigned) (uv_hrtime() & 0xffffffff));
  t->file = openat(directory, t->temporary, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
  if (t->file < 0) {
    t->temporary[0] = '\0';
    return strerror(errno);
  }
  t->hash = EVP_MD_CTX_new();
  if (t->hash == NULL || EVP_DigestInit_ex(t->hash, EVP_sha256(), NULL) != 1)
    return "SHA-256 is not available";
  t->step = size > 0 ? take_data : take_digest;
  return NULL;
}

static const char *write_all(int fd, const char *data, size_t len) {
  while (len > 0) {
    ssize_t n = write(fd, data, len);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return strerror(errno);
    data += n;
    len -= (size_t) n;
  }
  return NULL;
}

/* A plain write is fine here; a server with other work on its loop would keep the message with
 * weft_msg_retain and write it by uv_fs_write. */
static const char *take_data(struct transfer *t, const void *data, size_t len) {
  const char *wrong;

  if (len > t->size - t->got) return "more bytes than announced";
  if ((wrong = write_all(t->file, data, len)) != NULL) return wrong;
  if (EVP_DigestUpdate(t->hash, data, len) != 1) return "SHA-256 failed";
  t->got += len;
  if (t->got == t->size) t->step = take_digest;
  return NULL;
}

/* The order makes it atomic: the content on the disk, then the name, then the directory. */
static const char *take_digest(struct transfer *t, const void *data, size_t len) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned digest_len;

  if (EVP_DigestFinal_ex(t->hash, digest, &digest_len) != 1) return "SHA-256 failed";
  if (len != SHA256_LEN || digest_len != SHA256_LEN || memcmp(digest, data, len) != 0)
    return "the checksum does not match";
  if (fsync(t->file) != 0 || renameat(directory, t->temporary, directory, t->name) != 0)
    return strerror(errno);
  t->temporary[0] = '\0';
  fsync(directory);
  t->step = NULL;
  printf("%s: %" PRIu64 " bytes, checksum good\n", t->name, t->size);
  return NULL;
}

/* ---- The connection ---- */

static void on_closed(weft_conn_t *conn) {
  struct transfer *t = conn->data;
  int good = t->step == NULL && t->reply[0] == 'o';

  if (t->temporary[0] != '\0') unlinkat(directory, t->temporary, 0);
  if (t->file >= 0) close(t->file);
  EVP_MD_CTX_free(t->hash);
  LIST_REMOVE(t, link);
  free(t);
  if (once && !closing) {
    result = !good;
    stop();
  }
}

static void drop(struct transfer *t) {
  if (!weft_is_closing(&t->conn)) weft_conn_close(&t->conn, on_closed);
}

static void on_replied(weft_send_t *req, int status) {
  (void) req;
  (void) status; /* the sender asks nothing more; when it is gone, on_recv says so */
}

static void reply(struct transfer *t, const char *wrong) {
  uv_buf_t buf;

  if (wrong != NULL)
    snprintf(t->reply, sizeof(t->reply), "error: %s", wrong);
  else
    strcpy(t->reply, "ok");
  buf = uv_buf_init(t->reply, (unsigned) strlen(t->reply));
  if (weft_send(&t->reply_req, &t->conn, &buf, 1, on_replied) != 0) drop(t);
}

static void on_bye(weft_shutdown_t *req, int status) {
  if (status != UV_ECANCELED) drop(req->data);
}

static void on_recv(weft_conn_t *conn, int status, weft_msg_t *msg) {
  struct transfer *t = conn->data;
  const char *wrong;

  if (status == UV_EOF) {
    t->bye.data = t;
    if (weft_shutdown(&t->bye, conn, on_bye) != 0) drop(t);
    return;
  }
  if (status < 0) {
    if (t->step != NULL)
      fprintf(stderr, "%s: lost after %" PRIu64 " of %" PRIu64 " bytes: %s\n",
              *t->name != '\0' ? t->name : "transfer", t->got, t->size, weft_conn_error(conn));
    drop(t);
    return;
  }
  if (t->step == NULL) return; /* after an error: what was still under way */
  wrong = t->step(t, weft_msg_data(msg), weft_msg_size(msg));
  if (wrong != NULL) {
    fprintf(stderr, "%s: %s\n", *t->name != '\0' ? t->name : "transfer", wrong);
    t->step = NULL;
  }
  if (t->step == NULL) reply(t, wrong);
}

static void on_peer(weft_listener_t *l, int status) {
  struct transfer *t;

  if (status != 0) {
    fprintf(stderr, "listening: %s\n", weft_strerror(status));
    return;
  }
  t = calloc(1, sizeof(*t));
  if (t == NULL || weft_conn_init(&weft, &t->conn) != 0) {
    free(t);
    weft_reject(l, UV_ENOMEM, "out of memory");
    return;
  }
  t->conn.data = t;
  t->file = -1;
  t->step = take_header;
  LIST_INSERT_HEAD(&transfers, t, link);
  if (weft_accept(l, &t->conn) != 0 || weft_recv_start(&t->conn, NULL, on_recv) != 0) drop(t);
}

/* ---- Start and end ---- */

static void stop(void) {
  struct transfer *t;

  closing = 1;
  LIST_FOREACH(t, &transfers, link)
  drop(t);
  weft_listener_close(&listener, NULL);
  weft_close(&weft, NULL);
  uv_close((uv_handle_t *) &signals[0], NULL);
  uv_close((uv_handle_t *) &signals[1], NULL);
}

static void on_signal(uv_signal_t *handle, int signum) {
  (void) handle;
  (void) signum;
  if (!closing) {
    result = once; /* --once promised a transfer */
    stop();
  }
}

int main(int argc, char **argv) {
  char at[512], why[256] = "";
  size_t len = sizeof(at);
  const char *url;
  uv_loop_t loop;
  int err;

  if (argc > 1 && strcmp(argv[1], "--once") == 0) {
    once = 1;
    argc--;
    argv++;
  }
  if (argc < 2 || argc > 3 || *argv[1] == '-') {
    fprintf(stderr, "Usage: file_recv [--once] DIRECTORY [URL]\n");
    return 2;
  }
  url = argc > 2 ? argv[2] : "weft://*:7000";
  directory = open(argv[1], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) {
    fprintf(stderr, "%s: %s\n", argv[1], strerror(errno));
    return 1;
  }
  setvbuf(stdout, NULL, _IOLBF, 0);
  if ((err = uv_loop_init(&loop)) != 0 || (err = weft_init(&loop, &weft, NULL)) != 0) {
    fprintf(stderr, "starting: %s\n", weft_strerror(err));
    return 1;
  }
  uv_signal_init(&loop, &signals[0]);
  uv_signal_init(&loop, &signals[1]);
  uv_signal_start(&signals[0], on_signal, SIGINT);
  uv_signal_start(&signals[1], on_signal, SIGTERM);

  if ((err = weft_listener_init(&weft, &listener)) != 0 ||
      (err = weft_listen(&listener, url, 16, on_peer)) != 0 ||
      (err = weft_listener_addr(&listener, at, &len)) != 0) {
    weft_url_parse(url, NULL, NULL, why, sizeof(why));
    fprintf(stderr, "%s: %s%s%s\n", url, weft_strerror(err), *why != '\0' ? ": " : "", why);
    result = 1;
    stop();
  } else {
    printf("listening at %s\n", at);
  }

  uv_run(&loop, UV_RUN_DEFAULT);
  uv_loop_close(&loop);
  close(directory);
  return result;
}
