//! Plans that were read: each once, however often and by how many kinds of workers a change is looked at while it is under way.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use workers::catalogue::Catalogue;
use workers::preflight::{Planned, PlannedError};

/// Plans that are remembered: those of the changes that all kinds of workers have in hand, and of some more.
const PLANS: usize = 256;
/// A longer one is read each time, so that what is remembered stays small.
const LONGEST: usize = 64 * 1024;

/// Plans by their events as stored: the same bytes over the same catalogue are the same plan, whoever's change it is.
#[derive(Debug, Default)]
pub struct Plans(Mutex<HashMap<Bytes, Result<Arc<Planned>, PlannedError>>>);

impl Plans {
    /// As [`Planned::read`] over the one catalogue that these plans are read with.
    pub fn read(&self, payload: &Bytes, catalogue: &Catalogue) -> Result<Arc<Planned>, PlannedError> {
        if let Some(known) = self.lock().get(payload) {
            return known.clone();
        }
        let read = Planned::read(payload, catalogue).map(Arc::new);
        if payload.len() <= LONGEST {
            let mut plans = self.lock();
            if plans.len() >= PLANS {
                plans.clear();
            }
            plans.insert(payload.clone(), read.clone());
        }
        read
    }

    /// A lock whose holder panicked still guards plain values.
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Bytes, Result<Arc<Planned>, PlannedError>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
