//! What holds in a log, read back from its control entries.

use std::collections::BTreeMap;

use schemas::ids::ChangeId;

use super::{Log, ReadError, number_of};
use crate::birth::{self, BirthError};
use crate::entry::{ControlHeader, Header, Salt};
use crate::governance::{Act, Governance, Roots};
use crate::hash::leaf;
use crate::kv::{Kv, Space};
use crate::layout::{Key, Stored, read_u64};

/// A tenant's facts by name.
type Facts = BTreeMap<String, String>;

impl<K: Kv> Log<K> {
    /// Indices of the control entries, by counter from 1, without a gap.
    pub fn control_indices(&self) -> Result<Vec<u64>, ReadError> {
        self.control_indices_up_to(self.shared_head()?.control_counter)
    }

    /// What holds in the log after its newest entry: every control entry is decided about again.
    pub fn governance(&self) -> Result<Governance, ReadError> {
        self.governance_at(self.shared_head()?.size)
    }

    /// What held after the first `size` entries.
    pub fn governance_at(&self, size: u64) -> Result<Governance, ReadError> {
        let mut governance = Governance::new(&self.first()?, self.leaf_at(0)?);
        for index in self.control_indices()?.into_iter().take_while(|index| *index < size) {
            let (_, _, stored) = self.control(index)?;
            let decided = governance.decide(&stored.payload, index, Roots::Compared);
            let source = |source| ReadError::Control { log: self.id(), index, source };
            governance.apply(&decided.map_err(source)?.act, index, self.leaf_at(index)?);
        }
        Ok(governance)
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

    fn control_indices_up_to(&self, counter: u64) -> Result<Vec<u64>, ReadError> {
        let rows = self.rows(&Key::Control(self.id(), 1), &Key::Control(self.id(), u64::MAX), usize::MAX)?;
        let mut indices = Vec::with_capacity(rows.len());
        for ((key, row), expected) in rows.into_iter().zip(1..=counter) {
            if number_of(Space::Tree, &key)? != expected {
                return Err(self.missing("row of control entry", expected));
            }
            indices.push(read_u64("control", &row)?);
        }
        let found = indices.len() as u64;
        if found < counter { Err(self.missing("row of control entry", found + 1)) } else { Ok(indices) }
    }

    fn leaf_at(&self, index: u64) -> Result<crate::hash::Hash, ReadError> {
        Ok(leaf(&self.entry(index)?.ok_or(self.missing("entry", index))?))
    }
}
