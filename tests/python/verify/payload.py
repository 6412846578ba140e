"""What a header says of its payload, derived again by the published rules (schemas/rules/N.json) and the event's schema."""

import datetime
import glob
import json
import os
import re

from strict import CLASSES, SECTIONS, Undecided, sha


class Rules:
    """The published rules files and schemas, found by their SHA-256."""

    def __init__(self, folder):
        self.known, self.schemas = {}, {}
        for path in glob.glob(os.path.join(folder or "", "rules", "*.json")) if folder else []:
            data = open(path, "rb").read()
            document = json.loads(data)
            if isinstance(document, dict):
                self.known[sha(data).hex()] = document
        for path in glob.glob(os.path.join(folder or "", "*.schema.json")) if folder else []:
            data = open(path, "rb").read()
            self.schemas[sha(data).hex()] = json.loads(data)

    def find(self, digest):
        rules = self.known.get(digest)
        schema = rules and self.schemas.get(rules["schema"]["sha256"])
        if not schema:
            raise Undecided(f"rules {digest[:16]}… are not at hand (--schemas DIR)")
        return rules, schema


def fits(schema, value, root):
    """As much of JSON Schema 2020-12 as the event's schema uses."""
    if "$ref" in schema:
        return fits(root["$defs"][schema["$ref"].rpartition("/")[2]], value, root)
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    kinds = {
        "object": isinstance(value, dict),
        "array": isinstance(value, list),
        "string": isinstance(value, str),
        "boolean": isinstance(value, bool),
        "number": number,
        "integer": number and value == int(value),
    }
    if (
        "type" in schema
        and not kinds[schema["type"]]
        or "enum" in schema
        and value not in schema["enum"]
        or "not" in schema
        and fits(schema["not"], value, root)
    ):
        return False
    if number and not schema.get("minimum", value) <= value <= schema.get("maximum", value):
        return False
    if isinstance(value, str):
        limit = re.fullmatch("utf8-([0-9]+)", schema.get("format", ""))
        if not schema.get("minLength", 0) <= len(value) <= schema.get("maxLength", len(value)) or limit and len(value.encode()) > int(limit[1]):
            return False
        if "pattern" in schema and not re.search(schema["pattern"].replace("$", "\\Z"), value):
            return False
    if isinstance(value, list) and "items" in schema and not all(fits(schema["items"], item, root) for item in value):
        return False
    if isinstance(value, dict):
        return all(name in value for name in schema.get("required", ())) and all(
            fits(sub, value[name], root) for name, sub in schema.get("properties", {}).items() if name in value
        )
    return True


def at(value, *path):
    """The member at this path, or None."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def largest_integer(value):
    """The largest absolute value of a number written without fraction and exponent."""
    if isinstance(value, (dict, list)):
        return max(map(largest_integer, value.values() if isinstance(value, dict) else value), default=0)
    return abs(value) if type(value) is int else 0


def ascii_lower(value):
    return re.sub("[A-Z]", lambda m: m[0].lower(), value) if isinstance(value, str) else None


def items(event, *path):
    found = at(event, *path)
    return found if isinstance(found, list) else []


def timestamp(word):
    """Seconds since 1970 of an RFC 3339 time, rounded down; a 60th second is that of the next minute."""
    date, clock, fraction, zone = re.fullmatch(r"(.{10})[Tt](.{8})(\.[0-9]+)?(.+)", word).groups()
    year, month, day = map(int, date.split("-"))
    hour, minute, second = map(int, clock.split(":"))
    shift = 0 if zone in "Zz" else (int(zone[1:3]) * 60 + int(zone[4:6])) * (60 if zone[0] == "+" else -60)
    days = (datetime.date(year or 400, month, day) - datetime.date(1970, 1, 1)).days - (0 if year else 146097)
    return days * 86400 + hour * 3600 + minute * 60 + second - shift


def header_of(event, rules):
    """What the payload gives under its rules: `has` and `outcome` in the words of the rules file."""
    steps, executed = items(event, "execution", "steps"), at(event, "rollback", "executed")
    checks = [items(event, "verification", "checks"), items(event, "verification", "slo"), items(event, "preflight", "checks")]
    approvals, policies = items(event, "preflight", "approvals"), items(event, "preflight", "policies")
    table = rules["outcome"]
    refuses = lambda item: ascii_lower(at(item, "decision")) in table["refusal"]
    broken = lambda steps: any(at(step, "rc") not in (None, 0) for step in steps)
    if executed is not None:
        failed = ascii_lower(at(executed, "outcome")) in table["failure"] or broken(items(executed, "steps"))
        outcome = "rollback_failed" if failed else "rolled_back"
    elif broken(steps) or any(at(item, "ok") is False for group in checks for item in group):
        outcome = "failed"
    elif any(map(refuses, approvals)) or any(at(p, "mandatory") is not False and (at(p, "ok") is False or refuses(p)) for p in policies):
        outcome = "refused"
    else:
        outcome = "passed" if steps or approvals or policies or any(checks) else "none"
    has = {
        "approvals": approvals,
        "closed": at(event, "governance", "closed") is True,
        "execution": event["phase"] == "execute" or steps,
        "plan": event.get("plan"),
        "preflight": event.get("preflight"),
        "rollback": executed is not None,
        "verification": event.get("verification"),
    }
    out = {
        "change": event.get("change_id", event["id"]),
        "id": event["id"],
        "phase": event["phase"],
        "env": event.get("environment"),
        "class": event["change_class"] if event.get("change_class") in CLASSES else None,
        "probe": event.get("probe") or None,
        "has": [name for name in SECTIONS if has[name]],
        "outcome": outcome,
        "ts": timestamp(event["timestamp"]),
    }
    return {name: value for name, value in out.items() if value is not None}


MARK = re.compile("\\[masked:[a-z0-9-]+\\]")  # counted in the bytes as stored
