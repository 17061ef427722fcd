/* SPDX-License-Identifier: Apache-2.0 */
/* sums.c - a peer whose kernel leaves checksums to a card that is not there.
 *
 * Design notes
 *  - Over a virtual cable Linux sends TCP with the sum of the addresses alone, for the device to go on
 *    from. TCP drops what is not summed, so such a peer seems silent.
 *  - It shows in the first segment: the sum is wrong, and it is exactly that one. Others are not looked
 *    at: they cost too much, and come from nobody who was not heard before. */
#include "stack.h"

enum { ETHER = 14, V4 = 20, V6 = 40, TCP = 20, SYN = 2, ACK = 16 };

static uint32_t add(uint32_t sum, const uint8_t *p, size_t len) {
  size_t i;

  for (i = 0; i + 1 < len; i += 2) sum += (uint32_t) p[i] << 8 | p[i + 1];
  return i < len ? sum + ((uint32_t) p[i] << 8) : sum;
}

static uint16_t fold(uint32_t sum) {
  while (sum >> 16 != 0) sum = (sum & 0xffff) + (sum >> 16);
  return (uint16_t) sum;
}

bool tf_sums_unfinished(const uint8_t *frame, size_t len, tf_first_t *out) {
  const uint8_t *ip = frame + ETHER, *tcp;
  uint32_t sum;
  size_t all;

  if (len < ETHER + V4 + TCP) return false;
  if (frame[12] == 0x08 && frame[13] == 0 && ip[0] == 0x45 && ip[9] == 6) {
    tcp = ip + V4;
    all = (size_t) ip[2] << 8 | ip[3];
    if (all < V4 + TCP || all > len - ETHER) return false;
    all -= V4;
    sum = add(0, ip + 12, 8);
  } else if (frame[12] == 0x86 && frame[13] == 0xdd && ip[6] == 6 && len >= ETHER + V6 + TCP) {
    tcp = ip + V6;
    all = (size_t) ip[4] << 8 | ip[5];
    if (all < TCP || all > len - ETHER - V6) return false;
    sum = add(0, ip + 8, 32);
  } else {
    return false;
  }
  if ((tcp[13] & SYN) == 0) return false;
  sum += 6 + (uint32_t) all;
  if (((uint32_t) tcp[16] << 8 | tcp[17]) != fold(sum)) return false;
  if (fold(add(sum, tcp, all)) == 0xffff) return false; /* the two are the same: it is right */
  out->from = (uint16_t) (tcp[0] << 8 | tcp[1]);
  out->to = (uint16_t) (tcp[2] << 8 | tcp[3]);
  out->answers = (tcp[13] & ACK) != 0;
  out->ack = (uint32_t) tcp[8] << 24 | (uint32_t) tcp[9] << 16 | (uint32_t) tcp[10] << 8 | tcp[11];
  return true;
}
