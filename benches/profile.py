#!/usr/bin/env python3
"""Whose time a drain takes: samples of `perf` by library, for all threads of upm-bench together and for each of them.

    perf record -F 1500 -o drain.perf -- target/release/upm-bench drain --events 300000 --rounds 2
    benches/profile.py drain.perf

What is left under "ours" is all that could be saved by writing our own code better; the rest is work of libraries that a promise asks for (hashes, the
store, SQL), of libc and of the kernel.
"""

import collections
import re
import subprocess
import sys

THREADS = {"intake", "admit", "append", "project", "answer", "rocksdb:high", "rocksdb:low"}
SQLITE = r"sqlite|rusqlite|^_?(vdbe|btree|pager|pcache|wal|unix(Read|Write|Lock)|balance|getPage|page(Find|Insert|Free)|cell|insertCell|fillInCell|rebuildPage|editPage"
SQLITE += r"|dropCell|allocateSpace|clearCell|freeSpace|releaseMemArray|moveToRoot|lockBtree)"
# The first that fits.
LIBRARIES = [
    ("SHA-256", r"sha2::|sha256"),
    ("search for secrets (aho-corasick, memchr, regex)", r"aho_corasick|memchr|regex"),
    ("LZ4", r"(?i)lz4"),
    ("RocksDB", r"rocksdb|crc32c"),
    ("SQLite", SQLITE),
    ("NATS client, tokio", r"async_nats|tokio|bytes::|futures"),
    ("ours", r"schemas::|ledger::|ledger_rocks|pipeline::|projector|upm_bench"),
]


def owner(dso, symbol):
    if symbol.startswith("[k]"):
        return "kernel"
    name = symbol[4:]
    for library, pattern in LIBRARIES:
        if re.search(pattern, name):
            return library
    return "libc: copies, allocation, locks" if "libc" in dso else "other Rust (counted as ours)"


def main():
    report = ["perf", "report", "-i", sys.argv[1], "--stdio", "--sort", "comm,dso,sym", "-F", "sample,comm,dso,sym", "-w", "0", "-t", "|"]
    lines = subprocess.run(report, capture_output=True, text=True, check=True).stdout.splitlines()
    samples = collections.defaultdict(collections.Counter)
    for line in lines:
        parts = [part.strip() for part in line.split("|", 3)]
        if len(parts) == 4 and parts[1] in THREADS:
            samples[parts[1]][owner(parts[2], parts[3])] += int(parts[0])
    if not samples:
        sys.exit(f"{sys.argv[1]}: no samples of {', '.join(sorted(THREADS))}: record a drain of upm-bench")
    whole = sum(samples.values(), collections.Counter())
    for thread, count in [("all threads", whole), *sorted(samples.items(), key=lambda one: -one[1].total())]:
        print(f"{thread}: {100 * count.total() / whole.total():.0f} %")
        for library, number in count.most_common():
            print(f"    {100 * number / count.total():5.1f} %  {library}")


if __name__ == "__main__":
    main()
