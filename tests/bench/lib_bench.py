# SPDX-License-Identifier: Apache-2.0
"""lib_bench.py - what the Python benches share, by the rules of lib_bench.h: both ends are processes of their own and
pinned to a core each, contenders take turns in every round, ratios are medians over the rounds, the last line is
"name value unit bound" and the exit code says whether the bound holds."""

import argparse
import asyncio
import os
import resource
import statistics
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
SOURCE = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(SOURCE, "bindings", "python"))
if "WEFT_LIBRARY" not in os.environ and "WEFT_LIB" in os.environ:
    os.environ["WEFT_LIBRARY"] = os.environ["WEFT_LIB"]

CLIENT_CORE, SERVER_CORE = 0, 1


def pin(core):
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[core % len(cores)]})


def _busy():
    with open("/proc/stat") as stat:
        fields = [int(f) for f in stat.readline().split()[1:9]]
    return (fields[0] + fields[1] + fields[2] + fields[5] + fields[6] + fields[7]) / os.sysconf("SC_CLK_TCK")


def _own():
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        usage = resource.getrusage(who)
        total += usage.ru_utime + usage.ru_stime
    return total


class Bench:
    """One run: arguments, servers, rounds, the verdict."""

    def __init__(self, about, serve, rounds=7, seconds=1.0):
        parser = argparse.ArgumentParser(
            description=about, epilog="Exit status: 0 every bound holds, 1 one is missed or the run failed."
        )
        parser.add_argument("--rounds", type=int, default=rounds, help="each measures every contender once (%(default)s)")
        parser.add_argument("--seconds", type=float, default=seconds, help="of one measurement (%(default)s)")
        parser.add_argument("--uvloop", action="store_true", help="both ends and both contenders on uvloop")
        parser.add_argument("-v", "--verbose", action="store_true", help="print every round")
        parser.add_argument("--serve", help=argparse.SUPPRESS)
        self.args = parser.parse_args()
        if self.args.rounds < 1 or self.args.seconds <= 0:
            parser.error("bad arguments")
        if self.args.uvloop:
            import uvloop

            uvloop.install()
        if self.args.serve:
            pin(SERVER_CORE)
            asyncio.run(serve(self.args.serve))
            sys.exit(0)
        self.children = []
        self.results = []
        load = os.getloadavg()[0]
        busy, at = _busy(), time.monotonic()
        time.sleep(0.2)
        now = (_busy() - busy) / (time.monotonic() - at) / os.cpu_count()
        print(f"Python {sys.version.split()[0]}, {os.cpu_count()} cores, {os.uname().release}; load {load:.2f} over the "
              f"last minute, {now * 100:.0f} % busy now", flush=True)
        if now > 0.10:
            print("WARNING: the machine is not idle; figures are worth less, repeat in a quiet moment", flush=True)
        self._began = (_busy(), _own(), time.monotonic())

    def server(self, kind):
        """Start a server process; what it prints first is its address."""
        command = [sys.executable, os.path.abspath(sys.argv[0]), "--serve", kind]
        if self.args.uvloop:
            command.append("--uvloop")
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.children.append(child)
        address = child.stdout.readline().strip()
        if not address:
            raise SystemExit(f"the server for {kind} failed")
        return address

    def stop_servers(self):
        """Before end(): the servers' time counts as ours only once they are waited for."""
        for child in self.children:
            child.stdin.close()
            try:
                child.wait(5)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        self.children = []

    def series(self, label, values, unit):
        print(f"{label:34} median {statistics.median(values):10.3f} {unit:5} "
              f"({min(values):.3f} .. {max(values):.3f}, {len(values)} rounds)")

    def at_most(self, name, value, unit, bound):
        self.results.append((value <= bound, f"{name} {value:.4g} {unit} <={bound:g}"))

    def at_least(self, name, value, unit, bound):
        self.results.append((value >= bound, f"{name} {value:.4g} {unit} >={bound:g}"))

    def end(self):
        self.stop_servers()
        busy, own, at = self._began
        others = max(0.0, _busy() - busy - (_own() - own)) / (time.monotonic() - at) / os.cpu_count()
        warning = ": WARNING, do not quote these figures" if others > 0.05 else ""
        print(f"load {os.getloadavg()[0]:.2f} at the end; other programs used {others * 100:.1f} % of the machine "
              f"meanwhile{warning}")
        missed = [line for holds, line in self.results if not holds]
        print("a bound is MISSED (the last line)" if missed else "every bound holds")
        for line in [line for holds, line in self.results if holds] + missed:
            print(line)
        sys.exit(1 if missed or not self.results else 0)


async def until_stdin_ends():
    """Serve until the parent closes our standard input or dies."""
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def ratio(a, b):
    """Median of a[i]/b[i]: both halves of a round saw the same machine."""
    return statistics.median(x / y for x, y in zip(a, b))


def median(values):
    return statistics.median(values)
