/* SPDX-License-Identifier: Apache-2.0 */
/* none.c - what is not offered answers -FI_ENOSYS: libfabric calls most operations unguarded. */
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
