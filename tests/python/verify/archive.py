"""The zip in its one form, its list of digests and its attestation (docs/evidence-pack.md, "The zip", "The attestation")."""

import base64
import mmap
import os
import re
import struct
import zlib

from curve import ed25519
from notes import key_id
from strict import Refuted, Undecided, b64, canonical, jcs, need, sha
from trees import Tree, leaf

FAR = 2**32 - 1
LONG = {"plan", "approvals", "logs", "verify", "rollback", "change.json", "index.html", "VERIFY.md"}  # files that may have any length


class Zip:
    """A file in the one form: stored, dated 1980, nothing before, between or after. A population's files stand in another order (`ordered` false)."""

    def __init__(self, path, ordered):
        with open(path, "rb") as file:
            self.length = os.fstat(file.fileno()).st_size
            if self.length == 0 or ordered and self.length > 2**30:
                raise Undecided("the file is empty, or larger than 1 GiB")
            need(self.length >= 22, "the zip has no end record")
            self.data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        end = self.length - 22
        sign, disk, start, here, count, size, offset, comment = struct.unpack("<IHHHHIIH", self.data[end:])
        need(sign == 0x06054B50 and (disk, start, comment) == (0, 0, 0) and here == count, "the end record is not in the one form")
        if count > 65534:
            raise Undecided("the zip has more than 65,534 files")
        if offset == FAR and not ordered:
            end, offset = self.far_end(end, count, size)
        need(offset + size == end, "the central directory does not end where the end record begins")
        self.files, folded, at, content, last = {}, set(), offset, 0, b""
        for _ in range(count):
            need(at + 46 <= end, "the central directory is cut off")
            crc, length, name_length = (struct.unpack("<I", self.data[at + i : at + i + 4])[0] for i in (16, 20, 28))
            raw = self.data[at + 46 : at + 46 + (name_length & 0xFFFF)]
            name = self.name(raw)
            need(not ordered or raw > last, f"{name}: not in ascending order")
            need(raw.lower() not in folded, f"{name}: twice, or twice but for upper and lower case")
            form, far = (0, 0, 0, 0x21, crc, length, length, len(raw)), content >= FAR and not ordered
            extra = struct.pack("<HHQ", 1, 8, content) if far else b""
            place = (len(extra), 0, 0, 0, 0o100644 << 16, FAR if far else content)
            central = struct.pack("<IHH4H3I5H2I", 0x02014B50, 0x030A, 45 if far else 10, *form, *place) + raw + extra
            need(self.data[at : at + len(central)] == central, f"{name}: its central header is not in the one form")
            local = struct.pack("<IH4H3IHH", 0x04034B50, 10, *form, 0) + raw
            start, content = content, content + len(local) + length
            need(content <= offset and self.data[start : start + len(local)] == local, f"{name}: its local header is not in the one form")
            need(zlib.crc32(self.data[content - length : content]) == crc, f"{name}: another CRC-32")
            free = ordered and (name in LONG or name.split("/")[0] in LONG)
            need(free or length <= (40 if ordered else 256) * 2**20, f"{name}: too long")
            self.files[name], last, at = (content - length, length), raw, at + len(central)
            folded.add(raw.lower())
        need(content == offset and at == end, "something stands between or behind the files")

    def far_end(self, end, count, size):
        """population, "What is in it": a directory at 2^32 - 1 or beyond is told by a zip64 end record and its locator."""
        record, there = end - 76, self.data[max(0, end - 76) : end]
        need(len(there) == 76, "the zip64 end record is cut off")
        offset = struct.unpack("<Q", there[48:56])[0]
        said = struct.pack("<IQHHIIQQQQ", 0x06064B50, 44, 0x032D, 45, 0, 0, count, count, size, offset) + struct.pack(
            "<IIQI", 0x07064B50, 0, record, 1
        )
        need(there == said and offset >= FAR, "the zip64 end record is not in the one form")
        return record, offset

    def name(self, raw):
        """1 to 120 bytes of these letters; no part empty, none begins or ends with a dot."""
        need(1 <= len(raw) <= 120 and re.fullmatch(rb"[A-Za-z0-9_./-]+", raw), f"{raw!r}: no name of a file")
        need(all(part and part[0] != 46 and part[-1] != 46 for part in raw.split(b"/")), f"{raw!r}: no name of a file")
        return raw.decode()

    def __contains__(self, name):
        return name in self.files

    def __getitem__(self, name):
        need(name in self.files, f"{name} is missing")
        start, length = self.files[name]
        return self.data[start : start + length]


def check_sums(archive):
    """pack, "The files": SHA256SUMS has its form, names every file but two, and its digests are right."""
    sums = archive["SHA256SUMS"]
    listed_files, names = sums.decode("ascii", "replace").split("\n"), []
    need(listed_files.pop() == "", "SHA256SUMS: does not end with a line feed")
    for line in listed_files:
        need(re.fullmatch("[0-9a-f]{64}  [A-Za-z0-9_./-]+", line), f"SHA256SUMS: no line of it: {line[:90]!r}")
        names.append(line[66:])
    need(names == sorted(names), "SHA256SUMS: not in ascending order")
    mine = sorted(set(archive.files) - {"SHA256SUMS", "attestation.sigstore.json"})
    need(names == mine, f"SHA256SUMS: does not name every file once: {sorted(set(names) ^ set(mine))[:3]}")
    for line in listed_files:
        need(sha(archive[line[66:]]).hex() == line[:64], f"{line[66:]}: another digest than in SHA256SUMS")
    return f"{len(names)} files"


def check_attestation(archive, key, kind, predicate):
    """pack, "The attestation": all but the signature follows from the pack, so it is built and compared."""
    sums = archive["SHA256SUMS"]
    tree = Tree()
    for line in sums.split(b"\n")[:-1]:
        tree.add(leaf(line))
    statement = jcs(
        {
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{"name": "SHA256SUMS", "digest": {"sha256": sha(sums).hex()}}],
            "predicateType": f"urn:upm-ledger:{kind}:v1",
            "predicate": {**predicate, "files_root": tree.root().hex()},
        }
    ).encode()
    document = canonical(archive["attestation.sigstore.json"], "attestation.sigstore.json")
    try:
        signature = document["dsseEnvelope"]["signatures"][0]["sig"]
    except (KeyError, IndexError, TypeError):
        raise Refuted("the attestation has no signature") from None
    der = bytes.fromhex("302a300506032b6570032100") + key
    built = {
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {"publicKey": {"hint": base64.b64encode(sha(der)).decode()}},
        "dsseEnvelope": {
            "payload": base64.b64encode(statement).decode(),
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": signature}],
        },
    }
    need(document == built, "the attestation is not the statement about this SHA256SUMS")
    need(
        ed25519(key, pae("application/vnd.in-toto+json", statement), b64(signature, 64, "attestation")), "the attestation's signature does not fit"
    )


def pae(kind, payload):
    """What DSSE signs."""
    return f"DSSEv1 {len(kind)} {kind} {len(payload)} ".encode() + payload


def key_files(key, origin):
    """pack, "The files": `ledger.pub` and `ledger.vkey`, of the key that signs."""
    der = base64.b64encode(bytes.fromhex("302a300506032b6570032100") + key).decode()
    vkey = f"{origin}+{key_id(origin, 1, key).hex()}+{base64.b64encode(bytes([1]) + key).decode()}\n"
    return {"ledger.pub": f"-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n".encode(), "ledger.vkey": vkey.encode()}


def check_guide(archive, digest):
    """pack, "The files", and population: `VERIFY.md` is one text for every file of this version."""
    need(sha(archive["VERIFY.md"]).hex() == digest, "VERIFY.md: another text than this version's")


def check_same(archive, expected, files):
    """These files are there, with these bytes."""
    for name, data in files.items():
        expected.add(name)
        need(archive[name] == data, f"{name}: not the bytes that follow")
    return f"{len(files)} files"
