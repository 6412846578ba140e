"""What every part of the verifier stands on: verdicts, strict JSON, RFC 8785, shapes of closed objects, base64."""

import base64
import binascii
import hashlib
import json
import math
import re

PHASES = ["plan", "preflight", "execute", "verify", "audit"]
OUTCOMES = ["rollback_failed", "rolled_back", "failed", "refused", "passed", "none"]
SECTIONS = ["approvals", "closed", "execution", "plan", "preflight", "rollback", "verification"]
CLASSES = ["standard", "normal", "emergency"]
WHOLE = 2**53


class Refuted(Exception):
    """Something that the format demands does not hold (exit 1)."""


class Undecided(Exception):
    """Something that this verifier cannot decide (exit 2)."""


def need(holds, why):
    """Refutes with `why` unless `holds`."""
    if not holds:
        raise Refuted(why)


def sha(*parts):
    """SHA-256 of the parts in a row."""
    return hashlib.sha256(b"".join(parts)).digest()


def pairs(items):
    """An object; no member may be there twice (pack, "Verifying", 3)."""
    out = dict(items)
    need(len(out) == len(items), "a JSON member stands there twice")
    return out


def refuse_constant(word):
    raise Refuted(f"{word} is no JSON")


DECODER = json.JSONDecoder(object_pairs_hook=pairs, parse_constant=refuse_constant)


def parse(data, what="document"):
    """Strict JSON: UTF-8, no lone surrogate, no member twice, at most 64 deep, finite numbers."""
    try:
        value = DECODER.decode(bytes(data).decode("utf-8"))
        stack = [(value, 1)]
        while stack:
            node, depth = stack.pop()
            if isinstance(node, (dict, list)):
                need(depth <= 64, f"{what}: more than 64 deep")
                stack += [(x, depth + 1) for x in (node.values() if isinstance(node, dict) else node)]
                stack += [(x, depth + 1) for x in (node if isinstance(node, dict) else ())]
            elif isinstance(node, str):
                node.encode("utf-8")
            else:
                need(not isinstance(node, float) or math.isfinite(node), f"{what}: a number is not finite")
        return value
    except (ValueError, RecursionError) as error:
        raise Refuted(f"{what}: not strict JSON ({error})") from None


def es_number(value):
    """A double as ECMAScript writes it (RFC 8785, 3.2.2.3)."""
    if value == 0:
        return "0"
    mantissa, exponent = repr(abs(value)), 0
    if "e" in mantissa:
        mantissa, exponent = mantissa.split("e")[0], int(mantissa.split("e")[1])
    whole, _, fraction = mantissa.partition(".")
    fraction = "" if fraction == "0" else fraction
    point = len(whole) + exponent
    digits = whole + fraction
    stripped = digits.lstrip("0")
    point -= len(digits) - len(stripped)
    digits = stripped.rstrip("0")
    count, sign = len(digits), "-" if value < 0 else ""
    if count <= point <= 21:
        return sign + digits + "0" * (point - count)
    if 0 < point <= 21:
        return sign + digits[:point] + "." + digits[point:]
    if -6 < point <= 0:
        return sign + "0." + "0" * -point + digits
    power = f"e{'+' if point > 0 else '-'}{abs(point - 1)}"
    return sign + digits[0] + ("." + digits[1:] if count > 1 else "") + power


def jcs(value):
    """RFC 8785: members in the order of their UTF-16 code units, no spaces."""
    if isinstance(value, dict):
        names = sorted(value, key=lambda name: name.encode("utf-16-be"))
        return "{" + ",".join(jcs(name) + ":" + jcs(value[name]) for name in names) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(jcs, value)) + "]"
    if isinstance(value, float):
        return es_number(value)
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) > WHOLE:
        return es_number(float(value))
    return json.dumps(value, ensure_ascii=False)


def canonical(data, what):
    """Parses what has to be RFC 8785 bytes."""
    value = parse(data, what)
    need(jcs(value).encode() == bytes(data), f"{what}: not the RFC 8785 form")
    return value


def whole(least=0, most=WHOLE):
    return lambda x: type(x) is int and least <= x <= most


def text(pattern):
    return lambda x: isinstance(x, str) and re.fullmatch(pattern, x, re.S) is not None


def one_of(*words):
    return lambda x: any(type(x) is type(word) and x == word for word in words)


def listed(item):
    return lambda x: isinstance(x, list) and all(map(item, x))


def closed(members, optional=()):
    """A test of a closed object: these members, each in its shape, and no other."""

    def test(x):
        return isinstance(x, dict) and set(members) - set(optional) <= set(x) <= set(members) and all(members[name](x[name]) for name in x)

    return test


HEX32, HEX64 = text("[0-9a-f]{32}"), text("[0-9a-f]{64}")
TEXT = text(".*")
HEAD = closed({"size": whole(), "root": HEX64})


def b64(line, length=None, what="base64"):
    """Standard base64 with padding, in its one spelling."""
    try:
        data = base64.b64decode(line, validate=True)
    except (ValueError, binascii.Error, TypeError):
        raise Refuted(f"{what}: not base64") from None
    need(base64.b64encode(data).decode() == line, f"{what}: not the one spelling of base64")
    need(length is None or len(data) == length, f"{what}: not {length} bytes")
    return data
