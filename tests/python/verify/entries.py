"""Entries of a log, each in its one spelling (docs/log-format.md, "Entries")."""

import json

from strict import CLASSES, HEX64, OUTCOMES, PHASES, SECTIONS, TEXT, WHOLE, Refuted, b64, closed, jcs, listed, need, one_of, parse, text, whole

KEY = text("[A-Za-z0-9+/]{43}[A-Za-z0-9+/=]")
KEYS = lambda x: listed(KEY)(x) and 1 <= len(x) <= 8
SHORT = whole(0, 2**32 - 1)
ROAD = lambda x: listed(whole())(x) and len(x) == 2 and SHORT(x[0])
# The characters of ids and environments, as the event's schema has them.
SEEN = "[^\\0- \\x7f-\\xa0\\xad\\u061c\\u1680\\u180e\\u2000-\\u200f\\u2028-\\u202f\\u205f-\\u206f\\u3000\\ufeff\\U000e0000-\\U000e007f]+"
NAME = lambda most: lambda x: text(SEEN)(x) and len(x.encode()) <= most
ID = lambda x: NAME(128)(x) and x not in (".", "..")
EVENT = closed(
    {
        "v": one_of(1),
        "kind": one_of("event"),
        "at": whole(),
        "change": ID,
        "seq": whole(),
        "prev": HEX64,
        "id": ID,
        "phase": one_of(*PHASES),
        "env": NAME(32),
        "class": one_of(*CLASSES),
        "probe": one_of(True),
        "producer": text("[A-Za-z0-9_-]{1,64}"),
        "outcome": one_of(*OUTCOMES),
        "has": lambda x: listed(one_of(*SECTIONS))(x) and x == sorted(set(x)),
        "ts": whole(-WHOLE),
        "road": ROAD,
        "commit": HEX64,
        "size": whole(),
        "masked": SHORT,
        "rules": HEX64,
    },
    {"prev", "env", "class", "probe", "producer"},
)
WITNESS = text("[^+\\s\\0-\\x1f\\x7f]+")
REASONS = (
    "not_utf8 lone_surrogate not_json trailing_data duplicate_key too_deep too_large number_not_finite integer_too_large not_an_event "
    "missing_field wrong_type bad_timestamp bad_id bad_environment unknown_phase tenant_mismatch phase_mismatch control_unsigned "
    "control_bad_signature control_bad_envelope control_stale_counter control_unknown_op control_unsupported_op control_bad_body "
    "control_conflict control_unlisted"
).split()
OPS = "rules tenant hold release key admin recovery erase".split()
BODIES = {
    "first": closed(
        {"origin": TEXT, "log_key": KEY, "admin_keys": KEYS, "recovery_key": KEY, "rules": HEX64, "stream_created": whole()}, {"stream_created"}
    ),
    "rejection": closed({"reason": one_of(*REASONS), "commit": HEX64, "size": whole(), "masked": SHORT, "rules": HEX64}),
    "control": closed({"op": one_of(*OPS), "counter": whole(1), "commit": HEX64, "size": whole()}),
    "heartbeat": lambda x: x == {} or closed({"size": whole(), "root": HEX64, "witness": WITNESS, "time": whole()})(x),
    "epoch": closed({"epoch": SHORT, "stream_created": whole()}),
    "gap": lambda x: closed({"from": whole(), "to": whole()})(x) and x["from"] <= x["to"],
}
ROADS = {"rejection": set(), "control": {"road"}}  # who has a road, and who may lack it; the others have none
OTHER = {
    kind: closed(
        {"v": one_of(1), "kind": one_of(kind), "at": whole(), "body": body, **({"road": ROAD} if kind in ROADS else {})}, ROADS.get(kind, ())
    )
    for kind, body in BODIES.items()
}


def read_entry(data, what):
    """An entry in its one spelling. Of an unknown kind or version only that much is read: it is reported, never refuted."""
    need(len(data) <= 2048, f"{what}: longer than 2,048 bytes")
    try:
        loose = json.loads(bytes(data).decode("utf-8"))
    except (ValueError, RecursionError):
        raise Refuted(f"{what}: not JSON") from None
    need(isinstance(loose, dict), f"{what}: no object")
    kind = loose.get("kind")
    if type(loose.get("v")) is int and isinstance(kind, str) and (loose["v"] != 1 or kind != "event" and kind not in OTHER):
        return {"kind": None, "at": loose.get("at")}
    entry = parse(data, what)
    need(isinstance(kind, str) and (EVENT if kind == "event" else OTHER[kind])(entry), f"{what}: not the closed form of an entry of a known kind")
    need(kind != "event" or ("prev" in entry) == (entry["seq"] > 0), f"{what}: `prev` does not fit `seq`")
    need(jcs(entry).encode() == bytes(data), f"{what}: not the RFC 8785 form")
    return entry


def read_frontier(data):
    """Roots of perfect subtrees, base64, one a line, largest first."""
    lines = bytes(data).decode("ascii", "replace").split("\n")
    need(lines.pop() == "", "frontier: does not end with a line feed")
    return [b64(line, 32, "frontier") for line in lines]


def header_lines(archive, first, size, expected):
    """The entries from `first` up to `size` in `headers/`: (bytes, entry). A file holds up to the next multiple of 16,384."""
    index = first
    while index < size:
        name, until = f"headers/{index:010d}.ndjson", min(size, (index // 16384 + 1) * 16384)
        expected.add(name)
        lines = archive[name].split(b"\n")
        need(lines.pop() == b"" and len(lines) == until - index, f"{name}: not {until - index} lines")
        for line in lines:
            yield line, read_entry(line, f"{name}, entry {index}")
            index += 1
