//! Turns of questions in SQL: how many are answered at once, and how many wait.
//!
//! One tenant has fewer turns than there are, and a waiting room of its own, so that whatever its users ask keeps nobody else's questions waiting.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use schemas::ids::Tenant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// Questions that are answered at once, until their answer is taken: each may keep a core busy.
const TURNS: usize = 3;
/// Those of one tenant.
const TURNS_OF_TENANT: usize = 2;
/// Questions of one tenant that wait for a turn.
const WAITING_OF_TENANT: usize = 8;
/// How long a question waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);

/// Whose turn it is.
pub struct Turns {
    all: Arc<Semaphore>,
    /// Only tenants that there are ask.
    tenants: Mutex<BTreeMap<Tenant, Own>>,
}

/// One tenant's.
#[derive(Clone)]
struct Own {
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

/// A turn, which ends with the value.
pub struct Turn {
    _own: OwnedSemaphorePermit,
    _one: OwnedSemaphorePermit,
}

impl Turns {
    /// All of them free.
    pub fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(TURNS)), tenants: Mutex::default() }
    }

    /// Waits for a turn. Before anything is waited for, a place to wait in is needed.
    pub async fn take(&self, tenant: &Tenant) -> Result<Turn, Problem> {
        let Own { turns, waiting } = self.of(tenant);
        let taken = |_| Problem::unavailable("the server is stopping");
        let _place = waiting.try_acquire_owned().map_err(|_| {
            Problem::unavailable(format!("{WAITING_OF_TENANT} questions of tenant {tenant} wait already"))
        })?;
        let both = async {
            let own = turns.acquire_owned().await.map_err(taken)?;
            Ok(Turn { _own: own, _one: Arc::clone(&self.all).acquire_owned().await.map_err(taken)? })
        };
        let waited = tokio::time::timeout(PATIENCE, both).await;
        waited.unwrap_or_else(|_| {
            let s = PATIENCE.as_secs();
            Err(Problem::unavailable(format!("other questions are being answered, and no turn came free in {s} s")))
        })
    }

    fn of(&self, tenant: &Tenant) -> Own {
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        let own = tenants.entry(tenant.clone()).or_insert_with(|| Own {
            turns: Arc::new(Semaphore::new(TURNS_OF_TENANT)),
            waiting: Arc::new(Semaphore::new(WAITING_OF_TENANT)),
        });
        own.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tenant(name: &str) -> Tenant {
        Tenant::parse(name).unwrap()
    }

    #[tokio::test]
    async fn one_tenant_leaves_a_turn_to_others() {
        let turns = Arc::new(Turns::new());
        let acme = tenant("acme");
        let held = [turns.take(&acme).await.ok(), turns.take(&acme).await.ok()];
        assert!(held.iter().all(Option::is_some));
        let waiting: Vec<_> = (0..WAITING_OF_TENANT)
            .map(|_| {
                let (turns, acme) = (Arc::clone(&turns), acme.clone());
                tokio::spawn(async move { turns.take(&acme).await.is_ok() })
            })
            .collect();
        while turns.of(&acme).waiting.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        let full = turns.take(&acme).await.err().map(|problem| problem.to_json()["detail"].to_string());
        assert!(full.is_some_and(|detail| detail.contains("8 questions of tenant acme wait")));
        assert!(turns.take(&tenant("other")).await.is_ok());
        drop(held);
        for one in waiting {
            assert!(one.await.unwrap());
        }
    }
}
