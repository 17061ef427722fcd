/* SPDX-License-Identifier: Apache-2.0 */
/* port.c - what lwIP takes from its host: time, chance, checksums, first sequence numbers.
 *
 * Design notes
 *  - The checksum is what costs most per byte. One source is compiled for three kinds of processor,
 *    and the loader chooses; sanitizers cannot run before the loader is done and get the plain one.
 *  - First sequence numbers are RFC 6528's: a clock of 4 us plus a keyed hash (SipHash-2-4) of both
 *    ends, with a key of this process. */
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "lwip/opt.h"
#include "lwip/sys.h"

static uint64_t nanoseconds(void) {
  struct timespec t;

  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t) t.tv_sec * 1000000000 + (uint64_t) t.tv_nsec;
}

u32_t sys_now(void) {
  return (u32_t) (nanoseconds() / 1000000);
}

u32_t sys_jiffies(void) {
  return sys_now();
}

#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) &&      \
    defined(__GNUC__) && !defined(__clang__)
__attribute__((target_clones("avx512f", "avx2", "default"), optimize("O3")))
#endif
uint16_t
tf_checksum(const void *data, int len) {
  typedef uint32_t word __attribute__((aligned(1), may_alias));
  const uint8_t *p = data;
  const word *w = data;
  uint64_t sum = 0;
  int i, n = len / 4;

  for (i = 0; i < n; i++) sum += w[i];
  p += (size_t) n * 4;
  if ((len & 2) != 0) {
    uint16_t half;
    memcpy(&half, p, 2);
    sum += half;
    p += 2;
  }
  if ((len & 1) != 0) sum += *p;
  sum = (sum & 0xffffffffu) + (sum >> 32);
  sum = (sum & 0xffffffffu) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t) sum;
}

static void fill(void *p, size_t n) {
  uint64_t weak = nanoseconds();

  if (getrandom(p, n, GRND_NONBLOCK) == (ssize_t) n) return;
  memset(p, 0, n); /* a kernel that has just started */
  memcpy(p, &weak, n < sizeof(weak) ? n : sizeof(weak));
}

uint32_t tf_random(void) {
  static uint64_t state;
  uint64_t z;

  if (state == 0) fill(&state, sizeof(state));
  z = state += UINT64_C(0x9e3779b97f4a7c15);
  z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
  z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
  return (uint32_t) (z ^ z >> 31);
}

static uint64_t turn(uint64_t x, int by) {
  return x << by | x >> (64 - by);
}

static void rounds(uint64_t v[4], int n) {
  while (n-- > 0) {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = turn(v[1], 13) ^ v[0];
    v[3] = turn(v[3], 16) ^ v[2];
    v[0] = turn(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = turn(v[1], 17) ^ v[2];
    v[3] = turn(v[3], 21) ^ v[0];
    v[2] = turn(v[2], 32);
  }
}

static uint64_t siphash(const uint64_t key[2], const uint64_t *words, size_t n) {
  uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                   key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
  uint64_t last = (uint64_t) (n * 8) << 56;
  size_t i;

  for (i = 0; i <= n; i++) {
    uint64_t m = i < n ? words[i] : last;
    v[3] ^= m;
    rounds(v, 2);
    v[0] ^= m;
  }
  v[2] ^= 0xff;
  rounds(v, 4);
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

uint32_t tf_isn(const void *local, size_t local_len, uint16_t local_port, const void *remote,
                size_t remote_len, uint16_t remote_port) {
  static uint64_t key[2];
  uint64_t words[9] = {0};
  uint32_t ports = (uint32_t) local_port << 16 | remote_port;

  if (key[0] == 0) fill(key, sizeof(key));
  memcpy(words, local, local_len < 32 ? local_len : 32);
  memcpy(words + 4, remote, remote_len < 32 ? remote_len : 32);
  words[8] = ports;
  return (uint32_t) (siphash(key, words, 9) + nanoseconds() / 4000);
}
