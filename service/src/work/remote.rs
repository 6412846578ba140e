//! The ledger of a server as workers beside it see it: over HTTP (`crate::http`, `record`).

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::future::BoxFuture;
use ledger::entry::Header;
use pipeline::work::{Record, RecordError, Stored};
use projector::approval::Rules;
use projector::document::Context;
use schemas::ids::{ChangeId, Tenant};
use serde_json::Value;

use crate::cli::client::http::{Client, segment};
use crate::cli::{CliError, Globals};

/// How often a message is asked for that is not decided: five minutes of ten seconds each.
const ASKED: u32 = 30;

/// A server's ledger.
#[derive(Debug)]
pub struct Remote {
    globals: Globals,
    /// Replaced where it reaches nobody: a server that starts again may be somewhere else.
    client: Mutex<Client>,
    /// Those that are worked for; all that the server has where none are named.
    tenants: Vec<Tenant>,
}

impl Remote {
    /// That of the server that the global options lead to.
    pub fn new(globals: &Globals) -> Self {
        let (client, tenants) = (Mutex::new(Client::new(globals)), globals.tenants.clone());
        Self { globals: globals.clone(), client, tenants }
    }

    async fn get(&self, path: String) -> Result<Value, RecordError> {
        let client = lock(&self.client).clone();
        let asked = tokio::task::spawn_blocking(move || client.get(&path)).await;
        let answer = asked.map_err(|error| RecordError::Away(error.to_string()))?;
        answer.map_err(|error| {
            *lock(&self.client) = Client::new(&self.globals);
            failed(&error)
        })
    }
}

/// A lock whose holder panicked still guards plain values.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn failed(error: &CliError) -> RecordError {
    match error {
        CliError::No { line, .. } => RecordError::Unreadable(line.clone()),
        CliError::CouldNot { line, .. } => RecordError::Away(line.clone()),
    }
}

fn unlike(what: &str) -> RecordError {
    RecordError::Unreadable(format!("the server's answer has no {what} that can be read"))
}

fn of(tenant: &Tenant, rest: &str) -> String {
    format!("/v1/tenants/{}/record/{rest}", segment(tenant.as_str()))
}

fn changes(list: &Value) -> Result<Vec<ChangeId>, RecordError> {
    let list = list.as_array().ok_or_else(|| unlike("changes"))?.iter();
    list.map(|id| id.as_str().and_then(|id| ChangeId::parse(id).ok()).ok_or_else(|| unlike("change"))).collect()
}

fn stored(row: &Value) -> Option<Stored> {
    let entry = STANDARD.decode(row["entry"].as_str()?).ok()?;
    let Header::Event(header) = Header::decode(&entry).ok()? else { return None };
    let payload = match row["payload"].as_str() {
        Some(text) => Some(Bytes::from(STANDARD.decode(text).ok()?)),
        None => None,
    };
    Some(Stored::new(row["index"].as_u64()?, header, payload))
}

impl Record for Remote {
    fn change<'a>(
        &'a self,
        tenant: &'a Tenant,
        change: &'a ChangeId,
    ) -> BoxFuture<'a, Result<Vec<Stored>, RecordError>> {
        Box::pin(async move {
            let answer = self.get(of(tenant, &format!("changes/{}", segment(change.as_str())))).await?;
            if let Some(why) = answer["too_large"].as_str() {
                return Err(RecordError::TooLarge(why.to_owned()));
            }
            let rows = answer["entries"].as_array().ok_or_else(|| unlike("entries"))?.iter();
            rows.map(|row| stored(row).ok_or_else(|| unlike("entry"))).collect()
        })
    }

    fn decided<'a>(
        &'a self,
        tenant: &'a Tenant,
        road_sequence: u64,
    ) -> BoxFuture<'a, Result<Option<ChangeId>, RecordError>> {
        Box::pin(async move {
            let mut asked = 1;
            let answer = loop {
                match self.get(of(tenant, &format!("decided/{road_sequence}"))).await {
                    Err(RecordError::Away(_)) if asked < ASKED => asked += 1,
                    answer => break answer?,
                }
            };
            match answer.get("change") {
                Some(Value::String(id)) => Ok(Some(ChangeId::parse(id).map_err(|_| unlike("change"))?)),
                Some(Value::Null) => Ok(None),
                _ => Err(unlike("change")),
            }
        })
    }

    fn context<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Context, RecordError>> {
        Box::pin(async move {
            let mut answer = self.get(of(tenant, "context")).await?;
            let facts: Vec<(u64, BTreeMap<String, String>)> =
                serde_json::from_value(answer["facts"].take()).map_err(|_| unlike("facts"))?;
            let origin = answer["origin"].as_str().ok_or_else(|| unlike("origin"))?;
            let as_of_ms = answer["as_of_ms"].as_u64().ok_or_else(|| unlike("time"))?;
            Ok(Context { rules: Rules::of(origin, &facts), as_of_ms })
        })
    }

    fn open<'a>(&'a self, tenant: &'a Tenant) -> BoxFuture<'a, Result<Vec<ChangeId>, RecordError>> {
        Box::pin(async move { changes(&self.get(of(tenant, "open")).await?["changes"]) })
    }

    fn tenants(&self) -> BoxFuture<'_, Result<Vec<Tenant>, RecordError>> {
        Box::pin(async move {
            if !self.tenants.is_empty() {
                return Ok(self.tenants.clone());
            }
            let answer = self.get("/v1/tenants".to_owned()).await?;
            let rows = answer["tenants"].as_array().ok_or_else(|| unlike("tenants"))?.iter();
            let name = |row: &Value| row["tenant"].as_str().and_then(|name| Tenant::parse(name).ok());
            rows.map(|row| name(row).ok_or_else(|| unlike("tenant"))).collect()
        })
    }
}
