#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""echo_server.py - send every message back. The smallest complete server for asyncio.

    echo_server.py [URL]          default: all addresses, port 7000

It shows: a handler per connection, an orderly end on SIGINT and SIGTERM. Backpressure needs no line of code: `send` waits
for the peer, and while it waits nothing is read."""

import asyncio
import signal
import sys

import weft


async def echo(c):
    try:
        async for message in c:  # until the peer ends
            await c.send(message)  # a large one goes back from the memory it arrived in
    except weft.Error as error:
        print(f"lost: {error}", file=sys.stderr)
        c.abort()


async def main(url):
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with weft.listen(url, echo) as listener:
        print(f"listening at {listener.url}", flush=True)
        await stop.wait()


if __name__ == "__main__":
    try:
        asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "weft://*:7000"))
    except weft.Error as error:
        sys.exit(str(error))
