# SPDX-License-Identifier: Apache-2.0
"""Everything of test_api.py again, on uvloop."""

import sys
import unittest

import lib

try:
    import uvloop
except ImportError:
    lib.skip("uvloop is not installed (Debian: python3-uvloop)")

lib.loop_factory = uvloop.new_event_loop

from test_api import Cancel, Ends, Flow, Listening, Messages, Needs, Watching  # noqa: E402,F401


class Loop(lib.Case):
    async def test_this_is_uvloop(self):
        import asyncio

        self.assertIsInstance(asyncio.get_running_loop(), uvloop.Loop)


if __name__ == "__main__":
    unittest.main(argv=sys.argv)
