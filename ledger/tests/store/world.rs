//! A small world to append from: tenants with roads full of duplicates, bad messages, gaps and cuts, made from a seed; and a
//! driver that walks them as the pipeline does, from the cursors that the store holds.

use std::collections::BTreeMap;

use ledger::append::{
    Cursor, Disposition, Head, Item, LogId, PendingEvent, PendingRejection, Turn, commit, extend, load_heads, look_up,
};
use ledger::birth::{self, LedgerBirth, LogBirth};
use ledger::checkpoint::Origin;
use ledger::dedupe::{DedupeKey, Fingerprint};
use ledger::entry::{Salt, commitment};
use ledger::hash::Hash;
use ledger::kv::Kv;
use ledger::read::Log;
use ledger::signing::Signer;
use schemas::admit::{Facts, Has, Outcome};
use schemas::ids::{ChangeId, EventId, Phase, Tenant};
use schemas::reason::Reason;

pub(crate) const LEDGER: &str = "test-ledger";
pub(crate) const RULES: Hash = Hash([9; 32]);

/// Splitmix64: all that a seeded test needs.
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub(crate) fn salt(&mut self) -> Salt {
        let mut salt = [0; 16];
        salt[..8].copy_from_slice(&self.next().to_be_bytes());
        salt[8..].copy_from_slice(&self.next().to_be_bytes());
        Salt(salt)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) payload: Vec<u8>,
    pub(crate) change: ChangeId,
    pub(crate) good: bool,
    pub(crate) at_ms: u64,
    pub(crate) masked: u32,
}

/// One life of a stream: what is on it by sequence; absent ones are gone.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(crate) created_ns: u64,
    pub(crate) messages: BTreeMap<u64, Message>,
}

pub(crate) struct TenantWorld {
    pub(crate) tenant: Tenant,
    pub(crate) signer: Signer,
    pub(crate) dedupe: DedupeKey,
    pub(crate) streams: Vec<Stream>,
}

pub(crate) struct World {
    pub(crate) ledger_signer: Signer,
    pub(crate) admin: Signer,
    pub(crate) tenants: Vec<TenantWorld>,
}

/// What a producer was told.
#[derive(Clone, Debug)]
pub(crate) struct Told {
    pub(crate) tenant: usize,
    pub(crate) stream: usize,
    pub(crate) sequence: u64,
    pub(crate) disposition: Disposition,
    /// Text of the receipt, where one was made.
    pub(crate) receipt: Option<String>,
}

/// The store failed and the process is over.
#[derive(Debug)]
pub(crate) struct Crashed;

pub(crate) fn origin(log: &str) -> Origin {
    Origin::of(LEDGER, log).unwrap()
}

pub(crate) fn subject(tenant: &Tenant) -> String {
    format!("upm.events.{tenant}.plan")
}

impl World {
    pub(crate) fn new(seed: u64, tenants: usize, messages: u64) -> Self {
        let mut rng = Rng(seed);
        let tenants = (0..tenants).map(|number| TenantWorld::new(&mut rng, number, messages)).collect();
        let ledger_signer = Signer::from_seed(&origin("_ledger"), [1; 32]);
        Self { ledger_signer, admin: Signer::from_seed(&origin("_ledger"), [2; 32]), tenants }
    }

    /// Births, idempotent: every start asks for them.
    pub(crate) fn found<K: Kv>(&self, kv: &K, rng: &mut Rng) -> Result<(), Crashed> {
        let birth = LedgerBirth {
            name: LEDGER,
            signer: &self.ledger_signer,
            admin_keys: &[self.admin.public_key()],
            recovery_key: Signer::from_seed(&origin("_ledger"), [3; 32]).public_key(),
            rules: RULES,
            at_ms: 1_000,
        };
        birth::found_ledger(kv, &birth).map_err(|_| Crashed)?;
        for (number, tenant) in self.tenants.iter().enumerate() {
            birth::found_log(kv, &self.log_birth(tenant, number as u64, rng)).map_err(|_| Crashed)?;
        }
        Ok(())
    }

    pub(crate) fn log_birth<'a>(&'a self, tenant: &'a TenantWorld, number: u64, rng: &mut Rng) -> LogBirth<'a> {
        LogBirth {
            tenant: &tenant.tenant,
            signer: &tenant.signer,
            dedupe: &tenant.dedupe,
            ledger_signer: &self.ledger_signer,
            admin: &self.admin,
            rules: RULES,
            stream_created_ms: None,
            opening_salt: rng.salt(),
            envelope_salt: rng.salt(),
            at_ms: 2_000 + number,
        }
    }

    /// One life of a process: birth, answers that the last life owes, rounds until the roads are read. `told` outlives it.
    pub(crate) fn live<K: Kv>(&self, kv: &K, rng: &mut Rng, told: &mut Vec<Told>) -> Result<(), Crashed> {
        self.found(kv, rng)?;
        // What the store holds after any crash must be sound: a head that does not load is a failed test, not a crash.
        let mut heads: BTreeMap<LogId, Head> =
            load_heads(kv).unwrap().into_iter().map(|head| (head.log, head)).collect();
        for (number, tenant) in self.tenants.iter().enumerate() {
            tenant.answer_owed(kv, number, told);
        }
        loop {
            let turns: Vec<Turn> = self.turns(&heads, rng);
            if turns.is_empty() {
                if self.tenants.iter().all(|tenant| tenant.is_read(&heads[&log_of(kv, tenant)])) {
                    return Ok(());
                }
                continue;
            }
            let new = self.round(kv, &heads, turns, rng, told)?;
            heads.extend(new.into_iter().map(|head| (head.log, head)));
        }
    }

    fn round<K: Kv>(
        &self,
        kv: &K,
        heads: &BTreeMap<LogId, Head>,
        turns: Vec<Turn>,
        rng: &mut Rng,
        told: &mut Vec<Told>,
    ) -> Result<Vec<Head>, Crashed> {
        let known = look_up(kv, &turns).unwrap();
        let mut sealed = Vec::new();
        for (turn, known) in turns.into_iter().zip(&known) {
            let tenant = tenant_of(turn.log);
            sealed.push(extend(&heads[&turn.log], turn, known).unwrap().seal(&self.tenants[tenant].signer));
        }
        let (committed, new) = commit(kv, sealed).map_err(|_| Crashed)?;
        for (position, log) in committed.logs().iter().enumerate() {
            let tenant = tenant_of(log.head.log);
            let stream = self.tenants[tenant].stream_of(&log.head.cursor);
            for (sequence, disposition) in &log.dispositions {
                let wanted = rng.below(3) == 0;
                let receipt = event_index(disposition)
                    .filter(|_| wanted)
                    .map(|index| committed.receipt(kv, position, index).unwrap().to_text());
                told.push(Told { tenant, stream, sequence: *sequence, disposition: *disposition, receipt });
            }
        }
        Ok(new)
    }

    fn turns(&self, heads: &BTreeMap<LogId, Head>, rng: &mut Rng) -> Vec<Turn> {
        let mut turns = Vec::new();
        for head in heads.values().filter(|head| head.log != LogId::LEDGER) {
            let tenant = &self.tenants[tenant_of(head.log)];
            if rng.below(3) > 0 && !tenant.is_read(head) {
                turns.push(tenant.turn(head, 1 + rng.below(20) as usize, rng));
            }
        }
        turns
    }
}

pub(crate) fn event_index(disposition: &Disposition) -> Option<u64> {
    match disposition {
        Disposition::Accepted { index } | Disposition::Duplicate { index } => Some(*index),
        Disposition::Rejected { .. } | Disposition::Noted { .. } => None,
    }
}

/// Logs are numbered in the order of their births: 1 is the first tenant's.
fn tenant_of(log: LogId) -> usize {
    log.0 as usize - 1
}

fn log_of<K: Kv>(kv: &K, tenant: &TenantWorld) -> LogId {
    birth::log_of(kv, &tenant.tenant).unwrap().unwrap()
}

impl TenantWorld {
    fn new(rng: &mut Rng, number: usize, messages: u64) -> Self {
        let tenant = Tenant::parse(&format!("tenant-{number}")).unwrap();
        let signer = Signer::from_seed(&origin(tenant.as_str()), [10 + number as u8; 32]);
        let mut at_ms = 1_000_000;
        let streams = (0..=rng.below(3)).map(|life| stream(rng, life, messages, &mut at_ms)).collect();
        Self { tenant, signer, dedupe: DedupeKey::new([20 + number as u8; 32]), streams }
    }

    /// Which life of the stream a cursor is in.
    pub(crate) fn stream_of(&self, cursor: &Cursor) -> usize {
        self.streams.iter().position(|stream| stream.created_ns == cursor.stream_created_ns).unwrap_or(0)
    }

    pub(crate) fn is_read(&self, head: &Head) -> bool {
        let last = self.streams.last().unwrap();
        head.cursor.stream_created_ns == last.created_ns
            && head.cursor.sequence == *last.messages.last_key_value().unwrap().0
    }

    pub(crate) fn fingerprint(&self, message: &Message) -> Fingerprint {
        self.dedupe.fingerprint(&subject(&self.tenant), &message.payload)
    }

    /// The next messages after the head's cursor, a gap where some are missing, an epoch where the stream ends.
    fn turn(&self, head: &Head, limit: usize, rng: &mut Rng) -> Turn {
        let (mut life, mut last) = (self.stream_of(&head.cursor), head.cursor.sequence);
        let mut items = Vec::new();
        if self.streams[life].messages.range(last + 1..).next().is_none() {
            life += 1;
            last = 0;
            let stream = &self.streams[life];
            let at_ms = stream.messages.first_key_value().unwrap().1.at_ms;
            items.push(Item::Epoch { stream_created_ns: stream.created_ns, at_ms });
        }
        let stream = &self.streams[life];
        let mut cursor = head.cursor;
        for (sequence, message) in stream.messages.range(last + 1..).take(limit) {
            if *sequence > last + 1 {
                items.push(Item::Gap { from: last + 1, to: sequence - 1, at_ms: message.at_ms });
            }
            last = *sequence;
            items.push(self.item(*sequence, message, rng));
            let (at_ns, digest) = (message.at_ms * 1_000_000, self.fingerprint(message));
            cursor = Cursor { stream_created_ns: stream.created_ns, sequence: last, at_ns, digest };
        }
        // Answers lag behind: sometimes all earlier ones were sent, sometimes none since.
        let answered = if life != self.stream_of(&head.cursor) {
            0
        } else if rng.below(2) == 0 {
            head.cursor.sequence
        } else {
            head.answered
        };
        Turn { log: head.log, items, cursor, answered }
    }

    fn item(&self, sequence: u64, message: &Message, rng: &mut Rng) -> Item {
        if !message.good {
            return Item::Rejection(PendingRejection {
                road_sequence: sequence,
                at_ms: message.at_ms,
                salt: rng.salt(),
                subject: subject(&self.tenant),
                reason: Reason::NotJson,
                path: "/a".into(),
                found: format!("found {sequence}"),
                expected: "é".into(),
                payload: message.payload.clone(),
                masked: message.masked,
                rules: RULES,
            });
        }
        let salt = rng.salt();
        Item::Event(PendingEvent {
            road_sequence: sequence,
            at_ms: message.at_ms,
            fingerprint: self.fingerprint(message),
            change_key: self.dedupe.change_key(&message.change),
            salt,
            commit: commitment(&salt, &message.payload),
            producer: None,
            facts: facts(message),
            payload: message.payload.clone().into(),
            masked: message.masked,
            rules: RULES,
        })
    }

    /// A restart tells everybody again who may not have heard: what the log says must be what was said before.
    fn answer_owed<K: Kv>(&self, kv: &K, number: usize, told: &mut Vec<Told>) {
        let log = Log::open(kv, log_of(kv, self)).unwrap();
        let head = log.head().unwrap();
        let life = self.stream_of(&head.cursor);
        let owed = head.answered + 1..head.cursor.sequence + 1;
        let by_road = log.by_road(owed.clone()).unwrap();
        for (sequence, message) in self.streams[life].messages.range(owed) {
            let disposition = match by_road.get(sequence) {
                Some(&index) if message.good => Disposition::Accepted { index },
                Some(&index) => Disposition::Rejected { index },
                None => {
                    Disposition::Duplicate { index: log.duplicate_of(&self.fingerprint(message)).unwrap().unwrap() }
                }
            };
            let receipt = event_index(&disposition).map(|index| log.receipt(index).unwrap().to_text());
            told.push(Told { tenant: number, stream: life, sequence: *sequence, disposition, receipt });
        }
    }
}

pub(crate) fn facts(message: &Message) -> Facts {
    Facts {
        change: message.change.clone(),
        id: EventId::parse("event").unwrap(),
        phase: Phase::Plan,
        environment: None,
        class: None,
        probe: false,
        has: Has::PLAN,
        outcome: Outcome::None,
        ts: -1,
    }
}

fn stream(rng: &mut Rng, life: u64, messages: u64, at_ms: &mut u64) -> Stream {
    let mut on_road = BTreeMap::new();
    for sequence in 1..=messages {
        // Now and then the road's clock goes back: the log's time must not.
        *at_ms = if rng.below(10) == 0 { *at_ms - rng.below(500) } else { *at_ms + rng.below(300) };
        if rng.below(12) == 0 && sequence < messages {
            continue;
        }
        let number = rng.below(messages / 2 + 1);
        let good = rng.below(8) > 0;
        // The same number is the same bytes: a duplicate, in this life of the stream or an earlier one.
        let payload = if good { format!("payload {number}") } else { format!("rubbish {}", number % 3) };
        let change = ChangeId::parse(&format!("change-{}", number % 5)).unwrap();
        let message = Message { payload: payload.into(), change, good, at_ms: *at_ms, masked: (number % 2) as u32 };
        on_road.insert(sequence, message);
    }
    Stream { created_ns: 1_000_000_000 * (life + 1), messages: on_road }
}
