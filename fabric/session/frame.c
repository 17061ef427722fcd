/* SPDX-License-Identifier: Apache-2.0 */
/* frame.c - turns session state into frames: headers, control frames, acknowledgements.
 *
 * Design notes
 *  - Every frame carries the newest acknowledgement and windows, so any frame settles what was
 *    owed. */
#include <errno.h>
#include <string.h>

#include "session/internal.h"

uint64_t weft__s_rx_ack(const weft__session_t *s) {
  if (s->ack_consumed) return s->rx_seq_consumed;
  return s->first_incomplete ? s->first_incomplete->seq : s->rx_expect;
}

weft__tbuf_t *weft__s_frame_get(weft__spath_t *sp, unsigned keep) {
  if (!sp->live || sp->broken) return NULL;
  if (sp->tx_grant - sp->tx_fc <= keep) {
    sp->starved = true;
    return NULL;
  }
  return sp->path->ops->tx_get(sp->path);
}

int weft__s_frame_post(weft__spath_t *sp, weft__tbuf_t *b, unsigned type, unsigned flags,
                       uint16_t count, uint64_t seq, uint32_t length) {
  weft__session_t *s = sp->s;
  weft__hdr_t h;
  h.type = (uint8_t) type;
  h.flags = (uint8_t) flags;
  h.count = count;
  h.key = sp->peer_key;
  h.fc = ++sp->tx_fc;
  h.seq = seq;
  h.ack = weft__s_rx_ack(s);
  h.win_seq = s->rx_seq_consumed + s->conf.hello.win_messages;
  h.win_bytes = s->rx_bytes_consumed + s->conf.hello.win_bytes;
  h.length = length;
  uint64_t grant = sp->rx_done + sp->path->lim.rx_depth;
  if (grant < sp->granted) grant = sp->granted; /* the first grant is a promise of the protocol */
  h.grant = (uint32_t) grant;
  weft__hdr_put(b->data, &h);
  sp->granted = grant;
  s->ack_sent = h.ack;
  s->ack_now = false;
  s->adv_seq = h.win_seq;
  s->adv_bytes = h.win_bytes;
  s->st.tx_frames++;
  int rc = sp->path->ops->send(sp->path, b, WEFT__HDR + length);
  if (rc < 0) sp->broken = true;
  return rc;
}

bool weft__s_ctrl(weft__spath_t *sp, unsigned type, const void *payload, uint32_t len,
                  unsigned keep) {
  weft__tbuf_t *b = weft__s_frame_get(sp, keep);
  if (!b) return false;
  if (len) memcpy(b->data + WEFT__HDR, payload, len);
  return weft__s_frame_post(sp, b, type, 0, 0, 0, len) == 0;
}

static void put_ping(uint8_t *p, const weft__ping_t *v) {
  weft__put64(p, v->id);
  weft__put64(p + 8, v->time);
}

void weft__s_flush_control(weft__session_t *s, weft__spath_t *sp) {
  uint8_t p[WEFT__RESUME_SIZE];
  if (sp->hello_due) {
    weft__tbuf_t *b = weft__s_frame_get(sp, WEFT__KEEP_CTRL);
    if (b) {
      size_t n = weft__hello_put(b->data + WEFT__HDR, WEFT__PAYLOAD_MAX, &s->conf.hello);
      if (n == 0) {
        sp->path->ops->tx_put(sp->path, b);
        weft__s_end(s, -EMSGSIZE, "our own HELLO does not fit a frame");
        return;
      }
      weft__s_frame_post(sp, b, WEFT__F_HELLO, 0, 0, 0, (uint32_t) n);
      sp->hello_due = false;
      s->hello_sent = true;
    }
  }
  if (sp->resume_ack_due) {
    weft__put64(p, s->rx_epoch);
    weft__put64(p + 8, s->first_incomplete ? s->first_incomplete->seq : s->rx_expect);
    if (weft__s_ctrl(sp, WEFT__F_RESUME_ACK, p, WEFT__RESUME_ACK_SIZE, WEFT__KEEP_CTRL))
      sp->resume_ack_due = false;
  }
  if (sp->resume_due) {
    weft__put64(p, s->epoch);
    weft__put64(p + 8, s->at_most_once ? s->tx_seq : s->tx_ack);
    weft__put64(p + 16, s->at_most_once ? s->tx_bytes : s->tx_bytes_acked);
    weft__tbuf_t *b = weft__s_frame_get(sp, WEFT__KEEP_CTRL);
    if (b) {
      memcpy(b->data + WEFT__HDR, p, WEFT__RESUME_SIZE);
      weft__s_frame_post(sp, b, WEFT__F_RESUME, s->left_dead ? WEFT__FL_LEFT : 0, 0, 0,
                         WEFT__RESUME_SIZE);
      sp->resume_due = false;
    }
  }
  if (sp->pong_due) {
    put_ping(p, &sp->pong);
    if (weft__s_ctrl(sp, WEFT__F_PONG, p, WEFT__PING_SIZE, WEFT__KEEP_CTRL)) sp->pong_due = false;
  }
  if (sp->ping_due) {
    weft__ping_t v = {++sp->ping_id, weft__now(s)};
    put_ping(p, &v);
    if (weft__s_ctrl(sp, WEFT__F_PING, p, WEFT__PING_SIZE, WEFT__KEEP_CTRL)) sp->ping_due = false;
  }
  if (sp->join_please_due && weft__s_ctrl(sp, WEFT__F_JOIN_PLEASE, NULL, 0, WEFT__KEEP_CTRL))
    sp->join_please_due = false;
}

/* Acknowledge alone where nothing else carried it: the sender asked, half a window is owed, or a
 * path's credits are. */
void weft__s_flush_acks(weft__session_t *s) {
  uint64_t ack = weft__s_rx_ack(s);
  uint64_t seq = s->rx_seq_consumed + s->conf.hello.win_messages,
           bytes = s->rx_bytes_consumed + s->conf.hello.win_bytes;
  bool owed = s->ack_now || (ack > s->ack_sent && s->ack_sent < s->ack_want) ||
              seq - s->adv_seq >= s->conf.hello.win_messages / 2 ||
              bytes - s->adv_bytes >= s->conf.hello.win_bytes / 2 ||
              ack - s->ack_sent >= s->conf.hello.win_messages / 2;
  if (owed) {
    weft__spath_t *order[3] = {s->rx_path, s->tx_path, NULL};
    bool sent = false;
    for (unsigned i = 0; i < 2 && !sent; i++)
      if (order[i] && order[i]->live)
        sent = weft__s_ctrl(order[i], WEFT__F_ACK, NULL, 0, WEFT__KEEP_ACK);
    for (unsigned i = 0; i < s->npaths && !sent; i++)
      if (s->paths[i]->live) sent = weft__s_ctrl(s->paths[i], WEFT__F_ACK, NULL, 0, WEFT__KEEP_ACK);
  }
  for (unsigned i = 0; i < s->npaths; i++) {
    weft__spath_t *sp = s->paths[i];
    if (!sp->live || s->state == WEFT__S_HELLO) continue;
    uint64_t grant = sp->rx_done + sp->path->lim.rx_depth;
    if (grant > sp->granted && grant - sp->granted >= sp->path->lim.rx_depth / 2)
      weft__s_ctrl(sp, WEFT__F_ACK, NULL, 0, WEFT__KEEP_ACK);
  }
}
