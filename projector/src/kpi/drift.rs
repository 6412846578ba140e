//! Drift coverage: how many of the managed resources somebody watches, or were compared with their baseline in a window.
//!
//! The state of a resource follows its turns in the order of the log and nothing else. Counted by day: how many are managed at the end of the day, how
//! many of these are watched, and of the others on which day each was last compared. Whatever window ends with that day, and whenever it
//! began, its coverage can be read off that.

use std::collections::BTreeMap;

use super::{Day, Window};
use crate::account::{Group, Turn, TurnKind};

/// A resource as of some entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resource {
    /// A change that executed named it, and none deleted it since.
    pub managed: bool,
    /// Somebody watches it.
    pub watched: bool,
    /// When it was last compared.
    pub checked: Option<Day>,
    /// Where it belongs: to the change that managed it last.
    pub group: Group,
}

impl Resource {
    /// Whether a turn says what is so already.
    pub fn knows(&self, turn: &Turn) -> bool {
        match turn.kind {
            TurnKind::Managed => self.managed && self.group == *turn.group,
            TurnKind::Removed => *self == Self::default(),
            TurnKind::Checked => self.checked == Some(Day::of(turn.at)),
            TurnKind::Watched => self.watched,
            TurnKind::Unwatched => !self.watched,
        }
    }

    /// Takes the next turn.
    pub fn apply(&mut self, turn: &Turn) {
        match turn.kind {
            TurnKind::Managed => {
                self.managed = true;
                self.group = (*turn.group).clone();
            }
            TurnKind::Removed => *self = Self::default(),
            TurnKind::Checked => self.checked = Some(Day::of(turn.at)),
            TurnKind::Watched => self.watched = true,
            TurnKind::Unwatched => self.watched = false,
        }
    }
}

/// The managed resources of a group at the end of a day.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stock {
    /// All of them.
    pub managed: u64,
    /// Those that somebody watches.
    pub watched: u64,
    /// Of the others, how many were last compared on which day.
    pub checked: BTreeMap<Day, u64>,
}

/// Covered, of how many.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Covered {
    /// Watched, or compared in the window.
    pub covered: u64,
    /// Managed at its end.
    pub managed: u64,
}

impl Stock {
    /// Takes a resource in or out.
    pub fn count(&mut self, resource: &Resource, comes: bool) {
        if !resource.managed {
            return;
        }
        let step = |number: &mut u64| *number = if comes { *number + 1 } else { number.saturating_sub(1) };
        step(&mut self.managed);
        if resource.watched {
            step(&mut self.watched);
        } else if let Some(day) = resource.checked {
            step(self.checked.entry(day).or_default());
            self.checked.retain(|_, count| *count > 0);
        }
    }

    /// What a window that ends with this stock's day covers.
    pub fn covered(&self, window: Window) -> Covered {
        let compared: u64 = self.checked.range(window.from..).map(|(_, count)| count).sum();
        Covered { covered: self.watched + compared, managed: self.managed }
    }

    /// Compact bytes, for stores: the numbers as LEB128, days as steps from the day before.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        super::values::push(&mut bytes, self.managed);
        super::values::push(&mut bytes, self.watched);
        let mut before = 0;
        for (day, count) in &self.checked {
            super::values::push(&mut bytes, u64::from(day.0 - before));
            super::values::push(&mut bytes, *count);
            before = day.0;
        }
        bytes
    }

    /// Reads [`Self::encode`] back; `None` for other bytes.
    pub fn decode(mut bytes: &[u8]) -> Option<Self> {
        let mut next = || super::values::take(&mut bytes);
        let mut stock = Self { managed: next()?, watched: next()?, checked: BTreeMap::new() };
        let mut day = 0;
        while let Some(step) = next() {
            day += u32::try_from(step).ok()?;
            stock.checked.insert(Day(day), next()?);
        }
        Some(stock)
    }
}

impl std::ops::AddAssign for Covered {
    fn add_assign(&mut self, other: Self) {
        self.covered += other.covered;
        self.managed += other.managed;
    }
}
