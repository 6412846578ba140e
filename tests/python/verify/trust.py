"""Which keys sign (docs/log-format.md, "Which keys sign a checkpoint", "From an earlier key to the newest"), and how far trust reaches."""

from archive import pae
from curve import ed25519
from entries import KEY, KEYS, read_entry
from notes import Checkpoint, key_id, read_consistency, read_key, read_policy
from strict import HEX32, HEX64, TEXT, Refuted, Undecided, b64, canonical, closed, jcs, listed, need, one_of, sha, text, whole
from trees import consistent, included, leaf

CONTROL = "application/vnd.upm-ledger.control.v1+json"
CHAIN = closed(
    {
        "v": one_of(1),
        "checkpoint": TEXT,
        "first": closed({"entry": TEXT, "path": listed(TEXT)}),
        "controls": listed(closed({"index": whole(1), "entry": TEXT, "path": listed(TEXT), "message": TEXT, "salt": HEX32}, {"message", "salt"})),
        "old": listed(closed({"checkpoint": TEXT, "first": listed(TEXT), "consistency": listed(TEXT)})),
    }
)
ACTS = {
    "key": closed({"new": KEY, "old": KEY, "status": one_of("retired", "lost", "compromised"), "from": whole(), "size": whole(1), "root": HEX64}),
    "admin": closed({"keys": KEYS}),
    "recovery": closed({"key": KEY}),
}
ENVELOPE = closed({"payload": TEXT, "payloadType": one_of(CONTROL), "signatures": listed(closed({"keyid": text("[0-9a-f]{8}"), "sig": TEXT}))})


class Keys:
    """The keys of a log over its life: the first, and the changes [(index, body of the act)]."""

    def __init__(self, first, changes=()):
        self.first, self.changes = first, list(changes)
        self.all = [first] + [public(body["new"]) for _, body in self.changes]

    def at(self, size):
        """The keys that sign this size, the oldest first."""
        keys = [self.first]
        for index, body in self.changes:
            if size > index:
                overlap = body["status"] == "retired" and size <= body["from"]
                keys = [key for key in keys if overlap and key == public(body["old"])] + [public(body["new"])]
            elif body["status"] != "retired" and size > body["from"]:
                keys = [key for key in keys if key != public(body["old"])]
        need(keys, f"no key's signature over size {size} counts")
        return keys


def public(word):
    """The Ed25519 key in base64 of type ‖ key."""
    data = b64(word, 33, "a key")
    need(data[0] == 1, "a key is not Ed25519")
    return data[1:]


def hashes(lines):
    return [b64(line, 32, "a hash of a proof") for line in lines]


def open_envelope(data, keys, origin, what):
    """log, "Control entries": (act, key ids). With `keys` every signature has to be by one of them, once, and to fit."""
    need(ENVELOPE(data), f"{what}: no envelope of an act")
    payload, ids = b64(data["payload"], what=what), [signature["keyid"] for signature in data["signatures"]]
    need(ids and len(set(ids)) == len(ids), f"{what}: a key signs twice, or none does")
    known = {key_id(origin, 1, key).hex(): key for key in keys or ()}
    for signature in data["signatures"] if keys is not None else ():
        key = known.get(signature["keyid"])
        fits = key and ed25519(key, pae(CONTROL, payload), b64(signature["sig"], 64, what))
        need(fits, f"{what}: a signature is of no known key or does not fit")
    act, members = canonical(payload, what), {"v": one_of(1), "origin": one_of(origin), "op": TEXT, "counter": whole(1), "prev": HEX64}
    need(closed({**members, "body": lambda x: isinstance(x, dict)})(act), f"{what}: no act on {origin}")
    return act, ids


def open_message(item, entry, origin, keys, what):
    """The act in the message of a control entry, with its listing in the ledger's own log: (act, key ids)."""
    message = b64(item["message"], what=what)
    fits = sha(bytes.fromhex(item["salt"]), message).hex() == entry["body"]["commit"] and len(message) == entry["body"]["size"]
    need(fits, f"{what}: its message is another")
    document = canonical(message, what)
    if origin.endswith("/_ledger"):
        return open_envelope(document, keys, origin, what)
    need(closed({"act": lambda x: True, "listing": lambda x: True, "salt": HEX32})(document), f"{what}: no act with its listing")
    act, ids = open_envelope(document["act"], keys, origin, what)
    listing, _ = open_envelope(document["listing"], None, origin.rpartition("/")[0] + "/_ledger", what)
    opening = {"act": sha(jcs(document["act"]).encode()).hex(), "counter": act["counter"], "op": act["op"], "origin": origin}
    commit = sha(bytes.fromhex(document["salt"]), jcs(opening).encode()).hex()
    need(listing["op"] == "tenant" and listing["body"] == {"commit": commit}, f"{what}: its listing is of something else")
    return act, ids


def follow(data, note, given):
    """From the key given to the keys that sign this checkpoint, by what the recovery key said."""
    chain, head = canonical(data, "keys/chain.json"), Checkpoint(note, "checkpoint")
    need(CHAIN(chain), "keys/chain.json: not the closed form")
    bare = Checkpoint(chain["checkpoint"].encode(), "keys/chain.json, checkpoint")
    origin, raw = head.origin, b64(chain["first"]["entry"], what="keys/chain.json")
    included(leaf(raw), 0, head.size, hashes(chain["first"]["path"]), head.root)
    first, previous, before = read_entry(raw, "entry 0"), leaf(raw), 0
    need(first["kind"] == "first" and first["body"]["origin"] == origin, "keys/chain.json: entry 0 is not that of this log")
    first_leaf, keys = previous, Keys(public(first["body"]["log_key"]))
    recovery, admins = public(first["body"]["recovery_key"]), [public(key) for key in first["body"]["admin_keys"]]
    for number, item in enumerate(chain["controls"], 1):
        raw, index, what = b64(item["entry"], what="keys/chain.json"), item["index"], f"control entry {item['index']}"
        entry = read_entry(raw, what)
        included(leaf(raw), index, head.size, hashes(item["path"]), head.root)
        need(entry["kind"] == "control" and index > before and entry["body"]["counter"] == number, f"{what}: out of order, or no control entry")
        op = entry["body"]["op"]
        need(("message" in item) == ("salt" in item) == (op in ACTS), f"{what}: a message where none belongs, or none")
        if op in ACTS:
            act, ids = open_message(item, entry, origin, [keys.all[-1], recovery, *admins], what)
            body = act["body"]
            need(
                (act["op"], act["counter"], act["prev"]) == (op, number, previous.hex()) and ACTS[op](body),
                f"{what}: not the act that its entry names",
            )
            signs = [recovery] + ([keys.all[-1]] if body.get("status") == "retired" else [])
            need(all(key_id(origin, 1, key).hex() in ids for key in signs), f"{what}: not signed by those who have to sign it")
            if op == "key":
                overlap = body["from"] >= index if body["status"] == "retired" else body["from"] <= index
                need(
                    public(body["old"]) == keys.all[-1] and overlap and body["size"] <= min(index, body["from"]),
                    f"{what}: no change of the key in force",
                )
                keys = Keys(keys.first, [*keys.changes, (index, body)])
            elif op == "admin":
                admins = [public(key) for key in body["keys"]]
            else:
                recovery = public(body["key"])
        previous, before = leaf(raw), index
    signing = keys.at(head.size)
    bare.signed_by(signing)
    same = bare.body == head.body and bare.lines in (head.lines, head.lines[: len(signing)])
    need(same, "keys/chain.json: about another checkpoint")
    need(given in keys.all, "keys/chain.json: the key given is none of this log's")
    if given not in signing:
        for item in chain["old"]:
            old = Checkpoint(item["checkpoint"].encode(), "keys/chain.json, old")
            if old.origin == origin and old.carries(given) and given in keys.at(old.size):
                old.signed_by(keys.at(old.size))
                included(first_leaf, 0, old.size, hashes(item["first"]), old.root)
                consistent(old.size, old.root, head.size, head.root, hashes(item["consistency"]))
                break
        else:
            raise Refuted("keys/chain.json: nothing in it is signed with the key given")
    return keys


def trusted_keys(archive, args, origin):
    """The keys of the log, from the key given, by way of keys/chain.json where that is there."""
    given = read_key(args.key, origin)
    return follow(archive["keys/chain.json"], archive["checkpoint"], given) if "keys/chain.json" in archive else Keys(given)


def check_reach(report, head, keys, known_root):
    """pack, "Verifying", 16: cosignatures under a policy, and a checkpoint that was kept."""
    args, reach = report.args, []
    if args.witness_policy:
        try:
            logs, witnesses, met = read_policy(args.witness_policy)
        except Refuted as why:
            raise Undecided(str(why)) from None
        need(not logs or any(log[0] == head.origin for log in logs), "policy: names other logs")
        names = {name for name, witness in witnesses.items() if head.cosigned(*witness)}
        if met(names) and names:
            reach.append("witnessed by " + ", ".join(sorted(names)))
        elif not met(names) and args.require != "witnessed":
            raise Undecided("not as many cosignatures as the policy asks for")
    if args.known_checkpoint and compare_kept(args, head, keys, known_root):
        reach.append("kept checkpoint")
    need(args.require != "witnessed" or any(word.startswith("witnessed") for word in reach), "required: witnessed, and it is not")
    need(args.require != "kept-checkpoint" or "kept checkpoint" in reach, "required: a kept checkpoint, and none leads here")
    report.lines.append("trust reaches: " + (", ".join(reach) or "operator only"))


def compare_kept(args, head, keys, known_root):
    """Whether the log is consistent with the checkpoint that was kept; undecided where no proof shows it."""
    with open(args.known_checkpoint, "rb") as file:
        kept = Checkpoint(file.read(), "kept checkpoint")
    need(kept.origin == head.origin, "kept checkpoint: of another log")
    kept.signed_by(keys.at(kept.size))
    root = head.root if kept.size == head.size else known_root(kept.size)
    if root:
        need(root == kept.root, "kept checkpoint: another history")
        return True
    why = f"kept checkpoint: no proof between sizes {kept.size} and {head.size} (--consistency)"
    if kept.size and args.consistency:
        small, large = sorted((kept, head), key=lambda note: note.size)
        try:
            with open(args.consistency, "rb") as file:
                old, path, rest = read_consistency(file.read(), "consistency")
            newer = Checkpoint(rest, "consistency, checkpoint")
            newer.signed_by(keys.at(newer.size))
            two_roots = (newer.origin, newer.size) == (large.origin, large.size) and newer.root != large.root
            if not two_roots:
                need(old == small.size, "consistency: from another size")
                consistent(small.size, small.root, large.size, large.root, path)
                return True
        except Refuted as error:
            two_roots, why = False, str(error)
        need(not two_roots, f"kept checkpoint: two signed roots for size {large.size}")
    need(args.require != "kept-checkpoint", why)
    if kept.size:
        raise Undecided(why)
    return True
