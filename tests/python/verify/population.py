"""The checks of a population (docs/population.md, "What the verifier does")."""

import math
import re

from archive import check_attestation, check_guide, check_same, check_sums, key_files
from entries import header_lines, read_entry, read_frontier
from notes import Checkpoint, read_consistency, read_vkey
from payload import at, timestamp
from strict import (
    CLASSES,
    HEAD,
    HEX32,
    HEX64,
    OUTCOMES,
    PHASES,
    TEXT,
    Undecided,
    b64,
    canonical,
    closed,
    jcs,
    listed,
    need,
    one_of,
    parse,
    sha,
    text,
    whole,
)
from trees import Tree, consistent, leaf
from trust import check_reach, trusted_keys

TIME = text("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(\\.[0-9]{0,2}[1-9])?Z")
COUNTS = lambda x: isinstance(x, dict) and all(whole(1)(count) for count in x.values())
NUMBERS = "changes closed controls epochs erasures events gap_messages gaps heartbeats longest_silence_ms probes rejections started unknown".split()
TOTALS = closed(
    {
        **{name: whole() for name in NUMBERS},
        "classes": COUNTS,
        "outcomes": COUNTS,
        "phases": COUNTS,
        "executed": listed(closed({"changes": whole(1), "environment": TEXT}, {"environment"})),
        "late": closed({"after": whole(), "ahead": whole(), "before": whole()}),
    }
)
POPULATION = closed(
    {
        "format": one_of(1),
        "origin": text("[^ +\n]{1,255}"),
        "from": TIME,
        "to": TIME,
        "begins": whole(),
        "ends": whole(1),
        "first": HEAD,
        "last": HEAD,
        "details": one_of(True, False),
        "cosignatures": listed(TEXT),
        "tenants": closed({"head": HEAD, "listings": whole(1)}),
        "totals": TOTALS,
    }
)
OWN = closed({"index": whole(1), "envelope": TEXT, "envelope_salt": HEX32, "opening": TEXT, "opening_salt": HEX32})
ENVELOPE = closed({"payload": TEXT, "payloadType": TEXT, "signatures": listed(closed({"keyid": TEXT, "sig": TEXT}))})
SORTED = lambda x: listed(TEXT)(x) and x == sorted(set(x), key=str.encode)
DETAILS = closed(
    {"change": TEXT, "owner": TEXT, "initiator": TEXT, "executors": SORTED, "cloud": TEXT, "resources": SORTED}, {"owner", "initiator", "cloud"}
)
ORDER = [
    "headers/",
    "changes/",
    "details/",
    "VERIFY.md",
    "checkpoint",
    "consistency",
    "first.checkpoint",
    "frontier",
    "keys/chain.json",
    "ledger.pub",
    "ledger.vkey",
    "population.json",
    "tenants/",
    "SHA256SUMS",
    "attestation.sigstore.json",
]
ALWAYS = {
    "VERIFY.md",
    "checkpoint",
    "frontier",
    "ledger.pub",
    "ledger.vkey",
    "population.json",
    "tenants/checkpoint",
    "tenants/entries.ndjson",
    "tenants/ledger.vkey",
    "tenants/own.json",
    "SHA256SUMS",
    "attestation.sigstore.json",
}


def milliseconds(word):
    """Milliseconds since 1970 of `from` or `to`."""
    fraction = re.search("\\.([0-9]+)", word)
    return timestamp(word) * 1000 + (int(fraction[1].ljust(3, "0")) if fraction else 0)


class Population:
    """A population; after `verify` also its headers, for the packs that are held against them."""

    def __init__(self, archive, report):
        self.zip, self.report, self.expected = archive, report, set(ALWAYS)
        self.doc = self.keys = self.head = self.tree = self.lines = self.changes = None
        self.roots = {}

    def verify(self):
        run = self.report.run
        run("SHA256SUMS", check_sums, self.zip)
        run("population.json", self.document)
        if not self.doc:
            return
        self.keys = run("the key given leads to those that sign", trusted_keys, self.zip, self.report.args, self.doc["origin"])
        self.head = run("checkpoint", self.checkpoint)
        if self.keys:
            said = {name: self.doc[name] for name in ("first", "format", "from", "last", "origin", "to")}
            run("attestation", check_attestation, self.zip, self.keys.all[-1], "population", said)
            run("ledger.pub, ledger.vkey", check_same, self.zip, self.expected, key_files(self.keys.all[-1], self.doc["origin"]))
        run("the tree that the headers follow on", self.first)
        if self.tree:
            run("headers: root, time, chains, heartbeats", self.headers)
        if self.lines is not None:
            run("totals", self.totals)
        if self.changes is not None:
            run("changes/ and details/", self.lists)
        run("the ledger's own log", self.tenants)
        run("VERIFY.md", check_guide, self.zip, "18f0f71880d0884cbd4f479856bbba7fcf88ced6417ea916ce9cdca87981b5ea")
        run("no file is missing, left over or out of place", self.complete)
        if self.head and self.keys:
            run("trust", check_reach, self.report, self.head, self.keys, self.roots.get)

    def document(self):
        """population, "What is in it": `population.json` is the RFC 8785 form of a closed object."""
        doc = canonical(self.zip["population.json"], "population.json")
        if isinstance(doc, dict) and type(doc.get("format")) is int and doc["format"] > 1:
            raise Undecided(f"format {doc['format']} is not known")
        need(POPULATION(doc), "population.json: not the closed form")
        need(doc["first"]["size"] <= doc["begins"] < doc["ends"] < doc["last"]["size"], "population.json: its places are out of order")
        self.start, self.end = milliseconds(doc["from"]), milliseconds(doc["to"])
        need(self.start < self.end, "population.json: an empty period")
        self.doc = doc
        return f"{doc['origin']}, {doc['from']} to before {doc['to']}"

    def checkpoint(self):
        """The signed tree head that the headers lead to, with its cosignatures."""
        head, last = Checkpoint(self.zip["checkpoint"], "checkpoint"), self.doc["last"]
        need(
            (head.origin, head.size, head.root.hex()) == (self.doc["origin"], last["size"], last["root"]), "checkpoint: not that of population.json"
        )
        if self.keys:
            head.signed_by(self.keys.at(head.size), self.doc["cosignatures"])
        return head

    def first(self):
        """The headers follow on a signed tree head, and that tree is the beginning of the second."""
        size, root = self.doc["first"]["size"], bytes.fromhex(self.doc["first"]["root"])
        tree = Tree(size, read_frontier(self.zip["frontier"]))
        need(tree.root() == root, "frontier: not of the first tree")
        if size:
            self.expected |= {"first.checkpoint", "consistency"}
            head = Checkpoint(self.zip["first.checkpoint"], "first.checkpoint")
            need((head.origin, head.size, head.root) == (self.doc["origin"], size, root), "first.checkpoint: another tree head")
            if self.keys:
                head.signed_by(self.keys.at(size))
            old, path, rest = read_consistency(self.zip["consistency"], "consistency")
            need(old == size and rest == self.zip["checkpoint"], "consistency: between other tree heads")
            consistent(size, root, self.doc["last"]["size"], bytes.fromhex(self.doc["last"]["root"]), path)
        self.tree = tree
        return f"size {size}"

    def headers(self):
        """One pass: root, time that never falls, no change with a gap, heartbeats around the period."""
        chains, lines, before, begins, ends, start = {}, [], 0, None, None, self.tree.size
        for data, entry in header_lines(self.zip, start, self.doc["last"]["size"], self.expected):
            index, node, kind = self.tree.size, leaf(data), entry["kind"]
            self.roots[index] = self.tree.root()
            entry["at"] = entry["at"] if kind else before  # what is unknown counts at the time of what stands before it
            need(entry["at"] >= before, f"entry {index}: time falls")
            need(kind is None or (kind == "first") == (index == 0), f"entry {index}: `first` stands at index 0 and nowhere else")
            if kind == "event":
                seq, prev = chains.get(entry["change"], (None, None))
                follows = (entry["seq"] == 0 or start > 0) if seq is None else (entry["seq"], entry.get("prev")) == (seq + 1, prev)
                need(follows, f"entry {index}: a gap in its change")
                chains[entry["change"]] = (entry["seq"], node.hex())
            if kind == "heartbeat":
                begins = index if entry["at"] < self.start else begins
                ends = index if ends is None and entry["at"] >= self.end else ends
            before = entry["at"]
            lines.append((index, node, entry))
            self.tree.add(node)
        need(self.tree.root().hex() == self.doc["last"]["root"], "the headers do not lead to the signed root")
        begins = 0 if begins is None and start == 0 else begins
        need((begins, ends) == (self.doc["begins"], self.doc["ends"]), f"the heartbeats around the period are {begins} and {ends}")
        self.lines = lines
        return f"{len(lines)} entries"

    def totals(self):
        """population, "A line of changes", "Totals": derived again."""
        period = [(index, entry) for index, _, entry in self.lines if self.start <= entry["at"] < self.end]
        events = [(index, entry) for index, entry in period if entry["kind"] == "event"]
        changes, where = {}, {}
        for index, entry in events:
            changes.setdefault(entry["change"], []).append((index, entry))
            if "execution" in entry["has"]:
                where.setdefault(entry.get("env"), set()).add(entry["change"])
        self.changes = [self.line(change, of) for change, of in changes.items()]
        kinds = lambda kind: [entry for _, entry in period if entry["kind"] == kind]
        count = lambda words: {word: words.count(word) for word in set(words)}
        beats = [entry["at"] for index, _, entry in self.lines if entry["kind"] == "heartbeat" and self.doc["begins"] <= index <= self.doc["ends"]]
        start, end = math.ceil(self.start / 1000), math.ceil(self.end / 1000)
        behind = [entry for _, _, entry in self.lines if entry["kind"] == "event" and entry["at"] >= self.end]
        of = [entry for _, entry in events]
        totals = {
            "changes": len(changes),
            "started": sum(line["started"] for line in self.changes),
            "closed": sum(line["closed"] for line in self.changes),
            "executed": [
                {**({} if name is None else {"environment": name}), "changes": len(where[name])}
                for name in sorted(where, key=lambda x: (x is not None, (x or "").encode()))
            ],
            "events": len(of),
            "phases": count([e["phase"] for e in of]),
            "outcomes": count([e["outcome"] for e in of]),
            "classes": count([e["class"] for e in of if "class" in e]),
            "probes": sum("probe" in e for e in of),
            "rejections": len(kinds("rejection")),
            "controls": len(kinds("control")),
            "erasures": sum(e["body"]["op"] == "erase" for e in kinds("control")),
            "gaps": len(kinds("gap")),
            "gap_messages": sum(e["body"]["to"] - e["body"]["from"] + 1 for e in kinds("gap")),
            "epochs": len(kinds("epoch")),
            "unknown": len(kinds(None)),
            "heartbeats": len(beats),
            "longest_silence_ms": max((b - a for a, b in zip(beats, beats[1:])), default=0),
            "late": {
                "before": sum(e["ts"] < start for e in of),
                "ahead": sum(e["ts"] >= end for e in of),
                "after": sum(start <= e["ts"] < end for e in behind),
            },
        }
        need(totals == self.doc["totals"], f"totals differ: {[name for name in totals if totals[name] != self.doc['totals'][name]]}")
        if any(entry["kind"] is None for _, _, entry in self.lines):
            raise Undecided("an entry of an unknown kind may be of any change: the list is undecided")
        return f"{len(of)} events, {len(changes)} changes"

    def line(self, change, events):
        """population, "A line of changes"."""
        of = [entry for _, entry in events]
        environments = {entry["env"] for entry in of if "env" in entry}
        words = lambda name, order: sorted({entry[name] for entry in of if name in entry}, key=order.index)
        return {
            "change": change,
            "classes": words("class", CLASSES),
            "outcomes": words("outcome", OUTCOMES),
            "phases": words("phase", PHASES),
            "environments": sorted(environments, key=str.encode),
            "events": len(of),
            "closed": any("closed" in entry["has"] for entry in of),
            "executed": any("execution" in entry["has"] for entry in of),
            "probe": all("probe" in entry for entry in of),
            "started": any(entry["seq"] == 0 for entry in of),
            "first": events[0][0],
            "first_at": of[0]["at"],
            "first_ts": min(entry["ts"] for entry in of),
            "last": events[-1][0],
            "last_at": of[-1]["at"],
            "last_ts": max(entry["ts"] for entry in of),
        }

    def lists(self):
        """`changes/` derived again; `details/` has its form, line by line for the same changes (what it says no header proves)."""
        for start in range(0, len(self.changes), 16384):
            part = self.changes[start : start + 16384]
            check_same(self.zip, self.expected, {f"changes/{start:010d}.ndjson": "".join(jcs(line) + "\n" for line in part).encode()})
            if self.doc["details"]:
                name = f"details/{start:010d}.ndjson"
                self.expected.add(name)
                lines = self.zip[name].split(b"\n")
                need(lines.pop() == b"" and len(lines) == len(part), f"{name}: not a line for each change")
                for line, change in zip(lines, part):
                    detail = canonical(line, name)
                    need(DETAILS(detail) and detail["change"] == change["change"], f"{name}: a line is not of its change's details")
        return f"{len(self.changes)} changes"

    def tenants(self):
        """population, "Tenants": the ledger's own log, all of it, and this tenant's listing opened."""
        ledger, _, tenant = self.doc["origin"].rpartition("/")
        origin, vkey = ledger + "/_ledger", self.zip["tenants/ledger.vkey"].decode("utf-8", "replace")
        name, kind, key = read_vkey(vkey[:-1])
        need(vkey.endswith("\n") and (name, kind) == (origin, 1), "tenants/ledger.vkey: of another log")
        head = Checkpoint(self.zip["tenants/checkpoint"], "tenants/checkpoint")
        need(
            head.origin == origin and {"root": head.root.hex(), "size": head.size} == self.doc["tenants"]["head"],
            "tenants/checkpoint: not that of population.json",
        )
        need(head.carries(key), "tenants/checkpoint: not signed with tenants/ledger.vkey")
        lines, tree, entries = self.zip["tenants/entries.ndjson"].split(b"\n"), Tree(), []
        need(lines.pop() == b"" and len(lines) == head.size, "tenants/entries.ndjson: not every entry")
        for line in lines:
            entries.append(read_entry(line, f"tenants/entries.ndjson, entry {tree.size}"))
            tree.add(leaf(line))
        need(tree.root() == head.root, "tenants/entries.ndjson: another root")
        listings = sum(entry["kind"] == "control" and entry["body"]["op"] == "tenant" for entry in entries)
        need(listings == self.doc["tenants"]["listings"], "population.json: another number of listings")
        if "tenants/own.json" not in self.zip:
            self.expected.discard("tenants/own.json")
            self.report.lines.append("the listing of this tenant is not opened")
            return f"{listings} listings"
        own = canonical(self.zip["tenants/own.json"], "tenants/own.json")
        need(OWN(own) and own["index"] < len(entries), "tenants/own.json: not the closed form")
        entry, envelope, opening = entries[own["index"]], b64(own["envelope"]), b64(own["opening"])
        lists = entry["kind"] == "control" and entry["body"]["op"] == "tenant"
        commits = lists and sha(bytes.fromhex(own["envelope_salt"]), envelope).hex() == entry["body"]["commit"]
        need(commits, "tenants/own.json: not what its entry commits to")
        act = parse(envelope, "tenants/own.json")
        need(ENVELOPE(act), "tenants/own.json: no envelope")
        commit = at(parse(b64(act["payload"], what="tenants/own.json"), "tenants/own.json"), "body", "commit")
        need(commit == sha(bytes.fromhex(own["opening_salt"]), opening).hex(), "tenants/own.json: another listing than its entry's")
        birth = canonical(opening, "tenants/own.json")
        members = {"first": HEX64, "log_key": TEXT, "origin": one_of(self.doc["origin"]), "tenant": one_of(tenant)}
        need(closed(members)(birth), "tenants/own.json: the listing is of another log")
        if self.lines and self.lines[0][0] == 0:
            need(birth["first"] == self.lines[0][1].hex(), "tenants/own.json: lists another beginning of this log")
        return f"{listings} listings, one of them opened"

    def complete(self):
        """The files are those, and stand in the order of the table (population, "What is in it, in this order")."""
        if self.keys and "keys/chain.json" in self.zip:
            self.expected.add("keys/chain.json")
        place = lambda name: next(
            (i for i, group in enumerate(ORDER) if name == group or group.endswith("/") and name.startswith(group)), len(ORDER)
        )
        names = list(self.zip.files)
        need(set(names) == self.expected, f"left over or missing: {sorted(set(names) ^ self.expected)[:3]}")
        need(names == sorted(names, key=lambda name: (place(name), name)), "the files are not in their order")
        return f"{len(names)} files"


def check_members(pack, population):
    """population, "What the verifier does": every entry of the pack's change that the population shows is in the pack."""
    need(pack.doc["origin"] == population.doc["origin"], "the population is of another log")
    mine = {entry["index"]: entry["leaf"] for entry, _, _ in pack.entries}
    for index, node, entry in population.lines:
        if index in mine:
            need(mine[index] == node, f"entry {index}: another in the population than in the pack")
        else:
            need(entry["kind"] != "event" or entry["change"] != pack.doc["change"], f"entry {index} is of this change, and not in the pack")
    last, first, size = max(mine), population.doc["first"]["size"], population.doc["last"]["size"]
    unknown = any(entry["kind"] is None and index > last for index, _, entry in population.lines)
    proved = first <= last + 1 and last < size and not unknown
    pack.report.lines.append(f"later entries of this change up to size {size}: {'none (proved)' if proved else 'NOT PROVED'}, by the population")
    need(size != pack.doc["size"] or population.doc["last"]["root"] == pack.doc["root"], "pack and population of one size have different roots")
    if not proved:
        raise Undecided("the pack's last entry is not among the population's, or an entry is of an unknown kind")
