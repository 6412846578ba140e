"""Forges a population as an operator would who has no second chance to sign: the zip is whole, its digests fit, and one thing is not as it was.

usage: forge.py leave-out|alter|swap|drop-change population.zip forged.zip
"""

import hashlib
import sys
import zipfile

what, source, target = sys.argv[1:]
archive = zipfile.ZipFile(source)
files = {info.filename: archive.read(info) for info in archive.infolist()}


def lines(prefix):
    name = next(name for name in files if name.startswith(prefix))
    return name, files[name].splitlines(keepends=True)


name, rows = lines("changes/" if what == "drop-change" else "headers/")
middle = len(rows) // 2
if what in ("leave-out", "drop-change"):
    del rows[middle]
elif what == "swap":
    rows[middle - 1], rows[middle] = rows[middle], rows[middle - 1]
elif what == "alter":
    rows[middle] = rows[middle].replace(b'"at":', b'"at":1', 1)
else:
    sys.exit(f"forge.py: {what!r} is none of leave-out, alter, swap, drop-change")
files[name] = b"".join(rows)

sums = [line.split("  ", 1)[1] for line in files["SHA256SUMS"].decode().splitlines()]
files["SHA256SUMS"] = "".join(f"{hashlib.sha256(files[name]).hexdigest()}  {name}\n" for name in sums).encode()

with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED) as forged:
    for info in archive.infolist():
        forged.writestr(info, files[info.filename])
