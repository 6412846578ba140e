//! The data directory: where things lie, who holds it, and what the running server says of itself.
//!
//! ```text
//! DIR/            0700
//!   ledger/       RocksDB: the system of record
//!   views/        SQLite, one file a tenant; can be deleted and rebuilt
//!   objects/      logs that events refer to by digest (see `objects_dir`)
//!   nats/         the child nats-server's store and its configuration
//!   keys/         0700, files 0600 (see `keys_on_disk`)
//!   witness/      what a witness (`upm witness`) has cosigned of each log; no ledger lies in such a directory
//!   witness.logs  the logs that a witness ever cosigned, so that what it lost is missed
//!   ledger.heads  how far each log was committed (see `head_file`)
//!   kept-heads    where signed heads are kept besides, if they are (see `kept_heads`)
//!   lock          locked by the process that uses the directory, and names it
//!   serve.json    while a server is ready
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use schemas::ids::Tenant;
use serde::{Deserialize, Serialize};

/// A data directory that exists.
#[derive(Debug, Clone)]
pub struct DataDir {
    root: PathBuf,
}

/// The right to use a data directory; given back when dropped, or when the process ends however it ends.
#[derive(Debug)]
pub struct Lock {
    // Held for the kernel's lock on it, which goes with the last descriptor.
    _file: File,
}

/// Why a data directory can't be used.
#[derive(Debug, thiserror::Error)]
pub enum DataDirError {
    /// There is none.
    #[error("there is no ledger in {0} (no such directory); `upm serve --data {0}` makes one")]
    Absent(PathBuf),
    /// A ledger lies there, where a witness should.
    #[error("{0} is the data directory of a ledger; a witness needs one of its own: --data DIR")]
    Ledger(PathBuf),
    /// Another process holds it.
    #[error("the directory {path} is in use by another process{holder}")]
    InUse {
        /// The directory.
        path: PathBuf,
        /// ` (pid N)`, or empty where the holder has not said.
        holder: String,
    },
    /// Others could have put in it what they like.
    #[error("the directory {path} can be written by others (mode {mode:04o}); if nobody did, run: chmod 700 {path}")]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    #[error("can't use {path}: {source}")]
    Io {
        /// What was touched.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl DataDir {
    /// The directory at `root`, made (private to its owner) with all its parts where they are missing.
    pub fn create(root: &Path) -> Result<Self, DataDirError> {
        make_private(root)?;
        // Absolute, so that a child process and `serve.json` mean the same place whatever their working directory.
        let root = fs::canonicalize(root).map_err(at(root))?;
        let dir = Self { root };
        for part in [dir.ledger(), dir.views(), dir.nats(), dir.keys()] {
            make_private(&part)?;
        }
        Ok(dir)
    }

    /// The directory of a witness at `root`, made where it is missing. A ledger's is refused: who holds both keys is no
    /// independent witness, and only one process can use a directory.
    pub fn create_for_witness(root: &Path) -> Result<Self, DataDirError> {
        if root.join("ledger").exists() {
            return Err(DataDirError::Ledger(root.to_owned()));
        }
        make_private(root)?;
        let dir = Self { root: fs::canonicalize(root).map_err(at(root))? };
        make_private(&dir.keys())?;
        make_private(&dir.witness())?;
        Ok(dir)
    }

    /// The directory at `root`, which must exist and hold a ledger.
    pub fn existing(root: &Path) -> Result<Self, DataDirError> {
        if !root.join("ledger").is_dir() {
            return Err(DataDirError::Absent(root.to_owned()));
        }
        Self::create(root)
    }

    /// The directory itself, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The ledger's store.
    pub fn ledger(&self) -> PathBuf {
        self.root.join("ledger")
    }

    /// Where a restore copies to before it is put in place.
    pub fn restoring(&self) -> PathBuf {
        self.root.join("ledger.restoring")
    }

    /// The views.
    pub fn views(&self) -> PathBuf {
        self.root.join("views")
    }

    /// The views of one tenant.
    pub fn view(&self, tenant: &Tenant) -> PathBuf {
        self.views().join(format!("{tenant}.db"))
    }

    /// What a witness remembers.
    pub fn witness(&self) -> PathBuf {
        self.root.join("witness")
    }

    /// What is kept beside the logs.
    pub fn objects(&self) -> PathBuf {
        self.root.join("objects")
    }

    /// The child nats-server's own directory.
    pub fn nats(&self) -> PathBuf {
        self.root.join("nats")
    }

    /// The keys.
    pub fn keys(&self) -> PathBuf {
        self.root.join("keys")
    }

    /// Takes the directory for this process, or says who has it. A `serve.json` that is still there is of a server that was
    /// killed: it is taken away before anybody takes it for ours.
    pub fn lock(&self) -> Result<Lock, DataDirError> {
        let lock = lock_file(&self.root)?;
        self.remove_serve_file()?;
        Ok(lock)
    }

    /// Publishes `file` as `serve.json`, whole or not at all.
    pub fn write_serve_file(&self, file: &ServeFile) -> Result<(), DataDirError> {
        let path = serve_json(&self.root);
        let partial = self.root.join("serve.json.partial");
        let mut text = serde_json::to_vec_pretty(file)
            .map_err(|error| DataDirError::Io { path: path.clone(), source: error.into() })?;
        text.push(b'\n');
        fs::write(&partial, text).map_err(at(&partial))?;
        fs::rename(&partial, &path).map_err(at(&path))
    }

    /// Takes `serve.json` away; that there is none is fine.
    pub fn remove_serve_file(&self) -> Result<(), DataDirError> {
        let path = serve_json(&self.root);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(DataDirError::Io { path, source: error }),
            _ => Ok(()),
        }
    }
}

/// Locks the file `lock` of a directory, a data directory or a backup, or says who has it.
pub fn lock_file(root: &Path) -> Result<Lock, DataDirError> {
    let path = root.join("lock");
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(at(&path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            return Err(DataDirError::InUse { path: root.to_owned(), holder: holder(&mut file) });
        }
        Err(TryLockError::Error(source)) => return Err(DataDirError::Io { path, source }),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(at(&path))?;
    Ok(Lock { _file: file })
}

/// `serve.json`: where a ready server is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServeFile {
    /// Its process.
    pub pid: u32,
    /// Its HTTP URL, without a trailing slash.
    pub http: String,
    /// The URL of its NATS server, without credentials.
    pub nats: String,
    /// The ledger's name.
    pub ledger: String,
    /// The verifier key (C2SP vkey) of each log, by tenant; that of the ledger's own log as `_ledger`.
    pub logs: BTreeMap<String, String>,
    /// All keys of logs that have had several, oldest first, with the sizes that each signs; see `governed::keys`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub keys: BTreeMap<String, serde_json::Value>,
}

impl ServeFile {
    /// What the server that runs on the data directory `root` says of itself. None where no server runs: no file, or
    /// one left by a process that was killed.
    pub fn of_running(root: &Path) -> Option<Self> {
        let text = fs::read(serve_json(root)).ok()?;
        let file: Self = serde_json::from_slice(&text).ok()?;
        alive(file.pid).then_some(file)
    }
}

fn serve_json(root: &Path) -> PathBuf {
    root.join("serve.json")
}

/// Whether a process with this id exists. One that we may not signal exists too.
fn alive(pid: u32) -> bool {
    let Ok(pid) = i32::try_from(pid) else {
        return false;
    };
    // 0 and negative numbers name process groups.
    pid > 0 && !matches!(nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), None), Err(nix::errno::Errno::ESRCH))
}

/// ` (pid N)` as the holder of the lock wrote it.
fn holder(file: &mut File) -> String {
    let mut text = String::new();
    // It is only a hint: at worst the message names nobody.
    let _ = file.take(32).read_to_string(&mut text);
    text.trim().parse::<u32>().map_or_else(|_| String::new(), |pid| format!(" (pid {pid})"))
}

/// Makes a directory that only its owner can enter. One that exists and can be read by others is closed to them: it holds
/// what producers sent. One that they can write to is refused: what is in it, keys among it, may be theirs.
pub fn make_private(path: &Path) -> Result<(), DataDirError> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(at(path))?;
    let mode = fs::metadata(path).map_err(at(path))?.permissions().mode() & 0o7777;
    if mode & 0o022 != 0 {
        return Err(DataDirError::Exposed { path: path.to_owned(), mode });
    }
    if mode & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(mode & 0o700)).map_err(at(path))?;
    }
    Ok(())
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> DataDirError {
    let path = path.to_owned();
    move |source| DataDirError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_new_directory_is_private_and_whole() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::create(&temp.path().join("a/b")).unwrap();
        for path in [dir.root().to_owned(), dir.ledger(), dir.views(), dir.nats(), dir.keys()] {
            assert_eq!(mode(&path), 0o700, "{}", path.display());
        }
    }

    #[test]
    fn what_others_can_write_to_is_refused_and_what_they_can_read_is_closed() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("data");
        let keys = DataDir::create(&root).unwrap().keys();
        for (path, bits) in [(&root, 0o770), (&root, 0o702), (&keys, 0o777), (&keys, 0o720)] {
            fs::set_permissions(path, fs::Permissions::from_mode(bits)).unwrap();
            let refused = DataDir::create(&root).unwrap_err().to_string();
            let expect = format!("can be written by others (mode {bits:04o}); if nobody did, run: chmod 700");
            assert!(refused.contains(&expect) && !refused.contains('\n'), "{refused}");
            fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
            DataDir::create(&root).unwrap();
            assert_eq!(mode(path), 0o700);
        }
    }

    #[test]
    fn a_serve_json_that_was_left_behind_goes_with_the_lock() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::create(temp.path()).unwrap();
        fs::write(serve_json(dir.root()), "{}").unwrap();
        let lock = dir.lock().unwrap();
        assert!(!serve_json(dir.root()).exists());
        // Who does not get the lock leaves the holder's alone.
        fs::write(serve_json(dir.root()), "{}").unwrap();
        dir.lock().unwrap_err();
        assert!(serve_json(dir.root()).exists());
        drop(lock);
    }

    #[test]
    fn one_process_holds_it() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::create(temp.path()).unwrap();
        let lock = dir.lock().unwrap();
        let refused = dir.lock().unwrap_err().to_string();
        assert!(refused.ends_with(&format!("is in use by another process (pid {})", std::process::id())), "{refused}");
        drop(lock);
        dir.lock().unwrap();
    }

    #[test]
    fn a_directory_without_a_ledger_is_named() {
        let temp = tempfile::tempdir().unwrap();
        assert!(matches!(DataDir::existing(&temp.path().join("none")), Err(DataDirError::Absent(_))));
        assert!(!temp.path().join("none").exists(), "looking makes nothing");
    }

    #[test]
    fn serve_json_counts_only_while_its_process_lives() {
        let temp = tempfile::tempdir().unwrap();
        let dir = DataDir::create(temp.path()).unwrap();
        let mut file = ServeFile {
            pid: std::process::id(),
            http: "http://127.0.0.1:1".into(),
            nats: "nats://127.0.0.1:2".into(),
            ledger: "here".into(),
            logs: BTreeMap::from([("acme".into(), "vkey".into())]),
            keys: BTreeMap::new(),
        };
        dir.write_serve_file(&file).unwrap();
        assert_eq!(ServeFile::of_running(dir.root()), Some(file.clone()));
        for gone in [0, u32::MAX, i32::MAX as u32] {
            file.pid = gone;
            dir.write_serve_file(&file).unwrap();
            assert_eq!(ServeFile::of_running(dir.root()), None, "pid {gone}");
        }
        dir.remove_serve_file().unwrap();
        dir.remove_serve_file().unwrap();
        assert_eq!(ServeFile::of_running(dir.root()), None);
    }
}
