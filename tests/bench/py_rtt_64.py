#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""py_rtt_64 - 64 B ping-pong between two asyncio programs on loopback, beside asyncio's streams over TCP. The connection
declares latency=20us, so Weft may spin where the machine has processors to spare. Bound: p50 at most 1.3 of asyncio
streams. Printed too, without a bound: a connection without needs, which sleeps while it waits, and one on which every send
is awaited."""

import asyncio
import time

import lib_bench
import weft

SIZE = 64


async def serve(kind):
    if kind == "streams":

        async def answer(reader, writer):
            try:
                while True:
                    writer.write(await reader.readexactly(SIZE))
            except asyncio.IncompleteReadError:
                writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        print(server.sockets[0].getsockname()[1], flush=True)
        await lib_bench.until_stdin_ends()
        return

    async def echo(c):
        async for m in c:
            c.send_nowait(m)

    async def echo_awaited(c):
        async for m in c:
            await c.send(m)

    async with weft.listen("weft://127.0.0.1:0", echo_awaited if kind == "awaited" else echo) as listener:
        print(listener.url, flush=True)
        await lib_bench.until_stdin_ends()


async def timed(once, seconds):
    for _ in range(200):
        await once()
    rtt = []
    clock = time.perf_counter
    end = clock() + seconds
    before = clock()
    while before < end:
        await once()
        after = clock()
        rtt.append(after - before)
        before = after
    rtt.sort()
    return rtt[len(rtt) // 2] * 1e6


async def run(bench, addresses):
    payload = bytes(range(SIZE))
    reader, writer = await asyncio.open_connection("127.0.0.1", int(addresses["streams"]))
    conn = await weft.connect(addresses["weft"])
    awaited = await weft.connect(addresses["awaited"])
    spinning = await weft.connect(addresses["spin"], context=weft.Context(), latency="20us")

    async def streams_once():
        writer.write(payload)
        await reader.readexactly(SIZE)

    async def weft_once():
        conn.send_nowait(payload)
        await conn.recv()

    async def awaited_once():
        await awaited.send(payload)
        await awaited.recv()

    async def spin_once():
        spinning.send_nowait(payload)
        await spinning.recv()

    contenders = {
        "asyncio streams": streams_once,
        "weft, latency=20us": spin_once,
        "weft, no needs": weft_once,
        "weft, no needs, sends awaited": awaited_once,
    }
    p50 = {name: [] for name in contenders}
    for i in range(bench.args.rounds):
        for name, once in contenders.items():
            p50[name].append(await timed(once, bench.args.seconds))
        if bench.args.verbose:
            print(f"round {i + 1}: " + ", ".join(f"{name} {v[-1]:.2f}" for name, v in p50.items()) + " us", flush=True)
    writer.close()
    for c in (conn, awaited, spinning):
        await c.close()
    await spinning._context.close()
    for name, values in p50.items():
        bench.series(name, values, "us")
    print(f"without needs: {lib_bench.ratio(p50['weft, no needs'], p50['asyncio streams']):.3f} of asyncio streams")
    bench.at_most("py_rtt_64", lib_bench.ratio(p50["weft, latency=20us"], p50["asyncio streams"]), "ratio", 1.3)


if __name__ == "__main__":
    bench = lib_bench.Bench(__doc__, serve)
    lib_bench.pin(lib_bench.CLIENT_CORE)
    asyncio.run(run(bench, {kind: bench.server(kind) for kind in ("streams", "weft", "awaited", "spin")}))
    bench.end()
