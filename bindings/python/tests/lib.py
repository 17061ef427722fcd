# SPDX-License-Identifier: Apache-2.0
"""lib.py - what the tests of the Python binding share. ctest starts each test_*.py by bin/weft_python, which sets the
library, the package and, under a sanitizer, what to preload."""

import asyncio
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.abspath(os.path.join(HERE, "..", "..", ".."))
SLOW = 4 if os.environ.get("WEFT_SANITIZE") else 1  # factor for time limits

#: A loop other than asyncio's own, for test_uvloop.py.
loop_factory = asyncio.new_event_loop


def skip(why):
    """Not possible here: counted by ctest as skipped, never as passed."""
    print(f"SKIP: {why}")
    sys.exit(77)


class Case(unittest.TestCase):
    """Each async test_* runs in an event loop of its own and ends within `limit` seconds. What a callback or handler
    raises fails the test unless it takes it from `self.reported`."""

    limit = 20.0

    def run_async(self, coroutine):
        async def main():
            self.reported = []
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: self.reported.append(context))
            await asyncio.wait_for(coroutine, self.limit * SLOW)

        loop = loop_factory()
        try:
            loop.run_until_complete(main())
        finally:
            pending = asyncio.all_tasks(loop)
            for task in pending:
                task.cancel()
            if pending:
                loop.run_until_complete(asyncio.gather(*pending, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.run_until_complete(loop.shutdown_default_executor())
            loop.close()
        self.assertEqual(self.reported, [], "reported to the event loop's exception handler")

    def __init_subclass__(cls):
        for name, function in list(vars(cls).items()):
            if name.startswith("test_") and asyncio.iscoroutinefunction(function):

                def wrapped(self, function=function):
                    self.run_async(function(self))

                wrapped.__doc__ = function.__doc__
                wrapped.__name__ = name
                setattr(cls, name, wrapped)

    async def until(self, condition, what, seconds=10.0):
        """Wait for a condition; the test fails when it does not come."""
        deadline = asyncio.get_running_loop().time() + seconds * SLOW
        while not condition():
            self.assertLess(asyncio.get_running_loop().time(), deadline, f"not within {seconds} s: {what}")
            await asyncio.sleep(0.005)


def rss():
    """Resident memory, bytes."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
