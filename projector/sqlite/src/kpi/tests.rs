//! Incremental equals from scratch: for any histories, chunks, windows and filters.

use std::collections::{BTreeMap, BTreeSet};

use ledger::entry::{EventHeader, Road};
use ledger::hash::Hash;
use projector::account::Account;
use projector::approval::Rules;
use projector::document::Entry;
use projector::kpi::scratch::{Filter, Scratch};
use projector::kpi::{DAY_MS, Day, Window};
use proptest::prelude::*;
use rusqlite::Connection;
use schemas::admit::{Has, Outcome};
use schemas::ids::{ChangeClass, ChangeId, Environment, EventId, Phase, Producer};
use serde_json::{Value, json};

use super::{Moved, SCHEMA, Touched, replace};
use crate::Reader;

const FIRST_DAY: u32 = 20_758;

struct Log(Vec<(EventHeader, Vec<u8>)>);

/// One entry: of which change, how many quarters of a day after the one before, what it says.
type Step = (u8, u8, usize, u8);

/// What entries may say; `k` varies the plan, `o` the owner.
fn say(choice: usize, k: u8) -> (&'static str, Value) {
    let target = |action: &str| json!({"cloud": "aws", "resources": [{"name": format!("r{}", k % 3), "action": action}, {"name": "shared"}]});
    match choice {
        0 => (
            "plan",
            json!({"plan": {"inputs_digest": format!("i{}", k % 2), "commands": [k % 3], "compile_ms": f64::from(k) * 7.5}}),
        ),
        1 => ("plan", json!({"target": target("create"), "plan": {"commands": ["a"]}})),
        2 => ("preflight", json!({"preflight": {"policies": [{"ok": !k.is_multiple_of(3)}]}})),
        3 => (
            "preflight",
            json!({"preflight": {"approvals": [
            {"approver": "bob", "role": "owner", "decision": "approved", "at": "2026-11-02T09:00:00Z"}]}}),
        ),
        4 => ("execute", json!({"target": target("update"), "execution": {"steps": [{"rc": 0, "stdout": ""}]}})),
        5 => ("execute", json!({"execution": {"steps": [{"rc": 1}]}, "rollback": {"plan": ["undo"]}})),
        6 => ("execute", json!({"target": target("delete"), "execution": {"steps": [{"rc": 0}]}})),
        7 => ("verify", json!({"verification": {"checks": [{"ok": true}], "duration_ms": u32::from(k) * 3}})),
        8 => ("verify", json!({"verification": {"checks": [{"ok": false}], "duration_ms": 10}})),
        9 => (
            "verify",
            json!({"target": target("update"), "verification": {"drift": {"diff": [], "monitored": k.is_multiple_of(4)}}}),
        ),
        10 => (
            "execute",
            json!({"rollback": {"executed": {"outcome": if k.is_multiple_of(3) { "failed" } else { "passed" }}}}),
        ),
        11 => ("audit", json!({"governance": {"closed": true, "owner": format!("team-{}", k % 2)}})),
        12 => ("execute", json!({"fixes": format!("c{}", k % 5), "execution": {"steps": [{"rc": 0}]}})),
        _ => ("plan", json!({"attempt": 2, "plan": {"inputs_digest": "i0", "commands": [k % 3]}})),
    }
}

impl Log {
    fn of(steps: &[Step]) -> Self {
        let mut entries = Vec::new();
        let mut at = u64::from(FIRST_DAY) * DAY_MS;
        for (change, quarters, choice, k) in steps {
            at += u64::from(*quarters) * DAY_MS / 4 + 60_000;
            entries.push(entry(*change, at, *choice, *k));
        }
        Self(entries)
    }

    /// The accounts of all changes, as of before entry `to`, with the index of their first entry.
    fn accounts(&self, to: usize) -> Vec<(u64, Account)> {
        let mut by_change: BTreeMap<&ChangeId, Vec<Entry<'_>>> = BTreeMap::new();
        for (index, (header, payload)) in self.0.iter().enumerate().take(to) {
            let entry = Entry { index: index as u64, header, payload: Some(payload) };
            by_change.entry(&header.change).or_default().push(entry);
        }
        let account = |(change, entries): (&ChangeId, Vec<Entry<'_>>)| {
            Some((entries.first()?.index, Account::of(change, &entries, &Rules::default())?))
        };
        by_change.into_iter().filter_map(account).collect()
    }
}

fn entry(change: u8, at: u64, choice: usize, k: u8) -> (EventHeader, Vec<u8>) {
    let (phase, mut body) = say(choice, k);
    let ts = i64::try_from(at / 1000).unwrap() + i64::from(k % 7) * 90;
    body["intent"] = json!({"request": "r", "initiator": "ann"});
    let payload = json!({ "provisioning_event": body }).to_string().into_bytes();
    let header = EventHeader {
        change: ChangeId::parse(&format!("c{change}")).unwrap(),
        seq: 0,
        prev: None,
        id: EventId::parse("e").unwrap(),
        phase: Phase::parse(phase).unwrap(),
        env: k.is_multiple_of(3).then(|| Environment::parse(if k.is_multiple_of(2) { "prod" } else { "dev" }).unwrap()),
        class: k.is_multiple_of(5).then_some(if k.is_multiple_of(2) {
            ChangeClass::Emergency
        } else {
            ChangeClass::Normal
        }),
        probe: change == 4,
        producer: Some(Producer::parse(if choice == 3 && !k.is_multiple_of(4) { "approvals" } else { "ci" }).unwrap()),
        has: Has::default(),
        outcome: Outcome::None,
        ts,
        at,
        road: Road { epoch: 0, sequence: 1 },
        commit: Hash([0; 32]),
        size: 1,
        masked: 0,
        rules: Hash([0; 32]),
    };
    (header, payload)
}

/// Projects the log in chunks. Accounts know `further` entries past each chunk; a change that a chunk read so far is not read again
/// before an entry comes that it does not know.
fn projected(log: &Log, chunks: &[usize], further: usize) -> Reader {
    let mut connection = Connection::open_in_memory().unwrap();
    connection.execute_batch(SCHEMA).unwrap();
    let (mut from, mut turn) = (0, 0);
    let mut covered: BTreeMap<String, usize> = BTreeMap::new();
    while from < log.0.len() {
        let to = (from + chunks[turn % chunks.len()]).min(log.0.len());
        turn += 1;
        let upto = (to + further).min(log.0.len());
        let known = |change: &str| covered.get(change).copied().unwrap_or(0);
        let met: BTreeSet<&str> = (from..to)
            .filter(|index| *index >= known(log.0[*index].0.change.as_str()))
            .map(|index| log.0[index].0.change.as_str())
            .collect();
        let accounts = log.accounts(upto);
        let touched: Vec<Touched<'_>> = accounts
            .iter()
            .filter(|(_, account)| met.contains(account.change.as_str()))
            .map(|(first_index, account)| Touched {
                first_index: *first_index,
                fresh: known(account.change.as_str()) == 0,
                account,
                more: &[],
            })
            .collect();
        let transaction = connection.transaction().unwrap();
        replace(&transaction, &(from as u64..to as u64), &touched, &mut Moved::default()).unwrap();
        transaction.commit().unwrap();
        covered.extend(met.into_iter().map(|change| (change.to_owned(), upto)));
        from = to;
    }
    Reader { connection }
}

fn filters() -> Vec<Filter> {
    let owner = |name: &str| Filter { owner: Some(name.to_owned()), ..Filter::default() };
    let environment = |name: &str| Filter { environment: Environment::parse(name).ok(), ..Filter::default() };
    let class = |class| Filter { class: Some(class), ..Filter::default() };
    let both = Filter { owner: Some("team-0".to_owned()), class: Some(ChangeClass::Normal), environment: None };
    vec![Filter::default(), owner("team-1"), owner("nobody"), environment("prod"), class(ChangeClass::Emergency), both]
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec((0..6_u8, 0..4_u8, 0..14_usize, 0..60_u8), 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn incremental_equals_from_scratch(
        steps in steps(),
        chunks in prop::collection::vec(1..20_usize, 1..4),
        further in prop_oneof![Just(0_usize), 1..30_usize],
        windows in prop::collection::vec((0..40_u32, 1..40_u32), 1..4),
    ) {
        let log = Log::of(&steps);
        let reader = projected(&log, &chunks, further);
        let accounts: Vec<Account> = log.accounts(steps.len()).into_iter().map(|(_, account)| account).collect();
        let scratch = Scratch::of(&accounts);
        for (from, length) in windows {
            let window = Window { from: Day(FIRST_DAY + from), to: Day(FIRST_DAY + from + length) };
            for filter in filters() {
                let found = reader.kpis(window, &filter).unwrap();
                prop_assert_eq!(&found, &scratch.sums(window, &filter), "{:?} {:?}", window, filter);
                for point in reader.kpi_trend(window, &filter).unwrap() {
                    let day = Window { from: point.day, to: Day(point.day.0 + 1) };
                    prop_assert_eq!(&point.sums, &scratch.sums(day, &filter), "{:?} {:?}", day, filter);
                }
            }
        }
        let waiting: i64 = reader.connection.query_row("SELECT count(*) FROM kpi_ahead", [], |row| row.get(0)).unwrap();
        prop_assert_eq!(waiting, 0);
    }
}

#[test]
fn what_is_taken_back_leaves_no_number_behind() {
    // A plan, then an owner: the samples move to another group.
    let log = Log::of(&[(0, 0, 0, 10), (0, 0, 11, 1)]);
    let reader = projected(&log, &[1], 0);
    let rows: i64 = reader
        .connection
        .query_row(
            "SELECT count(*) FROM kpi_sums s JOIN metrics m USING (metric) WHERE m.name = 'plan_p95' AND s.grp > 0 AND s.den > 0",
            [],
            |row| row.get(0),
        )
        .unwrap();
    assert_eq!(rows, 1);
}
