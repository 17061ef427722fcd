#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# What is opened in libfabric and forgotten is reported in spite of tests/lsan.supp.
set -eu
src=${WEFT_SRC:-$(cd "$(dirname "$0")/../.." && pwd)}
work=$(mktemp -d "${TMPDIR:-/tmp}/weft-leaks.XXXXXX")
trap 'rm -rf "$work"' EXIT
fail() {
  echo "FAIL: $1"
  cat "$work/log"
  exit 1
}

cat >"$work/forgets.c" <<'END'
#include <rdma/fabric.h>
#include <rdma/fi_cm.h>
#include <rdma/fi_domain.h>
#include <rdma/fi_endpoint.h>
#include <rdma/fi_eq.h>
#include <string.h>

/* All is closed but one, which the argument names. */
int main(int argc, char **argv) {
  struct fi_info *hints = fi_allocinfo(), *info;
  struct fi_eq_attr eq_attr = {.wait_obj = FI_WAIT_UNSPEC};
  struct fi_cq_attr cq_attr = {.format = FI_CQ_FORMAT_MSG, .wait_obj = FI_WAIT_NONE};
  struct fid_fabric *fabric;
  struct fid_domain *domain;
  struct fid_eq *eq;
  struct fid_cq *cq;
  struct fid_pep *pep;
  struct fid_ep *ep;

  hints->ep_attr->type = FI_EP_MSG;
  hints->caps = FI_MSG;
  hints->mode = FI_CONTEXT;
  hints->domain_attr->mr_mode = FI_MR_LOCAL | FI_MR_ALLOCATED | FI_MR_VIRT_ADDR | FI_MR_PROV_KEY;
  hints->fabric_attr->prov_name = strdup("tcp");
  if (argc != 2 || fi_getinfo(FI_VERSION(1, 17), "127.0.0.1", "0", FI_SOURCE, hints, &info) ||
      fi_fabric(info->fabric_attr, &fabric, NULL) || fi_eq_open(fabric, &eq_attr, &eq, NULL) ||
      fi_domain(fabric, info, &domain, NULL) || fi_cq_open(domain, &cq_attr, &cq, NULL) ||
      fi_passive_ep(fabric, info, &pep, NULL) || fi_pep_bind(pep, &eq->fid, 0) || fi_listen(pep) ||
      fi_endpoint(domain, info, &ep, NULL) || fi_ep_bind(ep, &eq->fid, 0) ||
      fi_ep_bind(ep, &cq->fid, FI_TRANSMIT | FI_RECV) || fi_enable(ep))
    return 9;
  fi_freeinfo(hints);
  if (strcmp(argv[1], "ep") != 0)
    fi_close(&ep->fid);
  if (strcmp(argv[1], "pep") != 0)
    fi_close(&pep->fid);
  if (strcmp(argv[1], "cq") != 0)
    fi_close(&cq->fid);
  fi_close(&domain->fid);
  if (strcmp(argv[1], "eq") != 0)
    fi_close(&eq->fid);
  fi_close(&fabric->fid);
  if (strcmp(argv[1], "info") != 0)
    fi_freeinfo(info);
  ep = NULL, pep = NULL, cq = NULL, domain = NULL, eq = NULL, fabric = NULL, info = NULL;
  __asm__ volatile("" : : "r"(&ep), "r"(&pep), "r"(&cq), "r"(&domain), "r"(&eq), "r"(&fabric), "r"(&info) : "memory");
  return 0;
}
END
if ! echo 'int main(void) { return 0; }' | ${CC:-cc} -fsanitize=address -x c - -o "$work/none" >"$work/log" 2>&1; then
  echo "SKIP: this compiler has no AddressSanitizer"
  exit 77
fi
read -r -a fabric < <(pkg-config --cflags --libs libfabric)
${CC:-cc} -Wall -Wextra -g -fsanitize=address "$work/forgets.c" -o "$work/forgets" "${fabric[@]}"

# As the tests run, with the list as it is, wherever they do.
unset LD_PRELOAD
export ASAN_OPTIONS=detect_leaks=1 LSAN_OPTIONS="suppressions=$src/tests/lsan.supp"
"$work/forgets" nothing >"$work/log" 2>&1 || fail "a leak is seen where nothing was forgotten"
for what in ep pep cq eq info; do # libfabric lists fabrics and domains itself: those are reachable
  status=0
  "$work/forgets" $what >"$work/log" 2>&1 || status=$?
  [ "$status" != 0 ] && [ "$status" != 9 ] && grep -q 'LeakSanitizer: detected memory leaks' "$work/log" ||
    fail "a forgotten $what is not reported"
done
echo "what is forgotten is reported"
