#!/usr/bin/env python3
"""A reader of logs that shares nothing with the project: written from docs/log-format.md, with the standard library and openssl.

    read_log.py DIR VKEY [RECEIPT EVENT]...

Derives everything in DIR (as `upm log export` writes it) again, and checks receipts with the events they are for. Prints what
it found as JSON; ends with 1 and a reason where anything differs.
"""
import base64
import collections
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile


def sha(*parts):
    return hashlib.sha256(b"".join(parts)).digest()


def leaf(entry):
    return sha(b"\0", entry)


def node(left, right):
    return sha(b"\1", left, right)


def need(held, what):
    if not held:
        sys.exit(f"read_log: {what}")


def root_of(hashes):
    if not hashes:
        return sha(b"")
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node(root_of(hashes[:split]), root_of(hashes[split:]))


def canonical(value):
    """RFC 8785, for what entries hold: texts, whole numbers, lists, objects."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


class Key:
    def __init__(self, vkey):
        self.name, key_id, typed = vkey.split("+", 2)
        typed = base64.b64decode(typed, validate=True)
        need(typed[0] == 1 and len(typed) == 33, "the vkey is not of Ed25519")
        self.id = sha(self.name.encode(), b"\n", typed)[:4]
        need(self.id.hex() == key_id, "the vkey's id does not belong to it")
        self.der = bytes.fromhex("302a300506032b6570032100") + typed[1:]

    def signed(self, text, signature):
        with tempfile.TemporaryDirectory() as folder:
            paths = [pathlib.Path(folder, name) for name in ("key", "text", "signature")]
            for path, content in zip(paths, (self.der, text, signature)):
                path.write_bytes(content)
            key, text, signature = map(str, paths)
            command = ["openssl", "pkeyutl", "-verify", "-pubin", "-keyform", "DER", "-inkey", key, "-rawin"]
            done = subprocess.run(command + ["-in", text, "-sigfile", signature], capture_output=True)
            return done.returncode == 0


def open_checkpoint(note, key):
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    own = []
    for line in lines.splitlines():
        dash, name, blob = line.split(" ")
        blob = base64.b64decode(blob, validate=True)
        if dash == "\u2014" and name == key.name and blob[:4] == key.id:
            own.append(blob[4:])
    need(own, "the log did not sign the checkpoint")
    need(all(key.signed(text.encode(), signature) for signature in own), "a signature of the log does not fit")
    origin, size, root, end = text.split("\n")
    need(origin == key.name and end == "" and size == str(int(size)), "not a checkpoint of this log")
    return int(size), base64.b64decode(root, validate=True)


def path_of(kind, number, width):
    groups = [f"{number % 1000:03}"]
    while number >= 1000:
        number //= 1000
        groups.append(f"x{number % 1000:03}")
    return f"tile/{kind}/" + "/".join(reversed(groups)) + ("" if width == 256 else f".p/{width}")


def bundle(data):
    entries = []
    while data:
        length = int.from_bytes(data[:2], "big")
        need(len(data) >= 2 + length, "a bundle breaks off")
        entries.append(data[2 : 2 + length])
        data = data[2 + length :]
    return entries


def read_entries(folder, size):
    entries = []
    for number in range((size + 255) // 256):
        width = min(256, size - number * 256)
        entries += bundle(folder.joinpath(path_of("entries", number, width)).read_bytes())
        need(len(entries) == number * 256 + width, f"bundle {number} has another number of entries")
    return entries


def check_tiles(folder, hashes):
    level = 0
    while hashes:
        above = []
        for number in range((len(hashes) + 255) // 256):
            part = hashes[number * 256 : number * 256 + 256]
            found = folder.joinpath(path_of(level, number, len(part))).read_bytes()
            need(found == b"".join(part), f"tile {number} of level {level} is not what its entries give")
            if len(part) == 256:
                above.append(root_of(part))
        hashes, level = above, level + 1


def check_entries(entries, origin):
    kinds, chains, last_at, epoch = collections.Counter(), {}, 0, 0
    for index, entry in enumerate(entries):
        header = json.loads(entry)
        need(len(entry) <= 2048 and canonical(header) == entry, f"entry {index} is not in canonical form")
        kind = header["kind"]
        kinds[kind] += 1
        need((kind == "first") == (index == 0), f"entry {index} is of kind {kind}")
        need(header["at"] >= last_at, f"time goes back at entry {index}")
        last_at = header["at"]
        if kind == "first":
            need(header["body"]["origin"] == origin, "entry 0 is of another log")
        if kind == "epoch":
            epoch = header["body"]["epoch"]
        if "road" in header:
            need(header["road"][0] == epoch, f"entry {index} is from another road")
        if kind == "event":
            seq, prev = chains.get(header["change"], (0, None))
            need(header["seq"] == seq and header.get("prev") == prev, f"entry {index} breaks the chain of its change")
            chains[header["change"]] = (seq + 1, leaf(entry).hex())
    return kinds, len(chains)


def check_receipt(text, event, key):
    head, _, note = text.partition("\n\n")
    lines = head.split("\n")
    need(lines[0] == "c2sp.org/tlog-proof@v1", "not a tlog-proof")
    need(lines[1].startswith("extra ") and lines[2].startswith("index "), "not a receipt")
    extra = json.loads(base64.b64decode(lines[1][6:], validate=True))
    index, path = int(lines[2][6:]), [base64.b64decode(line, validate=True) for line in lines[3:]]
    size, root = open_checkpoint(note, key)
    need(index < size, "the index is outside the tree")
    entry = base64.b64decode(extra["entry"], validate=True)
    position, last, found = index, size - 1, leaf(entry)
    for hash in path:
        need(last > 0, "the audit path is too long")
        if position % 2 == 1 or position == last:
            found = node(hash, found)
            while position % 2 == 0 and position:
                position, last = position // 2, last // 2
        else:
            found = node(found, hash)
        position, last = position // 2, last // 2
    need(last == 0 and found == root, "the audit path does not lead to the root")
    header = json.loads(entry)
    payload = base64.b64decode(extra["payload"], validate=True) if "payload" in extra else event
    commit = sha(bytes.fromhex(extra["salt"]), payload).hex()
    need(commit == header["commit"] and len(payload) == header["size"], "the entry commits to another payload")
    need(header["masked"] > 0 or payload == event, "the event is not the one of the receipt")
    return index


def main():
    folder, key = pathlib.Path(sys.argv[1]), Key(sys.argv[2].strip())
    size, root = open_checkpoint(folder.joinpath("checkpoint").read_text(), key)
    entries = read_entries(folder, size)
    hashes = [leaf(entry) for entry in entries]
    need(root_of(hashes) == root, "the entries have another root than the one that was signed")
    check_tiles(folder, hashes)
    kinds, changes = check_entries(entries, key.name)
    pairs = [pathlib.Path(path) for path in sys.argv[3:]]
    receipts = [check_receipt(r.read_text(), e.read_bytes(), key) for r, e in zip(pairs[::2], pairs[1::2])]
    print(json.dumps({"size": size, "root": root.hex(), "kinds": kinds, "changes": changes, "receipts": receipts}))


main()
