//! Entries that are no chain, or say other things than their events: logs of a dishonest operator, packed and signed honestly.

use ledger::entry::{EventHeader, Road};
use ledger::hash::Hash;
use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeId, EventId, Phase};

use super::Mutation;
use crate::world::{Files, World, event, zipped};

const PAYLOAD: &str = r#""execution":{"steps":[{"cmd":"x","rc":1}]}"#;

type Lie = fn(&mut EventHeader);
/// What becomes of an event's text.
type Rewrite = fn(String) -> String;

pub(super) fn all() -> Vec<Mutation> {
    let honest = two(|_| {});
    let lied = |(name, lie, check, names): &(&'static str, Lie, &'static str, &'static str)| {
        let pack = zipped(&two(*lie).forced(&honest, "a"));
        Mutation { name, pack, check, names }
    };
    let spelt = |(name, from, to): &(&'static str, &str, &str)| Mutation {
        name,
        pack: zipped(&stored(|entry| entry.replacen(from, to, 1), |payload| payload)),
        check: "log.entries",
        names: "entries/0000000001.json",
    };
    let sent = |(name, change): &(&'static str, Rewrite)| Mutation {
        name,
        pack: zipped(&stored(|entry| entry, change)),
        check: "events.headers",
        names: "events/0000000001-plan.json",
    };
    let secret = |(name, sections): &(&'static str, &str)| Mutation {
        name,
        pack: zipped(&unmasked(sections)),
        check: "events.masked",
        names: "events/0000000001-plan.json",
    };
    let all = CHAIN.iter().chain(HEADERS).map(lied).chain(SPELLINGS.iter().map(spelt));
    all.chain(PAYLOADS.iter().map(sent)).chain(SECRETS.iter().map(secret)).collect()
}

const ENTRY: &str = "entries/0000000002.json";
const EVENT: &str = "events/0000000002-execute.json";

const CHAIN: &[(&str, Lie, &str, &str)] = &[
    ("a position left out", |h| h.seq = 2, "log.chain", ENTRY),
    ("a position twice", |h| (h.seq, h.prev) = (0, None), "log.chain", ENTRY),
    ("a link to another entry", |h| h.prev = Some(Hash([3; 32])), "log.chain", ENTRY),
    ("a time before the one before", |h| h.at = 1, "log.chain", ENTRY),
    ("a place on the road twice", |h| h.road = Road { epoch: 0, sequence: 1 }, "log.chain", ENTRY),
    ("an entry of another change", |h| h.change = ChangeId::parse("b").unwrap(), "log.chain", ENTRY),
];

const HEADERS: &[(&str, Lie, &str, &str)] = &[
    ("a failure that passed", |h| h.outcome = Outcome::Passed, "events.headers", EVENT),
    ("sections that are not there", |h| h.has = Has::default(), "events.headers", EVENT),
    ("another event id", |h| h.id = EventId::parse("x").unwrap(), "events.headers", EVENT),
    ("no environment", |h| h.env = None, "events.headers", EVENT),
    ("a probe instead of work", |h| h.probe = true, "events.headers", EVENT),
    ("another second", |h| h.ts += 1, "events.headers", EVENT),
    ("a masked place that is not there", |h| h.masked = 1, "events.headers", EVENT),
    ("another phase", |h| h.phase = Phase::Verify, "events.headers", "events/0000000002-verify.json"),
    ("another length", |h| h.size += 1, "events.commitment", EVENT),
    ("a commitment to other bytes", |h| h.commit = Hash([4; 32]), "events.commitment", EVENT),
];

const SPELLINGS: &[(&str, &str, &str)] = &[
    ("a member of an entry twice", r#","kind":"#, r#","kind":"event","kind":"#),
    ("spaces in an entry", r#","kind":"#, r#", "kind":"#),
    ("an unknown member in an entry", r#","kind":"#, r#","initiator":"eve","kind":"#),
    ("another order in an entry", r#""env":"prod","has":["plan"]"#, r#""has":["plan"],"env":"prod""#),
    ("an escape in an entry", r#""env":"prod""#, r#""env":"\u0070rod""#),
    ("a number with a fraction in an entry", r#""masked":0"#, r#""masked":0.0"#),
    ("a rejection instead of an event", r#""kind":"event""#, r#""kind":"rejection""#),
];

const PAYLOADS: &[(&str, Rewrite)] = &[
    ("a member of an event twice", |event| event.replacen(r#""phase":"#, r#""phase":"verify","phase":"#, 1)),
    ("an event of 65 levels", |event| {
        event.replacen(r#""plan":{"#, &format!(r#""deep":{}{},"plan":{{"#, "[".repeat(63), "]".repeat(63)), 1)
    }),
    ("a number past 2^53 in an event", |event| event.replacen(r#""plan":{"#, r#""n":9007199254740993,"plan":{"#, 1)),
    ("half a surrogate pair in an event", |event| event.replacen(r#""plan":{"#, r#""n":"\ud800","plan":{"#, 1)),
    ("an event of another tenant", |event| event.replacen("acme", "evil", 1)),
];

/// What the rules mask, stored as it came. The header counts the marks truly: none, or the one that is there.
const SECRETS: &[(&str, &str)] = &[
    ("a password that was not masked", r#""plan":{"commands":["true"],"password":"hunter22"}"#),
    (
        "a token in a command that was not masked",
        r#""plan":{"commands":["curl -u me:AKIAIOSFODNN7EXAMPLE https://x"]}"#,
    ),
    ("one of two secrets masked", r#""plan":{"commands":["true"],"password":"[masked:name]","secret":"hunter22"}"#),
];

/// The pack of a log whose operator switched masking off, and is honest about it.
fn unmasked(sections: &str) -> Files {
    let mut world = World::new();
    world.add(&event("plan", "a", sections));
    world.files("a")
}

/// A log of two entries, the second of which is not what its event says.
fn two(lie: Lie) -> World {
    let mut world = World::new();
    world.add(&event("plan", "a", r#""plan":{"commands":["x"]}"#));
    world.add_as(&event("execute", "a", PAYLOAD), lie);
    world
}

/// The pack of a log of one entry whose bytes, or whose event, no honest ledger would have taken.
fn stored(entry: impl Fn(String) -> String, payload: impl Fn(String) -> String) -> Files {
    let (mut honest, mut world) = (World::new(), World::new());
    let event = event("plan", "a", r#""plan":{"commands":["true"]}"#);
    honest.add(&event);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    world.add_other(&event, payload(text(&event)).into_bytes());
    world.respell(1, |bytes| entry(text(bytes)).into_bytes());
    world.forced(&honest, "a")
}
