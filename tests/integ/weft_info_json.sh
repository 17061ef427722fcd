#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# weft_info -j: valid JSON whose keys and types are those of docs/weft_info_json.md, no more and no fewer, and which
# does not contradict itself. The documents of --check and --explain come from a server of the test's own.
# ctest: beside
. "${BASH_SOURCE%/*}/lib_examples.sh" || exit 1
need weft_info echo_server
command -v python3 >/dev/null || skip "no python3 to read JSON with"
info=$WEFT_BIN/weft_info

background "$TMP/server.log" "$WEFT_BIN/echo_server" weft://127.0.0.1:0
server=$PID
url=$(listening "$TMP/server.log")

"$info" -j >"$TMP/list.json" || fail "-j"
"$info" -ej >"$TMP/options.json" || fail "-ej"
"$info" -lj >"$TMP/libraries.json" || fail "-lj"
"$info" -j --check "$url" --echo >"$TMP/check.json" || fail "-j --check"
"$info" -j --explain "$url" --latency 1ns >"$TMP/explain.json" || fail "-j --explain"
status=0
"$info" -j --explain "$url" --latency 1ns --strict yes >"$TMP/unmet.json" 2>/dev/null || status=$?
[ "$status" -eq 1 ] || fail "--explain of needs that nobody meets: exit $status"
status=0
WEFT_PROVIDERS=nosuch "$info" -j >"$TMP/none.json" 2>/dev/null || status=$?
[ "$status" -eq 1 ] || fail "WEFT_PROVIDERS=nosuch -j: exit $status"

python3 - "$WEFT_SRC/docs/weft_info_json.md" "$TMP" <<'END' || fail "see above"
import json, os, re, sys

types = {"string": str, "integer": int, "boolean": bool, "array": list, "object": dict, "null": type(None)}

# A section "## NAME" with a table "| `key` | type | ..." is the schema of NAME.
schema, section = {}, None
for line in open(sys.argv[1]):
    if line.startswith("## "):
        section = line[3:].strip()
    found = re.match(r"\| `([a-z_]+)` \| ([a-z, ]+) \|", line)
    if found:
        schema.setdefault(section, {})[found[1]] = [types[t.strip()] for t in found[2].split(" or ")]

def check(name, section, value):
    want = schema[section]
    assert isinstance(value, dict), (name, section, value)
    assert set(value) == set(want), (name, section, "keys differ:", set(value) ^ set(want))
    for key, v in value.items():
        assert type(v) in want[key], (name, section, key, v)

def load(name):
    return json.load(open(os.path.join(sys.argv[2], name + ".json")))

def verdicts(name, list_):
    for v in list_:
        check(name, "verdict", v)
        assert v["why"].startswith("WEFT_WHY_") and v["help"], (name, v)
        assert v["rank"] >= 0 or v["why"] != "WEFT_WHY_OK", (name, v)
        assert v["detail"] or v["rank"] >= 0, (name, v)
        assert v["known"] in ("measured", "expected"), (name, v)
        assert v["device"] or not v["rma"], (name, v)
    ranks = [v["rank"] for v in list_]
    usable = [r for r in ranks if r >= 0]
    assert usable == list(range(len(usable))), (name, ranks)
    assert all(r == -1 for r in ranks[len(usable):]), (name, ranks)
    return len(usable)

for name in ("list", "none"):
    d = load(name)
    check(name, "list", d)
    assert verdicts(name, d["candidates"]) == d["usable"], name
assert load("list")["usable"] > 0 and load("none")["usable"] == 0
lo = [v for v in load("list")["candidates"] if v["local"] == "127.0.0.1"][0]
assert lo["rma"] and not lo["rdma"] and lo["events"] and lo["loopback"] and lo["max_op"] is None, lo
assert lo["mtu"] > 1000 and lo["latency_ns"] > 0 and lo["bandwidth"] > 0, lo

d = load("options")
check("options", "settings", d)
for o in d["options"]:
    check("options", "setting", o)
assert {o["name"]: o["value"] for o in d["options"]}["max_message"] == "64MiB"

d = load("libraries")
check("libraries", "versions", d)
assert re.match(r"\d+\.\d+$", d["providers"]["tcp"]), d

d = load("check")
check("check", "check", d)
for c in d["checks"]:
    check("check", "checked candidate", c)
    assert c["ok"] == (c["rtt_ns"] > 0 and c["echo_ns"] > 0 and c["connect_ns"] > 0), c
    assert c["detail"] and (c["error"] is None or c["tried"]), c
assert d["usable"] == sum(c["ok"] for c in d["checks"]) > 0, d
assert [c for c in d["checks"] if c["local"] == "127.0.0.1"][0]["ok"], d

d = load("explain")
check("explain", "explanation", d)
assert verdicts("explain", d["verdicts"]) > 0
used = [v for v in d["verdicts"] if v["why"] == "WEFT_WHY_IN_USE"]
assert len(used) == 1 and (used[0]["provider"], used[0]["local"]) == (d["provider"], d["local"]), d
assert d["ok"] and d["error"] is None and "needed: 1 ns" in d["missed"] and d["needs"] == {"latency": "1ns"}, d
assert d["peer_name"].endswith(":echo_server") and d["max_message"] == 64 << 20, d

d = load("unmet")
check("unmet", "explanation", d)
assert not d["ok"] and d["error"] == "WEFT_EUNMET" and "needed: 1 ns" in d["detail"], d
assert verdicts("unmet", d["verdicts"]) == 0 and d["verdicts"][0]["why"] == "WEFT_WHY_TOO_SLOW", d
END

kill -TERM "$server"
ends "$server" 0
