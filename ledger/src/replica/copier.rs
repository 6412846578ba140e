//! A copy being kept: what it has compared with what the source lists, chunk by chunk.

use std::collections::{BTreeMap, HashMap, VecDeque};

use schemas::admit::Scratch;
use schemas::ids::Tenant;

use super::redo::{Listings, Redo, Redone, birth, differs, is_control, verifier};
use super::source::{Source, SourceError};
use super::{
    Checked, Chunk, CopiedRow, Difference, Limits, ListedLog, Listing, Position, ReplicaError, log_row, write,
};
use crate::append::{Head, load_head};
use crate::birth::{self, BirthError, LEDGER_LOG, Opening};
use crate::checkpoint::Origin;
use crate::dedupe::DedupeKey;
use crate::entry::First;
use crate::governance::{self, Governance, KeyChain};
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
    /// Entries that the source had more, when it was asked, and that can be copied.
    pub behind: u64,
    /// Entries that can't be copied yet: `_ledger` lists something that its log does not have, or not as far as the source shows it,
    /// and what comes after waits with it. For a moment that is so beside a leader that keeps its heads elsewhere.
    pub waiting: u64,
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
    governance: Governance,
    tenant: Option<Tenant>,
}

/// Keeps a copy in `kv` of what `source` has. The only writer of `kv` for as long as it lives.
///
/// What was written is a ledger after every single write, however it ended: a listing in `_ledger` comes in one write with what it
/// lists, a log's first entry or an act, as it did at the leader. So `_ledger` stops in front of an act until the act's log has been
/// copied up to it, and that log in front of its act until `_ledger` is there.
pub struct Copier<'a, K, S> {
    kv: &'a K,
    source: S,
    trust: Trust,
    dedupe: DedupeKeys<'a>,
    kept: HashMap<LogId, Kept>,
    /// What was read of `_ledger` and is not written yet.
    ahead: VecDeque<Chunk>,
    /// Where `_ledger` can't go on: the logs that it lists something of.
    stops: Option<Vec<String>>,
    scratch: Scratch,
}

impl<'a, K: Kv, S: Source> Copier<'a, K, S> {
    /// A copier into `kv`, empty or a copy already. `dedupe` gives the tenants' dedupe keys that are at hand; without one the source
    /// has to have it.
    pub fn new(kv: &'a K, source: S, trust: Trust, dedupe: impl Fn(&Tenant) -> Option<DedupeKey> + Send + 'a) -> Self {
        let (kept, ahead, scratch) = (HashMap::new(), VecDeque::new(), Scratch::default());
        Self { kv, source, trust, dedupe: Box::new(dedupe), kept, ahead, stops: None, scratch }
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

    /// Copies one chunk of every log that the source has more of. All is copied when [`Progress::behind`] and
    /// [`Progress::waiting`] are 0.
    ///
    /// After a difference ([`ReplicaError::is_difference`]) nothing more is to be copied; after any other error it may be asked
    /// again. Each chunk is durable when it returns, so that a copy goes on where it stood, however it ended.
    pub fn round(&mut self, limits: Limits) -> Result<Progress, ReplicaError> {
        let mut progress = Progress::default();
        // What was read and not written is asked for again: it may be what was refused.
        self.visits(limits, &mut progress).inspect_err(|_| self.ahead.clear())?;
        Ok(progress)
    }

    fn visits(&mut self, limits: Limits, progress: &mut Progress) -> Result<(), ReplicaError> {
        let listing = self.source.listing()?;
        self.found(&listing, progress)?;
        // `_ledger` first, because it vouches for the others.
        let (own, tenants): (Vec<_>, Vec<_>) = listing.logs.iter().partition(|listed| listed.log == LogId::LEDGER);
        for listed in own.iter().copied().chain(tenants) {
            self.visit(listed, &listing, limits, progress)?;
        }
        // Visits of the others may have taken it further.
        let size = self.kept.get(&LogId::LEDGER).map_or(0, |kept| kept.head.size);
        let left = own.iter().map(|own| own.size.saturating_sub(size)).sum::<u64>();
        *(if self.stops.is_some() { &mut progress.waiting } else { &mut progress.behind }) += left;
        Ok(())
    }

    /// [`round`](Self::round) until all is copied that can be; `report` hears of each, so that whoever needs all of it looks at the
    /// last one's [`Progress::waiting`]. Gives the number of entries copied.
    pub fn catch_up(&mut self, limits: Limits, mut report: impl FnMut(&Progress)) -> Result<u64, ReplicaError> {
        let (mut copied, mut still) = (0, false);
        loop {
            let progress = self.round(limits)?;
            report(&progress);
            copied += progress.copied;
            // What waits is looked at once more: it may have come after the listing of this round.
            if progress.behind == 0 && (progress.waiting == 0 || (still && progress.copied == 0)) {
                return Ok(copied);
            }
            still = progress.copied == 0;
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
        self.write(vec![Writing::birth(checked, first, None)], rows)?;
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
        let log = listed.log;
        if log == LogId::LEDGER {
            self.stops = None;
        }
        if !self.knows(listed)? && !self.born_unlisted(listed, listing, progress)? {
            *(if self.stops.is_some() { &mut progress.waiting } else { &mut progress.behind }) += listed.size;
            return Ok(());
        }
        let head = &self.kept[&log].head;
        if listed.size < head.size {
            let set_back = self.set_back(listed, head)?;
            progress.set_back.push(set_back);
            return Ok(());
        }
        if listed.size == head.size && listed.matches(head) {
            return Ok(());
        }
        if log == LogId::LEDGER {
            return self.visit_own(limits, progress);
        }
        let chunk = self.chunk(log, limits)?;
        let available = chunk.available.max(listed.size);
        for piece in chunk.pieces(|row| is_control(&row.entry)) {
            if !self.copy(&piece, limits, progress)? {
                progress.waiting += available.saturating_sub(piece.from);
                return Ok(());
            }
        }
        progress.behind += available.saturating_sub(self.kept[&log].head.size);
        Ok(())
    }

    /// One chunk of `_ledger`, up to where it lists what only comes with its log.
    fn visit_own(&mut self, limits: Limits, progress: &mut Progress) -> Result<(), ReplicaError> {
        let mut next = self.next_of_own();
        if next.is_none() {
            self.read_own(limits)?;
            next = self.next_of_own();
        }
        while let Some(piece) = next {
            let redone = self.redo(&piece)?;
            if !redone.listings.acts.is_empty() || !self.write_own(redone, None, progress)? {
                self.stops = Some(piece.rows.iter().filter_map(listed_origin).collect());
                self.ahead.push_front(piece);
                break;
            }
            next = self.next_of_own();
        }
        Ok(())
    }

    /// What comes next in `_ledger`, of what was read already.
    fn next_of_own(&mut self) -> Option<Chunk> {
        let size = self.kept.get(&LogId::LEDGER)?.head.size;
        let next = self.ahead.pop_front()?;
        if next.from == size {
            return Some(next);
        }
        self.ahead.clear();
        None
    }

    fn read_own(&mut self, limits: Limits) -> Result<(), ReplicaError> {
        let chunk = self.chunk(LogId::LEDGER, limits)?;
        // Asked after the chunk: whatever was born with an entry of it is in here.
        let listing =
            if chunk.rows.iter().any(|row| row.opening.is_some()) { Some(self.source.listing()?) } else { None };
        let logs = listing.iter().flat_map(|listing| &listing.logs);
        let born: Vec<&str> = logs.filter_map(|log| log.tenant.as_ref()).map(|tenant| tenant.name.as_str()).collect();
        self.ahead = chunk.pieces(|row| match opening_of(row) {
            Some(Ok(opening)) => !born.contains(&opening.tenant.as_str()),
            Some(Err(_)) => true,
            None => false,
        });
        Ok(())
    }

    /// What the source has of a log behind our head.
    fn chunk(&self, log: LogId, limits: Limits) -> Result<Chunk, ReplicaError> {
        let expected = self.kept[&log].head.size;
        let chunk = self.source.chunk(log, expected, limits)?;
        if (chunk.log, chunk.from) == (log, expected) {
            return Ok(chunk);
        }
        Err(ReplicaError::Order { log, expected, found_log: chunk.log, found: chunk.from })
    }

    /// Checks a chunk that begins at our head.
    fn redo(&mut self, chunk: &Chunk) -> Result<Redone, ReplicaError> {
        let dedupe = self.dedupe_key(chunk.log)?;
        let kept = &self.kept[&chunk.log];
        let mut redo = Redo {
            kv: self.kv,
            first: &kept.first,
            governance: &kept.governance,
            tenant: kept.tenant.as_ref(),
            dedupe: dedupe.as_ref(),
            scratch: &mut self.scratch,
        };
        redo.chunk(&kept.head, chunk)
    }

    /// Checks and writes a piece of a tenant's log, with the listing of its act; false where `_ledger` can't go there yet.
    fn copy(&mut self, piece: &Chunk, limits: Limits, progress: &mut Progress) -> Result<bool, ReplicaError> {
        let redone = self.redo(piece)?;
        let head = &self.kept[&piece.log].head;
        let ours = Position { cursor: head.cursor, answered: head.answered };
        if piece.rows.is_empty() && piece.position.is_none_or(|position| position == ours) {
            return Ok(true);
        }
        let origin = head.origin.clone();
        loop {
            let Some(unlisted) = self.unlisted(&origin, &redone.acts, None)? else {
                progress.copied += redone.entries();
                self.write(vec![Writing::of(redone)], Batch::default())?;
                return Ok(true);
            };
            let Some(step) = self.step_of_own(limits)? else { return Err(unlisted) };
            let own = self.redo(&step)?;
            let missing = self.unlisted(&origin, &redone.acts, Some(&own.listings))?;
            // An act's listing names the entry before it in `_ledger`, so that no round has the listings of two.
            let all = own.listings.acts.iter().all(|listed| redone.acts.iter().any(|(_, act)| act.opening == *listed));
            if own.listings.acts.is_empty() {
                if self.write_own(own, None, progress)? {
                    continue;
                }
            } else if all {
                // At the leader both were one write: what this step does not list of the piece is listed nowhere.
                if let Some(unlisted) = missing {
                    return Err(unlisted);
                }
                self.stops = None;
                return self.write_own(own, Some(redone), progress);
            }
            self.ahead.push_front(step);
            return Ok(false);
        }
    }

    /// The next step of `_ledger`, read from the source where need be; none where the source has no more.
    fn step_of_own(&mut self, limits: Limits) -> Result<Option<Chunk>, ReplicaError> {
        if let Some(next) = self.next_of_own() {
            return Ok(Some(next));
        }
        let listing = self.source.listing()?;
        let Some(own) = listing.logs.iter().find(|listed| listed.log == LogId::LEDGER) else { return Ok(None) };
        if self.kept.get(&LogId::LEDGER).is_none_or(|kept| own.size <= kept.head.size) {
            return Ok(None);
        }
        self.read_own(limits)?;
        Ok(self.next_of_own())
    }

    /// The first act that `_ledger` does not list at the place that it names, as it stands here and with the `next` step of it; an
    /// error where another one stands there.
    fn unlisted(
        &self,
        origin: &Origin,
        acts: &[(u64, governance::Listing)],
        next: Option<&Listings>,
    ) -> Result<Option<ReplicaError>, ReplicaError> {
        for (index, listing) in acts {
            let index = *index;
            let counter = listing.counter();
            let counter = counter.map_err(|source| differs(origin)(Difference::Control { index, source }))?;
            let unlisted = |found| differs(origin)(Difference::Unlisted { index, counter, found });
            let here = match self.kv.get(Space::Tree, &Key::Control(LogId::LEDGER, counter).bytes())? {
                Some(row) => {
                    let entry = read_u64("control", &row)?;
                    Some(Log::open(self.kv, LogId::LEDGER)?.control(entry)?.2.payload)
                }
                None => next.and_then(|next| next.controls.get(&counter).cloned()),
            };
            match here {
                Some(envelope) if envelope == listing.envelope => {}
                Some(_) => return Err(unlisted("another one stands there")),
                None => return Ok(Some(unlisted("there is none"))),
            }
        }
        Ok(None)
    }

    /// Writes a checked piece of `_ledger` with the first entries of the logs that it lists, and with the act that it lists; false
    /// where the source does not show one of these logs.
    fn write_own(&mut self, own: Redone, act: Option<Redone>, progress: &mut Progress) -> Result<bool, ReplicaError> {
        let Some((births, rows)) = self.births(&own.listings.births)? else { return Ok(false) };
        let born = births.iter().map(|birth| birth.checked.head.log);
        let (born, count) = (born.collect::<Vec<_>>(), births.len() as u64);
        let copied = own.entries() + act.as_ref().map_or(0, Redone::entries) + count;
        let logs = [own].into_iter().chain(act).map(Writing::of).chain(births);
        self.write(logs.collect(), rows)?;
        progress.copied += copied;
        progress.born.extend(born);
        Ok(true)
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
        let governance = Log::open(self.kv, listed.log)?.governance()?;
        let tenant = listed.tenant.as_ref().map(|tenant| tenant.name.clone());
        self.kept.insert(listed.log, Kept { head, first, governance, tenant });
        Ok(true)
    }

    /// The first entries of the logs that a piece of `_ledger` lists, to be written with it; none where the source does not have
    /// one of them.
    fn births(&self, openings: &[Opening]) -> Result<Option<(Vec<Writing>, Batch)>, ReplicaError> {
        let (mut logs, mut rows) = (Vec::new(), Batch::default());
        if openings.is_empty() {
            return Ok(Some((logs, rows)));
        }
        // Asked again: it may have been born after the listing that we hold.
        let listing = self.source.listing()?;
        for opening in openings {
            let tenant =
                |listed: &&ListedLog| listed.tenant.as_ref().is_some_and(|t| t.name.as_str() == opening.tenant);
            let Some(listed) = listing.logs.iter().find(tenant) else { return Ok(None) };
            if self.kv.get(Space::Meta, &Key::Log(listed.log).bytes())?.is_some() {
                continue;
            }
            let (checked, first) = self.first_entry(listed, &listing, |first, leaf| opened(opening, first, leaf))?;
            logs.push(Writing::birth(checked, first, listed.tenant.as_ref().map(|tenant| tenant.name.clone())));
            self.birth_rows(listed, &mut rows)?;
        }
        Ok(Some((logs, rows)))
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
        let Some(tenant) = &listed.tenant else { return Ok(false) };
        // An act on it is listed next: then its own listing is behind us already.
        let origin = Origin::of(&listing.name, tenant.name.as_str()).map_err(BirthError::Origin)?;
        let acted_on = self.stops.as_ref().is_some_and(|stops| stops.iter().any(|stop| stop == origin.as_str()));
        if !covered && !acted_on {
            return Ok(false);
        }
        let check = |first: &First, leaf: &Hash| self.vouched(listed.log, first, leaf);
        let (checked, first) = self.first_entry(listed, listing, check)?;
        let mut rows = Batch::default();
        self.birth_rows(listed, &mut rows)?;
        let tenant = listed.tenant.as_ref().map(|tenant| tenant.name.clone());
        self.write(vec![Writing::birth(checked, first, tenant)], rows)?;
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

    fn write(&mut self, logs: Vec<Writing>, rows: Batch) -> Result<(), ReplicaError> {
        let mut checked = Vec::with_capacity(logs.len());
        let mut others = Vec::with_capacity(logs.len());
        for log in logs {
            checked.push(log.checked);
            others.push((log.governance, log.born));
        }
        let written = write(self.kv, checked, rows);
        // What is on disk after a failed write is unknown: everything is read again before we go on.
        let heads = written.inspect_err(|_| self.kept.clear())?;
        for (head, (governance, born)) in heads.into_iter().zip(others) {
            match born {
                Some((first, tenant)) => {
                    self.kept.insert(head.log, Kept { head, first, governance, tenant });
                }
                None => {
                    if let Some(kept) = self.kept.get_mut(&head.log) {
                        (kept.head, kept.governance) = (head, governance);
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
        let signed = self.kept[&listed.log].governance.log_keys().open_stored(note);
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

/// Checked rows of a log and what holds behind them; with its first entry and its tenant where it is born.
struct Writing {
    checked: Checked,
    governance: Governance,
    born: Option<(First, Option<Tenant>)>,
}

impl Writing {
    fn of(redone: Redone) -> Self {
        Self { checked: redone.checked, governance: redone.governance, born: None }
    }

    fn birth(checked: Checked, first: First, tenant: Option<Tenant>) -> Self {
        // Behind the first entry the chain of control entries stands at its leaf hash.
        let governance = Governance::new(&first, checked.head.control_prev);
        Self { checked, governance, born: Some((first, tenant)) }
    }
}

/// What a listing opens to: the birth of a log, or an error where it is an act's; none where it opens to nothing.
fn opening_of(row: &CopiedRow) -> Option<Result<Opening, serde_json::Error>> {
    row.opening.as_ref().map(|(_, opening)| serde_json::from_slice(opening))
}

/// The log that a listing is of, where it says so.
fn listed_origin(row: &CopiedRow) -> Option<String> {
    #[derive(serde::Deserialize)]
    struct Listed {
        origin: String,
    }
    let (_, opening) = row.opening.as_ref()?;
    serde_json::from_slice(opening).ok().map(|Listed { origin }| origin)
}

impl Chunk {
    /// The chunk in pieces that end under a checkpoint, each a chunk of its own: every round with a row that `alone` names by
    /// itself, what lies between together. A chunk whose checkpoints do not fit its rows stays whole, to be refused as it is.
    fn pieces(self, alone: impl Fn(&CopiedRow) -> bool) -> VecDeque<Chunk> {
        let ends = self.checkpoints.iter().map(|(size, _)| *size);
        let fits = ends.clone().is_sorted_by(|one, next| one < next)
            && ends.clone().next().is_some_and(|first| first > self.from)
            && ends.clone().next_back() == Some(self.from + self.rows.len() as u64);
        let apart: Vec<bool> = self.rows.iter().map(alone).collect();
        if !fits || !apart.contains(&true) {
            return VecDeque::from([self]);
        }
        let Self { log, from, rows, checkpoints, position, available } = self;
        let (mut rows, mut apart, mut at) = (rows.into_iter(), apart.into_iter(), from);
        let (mut pieces, mut open): (VecDeque<Chunk>, _) = (VecDeque::new(), false);
        for (end, note) in checkpoints {
            let count = usize::try_from(end - at).unwrap_or(usize::MAX);
            let alone = apart.by_ref().take(count).filter(|one| *one).count() > 0;
            if alone || !open {
                let (rows, checkpoints) = (Vec::new(), Vec::new());
                pieces.push_back(Chunk { log, from: at, rows, checkpoints, position: None, available });
            }
            if let Some(piece) = pieces.back_mut() {
                piece.rows.extend(rows.by_ref().take(count));
                piece.checkpoints.push((end, note));
            }
            (open, at) = (!alone, end);
        }
        if let Some(last) = pieces.back_mut() {
            last.position = position;
        }
        pieces
    }
}

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
