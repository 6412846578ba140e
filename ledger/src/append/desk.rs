//! `_ledger` while a round is decided: every act on a tenant's log is listed there in the same round, or refused.

use std::sync::{Arc, MutexGuard, PoisonError};

use super::extend::Extension;
use super::grow::{Beside, Growth};
use super::{Head, LoadError, load_head};
use crate::birth::BIRTH;
use crate::control::ControlError;
use crate::dedupe::Fingerprint;
use crate::entry::{ControlHeader, Cosigned, EntryError, Header, Heartbeat, Salt, commitment};
use crate::governance::{Act, Decision, Governance, Listing, Roots};
use crate::kv::{Kv, Space};
use crate::layout::{Key, LogId};
use crate::read::{Log, ReadError};

/// The ledger's own log, growing with a round. While one lives no log is born: births append to `_ledger` too.
pub struct Desk {
    growth: Growth,
    governance: Arc<Governance>,
    births: MutexGuard<'static, ()>,
}

/// Why `_ledger` can't be opened to append to.
#[derive(Debug, thiserror::Error)]
pub enum DeskError {
    /// Its head is not sound.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Its control entries can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Desk {
    /// Opens `_ledger` as it stands in the store.
    pub fn open<K: Kv>(kv: &K) -> Result<Desk, DeskError> {
        let one = BIRTH.lock().unwrap_or_else(PoisonError::into_inner);
        let head = load_head(kv, LogId::LEDGER)?;
        let governance = Arc::new(Log::open(kv, LogId::LEDGER)?.governance()?);
        Ok(Desk { growth: Growth::new(head, 1, 1_024), governance, births: one })
    }

    /// Its head, with what was listed.
    pub fn head(&self) -> &Head {
        &self.growth.head
    }

    /// Whether anything was appended.
    pub fn is_used(&self) -> bool {
        self.growth.head.size > self.growth.base_size
    }

    /// Whether a listing is the next act of `_ledger`, properly signed.
    pub(super) fn check(&self, listing: &Listing) -> Result<Decision, ControlError> {
        let decided = self.governance.decide(&listing.envelope, self.growth.head.size, Roots::Compared);
        decided.map_err(|error| ControlError::Listing(Box::new(error)))
    }

    /// Appends a listing that was checked.
    pub(super) fn list(
        &mut self,
        decision: &Decision,
        listing: Listing,
        salt: Salt,
        at_ms: u64,
    ) -> Result<(), EntryError> {
        let index = self.growth.head.size;
        let beside =
            Beside { salt, fingerprint: Fingerprint::default(), previous: None, payload: listing.envelope.into() };
        self.growth.control(Arc::make_mut(&mut self.governance), decision, None, at_ms, beside)?;
        let key = Key::Opening(LogId::LEDGER, index).bytes();
        self.growth.others.put(Space::Tree, &key, &[&listing.salt.0, &listing.opening]);
        Ok(())
    }

    /// Appends an act on `_ledger` itself: it has no road, so that such an act comes from whoever holds the store.
    pub fn act(
        &mut self,
        message: Vec<u8>,
        root_of: &dyn Fn(u64) -> Option<crate::hash::Hash>,
        salt: Salt,
        at_ms: u64,
    ) -> Result<Act, ActError> {
        let decision = self.governance.decide(&message, self.growth.head.size, Roots::Of(root_of))?;
        let beside = Beside { salt, fingerprint: Fingerprint::default(), previous: None, payload: message.into() };
        self.growth.control(Arc::make_mut(&mut self.governance), &decision, None, at_ms, beside)?;
        Ok(decision.act)
    }

    /// Appends a sign of life.
    pub fn heartbeat(&mut self, at_ms: u64, cosigned: Option<Cosigned>) -> Result<(), EntryError> {
        let at = at_ms.max(self.growth.head.at_ms);
        self.growth.push(Header::Heartbeat(Heartbeat { at, cosigned }), None)?;
        Ok(())
    }

    /// What was appended, to be sealed and committed with the round. The guard keeps births out until it is dropped: after the
    /// commit.
    pub fn finish(self) -> (Extension, DeskGuard) {
        let extension = Extension::of(self.growth, Vec::new(), self.governance);
        (extension, DeskGuard { _births: self.births })
    }
}

/// Keeps births out of `_ledger`.
pub struct DeskGuard {
    _births: MutexGuard<'static, ()>,
}

/// Why an act is not appended.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// It is not to be carried out.
    #[error(transparent)]
    Refused(#[from] ControlError),
    /// It makes no entry.
    #[error(transparent)]
    Entry(#[from] EntryError),
}

impl Growth {
    /// Appends a control entry, its row by counter, and what it makes hold.
    pub(crate) fn control(
        &mut self,
        governance: &mut Governance,
        decision: &Decision,
        road: Option<crate::entry::Road>,
        at_ms: u64,
        beside: Beside,
    ) -> Result<u64, EntryError> {
        let index = self.head.size;
        let header = Header::Control(ControlHeader {
            at: at_ms.max(self.head.at_ms),
            road,
            op: decision.act.op(),
            counter: decision.counter,
            commit: commitment(&beside.salt, &beside.payload),
            size: beside.payload.len() as u64,
        });
        let leaf = self.push(header, Some(beside))?;
        governance.apply(&decision.act, index, leaf);
        (self.head.control_counter, self.head.control_prev) = (decision.counter, leaf);
        let key = Key::Control(self.head.log, decision.counter).bytes();
        self.others.put(Space::Tree, &key, &[&index.to_be_bytes()]);
        Ok(index)
    }
}
