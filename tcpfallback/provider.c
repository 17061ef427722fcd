/* SPDX-License-Identifier: Apache-2.0 */
/* provider.c - the one symbol that libfabric looks for, parameters, fabrics. */
#include <stdlib.h>

#include "prov.h"

#ifndef EXTERNALLY_VISIBLE /* libfabric defines it for clang alone */
#define EXTERNALLY_VISIBLE externally_visible
#endif
struct fi_provider *fi_prov_ini(void);

tf_params_t tf_params = {
    .sock = {.nodelay = true, .keepidle = 15000, .keepintvl = 5000, .keepcnt = 4},
    .connect_ms = 60000, /* a bound for who has none of their own, above that of those who have */
    .stranger_ms = 10000};

static int trywait(struct fid_fabric *f, struct fid **fids, int n) {
  int i, r = 0;

  (void) f;
  for (i = 0; i < n && r == 0; i++)
    r = fids[i]->fclass == FI_CLASS_CQ   ? tf_cq_trywait(tf_up(fids[i], tf_cq_t, c.fid))
        : fids[i]->fclass == FI_CLASS_EQ ? tf_eq_trywait(tf_up(fids[i], tf_eq_t, e.fid))
                                         : -FI_EINVAL;
  return r;
}
static int no_wait(struct fid_fabric *f, struct fi_wait_attr *a, struct fid_wait **w) {
  (void) f, (void) a, (void) w;
  return -FI_ENOSYS;
}
static int fabric_close(struct fid *fid) {
  tf_fabric_t *f = tf_up(fid, tf_fabric_t, f.fid);

  if (tf_busy(&f->refs)) return -FI_EBUSY;
  pthread_mutex_destroy(&f->cm);
  free(f);
  return 0;
}
static struct fi_ops fid_ops = {.size = sizeof(struct fi_ops),
                                .close = fabric_close,
                                .bind = tf_no_bind,
                                .control = tf_no_control,
                                .ops_open = tf_no_ops_open,
                                .ops_set = tf_no_ops_set};
static struct fi_ops_fabric ops = {.size = sizeof(struct fi_ops_fabric),
                                   .domain = tf_domain_open,
                                   .passive_ep = tf_pep_open,
                                   .eq_open = tf_eq_open,
                                   .wait_open = no_wait,
                                   .trywait = trywait};

static int fabric_open(struct fi_fabric_attr *attr, struct fid_fabric **out, void *context) {
  int err = tf_stream.start != NULL ? tf_stream.start() : 0;
  tf_fabric_t *f;

  (void) attr;
  if (err != 0) return err;
  f = calloc(1, sizeof(*f));
  if (f == NULL) return -FI_ENOMEM;
  pthread_mutex_init(&f->cm, NULL);
  f->f.fid = (struct fid){.fclass = FI_CLASS_FABRIC, .context = context, .ops = &fid_ops};
  f->f.ops = &ops;
  *out = &f->f;
  return 0;
}
static void cleanup(void) {
  if (tf_stream.stop != NULL) tf_stream.stop();
}

struct fi_provider tf_prov = {.version = FI_VERSION(0, 1),
                              .fi_version = FI_VERSION(1, 17),
                              .name = TF_NAME,
                              .getinfo = tf_getinfo,
                              .fabric = fabric_open,
                              .cleanup = cleanup};

static void param(const char *name, int *value, const char *help) {
  fi_param_define(&tf_prov, name, FI_PARAM_INT, "%s (default %d)", help, *value);
  (void) fi_param_get_int(&tf_prov, name, value);
}

FI_EXT_INI {
  int on = tf_params.sock.nodelay, share = 0;

  param("nodelay", &on, "TCP_NODELAY, 0 or 1");
  param("reuseport", &share, "SO_REUSEPORT, 0 or 1");
  tf_params.sock.nodelay = on != 0;
  tf_params.sock.reuseport = share != 0;
  param("user_timeout", &tf_params.sock.user_timeout, "TCP_USER_TIMEOUT in ms, 0: the system's");
  param("keepidle", &tf_params.sock.keepidle, "keepalive begins after so many idle ms, 0: never");
  param("keepintvl", &tf_params.sock.keepintvl, "ms between keepalive probes");
  param("keepcnt", &tf_params.sock.keepcnt,
        "keepalive probes without an answer until the peer is dead");
  param("busy_poll", &tf_params.sock.busy_poll, "SO_BUSY_POLL in microseconds");
  param("zerocopy_size", &tf_params.zerocopy_size,
        "sends of so many bytes and more from the program's memory by MSG_ZEROCOPY, 0: none");
  if (tf_params.zerocopy_size > 0 && !tf_stream.lends()) {
    TF_WARN("zerocopy_size: the system has no MSG_ZEROCOPY\n");
    tf_params.zerocopy_size = 0;
  }
  tf_params.sock.zerocopy = tf_params.zerocopy_size > 0;
  param("connect_timeout", &tf_params.connect_ms, "ms for a connect with its handshake");
  param("stranger_timeout", &tf_params.stranger_ms,
        "ms after which a silent stranger of a listener is dropped");
  if (tf_stream.params != NULL) tf_stream.params();
  return &tf_prov;
}
