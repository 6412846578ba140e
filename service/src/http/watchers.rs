//! How many may watch changes at once: each holds a connection, and has the change told anew with each of its events.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::http::StatusCode;
use schemas::ids::Tenant;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::problem::Problem;

/// Places for whoever watches: so many of the whole server, and of one tenant half of them, so that one never takes those of all.
pub struct Watchers {
    most: usize,
    all: Arc<Semaphore>,
    tenants: Mutex<BTreeMap<Tenant, Arc<Semaphore>>>,
}

/// A place that is taken, until the value is dropped.
pub struct Place {
    _all: OwnedSemaphorePermit,
    _tenant: OwnedSemaphorePermit,
}

impl Watchers {
    /// `most` places.
    pub fn new(most: usize) -> Self {
        Self { most, all: Arc::new(Semaphore::new(most)), tenants: Mutex::default() }
    }

    /// A place, or 503 with who has taken them. Nobody waits for one: whoever asks comes back.
    pub fn take(&self, tenant: &Tenant) -> Result<Place, Problem> {
        let of_tenant = self.most.div_ceil(2);
        let own = {
            let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(tenants.entry(tenant.clone()).or_insert_with(|| Arc::new(Semaphore::new(of_tenant))))
        };
        let own = own.try_acquire_owned();
        let own = own.map_err(|_| full(&format!("changes of tenant {tenant}"), of_tenant))?;
        let all = Arc::clone(&self.all).try_acquire_owned().map_err(|_| full("changes on this server", self.most))?;
        Ok(Place { _all: all, _tenant: own })
    }
}

fn full(what: &str, most: usize) -> Problem {
    let detail = format!(
        "{what} are watched by {most} already, and no more are taken (upm serve --watchers); come back, or ask for the change itself"
    );
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_watchers", "Too many watch", detail)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_tenant_never_takes_the_places_of_all() {
        let [acme, beta, gamma] = ["acme", "beta", "gamma"].map(|name| Tenant::parse(name).unwrap());
        let watchers = Watchers::new(3);
        let held = [watchers.take(&acme).unwrap(), watchers.take(&acme).unwrap()];
        let refused =
            |tenant: &Tenant| watchers.take(tenant).err().map(|problem| problem.to_json()["detail"].to_string());
        assert!(refused(&acme).is_some_and(|why| why.contains("tenant acme are watched by 2 already")));
        let other = watchers.take(&beta).unwrap();
        assert!(refused(&gamma).is_some_and(|why| why.contains("on this server are watched by 3 already")));
        drop(held);
        assert!(watchers.take(&gamma).is_ok() && watchers.take(&acme).is_ok());
        drop(other);
    }
}
