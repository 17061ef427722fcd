/* SPDX-License-Identifier: Apache-2.0 */
/* lib_deviations.c - what a provider is known to do wrong: the case is skipped for it, and counted.
 *
 * Design notes
 *  - A row is about one provider in one role, never about one of Weft's own: those are mended.
 *  - A row whose case does not exist stops its program. */
#include "lib_conform.h"

enum { CLIENT = 1, SERVER = 2, EITHER = 3 };

typedef struct row_s {
  const char *provider;
  int role;
  const char *program, *name, *why;
} row_t;

static const row_t rows[] = {
#define LIMITS "tcp 1.17 asserts the limit in its debug build and writes past it in a release build"
    {"tcp", EITHER, "conform_msg", "too_many_pieces", LIMITS},
    {"tcp", EITHER, "conform_msg", "inject_too_long", LIMITS},
    {"tcp", SERVER, "conform_cm", "accept_data_too_long", LIMITS},
    {"tcp", SERVER, "conform_cm", "reject_data_too_long", LIMITS},
    {"tcp", CLIENT, "conform_cm", "reject_after_its_endpoint",
     "tcp 1.17 takes the end of a stream for errno, which may say EAGAIN since another call: then "
     "it "
     "waits for ever"},
    {"tcp", CLIENT, "conform_cm", "silent_listener", "tcp 1.17 waits for the answer for ever"},
    {"tcp", SERVER, "conform_cm", "silent_stranger", "tcp 1.17 keeps a silent stranger for ever"},
    {"tcp", SERVER, "conform_cm", "strangers_go_with_the_listener",
     "tcp 1.17 keeps a stranger's socket and memory when his listener closes, and leaks both"},
    {"tcp", EITHER, "conform_flow", "full_transmit_queue",
     "tcp 1.17 has no limit of sends under way: its queue grows without end"},
#define UNREAD                                                                                     \
  "tcp 1.17 reads nothing while a message waits for a receive: it misses the end, and spins"
    {"tcp", SERVER, "conform_death", "unread_message_then_close", UNREAD},
    {"tcp", SERVER, "conform_wait", "no_receive_no_spin", UNREAD},
    {"tcp", CLIENT, "conform_wait", "signal_beside_a_reader",
     "tcp 1.17 lets who reads a queue take the signal away from who sleeps on it"},
    {"tcp", EITHER, "conform_info", "automatic_progress",
     "tcp 1.17 says that data needs no calls to move, and moves none without"},
    {"tcp", EITHER, "conform_info", "counters", "tcp 1.17 has counters and says that it has none"},
    {"tcp", EITHER, "conform_info", "formats", "tcp 1.17 offers IPv6 to who asks for IPv4"},
    {"tcp", CLIENT, "conform_cntr", "injected", "tcp 1.17 does not count what is injected"},
    {"tcp", SERVER, "conform_cntr", "at_the_target",
     "tcp 1.17 counts no reads at the target, and writes only if they carry data"},
    {"tcp", CLIENT, "conform_cntr", "flushed", "tcp 1.17 does not count what an end has cancelled"},
    {"tcp", SERVER, "conform_srx", "wrong_objects",
     "tcp 1.17 says -FI_EAGAIN to a receive that can never be, and frees it into another's pool"},
    {"tcp", SERVER, "conform_srx", "first_come",
     "tcp 1.17 lets one endpoint have each shared buffer before the next is asked"},
    {"tcp", SERVER, "conform_srx", "full", "tcp 1.17 rounds the size of a shared context up"},
    {"tcp", SERVER, "conform_srx", "starving_then_gone", UNREAD},
    {"tcp", SERVER, "conform_srx", "busy",
     "tcp 1.17 closes a shared context that endpoints still use"},
    {"tcp", EITHER, "conform_rma", "too_many_pieces", LIMITS},
    {"tcp", EITHER, "conform_rma", "inject_too_long", LIMITS},
    {"tcp", CLIENT, "conform_threads", "used_while_connecting",
     "tcp 1.17 jumps to nowhere in an fi_inject while the endpoint connects"},
    {"tcp", SERVER, "conform_wait", "listener_out_of_descriptors",
     "tcp 1.17 spins while it has no descriptor for who knocks"},
#ifdef __SANITIZE_THREAD__
    {"tcp", SERVER, "conform_cntr", "two_wait",
     "tcp 1.17 has one array of descriptors for all who wait for a counter: a data race"},
#endif
#define EMPTY                                                                                      \
  "tcp 1.17 leaves the slot of an operation that it does not offer empty: a jump to nowhere"
    {"tcp", EITHER, "conform_none", "tagged",
     "tcp 1.17 sends tagged messages to a peer that may not be asked for them"},
    {"tcp", EITHER, "conform_none", "atomics", EMPTY},
    {"tcp", EITHER, "conform_none", "collectives", EMPTY},
    {"tcp", EITHER, "conform_none", "other_kinds_of_endpoint", EMPTY},
};

#define ROWS (sizeof(rows) / sizeof(*rows))

const char *conform_deviation(const char *program, const char *name, const char *client,
                              const char *server) {
  for (size_t i = 0; i < ROWS; i++) {
    const row_t *r = &rows[i];

    if (strcmp(r->program, program) != 0 || strcmp(r->name, name) != 0) continue;
    if ((r->role & CLIENT) && strcmp(r->provider, client) == 0) return r->why;
    if ((r->role & SERVER) && strcmp(r->provider, server) == 0) return r->why;
  }
  return NULL;
}

const char *conform_stale_row(const char *program, const struct CMUnitTest *tests, size_t n) {
  for (size_t i = 0; i < ROWS; i++) {
    size_t k = 0;

    if (strcmp(rows[i].program, program) != 0) continue;
    while (k < n && strcmp(tests[k].name, rows[i].name) != 0) k++;
    if (k == n) return rows[i].name;
  }
  return NULL;
}
