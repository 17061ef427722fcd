/* SPDX-License-Identifier: Apache-2.0 */
/* msg_death_test.c - how paths die: killed peers, strangers at the address, lost devices, injected
 * failures. */
#include "msg_test.h"

#include <fcntl.h>
#include <signal.h>

/* ---- A peer that is killed ---- */

/* The child listens, says its port, echoes until it is killed. */
static void child_serve(int out) {
  static pair_t t;
  struct sockaddr_storage at;

  memset(&t, 0, sizeof(t));
  kit_init(&t.k);
  t.b = kit_end(&t.k, 1, "127.0.0.1");
  door_open(&t.door, t.b, &t.y, 1);
  t.y.echo = true;
  memcpy(&at, weft__lst_addr(t.door.lst), sizeof(struct sockaddr_in));
  if (write(out, &at, sizeof(at)) != (ssize_t) sizeof(at)) _exit(2);
  for (;;) pump(&t.k);
}

static void peer_is_killed(void **state) {
  struct sockaddr_storage at;
  pair_t t;
  int fd[2][2], busy;
  pid_t pid[2];

  (void) state;
  /* Both before this process has touched a provider: verbs does not survive a fork. */
  for (busy = 0; busy < 2; busy++) {
    assert_int_equal(pipe(fd[busy]), 0);
    pid[busy] = fork();
    assert_true(pid[busy] >= 0);
    if (pid[busy] == 0) child_serve(fd[busy][1]);
  }
  for (busy = 0; busy < 2; busy++) {
    assert_int_equal(read(fd[busy][0], &at, sizeof(at)), sizeof(at));
    memset(&t, 0, sizeof(t));
    kit_init(&t.k);
    t.a = kit_end(&t.k, 0, "127.0.0.1");
    assert_int_equal(weft__rail_connect(t.a, (struct sockaddr *) &at, weft__sa_len(&at), "x", 1,
                                        &end_cbs, &t.x, &t.x.path),
                     0);
    UNTIL(&t.k, t.x.connected);
    send_number(&t.x, 1, 64);
    UNTIL(&t.k, t.x.frames == 1);
    assert_int_equal(kill(pid[busy], SIGKILL), 0);
    if (busy) {
      uint32_t n = 2;
      while (t.x.downs == 0) {
        weft__tbuf_t *b = t.x.path->ops->tx_get(t.x.path);
        if (b != NULL) (void) t.x.path->ops->send(t.x.path, b, 64 + n++ % 1000);
        pump(&t.k);
      }
    }
    UNTIL(&t.k, t.x.downs);
    /* soft iWARP fails what is just leaving, and says only then that the connection has ended */
    if (!busy || !kit_is_siw(t.a) || t.x.err != -EIO) assert_int_equal(t.x.err, -ECONNRESET);
    assert_non_null(strstr(t.x.why, t.a->name));
    assert_int_equal(waitpid(pid[busy], NULL, 0), pid[busy]);
    close(fd[busy][0]);
    close(fd[busy][1]);
    settle_for(&t.k, 5);
    assert_int_equal(t.x.downs, 1); /* once */
    assert_null(t.x.path->ops->tx_get(t.x.path));
    pair_close(&t);
  }
}

/* ---- Strangers ---- */

struct stranger {
  int fd;
  struct sockaddr_in at;
  const char *say; /* NULL: close at once */
  pthread_t thread;
};

static void *stranger_run(void *arg) {
  struct stranger *s = arg;
  char buf[1024];
  int c = accept(s->fd, NULL, NULL);

  if (c < 0) return NULL;
  if (s->say != NULL) {
    if (recv(c, buf, sizeof(buf), 0) > 0 && s->say[0] != '\0')
      (void) send(c, s->say, strlen(s->say), MSG_NOSIGNAL);
    usleep(20000);
  }
  close(c);
  return NULL;
}

static void stranger_start(struct stranger *s, const char *say) {
  socklen_t len = sizeof(s->at);

  memset(s, 0, sizeof(*s));
  s->say = say;
  s->fd = socket(AF_INET, SOCK_STREAM, 0);
  s->at = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  assert_int_equal(bind(s->fd, (struct sockaddr *) &s->at, sizeof(s->at)), 0);
  assert_int_equal(listen(s->fd, 8), 0);
  assert_int_equal(getsockname(s->fd, (struct sockaddr *) &s->at, &len), 0);
  assert_int_equal(pthread_create(&s->thread, NULL, stranger_run, s), 0);
}

static void strangers_answer(void **state) {
  static const char *const say[] = {
      "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\n\r\n400 Bad "
      "Request",
      "SSH-2.0-OpenSSH_9.2p1\r\n", /* shorter than a header */
      "",                          /* closes without a word, later */
      NULL,                        /* closes at once */
  };
  unsigned i;

  (void) state;
  if (!kit_is_tcp()) skip_case("of tcp only");
  for (i = 0; i < 4; i++) {
    struct stranger s;
    pair_t t;
    pair_rails(&t, "127.0.0.1");
    stranger_start(&s, say[i]);
    assert_int_equal(weft__rail_connect(t.a, (struct sockaddr *) &s.at, sizeof(s.at), "x", 1,
                                        &end_cbs, &t.x, &t.x.path),
                     0);
    UNTIL(&t.k, t.x.downs);
    assert_true(t.x.err == -EPROTO || t.x.err == -ECONNRESET);
    if (i == 0) assert_non_null(strstr(t.x.why, "does not speak libfabric"));
    assert_int_equal(t.x.connected, 0);
    pthread_join(s.thread, NULL);
    close(s.fd);
    pair_close(&t);
  }
}

/* Somebody who is not libfabric connects to our listener: says nothing, or rubbish, or half a
 * header. */
static void strangers_call(void **state) {
  static const char *const say[] = {
      "", "GET / HTTP/1.1\r\nHost: localhost\r\nUser-Agent: curl\r\n\r\n", "half"};
  pair_t t;
  int fd[3];
  unsigned i;

  (void) state;
  if (!kit_is_tcp()) skip_case("of tcp only");
  pair_rails(&t, "127.0.0.1");
  for (i = 0; i < 3; i++) {
    fd[i] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd[i], weft__lst_addr(t.door.lst), sizeof(struct sockaddr_in)), 0);
    if (say[i][0] != '\0') assert_int_equal(send(fd[i], say[i], strlen(say[i]), 0), strlen(say[i]));
  }
  settle_for(&t.k, 30);
  assert_int_equal(t.door.requests, 0);
  pair_connect(&t); /* still works */
  send_number(&t.x, 1, 64);
  UNTIL(&t.k, t.y.frames == 1);
  for (i = 0; i < 3; i++) close(fd[i]);
  settle_for(&t.k, 10);
  pair_close(&t);
}

static unsigned count_fds(void) {
  unsigned n = 0;
  int fd;

  for (fd = 0; fd < 1024; fd++) n += fcntl(fd, F_GETFD) >= 0;
  return n;
}

/* Connected and silent when the listener goes, and speaks afterwards: no descriptor stays open, no
 * memory is read that went with the listener. */
static void stranger_outlives_listener(void **state) {
  static const char hello[48] = {3};
  unsigned before, i;
  int fd[8];
  pair_t t;

  (void) state;
  if (!kit_is_tcp()) skip_case("of tcp only");
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  before = count_fds();
  for (i = 0; i < 8; i++) {
    fd[i] = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd[i], weft__lst_addr(t.door.lst), sizeof(struct sockaddr_in)), 0);
    if (i % 4 != 3) settle_for(&t.k, 2); /* the others may still be in the backlog */
    if (i % 4 == 2) (void) send(fd[i], "half", 4, MSG_NOSIGNAL);
  }
  weft__lst_close(t.door.lst);
  t.door.lst = NULL;
  for (i = 0; i < 8; i++) (void) send(fd[i], hello, sizeof(hello), MSG_NOSIGNAL);
  settle_for(&t.k, 10);
  for (i = 0; i < 8; i++) close(fd[i]);
  assert_true(count_fds() < before); /* the listener's own are gone too */
  send_number(&t.x, 1, 64);
  UNTIL(&t.k, t.y.frames == 1);
  pair_close(&t);
}

/* Connected and silent for long: shown the door, and those who came later are not. */
static void silent_strangers_are_turned_out(void **state) {
  char c;
  int fd[2];
  pair_t t;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  if (!t.b->q->half_open) {
    pair_close(&t);
    skip_case("of a provider that waits for its strangers for ever");
  }
  fd[0] = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(fd[0], weft__lst_addr(t.door.lst), sizeof(struct sockaddr_in)), 0);
  settle_for(&t.k, 5);
  weft__rail_drain(t.b, WEFT__DRAIN_FIRED);
  assert_true(weft__half_sweep(t.door.lst));
  t.k.now += HALF_OPEN_NS / 2;
  fd[1] = socket(AF_INET, SOCK_STREAM, 0);
  assert_int_equal(connect(fd[1], weft__lst_addr(t.door.lst), sizeof(struct sockaddr_in)), 0);
  weft__rail_drain(t.b, WEFT__DRAIN_ALL);
  assert_true(weft__half_sweep(t.door.lst));
  assert_int_equal(t.door.lst->nhalf, 2);
  t.k.now += HALF_OPEN_NS / 2 + 1;
  weft__half_sweep(t.door.lst);
  settle_for(&t.k, 5);
  assert_int_equal(recv(fd[0], &c, 1, MSG_DONTWAIT), 0);
  assert_int_equal(recv(fd[1], &c, 1, MSG_DONTWAIT), -1);
  assert_int_equal(errno, EAGAIN);
  pair_connect(&t);
  close(fd[0]);
  close(fd[1]);
  settle_for(&t.k, 5);
  assert_false(weft__half_sweep(t.door.lst));
  pair_close(&t);
}

/* ---- Other deaths ---- */

static void frames_before_death(void **state) {
  pair_t t;
  unsigned i;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  t.y.check = true;
  for (i = 0; i < 30; i++) send_number(&t.x, i, 3000);
  UNTIL(&t.k,
        t.x.path->ops != NULL && weft__mpath(t.x.path)->tx_post == weft__mpath(t.x.path)->tx_head);
  t.x.path->ops->close(t.x.path);
  UNTIL(&t.k, t.x.closed && t.y.downs);
  t.x.path = NULL;
  assert_int_equal(t.y.frames, 30);
  pair_close(&t);
}

static void device_is_lost(void **state) {
  pair_t t;
  struct sockaddr_in other = {.sin_family = AF_INET};

  (void) state;
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  other.sin_addr.s_addr = htonl(0x0a000001);
  weft__rail_lost(t.a, "eth7", NULL, "no");
  weft__rail_lost(t.a, NULL, (struct sockaddr *) &other, "no");
  settle_for(&t.k, 2);
  assert_int_equal(t.x.downs, 0);
  weft__rail_lost(t.a, weft__rail_device(t.a), weft__rail_addr(t.a), "the link went down");
  assert_int_equal(t.x.downs, 0); /* never inside the call */
  assert_int_equal(weft__rail_arm(t.a), -EAGAIN);
  UNTIL(&t.k, t.x.downs);
  assert_int_equal(t.x.err, -ENETDOWN);
  assert_non_null(strstr(t.x.why, ": the link went down"));
  UNTIL(&t.k, t.y.downs);
  pair_close(&t);
}

static void close_while_connecting(void **state) {
  struct stranger s;
  pair_t t;

  (void) state;
  if (!kit_is_tcp()) skip_case("of tcp only");
  pair_rails(&t, "127.0.0.1");
  stranger_start(&s, "");
  assert_int_equal(weft__rail_connect(t.a, (struct sockaddr *) &s.at, sizeof(s.at), "x", 1,
                                      &end_cbs, &t.x, &t.x.path),
                   0);
  t.x.path->ops->close(t.x.path);
  UNTIL(&t.k, t.x.closed);
  assert_int_equal(t.x.downs, 0);
  t.x.path = NULL;
  pthread_join(s.thread, NULL);
  close(s.fd);
  pair_close(&t);
}

/* ---- Injected failures ---- */

#ifdef WEFT_FAULTS
static void opening_fails(void **state) {
  static const char *const points[] = {"fabric_open", "domain_open", "cq_open", "eq_open", "epoll"};
  weft__cand_list_t l;
  weft__rail_t *rail;
  char spec[64], err[256];
  unsigned i;
  kit_t k;

  (void) state;
  kit_init(&k);
  if (!kit_is_tcp()) skip_case("of tcp only");
  assert_int_equal(weft__cand_scan("tcp", "lo", &l), 0);
  for (i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
    snprintf(spec, sizeof(spec), "%s:1:ENOMEM", points[i]);
    assert_int_equal(weft__fault_set(spec), 0);
    assert_int_equal(weft__rail_open(&k.env, &l.v[0], &rail, err, sizeof(err)), -ENOMEM);
    assert_null(rail);
    assert_non_null(strstr(err, "tcp lo: "));
    assert_non_null(strstr(err, "ENOMEM"));
  }
  /* the second use of epoll: the event queue */
  weft__fault_set("epoll:2:EIO");
  assert_int_equal(weft__rail_open(&k.env, &l.v[0], &rail, err, sizeof(err)), -EIO);
  weft__fault_set("getinfo:1:EAGAIN");
  weft__cand_free(&l);
  assert_int_equal(weft__cand_scan("", "", &l), -EAGAIN);
  assert_int_equal(l.n, 0);
  weft__fault_set(NULL);
}

static void listening_fails(void **state) {
  static const char *const points[] = {"eq_open", "ep_open", "listen", "epoll"};
  struct sockaddr_in in;
  weft__lst_t *l = NULL;
  char spec[64];
  unsigned i;
  pair_t t;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  memcpy(&in, weft__rail_addr(t.a), sizeof(in));
  for (i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
    snprintf(spec, sizeof(spec), "%s:1:EMFILE", points[i]);
    weft__fault_set(spec);
    assert_int_equal(
        weft__rail_listen(t.a, (struct sockaddr *) &in, sizeof(in), 8, &door_cbs, &t.door, &l),
        -EMFILE);
  }
  weft__fault_set(NULL);
  pair_close(&t);
}

/* Whatever step of a connect fails: `down` with a sentence, and the rail works afterwards. */
static void connecting_fails(void **state) {
  static const char *const points[] = {"ep_open", "ep_enable", "post_recv", "post_recv:5",
                                       "connect"};
  const struct sockaddr *to;
  char spec[64];
  unsigned i;
  pair_t t;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  to = weft__lst_addr(t.door.lst);
  for (i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
    snprintf(spec, sizeof(spec), strchr(points[i], ':') != NULL ? "%s:ENOMEM" : "%s:1:ENOMEM",
             points[i]);
    assert_int_equal(weft__fault_set(spec), 0);
    memset(&t.x, 0, sizeof(t.x));
    assert_int_equal(
        weft__rail_connect(t.a, to, weft__sa_len(to), "x", 1, &end_cbs, &t.x, &t.x.path), 0);
    UNTIL(&t.k, t.x.downs);
    assert_int_equal(t.x.err, -ENOMEM);
    assert_non_null(strstr(t.x.why, "ENOMEM"));
    assert_int_equal(t.x.connected, 0);
    end_close(&t.k, &t.x);
  }
  weft__fault_set(NULL);
  memset(&t.x, 0, sizeof(t.x));
  pair_connect(&t);
  pair_close(&t);
}

/* Whatever step of an accept fails: the connecting end hears of it, and the next one gets in. */
static void accepting_fails(void **state) {
  static const char *const points[] = {"ep_open:2", "ep_enable:2", "post_recv:40", "accept:1"};
  char spec[64];
  unsigned i;
  pair_t t;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  for (i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
    snprintf(spec, sizeof(spec), "%s:ENOMEM", points[i]);
    assert_int_equal(weft__fault_set(spec), 0);
    memset(&t.x, 0, sizeof(t.x));
    dial(t.a, &t.door, &t.x, "x", 1);
    UNTIL(&t.k, t.x.downs);
    assert_int_equal(t.door.accept_err, -ENOMEM);
    end_close(&t.k, &t.x);
    settle_for(&t.k, 2);
  }
  weft__fault_set(NULL);
  memset(&t.x, 0, sizeof(t.x));
  pair_connect(&t);
  pair_close(&t);
}

static void operations_fail(void **state) {
  static const char *const points[] = {"post_send:3:EIO", "post_recv:70:EIO", "post_write:1:EIO"};
  weft__rma_t r = {.niov = 1};
  weft__mr_t mr;
  char memory[64];
  unsigned i, n;
  pair_t t;

  (void) state;
  for (i = 0; i < sizeof(points) / sizeof(points[0]); i++) {
    weft__fault_set(points[i]);
    pair_rails(&t, "127.0.0.1");
    pair_connect(&t);
    assert_int_equal(t.y.path->ops->expose(t.y.path, memory, sizeof(memory), WEFT__OPEN_WRITE, &mr),
                     0);
    r.iov[0] = (struct iovec){.iov_base = memory, .iov_len = sizeof(memory)};
    r.addr = mr.addr;
    r.key = mr.key;
    for (n = 0; t.x.downs + t.y.downs == 0; n++) {
      weft__tbuf_t *b = t.x.path->ops->tx_get(t.x.path);
      if (b != NULL) (void) t.x.path->ops->send(t.x.path, b, 64);
      if (n == 20) (void) t.x.path->ops->write(t.x.path, &r);
      pump(&t.k);
      assert_true(n < 100000);
    }
    UNTIL(&t.k, t.x.downs && t.y.downs);
    t.y.path->ops->unexpose(t.y.path, &mr);
    weft__fault_set(NULL);
    pair_close(&t);
  }
}

/* The provider is full for a while: frames wait and keep their order. */
static void provider_is_full(void **state) {
  weft__rma_t r = {.niov = 1};
  weft__mr_t mr;
  char memory[64];
  unsigned i;
  pair_t t;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  if (t.a->q->post_lies) {
    pair_close(&t);
    skip_case("a post that this device refuses is not tried again");
  }
  pair_connect(&t);
  t.y.check = true;
  assert_int_equal(t.y.path->ops->expose(t.y.path, memory, sizeof(memory), WEFT__OPEN_WRITE, &mr),
                   0);
  r.iov[0] = (struct iovec){.iov_base = memory, .iov_len = sizeof(memory)};
  r.addr = mr.addr;
  r.key = mr.key;
  weft__fault_set("post_send:2:EAGAIN,post_send:3:EAGAIN,post_send:9:EAGAIN,post_recv:3:EAGAIN,"
                  "post_write:1:EAGAIN");
  for (i = 0; i < 20; i++) send_number(&t.x, i, 64 + i);
  assert_int_equal(t.x.path->ops->write(t.x.path, &r), -EAGAIN); /* may not overtake */
  assert_int_equal(weft__rail_arm(t.a), -EAGAIN);
  UNTIL(&t.k, t.y.frames == 20 && t.x.writable == 1);
  assert_int_equal(t.x.path->ops->write(t.x.path, &r), -EAGAIN); /* the provider's own */
  UNTIL(&t.k, t.x.writable == 2);
  assert_int_equal(t.x.path->ops->write(t.x.path, &r), 0);
  UNTIL(&t.k, t.x.rma_done == 1);
  assert_int_equal(t.x.downs + t.y.downs, 0);
  t.y.path->ops->unexpose(t.y.path, &mr);
  weft__fault_set(NULL);
  pair_close(&t);
}

/* A device whose refused posts may be carried out: the path is over at once, and its completion
 * queue goes with it; others go on, and new ones come. */
static void refused_posts_are_not_tried_again(void **state) {
  static weft__quirks_t row;
  static const char *const points[] = {"post_send:1:EAGAIN", "post_write:1:EAGAIN"};
  weft__rma_t r = {.niov = 1};
  weft__mr_t mr;
  char memory[64];
  unsigned i;
  pair_t t;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  row = *t.a->q;
  row.post_lies = true;
  row.shard_paths = 1;
  pair_close(&t);
  weft__quirks_set(&row);
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  for (i = 0; i < 2; i++) {
    end_t x = {0}, y = {0};
    t.door.ends = &y;
    t.door.nends = 1;
    t.door.taken = 0;
    dial(t.a, &t.door, &x, "x", 1);
    UNTIL(&t.k, x.connected && t.door.taken == 1 && y.path != NULL);
    assert_int_equal(t.a->nshards, 2);
    assert_int_equal(y.path->ops->expose(y.path, memory, sizeof(memory), WEFT__OPEN_WRITE, &mr), 0);
    r.iov[0] = (struct iovec){.iov_base = memory, .iov_len = sizeof(memory)};
    r.addr = mr.addr;
    r.key = mr.key;
    weft__fault_set(points[i]);
    if (i == 0)
      assert_int_equal(x.path->ops->send(x.path, x.path->ops->tx_get(x.path), 64), -EIO);
    else
      assert_int_equal(x.path->ops->write(x.path, &r), -EIO);
    weft__fault_set(NULL);
    assert_null(x.path->ops->tx_get(x.path));
    UNTIL(&t.k, x.downs && y.downs);
    assert_non_null(strstr(x.why, "refused by the device"));
    assert_int_equal(y.frames, 0);
    y.path->ops->unexpose(y.path, &mr);
    end_close(&t.k, &x);
    end_close(&t.k, &y);
    assert_int_equal(t.a->nshards, 1);
    send_number(&t.x, i, 64);
    UNTIL(&t.k, t.y.frames == i + 1);
  }
  pair_close(&t);
  weft__quirks_set(NULL);
}

/* What a queue sleeps on cannot be set: no sleep, and another try. */
static void arming_fails(void **state) {
  pair_t t;
  int r;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  settle_for(&t.k, 5);
  if (t.a->q->pollfd) {
    while (weft__rail_arm(t.a) != 0) weft__rail_drain(t.a, WEFT__DRAIN_FIRED);
    t.a->shards[0]->dirty = true;
    t.a->shards[0]->wait.change = 0; /* as if something had changed */
    weft__fault_set("epoll:1:ENOMEM");
    assert_int_equal(weft__rail_arm(t.a), -EAGAIN);
    do {
      weft__rail_drain(t.a, WEFT__DRAIN_FIRED);
      r = weft__rail_arm(t.a);
    } while (r != 0);
    weft__fault_set(NULL);
    send_number(&t.y, 1, 64);
    assert_int_equal(poll(&(struct pollfd){.fd = weft__rail_fd(t.a), .events = POLLIN}, 1, 2000),
                     1);
    UNTIL(&t.k, t.x.frames == 1);
  }
  pair_close(&t);
}

static void registering_fails(void **state) {
  weft__mr_t mr;
  char memory[64];
  pair_t t;

  (void) state;
  pair_rails(&t, "127.0.0.1");
  pair_connect(&t);
  weft__fault_set("mr_reg:1:ENOMEM");
  assert_int_equal(t.y.path->ops->expose(t.y.path, memory, sizeof(memory), WEFT__OPEN_WRITE, &mr),
                   -ENOMEM);
  assert_int_equal(t.y.path->ops->expose(t.y.path, memory, sizeof(memory), WEFT__OPEN_WRITE, &mr),
                   0);
  weft__fault_set(NULL);
  settle_for(&t.k, 2);
  assert_int_equal(t.y.downs, 0); /* the path lives */
  t.y.path->ops->unexpose(t.y.path, &mr);
  pair_close(&t);
}
#endif

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(peer_is_killed),
      cmocka_unit_test(strangers_answer),
      cmocka_unit_test(strangers_call),
      cmocka_unit_test(stranger_outlives_listener),
      cmocka_unit_test(silent_strangers_are_turned_out),
      cmocka_unit_test(frames_before_death),
      cmocka_unit_test(device_is_lost),
      cmocka_unit_test(close_while_connecting),
#ifdef WEFT_FAULTS
      cmocka_unit_test(opening_fails),
      cmocka_unit_test(listening_fails),
      cmocka_unit_test(connecting_fails),
      cmocka_unit_test(accepting_fails),
      cmocka_unit_test(operations_fail),
      cmocka_unit_test(provider_is_full),
      cmocka_unit_test(refused_posts_are_not_tried_again),
      cmocka_unit_test(arming_fails),
      cmocka_unit_test(registering_fails),
#endif
  };

  return cmocka_run_group_tests(tests, NULL, NULL);
}
