/* SPDX-License-Identifier: Apache-2.0 */
/* stream.h - byte streams that a provider of this folder runs on, and sets of them to wait for.
 *
 * Design notes
 *  - One table of operations per build: stream_kernel.c defines tf_stream over kernel sockets; another
 *    stack defines it over its own. Nothing above knows what a stream is made of.
 *  - Nothing blocks but tf_wait with a timeout. Results are 0 or a count, or a negative errno.
 *  - A set is level-triggered, has one descriptor that a program may put into its own poll, and can be
 *    woken from any thread; its deadline makes it ready once, at a time. */
#ifndef TCPFALLBACK_STREAM_H
#define TCPFALLBACK_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* A stream or a listener. A descriptor, a pointer, an index: what the operations make of it. */
typedef intptr_t tf_sock_t;
#define TF_NO_SOCK ((tf_sock_t) -1)

/* What each new stream is set to. Times in milliseconds, 0: as the system has it. */
typedef struct tf_sockopts {
  bool nodelay, reuseport;
  int user_timeout, keepidle, keepintvl, keepcnt;
  int sndbuf, rcvbuf;
  int busy_poll; /* microseconds */
  bool zerocopy; /* writez may be used */
} tf_sockopts_t;

enum {
  TF_IN = 1,   /* something to read, or its end */
  TF_OUT = 2,  /* room to write */
  TF_HUP = 4,  /* the peer sends no more, or the stream is broken */
  TF_NOTE = 8, /* notes are there; always asked for */
};

typedef struct tf_ready {
  void *ptr; /* as given to add; NULL: woken, or the deadline */
  unsigned events;
} tf_ready_t;

typedef struct tf_set tf_set_t;

struct ifaddrs;

typedef struct tf_stream {
  void (*params)(void); /* defines and reads its own; NULL: it has none */
  int (*start)(void); /* once a program opens a fabric; may be called again; NULL: nothing to do */
  void (*stop)(void); /* the program ends; NULL: nothing to do */
  int (*interfaces)(struct ifaddrs **); /* as getifaddrs */
  void (*interfaces_free)(struct ifaddrs *);
  bool (*route)(const struct sockaddr *dst, struct sockaddr_storage *src); /* sent from where? */
  bool own_routes; /* what route does not know nobody reaches: a kernel may learn of it yet */

  /* A stream bound to an address (NULL: none), for connect or for listen. late: for connect alone,
   * which chooses the port where the address has none. */
  int (*open)(const struct sockaddr *, socklen_t, const tf_sockopts_t *, int family, bool late,
              tf_sock_t *);
  int (*listen)(tf_sock_t, int backlog);
  int (*accept)(tf_sock_t, const tf_sockopts_t *, tf_sock_t *);
  int (*connect)(tf_sock_t, const struct sockaddr *, socklen_t); /* -EINPROGRESS: TF_OUT ends it */
  int (*error)(tf_sock_t);                                       /* what became of it */
  /* Bytes taken; -EAGAIN: not now. */
  ssize_t (*write)(tf_sock_t, const void *, size_t);
  ssize_t (*writev)(tf_sock_t, const struct iovec *, int n);
  bool (*lends)(void); /* have streams that are set to zerocopy the next two? */
  /* As writev, but from the caller's memory, which must stay as it is until a note says that this
   * call is done. Such calls that took something are counted from 0; -ENOBUFS: not so now. */
  ssize_t (*writez)(tf_sock_t, const struct iovec *, int n);
  /* 1: the calls from *first to *last are done; 0: no note. */
  int (*note)(tf_sock_t, uint32_t *first, uint32_t *last);
  /* Bytes read; 0: the end. */
  ssize_t (*read)(tf_sock_t, void *, size_t);
  ssize_t (*readv)(tf_sock_t, const struct iovec *, int n);
  int (*name)(tf_sock_t, struct sockaddr_storage *, socklen_t *);
  int (*peer)(tf_sock_t, struct sockaddr_storage *, socklen_t *);
  void (*shutdown)(tf_sock_t); /* both directions */
  void (*reset)(tf_sock_t);    /* ... and what has not left never will */
  void (*close)(tf_sock_t);

  int (*set_open)(tf_set_t **);
  void (*set_close)(tf_set_t *);
  int (*set_fd)(tf_set_t *);
  int (*add)(tf_set_t *, tf_sock_t, unsigned events, void *ptr);
  int (*mod)(tf_set_t *, tf_sock_t, unsigned events, void *ptr);
  void (*del)(tf_set_t *, tf_sock_t);
  int (*wait)(tf_set_t *, tf_ready_t *, int max, int timeout_ms); /* how many; -EINTR */
  void (*wake)(tf_set_t *);                                       /* ready until quiet is called */
  void (*quiet)(tf_set_t *);
  void (*deadline)(tf_set_t *, uint64_t); /* ready at it, until it is set anew; 0: never */
  uint64_t (*now)(void);                  /* milliseconds of a clock that only goes forward */
} tf_stream_t;

extern const tf_stream_t tf_stream;

#endif
