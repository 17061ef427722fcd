/* SPDX-License-Identifier: Apache-2.0 */
/* probe.c - see probe.h.
 *
 * Design notes
 *  - Two line ends are sent: servers of line protocols (HTTP, SMTP, SSH) answer or hang up, and
 *    libfabric's tcp drops a header that short in silence, so a Weft listener that is only stopped
 *    looks silent, which is the truth.
 *  - The owner hears once, from the loop; the object goes when its uv_poll is closed. */
#include "loop/probe.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loop/addr.h"

struct weft__probe {
  weft__core_t *core;
  uv_poll_t poll;
  weft__timer_t timer;
  int fd;
  bool asked;
  void *owner;
  weft__probe_cb cb;
};

static void on_closed(uv_handle_t *h) {
  weft__probe_t *p = h->data;
  weft__core_t *core = p->core;
  close(p->fd);
  free(p);
  core->nuv--;
  if (core->state != WEFT__C_OPEN) weft__core_check_closed(core);
}

static void end(weft__probe_t *p, int err, const char *text) {
  weft__probe_cb cb = p->cb;
  weft__timer_stop(p->core, &p->timer);
  if (!uv_is_closing((uv_handle_t *) &p->poll)) uv_close((uv_handle_t *) &p->poll, on_closed);
  p->cb = NULL;
  if (cb) cb(p->owner, err, text);
}

static void on_timeout(weft__timer_t *t) {
  weft__probe_t *p = weft__container(t, weft__probe_t, timer);
  end(p, UV_ETIMEDOUT,
      p->asked ? "it takes connections and says nothing" : "no answer to a TCP connect");
}

static void heard(weft__probe_t *p) {
  char buf[40], text[80];
  ssize_t n = recv(p->fd, buf, sizeof buf - 1, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    end(p, UV_ECONNRESET, "it hangs up without a word");
    return;
  }
  for (ssize_t i = 0; i < n; i++) {
    if (buf[i] == '\r' || buf[i] == '\n') {
      n = i;
      break;
    }
    if (!isprint((unsigned char) buf[i])) buf[i] = '?';
  }
  snprintf(text, sizeof text, "it answers \"%.*s\"", (int) n, buf);
  end(p, WEFT_ENOTWEFT, text);
}

static void on_poll(uv_poll_t *poll, int status, int events) {
  weft__probe_t *p = poll->data;
  if (weft__forked(p->core)) return;
  weft__refresh(p->core);
  if (!p->asked) {
    int err = 0;
    socklen_t len = sizeof err;
    getsockopt(p->fd, SOL_SOCKET, SO_ERROR, &err, &len);
    if (err || status) {
      end(p, err ? -err : status, "a TCP connect fails too");
      return;
    }
    if (!(events & UV_WRITABLE)) return;
    p->asked = true;
    if (send(p->fd, "\r\n\r\n", 4, MSG_NOSIGNAL | MSG_DONTWAIT) < 0) {
      end(p, -errno, "it hangs up");
      return;
    }
    uv_poll_start(&p->poll, UV_READABLE, on_poll);
    return;
  }
  heard(p);
}

weft__probe_t *weft__probe_start(weft__core_t *core, const struct sockaddr_storage *dst,
                                 uint64_t timeout_ns, void *owner, weft__probe_cb cb) {
  weft__probe_t *p = calloc(1, sizeof *p);
  if (!p) return NULL;
  p->fd = socket(dst->ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (p->fd < 0 ||
      (connect(p->fd, (const struct sockaddr *) dst, weft__addr_len(dst)) != 0 &&
       errno != EINPROGRESS) ||
      uv_poll_init(core->loop, &p->poll, p->fd) != 0) {
    if (p->fd >= 0) close(p->fd);
    free(p);
    return NULL;
  }
  p->core = core;
  p->owner = owner;
  p->cb = cb;
  p->poll.data = p;
  p->timer.fire = on_timeout;
  core->nuv++;
  uv_unref((uv_handle_t *) &p->poll);
  uv_poll_start(&p->poll, UV_WRITABLE | UV_READABLE, on_poll);
  weft__timer_set(core, &p->timer, core->now_ns + timeout_ns);
  return p;
}

void weft__probe_drop(weft__probe_t *p) {
  p->cb = NULL;
  end(p, 0, NULL);
}
