//! Waiting for what workers answer an order: the events of a change behind it, as the ledger stored them.

use std::thread;
use std::time::{Duration, Instant};

use schemas::ids::{ChangeId, Tenant};
use serde_json::Value;

use super::http::{Client, segment};
use super::print;
use crate::cli::{CliError, Globals};
use crate::clock;

/// How often the change is looked at.
const POLL: Duration = Duration::from_millis(200);

/// An event behind an order.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its entry.
    pub index: u64,
    /// What `provisioning_event` holds.
    pub said: Value,
    /// Who the road says sent it.
    pub producer: Option<String>,
}

impl Event {
    /// Whether it is by this producer. What anybody else says is no answer.
    pub fn is_by(&self, name: &str) -> bool {
        self.producer.as_deref() == Some(name)
    }

    /// Of an entry as the server shows it.
    pub fn of(index: u64, stored: &Value) -> Self {
        let producer = stored["header"]["producer"].as_str().map(str::to_owned);
        Self { index, said: stored["event"]["provisioning_event"].clone(), producer }
    }
}

/// Waits for the first event behind `since` of which `read` makes something.
pub fn wait<T>(
    globals: &Globals,
    tenant: &Tenant,
    change: &ChangeId,
    since: u64,
    patience: Duration,
    mut read: impl FnMut(&Event) -> Option<T>,
) -> Result<T, CliError> {
    let client = Client::new(globals);
    let began: Instant = clock::now();
    let mut seen = since;
    loop {
        for event in behind(&client, tenant, change, seen)? {
            seen = event.index;
            if let Some(made) = read(&event) {
                return Ok(made);
            }
        }
        if began.elapsed() >= patience {
            return Err(CliError::could_not(format!(
                "no worker has answered in {} s; the order stands (entry {since})",
                patience.as_secs()
            ))
            .with_detail(format!(
                "workers run in `upm serve --workers FILE` or beside it, `upm work all`; follow it: upm change watch {}",
                print::clean(change.as_str())
            )));
        }
        thread::sleep(POLL);
    }
}

/// All events of a change behind an entry, oldest first.
pub fn behind(client: &Client, tenant: &Tenant, change: &ChangeId, since: u64) -> Result<Vec<Event>, CliError> {
    let path = format!("/v1/tenants/{}", segment(tenant.as_str()));
    let mut from = since.saturating_add(1);
    let mut all = Vec::new();
    loop {
        let listed = client.get(&format!("{path}/changes/{}/events?from={from}", segment(change.as_str())))?;
        for index in listed["events"].as_array().into_iter().flatten().filter_map(|row| row["index"].as_u64()) {
            let stored = client.get(&format!("{path}/events/{index}"))?;
            all.push(Event::of(index, &stored));
        }
        match listed["next"].as_u64() {
            Some(next) => from = next,
            None => return Ok(all),
        }
    }
}
