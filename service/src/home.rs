//! A ledger at home: the store and the keys of a data directory, opened together, born where there is none, and refused
//! where they don't belong together.
//!
//! Left out: NATS and views. What is decided about births is `ledger::birth`; here it gets its files, clock and randomness.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ledger::append::LogId;
use ledger::birth::{self, BirthError, LEDGER_LOG, LedgerBirth, LogBirth};
use ledger::checkpoint::{Origin, OriginError};
use ledger::entry::Salt;
use ledger::hash::Hash;
use ledger::note::VerifierKey;
use ledger::read::{Log, ReadError};
use ledger::replica::{Copier, KvSource, ReplicaError, Source, Trust};
use ledger::signing::Signer;
use ledger_rocks::{OpenError, Rocks};
use pipeline::{FindSigner, TenantSetup};
use schemas::ids::Tenant;

use crate::clock;
use crate::data_dir::{DataDir, DataDirError, Lock};
use crate::env;
use crate::head_file::{self, HeadFile, LostError};
use crate::kept_heads::{Bounds, KeptDir, KeptError};
use crate::keys_on_disk::{self, KeyFileError, Keys};

/// An opened ledger. Other processes stay out until it is dropped.
pub struct Home {
    /// Where everything lies.
    pub dir: DataDir,
    /// Its keys.
    pub keys: Keys,
    /// Its store.
    pub kv: Arc<Rocks>,
    /// Its name.
    pub name: String,
    /// Where its signed heads are kept, if they are.
    pub kept: Option<Arc<KeptDir>>,
    /// Where it is noted how far each log was committed; for whoever signs.
    pub heads: Option<Arc<HeadFile>>,
    /// Its own log, which is asked again and again who may sign what.
    own: OnceLock<Log<Arc<Rocks>>>,
    _lock: Lock,
}

/// Why a ledger is not opened. Each message is one line for a person.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// The directory.
    #[error(transparent)]
    Dir(#[from] DataDirError),
    /// A key file.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// The store.
    #[error(transparent)]
    Store(#[from] OpenError),
    /// Store and keys don't fit, or a birth failed.
    #[error(transparent)]
    Birth(#[from] BirthError),
    /// A log that can't be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The name can't be a ledger's.
    #[error("{name:?} can't be the name of a ledger: {source}")]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        source: OriginError,
    },
    /// It has another name.
    #[error("this ledger is named {found:?}, not {asked:?}: a name is fixed at birth")]
    OtherName {
        /// Its name.
        found: String,
        /// The name that was asked for.
        asked: String,
    },
    /// There are keys of logs, but no logs.
    #[error(
        "{key} is the key of a log, but the store {store} is empty: restore the store, or move {keys} away to start another ledger"
    )]
    LostStore {
        /// The key file.
        key: PathBuf,
        /// The store.
        store: PathBuf,
        /// The directory of the keys.
        keys: PathBuf,
    },
    /// Rounds that were committed are lost.
    #[error(transparent)]
    Lost(#[from] LostError),
    /// The heads that were kept, or have to be.
    #[error(transparent)]
    Kept(#[from] KeptError),
    /// The other copy, or what was copied from it.
    #[error(transparent)]
    Copy(#[from] ReplicaError),
    /// A restore was cut off.
    #[error("a restore was cut off and left {copy}: run `upm restore` again, or remove it to start another ledger")]
    UnfinishedRestore {
        /// What it left.
        copy: PathBuf,
    },
    /// The admin key at hand is another than those that the ledger's own log names.
    #[error(
        "{path} is none of the admin keys that {log} names, so no tenant can be added: put the secret of one that it names there \
         (mode 0600), and add the tenant again; `upm keys admin list --ledger` shows them"
    )]
    OtherAdmin {
        /// The key file.
        path: PathBuf,
        /// The ledger's own log.
        log: Origin,
    },
    /// No randomness.
    #[error("the system gives no randomness: {0}")]
    NoEntropy(getrandom::Error),
}

impl Home {
    /// Opens the ledger in `dir`, which there must be.
    pub fn open(dir: DataDir, lock: Lock) -> Result<Self, HomeError> {
        let kv = Arc::new(Rocks::open(&dir.ledger())?);
        let name = birth::ledger_name(&*kv)?.ok_or(BirthError::NoLedger)?;
        let keys = Keys::at(dir.keys());
        Ok(Self { dir, keys, kv, name, kept: None, heads: None, own: OnceLock::new(), _lock: lock })
    }

    /// Opens the ledger in `dir`; where there is none, one is born, with its keys, named `name` or after this host.
    pub fn open_or_found(dir: DataDir, lock: Lock, name: Option<&str>) -> Result<Self, HomeError> {
        // Before the store is opened, which makes one.
        if dir.restoring().exists() && Rocks::is_unwritten(&dir.ledger())? {
            return Err(HomeError::UnfinishedRestore { copy: dir.restoring() });
        }
        let kv = Arc::new(Rocks::open(&dir.ledger())?);
        let keys = Keys::at(dir.keys());
        keys.sweep()?;
        let name = match birth::ledger_name(&*kv)? {
            Some(found) => same_name(found, name)?,
            None => found(&dir, &keys, &kv, name)?,
        };
        let mut home = Self { dir, keys, kv, name, kept: None, heads: None, own: OnceLock::new(), _lock: lock };
        home.refuse_lost_rounds()?;
        birth::check_ledger(&*home.kv, &home.name, &home.log_signer(LogId::LEDGER)?)?;
        Ok(home)
    }

    /// Refuses a store that has less than was committed, or something else; from now on it is noted what is. For whoever signs.
    pub fn refuse_lost_rounds(&mut self) -> Result<(), HomeError> {
        let root = self.dir.root();
        let (path, heads) = (head_file::path(root), head_file::read(root)?);
        let lost = head_file::compare(&*self.kv, &heads, &path)?;
        if let Some(lost) = lost.into_iter().next() {
            return Err(lost.into());
        }
        for log in &heads.damaged {
            tracing::warn!(path = %path.display(), log = log.0, "what was noted of a log's length is damaged: a tail that the store lost would not be noticed this time");
        }
        let file = HeadFile::open(root)?;
        file.renew(&*self.kv)?;
        self.heads = Some(Arc::new(file));
        Ok(())
    }

    /// Notes that something was committed to a log outside the pipeline.
    pub fn note(&self, log: LogId) -> Result<(), ReadError> {
        self.heads.as_ref().map_or(Ok(()), |heads| heads.note(&*self.kv, log))
    }

    /// Opens the copy in `dir`; where there is none yet, it begins with what `source` lists. No key is needed, and none is read but
    /// the tenants' dedupe keys.
    pub fn open_or_copy<S: Source>(dir: DataDir, lock: Lock, source: S, trust: Trust) -> Result<Self, HomeError> {
        let kv = Arc::new(Rocks::open(&dir.ledger())?);
        if birth::ledger_name(&*kv)?.is_none() {
            Copier::new(&*kv, source, trust, |_| None).begin()?;
        }
        let name = birth::ledger_name(&*kv)?.ok_or(BirthError::NoLedger)?;
        let keys = Keys::at(dir.keys());
        Ok(Self { dir, keys, kv, name, kept: None, heads: None, own: OnceLock::new(), _lock: lock })
    }

    /// Compares the store with the heads that were kept in `dir`, and keeps them there from now on.
    pub fn keep_heads(&mut self, dir: &Path) -> Result<(), HomeError> {
        let kept = KeptDir::take(dir, self.dir.root(), &self.name)?;
        let own = self.origin(LEDGER_LOG)?;
        let tenants = self.tenants()?;
        let logs = tenants.iter().map(|(_, log, origin)| (*log, origin)).chain([(LogId::LEDGER, &own)]);
        kept.check(&*self.kv, self.dir.root(), logs)?;
        self.kept = Some(Arc::new(kept));
        Ok(())
    }

    /// The same with the directory that the last server kept them in; nothing where none did. For whoever signs without one.
    pub fn keep_heads_as_before(&mut self) -> Result<(), HomeError> {
        match crate::kept_heads::marked(self.dir.root())? {
            Some(dir) => self.keep_heads(&dir),
            None => Ok(()),
        }
    }

    /// A log of which nothing is shown that is not kept.
    pub fn shown(&self, log: LogId, origin: &Origin) -> Result<Log<Arc<Rocks>>, HomeError> {
        Ok(self.bounded(Log::open(Arc::clone(&self.kv), log)?, origin))
    }

    fn bounded(&self, open: Log<Arc<Rocks>>, origin: &Origin) -> Log<Arc<Rocks>> {
        match &self.kept {
            Some(kept) => open.below(kept.ceiling(origin)),
            None => open,
        }
    }

    /// The same for whoever only reads: bounded by what was kept last, which stays as it is.
    pub fn read_shown(&self, log: LogId) -> Result<Log<Arc<Rocks>>, HomeError> {
        let open = Log::open(Arc::clone(&self.kv), log)?;
        Ok(match Bounds::of(self.dir.root(), &self.name)? {
            Some(bounds) => {
                let ceiling = bounds.ceiling(&open)?;
                open.below(ceiling)
            }
            None => open,
        })
    }

    /// The ledger's own log, likewise. Births append to it outside any round, so its head is kept here too.
    pub fn own_log(&self) -> Result<Log<Arc<Rocks>>, HomeError> {
        let origin = self.origin(LEDGER_LOG)?;
        if let Some(kept) = &self.kept
            && let Err(error) = kept.release(&*self.kv, LogId::LEDGER, &origin)
        {
            tracing::warn!(%error, "the newest head of the ledger's own log is not shown yet");
        }
        let open = if let Some(open) = self.own.get() {
            open.clone()
        } else {
            let open = Log::open(Arc::clone(&self.kv), LogId::LEDGER)?;
            self.own.get_or_init(|| open).clone()
        };
        Ok(self.bounded(open, &origin))
    }

    /// What another copy copies from: nothing that may not be shown.
    pub fn source(&self) -> KvSource<'_, &Rocks> {
        let ceiling = |log: LogId| {
            let kept = self.kept.as_ref()?;
            let origin = Log::open(&*self.kv, log).and_then(|log| log.head()).ok()?.origin;
            Some(kept.ceiling(&origin))
        };
        KvSource::new(&*self.kv, |tenant| self.keys.dedupe(tenant.as_str()).ok()).below(ceiling)
    }

    /// The secret of a log's newest key.
    pub fn log_signer(&self, log: LogId) -> Result<Signer, HomeError> {
        let governance = Log::open(&*self.kv, log)?.governance()?;
        Ok(self.keys.log_signer(governance.origin(), governance.log_keys().current())?)
    }

    /// Finds the secrets of log keys for the pipeline.
    pub fn find_signer(&self) -> FindSigner {
        let keys = self.keys.clone();
        Arc::new(move |origin, key| {
            let found = keys.log_signer(origin, key);
            let found = found.inspect_err(|error| tracing::warn!(%origin, %error, "the secret of a log key"));
            found.ok().filter(|signer| signer.public_key() == *key)
        })
    }

    /// Files of log keys that no log names: left by a rotation that failed or was refused.
    pub fn unused_keys(&self) -> Result<Vec<PathBuf>, HomeError> {
        let later = self.keys.later_files()?;
        if later.is_empty() {
            return Ok(Vec::new());
        }
        let mut logs: BTreeMap<String, LogId> =
            self.tenants()?.into_iter().map(|(tenant, log, _)| (tenant.to_string(), log)).collect();
        logs.insert(LEDGER_LOG.to_owned(), LogId::LEDGER);
        let mut unused = Vec::new();
        for file in later {
            let named = match logs.get(&file.log) {
                Some(log) => {
                    let governance = Log::open(&*self.kv, *log)?.governance()?;
                    governance.log_keys().verifiers().iter().any(|key| hex::encode(key.id()) == file.id)
                }
                None => false,
            };
            if !named {
                unused.push(file.path);
            }
        }
        Ok(unused)
    }

    /// The tenants that have a log, in the order of their births.
    pub fn tenants(&self) -> Result<Vec<(Tenant, LogId, Origin)>, HomeError> {
        Ok(birth::list_tenants(&*self.kv)?)
    }

    /// The key that others verify the ledger's own log with.
    pub fn verifier(&self) -> Result<VerifierKey, HomeError> {
        let origin = self.origin(LEDGER_LOG)?;
        let governance = Log::open(&*self.kv, LogId::LEDGER)?.governance()?;
        debug_assert_eq!(*governance.origin(), origin, "the ledger's own log");
        Ok(governance.log_keys().verifier())
    }

    /// The origin of a log of this ledger, a tenant's or `_ledger`.
    pub fn origin(&self, log: &str) -> Result<Origin, HomeError> {
        origin(&self.name, log)
    }

    /// A tenant's log with its keys, checked against what the log was born with.
    pub fn tenant(&self, tenant: &Tenant) -> Result<TenantSetup, HomeError> {
        let id = birth::log_of(&*self.kv, tenant)?.ok_or_else(|| BirthError::NoTenant(tenant.clone()))?;
        let signer = self.log_signer(id)?;
        let dedupe = self.keys.dedupe(tenant.as_str())?;
        let log = birth::check_log(&*self.kv, tenant, &signer, &dedupe)?.log;
        if let Some(kept) = &self.kept {
            kept.release(&*self.kv, log, signer.name())?;
        }
        Ok(TenantSetup { tenant: tenant.clone(), log, signer, dedupe })
    }

    /// The same; a tenant without a log gets one, with new keys. `stream_created_ms` is when its road was made, if it was.
    pub fn tenant_or_new(&self, tenant: &Tenant, stream_created_ms: Option<u64>) -> Result<TenantSetup, HomeError> {
        if birth::log_of(&*self.kv, tenant)?.is_none() {
            self.give_birth(tenant, stream_created_ms)?;
        }
        self.tenant(tenant)
    }

    /// The secret that lists tenants; refused where the ledger's own log names others.
    pub fn admin(&self) -> Result<Signer, HomeError> {
        let (path, log) = (self.keys.admin_path(), self.origin(LEDGER_LOG)?);
        let admin = keys_on_disk::signer(&path, &log)?;
        let governance = Log::open(&*self.kv, LogId::LEDGER)?.governance()?;
        if governance.admin_keys().contains(&admin.public_key()) {
            return Ok(admin);
        }
        Err(HomeError::OtherAdmin { path, log })
    }

    fn give_birth(&self, tenant: &Tenant, stream_created_ms: Option<u64>) -> Result<(), HomeError> {
        let ledger = self.origin(LEDGER_LOG)?;
        let admin = self.admin()?;
        // Keys first: a log whose key was lost in a crash could never be appended to.
        let signer = keys_on_disk::signer_or_new(&self.keys.log_path(tenant.as_str()), &self.origin(tenant.as_str())?)?;
        let dedupe = self.keys.dedupe_or_new(tenant.as_str())?;
        let ledger_signer = self.log_signer(LogId::LEDGER)?;
        let salt = || {
            let mut salt = Salt([0; 16]);
            clock::fill(&mut salt.0).map(|()| salt).map_err(HomeError::NoEntropy)
        };
        let born = birth::found_log(
            &*self.kv,
            &LogBirth {
                tenant,
                signer: &signer,
                dedupe: &dedupe,
                ledger_signer: &ledger_signer,
                admin: &admin,
                rules: rules(),
                stream_created_ms,
                opening_salt: salt()?,
                envelope_salt: salt()?,
                at_ms: clock::unix_ms(),
            },
        )?;
        self.note(born.log)?;
        self.note(LogId::LEDGER)?;
        // Its listing before the log itself: whoever is shown the log looks for it there.
        if let Some(kept) = &self.kept {
            kept.release(&*self.kv, LogId::LEDGER, &ledger)?;
        }
        Ok(())
    }
}

/// The name of the rules that this program admits by.
fn rules() -> Hash {
    Hash(schemas::rules::current().name)
}

fn origin(ledger: &str, log: &str) -> Result<Origin, HomeError> {
    Origin::of(ledger, log).map_err(|source| HomeError::Name { name: ledger.to_owned(), source })
}

fn same_name(found: String, asked: Option<&str>) -> Result<String, HomeError> {
    match asked {
        Some(asked) if asked != found => Err(HomeError::OtherName { found, asked: asked.to_owned() }),
        _ => Ok(found),
    }
}

/// Makes a ledger in an empty store, and gives its name.
fn found(dir: &DataDir, keys: &Keys, kv: &Rocks, name: Option<&str>) -> Result<String, HomeError> {
    // A second history under the same keys would be what every witness calls a fork.
    if let Some(key) = keys.any_tenant_key()? {
        return Err(HomeError::LostStore { key, store: dir.ledger(), keys: dir.keys() });
    }
    let name = name.map_or_else(new_name, |name| Ok(name.to_owned()))?;
    let log = origin(&name, LEDGER_LOG)?;
    // Whatever tenants come, their origins have to fit.
    origin(&name, &"x".repeat(Tenant::MAX_BYTES))?;
    let admin = keys_on_disk::signer_or_new(&keys.admin_path(), &log)?;
    let recovery = keys_on_disk::signer_or_new(&keys.recovery_path(), &log)?;
    let signer = keys_on_disk::signer_or_new(&keys.log_path(LEDGER_LOG), &log)?;
    birth::found_ledger(
        &kv,
        &LedgerBirth {
            name: &name,
            signer: &signer,
            admin_keys: &[admin.public_key()],
            recovery_key: recovery.public_key(),
            rules: rules(),
            at_ms: clock::unix_ms(),
        },
    )?;
    Ok(name)
}

/// `<hostname>-<8 hex digits>`: two ledgers that nobody named must not share one.
fn new_name() -> Result<String, HomeError> {
    let mut bytes = [0; 4];
    clock::fill(&mut bytes).map_err(HomeError::NoEntropy)?;
    Ok(format!("{}-{}", env::host_label(), hex::encode(bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(root: &Path, name: Option<&str>) -> Result<Home, HomeError> {
        let dir = DataDir::create(root)?;
        let lock = dir.lock()?;
        Home::open_or_found(dir, lock, name)
    }

    fn refusal(root: &Path, name: Option<&str>) -> String {
        open(root, name).map(|_| ()).expect_err("refused").to_string()
    }

    fn acme() -> Tenant {
        Tenant::parse("acme").unwrap()
    }

    #[test]
    fn a_ledger_is_born_once_and_found_again() {
        let temp = tempfile::tempdir().unwrap();
        let home = open(temp.path(), Some("here")).unwrap();
        let vkey = home.tenant_or_new(&acme(), Some(1_700_000_000_000)).unwrap().signer.verifier().to_vkey();
        drop(home);
        let home = open(temp.path(), None).unwrap();
        assert_eq!(home.name, "here");
        assert_eq!(home.tenant_or_new(&acme(), None).unwrap().signer.verifier().to_vkey(), vkey);
        let listed: Vec<_> =
            home.tenants().unwrap().into_iter().map(|(tenant, _, origin)| format!("{tenant} {origin}")).collect();
        assert_eq!(listed, ["acme here/acme"]);
        drop(home);
        assert_eq!(
            refusal(temp.path(), Some("there")),
            r#"this ledger is named "here", not "there": a name is fixed at birth"#
        );
    }

    #[test]
    fn an_unnamed_ledger_is_named_after_its_host() {
        let temp = tempfile::tempdir().unwrap();
        let name = open(temp.path(), None).unwrap().name.clone();
        let (host, digits) = name.rsplit_once('-').unwrap();
        assert_eq!((host, digits.len()), (env::host_label().as_str(), 8), "{name}");
    }

    #[test]
    fn names_that_can_be_no_origin_are_refused() {
        for name in ["a b", "a+b", "", &"x".repeat(200)] {
            let temp = tempfile::tempdir().unwrap();
            let text = refusal(temp.path(), Some(name));
            assert!(text.contains("can't be the name of a ledger"), "{text}");
        }
    }

    #[test]
    fn keys_and_store_belong_together() {
        let temp = tempfile::tempdir().unwrap();
        let home = open(temp.path(), Some("here")).unwrap();
        home.tenant_or_new(&acme(), None).unwrap();
        let (keys, store) = (home.dir.keys(), home.dir.ledger());
        drop(home);
        // Another key in the same place: nothing that it signs could be verified.
        std::fs::rename(keys.join("acme.log.pem"), keys.join("kept")).unwrap();
        std::fs::copy(keys.join("admin.pem"), keys.join("acme.log.pem")).unwrap();
        let home = open(temp.path(), None).unwrap();
        assert!(home.tenant(&acme()).err().unwrap().to_string().contains("another log key"));
        std::fs::remove_file(keys.join("acme.log.pem")).unwrap();
        assert!(home.tenant(&acme()).err().unwrap().to_string().contains("acme.log.pem is missing"));
        drop(home);
        // A store that was lost must not be started again under the same keys.
        std::fs::rename(keys.join("kept"), keys.join("acme.log.pem")).unwrap();
        std::fs::remove_dir_all(store).unwrap();
        let text = refusal(temp.path(), None);
        assert!(text.contains("acme.log.pem is the key of a log, but the store"), "{text}");
    }

    #[test]
    fn the_recovery_key_may_be_taken_away_after_birth() {
        let temp = tempfile::tempdir().unwrap();
        let home = open(temp.path(), None).unwrap();
        std::fs::remove_file(home.keys.recovery_path()).unwrap();
        home.tenant_or_new(&acme(), None).unwrap();
    }
}
