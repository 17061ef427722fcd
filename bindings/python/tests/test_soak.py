# SPDX-License-Identifier: Apache-2.0
# ctest: timeout=180
"""Long runs: 100,000 messages each way between C and Python with checksums, and rounds of everything that can go wrong
after which memory is what it was. WEFT_SEED replays a run; WEFT_COUNT makes it shorter."""

import asyncio
import gc
import os
import random
import subprocess
import sys
import tracemalloc
import unittest
import zlib

import lib
import weft

SEED = int(os.environ.get("WEFT_SEED") or random.SystemRandom().randrange(1, 1 << 31))
COUNT = int(os.environ.get("WEFT_COUNT") or (100_000 if lib.SLOW == 1 else 10_000))
URL = "weft://127.0.0.1:0"
POOL = 2 << 20
WARM_UP, ROUNDS = 4, 10


class Soak(lib.Case):
    limit = 150.0

    async def test_messages_between_c_and_python(self):
        print(f"seed {SEED}, {COUNT} messages each way", flush=True)
        draw = random.Random(SEED)
        pool = memoryview(draw.randbytes(POOL))
        writable = memoryview(bytearray(pool))

        def next_message(number):
            which = draw.randrange(256)
            size = draw.randrange(POOL // 2 if which == 0 else 70_000 if which < 16 else 3_000)
            at = draw.randrange(POOL - size)
            body = (writable if draw.randrange(2) else pool)[at : at + size]
            return b"".join((number.to_bytes(4, "little"), zlib.crc32(body).to_bytes(4, "little"), body))

        async def send_all(c):
            waiting = set()
            for number in range(COUNT):
                message = next_message(number)
                how = draw.randrange(8)
                if how == 0:  # awaited, several at a time
                    waiting.add(asyncio.ensure_future(c.send(bytearray(message) if number % 2 else message)))
                    await asyncio.sleep(0)  # it starts here, so that the order is that of the numbers
                    if len(waiting) >= 16:
                        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                        for one in done:
                            one.result()
                elif how == 1:
                    try:
                        c.send_nowait(message)
                    except weft.Error as error:
                        self.assertEqual(error.code, weft.EAGAIN)
                        await c.write(message)
                else:
                    await c.write(memoryview(message) if how == 2 else message)
            await asyncio.gather(*waiting)
            await c.shutdown()

        async def receive_all(c):
            received = 0
            kept = []
            async for m in c:
                self.assertEqual(int.from_bytes(m[:4], "little"), received)
                self.assertEqual(int.from_bytes(m[4:8], "little"), zlib.crc32(m[8:]), f"message {received} has changed")
                received += 1
                if type(m) is memoryview and draw.randrange(4) == 0:  # given back later, in another order
                    kept.append((m, zlib.crc32(m)))
                    if len(kept) > 20:
                        draw.shuffle(kept)
                        old, crc = kept.pop()
                        self.assertEqual(zlib.crc32(old), crc, "a message changed while it was kept")
            self.assertEqual(received, COUNT)

        async with weft.listen(URL, context=weft.Context()) as listener:
            program = os.path.join(os.environ["WEFT_BIN"], "py_peer")
            child = await asyncio.create_subprocess_exec(program, listener.url, str(SEED), str(COUNT), stdout=subprocess.PIPE)
            c = await listener.accept()
            await asyncio.gather(send_all(c), receive_all(c))
            await c.close()
            said, _ = await child.communicate()
        await listener._context.close()
        self.assertEqual((child.returncode, said.decode()), (0, f"sent {COUNT} received {COUNT}\n"))

    async def round(self):
        """Everything that can go wrong, once."""

        def admit(peer):
            if peer.needs["message_size"] == 7:
                raise LookupError("in a callback")
            return True

        contexts = [weft.Context(), weft.Context()]
        broken = weft.listen(URL, self.fails, context=contexts[0])
        async with weft.listen(URL, context=contexts[0], admit=admit) as listener, broken as failing:
            for _ in range(3):
                a = await weft.connect(listener.url, context=contexts[1])
                b = await listener.accept()
                for _ in range(300):  # cancelled sends
                    sending = asyncio.ensure_future(a.send(bytearray(100)))
                    await asyncio.sleep(0)
                    sending.cancel()
                for size in (1 << 20, 3 << 20):
                    sending = asyncio.ensure_future(a.send(bytearray(size)))
                    await asyncio.sleep(0)
                    sending.cancel()
                await a.send(b"last")
                while bytes(await b.recv()) != b"last":
                    pass
                for _ in range(300):  # cancelled receives
                    receiving = asyncio.ensure_future(b.recv())
                    await asyncio.sleep(0)
                    receiving.cancel()
                for _ in range(20):  # views kept, views not taken
                    await a.send(bytes(50_000))
                held = [await b.recv() for _ in range(10)]
                a.send_nowait(b"under way")
                a.abort()
                with self.assertRaises(weft.Error):
                    while True:
                        await b.recv()
                with self.assertRaises(weft.Error):
                    await b.send(b"x")
                b.abort()
                held.clear()
            with self.assertRaises(weft.Error):
                await weft.connect(listener.url, context=contexts[1], message_size=7)
            with self.assertRaises(weft.Error):
                await weft.connect("weft://127.0.0.1:1", context=contexts[1])
            c = await weft.connect(failing.url, context=contexts[1])
            with self.assertRaises(weft.Error):
                await c.recv()
            c.abort()
            waiting = asyncio.ensure_future(weft.connect("weft://192.0.2.1:7", context=contexts[1])._open())
            await asyncio.sleep(0.01)
            waiting.cancel()
            left_open = await weft.connect(listener.url, context=contexts[1])
            await left_open.send(b"x")
        for context in contexts:
            await context.close()
        self.assertEqual([type(r["exception"]).__name__ for r in self.reported], ["LookupError", "ZeroDivisionError"])
        self.reported.clear()

    async def fails(self, c):
        1 / 0

    async def test_memory_is_flat(self):
        traced, resident = [], []
        tracemalloc.start()
        for _ in range(WARM_UP + ROUNDS):
            await self.round()
            await asyncio.sleep(0)
            gc.collect()
            traced.append(tracemalloc.get_traced_memory()[0])
            resident.append(lib.rss())
        tracemalloc.stop()
        traced, resident = traced[WARM_UP:], resident[WARM_UP:]
        print(f"traced {min(traced)} .. {max(traced)} bytes, resident {min(resident) >> 10} .. {max(resident) >> 10} KiB")
        half = ROUNDS // 2
        self.assertLess(min(traced[half:]) - min(traced[:half]), 8 << 10, f"Python's memory grows: {traced}")
        if lib.SLOW == 1:  # AddressSanitizer keeps what is freed for a while: resident memory says nothing there
            self.assertLess(min(resident[half:]) - min(resident[:half]), 2 << 20, f"the process grows: {resident}")
        import weft._conn as conn
        import weft._context as context
        import weft._listener as listener

        for table in (conn._conns, conn._connects, conn._shutdowns, conn._sends, listener._listeners, context._contexts):
            self.assertFalse(table, "something is still known to libweft")

    def test_the_interpreter_ends_with_open_connections(self):
        """Ten times, at different moments of a busy exchange."""
        code = (
            "import asyncio, sys, weft\n"
            "async def main():\n"
            "    l = await weft.listen('weft://127.0.0.1:0')\n"
            "    c = await weft.connect(l.url); s = await l.accept()\n"
            "    async def pump():\n"
            "        while True: await c.write(bytes(20000)); await asyncio.sleep(0)\n"
            "    asyncio.ensure_future(pump())\n"
            "    globals()['kept'] = [l, c, s]\n"
            "    for _ in range(int(sys.argv[1])): kept.append(await s.recv())\n"
            "asyncio.run(main()) if int(sys.argv[1]) % 2 else asyncio.new_event_loop().run_until_complete(main())\n"
        )
        for i in range(10):
            done = subprocess.run([sys.executable, "-c", code, str(i * 7)], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertNotIn("AddressSanitizer", done.stderr)


if __name__ == "__main__":
    unittest.main()
