/* SPDX-License-Identifier: Apache-2.0 */
/* conform_hostile.c - a peer that breaks the rules of the data's protocol, once the connection is up: it is
 * cut off, what its endpoint had under way comes back once, and nobody else notices.
 *
 * conform: own - half of this crashes `tcp`, and it lets the other half pass
 *
 * Design notes
 *  - Each rule is broken by a listener's peer and by a connector's, in both byte orders, alone and right
 *    behind a message that is good and must arrive. */
#include <unistd.h>

#include "lib_foe.h"

enum { PATIENCE = 40 }; /* reads of a queue that surely look at every stream */

static foe_t foe;

static void look(void) {
  for (int i = 0; i < PATIENCE; i++) pump();
}

/* What arrives in a posted receive. */
static void must_hold(unsigned receive, size_t len, uint64_t seed) {
  fill(world.must + (receive_at(receive) - world.arena), len, seed);
}

static void region_must(int region, uint64_t off, size_t len, uint64_t seed) {
  fill(world.must + (region_at(region) + off - world.arena), len, seed);
}

/* For both roles and both orders. */
#define FOR_EACH_FOE(receives)                                                                     \
  for (unsigned role_ = 0; role_ < 4; role_++)                                                     \
    if (foe_open(&foe, role_ & 1, role_ & 2, (receives), NULL, 0), true)

/* ---- Rules that one frame breaks ---- */

#define HALF (UINT64_C(1) << 63)

typedef struct broken_s {
  const char *what;
  frame_t f;
} broken_t;

static const broken_t broken[] = {
    {"version 2", {.version = -1, .payload = 8}},
    {"version 4", {.version = 1, .payload = 8}},
    {"version 0", {.version = -3, .payload = 8}},
    {"version 255", {.version = 252, .payload = 8}},
    {"a tagged message", {.op = OP_TAGGED, .payload = 8}},
    {"a tagged message without its tag", {.op = OP_TAGGED, .hlen = -8, .payload = 8}},
    {"operation 5", {.op = 5}},
    {"operation 7", {.op = 7, .payload = 8}},
    {"operation 255", {.op = 255, .payload = 8}},

    {"a header of 0 bytes", {.hlen = -16, .payload = 8}},
    {"a header of 15 bytes", {.hlen = -1, .payload = 8}},
    {"a header of 17 bytes", {.hlen = 1, .payload = 8}},
    {"a message's header with 8 bytes too many", {.hlen = 8, .payload = 64}},
    {"a header of 255 bytes", {.hlen = 239, .payload = 1000}},
    {"CQ data without room for it", {.flags = F_DATA, .hlen = -8, .payload = 64}},
    {"a write without room for its region",
     {.op = OP_WRITE, .npieces = 1, .piece = {{BOTH, 0, 8, 0}}, .hlen = -24, .payload = 8}},
    {"a write with room for one region more",
     {.op = OP_WRITE, .npieces = 1, .piece = {{BOTH, 0, 8, 0}}, .hlen = 24, .payload = 8}},
    {"a read with room for one region more",
     {.op = OP_READ, .npieces = 1, .piece = {{BOTH, 0, 8, 0}}, .hlen = 24}},
    {"an answer with a long header", {.op = OP_RSP, .hlen = 24, .payload = 64}},

    {"5 regions to write",
     {.op = OP_WRITE, .npieces = 5, .piece = {{BOTH, 0, 2, 0}}, .payload = 2}},
    {"5 regions to read", {.op = OP_READ, .npieces = 5, .piece = {{BOTH, 0, 2, 0}}}},
    {"200 regions to read", {.op = OP_READ, .npieces = 4, .nrma = 196, .piece = {{BOTH, 0, 2, 0}}}},
    {"255 regions of a message", {.nrma = 255, .payload = 8}},
    {"no region to write", {.op = OP_WRITE, .payload = 8}},
    {"no region and nothing to write", {.op = OP_WRITE}},
    {"no region to read", {.op = OP_READ}},

    {"a size of 0", {.size = -16}},
    {"a size of 15", {.size = -1}},
    {"a size without the CQ data", {.flags = F_DATA, .size = -1}},
    {"a size without the last region",
     {.op = OP_WRITE, .npieces = 2, .piece = {{BOTH, 0, 0, 0}, {BOTH, 8, 0, 0}}, .size = -24}},
    {"a read with something in it",
     {.op = OP_READ, .npieces = 1, .piece = {{BOTH, 0, 8, 0}}, .payload = 8}},

    {"a write shorter than its regions",
     {.op = OP_WRITE, .npieces = 1, .piece = {{BOTH, 0, 65, 0}}, .payload = 64}},
    {"a write longer than its regions",
     {.op = OP_WRITE, .npieces = 1, .piece = {{BOTH, 0, 63, 0}}, .payload = 64}},
    {"regions whose sum wraps around to what is sent",
     {.op = OP_WRITE,
      .npieces = 3,
      .piece = {{BOTH, 0, HALF, 0}, {BOTH, 0, HALF, 0}, {BOTH, 0, 64, 0}},
      .payload = 64}},
    {"an enormous write that is announced and not sent",
     {.op = OP_WRITE, .npieces = 1, .piece = {{BOTH, 0, HALF, 0}}, .size = (int64_t) (HALF - 1)}},

    {"an acknowledgement of nothing", {.opdata = 2}},
    {"an acknowledgement with something in it", {.opdata = 2, .payload = 8}},
    {"an acknowledgement with CQ data", {.opdata = 2, .flags = F_DATA}},
    {"an acknowledgement that wants one", {.opdata = 2, .flags = F_DELIVERY}},
    {"an acknowledgement by a write",
     {.op = OP_WRITE, .opdata = 2, .npieces = 1, .piece = {{BOTH, 0, 8, 0}}, .payload = 8}},
    {"unknown data of an operation", {.opdata = 1, .payload = 8}},
    {"all data of an operation", {.opdata = 255, .payload = 8}},
    {"an answer to nothing", {.op = OP_RSP, .payload = 8}},
    {"an empty answer to nothing", {.op = OP_RSP}},

    {"flag 0x2", {.flags = 0x2, .payload = 8}},
    {"commit of a message", {.flags = 0x8, .payload = 8}},
    {"flag 0x10", {.flags = 0x10, .payload = 8}},
    {"flag 0x80, rxm's tag", {.flags = 0x80, .payload = 8}},
    {"flag 0x100", {.flags = 0x100, .payload = 8}},
    {"flag 0x8000", {.flags = 0x8000, .payload = 8}},
    {"a read with CQ data",
     {.op = OP_READ, .flags = F_DATA, .npieces = 1, .piece = {{BOTH, 0, 8, 0}}}},
    {"a read that wants an acknowledgement",
     {.op = OP_READ, .flags = F_DELIVERY, .npieces = 1, .piece = {{BOTH, 0, 8, 0}}}},
    {"an answer with flags", {.op = OP_RSP, .flags = F_DELIVERY, .payload = 8}},

    {"a write with a wrong key",
     {.op = OP_WRITE, .npieces = 1, .piece = {{BOTH, 0, 64, 1000}}, .payload = 64}},
    {"a write of nothing with a wrong key",
     {.op = OP_WRITE, .npieces = 1, .piece = {{BOTH, 0, 0, 1000}}}},
    {"a write to what is for reading",
     {.op = OP_WRITE, .npieces = 1, .piece = {{READ_ONLY, 0, 64, 0}}, .payload = 64}},
    {"a write one byte beyond the end",
     {.op = OP_WRITE, .npieces = 1, .piece = {{BOTH, FOE_REGION - 63, 64, 0}}, .payload = 64}},
    {"a write behind the end",
     {.op = OP_WRITE, .npieces = 1, .piece = {{BOTH, FOE_REGION + 1, 0, 0}}}},
    {"a write before the beginning",
     {.op = OP_WRITE, .npieces = 1, .piece = {{BOTH, (uint64_t) -8, 64, 0}}, .payload = 64}},
    {"a second region that is not allowed",
     {.op = OP_WRITE,
      .npieces = 2,
      .piece = {{BOTH, 0, 32, 0}, {READ_ONLY, 0, 32, 0}},
      .payload = 64}},
    {"a fourth region that goes too far",
     {.op = OP_WRITE,
      .npieces = 4,
      .piece =
          {{BOTH, 0, 16, 0}, {WRITE_ONLY, 0, 16, 0}, {BOTH, 64, 16, 0}, {BOTH, FOE_REGION, 16, 0}},
      .payload = 64}},
    {"a read with a wrong key", {.op = OP_READ, .npieces = 1, .piece = {{BOTH, 0, 64, 1000}}}},
    {"a read of what is for writing",
     {.op = OP_READ, .npieces = 1, .piece = {{WRITE_ONLY, 0, 64, 0}}}},
    {"a read one byte beyond the end",
     {.op = OP_READ, .npieces = 1, .piece = {{READ_ONLY, 1, FOE_REGION, 0}}}},
    {"a read before the beginning",
     {.op = OP_READ, .npieces = 1, .piece = {{READ_ONLY, (uint64_t) -1, 2, 0}}}},
    {"a read of all there is",
     {.op = OP_READ, .npieces = 1, .piece = {{READ_ONLY, 0, UINT64_MAX, 0}}}},
    {"reads whose sum wraps around",
     {.op = OP_READ,
      .npieces = 3,
      .piece = {{BOTH, 0, HALF, 0}, {BOTH, 0, HALF, 0}, {BOTH, 0, 8, 0}}}},
    {"a second region that is not for reading",
     {.op = OP_READ, .npieces = 2, .piece = {{BOTH, 0, 8, 0}, {WRITE_ONLY, 0, 8, 0}}}},
};

static void every_rule(bool behind_a_good_one) {
  const frame_t good = {.payload = 100, .seed = 5};

  for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i++) {
    print_message("%s\n", broken[i].what);
    FOR_EACH_FOE(FOE_RECEIVES) {
      static uint8_t bytes[8192];
      size_t n = 0;

      if (behind_a_good_one) n = frame_put(&foe, bytes, &good);
      n += frame_put(&foe, bytes + n, &broken[i].f);
      (void) fd_put(foe.fd, bytes, n);
      if (behind_a_good_one) {
        must_hold(0, 100, 5);
        assert_int_equal(wait_comp(foe.end, &foe.rxc[0]).len, 100);
      }
      foe_is_cut_off(&foe, behind_a_good_one ? 1 : 0);
    }
  }
}

static void each_rule(void **state) {
  (void) state;
  world_open(NULL);
  every_rule(false);
  world_close();
}

static void each_rule_behind_a_message(void **state) {
  (void) state;
  world_open(NULL);
  every_rule(true);
  world_close();
}

/* ... behind one that waits for a receive: nothing behind it is looked at before. */
static void behind_one_that_waits(void **state) {
  const frame_t good = {.payload = 100, .seed = 5};

  (void) state;
  world_open(NULL);
  for (size_t i = 0; i < sizeof(broken) / sizeof(*broken); i += 7) FOR_EACH_FOE(0) {
      static uint8_t bytes[8192];
      size_t n = frame_put(&foe, bytes, &good);

      n += frame_put(&foe, bytes + n, &broken[i].f);
      assert_true(fd_put(foe.fd, bytes, n));
      look();
      expect_quiet(foe.end);
      must_hold(0, 100, 5);
      OK(fi_recv(foe.ep, receive_at(0), FOE_RECEIVE, NULL, 0, &foe.rxc[0]));
      wait_comp(foe.end, &foe.rxc[0]);
      foe_is_cut_off(&foe, 0);
    }
  world_close();
}

/* ---- Rules that only the state of the connection can tell ---- */

static struct iovec word = {"12345678", 8};

/* An acknowledgement for one who did not ask, and one more than was asked for. */
static void acknowledged_too_often(void **state) {
  const frame_t ack = {.opdata = 2};
  struct fi_context ctx;
  struct fi_msg m = {.msg_iov = &word, .iov_count = 1, .context = &ctx};

  (void) state;
  world_open(NULL);
  FOR_EACH_FOE(FOE_RECEIVES) {
    OK(fi_sendmsg(foe.ep, &m, FI_COMPLETION));
    wait_comp(foe.end, &ctx);
    assert_true(foe_put(&foe, &ack));
    foe_is_cut_off(&foe, 0);
  }
  FOR_EACH_FOE(FOE_RECEIVES) {
    OK(fi_sendmsg(foe.ep, &m, FI_COMPLETION | FI_DELIVERY_COMPLETE));
    look();
    expect_quiet(foe.end);
    assert_true(foe_put(&foe, &ack));
    wait_comp(foe.end, &ctx);
    assert_true(foe_put(&foe, &ack));
    foe_is_cut_off(&foe, 0);
  }
  world_close();
}

/* What has not left cannot have been answered. */
static void answered_before_it_was_sent(void **state) {
  static uint8_t big[16 << 20], into[64];
  const frame_t ack = {.opdata = 2}, rsp = {.op = OP_RSP, .payload = 64};
  struct fi_context tx, rx;
  struct iovec iov = {big, sizeof(big)};
  struct fi_msg m = {.msg_iov = &iov, .iov_count = 1, .context = &tx};

  (void) state;
  world_open(NULL);
  FOR_EACH_FOE(FOE_RECEIVES) {
    OK(fi_sendmsg(foe.ep, &m, FI_COMPLETION | FI_DELIVERY_COMPLETE));
    look();
    assert_true(foe_put(&foe, &ack));
    assert_int_not_equal(wait_error(foe.end, &tx).err, 0);
    foe_is_cut_off(&foe, 0);
  }
  FOR_EACH_FOE(FOE_RECEIVES) {
    OK(fi_sendmsg(foe.ep, &m, FI_COMPLETION));
    OK(fi_read(foe.ep, into, sizeof(into), NULL, 0, 0, 1, &rx));
    look();
    assert_true(foe_put(&foe, &rsp));
    assert_int_not_equal(wait_error(foe.end, &tx).err, 0);
    assert_int_not_equal(wait_error(foe.end, &rx).err, 0);
    foe_is_cut_off(&foe, 0);
  }
  world_close();
}

/* An answer is as long as the question, to the byte, and there is one. */
static void answers_of_wrong_length(void **state) {
  static const size_t lengths[] = {0, 1, 99, 101, 65536, 100};
  uint8_t into[110], must[110];
  struct fi_context rx;

  (void) state;
  world_open(NULL);
  for (unsigned i = 0; i < sizeof(lengths) / sizeof(*lengths); i++) FOR_EACH_FOE(FOE_RECEIVES) {
      frame_t rsp = {.op = OP_RSP, .payload = lengths[i], .seed = 9};
      seen_t s;

      memset(into, 0, sizeof(into));
      memset(must, 0, sizeof(must));
      OK(fi_read(foe.ep, into, 100, NULL, 0, 77, 3, &rx));
      s = foe_get(&foe);
      assert_int_equal(s.op, OP_READ);
      assert_int_equal(s.nrma, 1);
      assert_int_equal(s.word[0], 77);
      assert_int_equal(s.word[1], 100);
      assert_int_equal(s.word[2], 3);
      (void) foe_put(&foe, &rsp);
      if (lengths[i] == 100) {
        wait_comp(foe.end, &rx);
        fill(must, 100, 9);
        (void) foe_put(&foe, &rsp); /* once more: nobody asked */
      } else {
        assert_int_not_equal(wait_error(foe.end, &rx).err, 0);
      }
      foe_is_cut_off(&foe, 0);
      assert_memory_equal(into, must, sizeof(into));
    }
  world_close();
}

/* The end in the middle of each kind of thing; what had not arrived is not touched. */
static void ends_half_way(void **state) {
  static const frame_t whole[] = {
      {.flags = F_DATA, .payload = 100, .seed = 3},
      {.op = OP_WRITE,
       .flags = F_DATA,
       .npieces = 2,
       .piece = {{BOTH, 8, 40, 0}, {WRITE_ONLY, 100, 30, 0}},
       .payload = 70,
       .seed = 4},
      {.op = OP_READ, .npieces = 2, .piece = {{BOTH, 8, 40, 0}, {READ_ONLY, 0, 8, 0}}},
  };
  uint8_t bytes[400];

  (void) state;
  world_open(NULL);
  for (unsigned i = 0; i < 3; i++)
    for (size_t cut = 0, n = 1; cut < n; cut++)
      for (unsigned role = cut & 3; role < 4; role += 4) {
        size_t head;

        foe_open(&foe, role & 1, role & 2, FOE_RECEIVES, NULL, 0);
        n = frame_put(&foe, bytes, &whole[i]);
        head = n - whole[i].payload;
        assert_true(fd_put(foe.fd, bytes, cut));
        if (cut > head) {
          uint8_t all[100];
          size_t came = cut - head;

          fill(all, whole[i].payload, whole[i].seed);
          if (i == 0) memcpy(world.must + (receive_at(0) - world.arena), all, came);
          if (i == 1) {
            memcpy(world.must + (region_at(BOTH) + 8 - world.arena), all, came < 40 ? came : 40);
            if (came > 40)
              memcpy(world.must + (region_at(WRITE_ONLY) + 100 - world.arena), all + 40, came - 40);
          }
        }
        OK(shutdown(foe.fd, SHUT_WR));
        foe_is_cut_off(&foe, 0);
      }
  world_close();
}

/* ---- Too long, and too much ---- */

/* Who asks to be told that his data is in place does not hear it of data that is not. */
static void dropped_and_waited_for(void **state) {
  static const frame_t big = {.payload = 100000, .flags = F_DELIVERY, .seed = 6};

  (void) state;
  world_open(NULL);
  FOR_EACH_FOE(FOE_RECEIVES) {
    assert_true(foe_put(&foe, &big));
    assert_int_equal(wait_error(foe.end, &foe.rxc[0]).err, FI_ETRUNC);
    foe_is_cut_off(&foe, 1);
  }
  world_close();
}

/* A message that its receive is too short for is an error of that receive alone. */
static void longer_than_its_receive(void **state) {
  (void) state;
  world_open(NULL);
  FOR_EACH_FOE(FOE_RECEIVES) {
    frame_t big = {.payload = 100000, .seed = 6}, next = {.payload = FOE_RECEIVE, .seed = 7};
    comp_t c;

    assert_true(foe_put(&foe, &big));
    c = wait_error(foe.end, &foe.rxc[0]);
    assert_int_equal(c.err, FI_ETRUNC);
    assert_int_equal(c.olen, 100000 - FOE_RECEIVE);
    assert_true(foe_put(&foe, &next));
    must_hold(1, FOE_RECEIVE, 7);
    assert_int_equal(wait_comp(foe.end, &foe.rxc[1]).len, FOE_RECEIVE);
    foe_close(&foe);
  }
  world_close();
}

/* ... also when it says that it never ends. */
static void endless_message(void **state) {
  static uint8_t some[200000];

  (void) state;
  world_open(NULL);
  FOR_EACH_FOE(FOE_RECEIVES) {
    frame_t endless = {.size = -17};

    assert_true(foe_put(&foe, &endless));
    assert_int_equal(wait_error(foe.end, &foe.rxc[0]).err, FI_ETRUNC);
    assert_true(fd_put(foe.fd, some, sizeof(some)));
    unharmed();
    OK(shutdown(foe.fd, SHUT_WR));
    foe_is_cut_off(&foe, 1);
  }
  world_close();
}

/* A write whose region closed leaves nothing behind that another region could be taken for. */
static void region_closes_then_another(void **state) {
  static const frame_t first = {.op = OP_WRITE,
                                .npieces = 2,
                                .piece = {{BOTH, 0, 100, 0}, {WRITE_ONLY, 0, 100, 0}},
                                .payload = 200,
                                .seed = 8},
                       second = {.op = OP_WRITE,
                                 .npieces = 1,
                                 .piece = {{BOTH, 0, 200, 0}},
                                 .payload = 200,
                                 .seed = 5};
  uint8_t bytes[400], all[200];
  size_t n, head;

  (void) state;
  world_open(NULL);
  foe_open(&foe, false, false, FOE_RECEIVES, NULL, 0);
  n = frame_put(&foe, bytes, &first);
  head = n - 200;
  assert_true(fd_put(foe.fd, bytes, head + 50));
  look();
  fill(all, sizeof(all), 8);
  memcpy(world.must + (region_at(BOTH) - world.arena), all, 50);
  unharmed();
  struct fid_mr **mr = &world.mr[foe.end == &world.p.s][WRITE_ONLY];
  struct fid_domain *domain = foe.end->domain;
  OK(fi_close(&(*mr)->fid));
  assert_true(fd_put(foe.fd, bytes + head + 50, 150));
  /* Another, which the allocator gives the same place: it closes under a write to none of its memory. */
  OK(fi_mr_reg(domain, all, sizeof(all), FI_REMOTE_WRITE, 0, 77777, 0, mr, NULL));
  n = frame_put(&foe, bytes, &second);
  assert_true(fd_put(foe.fd, bytes, n - 100));
  look();
  OK(fi_close(&(*mr)->fid));
  *mr = NULL;
  assert_true(fd_put(foe.fd, bytes + n - 100, 100));
  look();
  region_must(BOTH, 0, 200, 5);
  unharmed();
  foe_close(&foe);
  world_close();
}

/* A region that closes while a peer writes to it is not touched any more. */
static void region_closes_under_a_write(void **state) {
  static const frame_t write = {.op = OP_WRITE,
                                .npieces = 2,
                                .piece = {{BOTH, 0, 100, 0}, {WRITE_ONLY, 0, 100, 0}},
                                .payload = 200,
                                .seed = 8},
                       next = {.payload = 10, .seed = 9};
  uint8_t bytes[400], all[200];
  size_t n, head;

  (void) state;
  fill(all, sizeof(all), 8);
  for (unsigned role = 0; role < 4; role++) {
    world_open(NULL);
    foe_open(&foe, role & 1, role & 2, FOE_RECEIVES, NULL, 0);
    n = frame_put(&foe, bytes, &write);
    head = n - 200;
    assert_true(fd_put(foe.fd, bytes, head + 50));
    look();
    memcpy(world.must + (region_at(BOTH) - world.arena), all, 50);
    unharmed();
    struct fid_mr **mr = &world.mr[foe.end == &world.p.s][WRITE_ONLY];
    OK(fi_close(&(*mr)->fid));
    *mr = NULL;
    assert_true(fd_put(foe.fd, bytes + head + 50, 150));
    assert_true(foe_put(&foe, &next)); /* and the stream is where it should be */
    must_hold(0, 10, 9);
    wait_comp(foe.end, &foe.rxc[0]);
    foe_close(&foe);
    world_close();
  }
}

static void garbage(void **state) {
  static const char http[] = "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: none\r\n\r\n";
  static uint8_t bytes[65536];
  uint64_t seed = 1;

  (void) state;
  world_open(NULL);
  FOR_EACH_FOE(FOE_RECEIVES) {
    (void) fd_put(foe.fd, http, sizeof(http) - 1);
    foe_is_cut_off(&foe, 0);
  }
  for (unsigned i = 0; i < 16; i++) FOR_EACH_FOE(FOE_RECEIVES) {
      fill(bytes, sizeof(bytes), rnd(&seed));
      bytes[0] = 4; /* else it might be a message */
      (void) fd_put(foe.fd, bytes, sizeof(bytes));
      foe_is_cut_off(&foe, 0);
    }
  memset(bytes, 0, sizeof(bytes));
  FOR_EACH_FOE(FOE_RECEIVES) {
    (void) fd_put(foe.fd, bytes, sizeof(bytes));
    foe_is_cut_off(&foe, 0);
  }
  world_close();
}

/* ---- What is right, however it comes ---- */

enum { MIX = 6 };
static const frame_t mix[MIX] = {
    {.payload = 5, .seed = 11},
    {.op = OP_WRITE,
     .flags = F_DATA | F_DELIVERY,
     .data = 0x1122334455667788,
     .npieces = 2,
     .piece = {{BOTH, 200, 20, 0}, {WRITE_ONLY, FOE_REGION - 10, 10, 0}},
     .payload = 30,
     .seed = 12},
    {.flags = F_DATA, .data = 0x8877665544332211, .payload = 7, .seed = 13},
    {.op = OP_READ,
     .npieces = 4,
     .piece = {{READ_ONLY, 0, 9, 0},
               {BOTH, FOE_REGION, 0, 0},
               {READ_ONLY, FOE_REGION - 3, 3, 0},
               {BOTH, 1, 8, 0}}},
    {.op = OP_WRITE, .npieces = 1, .piece = {{BOTH, 0, 0, 0}}},
    {.flags = F_DELIVERY, .payload = 0},
};

/* What a peer of the mix gets back, and what the endpoint has seen. */
static void mix_arrived(void) {
  uint8_t got[20], must[20];
  seen_t s;
  comp_t c;

  must_hold(0, 5, 11);
  must_hold(1, 7, 13);
  region_must(BOTH, 200, 20, 12);
  {
    uint8_t all[30];

    fill(all, 30, 12);
    memcpy(world.must + (region_at(BOTH) + 200 - world.arena), all, 20);
    memcpy(world.must + (region_at(WRITE_ONLY) + FOE_REGION - 10 - world.arena), all + 20, 10);
  }
  assert_int_equal(wait_comp(foe.end, &foe.rxc[0]).len, 5);
  c = wait_comp(foe.end, NULL);
  assert_int_equal(c.flags & (FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA),
                   FI_REMOTE_WRITE | FI_REMOTE_CQ_DATA);
  assert_int_equal(c.data, 0x1122334455667788);
  c = wait_comp(foe.end, &foe.rxc[1]);
  assert_int_equal(c.len, 7);
  assert_true(c.flags & FI_REMOTE_CQ_DATA);
  assert_int_equal(c.data, 0x8877665544332211);
  assert_int_equal(wait_comp(foe.end, &foe.rxc[2]).len, 0);

  s = foe_get(&foe); /* of the write */
  assert_true(s.op == OP_MSG && s.opdata == 2 && s.payload == 0);
  s = foe_get(&foe);
  assert_true(s.op == OP_RSP && s.payload == 20);
  assert_true(fd_get(foe.fd, got, 20));
  memcpy(must, region_at(READ_ONLY), 9);
  memcpy(must + 9, region_at(READ_ONLY) + FOE_REGION - 3, 3);
  memcpy(must + 12, region_at(BOTH) + 1, 8);
  assert_memory_equal(got, must, 20);
  s = foe_get(&foe); /* of the last message */
  assert_true(s.op == OP_MSG && s.opdata == 2 && s.payload == 0);
}

static size_t mix_put(uint8_t *bytes) {
  size_t n = 0;

  for (unsigned i = 0; i < MIX; i++) n += frame_put(&foe, bytes + n, &mix[i]);
  return n;
}

static void post_again(void) {
  for (unsigned i = 0; i < FOE_RECEIVES; i++)
    OK(fi_recv(foe.ep, receive_at(i), FOE_RECEIVE, NULL, 0, &foe.rxc[i]));
}

/* All kinds of frames in two pieces, wherever the cut is. */
static void split_anywhere(void **state) {
  uint8_t bytes[1024];

  (void) state;
  world_open(NULL);
  FOR_EACH_FOE(FOE_RECEIVES) {
    size_t n = mix_put(bytes);

    for (size_t cut = 0; cut <= n; cut++) {
      if (cut != 0) post_again();
      assert_true(fd_put(foe.fd, bytes, cut));
      look();
      assert_true(fd_put(foe.fd, bytes + cut, n - cut));
      mix_arrived();
    }
    foe_close(&foe);
  }
  world_close();
}

static void byte_by_byte(void **state) {
  uint8_t bytes[1024];

  (void) state;
  world_open(NULL);
  FOR_EACH_FOE(FOE_RECEIVES) {
    size_t n = mix_put(bytes);

    for (size_t i = 0; i < n; i++) {
      assert_true(fd_put(foe.fd, bytes + i, 1));
      look();
    }
    mix_arrived();
    foe_close(&foe);
  }
  world_close();
}

/* ... and with a receive posted only when its message is here already. */
static void receives_posted_late(void **state) {
  uint8_t bytes[1024];

  (void) state;
  world_open(NULL);
  FOR_EACH_FOE(0) {
    size_t n = mix_put(bytes);

    assert_true(fd_put(foe.fd, bytes, n));
    for (unsigned i = 0; i < FOE_RECEIVES; i++) {
      look();
      OK(fi_recv(foe.ep, receive_at(i), FOE_RECEIVE, NULL, 0, &foe.rxc[i]));
    }
    foe.posted = FOE_RECEIVES;
    mix_arrived();
    foe_close(&foe);
  }
  world_close();
}

/* What an endpoint sends to one of either order, and the answers to it in pieces. */
static void answers_split_anywhere(void **state) {
  static const frame_t answers[] = {{.opdata = 2}, {.op = OP_RSP, .payload = 50, .seed = 21}};
  static uint8_t into[2][25];
  struct fi_context mc, rc;
  struct fi_msg m = {.msg_iov = &word, .iov_count = 1, .context = &mc, .data = 0x0102030405060708};
  struct iovec iov[2] = {{into[0], 25}, {into[1], 25}};
  struct fi_rma_iov there[2] = {{1000, 20, 5}, {2000, 30, 6}};
  struct fi_msg_rma r = {
      .msg_iov = iov, .iov_count = 2, .rma_iov = there, .rma_iov_count = 2, .context = &rc};
  uint8_t bytes[200], text[8];

  (void) state;
  world_open(NULL);
  FOR_EACH_FOE(0) {
    size_t n = frame_put(&foe, bytes, &answers[0]);

    n += frame_put(&foe, bytes + n, &answers[1]);
    for (size_t cut = 0; cut <= n; cut++) {
      seen_t s;

      memset(into, 0, sizeof(into));
      OK(fi_sendmsg(foe.ep, &m, FI_COMPLETION | FI_DELIVERY_COMPLETE | FI_REMOTE_CQ_DATA));
      OK(fi_readmsg(foe.ep, &r, FI_COMPLETION));
      s = foe_get(&foe);
      assert_true(s.op == OP_MSG && s.flags == (F_DATA | F_DELIVERY) && s.payload == 8);
      assert_int_equal(s.data, 0x0102030405060708);
      assert_true(fd_get(foe.fd, text, 8));
      assert_memory_equal(text, "12345678", 8);
      s = foe_get(&foe);
      assert_true(s.op == OP_READ && s.nrma == 2 && s.flags == 0 && s.payload == 0);
      for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(s.word[i * 3], there[i].addr);
        assert_int_equal(s.word[i * 3 + 1], there[i].len);
        assert_int_equal(s.word[i * 3 + 2], there[i].key);
      }
      assert_true(fd_put(foe.fd, bytes, cut));
      look();
      assert_true(fd_put(foe.fd, bytes + cut, n - cut));
      wait_comp(foe.end, &mc);
      wait_comp(foe.end, &rc);
      check(into, 50, 21);
    }
    foe_close(&foe);
  }
  world_close();
}

static const struct CMUnitTest tests[] = {
    CASE(each_rule),
    CASE(each_rule_behind_a_message),
    CASE(behind_one_that_waits),
    CASE(acknowledged_too_often),
    CASE(answered_before_it_was_sent),
    CASE(answers_of_wrong_length),
    CASE(ends_half_way),
    CASE(longer_than_its_receive),
    CASE(dropped_and_waited_for),
    CASE(region_closes_then_another),
    CASE(endless_message),
    CASE(region_closes_under_a_write),
    CASE(garbage),
    CASE(split_anywhere),
    CASE(byte_by_byte),
    CASE(receives_posted_late),
    CASE(answers_split_anywhere),
};

CONFORM_MAIN(tests)
