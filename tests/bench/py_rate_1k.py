#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""py_rate_1k - 1 KiB messages one way between two asyncio programs on loopback; the time ends when the receiver has
confirmed the last. Beside it asyncio's streams over TCP with a four-byte length before each message. Bound: at least 1.5
of asyncio streams."""

import asyncio
import time

import lib_bench
import weft

SIZE = 1024


async def serve(kind):
    if kind == "streams":

        async def sink(reader, writer):
            count = 0
            try:
                while True:
                    size = int.from_bytes(await reader.readexactly(4), "big")
                    message = await reader.readexactly(size)
                    if len(message) == 1:
                        writer.write(count.to_bytes(8, "big"))
                        count = 0
                    else:
                        count += 1
            except asyncio.IncompleteReadError:
                writer.close()

        server = await asyncio.start_server(sink, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await lib_bench.until_stdin_ends()
        return

    async def sink(c):
        count = 0
        async for message in c:
            if len(message) == 1:
                c.send_nowait(count.to_bytes(8, "big"))
                count = 0
            else:
                count += 1

    async with weft.listen("weft://127.0.0.1:0", sink) as listener:
        print(listener.url, flush=True)
        await lib_bench.until_stdin_ends()


async def run(bench, addresses):
    payload = bytes(SIZE)
    clock = time.perf_counter
    reader, writer = await asyncio.open_connection("127.0.0.1", int(addresses["streams"]))
    conn = await weft.connect(addresses["weft"])

    def framed(message):
        return len(message).to_bytes(4, "big") + message

    async def streams_for(seconds):
        sent = 0
        begin = clock()
        while clock() - begin < seconds:
            for _ in range(100):
                writer.write(framed(payload))
                await writer.drain()
            sent += 100
        writer.write(framed(b"."))
        got = int.from_bytes(await reader.readexactly(8), "big")
        assert got == sent, (got, sent)
        return sent / (clock() - begin)

    async def weft_for(seconds):
        sent = 0
        begin = clock()
        while clock() - begin < seconds:
            for _ in range(100):
                await conn.write(payload)
            sent += 100
        await conn.write(b".")
        got = int.from_bytes(await conn.recv(), "big")
        assert got == sent, (got, sent)
        return sent / (clock() - begin)

    contenders = {"asyncio streams": streams_for, "weft": weft_for}
    rate = {name: [] for name in contenders}
    for one in contenders.values():
        await one(0.3)
    for i in range(bench.args.rounds):
        for name, one in contenders.items():
            rate[name].append(await one(bench.args.seconds) / 1e3)
        if bench.args.verbose:
            print(f"round {i + 1}: " + ", ".join(f"{name} {v[-1]:.1f}" for name, v in rate.items()) + " k/s", flush=True)
    writer.close()
    await conn.close()
    for name, values in rate.items():
        bench.series(name, values, "k/s")
    bench.at_least("py_rate_1k", lib_bench.ratio(rate["weft"], rate["asyncio streams"]), "ratio", 1.5)


if __name__ == "__main__":
    bench = lib_bench.Bench(__doc__, serve)
    lib_bench.pin(lib_bench.CLIENT_CORE)
    asyncio.run(run(bench, {kind: bench.server(kind) for kind in ("streams", "weft")}))
    bench.end()
