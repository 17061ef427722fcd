/* SPDX-License-Identifier: Apache-2.0 */
/* ksock_fuzz.c - ksock's receiver, and all around it, over a stream whose other end is the input.
 *
 * Design notes
 *  - tf_stream is defined here, over memory: one stream, perhaps a listener that it comes from, and sets
 *    that are ready exactly as level-triggered ones are. The clock stands until the input moves it.
 *  - The input is a program: bytes for the stream, raw or as frames that are nearly right, how much of
 *    them has arrived, how much the other side takes, and what the user of the endpoint does meanwhile.
 *  - Every buffer and region is an allocation of just its size, so AddressSanitizer sees a byte too far.
 *    Beyond that: an operation completes once; FI_SHUTDOWN comes at most once; who sleeps whenever
 *    he may is woken for all there is, and not for ever; what an endpoint keeps of a peer is bounded. */
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "prov.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define CHECK(what)                                                                                \
  do {                                                                                             \
    if (!(what)) abort();                                                                          \
  } while (0)

enum { STREAM = 1, LISTENER = 2, ROOM_MAX = 2 << 20, OPS = 256, REGIONS = 3, WAKES = 20000 };
enum { LENT = 1024, LENT_SIZE = 64 };
enum { LISTENS = 1, SWAP = 2, HANDSHAKE = 4, VIRTUAL = 8, SHARED = 16, LENDS = 32, REFUSES = 64 };

/* ---- The stream ---- */

struct tf_set {
  struct {
    tf_sock_t s;
    unsigned events;
    void *ptr;
  } in[4];
  unsigned n;
  bool woken;
  uint64_t at;
};

static struct {
  uint8_t in[ROOM_MAX];
  size_t len, arrived, pos;
  bool listens, ends, reset, shut, incoming, blocked;
  size_t room; /* of the other side's, where it is blocked */
  uint64_t now;
  struct {
    const uint8_t *p;
    size_t n;
    uint32_t call;
  } lent[LENT];
  unsigned nlent;
  tf_set_t *refuses;          /* the next stream that it is to watch */
  uint32_t calls, noted, may; /* of writez: made, told to be done, those that may be told */
} w;

/* All of it is there to be read, and is read. */
static void look(const uint8_t *p, size_t n) {
  static uint8_t sink[4096];
  size_t k;

  for (; n > 0; n -= k, p += k) {
    k = n < sizeof(sink) ? n : sizeof(sink);
    memcpy(sink, p, k);
    __asm__ volatile("" : : "r"(sink) : "memory");
  }
}

static unsigned ready_of(tf_sock_t s, unsigned asked) {
  unsigned r = 0;

  if (s == LISTENER) return w.incoming ? asked & TF_IN : 0;
  if (w.pos < w.arrived || w.reset || w.shut || (w.ends && w.arrived == w.len)) r |= TF_IN;
  if (!w.blocked || w.room > 0 || w.reset || w.shut) r |= TF_OUT;
  if (w.ends && w.arrived == w.len) r |= TF_HUP;
  r &= asked;
  if (w.noted != w.may) r |= TF_NOTE; /* these come unasked */
  return w.reset || w.shut ? r | TF_HUP : r;
}

static int s_open(const struct sockaddr *a, socklen_t len, const tf_sockopts_t *o, int family,
                  bool late, tf_sock_t *out) {
  (void) a, (void) len, (void) o, (void) family, (void) late;
  *out = w.listens ? LISTENER : STREAM;
  return 0;
}
static int s_listen(tf_sock_t s, int backlog) {
  (void) s, (void) backlog;
  return 0;
}
static int s_accept(tf_sock_t s, const tf_sockopts_t *o, tf_sock_t *out) {
  (void) s, (void) o;
  if (!w.incoming) return -EAGAIN;
  w.incoming = false;
  *out = STREAM;
  return 0;
}
static int s_connect(tf_sock_t s, const struct sockaddr *a, socklen_t len) {
  (void) s, (void) a, (void) len;
  return -EINPROGRESS;
}
static int s_error(tf_sock_t s) {
  (void) s;
  return w.reset ? -ECONNRESET : 0;
}
static ssize_t s_writev(tf_sock_t s, const struct iovec *iov, int n) {
  size_t done = 0;
  int i;

  (void) s;
  if (w.reset || w.shut) return -EPIPE;
  if (w.blocked && w.room == 0) return -EAGAIN;
  for (i = 0; i < n; i++) {
    size_t k = iov[i].iov_len;
    if (w.blocked && k > w.room) k = w.room;
    look(iov[i].iov_base, k);
    if (w.blocked) w.room -= k;
    done += k;
    if (k < iov[i].iov_len) break;
  }
  return (ssize_t) done;
}
static bool s_lends(void) {
  return true;
}
static ssize_t s_writez(tf_sock_t s, const struct iovec *iov, int n) {
  ssize_t r;
  size_t left;
  int i;

  if (w.nlent + (unsigned) n > LENT) return -ENOBUFS;
  r = s_writev(s, iov, n);
  if (r <= 0) return r;
  for (left = (size_t) r, i = 0; left > 0; i++) {
    size_t k = left < iov[i].iov_len ? left : iov[i].iov_len;
    w.lent[w.nlent].p = iov[i].iov_base;
    w.lent[w.nlent].n = k;
    w.lent[w.nlent++].call = w.calls;
    left -= k;
  }
  w.calls++;
  return r;
}
static int s_note(tf_sock_t s, uint32_t *first, uint32_t *last) {
  unsigned i, kept = 0;

  (void) s;
  if (w.noted == w.may) return 0;
  *first = w.noted;
  *last = w.may - 1;
  for (i = 0; i < w.nlent; i++)
    if (w.lent[i].call < w.may)
      look(w.lent[i].p, w.lent[i].n); /* until now it was the stream's */
    else
      w.lent[kept++] = w.lent[i];
  w.nlent = kept;
  w.noted = w.may;
  return 1;
}
static void s_reset(tf_sock_t s) {
  (void) s;
  w.shut = true;
  w.may = w.calls;
}
static ssize_t s_write(tf_sock_t s, const void *p, size_t n) {
  struct iovec v = {(void *) p, n};

  return s_writev(s, &v, 1);
}
static ssize_t s_readv(tf_sock_t s, const struct iovec *iov, int n) {
  size_t done = 0;
  int i;

  (void) s;
  if (w.reset) return -ECONNRESET;
  if (w.shut) return 0;
  if (w.pos == w.arrived) return w.ends && w.arrived == w.len ? 0 : -EAGAIN;
  for (i = 0; i < n && w.pos < w.arrived; i++) {
    size_t k = w.arrived - w.pos < iov[i].iov_len ? w.arrived - w.pos : iov[i].iov_len;
    if (k != 0) memcpy(iov[i].iov_base, w.in + w.pos, k);
    w.pos += k;
    done += k;
  }
  return (ssize_t) done;
}
static ssize_t s_read(tf_sock_t s, void *p, size_t n) {
  struct iovec v = {p, n};

  return s_readv(s, &v, 1);
}
static int s_name(tf_sock_t s, struct sockaddr_storage *sa, socklen_t *len) {
  (void) s;
  memset(sa, 0, sizeof(*sa));
  sa->ss_family = AF_INET;
  *len = sizeof(struct sockaddr_in);
  return 0;
}
static void s_shutdown(tf_sock_t s) {
  (void) s;
  w.shut = true;
}
static void s_close(tf_sock_t s) {
  (void) s;
}

static int set_open(tf_set_t **out) {
  *out = calloc(1, sizeof(**out));
  return *out != NULL ? 0 : -ENOMEM;
}
static void set_close(tf_set_t *set) {
  CHECK(set->n == 0);
  free(set);
}
static int set_fd(tf_set_t *set) {
  (void) set;
  return 0;
}
static unsigned find(const tf_set_t *set, tf_sock_t s) {
  unsigned i = 0;

  while (i < set->n && set->in[i].s != s) i++;
  return i;
}
static int set_add(tf_set_t *set, tf_sock_t s, unsigned events, void *ptr) {
  CHECK(find(set, s) == set->n && set->n < 4);
  if (set == w.refuses) {
    w.refuses = NULL;
    return -ENOSPC;
  }
  set->in[set->n].s = s;
  set->in[set->n].events = events;
  set->in[set->n++].ptr = ptr;
  return 0;
}
static int set_mod(tf_set_t *set, tf_sock_t s, unsigned events, void *ptr) {
  unsigned i = find(set, s);

  CHECK(i < set->n);
  set->in[i].events = events;
  set->in[i].ptr = ptr;
  return 0;
}
static void set_del(tf_set_t *set, tf_sock_t s) {
  unsigned i = find(set, s);

  CHECK(i < set->n);
  set->in[i] = set->in[--set->n];
}
static int set_wait(tf_set_t *set, tf_ready_t *out, int max, int timeout) {
  unsigned i, r;
  int n = 0;

  CHECK(timeout == 0); /* nothing here may sleep */
  for (i = 0; i < set->n && n < max; i++)
    if ((r = ready_of(set->in[i].s, set->in[i].events)) != 0)
      out[n++] = (tf_ready_t){set->in[i].ptr, r};
  if (n < max && (set->woken || (set->at != 0 && w.now >= set->at)))
    out[n++] = (tf_ready_t){NULL, 0};
  return n;
}
static void set_wake(tf_set_t *set) {
  set->woken = true;
}
static void set_quiet(tf_set_t *set) {
  set->woken = false;
}
static void set_deadline(tf_set_t *set, uint64_t at) {
  set->at = at;
}
static uint64_t s_now(void) {
  return w.now;
}

const tf_stream_t tf_stream = {.open = s_open,
                               .listen = s_listen,
                               .accept = s_accept,
                               .connect = s_connect,
                               .error = s_error,
                               .write = s_write,
                               .writev = s_writev,
                               .lends = s_lends,
                               .writez = s_writez,
                               .note = s_note,
                               .reset = s_reset,
                               .read = s_read,
                               .readv = s_readv,
                               .name = s_name,
                               .peer = s_name,
                               .shutdown = s_shutdown,
                               .close = s_close,
                               .set_open = set_open,
                               .set_close = set_close,
                               .set_fd = set_fd,
                               .add = set_add,
                               .mod = set_mod,
                               .del = set_del,
                               .wait = set_wait,
                               .wake = set_wake,
                               .quiet = set_quiet,
                               .deadline = set_deadline,
                               .now = s_now};

/* ---- The endpoint and who uses it ---- */

typedef struct op {
  bool receives, posted, done;
  size_t len;
  uint8_t *buf;
} op_t;

static struct {
  unsigned options;
  struct fid_fabric *fabric;
  struct fid_domain *domain;
  struct fid_eq *eq;
  struct fid_cq *cq;
  struct fid_pep *pep;
  struct fid_ep *ep, *srx;
  struct fi_info *info;
  bool told, connected;
  bool asleep; /* fi_trywait allowed it, and nothing has been read since */
  struct {
    struct fid_mr *mr;
    uint8_t *base;
  } region[REGIONS];
  op_t op[OPS];
  unsigned nops;
} u;

static const size_t region_len[REGIONS] = {64, 1000, 70000};
static const uint64_t region_access[REGIONS] = {FI_REMOTE_READ | FI_REMOTE_WRITE, FI_REMOTE_READ,
                                                FI_REMOTE_READ | FI_REMOTE_WRITE};

static void open_region(unsigned i) {
  if (u.region[i].mr != NULL) return;
  u.region[i].base = calloc(1, region_len[i]);
  CHECK(u.region[i].base != NULL);
  CHECK(fi_mr_reg(u.domain, u.region[i].base, region_len[i], region_access[i], 0, i + 1, 0,
                  &u.region[i].mr, NULL) == 0);
}

static void close_region(unsigned i) {
  if (u.region[i].mr == NULL) return;
  CHECK(fi_close(&u.region[i].mr->fid) == 0);
  free(u.region[i].base); /* nothing may look at it again */
  u.region[i].mr = NULL;
}

static void complete(void *context, uint64_t flags, bool err) {
  op_t *o = context;

  if (o == NULL) {
    CHECK(!err && (flags & FI_REMOTE_WRITE) != 0);
    return;
  }
  CHECK(o >= u.op && o < u.op + u.nops && o->posted && !o->done);
  CHECK(((flags & FI_RECV) != 0) == o->receives);
  o->done = true;
  free(o->buf);
  o->buf = NULL;
}

static bool read_cq(void) {
  struct fi_cq_data_entry e;
  struct fi_cq_err_entry err = {0};
  ssize_t n = fi_cq_read(u.cq, &e, 1);

  if (n == -FI_EAGAIN) return false;
  if (n == -FI_EAVAIL) {
    CHECK(fi_cq_readerr(u.cq, &err, 0) == 1 && err.err != 0);
    complete(err.op_context, err.flags, true);
    return true;
  }
  CHECK(n == 1);
  if (e.op_context != NULL && (e.flags & FI_RECV) != 0)
    CHECK(e.len <= ((op_t *) e.op_context)->len);
  complete(e.op_context, e.flags, false);
  return true;
}

static void make_ep(struct fi_info *info) {
  CHECK(fi_endpoint(u.domain, info, &u.ep, NULL) == 0);
  CHECK(fi_ep_bind(u.ep, &u.eq->fid, 0) == 0);
  CHECK(fi_ep_bind(u.ep, &u.cq->fid, FI_TRANSMIT | FI_RECV) == 0);
  if (u.srx != NULL) CHECK(fi_ep_bind(u.ep, &u.srx->fid, 0) == 0);
  CHECK(fi_enable(u.ep) == 0);
}

static bool read_eq(void) {
  uint8_t room[sizeof(struct fi_eq_cm_entry) + 256];
  struct fi_eq_cm_entry *cm = (struct fi_eq_cm_entry *) room;
  struct fi_eq_err_entry err = {0};
  uint32_t event;
  ssize_t n = fi_eq_read(u.eq, &event, room, sizeof(room), 0);

  if (n == -FI_EAGAIN) return false;
  if (n == -FI_EAVAIL) {
    CHECK(fi_eq_readerr(u.eq, &err, 0) > 0 && err.err != 0 && err.fid == &u.ep->fid);
    CHECK(!u.told && !u.connected);
    u.told = true;
    return true;
  }
  CHECK(n >= (ssize_t) sizeof(*cm));
  if (event == FI_CONNREQ) {
    CHECK(u.ep == NULL);
    make_ep(cm->info);
    fi_freeinfo(cm->info);
    (void) fi_accept(u.ep, "yes", 3);
  } else if (event == FI_CONNECTED) {
    CHECK(!u.connected && !u.told);
    u.connected = true;
  } else {
    CHECK(event == FI_SHUTDOWN && u.connected && !u.told);
    u.told = true;
  }
  return true;
}

static bool ready(tf_set_t *set) {
  tf_ready_t one;

  return tf_stream.wait(set, &one, 1, 0) != 0;
}

/* One who sleeps whenever he may. */
static void live(void) {
  struct fid *fids[] = {&u.cq->fid, &u.eq->fid};
  tf_ep_t *ep;
  unsigned i;

  for (i = 0; i < WAKES; i++) {
    if (u.asleep && !ready(tf_up(u.cq, tf_cq_t, c)->set) && !ready(tf_up(u.eq, tf_eq_t, e)->set))
      break;
    while (read_cq()) continue;
    while (read_eq()) continue;
    u.asleep = fi_trywait(u.fabric, fids, 2) == 0;
  }
  CHECK(i < WAKES);
  if (u.ep == NULL) return;
  ep = tf_up(u.ep, tf_ep_t, e);
  CHECK(ep->answers <= TF_ANSWERS);
  CHECK(ep->left == NULL || ep->left_len <= TF_STAGING);
  CHECK(w.noted == w.may || ep->state != EP_UP || ep->half);
  if (ep->state != EP_UP) return;
  if (ep->rx != RX_STALL && ep->answers < TF_ANSWERS) CHECK(ep->left == NULL && w.pos == w.arrived);
  if (!w.blocked && !ep->half) CHECK(ep->tx.head == NULL);
}

static op_t *new_op(bool receives, size_t len) {
  op_t *o = &u.op[u.nops];

  if (u.nops == OPS || u.ep == NULL) return NULL;
  *o = (op_t){.receives = receives, .len = len, .buf = calloc(1, len + (len == 0))};
  CHECK(o->buf != NULL);
  u.nops++;
  return o;
}

static void posted(op_t *o, ssize_t r) {
  o->posted = r == 0;
  if (r != 0) free(o->buf);
}

static void post_receive(size_t len, bool two) {
  op_t *o = new_op(true, len);
  struct iovec iov[2];

  if (o == NULL) return;
  iov[0] = (struct iovec){o->buf, two ? len / 3 : len};
  iov[1] = (struct iovec){o->buf + len / 3, len - len / 3};
  posted(o, fi_recvv(u.srx != NULL ? u.srx : u.ep, iov, NULL, two ? 2 : 1, 0, o));
}

static void post_send(size_t len, uint64_t flags) {
  op_t *o = new_op(false, len);
  struct iovec iov = {NULL, len};
  struct fi_msg m = {.msg_iov = &iov, .iov_count = 1, .context = o, .data = 7};

  if (o == NULL) return;
  iov.iov_base = o->buf;
  posted(o, fi_sendmsg(u.ep, &m, flags | FI_COMPLETION));
}

static void post_read(size_t len) {
  op_t *o = new_op(false, len);

  if (o == NULL) return;
  posted(o, fi_read(u.ep, o->buf, len, NULL, 0, 0, 1, o));
}

/* ---- The input ---- */

typedef struct input {
  const uint8_t *p, *end;
} input_t;

static uint8_t byte(input_t *in) {
  return in->p < in->end ? *in->p++ : 0;
}

static void feed(const void *p, size_t n) {
  if (n > ROOM_MAX - w.len || w.ends) return;
  if (n != 0) memcpy(w.in + w.len, p, n);
  w.len += n;
}

/* A frame that is right, but for what is said of it. */
static void frame(input_t *in, unsigned times) {
  static const uint8_t payload[1024];
  uint8_t hdr[TF_HDR_MAX];
  tf_hdr_t h = {.op = byte(in) % 5};
  uint8_t flags = byte(in), spoil;
  size_t n, at;
  unsigned i;

  h.ack = h.op == TF_OP_TAGGED;
  if (h.ack) h.op = TF_OP_MSG;
  if (flags & 1) h.flags |= TF_FL_DATA;
  if (flags & 2) h.flags |= TF_FL_DELIVERY;
  if (flags & 4) h.flags |= TF_FL_COMMIT;
  if (h.ack || h.op == TF_OP_READ || h.op == TF_OP_RSP) h.flags = 0;
  if (h.op == TF_OP_READ || h.op == TF_OP_WRITE) {
    h.nrma = (uint8_t) (1 + (flags >> 3) % TF_RMA_MAX);
    for (i = 0; i < h.nrma; i++) {
      uint8_t which = byte(in), off = byte(in), len = byte(in);
      unsigned r = which % REGIONS;
      bool virt = (u.options & VIRTUAL) != 0;
      h.rma[i].key =
          virt && u.region[r].mr != NULL ? fi_mr_key(u.region[r].mr) : r + 1 + (which >> 7);
      h.rma[i].addr = (virt ? (uint64_t) (uintptr_t) u.region[r].base : 0) + off;
      h.rma[i].len = len & 0x80 ? (len & 0x7fu) * (region_len[r] / 128) : len;
      if (h.op == TF_OP_WRITE) h.size += h.rma[i].len;
    }
  } else if (!h.ack) {
    h.size = byte(in) * (size_t) (1 + (flags >> 5) * 64);
  }
  if (h.size > ROOM_MAX) h.size = 0;
  n = tf_hdr_put(hdr, &h, (u.options & SWAP) != 0);
  spoil = byte(in);
  if (spoil & 0x80) hdr[(spoil & 0x7f) % n] ^= byte(in);
  while (times-- > 0) {
    feed(hdr, n);
    for (at = 0; at < h.size; at += sizeof(payload))
      feed(payload, h.size - at < sizeof(payload) ? (size_t) (h.size - at) : sizeof(payload));
  }
}

static void command(input_t *in) {
  uint8_t c = byte(in), n = byte(in);

  switch (c & 15) {
  case 0: {
    size_t k = (size_t) (in->end - in->p) < n ? (size_t) (in->end - in->p) : n;
    feed(in->p, k);
    in->p += k;
    break;
  }
  case 1:
  case 2: frame(in, 1); break;
  case 3: frame(in, n == 255 ? 20000 : n & 31); break;
  case 4: post_receive(n & 0x80 ? (n & 0x7f) * 512 : n, (c & 32) != 0); break;
  case 5:
    post_send(n,
              ((c & 16) != 0 ? FI_DELIVERY_COMPLETE : 0) | ((c & 32) != 0 ? FI_REMOTE_CQ_DATA : 0));
    break;
  case 6: post_read(n * (c & 32 ? 64u : 1u)); break;
  case 7:
    w.blocked = true;
    w.room = n * (c & 32 ? 64u : 1u);
    break;
  case 8: w.blocked = false; break;
  case 9: close_region(n % REGIONS); break;
  case 10: open_region(n % REGIONS); break;
  case 11:
    if (u.nops != 0 && u.ep != NULL)
      (void) fi_cancel(u.srx != NULL ? &u.srx->fid : &u.ep->fid, &u.op[n % u.nops]);
    break;
  case 12: w.ends = true; break;
  case 13:
    if (n == 255) w.reset = true;
    if (n < 128) w.may += w.calls - w.may < n ? w.calls - w.may : n;
    break;
  case 14:
    if (n == 255 && u.ep != NULL) (void) fi_shutdown(u.ep, 0);
    break;
  default: w.now += n * UINT64_C(100); break;
  }
  /* All has arrived, or so many bytes more. */
  if ((c & 128) == 0)
    w.arrived = w.len;
  else
    w.arrived += w.len - w.arrived < n ? w.len - w.arrived : n;
  if ((c & 64) == 0) live();
}

static void begin(unsigned options) {
  struct fi_fabric_attr fa = {0};
  struct fi_eq_attr ea = {.wait_obj = FI_WAIT_FD};
  struct fi_cq_attr ca = {.wait_obj = FI_WAIT_FD, .format = FI_CQ_FORMAT_DATA};
  struct sockaddr_in sa = {.sin_family = AF_INET};
  uint8_t cm[TF_CM_HDR];
  unsigned i;

  w.len = w.arrived = w.pos = w.room = 0;
  w.ends = w.reset = w.shut = w.blocked = false;
  w.incoming = w.listens = (options & LISTENS) != 0;
  w.now = 1000;
  w.refuses = NULL;
  w.nlent = w.calls = w.noted = w.may = 0;
  tf_params.zerocopy_size = options & LENDS ? LENT_SIZE : 0;
  memset(&u, 0, sizeof(u));
  u.options = options;
  u.info = fi_allocinfo();
  CHECK(u.info != NULL);
  u.info->domain_attr->mr_mode = options & VIRTUAL ? FI_MR_BASIC : 0;
  u.info->tx_attr->size = u.info->rx_attr->size = 8;
  CHECK(tf_prov.fabric(&fa, &u.fabric, NULL) == 0);
  CHECK(fi_eq_open(u.fabric, &ea, &u.eq, NULL) == 0);
  CHECK(fi_domain(u.fabric, u.info, &u.domain, NULL) == 0);
  CHECK(fi_cq_open(u.domain, &ca, &u.cq, NULL) == 0);
  if (options & REFUSES) w.refuses = tf_up(u.cq, tf_cq_t, c)->set;
  for (i = 0; i < REGIONS; i++) open_region(i);
  if (options & SHARED) {
    CHECK(fi_srx_context(u.domain, u.info->rx_attr, &u.srx, NULL) == 0);
    CHECK(fi_ep_bind(u.srx, &u.cq->fid, FI_RECV) == 0);
  }
  if ((options & HANDSHAKE) == 0) {
    tf_cm_put(cm, options & LISTENS ? TF_CM_REQ : TF_CM_RESP, 0);
    if (options & SWAP) {
      uint64_t one = __builtin_bswap64(1);
      memcpy(cm + 24, &one, sizeof(one));
    }
    feed(cm, sizeof(cm));
    w.arrived = w.len;
  }
  if (options & LISTENS) {
    CHECK(fi_passive_ep(u.fabric, u.info, &u.pep, NULL) == 0);
    CHECK(fi_pep_bind(u.pep, &u.eq->fid, 0) == 0);
    CHECK(fi_listen(u.pep) == 0);
  } else {
    make_ep(u.info);
    CHECK(fi_connect(u.ep, &sa, NULL, 0) == 0);
  }
  live();
}

static void end(void) {
  unsigned i;

  w.arrived = w.len;
  w.blocked = false;
  live();
  if (w.may < w.calls) w.may = w.calls - ((u.options & SWAP) != 0); /* or the last is never told */
  live();
  if (u.ep != NULL) CHECK(fi_close(&u.ep->fid) == 0);
  u.ep = NULL;
  if (u.srx != NULL) CHECK(fi_close(&u.srx->fid) == 0);
  while (read_cq()) continue;
  for (i = 0; i < u.nops; i++) CHECK(!u.op[i].posted || u.op[i].done);
  for (i = 0; i < REGIONS; i++) close_region(i);
  if (u.pep != NULL) CHECK(fi_close(&u.pep->fid) == 0);
  CHECK(fi_close(&u.cq->fid) == 0);
  CHECK(fi_close(&u.domain->fid) == 0);
  CHECK(fi_close(&u.eq->fid) == 0);
  CHECK(fi_close(&u.fabric->fid) == 0);
  fi_freeinfo(u.info);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  input_t in = {data, data + size};

  if (size > 65536) return 0;
  begin(byte(&in));
  while (in.p < in.end) command(&in);
  end();
  return 0;
}
