//! Secret keys as files: made at birth, private to their owner, refused when others could have read them.
//!
//! ```text
//! keys/admin.pem          signs control messages                    PKCS#8 PEM, one per ledger
//! keys/recovery.pem       replaces lost keys; to be kept offline    PKCS#8 PEM, one per ledger, never read by serve
//! keys/<tenant>.log.pem   signs the tenant's checkpoints            PKCS#8 PEM
//! keys/<tenant>.log.<key id>.pem   the key that took its place      PKCS#8 PEM
//! keys/<tenant>.dedupe    recognises repeats                        64 hex digits
//! keys/nats.key           encrypts the child server's store         64 hex digits
//! keys/witness.pem        cosigns checkpoints of others (upm witness)    PKCS#8 PEM, Ed25519
//! keys/witness.ml-dsa-44.pem   the same after quantum computers          PKCS#8 PEM, ML-DSA-44
//! ```
//!
//! A log key that takes another's place gets a file of its own, durable before anybody hears of the key; which key counts stands in
//! the log. So no file is ever renamed, and a crash at any point leaves the keys of before and of after.
//!
//! Left out: encrypted PEM files and keys held elsewhere. A file is never overwritten: whoever lost a key must notice.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ledger::checkpoint::Origin;
use ledger::cosignature::{Algorithm, Cosigner};
use ledger::dedupe::DedupeKey;
use ledger::note::{KeyName, key_id};
use ledger::signing::{PublicKey, Signer};
use zeroize::Zeroizing;

use crate::clock;

/// No key file of ours is longer; what is longer is none.
const MAX_KEY_FILE_BYTES: u64 = 16 * 1024;

/// The directory of a ledger's keys.
#[derive(Debug, Clone)]
pub struct Keys {
    dir: PathBuf,
}

/// The file of a log key that took another's place, or was to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaterKey {
    /// Of which log, a tenant's name or `_ledger`.
    pub log: String,
    /// Its note key id in hex, as the file is named.
    pub id: String,
    /// The file.
    pub path: PathBuf,
}

/// Why a key can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// There is no such file.
    #[error("the key file {0} is missing; restore it from your backup (a new key would be another ledger's)")]
    Missing(PathBuf),
    /// Others than the owner may read or change it.
    #[error("the key file {path} can be read by others (mode {mode:04o}); if nobody did, run: chmod 600 {path}")]
    Exposed {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It holds something else.
    #[error("the key file {path} is not {expected}: {found}")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// What is wrong with it; never its content.
        found: String,
    },
    /// No randomness to make a key from.
    #[error("can't make a key: {0}")]
    NoEntropy(getrandom::Error),
    /// The system refused.
    #[error("can't use the key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl Keys {
    /// The keys in `dir`.
    pub fn at(dir: PathBuf) -> Self {
        Self { dir }
    }

    /// The file of the log key of `log`, a tenant's name or `_ledger`.
    pub fn log_path(&self, log: &str) -> PathBuf {
        self.dir.join(format!("{log}.log.pem"))
    }

    /// The secret of a log key that the log names; `name` is the log's. The key that the log was born with lies in another file
    /// than those that took its place.
    pub fn log_signer(&self, name: &Origin, key: &PublicKey) -> Result<Signer, KeyFileError> {
        let later = self.later_path(name, key);
        if exists(&later)? { signer(&later, name) } else { signer(&self.log_path(name.log()), name) }
    }

    /// Makes a key that is to take the place of a log's current one, in a file of its own.
    pub fn new_log_signer(&self, name: &Origin) -> Result<(Signer, PathBuf), KeyFileError> {
        let mut seed = Zeroizing::new([0; 32]);
        clock::fill(&mut *seed).map_err(KeyFileError::NoEntropy)?;
        let made = Signer::from_seed(name, *seed);
        let path = self.later_path(name, &made.public_key());
        write_private(&path, made.to_pkcs8_pem().as_bytes())?;
        Ok((signer(&path, name)?, path))
    }

    /// The file of a log key that took another's place.
    pub fn later_path(&self, name: &Origin, key: &PublicKey) -> PathBuf {
        let id = hex::encode(key_id(name.as_str(), key));
        self.dir.join(format!("{}.log.{id}.pem", name.log()))
    }

    /// The files of log keys that took another's place, or were to.
    pub fn later_files(&self) -> Result<Vec<LaterKey>, KeyFileError> {
        let later = |path: PathBuf| {
            let (log, id) = path.file_name()?.to_str()?.strip_suffix(".pem")?.split_once(".log.")?;
            let (log, id) = (log.to_owned(), id.to_owned());
            Some(LaterKey { log, id, path })
        };
        let mut files: Vec<LaterKey> = self.files()?.into_iter().filter_map(later).collect();
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(files)
    }

    /// The key that signs control messages.
    pub fn admin_path(&self) -> PathBuf {
        self.dir.join("admin.pem")
    }

    /// The key that replaces lost ones. It belongs elsewhere.
    pub fn recovery_path(&self) -> PathBuf {
        self.dir.join("recovery.pem")
    }

    /// Removes what a crash while writing a key left behind: it was never used, or is a copy of what is.
    pub fn sweep(&self) -> Result<(), KeyFileError> {
        for path in self.files()? {
            if path.extension().is_some_and(|extension| extension == "partial") {
                fs::remove_file(&path).map_err(io_at(&path))?;
            }
        }
        Ok(())
    }

    /// The file of some tenant's log key, if there is any.
    pub fn any_tenant_key(&self) -> Result<Option<PathBuf>, KeyFileError> {
        let is_log_key = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            name.ends_with(".pem") && name.split_once(".log.").is_some_and(|(log, _)| log != ledger::birth::LEDGER_LOG)
        };
        Ok(self.files()?.into_iter().find(is_log_key))
    }

    fn files(&self) -> Result<Vec<PathBuf>, KeyFileError> {
        let entries = fs::read_dir(&self.dir).map_err(io_at(&self.dir))?;
        entries.map(|entry| entry.map(|entry| entry.path()).map_err(io_at(&self.dir))).collect()
    }

    fn dedupe_path(&self, tenant: &str) -> PathBuf {
        self.dir.join(format!("{tenant}.dedupe"))
    }

    fn nats_path(&self) -> PathBuf {
        self.dir.join("nats.key")
    }

    /// Reads a tenant's key for recognising repeats.
    pub fn dedupe(&self, tenant: &str) -> Result<DedupeKey, KeyFileError> {
        let path = self.dedupe_path(tenant);
        let text = read_private(&path)?;
        DedupeKey::from_hex(text.trim()).map_err(|error| malformed(&path, "64 hex digits", &error.to_string()))
    }

    /// Reads a tenant's key for recognising repeats, or makes it where the file is missing.
    pub fn dedupe_or_new(&self, tenant: &str) -> Result<DedupeKey, KeyFileError> {
        make_hex(&self.dedupe_path(tenant))?;
        self.dedupe(tenant)
    }

    /// The key of the child server's store as 64 hex digits; made where it is missing.
    pub fn nats_or_new(&self) -> Result<Zeroizing<String>, KeyFileError> {
        let path = self.nats_path();
        make_hex(&path)?;
        let text = read_private(&path)?;
        let key = Zeroizing::new(text.trim().to_owned());
        if key.len() != 64 || !key.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(malformed(&path, "64 hex digits", &format!("{} characters", key.len())));
        }
        Ok(key)
    }
}

/// Reads a signing key. `name` is the key's name in notes.
pub fn signer(path: &Path, name: &Origin) -> Result<Signer, KeyFileError> {
    let text = read_private(path)?;
    Signer::from_pkcs8_pem(name, &text)
        .map_err(|error| malformed(path, "an Ed25519 private key in PKCS#8 PEM", &error.to_string()))
}

/// Reads a signing key, or makes it where the file is missing.
pub fn signer_or_new(path: &Path, name: &Origin) -> Result<Signer, KeyFileError> {
    if !exists(path)? {
        let mut seed = Zeroizing::new([0; 32]);
        clock::fill(&mut *seed).map_err(KeyFileError::NoEntropy)?;
        let signer = Signer::from_seed(name, *seed);
        write_private(path, signer.to_pkcs8_pem().as_bytes())?;
    }
    // Read back in both cases, so that what is used is what a restart will find.
    signer(path, name)
}

/// Reads a witness's key, or makes it where the file is missing. `name` is the witness's name in notes.
pub fn cosigner_or_new(path: &Path, name: &KeyName, algorithm: Algorithm) -> Result<Cosigner, KeyFileError> {
    if !exists(path)? {
        let mut seed = Zeroizing::new([0; 32]);
        clock::fill(&mut *seed).map_err(KeyFileError::NoEntropy)?;
        let new = match algorithm {
            Algorithm::Ed25519 => Cosigner::ed25519(name.clone(), *seed),
            Algorithm::MlDsa44 => Cosigner::ml_dsa_44(name.clone(), *seed),
        };
        write_private(path, new.to_pkcs8_pem().as_bytes())?;
    }
    let text = read_private(path)?;
    let expected = match algorithm {
        Algorithm::Ed25519 => "an Ed25519 private key in PKCS#8 PEM",
        Algorithm::MlDsa44 => "an ML-DSA-44 private key (seed) in PKCS#8 PEM",
    };
    let key = Cosigner::from_pkcs8_pem(name.clone(), &text);
    let key = key.map_err(|error| malformed(path, expected, &error.to_string()))?;
    let found = key.verifier().algorithm();
    if found == algorithm { Ok(key) } else { Err(malformed(path, expected, &format!("a key of {found}"))) }
}

/// Makes a file with 32 random bytes in hex, unless it is there.
fn make_hex(path: &Path) -> Result<(), KeyFileError> {
    if exists(path)? {
        return Ok(());
    }
    let mut bytes = Zeroizing::new([0; 32]);
    clock::fill(&mut *bytes).map_err(KeyFileError::NoEntropy)?;
    let mut text = Zeroizing::new(hex::encode(*bytes));
    text.push('\n');
    write_private(path, text.as_bytes())
}

fn exists(path: &Path) -> Result<bool, KeyFileError> {
    path.try_exists().map_err(io_at(path))
}

/// Reads a file that only its owner may read. The permissions are those of the opened file, not of the name.
fn read_private(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(KeyFileError::Missing(path.to_owned())),
        other => other.map_err(io_at(path))?,
    };
    let metadata = file.metadata().map_err(io_at(path))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if !metadata.is_file() {
        return Err(malformed(path, "a file", "a directory or a device"));
    }
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Exposed { path: path.to_owned(), mode });
    }
    if metadata.len() > MAX_KEY_FILE_BYTES {
        return Err(malformed(path, "a key", &format!("{} bytes long", metadata.len())));
    }
    // Room for the whole file at once: a growing string would leave copies behind that nobody wipes.
    let capacity = usize::try_from(metadata.len()).unwrap_or(0) + 1;
    let mut text = Zeroizing::new(String::with_capacity(capacity));
    match file.take(MAX_KEY_FILE_BYTES).read_to_string(&mut text) {
        Ok(_) => Ok(text),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(malformed(path, "a key", "not text")),
        Err(source) => Err(KeyFileError::Io { path: path.to_owned(), source }),
    }
}

/// Writes a new file that only its owner may read, durable when it returns, never half there and never over another.
pub fn write_private(path: &Path, content: &[u8]) -> Result<(), KeyFileError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    // What a crash left behind was never used.
    match fs::remove_file(&partial) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(io_at(&partial)(error)),
        _ => {}
    }
    let mut file =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial).map_err(io_at(&partial))?;
    file.write_all(content).and_then(|()| file.sync_all()).map_err(io_at(&partial))?;
    // A link, unlike a rename, refuses to replace.
    fs::hard_link(&partial, path).map_err(io_at(path))?;
    fs::remove_file(&partial).map_err(io_at(&partial))?;
    if let Some(dir) = path.parent() {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(io_at(dir))?;
    }
    Ok(())
}

fn malformed(path: &Path, expected: &'static str, found: &str) -> KeyFileError {
    KeyFileError::Malformed { path: path.to_owned(), expected, found: found.to_owned() }
}

fn io_at(path: &Path) -> impl FnOnce(io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (tempfile::TempDir, Keys) {
        let dir = tempfile::tempdir().unwrap();
        let keys = Keys::at(dir.path().to_owned());
        (dir, keys)
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_key_is_made_once_and_found_again() {
        let (_dir, keys) = keys();
        let name = Origin::parse("here/acme").unwrap();
        let path = keys.log_path("acme");
        let made = signer_or_new(&path, &name).unwrap();
        let found = signer_or_new(&path, &name).unwrap();
        assert_eq!(made.verifier().to_vkey(), found.verifier().to_vkey());
        assert_eq!(mode(&path), 0o600);
        assert!(fs::read_to_string(&path).unwrap().starts_with("-----BEGIN PRIVATE KEY-----\n"));
        assert_eq!(*keys.nats_or_new().unwrap(), *keys.nats_or_new().unwrap());
        keys.dedupe_or_new("acme").unwrap();
        assert_eq!(fs::read_dir(&keys.dir).unwrap().count(), 3, "nothing partial stays");
    }

    #[test]
    fn what_a_crash_left_is_made_anew() {
        let (_dir, keys) = keys();
        for file in ["nats.key.partial", "recovery.pem.partial"] {
            fs::write(keys.dir.join(file), "half").unwrap();
        }
        assert_eq!(keys.nats_or_new().unwrap().len(), 64);
        keys.sweep().unwrap();
        assert_eq!(keys.files().unwrap(), [keys.nats_path()]);
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        let (_dir, keys) = keys();
        keys.nats_or_new().unwrap();
        let path = keys.nats_path();
        for exposed in [0o640, 0o604, 0o644, 0o620, 0o601, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(exposed)).unwrap();
            let text = keys.nats_or_new().unwrap_err().to_string();
            assert!(text.contains(&format!("(mode {exposed:04o})")), "{text}");
        }
        for private in [0o600, 0o400, 0o700] {
            fs::set_permissions(&path, fs::Permissions::from_mode(private)).unwrap();
            keys.nats_or_new().unwrap();
        }
    }

    #[test]
    fn what_is_no_key_is_named_and_never_shown() {
        let (_dir, keys) = keys();
        let name = Origin::parse("here/acme").unwrap();
        let path = keys.log_path("acme");
        for content in [
            &b""[..],
            b"hunter2",
            b"\xff\xfe",
            b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "x".repeat(20_000).as_bytes(),
        ] {
            let _ = fs::remove_file(&path);
            write_private(&path, content).unwrap();
            let text = signer(&path, &name).map(|_| ()).unwrap_err().to_string();
            assert!(text.contains("acme.log.pem") && !text.contains("hunter2"), "{text}");
        }
        assert!(matches!(keys.dedupe("nobody"), Err(KeyFileError::Missing(_))));
    }

    #[test]
    fn a_key_is_never_overwritten() {
        let (_dir, keys) = keys();
        let path = keys.admin_path();
        write_private(&path, b"first").unwrap();
        assert!(write_private(&path, b"second").is_err());
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }
}
