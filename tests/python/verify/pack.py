"""The checks of an evidence pack, by their numbers in docs/evidence-pack.md, "Verifying"."""

from archive import check_attestation, check_guide, check_same, check_sums, key_files
from entries import header_lines, read_entry, read_frontier
from extracts import cut_out, differences, references, summaries
from notes import Checkpoint, read_proof
from payload import MARK, Rules, at, fits, header_of, largest_integer
from strict import HEX32, HEX64, TEXT, Refuted, Undecided, canonical, closed, jcs, listed, need, one_of, parse, sha, text, whole
from trees import Tree, included, leaf
from trust import check_reach, trusted_keys

TEXTS = lambda x: listed(TEXT)(x) and x == sorted(x, key=str.encode)
NAMED = lambda value: lambda x: isinstance(x, dict) and all(map(value, x.values()))
RULE = closed(
    {
        "count": whole(),
        "emergency_h": whole(),
        "ended_after_h": whole(),
        "environments": TEXTS,
        "evidence_keys": NAMED(TEXT),
        "exempt_classes": TEXTS,
        "grade": one_of("claimed", "recorded", "bound", "signed"),
        "holders": NAMED(TEXTS),
        "roles": TEXTS,
        "signers": NAMED(TEXT),
    },
    {"environments", "evidence_keys", "holders"},
)
PACK = closed(
    {
        "format": one_of(1),
        "fold": whole(1),
        "report": whole(1),
        "origin": text("[^ +\n]{1,255}"),
        "change": TEXT,
        "size": whole(1),
        "root": HEX64,
        "as_of_ms": whole(),
        "entries": listed(closed({"index": whole(), "salt": HEX32}, {"salt"})),
        "approval_rules": listed(closed({"entry": whole(), "rule": RULE})),
        "cosignatures": listed(TEXT),
        "objects": listed(closed({"sha256": HEX64, "size": whole()})),
        "erasures": listed(lambda x: True),
    }
)
NOT_DERIVED = ["change.json", "index.html"]
HEADER = ("change", "id", "phase", "env", "class", "probe", "has", "outcome", "ts")


class Pack:
    """A pack; `entries` are (header with `index` and `leaf`, event, payload as text)."""

    def __init__(self, archive, report):
        self.zip, self.report, self.entries, self.roots = archive, report, [], {}
        self.doc = self.keys = self.head = None
        self.expected = {"SHA256SUMS", "attestation.sigstore.json", "pack.json", "checkpoint", "VERIFY.md", *NOT_DERIVED}

    def verify(self):
        run = self.report.run
        run("2 SHA256SUMS", check_sums, self.zip)
        run("3 pack.json", self.document)
        if not self.doc:
            return
        doc = self.doc
        self.keys = run("4 the key given leads to those that sign", trusted_keys, self.zip, self.report.args, doc["origin"])
        self.head = run("5 checkpoint", self.checkpoint)
        if self.keys:
            said = {name: doc[name] for name in ("origin", "change", "size", "root", "format")}
            run("6 attestation", check_attestation, self.zip, self.keys.all[-1], "evidence-pack", said)
        run("7 entries", self.read_entries)
        run("7 inclusion proofs", self.inclusion)
        read = len(self.entries) == len(doc["entries"])
        if read:
            run("8 one chain from the first entry on", self.chain)
            run("9 payloads fit their commitments", self.commitments)
        told = read and all(event for _, event, _ in self.entries)
        if told:
            run("10 headers say what the payloads give", self.headers_of_payloads)
            self.report.undecided("11 masking", "not redone: the pages do not say how the rules' patterns are put to work")
        if read:
            run("12 what stands behind the last entry", self.later)
        if told:
            run("13 logs by reference", self.objects)
            run("14 files derived from events", self.extracts)
        if self.keys:
            run("14 ledger.pub, ledger.vkey", check_same, self.zip, self.expected, key_files(self.keys.all[-1], doc["origin"]))
        run("14 VERIFY.md", self.guide)
        for name in NOT_DERIVED:
            self.report.undecided(f"14 {name}", "not re-derived")
        run("15 no file is missing or left over", self.complete)
        if self.head and self.keys:
            run("16 trust", check_reach, self.report, self.head, self.keys, self.roots.get)

    def document(self):
        """pack, "pack.json": RFC 8785 bytes of a closed object."""
        doc = canonical(self.zip["pack.json"], "pack.json")
        if isinstance(doc, dict) and type(doc.get("format")) is int and doc["format"] > 1:
            raise Undecided(f"format {doc['format']} is not known")
        need(PACK(doc), "pack.json: not the closed form")
        indices, digests = [item["index"] for item in doc["entries"]], [item["sha256"] for item in doc["objects"]]
        need(indices and indices == sorted(set(indices)) and indices[-1] < doc["size"], "pack.json: entries are not in order below `size`")
        rules = [item["entry"] for item in doc["approval_rules"]]
        need(rules == sorted(set(rules)), "pack.json: rules are not in order")
        need(digests == sorted(set(digests)), "pack.json: objects are not in order")
        if doc["erasures"]:
            raise Undecided("the pack names erasures, of which this version of the format says nothing")
        self.doc, self.root, self.tenant = doc, bytes.fromhex(doc["root"]), doc["origin"].rpartition("/")[2]
        return f"{doc['change']!r} of {doc['origin']}, size {doc['size']}"

    def checkpoint(self):
        """The keys that sign this size signed it; origin, size and root are those of `pack.json`, its other lines `cosignatures`."""
        head = Checkpoint(self.zip["checkpoint"], "checkpoint")
        need(
            (head.origin, head.size, head.root) == (self.doc["origin"], self.doc["size"], self.root),
            "checkpoint: another origin, size or root than pack.json",
        )
        if self.keys:
            head.signed_by(self.keys.at(head.size), self.doc["cosignatures"])
        return head

    def read_entries(self):
        """Each is the RFC 8785 bytes of a closed event header of this change."""
        for item in self.doc["entries"]:
            name = f"entries/{item['index']:010d}.json"
            self.expected |= {name, f"proofs/{item['index']:010d}.tlog-proof"}
            data = self.zip[name]
            entry = read_entry(data, name)
            if entry["kind"] is None:
                raise Undecided(f"{name}: of a kind or version that is not known")
            need(entry["kind"] == "event" and entry["change"] == self.doc["change"], f"{name}: no event of this change")
            self.entries.append(({**entry, "index": item["index"], "leaf": leaf(data)}, None, None))
        return f"{len(self.entries)} entries"

    def inclusion(self):
        """`proofs/N.tlog-proof` is under this checkpoint and leads from SHA-256(00 ‖ entry) to the root."""
        for item in self.doc["entries"]:
            name = f"proofs/{item['index']:010d}.tlog-proof"
            index, path, rest = read_proof(self.zip[name], name)
            need(index == item["index"] and rest == self.zip["checkpoint"], f"{name}: of another entry or under another checkpoint")
            included(leaf(self.zip[f"entries/{index:010d}.json"]), index, self.doc["size"], path, self.root)

    def chain(self):
        """`seq` counts from 0, `prev` is the leaf before; index and road grow, `at` never falls."""
        before = None
        for number, (entry, _, _) in enumerate(self.entries):
            need(entry["seq"] == number, f"entry {entry['index']}: seq {entry['seq']}, not {number}")
            if before:
                need(entry["prev"] == before["leaf"].hex(), f"entry {entry['index']}: `prev` is not the entry before")
                need(entry["road"] > before["road"] and entry["at"] >= before["at"], f"entry {entry['index']}: road or time falls")
            before = entry
        own = before["index"] + 1 == self.doc["size"]
        need(
            self.doc["as_of_ms"] == before["at"] if own else self.doc["as_of_ms"] >= before["at"],
            "as_of_ms is not the time of the tree's last entry",
        )

    def commitments(self):
        """SHA-256(salt ‖ payload) is `commit`, the payload's length `size`."""
        for number, item in enumerate(self.doc["entries"]):
            entry, name = self.entries[number][0], f"events/{item['index']:010d}-{self.entries[number][0]['phase']}.json"
            if "salt" in item:
                self.expected.add(name)
                data = self.zip[name]
                fits_commit = len(data) == entry["size"] and sha(bytes.fromhex(item["salt"]), data).hex() == entry["commit"]
                need(fits_commit, f"{name}: not what its entry commits to")
                event = at(parse(data, name), "provisioning_event")
                need(isinstance(event, dict), f"{name}: no event")
                self.entries[number] = (entry, event, data.decode())
        if not all(event for _, event, _ in self.entries):
            raise Undecided("an entry has no salt: its payload was erased")

    def headers_of_payloads(self):
        """What the header says is what the payload gives under the rules that the header names."""
        known = Rules(self.report.args.schemas)
        for entry, event, payload in self.entries:
            what = f"entry {entry['index']}"
            rules, schema = known.find(entry["rules"])
            within = len(payload.encode()) <= rules["limits"]["bytes"] and largest_integer(event) <= rules["limits"]["integer"]
            need(within and fits(schema, {"provisioning_event": event}, schema), f"{what}: its payload is not one that the rules admit")
            need(event["intent"]["tenant"] == self.tenant, f"{what}: of another tenant")
            given, said = header_of(event, rules), {name: entry[name] for name in HEADER if name in entry}
            need(given == said, f"{what}: header and payload differ in {[name for name in HEADER if given.get(name) != said.get(name)]}")
            need(len(MARK.findall(payload)) == entry["masked"], f"{what}: another number of masked places")

    def later(self):
        """With `headers/`: frontier and entries give the signed root, and none of the entries is of this change."""
        last, size, said = self.entries[-1][0], self.doc["size"], f"later entries of this change up to size {self.doc['size']}: "
        if not any(name.startswith("headers/") for name in self.zip.files):
            self.report.lines.append(said + ("none (proved)" if last["index"] + 1 == size else "NOT PROVED"))
            return "no headers/"
        tree, time, unknown = Tree(last["index"] + 1, read_frontier(self.zip["headers/frontier"])), last["at"], False
        self.expected.add("headers/frontier")
        for data, entry in header_lines(self.zip, tree.size, size, self.expected):
            self.roots[tree.size] = tree.root()
            need(entry["kind"] != "event" or entry["change"] != self.doc["change"], f"entry {tree.size} is of this change, and not in the pack")
            unknown = unknown or entry["kind"] is None
            need(entry["kind"] is None or entry["at"] >= time, f"entry {tree.size}: time falls")
            time = time if entry["kind"] is None else entry["at"]
            tree.add(leaf(data))
        need(tree.root() == self.root, "headers/: do not lead to the signed root")
        need(unknown or time == self.doc["as_of_ms"], "as_of_ms is not the time of the tree's last entry")
        self.report.lines.append(said + ("NOT PROVED" if unknown else "none (proved)"))
        if unknown:
            raise Undecided("an entry of an unknown kind may be of this change")

    def objects(self):
        """pack, "Logs by reference": what `objects` names is referred to with this digest and length, and is there."""
        told, more = references(self.entries)
        for item in self.doc["objects"]:
            name = f"logs/objects/{item['sha256']}"
            self.expected.add(name)
            need(any(one["sha256"] == item["sha256"] and one["size"] == item["size"] for one in told), f"{name}: no event refers to it")
            need(len(self.zip[name]) == item["size"] and sha(self.zip[name]).hex() == item["sha256"], f"{name}: other bytes")
        for one in told:
            one["here"] = {"sha256": one["sha256"], "size": one["size"]} in self.doc["objects"]
        if told:
            absent = sum(not one["here"] for one in told)
            self.report.lines += [f"logs that events refer to and that are not here: {absent}"] if absent else []
            check_same(self.zip, self.expected, {"logs/objects.json": jcs({"logs": told, "more": more}).encode()})
        return f"{len(told)} references, {len(self.doc['objects'])} objects"

    def versions(self):
        """pack, "pack.json": higher versions of fold and report leave undecided what is derived."""
        versions = (self.doc["fold"], self.doc["report"])
        if versions != (1, 1):
            raise Undecided(f"fold {versions[0]}, report {versions[1]} are not known")

    def guide(self):
        """pack, "The files": one text for every pack of report version 1."""
        self.versions()
        check_guide(self.zip, "c9ffb14d7a9545a9fe83c73524738c9806f3dfb7c9a836e182421ffea38805ad")

    def extracts(self):
        """pack, "Extracts": cut out of events, told over all entries (with attempts and states of change.json), differences of plans."""
        self.versions()
        room = max(0, 65474 - 3 * len(self.entries) - len(self.doc["objects"]))
        files, left, change = {}, min(30000, room), parse(self.zip["change.json"], "change.json")
        for entry, event, payload in self.entries:
            mine = cut_out(entry, event, payload, self.doc["origin"])
            left = left - len(mine) if len(mine) <= left else -1
            files.update(mine if left >= 0 else {})
        try:
            told, attempt_of = summaries(self.entries, change)
            listed_there = [
                tuple(line[name] for name in ("index", "seq", "at", "ts", "phase", "id", "outcome", "has")) for line in change["timeline"]
            ]
            mine = [tuple(entry[name] for name in ("index", "seq", "at", "ts", "phase", "id", "outcome", "has")) for entry, _, _ in self.entries]
            need(listed_there == mine, "change.json: its timeline is not that of the entries")
            files.update(differences(self.entries, attempt_of, room - len(files)))
        except (KeyError, TypeError):
            raise Refuted("change.json: not of the form that the summaries are told from") from None
        return check_same(self.zip, self.expected, {**files, **told})

    def complete(self):
        """No file is missing and none is left over. What `keys/` holds beside the chain is undecided."""
        if self.keys and "keys/chain.json" in self.zip:
            self.expected.add("keys/chain.json")
        missing, left = sorted(self.expected - set(self.zip.files)), sorted(set(self.zip.files) - self.expected)
        need(not missing, f"missing: {missing[:3]}")
        if not all(event for _, event, _ in self.entries):
            raise Undecided("not every event could be read")
        if left:
            self.versions()
        need(all(name.startswith("keys/") for name in left), f"left over: {left[:3]}")
        if left:
            raise Undecided(f"not known: {left[:3]}")
        return f"{len(self.zip.files)} files"
