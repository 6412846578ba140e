//! What holds in a log, read back from its control entries.

use std::collections::BTreeMap;

use schemas::ids::ChangeId;

use super::{Log, ReadError, lock, number_of};
use crate::birth::{self, BirthError};
use crate::entry::{ControlHeader, Header, Salt};
use crate::governance::{Act, Governance, Roots};
use crate::hash::leaf;
use crate::kv::{Kv, Space};
use crate::layout::{Key, Stored, read_u64};

/// What holds after so many entries of a log, the last of which is a control entry or entry 0.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    governance: Governance,
    entries: u64,
}

/// A tenant's facts by name.
type Facts = BTreeMap<String, String>;

impl<K: Kv> Log<K> {
    /// Indices of the control entries, by counter from 1, without a gap.
    pub fn control_indices(&self) -> Result<Vec<u64>, ReadError> {
        self.control_rows(1, self.shared_head()?.control_counter)
    }

    /// What holds in the log after its newest entry: every control entry is decided about again.
    pub fn governance(&self) -> Result<Governance, ReadError> {
        self.governance_at(self.shared_head()?.size)
    }

    /// What held after the first `size` entries. Control entries that this log, or a clone of it, has decided about before are not
    /// decided about again: entries never change.
    pub fn governance_at(&self, size: u64) -> Result<Governance, ReadError> {
        let decided = lock(&self.decided).clone().filter(|decided| decided.entries <= size);
        let mut decided = match decided {
            Some(decided) => decided,
            None => Decided { governance: Governance::new(&self.first()?, self.leaf_at(0)?), entries: 1 },
        };
        let mut next = decided.governance.counter() + 1;
        let counter = self.head()?.control_counter;
        while next <= counter {
            let rows = self.control_rows(next, counter)?;
            next += rows.len() as u64;
            for index in rows {
                if index >= size {
                    return Ok(self.remember(decided));
                }
                let (_, _, stored) = self.control(index)?;
                let act = decided.governance.decide(&stored.payload, index, Roots::Compared);
                let act = act.map_err(|source| ReadError::Control { log: self.id(), index, source })?.act;
                decided.governance.apply(&act, index, self.leaf_at(index)?);
                decided.entries = index + 1;
            }
        }
        Ok(self.remember(decided))
    }

    /// Keeps what was decided, where nobody has got further meanwhile.
    fn remember(&self, decided: Decided) -> Governance {
        let mut kept = lock(&self.decided);
        if kept.as_ref().is_none_or(|kept| kept.entries < decided.entries) {
            *kept = Some(decided.clone());
        }
        decided.governance
    }

    /// The tenant's facts behind each control entry that set or took away some, below `size`, oldest first.
    pub fn facts_over_time(&self, size: u64) -> Result<Vec<(u64, Facts)>, ReadError> {
        let mut governance = Governance::new(&self.first()?, self.leaf_at(0)?);
        let mut facts = Vec::new();
        for index in self.control_indices()?.into_iter().take_while(|index| *index < size) {
            let (_, _, stored) = self.control(index)?;
            let decided = governance.decide(&stored.payload, index, Roots::Compared);
            let act = decided.map_err(|source| ReadError::Control { log: self.id(), index, source })?.act;
            governance.apply(&act, index, self.leaf_at(index)?);
            if matches!(act, Act::Facts { .. }) {
                facts.push((index, governance.facts().clone()));
            }
        }
        Ok(facts)
    }

    /// The control entry at `index`: its bytes, the same typed, and the message with its salt.
    pub fn control(&self, index: u64) -> Result<(Vec<u8>, ControlHeader, Stored), ReadError> {
        let entry = self.entry(index)?.ok_or(self.missing("entry", index))?;
        let Header::Control(header) = self.decode(index, &entry)? else {
            return Err(self.missing("control entry", index));
        };
        let stored = self.stored(index)?.ok_or(ReadError::NoPayload { log: self.id(), index })?;
        Ok((entry, header, stored))
    }

    /// Of `_ledger`: what the listing at `index` opens to, salt and opening bytes; none where it was deleted or never was.
    pub fn opening(&self, index: u64) -> Result<Option<(Salt, Vec<u8>)>, BirthError> {
        birth::opening(self.kv(), index)
    }

    /// Whether a hold keeps this change from being erased.
    pub fn is_held(&self, change: &ChangeId) -> Result<bool, ReadError> {
        Ok(self.governance()?.is_held(change))
    }

    /// Where the control entries `from` to `counter` stand; never none, where there is one to find.
    fn control_rows(&self, from: u64, counter: u64) -> Result<Vec<u64>, ReadError> {
        let rows = self.rows(&Key::Control(self.id(), from), &Key::Control(self.id(), u64::MAX), usize::MAX)?;
        let mut indices = Vec::with_capacity(rows.len());
        for ((key, row), expected) in rows.into_iter().zip(from..=counter) {
            if number_of(Space::Tree, &key)? != expected {
                return Err(self.missing("row of control entry", expected));
            }
            indices.push(read_u64("control", &row)?);
        }
        let next = from + indices.len() as u64;
        if next <= counter { Err(self.missing("row of control entry", next)) } else { Ok(indices) }
    }

    fn leaf_at(&self, index: u64) -> Result<crate::hash::Hash, ReadError> {
        Ok(leaf(&self.entry(index)?.ok_or(self.missing("entry", index))?))
    }
}
