#!/usr/bin/env python3
"""The longest way through an installation: critical-path.py PLAN.json APPLY.json (what --json said, before and after).

Steps that hold dpkg's lock come one after the other, as if each waited for the one before.
"""
import json
import sys

plan, apply = (json.load(open(path)) for path in sys.argv[1:3])
seconds = {step["id"]: step["seconds"] for step in apply["steps"]}
ends, locked, ways = {}, None, {}
for step in plan["steps"]:
    name = step["id"]
    before = list(step["after"])
    if name == "download" or name.startswith("install-"):
        before += [locked] if locked else []
        locked = name
    last = max(before, key=lambda other: ends[other], default=None)
    ends[name] = seconds.get(name, 0) + (ends[last] if last else 0)
    ways[name] = ways.get(last, []) + [name]
longest = max(ends, key=ends.get)
print(f"{ends[longest]:.1f} s: {' > '.join(name for name in ways[longest] if seconds.get(name, 0) >= 0.1)}")
