# SPDX-License-Identifier: Apache-2.0
"""What happens in the gaps: a task cancelled between two steps, a call made twice, a signal in the wrong place, a fork
while others run. One scenario a test."""

import asyncio
import ctypes
import gc
import os
import signal
import sys
import threading
import time
import unittest
import warnings
import weakref

import lib
import weft
import weft.sync
from test_api import URL, pair
from weft import _conn, _ffi, _needs, _wait


class interrupted:
    """libweft in which a Ctrl-C comes right after one function has returned."""

    def __init__(self, function):
        self._function = function

    def __getattr__(self, name):
        real = getattr(_ffi.lib, name)
        if name != self._function:
            return real

        def call(*arguments):
            real(*arguments)
            raise KeyboardInterrupt

        return call

    def __enter__(self):
        _conn.lib = self

    def __exit__(self, *exc):
        _conn.lib = _ffi.lib


class Edges(lib.Case):
    async def test_a_message_for_a_receiver_that_is_being_cancelled_wakes_the_next(self):
        async with pair() as (a, b):
            first, second = asyncio.ensure_future(b.recv()), asyncio.ensure_future(b.recv())
            await asyncio.sleep(0.05)
            a.send_nowait(b"m")

            def cancel_and_turn():  # the task of `first` runs only after this turn of Weft has brought the message
                first.cancel()
                turns = b._context._turns
                deadline = time.monotonic() + 2
                while not b._rx and b._context._turns < turns + 500 and time.monotonic() < deadline:
                    a._context._run()
                    b._context._run()

            asyncio.get_running_loop().call_soon(cancel_and_turn)
            self.assertEqual(await asyncio.wait_for(second, 2 * lib.SLOW), b"m")
            with self.assertRaises(asyncio.CancelledError):
                await first

    async def test_a_second_shutdown_leaves_the_first_ones_request(self):
        async with pair() as (a, b):
            b._pause()
            for _ in range(40):
                a.send_nowait(bytes(60_000)) if a.queued_bytes < 900_000 else None
            owners, block = [], _ffi.block

            def watched(name):
                owner, address = block(name)
                owners.append(weakref.ref(owner))
                return owner, address

            _ffi.block = watched
            self.addCleanup(setattr, _ffi, "block", block)
            first = asyncio.ensure_future(a.shutdown())
            await asyncio.sleep(0)
            with self.assertRaises(weft.Error) as twice:
                await a.shutdown()
            self.assertEqual(twice.exception.code, weft.EALREADY)
            self.assertIsNotNone(owners[0](), "libweft still writes there")
            del twice
            gc.collect()
            _conn_start(b)
            async for _ in b:
                pass
            await first

    async def test_a_cancelled_shutdown_goes_on_and_close_waits_for_it(self):
        async with pair() as (a, b):
            b._pause()
            await asyncio.sleep(0.02)
            sent = 0
            try:
                while True:
                    a.send_nowait(bytes(60_000))
                    sent += 1
            except weft.Error:
                pass
            with self.assertRaises(asyncio.TimeoutError):
                await asyncio.wait_for(a.shutdown(), 0.05)
            closing = asyncio.ensure_future(a.close())
            await asyncio.sleep(_conn.LINGER * 1.3)
            self.assertFalse(closing.done(), "the peer has not got everything yet")
            _conn_start(b)
            got = 0
            async for m in b:
                got += len(m) == 60_000
            self.assertEqual(got, sent)
            await b.close()
            await closing

    async def test_a_refused_send_does_not_silence_close(self):
        async with pair(server={"max_message": "1MiB"}) as (a, b):
            with self.assertRaises(weft.Error) as big:
                await a.send(bytes((1 << 20) + 1))
            self.assertEqual(big.exception.code, weft.EMSGSIZE)
            b._pause()
            a.send_nowait(b"lost")
            b.abort()
            await self.until(lambda: a._error is not None, "the reset")
            with self.assertRaises(weft.Error) as lost:
                await a.close()
            self.assertEqual(lost.exception.code, weft.ECONNRESET)

    async def test_an_interrupt_after_the_call_does_not_lose_the_buffer(self):
        async with pair() as (a, b):
            b._pause()
            await asyncio.sleep(0.02)
            data = bytearray(4 << 20)
            with interrupted("weft_send"), self.assertRaises(KeyboardInterrupt):
                a._post(data, _wait.Waiter(a._loop), 0)
            with self.assertRaises(BufferError):
                data.append(1)  # libweft reads from it
            big = bytes(4 << 20)
            count = sys.getrefcount(big)
            with interrupted("weft_send"), self.assertRaises(KeyboardInterrupt):
                a._post(big, _wait.Waiter(a._loop), 0)
            a._context._bytes_buf.base = None
            self.assertGreater(sys.getrefcount(big), count)
            a.abort()
            await a.wait_closed()
            data.append(1)
            self.assertFalse(_conn._sends)

    async def test_a_large_message_that_is_acknowledged_is_not_kept(self):
        async with pair() as (a, b):
            data = bytes(1 << 20)
            count = sys.getrefcount(data)
            await a.send(data)
            await b.recv()
            self.assertEqual(sys.getrefcount(data), count)

    async def test_event_streams_that_nobody_has_are_forgotten(self):
        async with pair() as (a, _):
            for _ in range(10):
                a.events()
            gc.collect()
            self.assertEqual(len(a._streams), 0)

    async def test_two_tasks_on_one_event_stream(self):
        async with pair() as (a, _):
            stream = a.events()

            async def take():
                return [e async for e in stream]

            taking = [asyncio.ensure_future(take()) for _ in range(2)]
            await asyncio.sleep(0.01)
            a.abort()
            self.assertEqual(len(await asyncio.wait_for(asyncio.gather(*taking), 2 * lib.SLOW)), 2, "both end")

    async def test_wait_closed_waits_for_an_open_connection(self):
        async with pair() as (a, _):
            waiting = asyncio.ensure_future(a.wait_closed())
            await asyncio.sleep(0.01)
            self.assertFalse(waiting.done())
            a.abort()
            await asyncio.wait_for(waiting, 5 * lib.SLOW)

    async def test_peers_that_found_the_queue_full_are_all_taken(self):
        listener = await weft.listen(URL, backlog=2)
        peers = [await weft.connect(listener.url) for _ in range(2)]
        late = [asyncio.ensure_future(weft.connect(listener.url)) for _ in range(2)]
        while not listener._more:
            await asyncio.sleep(0.01)
        taken = []
        for _ in range(4):
            taken.append(await asyncio.wait_for(listener.accept(), 5 * lib.SLOW))
        peers += await asyncio.wait_for(asyncio.gather(*late), 5 * lib.SLOW)
        for number, conn in enumerate(peers):
            await conn.send(b"%d" % number)
        said = [await asyncio.wait_for(conn.recv(), 5 * lib.SLOW) for conn in taken]
        self.assertEqual(sorted(said), [b"0", b"1", b"2", b"3"])
        for conn in taken + peers:
            conn.abort()
        await listener.close()

    async def test_a_context_whose_close_is_cancelled(self):
        async with pair() as (a, b):
            context = a._context
            await weft.listen(URL, context=context)
            with warnings.catch_warnings(record=True) as said:
                warnings.simplefilter("always")
                closing = asyncio.ensure_future(context.close())
                await asyncio.sleep(0)
                closing.cancel()
                await asyncio.wait([closing])
                del closing
                gc.collect()
            self.assertEqual([str(w.message) for w in said], [])
            await context.close()
            self.assertTrue(context._gone)

    async def test_a_peer_whose_needs_are_no_text(self):
        raw = _ffi.Peer(name=b"\xff\xfe", address=b"127.0.0.1:1")
        raw.qos.require = b"\xff\xfe"
        peer = _needs.Peer._of(ctypes.addressof(raw))
        self.assertEqual(peer.needs["require"], "\ufffd\ufffd")
        v = _ffi.Verdict(provider=b"\xff", device=b"\xff", remote=b"\xff", local=b"\xff")
        self.assertEqual(_needs.Verdict._of(v).remote, "\ufffd")


def _conn_start(conn):
    conn._paused = False
    assert _ffi.lib.weft_recv_start(conn._address, None, _conn._ON_RECV) == 0
    conn._context._kick()


class Forks(unittest.TestCase):
    def child(self, function, seconds=15 * lib.SLOW):
        """What a forked child prints by `function`; fails when it hangs."""
        readable, writable = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                said = repr(function())
            except BaseException as error:
                said = repr(error)
            os.write(writable, said.encode())
            os._exit(0)
        os.close(writable)
        deadline = time.monotonic() + seconds
        while os.waitpid(pid, os.WNOHANG) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(pid, signal.SIGKILL)
                os.waitpid(pid, 0)
                os.close(readable)
                self.fail("the child hangs")
            time.sleep(0.01)
        with os.fdopen(readable) as said:
            return said.read()

    def test_fork_while_another_thread_starts_weft_sync(self):
        with weft.sync.listen(URL) as listener:
            inside, leave = threading.Event(), threading.Event()

            def hold():
                with weft.sync._lock:
                    inside.set()
                    leave.wait()

            thread = threading.Thread(target=hold)
            thread.start()
            inside.wait()

            def talk():
                with weft.sync.connect(listener.url) as c:
                    c.send(b"x")
                return "sent"

            try:
                self.assertEqual(self.child(talk, 5 * lib.SLOW), "'sent'")
            finally:
                leave.set()
                thread.join()

    def test_events_in_a_child_are_an_error(self):
        async def main():
            async with pair() as (a, _):
                stream = a.events()

                def ask():
                    told = []
                    for step in (a.events, lambda: stream.__anext__().send(None)):
                        try:
                            step()
                        except weft.Error as error:
                            told.append(error.name)
                    return told

                self.assertEqual(self.child(ask), "['WEFT_EFORK', 'WEFT_EFORK']")

        asyncio.run(main())

    def test_a_child_that_unwinds_leaves_the_parents_loop_alone(self):
        async def main():
            async with pair() as (a, b):
                await a.send(b"x")
                await b.recv()
                pid = os.fork()
                if pid == 0:
                    try:
                        for context in (a._context, b._context):
                            context._run()  # a turn that was booked before the fork
                    finally:
                        os._exit(0)
                os.waitpid(pid, 0)
                for _ in range(20):
                    await asyncio.sleep(0.01)  # nothing is scheduled: only the descriptor tells
                    a.send_nowait(b"y")
                    self.assertEqual(await asyncio.wait_for(b.recv(), 5 * lib.SLOW), b"y")

        asyncio.run(main())


if __name__ == "__main__":
    unittest.main()
