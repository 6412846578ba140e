//! A copy being kept: what it has compared with what the source lists, chunk by chunk.

use std::collections::{BTreeMap, HashMap};

use schemas::admit::Scratch;
use schemas::ids::Tenant;

use super::redo::{Listed, Redo, Redone, birth, differs, verifier};
use super::source::{Source, SourceError};
use super::{Checked, Chunk, Difference, Limits, ListedLog, Listing, Position, ReplicaError, log_row, write};
use crate::append::{Head, load_head};
use crate::birth::{self, BirthError, LEDGER_LOG, Opening};
use crate::checkpoint::Origin;
use crate::dedupe::DedupeKey;
use crate::entry::First;
use crate::governance::{self, KeyChain};
use crate::hash::{Hash, leaf};
use crate::kv::{Batch, Kv, Space};
use crate::layout::{FORMAT_VERSION, Key, LogId, LogRow, read_u32, read_u64};
use crate::note::VerifierKey;
use crate::read::Log;

/// Whose signatures count. A log's key stands in its first entry; who says that the first entry is the right one stands here.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    keys: BTreeMap<String, Vec<VerifierKey>>,
    first_use: bool,
}

/// What was said of a log's first key.
enum Given<'t> {
    /// Nothing.
    Not,
    /// It is the one.
    First,
    /// Other keys of this log were given: earlier or later ones of it, or somebody else's.
    Others(&'t [VerifierKey]),
}

impl Trust {
    /// These keys, each of them one that its log has or had: where it is not the first, the log's changes of keys have to lead from
    /// one to the other. A key of `_ledger` vouches for the logs of all tenants that it lists; others have to be given.
    pub fn of(keys: impl IntoIterator<Item = VerifierKey>) -> Self {
        let mut by_log: BTreeMap<String, Vec<VerifierKey>> = BTreeMap::new();
        for key in keys {
            by_log.entry(key.name().to_string()).or_default().push(key);
        }
        Self { keys: by_log, first_use: false }
    }

    /// Whatever the source has at a log's birth, and from then on nothing else.
    pub fn on_first_use() -> Self {
        Self { keys: BTreeMap::new(), first_use: true }
    }

    fn given(&self, first: &First) -> Given<'_> {
        match self.keys.get(first.origin.as_str()) {
            None => Given::Not,
            Some(keys) if keys.contains(&verifier(first)) => Given::First,
            Some(keys) => Given::Others(keys),
        }
    }
}

/// What a round did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Entries copied.
    pub copied: u64,
    /// Entries that the source had more, when it was asked.
    pub behind: u64,
    /// Logs that were born.
    pub born: Vec<LogId>,
    /// Logs of which the source has less than we, and the same as far as it goes: it was set back, or lags behind us.
    pub set_back: Vec<SetBack>,
}

/// A log of which the source has less than we.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetBack {
    /// Which log.
    pub origin: Origin,
    /// Entries of the source.
    pub found: u64,
    /// Entries of ours.
    pub ours: u64,
}

/// The tenants' dedupe keys that are at hand.
type DedupeKeys<'a> = Box<dyn Fn(&Tenant) -> Option<DedupeKey> + Send + 'a>;

/// A log as it is kept here.
struct Kept {
    head: Head,
    first: First,
    tenant: Option<Tenant>,
}

/// Keeps a copy in `kv` of what `source` has. The only writer of `kv` for as long as it lives.
pub struct Copier<'a, K, S> {
    kv: &'a K,
    source: S,
    trust: Trust,
    dedupe: DedupeKeys<'a>,
    kept: HashMap<LogId, Kept>,
    scratch: Scratch,
}

impl<'a, K: Kv, S: Source> Copier<'a, K, S> {
    /// A copier into `kv`, empty or a copy already. `dedupe` gives the tenants' dedupe keys that are at hand; without one the source
    /// has to have it.
    pub fn new(kv: &'a K, source: S, trust: Trust, dedupe: impl Fn(&Tenant) -> Option<DedupeKey> + Send + 'a) -> Self {
        Self { kv, source, trust, dedupe: Box::new(dedupe), kept: HashMap::new(), scratch: Scratch::default() }
    }

    /// Where it copies from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Copies the beginning alone: the ledger with the first entry of its own log. Where that is here already, nothing.
    pub fn begin(&mut self) -> Result<(), ReplicaError> {
        let listing = self.source.listing()?;
        self.found(&listing, &mut Progress::default())
    }

    /// Copies one chunk of every log that the source has more of. All is copied when [`Progress::behind`] is 0.
    ///
    /// After a difference ([`ReplicaError::is_difference`]) nothing more is to be copied; after any other error it may be asked
    /// again. Each chunk is durable when it returns, so that a copy goes on where it stood, however it ended.
    pub fn round(&mut self, limits: Limits) -> Result<Progress, ReplicaError> {
        let listing = self.source.listing()?;
        let mut progress = Progress::default();
        self.found(&listing, &mut progress)?;
        // `_ledger` first, because it vouches for the others.
        let (own, tenants): (Vec<_>, Vec<_>) = listing.logs.iter().partition(|listed| listed.log == LogId::LEDGER);
        for listed in own.into_iter().chain(tenants) {
            self.visit(listed, &listing, limits, &mut progress)?;
        }
        Ok(progress)
    }

    /// [`round`](Self::round) until all is copied; `report` hears of each. Gives the number of entries copied.
    pub fn catch_up(&mut self, limits: Limits, mut report: impl FnMut(&Progress)) -> Result<u64, ReplicaError> {
        let mut copied = 0;
        loop {
            let progress = self.round(limits)?;
            report(&progress);
            copied += progress.copied;
            if progress.behind == 0 {
                return Ok(copied);
            }
        }
    }

    /// The ledger itself, with the first entry of its own log.
    fn found(&mut self, listing: &Listing, progress: &mut Progress) -> Result<(), ReplicaError> {
        if let Some(name) = birth::ledger_name(self.kv)? {
            if name != listing.name {
                return Err(ReplicaError::OtherLedger { found: listing.name.clone(), expected: name });
            }
            return Ok(());
        }
        let origin = Origin::of(&listing.name, LEDGER_LOG).map_err(BirthError::Origin)?;
        let chunk = self.source.chunk(LogId::LEDGER, 0, Limits { entries: 1, bytes: 0 })?;
        let (checked, first) =
            birth(LogId::LEDGER, &origin, &chunk, |first, leaf| self.vouched(LogId::LEDGER, first, leaf))?;
        let mut rows = Batch::default();
        rows.put(Space::Meta, &Key::Format.bytes(), &[&FORMAT_VERSION.to_be_bytes()]);
        rows.put(Space::Meta, &Key::LedgerName.bytes(), &[listing.name.as_bytes()]);
        rows.put(Space::Meta, &Key::NextLog.bytes(), &[&1_u32.to_be_bytes()]);
        rows.put(Space::Meta, &Key::Log(LogId::LEDGER).bytes(), &[&LogRow::Ledger.encode(LogId::LEDGER)]);
        self.write(vec![(checked, Some((first, None)))], rows)?;
        progress.copied += 1;
        progress.born.push(LogId::LEDGER);
        Ok(())
    }

    fn visit(
        &mut self,
        listed: &ListedLog,
        listing: &Listing,
        limits: Limits,
        progress: &mut Progress,
    ) -> Result<(), ReplicaError> {
        if !self.knows(listed)? && !self.born_unlisted(listed, listing, progress)? {
            progress.behind += listed.size;
            return Ok(());
        }
        let kept = &self.kept[&listed.log];
        let head = &kept.head;
        if listed.size < head.size {
            let set_back = self.set_back(listed, &kept.head)?;
            progress.set_back.push(set_back);
            return Ok(());
        }
        if listed.size == head.size && listed.matches(head) {
            return Ok(());
        }
        let chunk = self.source.chunk(listed.log, head.size, limits)?;
        if (chunk.log, chunk.from) != (listed.log, head.size) {
            let (log, expected) = (listed.log, head.size);
            return Err(ReplicaError::Order { log, expected, found_log: chunk.log, found: chunk.from });
        }
        let (copied, available) = (chunk.rows.len() as u64, chunk.available.max(listed.size));
        let dedupe = self.dedupe_key(listed.log)?;
        let kept = &self.kept[&listed.log];
        let mut redo = Redo {
            kv: self.kv,
            first: &kept.first,
            tenant: kept.tenant.as_ref(),
            dedupe: dedupe.as_ref(),
            scratch: &mut self.scratch,
        };
        let head = kept.head.clone();
        let Redone { checked, tenants, acts } = redo.chunk(&head, &chunk)?;
        let ours = Position { cursor: head.cursor, answered: head.answered };
        if chunk.rows.is_empty() && chunk.position.is_none_or(|position| position == ours) {
            return Ok(());
        }
        self.all_listed(&head.origin, &acts, limits, progress)?;
        let (mut births, rows) = self.births(tenants, progress)?;
        births.insert(0, (checked, None));
        self.write(births, rows)?;
        progress.copied += copied;
        progress.behind += available.saturating_sub(head.size + copied);
        Ok(())
    }

    /// Whether `_ledger` lists every act at the place that it names. Both are written at once, so that where our copy of `_ledger` is
    /// behind, the source has the listing already: it is copied first.
    fn all_listed(
        &mut self,
        origin: &Origin,
        acts: &[(u64, governance::Listing)],
        limits: Limits,
        progress: &mut Progress,
    ) -> Result<(), ReplicaError> {
        for (index, listing) in acts {
            let index = *index;
            let counter = listing.counter();
            let counter = counter.map_err(|source| differs(origin)(Difference::Control { index, source }))?;
            let unlisted = |found| differs(origin)(Difference::Unlisted { index, counter, found });
            let entry = loop {
                let row = self.kv.get(Space::Tree, &Key::Control(LogId::LEDGER, counter).bytes())?;
                match row {
                    Some(row) => break read_u64("control", &row)?,
                    None if self.more_of_ledger(limits, progress)? => {}
                    None => return Err(unlisted("there is none")),
                }
            };
            if Log::open(self.kv, LogId::LEDGER)?.control(entry)?.2.payload != listing.envelope {
                return Err(unlisted("another one stands there"));
            }
        }
        Ok(())
    }

    /// Copies the next chunk of `_ledger`; false where the source has no more of it.
    fn more_of_ledger(&mut self, limits: Limits, progress: &mut Progress) -> Result<bool, ReplicaError> {
        let listing = self.source.listing()?;
        let Some(own) = listing.logs.iter().find(|listed| listed.log == LogId::LEDGER) else { return Ok(false) };
        let before = progress.copied;
        // What it is behind is counted when its turn comes.
        let behind = progress.behind;
        self.visit(own, &listing, limits, progress)?;
        progress.behind = behind;
        Ok(progress.copied > before)
    }

    /// Whether the log is in our store, as the source lists it.
    fn knows(&mut self, listed: &ListedLog) -> Result<bool, ReplicaError> {
        if self.kept.contains_key(&listed.log) {
            return Ok(true);
        }
        let Some(row) = self.kv.get(Space::Meta, &Key::Log(listed.log).bytes())? else { return Ok(false) };
        let first = Log::open(self.kv, listed.log)?.first()?;
        let expected = LogRow::decode(listed.log, &row)?;
        if expected != log_row(listed) {
            let (found, expected) = (format!("{:?}", log_row(listed)), format!("{expected:?}"));
            return Err(differs(&first.origin)(Difference::Row { log: listed.log, found, expected }));
        }
        let entry = Log::open(self.kv, listed.log)?.entry(0)?.unwrap_or_default();
        self.given(listed.log, &first, &leaf(&entry))?;
        let head = load_head(self.kv, listed.log)?;
        let tenant = listed.tenant.as_ref().map(|tenant| tenant.name.clone());
        self.kept.insert(listed.log, Kept { head, first, tenant });
        Ok(true)
    }

    /// The first entries of the logs that a chunk of `_ledger` lists, to be written with it.
    fn births(&self, listed: Vec<Listed>, progress: &mut Progress) -> Result<(Vec<Birth>, Batch), ReplicaError> {
        let (mut logs, mut rows) = (Vec::new(), Batch::default());
        let openings: Vec<Opening> = listed.into_iter().filter_map(|listed| listed.opening).collect();
        if openings.is_empty() {
            return Ok((logs, rows));
        }
        // Asked again: it may have been born after the listing that we hold.
        let listing = self.source.listing()?;
        for opening in openings {
            let tenant =
                |listed: &&ListedLog| listed.tenant.as_ref().is_some_and(|t| t.name.as_str() == opening.tenant);
            let Some(listed) = listing.logs.iter().find(tenant) else { continue };
            if self.kv.get(Space::Meta, &Key::Log(listed.log).bytes())?.is_some() {
                continue;
            }
            let (checked, first) = self.first_entry(listed, &listing, |first, leaf| opened(&opening, first, leaf))?;
            logs.push((checked, Some((first, listed.tenant.as_ref().map(|tenant| tenant.name.clone())))));
            self.birth_rows(listed, &mut rows)?;
            progress.copied += 1;
            progress.born.push(listed.log);
        }
        Ok((logs, rows))
    }

    /// A log whose listing in `_ledger` opens no more; false while the listing may still come.
    fn born_unlisted(
        &mut self,
        listed: &ListedLog,
        listing: &Listing,
        progress: &mut Progress,
    ) -> Result<bool, ReplicaError> {
        let own = listing.logs.iter().find(|listed| listed.log == LogId::LEDGER).map_or(u64::MAX, |own| own.size);
        let covered = self.kept.get(&LogId::LEDGER).is_some_and(|kept| kept.head.size >= own);
        if !covered || listed.tenant.is_none() {
            return Ok(false);
        }
        let check = |first: &First, leaf: &Hash| self.vouched(listed.log, first, leaf);
        let (checked, first) = self.first_entry(listed, listing, check)?;
        let mut rows = Batch::default();
        self.birth_rows(listed, &mut rows)?;
        let tenant = listed.tenant.as_ref().map(|tenant| tenant.name.clone());
        self.write(vec![(checked, Some((first, tenant)))], rows)?;
        progress.copied += 1;
        progress.born.push(listed.log);
        Ok(true)
    }

    fn first_entry(
        &self,
        listed: &ListedLog,
        listing: &Listing,
        check: impl FnOnce(&First, &Hash) -> Result<(), ReplicaError>,
    ) -> Result<(Checked, First), ReplicaError> {
        let tenant = listed.tenant.as_ref().map_or(LEDGER_LOG, |tenant| tenant.name.as_str());
        let origin = Origin::of(&listing.name, tenant).map_err(BirthError::Origin)?;
        let chunk = self.source.chunk(listed.log, 0, Limits { entries: 1, bytes: 0 })?;
        birth(listed.log, &origin, &chunk, |first, leaf| {
            self.given(listed.log, first, leaf)?;
            check(first, leaf)
        })
    }

    /// Whether a key of this log was given and is its first one, or leads there; an error where it does not.
    fn given(&self, log: LogId, first: &First, entry: &Hash) -> Result<bool, ReplicaError> {
        let others = match self.trust.given(first) {
            Given::Not => return Ok(false),
            Given::First => return Ok(true),
            Given::Others(others) => others,
        };
        if self.ours_has(log, others)? || self.leads(log, first, entry, others)? {
            return Ok(true);
        }
        let shown: Vec<String> = others.iter().map(VerifierKey::to_vkey).collect();
        let (found, expected) = (verifier(first).to_vkey(), shown.join(" or "));
        Err(differs(&first.origin)(Difference::First { what: "the log key", found, expected }))
    }

    /// Whether our own copy of the log has had one of these keys.
    fn ours_has(&self, log: LogId, keys: &[VerifierKey]) -> Result<bool, ReplicaError> {
        if self.kv.get(Space::Meta, &Key::Head(log).bytes())?.is_none() {
            return Ok(false);
        }
        let known = Log::open(self.kv, log)?.governance()?;
        Ok(keys.iter().any(|key| known.log_keys().has(key.key())))
    }

    /// Whether the log's changes of keys, as the source shows them, lead from this first entry to one of these keys.
    fn leads(&self, log: LogId, first: &First, entry: &Hash, keys: &[VerifierKey]) -> Result<bool, ReplicaError> {
        let Some(bytes) = self.source.key_chain(log, &first.origin)? else { return Ok(false) };
        let Ok(chain) = KeyChain::parse(&bytes) else { return Ok(false) };
        Ok(leaf(chain.first_entry()) == *entry && keys.iter().any(|key| chain.establish(key).is_ok()))
    }

    fn vouched(&self, log: LogId, first: &First, entry: &Hash) -> Result<(), ReplicaError> {
        if self.given(log, first, entry)? || self.trust.first_use {
            return Ok(());
        }
        Err(ReplicaError::Unvouched { origin: first.origin.clone(), found: verifier(first).to_vkey() })
    }

    /// What the store knows of a log since its birth.
    fn birth_rows(&self, listed: &ListedLog, rows: &mut Batch) -> Result<(), ReplicaError> {
        let log = listed.log;
        let Some(tenant) = &listed.tenant else { return Ok(()) };
        let next = self.kv.get(Space::Meta, &Key::NextLog.bytes())?.ok_or(BirthError::NoLedger)?;
        let next = read_u32("next log", &next)?.max(log.0.checked_add(1).ok_or(BirthError::NoNumbers)?);
        let taken = rows.rows().filter_map(|(_, key, value)| (*key == *Key::NextLog.bytes()).then_some(value)?);
        let taken = taken.filter_map(|value| read_u32("next log", value).ok()).max().unwrap_or(0);
        rows.put(Space::Meta, &Key::NextLog.bytes(), &[&next.max(taken).to_be_bytes()]);
        rows.put(Space::Meta, &Key::Log(log).bytes(), &[&log_row(listed).encode(log)]);
        rows.put(Space::Meta, &Key::Tenant(tenant.name.clone()).bytes(), &[&log.0.to_be_bytes()]);
        Ok(())
    }

    fn write(&mut self, logs: Vec<Birth>, rows: Batch) -> Result<(), ReplicaError> {
        let (checked, born): (Vec<_>, Vec<_>) = logs.into_iter().unzip();
        let written = write(self.kv, checked, rows);
        // What is on disk after a failed write is unknown: everything is read again before we go on.
        let heads = written.inspect_err(|_| self.kept.clear())?;
        for (head, born) in heads.into_iter().zip(born) {
            match born {
                Some((first, tenant)) => {
                    self.kept.insert(head.log, Kept { head, first, tenant });
                }
                None => {
                    if let Some(kept) = self.kept.get_mut(&head.log) {
                        kept.head = head;
                    }
                }
            }
        }
        Ok(())
    }

    /// The tenant's dedupe key, if it is at hand; refused where it is another than the log was born with.
    fn dedupe_key(&self, log: LogId) -> Result<Option<DedupeKey>, ReplicaError> {
        let Some(kept) = self.kept.get(&log) else { return Ok(None) };
        let Some(key) = kept.tenant.as_ref().and_then(|tenant| (self.dedupe)(tenant)) else { return Ok(None) };
        let row = self.kv.get(Space::Meta, &Key::Log(log).bytes())?.unwrap_or_default();
        match LogRow::decode(log, &row)? {
            LogRow::Tenant { dedupe_check, .. } if dedupe_check == key.check_value() => Ok(Some(key)),
            _ => Err(BirthError::Other { log: kept.head.origin.clone(), what: "dedupe key" }.into()),
        }
    }

    /// The source has less than we: what it has must at least be ours.
    fn set_back(&self, listed: &ListedLog, head: &Head) -> Result<SetBack, ReplicaError> {
        let Chunk { checkpoints, .. } = self.source.chunk(listed.log, listed.size, Limits::default())?;
        let Some((_, note)) = checkpoints.first() else {
            return Err(SourceError::Beyond { log: listed.log, from: head.size, size: listed.size }.into());
        };
        let signed = Log::open(self.kv, listed.log)?.governance()?.log_keys().open_stored(note);
        let signed =
            signed.map_err(|source| differs(&head.origin)(Difference::Checkpoint { size: listed.size, source }))?;
        let found = Log::open(self.kv, listed.log)?.root(signed.size.min(head.size))?;
        if found != signed.root && signed.size <= head.size {
            let (size, expected) = (signed.size, signed.root);
            return Err(differs(&head.origin)(Difference::Root { size, expected, found }));
        }
        Ok(SetBack { origin: head.origin.clone(), found: listed.size, ours: head.size })
    }
}

/// Checked rows, with the first entry and the tenant of a log that is born with them.
type Birth = (Checked, Option<(First, Option<Tenant>)>);

/// The log that `_ledger` listed has to be this one.
fn opened(opening: &Opening, first: &First, leaf: &Hash) -> Result<(), ReplicaError> {
    let compared = [
        ("the origin", first.origin.to_string(), &opening.origin),
        ("the log key", first.log_key.typed_base64(), &opening.log_key),
        ("its hash", leaf.to_string(), &opening.first),
    ];
    match compared.into_iter().find(|(_, found, expected)| found != *expected) {
        Some((what, found, expected)) => {
            let expected = format!("{expected} as the ledger's own log lists it");
            Err(differs(&first.origin)(Difference::First { what, found, expected }))
        }
        None => Ok(()),
    }
}

impl ListedLog {
    /// Whether nothing is to be copied: the same tree, read as far.
    fn matches(&self, head: &Head) -> bool {
        (self.size, self.root, self.road, self.answered)
            == (head.size, head.edge.root(), head.cursor.sequence, head.answered)
    }
}
