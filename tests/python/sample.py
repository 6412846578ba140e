"""Draws a sample of a population: docs/sampling.md, a second time, with nothing of ours.

usage: sample.py population.zip SEED SIZE [environment|class|outcome]
Prints rank and change of each change drawn, by stratum, then by rank.
"""

import hashlib
import json
import sys
import zipfile

path, seed, size, by = sys.argv[1], sys.argv[2], int(sys.argv[3]), (sys.argv[4:] or [None])[0]
archive = zipfile.ZipFile(path)
root = json.loads(archive.read("population.json"))["last"]["root"]
names = sorted(name for name in archive.namelist() if name.startswith("changes/"))
changes = [json.loads(line) for name in names for line in archive.read(name).splitlines()]
member = {"environment": "environments", "class": "classes", "outcome": "outcomes"}


def stratum(change):
    values = change[member[by]] if by else None
    return json.dumps(values, ensure_ascii=False, separators=(",", ":")) if by else ""


def rank(change):
    return hashlib.sha256("\n".join(["upm-sample-v1", root, seed, change["change"]]).encode()).hexdigest()


strata = {}
for change in changes:
    strata.setdefault(stratum(change).encode(), []).append((rank(change), change["change"]))
order = sorted(strata)
count = {name: len(strata[name]) for name in order}
size = min(size, len(changes))

share = {name: 0 for name in order}
for name in sorted(order, key=lambda name: (-count[name], name))[:size]:
    share[name] = 1
places, left = size - len(order), len(changes) - len(order)
if places > 0 and left > 0:
    for name in order:
        share[name] += (count[name] - 1) * places // left
    rest = size - sum(share.values())
    for name in sorted(order, key=lambda name: (-((count[name] - 1) * places % left), name))[:rest]:
        share[name] += 1

sys.stdout.reconfigure(encoding="utf-8")
for name in order:
    for digest, change in sorted(strata[name])[: share[name]]:
        print(digest, change)
