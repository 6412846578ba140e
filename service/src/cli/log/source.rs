//! Where `upm log` reads from: a server, or the store itself.

use std::sync::Arc;

use ledger::birth::LEDGER_LOG;
use ledger::checkpoint::{self, Checkpoint};
use ledger::dedupe::DedupeKey;
use ledger::layout::LogId;
use ledger::read::{Log, ReadError};
use ledger::tiles::{Fetch, ResourcePath};
use ledger_rocks::Rocks;
use projector_sqlite::{Reader, Views};
use schemas::ids::{EventId, Tenant};
use serde_json::Value;

use crate::cli::client::http::{Client, segment};
use crate::cli::client::tiles::{HttpLog, HttpLogError};
use crate::cli::{CliError, Globals};
use crate::data_dir::DataDir;
use crate::home::Home;
use crate::proofs::{self, Consistency, Inclusion, LookupError};

/// What a server gives at most at once.
const PAGE: usize = 500;

/// One log.
pub enum Source {
    /// Published by a server.
    Server {
        /// Its published files.
        log: HttpLog,
        /// Its proofs.
        client: Client,
        /// Path of its proofs.
        proofs: String,
        /// Path of what is published.
        published: String,
    },
    /// In a data directory, which is ours while this lives.
    Store {
        /// The log.
        log: Log<Arc<Rocks>>,
        /// Its views, where there are any.
        views: Option<Reader>,
        /// Its tenant's key for recognising bytes, where it is at hand.
        dedupe: Option<DedupeKey>,
        /// Holds the directory.
        _home: Box<Home>,
    },
}

/// Why a resource could not be fetched.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// From the server.
    #[error(transparent)]
    Http(#[from] HttpLogError),
    /// From the store.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Source {
    /// The log that the options name: of the server that was named, else of the one that runs on the data directory, else in the
    /// data directory itself, else of the usual server. An event says its tenant where no option does.
    pub fn open(globals: &Globals, ledger: bool, event: Option<&[u8]>) -> Result<Source, CliError> {
        if ledger && globals.tenant().is_some() {
            return Err(CliError::could_not(
                "--ledger names the ledger's own log, --tenant a tenant's: give one of them",
            ));
        }
        let tenant = match (ledger, globals.tenant(), event.and_then(tenant_of)) {
            (true, ..) => None,
            (false, None, Some(said)) => Some(said),
            _ => Some(globals.tenant_or_default()?),
        };
        let offline =
            globals.server.is_none() && globals.serve_file().is_none() && globals.data.join("ledger").is_dir();
        if offline { Self::stored(globals, tenant.as_ref()) } else { Ok(Self::served(globals, tenant.as_ref())) }
    }

    fn served(globals: &Globals, tenant: Option<&Tenant>) -> Source {
        let name = tenant.map_or(LEDGER_LOG, Tenant::as_str);
        let published = format!("/logs/{}", segment(name));
        Source::Server {
            log: HttpLog::new(&format!("{}{published}", globals.server_url())),
            client: Client::new(globals),
            proofs: format!("/v1/tenants/{}/proofs", segment(name)),
            published,
        }
    }

    fn stored(globals: &Globals, tenant: Option<&Tenant>) -> Result<Source, CliError> {
        let cannot = |error: &dyn std::error::Error| CliError::because("can't read the ledger", error);
        let dir = DataDir::existing(&globals.data).map_err(|error| cannot(&error))?;
        let lock = dir.lock().map_err(|error| cannot(&error))?;
        let home = Home::open(dir, lock).map_err(|error| cannot(&error))?;
        let (id, views, dedupe) = match tenant {
            None => (LogId::LEDGER, None, None),
            Some(tenant) => {
                let known = ledger::birth::log_of(&*home.kv, tenant).map_err(|error| cannot(&error))?;
                let id = known.ok_or_else(|| CliError::no(format!("there is no tenant {tenant} in this ledger")))?;
                // Views that can't be opened are as good as none: the log itself is asked then.
                (id, Views::open_read_only(&home.dir.view(tenant)).ok(), home.keys.dedupe(tenant.as_str()).ok())
            }
        };
        let log = home.read_shown(id).map_err(|error| cannot(&error))?;
        Ok(Source::Store { log, views, dedupe, _home: Box::new(home) })
    }

    /// The newest checkpoint or that of a size, as note and as what it says; nobody's signature is checked.
    pub fn checkpoint(&self, size: Option<u64>) -> Result<(String, Checkpoint), CliError> {
        let note = match (self, size) {
            (Source::Server { log, .. }, None) => log.checkpoint()?,
            (Source::Server { log, .. }, Some(size)) => log.checkpoint_at(size)?,
            (Source::Store { log, .. }, None) => Some(log.newest_checkpoint_with_cosignatures().map_err(failed)?),
            (Source::Store { log, .. }, Some(size)) => log.checkpoint_with_cosignatures(size).map_err(failed)?,
        };
        let note = note.ok_or_else(|| match size {
            Some(size) => CliError::no(format!("no checkpoint of {size} entries was signed"))
                .with_detail("`upm log checkpoint --list` shows the sizes that have one"),
            None => CliError::no("there is no such log here"),
        })?;
        let head =
            checkpoint::peek(&note).map_err(|error| CliError::because("the checkpoint can't be read", &error))?;
        Ok((note, head))
    }

    /// All sizes that have a checkpoint.
    pub fn sizes(&self) -> Result<Vec<u64>, CliError> {
        match self {
            Source::Store { log, .. } => log.signed_sizes(0, usize::MAX).map_err(failed),
            Source::Server { client, published, .. } => {
                let mut sizes = Vec::new();
                let mut from = Some(0);
                while let Some(first) = from {
                    let page = client.get(&format!("{published}/checkpoints?limit=10000&from={first}"))?;
                    sizes.extend(page["sizes"].as_array().into_iter().flatten().filter_map(Value::as_u64));
                    from = page["next"].as_u64().filter(|next| *next > first);
                }
                Ok(sizes)
            }
        }
    }

    /// The proof that an entry is in the log.
    pub fn inclusion(&self, index: u64, size: Option<u64>) -> Result<Inclusion, CliError> {
        match self {
            Source::Store { log, .. } => proofs::inclusion(log, index, size).map_err(failed),
            Source::Server { client, proofs, .. } => {
                let size = size.map_or_else(String::new, |size| format!("&size={size}"));
                read(client.get(&format!("{proofs}/inclusion?index={index}{size}"))?)
            }
        }
    }

    /// The proofs of all entries with an event id.
    pub fn by_event_id(&self, id: &EventId, size: Option<u64>) -> Result<Vec<Inclusion>, CliError> {
        match self {
            Source::Store { log, views, .. } => {
                let found = proofs::by_event_id(log, views.as_ref(), id, 0, usize::MAX).map_err(lookup_failed)?;
                prove(log, &found, size)
            }
            Source::Server { client, proofs, .. } => {
                let size = size.map_or_else(String::new, |size| format!("&size={size}"));
                let mut found = Vec::new();
                let mut from = Some(0);
                while let Some(first) = from {
                    let id = segment(id.as_str());
                    let page = client.get(&format!("{proofs}/inclusion?event={id}&limit={PAGE}&from={first}{size}"))?;
                    from = page["next"].as_u64().filter(|next| *next > first);
                    found.extend(read::<Proofs>(page)?.proofs);
                }
                Ok(found)
            }
        }
    }

    /// The proofs of the entries that hold this very event.
    pub fn of_event(&self, event: &[u8], size: Option<u64>) -> Result<Vec<Inclusion>, CliError> {
        let mut found = Vec::new();
        let mut from = Some(0);
        while let Some(first) = from {
            let (proofs, next) = self.of_event_from(event, size, first)?;
            found.extend(proofs);
            from = next.filter(|next| *next > first);
        }
        Ok(found)
    }

    fn of_event_from(
        &self,
        event: &[u8],
        size: Option<u64>,
        from: u64,
    ) -> Result<(Vec<Inclusion>, Option<u64>), CliError> {
        match self {
            Source::Store { log, views, dedupe, .. } => {
                let found = proofs::of_event(log, views.as_ref(), dedupe.as_ref(), event, from, PAGE);
                let found = found.map_err(lookup_failed)?.map_err(|rejection| {
                    CliError::no(format!("no log has this as an event: {}", rejection.reason.as_str()))
                        .with_detail("`upm check` says what is wrong with it")
                })?;
                let within = found.entries.iter().filter(|(index, _)| size.is_none_or(|size| *index < size));
                let proofs: Result<_, _> = within.map(|entry| proofs::held(log, *entry, size)).collect();
                Ok((proofs.map_err(failed)?, found.next))
            }
            Source::Server { client, proofs, .. } => {
                let size = size.map_or_else(String::new, |size| format!("&size={size}"));
                let from = if from == 0 { String::new() } else { format!("&from={from}") };
                let path = format!("{proofs}/inclusion?limit={PAGE}{from}{size}");
                let answer = client.post(&path, "application/json", event, &[])?;
                let next = answer["next"].as_u64();
                Ok((read::<Proofs>(answer)?.proofs, next))
            }
        }
    }

    /// The proof that the log only grew.
    pub fn consistency(&self, from: u64, to: Option<u64>) -> Result<Consistency, CliError> {
        match self {
            Source::Store { log, .. } => proofs::consistency(log, from, to).map_err(failed),
            Source::Server { client, proofs, .. } => {
                let to = to.map_or_else(String::new, |to| format!("&to={to}"));
                read(client.get(&format!("{proofs}/consistency?from={from}{to}"))?)
            }
        }
    }
}

impl Fetch for Source {
    type Error = SourceError;

    fn fetch(&self, path: &ResourcePath) -> Result<Option<Vec<u8>>, SourceError> {
        match self {
            Source::Server { log, .. } => Ok(log.fetch(path)?),
            Source::Store { log, .. } => Ok(log.fetch(path)?),
        }
    }
}

/// The tenant that an event names; none where it is no event, which is told later.
fn tenant_of(event: &[u8]) -> Option<Tenant> {
    let admitted = schemas::admit::admit_unaddressed(event, &mut schemas::admit::Scratch::default());
    admitted.ok().map(|(subject, _)| subject.tenant)
}

#[derive(serde::Deserialize)]
struct Proofs {
    proofs: Vec<Inclusion>,
}

fn read<T: serde::de::DeserializeOwned>(answer: Value) -> Result<T, CliError> {
    serde_json::from_value(answer).map_err(|error| CliError::because("the server's answer can't be read", &error))
}

fn prove(log: &Log<Arc<Rocks>>, found: &[u64], size: Option<u64>) -> Result<Vec<Inclusion>, CliError> {
    let within = found.iter().filter(|index| size.is_none_or(|size| **index < size));
    within.map(|index| proofs::inclusion(log, *index, size).map_err(failed)).collect()
}

fn failed(error: ReadError) -> CliError {
    match error {
        ReadError::BeyondSize { .. } | ReadError::NotSigned { .. } => CliError::no(error.to_string()),
        other => CliError::because("can't read the log", &other),
    }
}

fn lookup_failed(error: LookupError) -> CliError {
    match error {
        LookupError::Read(error) => failed(error),
        LookupError::Views(error) => CliError::because("can't read the views", &error),
    }
}
