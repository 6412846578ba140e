"""Writes changed copies of an evidence pack or a population, each of which a verifier has to refuse.

usage: mutations.py FILE.zip FOLDER VKEY [KEY.pem]
With the log's private key (PKCS#8) the copies are sealed again: digests, SHA256SUMS and the attestation's signature are right, as whoever holds the
key could make them, and only what the document says beyond them can refuse the copy. Prints a line for each copy: its name, and the exit code of
`tests/python/verify` on it.
"""

import argparse
import base64
import hashlib
import json
import os
import random
import struct
import sys
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "verify"))
from archive import Zip, pae  # noqa: E402
from curve import BASE, L, point_mul  # noqa: E402
from read import verify  # noqa: E402
from report import Report  # noqa: E402
from strict import jcs, sha  # noqa: E402
from trees import Tree, leaf  # noqa: E402

SCHEMAS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "schemas")
SUMS, ATTESTATION = "SHA256SUMS", "attestation.sigstore.json"
NOT_DERIVED = ("change.json", "index.html")  # by the second verifier
MAY_BE_GONE = ("tenants/own.json", "headers/frontier")  # the listing stays closed; without all of headers/ nothing is said of later entries
P = 2**255 - 19


def sign(seed, message):
    """Ed25519, RFC 8032."""

    def encode(point):
        inverse = pow(point[2], P - 2, P)
        return (point[1] * inverse % P | (point[0] * inverse % P & 1) << 255).to_bytes(32, "little")

    secret = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(secret[:32], "little") & (1 << 254) - 8 | 1 << 254
    public = encode(point_mul(scalar, BASE))
    nonce = int.from_bytes(hashlib.sha512(secret[32:] + message).digest(), "little") % L
    first = encode(point_mul(nonce, BASE))
    challenge = int.from_bytes(hashlib.sha512(first + public + message).digest(), "little") % L
    return first + ((nonce + challenge * scalar) % L).to_bytes(32, "little")


def written(files, local=None, central=None, end=None, before=b"", between=b"", behind=b""):
    """The zip of these files in its one form; what is given besides breaks it: {field: value} of the second file's headers or of the end record."""
    out, directory = bytearray(before), bytearray()
    for number, (name, data) in enumerate(files):
        raw, offset = name.encode(), len(out)
        field = {
            "version": 10,
            "flags": 0,
            "method": 0,
            "time": 0,
            "date": 0x21,
            "crc": zlib.crc32(data),
            "packed": len(data),
            "size": len(data),
            "name": len(raw),
            "extra": 0,
        }
        here = {**field, **(local if local and number == 1 else {})}
        out += struct.pack("<I5H3I2H", 0x04034B50, *here.values()) + raw + data + between
        there = {"made": 0x030A, **field, "comment": 0, "disk": 0, "inner": 0, "outer": 0o100644 << 16, "offset": offset}
        there.update(central if central and number == 1 else {})
        directory += struct.pack("<I6H3I5H2I", 0x02014B50, *there.values()) + raw
    record = {
        "disk": 0,
        "start": 0,
        "here": len(files),
        "count": len(files),
        "size": len(directory),
        "offset": len(out),
        "comment": 0,
        **(end or {}),
    }
    return bytes(out + directory) + struct.pack("<I4H2IH", 0x06054B50, *record.values()) + behind


def sealed(files, seed):
    """Sums that are right, and with a seed the attestation over them."""
    content = dict(files)
    names = sorted(name for name in content if name not in (SUMS, ATTESTATION))
    sums = "".join(f"{sha(content[name]).hex()}  {name}\n" for name in names).encode()
    content[SUMS] = sums
    if seed:
        bundle, tree = json.loads(content[ATTESTATION]), Tree()
        for line in sums.split(b"\n")[:-1]:
            tree.add(leaf(line))
        statement = json.loads(base64.b64decode(bundle["dsseEnvelope"]["payload"]))
        statement["subject"][0]["digest"]["sha256"] = sha(sums).hex()
        about = json.loads(content.get("pack.json", content.get("population.json")))
        said = {name: about[name] for name in statement["predicate"] if name in about}
        statement["predicate"] = {**said, "files_root": tree.root().hex()}
        payload = jcs(statement).encode()
        signature = sign(seed, pae(bundle["dsseEnvelope"]["payloadType"], payload))
        bundle["dsseEnvelope"].update(payload=base64.b64encode(payload).decode(), signatures=[{"sig": base64.b64encode(signature).decode()}])
        content[ATTESTATION] = jcs(bundle).encode()
    return [(name, content[name]) for name, _ in files]


def changed(files, name, new):
    return [(other, new if other == name else data) for other, data in files]


def forms(files, data):
    """What breaks the form of the zip."""
    dice = random.Random(20)
    for _ in range(12):
        at = dice.randrange(len(data))
        yield f"bit-{at}", data[:at] + bytes([data[at] ^ 1 << dice.randrange(8)]) + data[at + 1 :]
    fields = {"version": 20, "flags": 8, "method": 8, "time": 1, "date": 0, "crc": 1, "packed": 0xFFFFFFFF, "size": 1, "extra": 4}
    for field, value in fields.items():
        yield f"local-{field}", written(files, local={field: value})
        yield f"central-{field}", written(files, central={field: value})
    for field, value in {"made": 0x0314, "comment": 1, "disk": 1, "inner": 1, "outer": 0o120777 << 16, "offset": 0}.items():
        yield f"central-{field}", written(files, central={field: value})
    for field, value in {"disk": 1, "here": 0, "count": 1, "size": 1, "offset": 1, "comment": 1}.items():
        yield f"end-{field}", written(files, end={field: value})
    yield "byte-before", written(files, before=b"x")
    yield "bytes-between", written(files, between=b"x")
    yield "byte-behind", written(files, behind=b"x")
    yield "cut", data[:-1]
    yield "twice", data + data
    yield "swapped", written([files[1], files[0], *files[2:]])
    yield "doubled", written(files + files[-1:])
    for number, name in enumerate(["../x", "/x", "a//b", ".x/y", "x.", "a b", "x" * 121, files[0][0].swapcase()]):
        yield f"name-{number}", written(sorted([*files, (name, b"x")]) if "pack.json" in dict(files) else files + [(name, b"x")])


def contents(files, seed):
    """What breaks a file, with digests that are right, and sealed where there is a key."""
    dice, pack = random.Random(21), "pack.json" in dict(files)
    about = "pack.json" if pack else "population.json"
    for name, data in files:
        slug, without = name.replace("/", "-"), [file for file in files if file[0] != name]
        if name in (SUMS, ATTESTATION, about):
            yield f"cut-{slug}", written(changed(files, name, data[:-1]))
            yield f"gone-{slug}", written(without)
            continue
        if name not in MAY_BE_GONE:
            yield f"gone-{slug}", written(sealed(without, seed))
        if name not in NOT_DERIVED:
            yield f"more-{slug}", written(sealed(changed(files, name, data + b"\n"), seed))
        if name not in NOT_DERIVED and data and not name.startswith("details/"):  # what details say is the operator's word
            at = dice.randrange(len(data))
            flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            yield f"flip-{slug}", written(sealed(changed(files, name, flipped), seed))
    for name in ("zzz", "plan/9999999999-plan.json", "logs/objects/" + 64 * "0", "entries/9999999999.json"):
        added = [*files, (name, b"x")]
        yield f"added-{name.replace('/', '-')}", written(sealed(sorted(added) if pack else added, seed))


def documents(files, seed):
    """What breaks pack.json or population.json, sealed."""
    name = "pack.json" if "pack.json" in dict(files) else "population.json"
    document = json.loads(dict(files)[name])
    changes = {f"without-{member}": {key: value for key, value in document.items() if key != member} for member in document}
    changes["more"] = {**document, "more": 1}
    changes["origin"] = {**document, "origin": document["origin"] + "x"}
    if name == "pack.json":
        entries = document["entries"]
        for member, value in {
            "format": 0,
            "change": "another",
            "size": document["size"] + 1,
            "root": 64 * "0",
            "as_of_ms": 0,
            "entries": entries[:-1],
            "cosignatures": ["— w.example AAAAAAAA"],
            "objects": [{"sha256": 64 * "0", "size": 1}],
        }.items():
            changes[member] = {**document, member: value}
        changes["salt"] = {**document, "entries": [{**entry, "salt": 32 * "0"} for entry in entries]}
    else:
        for member in ("begins", "ends"):
            changes[member] = {**document, member: document[member] + 1}
        for member, value in document["totals"].items():
            if isinstance(value, int):
                changes[f"totals-{member}"] = {**document, "totals": {**document["totals"], member: value + 1}}
    for slug, value in changes.items():
        yield f"{name}-{slug}", written(sealed(changed(files, name, jcs(value).encode()), seed))
    spaced = json.dumps(document).encode()
    yield f"{name}-spaces", written(sealed(changed(files, name, spaced), seed))


def main():
    path, folder, vkey, *key = sys.argv[1:]
    with open(path, "rb") as file:
        data = file.read()
    archive, seed = Zip(path, data[30:38] != b"headers/"), None
    files = [(name, archive[name]) for name in archive.files]
    assert written(files) == data, "the file itself is in the one form"
    if key:
        with open(key[0], encoding="utf-8") as file:
            seed = base64.b64decode("".join(file.read().split("\n")[1:-2]))[-32:]
        assert written(sealed(files, seed)) == data, "Ed25519 is deterministic: the seal of the key is the file's own"
    for slug, copy in [*forms(files, data), *contents(files, seed), *documents(files, seed)]:
        with open(os.path.join(folder, slug + ".zip"), "wb") as file:
            file.write(copy)
        report = Report(argparse.Namespace(key=vkey, schemas=SCHEMAS, proofs_only=True, witness_policy=None, known_checkpoint=None, require=None))
        verify(os.path.join(folder, slug + ".zip"), report)
        print(slug, report.code())


if __name__ == "__main__":
    main()
