/* SPDX-License-Identifier: Apache-2.0 */
/* none.c - what is not offered answers -FI_ENOSYS, and the one option that is: libfabric calls most operations unguarded. */
#include "prov.h"

int tf_no_bind(struct fid *f, struct fid *b, uint64_t flags) {
  (void) f, (void) b, (void) flags;
  return -FI_ENOSYS;
}
int tf_no_control(struct fid *f, int command, void *arg) {
  (void) f, (void) command, (void) arg;
  return -FI_ENOSYS;
}
int tf_no_ops_open(struct fid *f, const char *name, uint64_t flags, void **ops, void *context) {
  (void) f, (void) name, (void) flags, (void) ops, (void) context;
  return -FI_ENOSYS;
}
int tf_no_ops_set(struct fid *f, const char *name, uint64_t flags, void *ops, void *context) {
  (void) f, (void) name, (void) flags, (void) ops, (void) context;
  return -FI_ENOSYS;
}

int tf_getopt(fid_t fid, int level, int name, void *value, size_t *len) {
  size_t room = *len;

  (void) fid;
  if (level != FI_OPT_ENDPOINT || name != FI_OPT_CM_DATA_SIZE) return -FI_ENOPROTOOPT;
  *len = sizeof(size_t);
  if (room < sizeof(size_t)) return -FI_ETOOSMALL;
  *(size_t *) value = TF_CM_DATA;
  return 0;
}
int tf_no_setopt(fid_t fid, int level, int name, const void *value, size_t len) {
  (void) fid, (void) level, (void) name, (void) value, (void) len;
  return -FI_ENOPROTOOPT;
}
