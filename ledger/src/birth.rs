//! Births: of a ledger with its own log `_ledger`, and of a tenant's log, which `_ledger` lists in the same write.
//!
//! Each birth is one batch, so that a crash in the middle leaves either nothing or all of it; asked again with the same keys it
//! answers as if done before, with others it refuses. Log numbers come from a counter that only grows.
//!
//! **How `_ledger` lists a tenant.** A control entry with op `tenant`, its envelope signed by the admin key, whose body is
//! `{"commit": hex SHA-256(salt ‖ opening)}`, where `opening` is the RFC 8785 bytes of `{"first", "log_key", "origin", "tenant"}`:
//! the leaf hash of the log's entry 0 in hex, its key as in that entry, its origin, its tenant. Salt and opening lie beside the
//! tree, deletable. Nothing of the opening stands in the clear, not even the leaf hash: whoever knew the key could rebuild
//! entry 0 for a guessed name. So outsiders can count tenants, and whoever is shown an opening can check that its log is the
//! one that was listed.
//!
//! Left out: key files and randomness (inputs); the stream of a log: it is made after the log.

use std::sync::{Mutex, PoisonError};

use schemas::ids::Tenant;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::append::{Beside, Cursor, Growth, Head, LoadError, load_head};
use crate::checkpoint::{Origin, OriginError};
use crate::control::{self, ControlOp};
use crate::dedupe::{DedupeKey, Fingerprint};
use crate::entry::{ControlHeader, EntryError, First, Header, Salt, commitment};
use crate::hash::{Hash, empty_root};
use crate::kv::{Kv, KvError, Space};
use crate::layout::{FORMAT_VERSION, Key, LayoutError, LogId, LogRow, read_u32};
use crate::read::{Log, ReadError};
use crate::signing::{PublicKey, Signer};
use crate::tree::Edge;

/// Name of the ledger's own log.
pub const LEDGER_LOG: &str = "_ledger";

/// What a ledger is born with.
#[derive(Debug)]
pub struct LedgerBirth<'a> {
    /// The ledger's name.
    pub name: &'a str,
    /// Key of the `_ledger` log, named by its origin.
    pub signer: &'a Signer,
    /// Keys that sign control messages, 1 to 8.
    pub admin_keys: &'a [PublicKey],
    /// Key that replaces the others.
    pub recovery_key: PublicKey,
    /// Name of the rules in force.
    pub rules: Hash,
    /// The signer's clock, milliseconds since 1970.
    pub at_ms: u64,
}

/// What a tenant's log is born with. Admin and recovery keys are the ledger's.
#[derive(Debug)]
pub struct LogBirth<'a> {
    /// Whose log.
    pub tenant: &'a Tenant,
    /// Key of the log, named by its origin.
    pub signer: &'a Signer,
    /// Key of its fingerprints.
    pub dedupe: &'a DedupeKey,
    /// Key of the `_ledger` log.
    pub ledger_signer: &'a Signer,
    /// One of the ledger's admin keys: it signs that the tenant was added.
    pub admin: &'a Signer,
    /// Name of the rules in force.
    pub rules: Hash,
    /// When the tenant's stream was created, milliseconds since 1970, where there is one already.
    pub stream_created_ms: Option<u64>,
    /// Salt of the listing's opening: 16 random bytes.
    pub opening_salt: Salt,
    /// Salt of the control envelope: 16 other random bytes.
    pub envelope_salt: Salt,
    /// The signer's clock, milliseconds since 1970.
    pub at_ms: u64,
}

/// What a tenant's commitment in `_ledger` opens to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Opening {
    /// Leaf hash of the log's entry 0, hex.
    pub first: String,
    /// The log's key as in its entry 0.
    pub log_key: String,
    /// The log's origin.
    pub origin: String,
    /// The tenant.
    pub tenant: String,
}

/// Why a ledger or a log is not born, or not the one that was asked for.
#[derive(Debug, Error)]
pub enum BirthError {
    /// The store could not be read or written.
    #[error(transparent)]
    Kv(#[from] KvError),
    /// A row is damaged.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A first entry could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The head to append to is not sound.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// The name makes no origin.
    #[error(transparent)]
    Origin(#[from] OriginError),
    /// An entry could not be made.
    #[error(transparent)]
    Entry(#[from] EntryError),
    /// The control envelope could not be made.
    #[error("the tenant's listing could not be written as JSON")]
    Json(#[from] serde_json::Error),
    /// Another version wrote this store.
    #[error(
        "the store has format {found}, this version knows {FORMAT_VERSION} only: use the version that wrote it, or start another ledger"
    )]
    OtherFormat {
        /// Format of the store.
        found: u32,
    },
    /// There is no ledger in the store.
    #[error("there is no ledger in this store")]
    NoLedger,
    /// There is no log of this tenant.
    #[error("there is no log of tenant {0}")]
    NoTenant(Tenant),
    /// What the store holds belongs to something else.
    #[error("{log} has another {what}; the files in keys/ do not belong to this store")]
    Other {
        /// Which log.
        log: Origin,
        /// What differs.
        what: &'static str,
    },
    /// The admin key is none that the ledger named.
    #[error("the admin key is none of those that {log} names")]
    NotAdmin {
        /// The ledger's own log.
        log: Origin,
    },
    /// Every log number was given out.
    #[error("no log numbers are left")]
    NoNumbers,
}

// One birth at a time: two would read the same `_ledger` head and log number. A store is open in one process only.
pub(crate) static BIRTH: Mutex<()> = Mutex::new(());

/// Makes the ledger: its `_ledger` log, name and format. Asked again with the same name and keys, gives the head there is.
pub fn found_ledger<K: Kv>(kv: &K, birth: &LedgerBirth<'_>) -> Result<Head, BirthError> {
    let _one = BIRTH.lock().unwrap_or_else(PoisonError::into_inner);
    let origin = Origin::of(birth.name, LEDGER_LOG)?;
    if ledger_name(kv)?.is_some() {
        return check_ledger(kv, birth.name, birth.signer);
    }
    refuse_other_name(birth.signer, &origin)?;
    let first = First {
        at: birth.at_ms,
        origin,
        log_key: birth.signer.public_key(),
        admin_keys: birth.admin_keys.to_vec(),
        recovery_key: birth.recovery_key,
        rules: birth.rules,
        stream_created_ms: None,
    };
    let (mut growth, _) = first_growth(LogId::LEDGER, first)?;
    let (mut batch, _) = growth.sign(&[birth.signer]);
    batch.put(Space::Meta, &Key::Format.bytes(), &[&FORMAT_VERSION.to_be_bytes()]);
    batch.put(Space::Meta, &Key::LedgerName.bytes(), &[birth.name.as_bytes()]);
    batch.put(Space::Meta, &Key::NextLog.bytes(), &[&1_u32.to_be_bytes()]);
    batch.put(Space::Meta, &Key::Log(LogId::LEDGER).bytes(), &[&LogRow::Ledger.encode(LogId::LEDGER)]);
    batch.sort();
    kv.write(batch)?;
    Ok(growth.head)
}

/// Makes a tenant's log and lists it in `_ledger`. Asked again with the same keys, gives the head there is.
pub fn found_log<K: Kv>(kv: &K, birth: &LogBirth<'_>) -> Result<Head, BirthError> {
    let _one = BIRTH.lock().unwrap_or_else(PoisonError::into_inner);
    let name = ledger_name(kv)?.ok_or(BirthError::NoLedger)?;
    if log_of(kv, birth.tenant)?.is_some() {
        return check_log(kv, birth.tenant, birth.signer, birth.dedupe);
    }
    let origin = Origin::of(&name, birth.tenant.as_str())?;
    refuse_other_name(birth.signer, &origin)?;
    let ledger = check_ledger(kv, &name, birth.ledger_signer)?;
    let governance = Log::open(kv, LogId::LEDGER)?.governance()?;
    if !governance.admin_keys().contains(&birth.admin.public_key()) {
        return Err(BirthError::NotAdmin { log: ledger.origin });
    }
    let (log, next) = next_number(kv)?;
    let first = First {
        at: birth.at_ms,
        origin,
        log_key: birth.signer.public_key(),
        admin_keys: governance.admin_keys().to_vec(),
        recovery_key: *governance.recovery_key(),
        rules: birth.rules,
        stream_created_ms: birth.stream_created_ms,
    };
    let (mut growth, leaf) = first_growth(log, first)?;
    let (mut batch, _) = growth.sign(&[birth.signer]);
    let mut listing = list(birth, &ledger, &growth.head.origin, &leaf)?;
    batch.append(listing.sign(&[birth.ledger_signer]).0);
    let row = LogRow::Tenant { tenant: birth.tenant.clone(), dedupe_check: birth.dedupe.check_value() };
    batch.put(Space::Meta, &Key::NextLog.bytes(), &[&next.to_be_bytes()]);
    batch.put(Space::Meta, &Key::Log(log).bytes(), &[&row.encode(log)]);
    batch.put(Space::Meta, &Key::Tenant(birth.tenant.clone()).bytes(), &[&log.0.to_be_bytes()]);
    batch.sort();
    kv.write(batch)?;
    Ok(growth.head)
}

/// The ledger's name; none in a store without a ledger. Refuses a store that another version wrote.
pub fn ledger_name<K: Kv>(kv: &K) -> Result<Option<String>, BirthError> {
    let Some(format) = kv.get(Space::Meta, &Key::Format.bytes())? else { return Ok(None) };
    let found = read_u32("format", &format)?;
    if found != FORMAT_VERSION {
        return Err(BirthError::OtherFormat { found });
    }
    let name = kv.get(Space::Meta, &Key::LedgerName.bytes())?.unwrap_or_default();
    let found = name.len();
    let damaged = LayoutError { what: "ledger name", expected: "UTF-8", found };
    Ok(Some(String::from_utf8(name).map_err(|_| damaged)?))
}

/// Tenants with their logs, in the order of their births. `_ledger` is not among them.
pub fn list_tenants<K: Kv>(kv: &K) -> Result<Vec<(Tenant, LogId, Origin)>, BirthError> {
    let name = ledger_name(kv)?.ok_or(BirthError::NoLedger)?;
    let (from, to) = (Key::Log(LogId(0)).bytes(), Key::Log(LogId(u32::MAX)).bytes());
    let mut tenants = Vec::new();
    for (key, row) in kv.range(Space::Meta, &from, &to, usize::MAX)? {
        let Key::Log(log) = Key::decode(Space::Meta, &key)? else { continue };
        if let LogRow::Tenant { tenant, .. } = LogRow::decode(log, &row)? {
            let origin = Origin::of(&name, tenant.as_str())?;
            tenants.push((tenant, log, origin));
        }
    }
    Ok(tenants)
}

/// The tenant's log number; none where it has no log.
pub fn log_of<K: Kv>(kv: &K, tenant: &Tenant) -> Result<Option<LogId>, BirthError> {
    let row = kv.get(Space::Meta, &Key::Tenant(tenant.clone()).bytes())?;
    Ok(row.map(|row| read_u32("tenant", &row)).transpose()?.map(LogId))
}

/// The checked head of `_ledger`; refused where it was born with another name or key than these.
pub fn check_ledger<K: Kv>(kv: &K, name: &str, signer: &Signer) -> Result<Head, BirthError> {
    if ledger_name(kv)?.ok_or(BirthError::NoLedger)? != name {
        let log = Log::open(kv, LogId::LEDGER)?.first()?.origin;
        return Err(BirthError::Other { log, what: "ledger name" });
    }
    check_key(kv, LogId::LEDGER, signer)
}

/// The checked head of a tenant's log; refused where it was born with another key than these. Every start asks: with
/// another dedupe key every duplicate would be accepted again, with another log key nothing could be verified.
pub fn check_log<K: Kv>(kv: &K, tenant: &Tenant, signer: &Signer, dedupe: &DedupeKey) -> Result<Head, BirthError> {
    let log = log_of(kv, tenant)?.ok_or_else(|| BirthError::NoTenant(tenant.clone()))?;
    let head = check_key(kv, log, signer)?;
    let row = kv.get(Space::Meta, &Key::Log(log).bytes())?.unwrap_or_default();
    let expected = LogRow::Tenant { tenant: tenant.clone(), dedupe_check: dedupe.check_value() };
    if LogRow::decode(log, &row)? != expected {
        return Err(BirthError::Other { log: head.origin, what: "dedupe key" });
    }
    Ok(head)
}

/// What the listing at `index` of `_ledger` opens to: salt and opening bytes; none where it was deleted or never was.
pub fn opening<K: Kv>(kv: &K, index: u64) -> Result<Option<(Salt, Vec<u8>)>, BirthError> {
    let Some(mut row) = kv.get(Space::Tree, &Key::Opening(LogId::LEDGER, index).bytes())? else { return Ok(None) };
    let damaged = LayoutError { what: "opening", expected: "a salt of 16 bytes", found: row.len() };
    let salt = Salt(*row.first_chunk().ok_or(damaged)?);
    row.drain(..16);
    Ok(Some((salt, row)))
}

fn check_key<K: Kv>(kv: &K, log: LogId, signer: &Signer) -> Result<Head, BirthError> {
    let head = load_head(kv, log)?;
    refuse_other_name(signer, &head.origin)?;
    if *Log::open(kv, log)?.governance()?.log_keys().current() != signer.public_key() {
        return Err(BirthError::Other { log: head.origin, what: "log key" });
    }
    Ok(head)
}

fn refuse_other_name(signer: &Signer, origin: &Origin) -> Result<(), BirthError> {
    if signer.name() == origin { Ok(()) } else { Err(BirthError::Other { log: origin.clone(), what: "key name" }) }
}

/// The number for the next log, and the counter after it.
fn next_number<K: Kv>(kv: &K) -> Result<(LogId, u32), BirthError> {
    let row = kv.get(Space::Meta, &Key::NextLog.bytes())?.ok_or(BirthError::NoLedger)?;
    let number = read_u32("next log", &row)?;
    Ok((LogId(number), number.checked_add(1).ok_or(BirthError::NoNumbers)?))
}

/// A log with nothing but its first entry, and that entry's leaf hash.
fn first_growth(log: LogId, first: First) -> Result<(Growth, Hash), BirthError> {
    let head = Head {
        log,
        origin: first.origin.clone(),
        size: 0,
        edge: Edge::new(),
        at_ms: 0,
        epoch: 0,
        cursor: Cursor::default(),
        answered: 0,
        control_counter: 0,
        control_prev: empty_root(),
    };
    let mut growth = Growth::new(head, 1, 0);
    let leaf = growth.push(Header::First(first), None)?;
    growth.head.control_prev = leaf;
    Ok((growth, leaf))
}

/// `_ledger` with the control entry that lists the log of `origin` whose entry 0 has the hash `first`.
fn list(birth: &LogBirth<'_>, ledger: &Head, origin: &Origin, first: &Hash) -> Result<Growth, BirthError> {
    let opening = serde_json_canonicalizer::to_vec(&Opening {
        first: first.to_string(),
        log_key: birth.signer.public_key().typed_base64(),
        origin: origin.to_string(),
        tenant: birth.tenant.to_string(),
    })?;
    let body = serde_json::json!({ "commit": commitment(&birth.opening_salt, &opening).to_string() });
    let counter = ledger.control_counter + 1;
    let op = ControlOp::Tenant;
    let envelope = control::envelope(birth.admin, &ledger.origin, op, counter, &ledger.control_prev, &body);
    let mut growth = Growth::new(ledger.clone(), 1, envelope.len());
    let index = growth.head.size;
    let header = Header::Control(ControlHeader {
        at: birth.at_ms.max(ledger.at_ms),
        road: None,
        op,
        counter,
        commit: commitment(&birth.envelope_salt, &envelope),
        size: envelope.len() as u64,
    });
    let beside = Beside {
        salt: birth.envelope_salt,
        fingerprint: Fingerprint::default(),
        previous: None,
        payload: envelope.into(),
    };
    growth.head.control_prev = growth.push(header, Some(beside))?;
    growth.head.control_counter = counter;
    growth.others.put(Space::Tree, &Key::Control(LogId::LEDGER, counter).bytes(), &[&index.to_be_bytes()]);
    let key = Key::Opening(LogId::LEDGER, index).bytes();
    growth.others.put(Space::Tree, &key, &[&birth.opening_salt.0, &opening]);
    Ok(growth)
}
