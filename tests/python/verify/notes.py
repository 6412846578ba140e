"""C2SP signed-note, tlog-checkpoint, tlog-proof, tlog-cosignature and tlog-policy; docs/log-format.md, "Names and keys", "Checkpoint"."""

import base64
import os
import re
import struct

from curve import ed25519
from strict import Refuted, Undecided, b64, need, sha

try:  # ML-DSA-44 cosignatures only: without it they cannot be decided
    from cryptography.hazmat.primitives.asymmetric import mldsa
except ImportError:
    mldsa = None


def key_id(name, kind, public):
    return sha(name.encode(), b"\n", bytes([kind]), public)[:4]


def read_key(given, origin=None):
    """The public key from outside: a vkey (log, "Names and keys") or PEM. A vkey of another origin refutes."""
    if os.path.exists(given):
        given = open(given, encoding="utf-8").read()
    given = given.strip()
    if given.startswith("-----BEGIN PUBLIC KEY-----"):
        der = base64.b64decode("".join(given.split("\n")[1:-1]))
        need(len(der) == 44 and der.startswith(bytes.fromhex("302a300506032b6570032100")), "the PEM key is no Ed25519 key")
        return der[12:]
    name, kind, public = read_vkey(given)
    need(kind == 1, "the key is no Ed25519 log key")
    need(origin is None or name == origin, f"the key given is of {name}, the pack of {origin}")
    return public


def read_vkey(line):
    """(name, type, public key) of a verifier key."""
    parts = line.split("+", 2)
    need(len(parts) == 3 and parts[0], f"no verifier key: {line[:80]!r}")
    data = b64(parts[2], what="vkey")
    need(len(data) > 1 and key_id(parts[0], data[0], data[1:]).hex() == parts[1], "the vkey's id is not that of its key")
    return parts[0], data[0], data[1:]


class Checkpoint:
    """A signed tree head: origin, size, root, and the signature lines as texts."""

    def __init__(self, data, what):
        try:
            note = bytes(data).decode("utf-8")
        except UnicodeDecodeError:
            raise Refuted(f"{what}: not UTF-8") from None
        need(not re.search("[\0-\x09\x0b-\x1f]", note) and "\n\n" in note and note.endswith("\n"), f"{what}: no signed note")
        head, _, lines = note.rpartition("\n\n")
        parts = head.split("\n")
        need(len(parts) == 3 and all(parts) and re.fullmatch("0|[1-9][0-9]{0,15}", parts[1]), f"{what}: not origin, size and root")
        self.what, self.bytes, self.body = what, bytes(data), head.encode() + b"\n"
        self.origin, self.size, self.root = parts[0], int(parts[1]), b64(parts[2], 32, what)
        self.lines = lines[:-1].split("\n")
        need(self.lines != [""] and len(self.lines) <= 64, f"{what}: not signed, or by more than 64")
        self.signatures = [self.read(line) for line in self.lines]

    def read(self, line):
        found = re.fullmatch("— ([^+\\s]+) ([A-Za-z0-9+/=]+)", line)
        need(found, f"{self.what}: no signature line: {line[:60]!r}")
        data = b64(found[2], what=self.what)
        need(len(data) > 4, f"{self.what}: a signature line is too short")
        return found[1], data[:4], data[4:]

    def signed_by(self, keys, below=None):
        """The first lines are those of `keys`, each once; what follows is `below`, where that is given."""
        ids = {key_id(self.origin, 1, key): key for key in keys}
        mine, rest = self.signatures[: len(keys)], self.signatures[len(keys) :]
        for name, number, signature in mine:
            key = ids.pop(number, None) if name == self.origin else None
            need(key and ed25519(key, self.body, signature), f"{self.what}: not signed by each key that signs this size")
        need(
            not ids and not any(name == self.origin and number in [key_id(name, 1, key) for key in keys] for name, number, _ in rest),
            f"{self.what}: a key is missing or signs twice",
        )
        need(below is None or self.lines[len(keys) :] == below, f"{self.what}: its other lines are not `cosignatures`")

    def carries(self, key):
        """Whether `key` signed this, on any line."""
        return any(
            name == self.origin and number == key_id(name, 1, key) and ed25519(key, self.body, signature)
            for name, number, signature in self.signatures
        )

    def cosigned(self, name, kind, public):
        """Whether this witness cosigned (log, "Cosignatures"). A line of a key that is known and does not fit refutes."""
        lines = [signature for who, number, signature in self.signatures if who == name and number == key_id(name, kind, public)]
        for signature in lines:
            need(len(signature) > 8, f"{self.what}: a cosignature is too short")
            when, time = signature[:8], int.from_bytes(signature[:8], "big")
            if kind == 4:
                fits = time > 0 and ed25519(public, f"cosignature/v1\ntime {time}\n".encode() + self.body, signature[8:])
            elif mldsa is None:
                raise Undecided(f"a cosignature of {name} is ML-DSA-44, which this Python cannot check")
            else:
                sized = lambda word: bytes([len(word.encode())]) + word.encode()
                signed = b"subtree/v1\n\0" + sized(name) + when + sized(self.origin) + struct.pack(">QQ", 0, self.size) + self.root
                try:
                    mldsa.MLDSA44PublicKey.from_public_bytes(public).verify(signature[8:], signed)
                    fits = True
                except Exception:  # the library's InvalidSignature, or a key or signature of another length
                    fits = False
            need(fits and time < 2**63, f"{self.what}: a cosignature of {name} does not fit")
        return bool(lines)


def read_policy(path):
    """C2SP tlog-policy: (vkeys of logs, {name: witness}, a test whether a set of names meets the quorum)."""
    data = open(path, "rb").read()
    words_of = [re.split("[ \t]+", line.strip(" \t")) for line in data.decode("utf-8", "surrogateescape").split("\n")]
    logs, witnesses, groups, members, quorum = [], {}, {}, set(), None
    known = lambda name: name in witnesses or name in groups
    for kind, *rest in words_of:
        if kind == "log" and 1 <= len(rest) <= 2:
            logs.append(read_vkey(rest[0]))
        elif kind == "witness" and 2 <= len(rest) <= 3 and not known(rest[0]) and rest[0] != "none":
            witnesses[rest[0]] = read_vkey(rest[1])
        elif (
            kind == "group" and len(rest) >= 3 and not known(rest[0]) and rest[0] != "none" and all(known(m) and m not in members for m in rest[2:])
        ):
            count = len(rest) - 2 if rest[1] == "all" else 1 if rest[1] == "any" else int(rest[1]) if re.fullmatch("[1-9][0-9]*", rest[1]) else 0
            need(1 <= count <= len(rest) - 2 == len(set(rest[2:])), "policy: a group's number is out of range, or a member stands there twice")
            groups[rest[0]] = (count, rest[2:])
            members |= set(rest[2:])
        elif kind == "quorum" and len(rest) == 1 and quorum is None and (rest[0] == "none" or known(rest[0])):
            quorum = rest[0]
        else:
            need(kind == "" or kind.startswith("#"), f"policy: not understood: {kind} {' '.join(rest)}")
    need(
        quorum and not re.search(rb"[\0-\x08\x0b-\x1f\x7f]", data) and data.endswith(b"\n"),
        "policy: no quorum, a control character or no end of line",
    )
    need(
        len({w[2] for w in witnesses.values()}) == len(witnesses) and all(w[1] in (4, 6) for w in witnesses.values()),
        "policy: a witness twice, or a key that is no witness's",
    )

    def met(names, goal):
        if goal == "none" or goal in witnesses:
            return goal == "none" or goal in names
        return sum(met(names, member) for member in groups[goal][1]) >= groups[goal][0]

    return logs, witnesses, lambda names: met(names, quorum)


def read_proof(data, what):
    """C2SP tlog-proof without an `extra` line: (index, path, the checkpoint's bytes)."""
    head, found, rest = bytes(data).partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Refuted(f"{what}: no tlog-proof") from None
    need(
        found and lines[0] == "c2sp.org/tlog-proof@v1" and len(lines) > 1 and re.fullmatch("index (0|[1-9][0-9]{0,15})", lines[1]),
        f"{what}: no tlog-proof",
    )
    need(len(lines) <= 2 + 63, f"{what}: too long")
    return int(lines[1][6:]), [b64(line, 32, what) for line in lines[2:]], rest


def read_consistency(data, what):
    """The body of a C2SP tlog-witness add-checkpoint request: (old size, hashes, the newer checkpoint)."""
    head, found, rest = bytes(data).partition(b"\n\n")
    lines = head.decode("ascii", "replace").split("\n")
    need(found and re.fullmatch("old (0|[1-9][0-9]{0,15})", lines[0]) and len(lines) <= 64, f"{what}: no consistency proof")
    return int(lines[0][4:]), [b64(line, 32, what) for line in lines[1:]], rest
