#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""request_reply.py - requests with replies in any order, each with its own time limit.

    request_reply.py serve [URL]                  default: all addresses, port 7000
    request_reply.py ask URL TIMEOUT SECONDS...    ask the server to take so long, all at once

A message is a number of 8 bytes, little-endian, and a body; a reply has the number of its request. The server of this
example sleeps for as many seconds as the body says and answers with it.

It shows: one task that reads for all, futures by number, a time limit that leaves the connection as it was, and that every
request which waits hears of it when the connection is lost."""

import asyncio
import itertools
import sys

import weft


class Requests:
    """The asking side: `async with Requests(conn) as r: await r.ask(body, timeout)`. Takes over the connection's
    messages; the connection stays its maker's to close."""

    def __init__(self, conn):
        self._conn = conn
        self._numbers = itertools.count(1)
        self._waiting = {}
        self._ended = None

    async def ask(self, body, timeout):
        """The reply's body. asyncio.TimeoutError after `timeout` seconds (a reply that comes later is dropped), weft.Error
        when the connection ends first."""
        if self._ended is not None:
            raise self._ended
        number = next(self._numbers)
        reply = asyncio.get_running_loop().create_future()
        self._waiting[number] = reply
        try:
            await self._conn.write(number.to_bytes(8, "little") + body)
            return await asyncio.wait_for(reply, timeout)
        finally:
            self._waiting.pop(number, None)

    async def _read(self):
        try:
            while True:
                message = await self._conn.recv()
                reply = self._waiting.get(int.from_bytes(message[:8], "little"))
                if reply is not None and not reply.done():
                    reply.set_result(bytes(message[8:]))
        except weft.Error as error:
            self._ended = error
            for reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(error)

    async def __aenter__(self):
        self._reader = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *exc):
        self._reader.cancel()
        await asyncio.wait([self._reader])


async def serve_one(c):
    async def answer(number, body):
        await asyncio.sleep(float(body))
        await c.write(number + body)

    tasks = set()
    try:
        async for message in c:
            task = asyncio.create_task(answer(bytes(message[:8]), bytes(message[8:])))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
    finally:
        for task in tasks:  # nobody waits for these replies any more
            task.cancel()


async def serve(url):
    async with weft.listen(url, serve_one) as listener:
        print(f"listening at {listener.url}", flush=True)
        await listener.serve_forever()


async def ask(url, timeout, *seconds):
    async def one(requests, body):
        try:
            reply = await requests.ask(body.encode(), float(timeout))
            print(f"{body}: replied {reply.decode()}")
        except asyncio.TimeoutError:
            print(f"{body}: no reply within {timeout} s")

    async with weft.connect(url, preset="interactive") as c, Requests(c) as requests:
        await asyncio.gather(*(one(requests, body) for body in seconds))


if __name__ == "__main__":
    try:
        if sys.argv[1:2] == ["serve"]:
            asyncio.run(serve(sys.argv[2] if len(sys.argv) > 2 else "weft://*:7000"))
        elif sys.argv[1:2] == ["ask"] and len(sys.argv) > 4:
            asyncio.run(ask(*sys.argv[2:]))
        else:
            sys.exit("Usage: request_reply.py serve [URL] | ask URL TIMEOUT SECONDS...")
    except KeyboardInterrupt:
        pass
    except weft.Error as error:
        sys.exit(str(error))
