# SPDX-License-Identifier: Apache-2.0
"""weft.sync: calls that block, from any thread."""

import os
import subprocess
import sys
import threading
import time
import unittest

import lib
import weft
import weft.sync

URL = "weft://127.0.0.1:0"


class Echo:
    """A listener whose connections are echoed by a thread each."""

    def __enter__(self):
        self.listener = weft.sync.listen(URL)
        self.threads = []
        self.acceptor = threading.Thread(target=self.accept)
        self.acceptor.start()
        return self.listener.url

    def accept(self):
        for c in self.listener:
            thread = threading.Thread(target=self.echo, args=(c,))
            thread.start()
            self.threads.append(thread)

    def echo(self, c):
        with c:
            for m in c:
                c.send(m)

    def __exit__(self, *exc):
        self.listener.close()
        for thread in [self.acceptor] + self.threads:
            thread.join(10 * lib.SLOW)
            assert not thread.is_alive()


class Sync(unittest.TestCase):
    def test_messages(self):
        with Echo() as url, weft.sync.connect(url) as c:
            for size in (0, 64, 4096, 100_000, 3_000_000):
                data = os.urandom(size)
                c.send(data)
                back = c.recv(timeout=10)
                self.assertEqual(back, data)
            self.assertEqual(c.info()["provider"], os.environ.get("WEFT_TEST_TCP", "ksock"))
            self.assertEqual(c.verdicts()[0].why, "WEFT_WHY_IN_USE")

    def test_a_timeout_loses_nothing(self):
        with Echo() as url, weft.sync.connect(url) as c:
            before = time.monotonic()
            with self.assertRaises(weft.Error) as late:
                c.recv(timeout=0.1)
            self.assertEqual(late.exception.code, weft.ETIMEDOUT)
            self.assertGreaterEqual(time.monotonic() - before, 0.09)
            for i in range(50):
                c.write(b"%d" % i)
                try:
                    got = c.recv(timeout=0.0002)
                except weft.Error as error:
                    self.assertEqual(error.code, weft.ETIMEDOUT)
                    got = c.recv(timeout=10)
                self.assertEqual(got, b"%d" % i)

    def test_many_threads(self):
        with Echo() as url:
            failed = []

            def talk(n):
                try:
                    with weft.sync.connect(url) as c:
                        for i in range(50):
                            c.send(b"%d %d" % (n, i))
                            assert c.recv(timeout=10 * lib.SLOW) == b"%d %d" % (n, i)
                except BaseException as error:
                    failed.append(error)

            threads = [threading.Thread(target=talk, args=(n,)) for n in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.assertEqual(failed, [])

    def test_errors(self):
        with self.assertRaises(weft.Error) as refused:
            weft.sync.connect("weft://127.0.0.1:1")
        self.assertEqual(refused.exception.code, weft.ECONNREFUSED)
        with self.assertRaises(weft.Error) as bad:
            weft.sync.connect("weft://127.0.0.1:1", latency="20")
        self.assertIn("latency=20", bad.exception.reason)
        with weft.sync.listen(URL, latency="1ms") as listener:
            with self.assertRaises(weft.Error) as late:
                listener.accept(timeout=0.05)
            self.assertEqual(late.exception.code, weft.ETIMEDOUT)

    def test_the_end(self):
        with weft.sync.listen(URL) as listener:
            c = weft.sync.connect(listener.url)
            s = listener.accept(timeout=10)
            c.write(b"last")
            c.shutdown()
            self.assertEqual(list(s), [b"last"])
            s.send(b"back")
            self.assertEqual(c.recv(timeout=10), b"back")
            s.abort()
            with self.assertRaises(weft.Error) as lost:
                c.recv(timeout=10)
            self.assertEqual(lost.exception.code, weft.ECONNRESET)
            c.abort()
            with self.assertRaises(weft.Error) as closed:
                c.send(b"x")
            self.assertEqual(closed.exception.code, weft.ECANCELED)

    def test_a_forked_child_gets_an_error_and_can_start_anew(self):
        with Echo() as url, weft.sync.connect(url) as c:
            c.send(b"x")
            c.recv(timeout=10)
            readable, writable = os.pipe()
            pid = os.fork()
            if pid == 0:
                said = b""
                try:
                    c.send(b"child")
                except weft.Error as error:
                    said = error.name.encode()
                try:
                    with weft.sync.connect(url) as own:
                        own.send(b"own")
                        said += b" " + bytes(own.recv(timeout=10))
                except BaseException as error:
                    said += repr(error).encode()
                os.write(writable, said)
                os._exit(0)
            os.close(writable)
            self.assertEqual(os.read(readable, 1000), b"WEFT_EFORK own")
            os.close(readable)
            os.waitpid(pid, 0)
            c.send(b"y")
            self.assertEqual(c.recv(timeout=10), b"y")

    def test_exit_with_an_open_connection(self):
        done = subprocess.run(
            [sys.executable, "-c",
             "import weft.sync\nl = weft.sync.listen('weft://127.0.0.1:0')\nc = weft.sync.connect(l.url)\n"
             "s = l.accept()\nc.send(bytes(100000))\nm = s.recv()\nprint(len(m))\n"],
            capture_output=True, text=True, timeout=30 * lib.SLOW)  # fmt: skip
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "100000\n", ""))


if __name__ == "__main__":
    unittest.main()
