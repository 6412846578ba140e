//! Tenants with roads full of good, bad, repeated and missing messages, cut and made again, all from a seed; a process that walks
//! them as the pipeline does, from what the store holds; and what the world outside remembers when the process is gone.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use ledger::append::{
    Committed, Cursor, Desk, Disposition, Head, Item, LogId, MAX_LOGS, PendingControl, PendingEvent, PendingRejection,
    Turn, commit, extend, extend_listing, load_heads, look_up,
};
use ledger::birth::{self, LedgerBirth, LogBirth};
use ledger::checkpoint::Origin;
use ledger::cosignature::{Cosigner, Statement};
use ledger::cosigned;
use ledger::dedupe::DedupeKey;
use ledger::entry::{Header, Salt, commitment};
use ledger::governance::{Act, Hold, Scope, message as message_of};
use ledger::hash::Hash;
use ledger::kv::{Kv, MemKv};
use ledger::note::{KeyName, SignedNote};
use ledger::read::Log;
use ledger::signing::Signer;
use projector_sqlite::{Row, Views};
use schemas::admit::{Scratch, admit};
use schemas::ids::{Subject, Tenant};
use schemas::rules;

const LEDGER: &str = "faults";
/// Seed of the admin key.
const ADMIN: u8 = 202;
/// Roads with views: what holds for these holds for all, and each costs a file.
const VIEWED: usize = 2;
/// Entries that the views read from the store at once: few, so that they often end half-way.
const CHUNK: u64 = 7;

/// Splitmix64: all that a seeded test needs.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn salt(&mut self) -> Salt {
        Salt(std::array::from_fn(|_| self.below(256) as u8))
    }
}

/// A message as its producer sent it.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) subject: String,
    pub(super) bytes: Vec<u8>,
    pub(super) at_ms: u64,
}

impl Message {
    pub(super) fn is_control(&self) -> bool {
        self.subject.starts_with("upm.control.")
    }
}

/// One life of a stream: what is on it by sequence; absent ones are gone.
pub(super) struct Stream {
    pub(super) created_ns: u64,
    pub(super) messages: BTreeMap<u64, Message>,
}

pub(super) struct Road {
    pub(super) tenant: Tenant,
    /// The act that its log accepts, once; it may stand on the road several times.
    pub(super) act: Option<Vec<u8>>,
    pub(super) signer: Signer,
    pub(super) dedupe: DedupeKey,
    pub(super) streams: Vec<Stream>,
}

pub(super) struct World {
    ledger: Signer,
    admin: Signer,
    recovery: Signer,
    pub(super) roads: Vec<Road>,
}

/// An answer that a producer holds.
pub(super) struct Told {
    pub(super) road: usize,
    pub(super) message: Message,
    pub(super) disposition: Disposition,
    pub(super) receipt: Option<String>,
}

/// What outlives every process.
pub(super) struct Outside {
    pub(super) views: PathBuf,
    pub(super) told: Vec<Told>,
    /// Every checkpoint that anybody may have seen, with its road.
    pub(super) seen: Vec<(usize, String)>,
}

/// The store failed, and the process is over.
#[derive(Debug)]
pub(super) struct Over;

/// Only what was injected ends a process; anything else is a defect.
fn over(error: impl std::error::Error) -> Over {
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        if error.to_string().contains("injected") {
            return Over;
        }
        cause = error.source();
    }
    panic!("nothing was injected here: {error:?}");
}

impl Outside {
    pub(super) fn new(views: &Path) -> Self {
        Self { views: views.to_owned(), told: Vec::new(), seen: Vec::new() }
    }

    fn open_views(&self, road: &Road) -> Views {
        Views::open(&self.views.join(format!("{}.db", road.tenant))).expect("views open")
    }

    /// Whether there are views of this road.
    pub(super) fn views(number: usize) -> bool {
        number < VIEWED
    }

    /// What whoever asks the store for its newest checkpoints is shown.
    pub(super) fn see_all<K: Kv>(&mut self, world: &World, kv: &K) {
        for (number, road) in world.roads.iter().enumerate() {
            if let Ok(Some(log)) = birth::log_of(kv, &road.tenant) {
                let newest =
                    Log::open(kv, log).and_then(|log| log.newest_checkpoint()).expect("a log has a checkpoint");
                self.seen.push((number, newest));
            }
        }
    }
}

impl World {
    pub(super) fn new(seed: u64, roads: usize, messages: u64) -> Self {
        let mut rng = Rng(seed ^ 0x5eed);
        let signer = |log: &str, seed| Signer::from_seed(&Origin::of(LEDGER, log).expect("an origin"), [seed; 32]);
        let road = |number: usize| {
            let tenant = Tenant::parse(&format!("t{number}")).expect("a tenant");
            let (signer, dedupe) = (signer(tenant.as_str(), number as u8), DedupeKey::new([number as u8; 32]));
            let lives = 1 + rng.below(3);
            let mut at_ms = 1_700_000_000_000;
            let streams = (1..=lives).map(|life| stream(&mut rng, &tenant, life, messages, &mut at_ms)).collect();
            Road { tenant, act: None, signer, dedupe, streams }
        };
        let roads = (0..roads).map(road).collect();
        let mut world = Self {
            ledger: signer("_ledger", 201),
            admin: signer("_ledger", 202),
            recovery: signer("_ledger", 203),
            roads,
        };
        world.place_acts(&mut rng);
        world
    }

    /// Puts an administrative act on the roads, in the place of some other messages. It is the next act of the first road's log
    /// and of the ledger's own, where both are the same in every run; on any other road, or forged, it is to be rejected.
    fn place_acts(&mut self, rng: &mut Rng) {
        let kv = MemKv::new();
        self.found(&kv).expect("births in memory");
        let place = |log| Log::open(&kv, log).and_then(|log| log.governance()).expect("a log is governed").place();
        let (on, ledger) = (place(log_of(0)), place(LogId::LEDGER));
        let hold = Act::Hold(Hold { id: "case-1".into(), scope: Scope::All, reason: "a lawsuit".into() });
        let by = |seed: u8| {
            let signer = Signer::from_seed(&on.origin, [seed; 32]);
            message_of(&hold, &on, &[&signer], &ledger, &self.admin, Salt([5; 16])).expect("an act").print()
        };
        let (act, forged) = (by(ADMIN), by(ADMIN + 50));
        for road in &mut self.roads {
            let subject = schemas::ids::control_subject(&road.tenant);
            for message in road.streams.iter_mut().flat_map(|stream| stream.messages.values_mut()) {
                let bytes = match rng.below(24) {
                    0..=2 => &act,
                    3 => &forged,
                    _ => continue,
                };
                (message.subject, message.bytes) = (subject.clone(), bytes.clone());
            }
        }
        self.roads[0].act = Some(act);
    }

    /// One process: births, views that catch up, answers that are owed, rounds until all roads are read.
    pub(super) fn live<K: Kv>(&self, kv: &K, rng: &mut Rng, outside: &mut Outside) -> Result<(), Over> {
        self.found(kv)?;
        let mut heads: BTreeMap<LogId, Head> =
            load_heads(kv).map_err(over)?.into_iter().map(|head| (head.log, head)).collect();
        let mut views: Vec<Views> = self.roads.iter().take(VIEWED).map(|road| outside.open_views(road)).collect();
        for (number, views) in views.iter_mut().enumerate() {
            // Views that can't be read for hold nobody up.
            let _ = project(kv, log_of(number), views);
        }
        for number in 0..self.roads.len() {
            self.answer_owed(kv, number, &heads[&log_of(number)], outside)?;
        }
        while !self.roads.iter().enumerate().all(|(number, road)| road.is_read(&heads[&log_of(number)])) {
            let turns = self.turns(&heads, rng);
            if !turns.is_empty() {
                let new = self.round(kv, &heads, turns, rng, outside)?;
                heads.extend(new.into_iter().map(|head| (head.log, head)));
            }
            if rng.below(3) == 0 {
                // Asked for in a thread of its own: it holds nobody up, and what fails is asked for again.
                let _ = cosign(kv, log_of(rng.below(self.roads.len() as u64) as usize));
            }
            for (number, views) in views.iter_mut().enumerate() {
                // The appender waits for no view: rounds that find the channel full are read from the store later.
                if rng.below(4) == 0 {
                    let _ = project(kv, log_of(number), views);
                }
            }
        }
        for (number, views) in views.iter_mut().enumerate() {
            project(kv, log_of(number), views)?;
        }
        Ok(())
    }

    fn found<K: Kv>(&self, kv: &K) -> Result<(), Over> {
        let rules = Hash(rules::current().name);
        let birth = LedgerBirth {
            name: LEDGER,
            signer: &self.ledger,
            admin_keys: &[self.admin.public_key()],
            recovery_key: self.recovery.public_key(),
            rules,
            at_ms: 1_000,
        };
        birth::found_ledger(kv, &birth).map_err(over)?;
        for (number, road) in self.roads.iter().enumerate() {
            let number = u8::try_from(number).expect("few roads");
            let birth = LogBirth {
                tenant: &road.tenant,
                signer: &road.signer,
                dedupe: &road.dedupe,
                ledger_signer: &self.ledger,
                admin: &self.admin,
                rules,
                stream_created_ms: Some(road.streams[0].created_ns / 1_000_000),
                opening_salt: Salt([number; 16]),
                envelope_salt: Salt([!number; 16]),
                at_ms: 2_000,
            };
            birth::found_log(kv, &birth).map_err(over)?;
        }
        Ok(())
    }

    /// What some of the roads have for the next round; now and then nothing but a cursor to write again.
    fn turns(&self, heads: &BTreeMap<LogId, Head>, rng: &mut Rng) -> Vec<Turn> {
        let mut turns = Vec::new();
        for (number, road) in self.roads.iter().enumerate() {
            let head = &heads[&log_of(number)];
            match rng.below(4) {
                0 => {}
                1 if rng.below(4) == 0 => {
                    turns.push(Turn {
                        log: head.log,
                        items: Vec::new(),
                        cursor: head.cursor,
                        answered: head.cursor.sequence,
                    });
                }
                _ if road.is_read(head) => {}
                _ => turns.push(road.turn(head, 1 + rng.below(6) as usize, rng)),
            }
        }
        // Room for the ledger's own log.
        turns.truncate(MAX_LOGS - 1);
        turns
    }

    fn round<K: Kv>(
        &self,
        kv: &K,
        heads: &BTreeMap<LogId, Head>,
        turns: Vec<Turn>,
        rng: &mut Rng,
        outside: &mut Outside,
    ) -> Result<Vec<Head>, Over> {
        // Whatever act is carried out is listed in the ledger's own log, in the same write.
        let acts = turns.iter().any(|turn| turn.items.iter().any(|item| matches!(item, Item::Control(_))));
        let mut desk = acts.then(|| Desk::open(kv)).transpose().map_err(over)?;
        let known = look_up(kv, &turns).map_err(over)?;
        let mut sealed = Vec::new();
        for (turn, known) in turns.into_iter().zip(&known) {
            let (head, signer) = (&heads[&turn.log], &self.roads[number_of(turn.log)].signer);
            let extension = match &mut desk {
                Some(desk) => extend_listing(head, turn, known, desk),
                None => extend(head, turn, known),
            };
            sealed.push(extension.expect("a road in order").seal(signer));
        }
        let used = desk.filter(Desk::is_used).map(Desk::finish);
        let _guard = used.map(|(extension, guard)| {
            sealed.push(extension.seal(&self.ledger));
            guard
        });
        let (committed, heads) = commit(kv, sealed).map_err(over)?;
        for (position, log) in committed.logs().iter().enumerate().filter(|(_, log)| log.head.log != LogId::LEDGER) {
            let number = number_of(log.head.log);
            outside.seen.push((number, log.checkpoint.clone()));
            self.tell(kv, &committed, position, rng, outside);
        }
        Ok(heads)
    }

    /// Answers of a durable round. One that can't be proved now is sent after the next start.
    fn tell<K: Kv>(&self, kv: &K, committed: &Committed, position: usize, rng: &mut Rng, outside: &mut Outside) {
        let log = &committed.logs()[position];
        let number = number_of(log.head.log);
        let road = &self.roads[number];
        let stream = &road.streams[road.life_of(&log.head.cursor)];
        for (sequence, disposition) in &log.dispositions {
            let Some(message) = stream.messages.get(sequence).filter(|_| *sequence > 0) else { continue };
            let receipt = match disposition {
                Disposition::Accepted { index } | Disposition::Duplicate { index }
                    if !message.is_control() && rng.below(3) == 0 =>
                {
                    match committed.receipt(kv, position, *index) {
                        Ok(receipt) => Some(receipt.to_text()),
                        Err(error) => {
                            over(error);
                            continue;
                        }
                    }
                }
                Disposition::Noted { .. } => continue,
                _ => None,
            };
            outside.told.push(Told { road: number, message: message.clone(), disposition: *disposition, receipt });
        }
    }

    /// What lies between the answered mark and the cursor is answered again from what the log holds.
    fn answer_owed<K: Kv>(&self, kv: &K, number: usize, head: &Head, outside: &mut Outside) -> Result<(), Over> {
        let road = &self.roads[number];
        let log = Log::open(kv, head.log).map_err(over)?;
        let owed = head.answered + 1..head.cursor.sequence + 1;
        let entries = log.by_road(owed.clone()).map_err(over)?;
        for (sequence, message) in road.streams[road.life_of(&head.cursor)].messages.range(owed) {
            let disposition = if let Some(&index) = entries.get(sequence) {
                match log.header(index).map_err(over)? {
                    Some(Header::Event(_) | Header::Control(_)) => Disposition::Accepted { index },
                    Some(Header::Rejection(_)) => Disposition::Rejected { index },
                    other => panic!("message {sequence} is entry {index}, which is {other:?}"),
                }
            } else {
                let found = log.duplicate_of(&road.fingerprint(message)).map_err(over)?;
                Disposition::Duplicate { index: found.expect("a message before the cursor is known") }
            };
            let receipt = match disposition {
                Disposition::Accepted { index } | Disposition::Duplicate { index } if !message.is_control() => {
                    Some(log.receipt(index).map_err(over)?.to_text())
                }
                _ => None,
            };
            outside.told.push(Told { road: number, message: message.clone(), disposition, receipt });
        }
        Ok(())
    }
}

/// The witness of all logs.
pub(super) fn witness() -> Cosigner {
    Cosigner::ed25519(KeyName::parse("witness.example/faults").expect("a name"), [204; 32])
}

/// Keeps the witness's line beside the newest checkpoint of a log.
fn cosign<K: Kv>(kv: &K, log: LogId) -> Result<(), Over> {
    let log = Log::open(kv, log).map_err(over)?;
    let size = log.head().map_err(over)?.size;
    let note = log.checkpoint(size).map_err(over)?.expect("a head has a checkpoint");
    let note = SignedNote::parse(&note).expect("a note");
    let statement = Statement::parse(note.text()).expect("a checkpoint");
    let line = witness().cosign(&statement, size).expect("a line");
    cosigned::keep(&log, size, &[line]).map_err(over)?;
    cosigned::set_newest(&log, size).map_err(over)
}

/// Logs are numbered in the order of their births; 0 is `_ledger`.
fn log_of(number: usize) -> LogId {
    LogId(u32::try_from(number).expect("few roads") + 1)
}

fn number_of(log: LogId) -> usize {
    log.0 as usize - 1
}

impl Road {
    pub(super) fn fingerprint(&self, message: &Message) -> ledger::dedupe::Fingerprint {
        self.dedupe.fingerprint(&message.subject, &message.bytes)
    }

    /// Which life of the stream a cursor is in.
    fn life_of(&self, cursor: &Cursor) -> usize {
        self.streams.iter().position(|stream| stream.created_ns == cursor.stream_created_ns).unwrap_or(0)
    }

    fn is_read(&self, head: &Head) -> bool {
        let last = self.streams.last().expect("a road has a stream");
        let end = last.messages.last_key_value().expect("a stream has messages").0;
        head.cursor.stream_created_ns == last.created_ns && head.cursor.sequence == *end
    }

    /// The next messages behind the cursor, as intake and admission hand them on: an epoch where the stream ends, gaps where
    /// messages are gone.
    fn turn(&self, head: &Head, limit: usize, rng: &mut Rng) -> Turn {
        let (mut life, mut last) = (self.life_of(&head.cursor), head.cursor.sequence);
        let mut items = Vec::new();
        if self.streams[life].messages.range(last + 1..).next().is_none() {
            (life, last) = (life + 1, 0);
            let at_ms = self.streams[life].created_ns / 1_000_000;
            items.push(Item::Epoch { stream_created_ns: self.streams[life].created_ns, at_ms });
        }
        let stream = &self.streams[life];
        if rng.below(6) == 0 {
            items.push(Item::Heartbeat { at_ms: head.at_ms + rng.below(1_000), cosigned: None });
        }
        let mut cursor = Cursor { stream_created_ns: stream.created_ns, ..head.cursor };
        let mut scratch = Scratch::default();
        for (sequence, message) in stream.messages.range(last + 1..).take(limit) {
            if *sequence > last + 1 {
                items.push(Item::Gap { from: last + 1, to: sequence - 1, at_ms: message.at_ms });
            }
            last = *sequence;
            items.push(self.item(*sequence, message, &mut scratch, rng));
            cursor = Cursor {
                stream_created_ns: stream.created_ns,
                sequence: last,
                at_ns: message.at_ms * 1_000_000,
                digest: self.fingerprint(message),
            };
        }
        // Sometimes all earlier answers were sent, sometimes none since; on a new stream none was.
        let all_sent = rng.below(2) == 0;
        let before = if all_sent { head.cursor.sequence } else { head.answered };
        let answered = if life == self.life_of(&head.cursor) { before } else { 0 };
        Turn { log: head.log, items, cursor, answered }
    }

    fn item(&self, road_sequence: u64, message: &Message, scratch: &mut Scratch, rng: &mut Rng) -> Item {
        let (at_ms, salt, rules) = (message.at_ms, rng.salt(), Hash(rules::current().name));
        if message.is_control() {
            return Item::Control(PendingControl {
                road_sequence: Some(road_sequence),
                at_ms,
                fingerprint: self.fingerprint(message),
                salt,
                listing_salt: rng.salt(),
                subject: message.subject.clone(),
                message: message.bytes.clone(),
                new_key_here: false,
                rules,
            });
        }
        let subject = Subject::parse(&message.subject).expect("a subject of ours");
        match admit(&subject, &message.bytes, scratch) {
            Ok(admitted) => Item::Event(PendingEvent {
                road_sequence,
                at_ms,
                fingerprint: self.fingerprint(message),
                change_key: self.dedupe.change_key(&admitted.facts.change),
                salt,
                commit: commitment(&salt, &admitted.payload),
                producer: subject.producer,
                facts: admitted.facts,
                payload: admitted.payload.into_owned().into(),
                masked: admitted.masked,
                rules,
            }),
            Err(rejection) => Item::Rejection(PendingRejection {
                road_sequence,
                at_ms,
                salt,
                subject: message.subject.clone(),
                reason: rejection.reason,
                path: rejection.path,
                found: rejection.found,
                expected: rejection.expected,
                payload: rejection.payload,
                masked: rejection.masked,
                rules,
            }),
        }
    }
}

/// Projects the log from the views' cursor to its end, a chunk at a time.
pub(super) fn project<K: Kv>(kv: &K, log: LogId, views: &mut Views) -> Result<(), Over> {
    let log = Log::open(kv, log).map_err(over)?;
    let size = log.head().map_err(over)?.size;
    let mut next = views.core_cursor().expect("views have a cursor");
    while next < size {
        let end = size.min(next + CHUNK);
        let stored: BTreeMap<_, _> = log.stored_range(next..end, CHUNK as usize).map_err(over)?.into_iter().collect();
        let entries = log.entries(next..end, CHUNK as usize).map_err(over)?;
        let headers: Vec<(u64, Header)> =
            entries.iter().map(|(index, entry)| (*index, Header::decode(entry).expect("an entry decodes"))).collect();
        let row = |(index, header): &(u64, Header)| {
            let payload = stored.get(index).filter(|_| matches!(header, Header::Event(_)));
            (*index, payload.map_or(Vec::new(), |stored| stored.payload.clone()))
        };
        let payloads: BTreeMap<u64, Vec<u8>> = headers.iter().map(row).collect();
        let rows: Vec<Row<'_>> =
            headers.iter().map(|(index, header)| Row::stored(*index, header, &payloads[index])).collect();
        next = views.project(&rows).expect("entries are projected");
    }
    Ok(())
}

/// About one message in nine is gone, one in seven bad, and one in three a copy of another, in this life or an earlier one.
fn stream(rng: &mut Rng, tenant: &Tenant, life: u64, messages: u64, at_ms: &mut u64) -> Stream {
    let mut on_road = BTreeMap::new();
    for sequence in 1..=messages {
        // Now and then the road's clock goes back: the log's must not.
        *at_ms = if rng.below(10) == 0 { *at_ms - rng.below(500) } else { *at_ms + rng.below(300) };
        if rng.below(9) == 0 && sequence < messages {
            continue;
        }
        let (subject, bytes) = message(rng, tenant, messages);
        on_road.insert(sequence, Message { subject, bytes, at_ms: *at_ms });
    }
    Stream { created_ns: 1_600_000_000_000_000_000 + life * 1_000_000_000, messages: on_road }
}

fn message(rng: &mut Rng, tenant: &Tenant, messages: u64) -> (String, Vec<u8>) {
    let number = rng.below(messages * 2);
    let phase = ["plan", "preflight", "execute", "verify", "audit"][number as usize % 5];
    let subject = format!("upm.events.{tenant}.{phase}.ci");
    let bytes = match rng.below(14) {
        0 => format!("rubbish {}", number % 3),
        1 => format!(r#"{{"provisioning_event":{{"id":"{number}"}}}}"#),
        _ => {
            let section = match number % 5 {
                0 => r#","plan":{"commands":["make it so"],"approvals":["ops"]}"#,
                1 => r#","preflight":{"checks":[{"name":"quota","ok":true}]}"#,
                2 => {
                    r#","execution":{"agent":"ci","steps":[{"cmd":"curl -H 'Authorization: Bearer abcdef0123456789abcdef'","rc":1}]}"#
                }
                3 => r#","verification":{"checks":[{"name":"up","ok":true}]}"#,
                _ => r#","governance":{"closed":true}"#,
            };
            format!(
                r#"{{"provisioning_event":{{"id":"event-{number}","change_id":"change-{}","timestamp":"2026-05-04T09:00:00Z","phase":"{phase}","intent":{{"source":"api","initiator":"ada","tenant":"{tenant}"}}{section}}}}}"#,
                number / 5
            )
        }
    };
    (subject, bytes.into_bytes())
}
