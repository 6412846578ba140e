"""Files cut out of events and told over all entries (docs/evidence-pack.md, "Extracts", "Logs by reference")."""

import re

from payload import ascii_lower, at, items
from strict import DECODER, jcs, sha

HIDDEN = [
    (0x00, 0x1F),
    (0x7F, 0x9F),
    (0xAD, 0xAD),
    (0x34F, 0x34F),
    (0x61C, 0x61C),
    (0x115F, 0x1160),
    (0x17B4, 0x17B5),
    (0x180B, 0x180F),
    (0x200B, 0x200F),
    (0x2028, 0x202E),
    (0x2060, 0x206F),
    (0x2800, 0x2800),
    (0x3164, 0x3164),
    (0xFE00, 0xFE0F),
    (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0),
    (0xFFF0, 0xFFFB),
    (0x1BCA0, 0x1BCA3),
    (0x1D173, 0x1D17A),
    (0xE0000, 0xE0FFF),
]
UNSEEN = re.compile("[" + "".join(f"{chr(a)}-{chr(b)}" for a, b in HIDDEN).replace("\\", "\\\\") + "]")
HEALTH = ["health", "rollout", "status", "connectivity", "ready", "probe", "alive"]
OBJECT = re.compile("obs://[A-Za-z0-9_-]{1,80}/[A-Za-z0-9_./=-]{1,128}\\?size=(0|[1-9][0-9]{0,15})#sha256:([0-9a-f]{64})")


def shown(words, keep=""):
    """Every character that cannot be seen as `\\u{hex}`."""
    return UNSEEN.sub(lambda m: m[0] if m[0] in keep and keep else f"\\u{{{ord(m[0]):x}}}", words)


def raw_member(payload, *path):
    """A member exactly as its producer wrote it, from its first byte to its last; None where it is absent or null."""
    source, start = payload, 0
    for name in path:
        position, found = re.compile(r"\s*\{\s*").match(source, start), None
        if not position:
            return None
        position = position.end()
        while source[position] != "}":
            member, position = DECODER.raw_decode(source, position)
            position = re.compile(r"\s*:\s*").match(source, position).end()
            value, end = DECODER.raw_decode(source, position)
            if member == name:
                found = (position, end, value)
            position = re.compile(r"\s*,?\s*").match(source, end).end()
        if found is None or found[2] is None:
            return None
        start, end = found[0], found[1]
    return source[start:end].encode()


def plan_of(event):
    """What the plan's digest is taken of (schemas/vectors/plan_digest.json), or None without a plan."""
    if not isinstance(event.get("plan"), dict):
        return None
    target = {name: at(event, "target", name) for name in ("cloud", "cluster_endpoint_id", "resources")}
    target = {name: value for name, value in target.items() if value is not None}
    artifacts = at(event, "plan", "artifacts")
    parts = {
        "v": 1,
        "environment": event.get("environment"),
        "target": target or None,
        "commands": at(event, "plan", "commands"),
        "dependency_graph": at(event, "plan", "dependency_graph"),
        "rollback_plan": at(event, "rollback", "plan"),
        "artifacts": None if artifacts is None else [at(artifact, "digest") for artifact in artifacts],
    }
    return {name: value for name, value in parts.items() if value is not None}


def plan_digest(plan):
    return "sha256:" + sha(jcs(plan).encode()).hex()


def plan_lines(plan):
    """The lines of a plan for `plan/N-diff.txt`."""
    places = [
        ("environment", ("environment",)),
        ("cloud", ("target", "cloud")),
        ("endpoint", ("target", "cluster_endpoint_id")),
        ("resource", ("target", "resources")),
        ("command", ("commands",)),
        ("graph", ("dependency_graph",)),
        ("artifact", ("artifacts",)),
        ("rollback", ("rollback_plan",)),
    ]
    out = []
    for label, path in places:
        value = at(plan, *path)
        for item in value if isinstance(value, list) else [] if value is None else [value]:
            out.append(f"{label}: " + (item if isinstance(item, str) else jcs(item)))
    return out


def difference(old, new):
    """pack, "Extracts": the walk over the longest common subsequence."""
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[len(old) - 1 - tail] == new[len(new) - 1 - tail]:
        tail += 1
    a, b = old[head : len(old) - tail], new[head : len(new) - tail]
    out = [" " + line for line in old[:head]]
    if len(a) * len(b) > 250000:
        out += ["-" + line for line in a] + ["+" + line for line in b]
    else:
        length = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
        for i in range(len(a) - 1, -1, -1):
            for j in range(len(b) - 1, -1, -1):
                length[i][j] = length[i + 1][j + 1] + 1 if a[i] == b[j] else max(length[i + 1][j], length[i][j + 1])
        i = j = 0
        while i < len(a) or j < len(b):
            if i < len(a) and j < len(b) and a[i] == b[j]:
                out.append(" " + a[i])
                i, j = i + 1, j + 1
            elif j == len(b) or i < len(a) and length[i + 1][j] >= length[i][j + 1]:
                out.append("-" + a[i])
                i += 1
            else:
                out.append("+" + b[j])
                j += 1
    return out + [" " + line for line in old[len(old) - tail :]]


def commands_file(value):
    out = []
    for item in value if isinstance(value, list) else []:
        out.append(shown(item if isinstance(item, str) else jcs(item)) + "\n")
    return "".join(out).encode()


def cut_out(entry, event, payload, origin):
    """The files that are cut out of one event."""
    n, files = f"{entry['index']:010d}", {}
    raw = lambda *path: raw_member(payload, "provisioning_event", *path)
    plan = plan_of(event)
    if plan is not None:
        files[f"plan/{n}-plan.json"], files[f"plan/{n}-target.json"] = raw("plan"), raw("target")
        files[f"plan/{n}-digest.txt"] = (plan_digest(plan) + "\n").encode()
        if at(event, "plan", "commands") is not None:
            files[f"plan/{n}-commands.txt"] = commands_file(event["plan"]["commands"])
    for name, path in (
        ("approvals/{}-required.json", ("plan", "approvals")),
        ("approvals/{}-given.json", ("preflight", "approvals")),
        ("approvals/{}-preflight.json", ("preflight",)),
        ("logs/{}-execution.json", ("execution",)),
        ("logs/{}-audit-trace.json", ("audit_trace",)),
        ("verify/{}-verification.json", ("verification",)),
        ("rollback/{}-rollback.json", ("rollback",)),
        ("rollback/{}-dry-run.json", ("rollback", "dry_run")),
        ("rollback/{}-executed.json", ("rollback", "executed")),
    ):
        files[name.format(n)] = raw(*path)
    for number, approval in enumerate(items(event, "preflight", "approvals"), 1):
        if isinstance(at(approval, "signature"), str):
            names = ("plan_digest", "approver", "role", "decision", "at", "expires")
            signed = {
                "v": 1,
                "origin": origin,
                "change": entry["change"],
                **{name: approval[name] for name in names if isinstance(approval.get(name), str)},
            }
            files[f"approvals/{n}-signed-{number:03d}.json"], files[f"approvals/{n}-signed-{number:03d}.sig"] = (
                jcs(signed).encode(),
                approval["signature"].encode(),
            )
    if at(event, "rollback", "plan") is not None:
        files[f"rollback/{n}-commands.txt"] = commands_file(event["rollback"]["plan"])
    for folder, steps in (("logs", items(event, "execution", "steps")), ("rollback", items(event, "rollback", "executed", "steps"))):
        for number, step in enumerate(steps, 1):
            for stream in ("stdout", "stderr"):
                if isinstance(at(step, stream), str):
                    files[f"{folder}/{n}-step-{number:03d}-{stream}.txt"] = shown(step[stream], "\n").encode()
    return {name: data for name, data in files.items() if data is not None}


def counted(checks):
    return {"count": len(checks), "passed": sum(at(c, "ok") is True for c in checks), "failed": sum(at(c, "ok") is False for c in checks)}


def summaries(entries, change):
    """`approvals/trail.json`, `verify/summary.json`, `rollback/summary.json`, with attempts and states of `change.json`."""
    attempt_of = {index: item["attempt"] for item in change["attempts"] for index in item["entries"]}
    rounds = []
    for entry, event, _ in entries:
        if at(event, "verification") is not None:
            checks, drift = items(event, "verification", "checks"), at(event, "verification", "drift")
            lower = lambda c: [ascii_lower(x) for x in (at(c, "type"), at(c, "name")) if isinstance(x, str)]
            one = {
                "index": entry["index"],
                "attempt": attempt_of[entry["index"]],
                "checks": counted(checks),
                "slo": counted(items(event, "verification", "slo")),
                "health": counted([c for c in checks if any(word in name for name in lower(c) for word in HEALTH)]),
            }
            if isinstance(drift, dict):
                one["drift"] = {name: drift[name] for name in ("baseline_hash", "current_hash") if isinstance(drift.get(name), str)}
                one["drift"].update({"differences": len(drift["diff"])} if isinstance(drift.get("diff"), list) else {})
            rounds.append(one)
    attempts = []
    for item in change["attempts"]:
        mine = [(entry, event) for entry, event, _ in entries if entry["index"] in item["entries"]]
        where = lambda *path: [entry["index"] for entry, event in mine if at(event, *path) is not None]
        executed = []
        for entry, event in mine:
            found = at(event, "rollback", "executed")
            if found is not None:
                steps = items(found, "steps")
                one = {"index": entry["index"], "steps": len(steps), "steps_failed": sum(at(step, "rc") not in (None, 0) for step in steps)}
                executed.append({**one, **({"outcome": found["outcome"]} if isinstance(found.get("outcome"), str) else {})})
        last = executed[-1]["index"] if executed else None
        one = {
            "attempt": item["attempt"],
            "state": item["state"],
            "planned": where("rollback", "plan"),
            "dry_runs": where("rollback", "dry_run"),
            "executed": executed,
            "failed": [entry["index"] for entry, _ in mine if entry["outcome"] == "failed"],
            "verified_after": [index for index in where("verification") if last is not None and index > last],
        }
        attempts.append({**one, **({"reached": item["reached"]} if "reached" in item else {})})
    trail = {"attempts": [item["approval"] for item in change["attempts"] if "approval" in item], "given": change["approvals"]}
    told = {"approvals/trail.json": trail, "verify/summary.json": {"rounds": rounds}, "rollback/summary.json": {"attempts": attempts}}
    return {name: jcs(value).encode() for name, value in told.items()}, attempt_of


def differences(entries, attempt_of, room):
    """`plan/N-diff.txt` of each plan that is another than the last before it, at most `room` of them."""
    files, before = {}, None
    for entry, event, _ in entries:
        plan = plan_of(event)
        if plan is None:
            continue
        if before and plan_digest(before[1]) != plan_digest(plan) and len(files) < room:
            heads = [
                f"{mark} entry {e['index']:010d} attempt {attempt_of[e['index']]} {plan_digest(p)}"
                for mark, e, p in (("---", *before), ("+++", entry, plan))
            ]
            lines = [line[0] + shown(line[1:]) for line in difference(plan_lines(before[1]), plan_lines(plan))]
            files[f"plan/{entry['index']:010d}-diff.txt"] = "".join(line + "\n" for line in heads + lines).encode()
        before = (entry, plan)
    return files


def references(entries):
    """pack, "Logs by reference": the first 10,000 of the change, and how many more there are."""
    told, more = [], 0
    for entry, event, _ in entries:
        for section, path in (("execution", ("execution", "steps")), ("rollback", ("rollback", "executed", "steps"))):
            for number, step in enumerate(items(event, *path) if section in entry["has"] else [], 1):
                for stream in ("stdout", "stderr"):
                    found = OBJECT.fullmatch(at(step, stream + "_ref") or "")
                    if found and int(found[1]) <= 2**50 and len(told) < 10000:
                        told.append(
                            {
                                "index": entry["index"],
                                "section": section,
                                "step": number,
                                "stream": stream,
                                "sha256": found[2],
                                "size": int(found[1]),
                            }
                        )
                    elif found and int(found[1]) <= 2**50:
                        more += 1
    return told, more
