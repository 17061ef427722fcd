/* SPDX-License-Identifier: Apache-2.0 */
/* none.c - what is not offered answers -FI_ENOSYS, and the one option that is.
 *
 * Design notes
 *  - libfabric's public functions call most slots of a table unguarded, so none may be empty.
 *  - Each operation has a function of its own type: a call through another type is undefined. */
#include "prov.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"

#define NO(type, name, ...)                                                                        \
  type name(__VA_ARGS__) {                                                                         \
    return -FI_ENOSYS;                                                                             \
  }                                                                                                \
  struct tf_none /* takes the semicolon */

/* ---- Of every object ---- */

NO(int, tf_no_bind, struct fid *f, struct fid *b, uint64_t flags);
NO(int, tf_no_control, struct fid *f, int command, void *arg);
NO(int, tf_no_ops_open, struct fid *f, const char *name, uint64_t flags, void **ops, void *context);
NO(int, tf_no_ops_set, struct fid *f, const char *name, uint64_t flags, void *ops, void *context);

/* ---- Of endpoints and listeners ---- */

int tf_getopt(fid_t fid, int level, int name, void *value, size_t *len) {
  size_t room = *len;

  if (level != FI_OPT_ENDPOINT || name != FI_OPT_CM_DATA_SIZE) return -FI_ENOPROTOOPT;
  *len = sizeof(size_t);
  if (room < sizeof(size_t)) return -FI_ETOOSMALL;
  *(size_t *) value = TF_CM_DATA;
  return 0;
}
int tf_no_getopt(fid_t fid, int level, int name, void *value, size_t *len) {
  return -FI_ENOPROTOOPT;
}
int tf_no_setopt(fid_t fid, int level, int name, const void *value, size_t len) {
  return -FI_ENOPROTOOPT;
}
NO(ssize_t, tf_no_cancel, fid_t f, void *context);
NO(int, tf_no_tx_ctx, struct fid_ep *e, int i, struct fi_tx_attr *a, struct fid_ep **o, void *c);
NO(int, tf_no_rx_ctx, struct fid_ep *e, int i, struct fi_rx_attr *a, struct fid_ep **o, void *c);
NO(ssize_t, tf_no_size_left, struct fid_ep *e);

NO(int, tf_no_setname, fid_t f, void *addr, size_t len);
NO(int, tf_no_getname, fid_t f, void *addr, size_t *len);
NO(int, tf_no_getpeer, struct fid_ep *e, void *addr, size_t *len);
NO(int, tf_no_connect, struct fid_ep *e, const void *addr, const void *data, size_t len);
NO(int, tf_no_listen, struct fid_pep *p);
NO(int, tf_no_accept, struct fid_ep *e, const void *data, size_t len);
NO(int, tf_no_reject, struct fid_pep *p, fid_t handle, const void *data, size_t len);
NO(int, tf_no_shutdown, struct fid_ep *e, uint64_t flags);
NO(int, tf_no_join, struct fid_ep *e, const void *addr, uint64_t flags, struct fid_mc **o, void *c);

/* ---- Of domains ---- */

NO(int, tf_no_av, struct fid_domain *d, struct fi_av_attr *a, struct fid_av **o, void *c);
NO(int, tf_no_sep, struct fid_domain *d, struct fi_info *i, struct fid_ep **o, void *c);
NO(int, tf_no_poll, struct fid_domain *d, struct fi_poll_attr *a, struct fid_poll **o);
NO(int, tf_no_stx, struct fid_domain *d, struct fi_tx_attr *a, struct fid_stx **o, void *c);

/* ---- Messages: who receives from a shared context, and the context ---- */

#define BUF   const void *b, size_t len
#define IOV   const struct iovec *v, void **d, size_t n
#define EP    struct fid_ep *e
#define AFTER void *context

NO(ssize_t, tf_no_recv, EP, void *b, size_t len, void *d, fi_addr_t from, AFTER);
NO(ssize_t, tf_no_recvv, EP, IOV, fi_addr_t from, AFTER);
NO(ssize_t, tf_no_msg, EP, const struct fi_msg *m, uint64_t flags);
NO(ssize_t, tf_no_send, EP, BUF, void *d, fi_addr_t to, AFTER);
NO(ssize_t, tf_no_sendv, EP, IOV, fi_addr_t to, AFTER);
NO(ssize_t, tf_no_inject, EP, BUF, fi_addr_t to);
NO(ssize_t, tf_no_senddata, EP, BUF, void *d, uint64_t data, fi_addr_t to, AFTER);
NO(ssize_t, tf_no_injectdata, EP, BUF, uint64_t data, fi_addr_t to);

/* ---- Tagged messages ---- */

#define TO   fi_addr_t to, uint64_t tag
#define FROM fi_addr_t from, uint64_t tag, uint64_t ignore
#define SMSG const struct fi_msg_tagged *m, uint64_t flags

NO(static ssize_t, t_recv, EP, void *b, size_t len, void *d, FROM, AFTER);
NO(static ssize_t, t_recvv, EP, IOV, FROM, AFTER);
NO(static ssize_t, t_msg, EP, SMSG);
NO(static ssize_t, t_send, EP, BUF, void *d, TO, AFTER);
NO(static ssize_t, t_sendv, EP, IOV, TO, AFTER);
NO(static ssize_t, t_inject, EP, BUF, TO);
NO(static ssize_t, t_senddata, EP, BUF, void *d, uint64_t data, TO, AFTER);
NO(static ssize_t, t_injectdata, EP, BUF, uint64_t data, TO);

struct fi_ops_tagged tf_no_tagged = {.size = sizeof(struct fi_ops_tagged),
                                     .recv = t_recv,
                                     .recvv = t_recvv,
                                     .recvmsg = t_msg,
                                     .send = t_send,
                                     .sendv = t_sendv,
                                     .sendmsg = t_msg,
                                     .inject = t_inject,
                                     .senddata = t_senddata,
                                     .injectdata = t_injectdata};

/* ---- Atomic operations ---- */

#define WHERE    fi_addr_t to, uint64_t addr, uint64_t key, enum fi_datatype t, enum fi_op op
#define IOC      const struct fi_ioc *v, void **vd, size_t n
#define COMPARE  const struct fi_ioc *w, void **wd, size_t wn
#define RESULT   struct fi_ioc *r, void **rd, size_t rn
#define VOIDS    const void *b, size_t n, void *d
#define VOID_RES void *r, void *rd
#define AMSG     const struct fi_msg_atomic *m
#define VALID    enum fi_datatype t, enum fi_op op, size_t *n

NO(static ssize_t, a_write, EP, VOIDS, WHERE, AFTER);
NO(static ssize_t, a_writev, EP, IOC, WHERE, AFTER);
NO(static ssize_t, a_writemsg, EP, AMSG, uint64_t flags);
NO(static ssize_t, a_inject, EP, const void *b, size_t n, WHERE);
NO(static ssize_t, a_readwrite, EP, VOIDS, VOID_RES, WHERE, AFTER);
NO(static ssize_t, a_readwritev, EP, IOC, RESULT, WHERE, AFTER);
NO(static ssize_t, a_readwritemsg, EP, AMSG, RESULT, uint64_t flags);
NO(static ssize_t, a_compwrite, EP, VOIDS, const void *w, void *wd, VOID_RES, WHERE, AFTER);
NO(static ssize_t, a_compwritev, EP, IOC, COMPARE, RESULT, WHERE, AFTER);
NO(static ssize_t, a_compwritemsg, EP, AMSG, COMPARE, RESULT, uint64_t flags);
NO(static int, a_valid, EP, VALID);

struct fi_ops_atomic tf_no_atomic = {.size = sizeof(struct fi_ops_atomic),
                                     .write = a_write,
                                     .writev = a_writev,
                                     .writemsg = a_writemsg,
                                     .inject = a_inject,
                                     .readwrite = a_readwrite,
                                     .readwritev = a_readwritev,
                                     .readwritemsg = a_readwritemsg,
                                     .compwrite = a_compwrite,
                                     .compwritev = a_compwritev,
                                     .compwritemsg = a_compwritemsg,
                                     .writevalid = a_valid,
                                     .readwritevalid = a_valid,
                                     .compwritevalid = a_valid};

/* ---- Collective operations ---- */

#define GROUP fi_addr_t group
#define ROOT  fi_addr_t root
#define LAST  uint64_t flags, void *context
#define TYPE  enum fi_datatype t
#define OP    enum fi_op op

NO(static ssize_t, c_barrier, EP, GROUP, AFTER);
NO(static ssize_t, c_barrier2, EP, GROUP, LAST);
NO(static ssize_t, c_broadcast, EP, void *b, size_t n, void *d, GROUP, ROOT, TYPE, LAST);
NO(static ssize_t, c_all, EP, VOIDS, VOID_RES, GROUP, TYPE, LAST);
NO(static ssize_t, c_all_op, EP, VOIDS, VOID_RES, GROUP, TYPE, OP, LAST);
NO(static ssize_t, c_root, EP, VOIDS, VOID_RES, GROUP, ROOT, TYPE, LAST);
NO(static ssize_t, c_root_op, EP, VOIDS, VOID_RES, GROUP, ROOT, TYPE, OP, LAST);
NO(static ssize_t, c_msg, EP, const struct fi_msg_collective *m, RESULT, uint64_t flags);

struct fi_ops_collective tf_no_collective = {.size = sizeof(struct fi_ops_collective),
                                             .barrier = c_barrier,
                                             .broadcast = c_broadcast,
                                             .alltoall = c_all,
                                             .allreduce = c_all_op,
                                             .allgather = c_all,
                                             .reduce_scatter = c_all_op,
                                             .reduce = c_root_op,
                                             .scatter = c_root,
                                             .gather = c_root,
                                             .msg = c_msg,
                                             .barrier2 = c_barrier2};
