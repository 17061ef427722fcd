#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""echo_client.py - round trips to echo_server.py, or to the echo_server in C.

    echo_client.py URL [COUNT [SIZE]]

It shows: connecting with a need, why this transport, round trips, events, an orderly end."""

import asyncio
import sys
import time

import weft


async def main(url, count, size):
    async with weft.connect(url, message_size=size) as c:
        c.on_event = lambda event: print(f"event: {event}", file=sys.stderr)
        for verdict in c.verdicts():
            print(f"  {verdict.provider:8} {verdict.device:12} {verdict.why}: {verdict.detail}", flush=True)
        payload = bytes(i % 251 for i in range(size))
        rtt = []
        for _ in range(count):
            begin = time.perf_counter()
            await c.send(payload)
            echoed = await c.recv()
            rtt.append(time.perf_counter() - begin)
            if echoed != payload:
                sys.exit("an echo is not what was sent")
        rtt.sort()
        print(f"{count} echoes of {size} bytes over {c.info()['provider']}: "
              f"p50 {rtt[count // 2] * 1e6:.1f} us, p99 {rtt[count * 99 // 100] * 1e6:.1f} us")


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit("Usage: echo_client.py URL [COUNT [SIZE]]")
    try:
        asyncio.run(main(sys.argv[1], *(int(number) for number in (sys.argv[2:] + ["1000", "64"][len(sys.argv) - 2 :]))))
    except weft.Error as error:
        sys.exit(str(error))
