#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""file_send.py - send a file to the file_recv in C, with a SHA-256 over the whole of it.

    file_send.py FILE URL

On the connection: one message "weft-file 1 SIZE NAME", the content in messages of 1 MiB, one message with the 32 bytes of
the digest. The receiver answers "ok" or "error: why".

It shows: several sends in flight from a mapped file, which is never copied in this process; progress by what the peer has;
that a path which is cut in the middle needs no code but the line that prints it."""

import asyncio
import hashlib
import mmap
import os
import sys

import weft

CHUNK, IN_FLIGHT = 1 << 20, 8


async def send_file(path, url):
    with open(path, "rb") as file:
        size = os.fstat(file.fileno()).st_size
        content = memoryview(mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) if size else b"")
        async with weft.connect(url, preset="bulk") as c:
            c.on_event = on_event
            await c.send(f"weft-file 1 {size} {os.path.basename(path)}".encode())
            digest = hashlib.sha256()
            room = asyncio.Semaphore(IN_FLIGHT)
            acknowledged = 0

            async def send_chunk(chunk):
                nonlocal acknowledged
                try:
                    await c.send(chunk)  # the peer has it, whatever happened to the paths meanwhile
                    before, acknowledged = acknowledged, acknowledged + len(chunk)
                    if before * 20 // size != acknowledged * 20 // size:
                        print(f"progress {acknowledged * 100 // size} %, {acknowledged} of {size} bytes", file=sys.stderr)
                finally:
                    room.release()

            sending = []
            for at in range(0, size, CHUNK):
                await room.acquire()
                chunk = content[at : at + CHUNK]
                sending.append(asyncio.create_task(send_chunk(chunk)))  # tasks start in this order, so do the sends
                digest.update(chunk)
            await asyncio.gather(*sending)
            await c.send(digest.digest())
            answer = bytes(await c.recv())
    if answer != b"ok":
        sys.exit(f"the receiver answers: {answer.decode(errors='replace')}")
    print(f"{path}: {size} bytes sent, checksum good")


def on_event(event):
    if event.type == weft.EventType.MIGRATED:
        print(f"moved from {event.source} to {event.to}: {event.detail}", file=sys.stderr)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Usage: file_send.py FILE URL")
    try:
        asyncio.run(send_file(sys.argv[1], sys.argv[2]))
    except (weft.Error, OSError) as error:
        sys.exit(str(error))
