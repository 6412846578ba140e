//! A backup: a directory that a whole ledger can be made of again.
//!
//! ```text
//! DIR/              0700
//!   ledger/         RocksDB: a copy of the system of record, made entry by entry and checked on the way
//!   objects/        logs that events refer to, each named by its digest and compared with it on the way
//!   keys/           0700, files 0600: dedupe keys, which are secrets; signing keys only where they were asked for
//!   manifest.json   what the last finished backup holds (see `manifest`)
//!   lock            locked by the process that uses the directory
//! ```
//!
//! The store may be ahead of the manifest, never behind it: a backup that was cut off left more entries and the older manifest.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// Why a backup's files can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// No backup was finished there.
    #[error("{0} holds no finished backup: it has no manifest.json; run `upm backup` again")]
    Unfinished(PathBuf),
    /// Something else is there.
    #[error("{0} is neither empty nor a backup: give a directory of its own")]
    NotABackup(PathBuf),
    /// It is a file, or something else that is no directory.
    #[error("{0} is no directory: give a directory of its own for the backup")]
    NotADirectory(PathBuf),
    /// One would go with the other.
    #[error("the backup {backup} and the data directory {data} are inside each other: give each a place of its own")]
    Inside {
        /// The backup.
        backup: PathBuf,
        /// The data directory.
        data: PathBuf,
    },
    /// The manifest can't be read.
    #[error("the manifest {path} is damaged: {found}")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        found: String,
    },
    /// The manifest is another version's.
    #[error("the manifest {path} has format {found}, this version knows {known} only")]
    OtherFormat {
        /// The file.
        path: PathBuf,
        /// Format of the manifest.
        found: u32,
        /// The format that this version knows.
        known: u32,
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

/// Refuses a directory that holds something else than a backup. That there is none yet is fine.
pub fn refuse_other(dir: &Path) -> Result<(), BackupError> {
    // A backup that was cut off before its first manifest has no more than these either.
    let ours = ["ledger", "keys", "objects", "manifest.json", "manifest.json.partial", "lock"];
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
            return Err(BackupError::NotADirectory(dir.to_owned()));
        }
        read => read.map_err(at(dir))?,
    };
    for entry in entries {
        let name = entry.map_err(at(dir))?.file_name();
        if !ours.iter().any(|ours| name == **ours) {
            return Err(BackupError::NotABackup(dir.to_owned()));
        }
    }
    Ok(())
}

/// Refuses a backup and a data directory that are inside each other: whatever takes one away takes the other. Neither has to exist.
pub fn refuse_inside(data: &Path, backup: &Path) -> Result<(), BackupError> {
    let (whole_data, whole_backup) = (whole(data)?, whole(backup)?);
    if whole_backup.starts_with(&whole_data) || whole_data.starts_with(&whole_backup) {
        return Err(BackupError::Inside { backup: backup.to_owned(), data: data.to_owned() });
    }
    Ok(())
}

/// The path without links, as far as it exists.
fn whole(path: &Path) -> Result<PathBuf, BackupError> {
    for there in path.ancestors() {
        let named = if there.as_os_str().is_empty() { Path::new(".") } else { there };
        match fs::canonicalize(named) {
            Ok(whole) => return Ok(path.strip_prefix(there).map_or_else(|_| whole.clone(), |rest| whole.join(rest))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.kind() == io::ErrorKind::NotADirectory => {
                return Err(BackupError::NotADirectory(path.to_owned()));
            }
            Err(error) => return Err(at(path)(error)),
        }
    }
    Ok(path.to_owned())
}

/// The files of a directory of keys that a backup takes: dedupe keys, and with `signing` the keys that sign, but never the recovery
/// key: it belongs elsewhere.
pub fn key_files(keys: &Path, signing: bool) -> Result<Vec<PathBuf>, BackupError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(keys).map_err(at(keys))? {
        let path = entry.map_err(at(keys))?.path();
        let is = |extension: &str| path.extension().is_some_and(|found| found == extension);
        let recovery = path.file_name().is_some_and(|name| name == "recovery.pem");
        if is("dedupe") || (signing && is("pem") && !recovery) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Copies a key file, private to its owner; one that is there already has to be the same. Says whether it was new.
pub fn copy_key(from: &Path, to: &Path) -> Result<bool, BackupError> {
    let key = zeroize::Zeroizing::new(fs::read(from).map_err(at(from))?);
    match fs::read(to) {
        Ok(found) if zeroize::Zeroizing::new(found.clone()) == key => return Ok(false),
        Ok(_) => {
            let source =
                io::Error::other("another key is there already: it is not this ledger's, or this backup is another's");
            return Err(BackupError::Io { path: to.to_owned(), source });
        }
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at(to)(error)),
        Err(_) => {}
    }
    replace(to, &key)?;
    Ok(true)
}

/// Copies the files of a store at rest into a new directory, durable when it returns. What `RocksDB` keeps for itself stays behind.
pub fn copy_store(from: &Path, to: &Path, mut copied: impl FnMut(u64)) -> Result<(), BackupError> {
    fs::create_dir(to).map_err(at(to))?;
    fs::set_permissions(to, fs::Permissions::from_mode(0o700)).map_err(at(to))?;
    for entry in fs::read_dir(from).map_err(at(from))? {
        let path = entry.map_err(at(from))?.path();
        let Some(name) = path.file_name() else { continue };
        let text = name.to_string_lossy();
        if !path.is_file() || text == "LOCK" || text == "LOG" || text.starts_with("LOG.old") {
            continue;
        }
        let target = to.join(name);
        let bytes = fs::copy(&path, &target).map_err(at(&path))?;
        File::open(&target).and_then(|file| file.sync_all()).map_err(at(&target))?;
        copied(bytes);
    }
    sync_dir(to)
}

/// Makes a rename in `dir` durable.
pub fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(at(dir))
}

/// Writes a file private to its owner, whole or not at all.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), BackupError> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = PathBuf::from(partial);
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial);
    file.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all())).map_err(at(&partial))?;
    fs::rename(&partial, path).map_err(at(path))?;
    path.parent().map_or(Ok(()), sync_dir)
}

/// The path in front of what the system said.
pub fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io { path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_copied_privately_and_never_over_others() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("acme.dedupe"), dir.path().join("copy"));
        fs::write(&from, "k").unwrap();
        fs::set_permissions(&from, fs::Permissions::from_mode(0o644)).unwrap();
        assert!(copy_key(&from, &to).unwrap());
        assert_eq!(fs::metadata(&to).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(!copy_key(&from, &to).unwrap(), "the same again is nothing new");
        fs::write(&from, "l").unwrap();
        assert!(copy_key(&from, &to).is_err());
        assert_eq!(fs::read_to_string(&to).unwrap(), "k");
    }

    #[test]
    fn signing_keys_are_taken_when_asked_for_and_the_recovery_key_never() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["acme.dedupe", "acme.log.pem", "admin.pem", "recovery.pem", "nats.key", "acme.dedupe.partial"] {
            fs::write(dir.path().join(name), "k").unwrap();
        }
        let names = |signing| {
            let files = key_files(dir.path(), signing).unwrap();
            files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned()).collect::<Vec<_>>()
        };
        assert_eq!(names(false), ["acme.dedupe"]);
        assert_eq!(names(true), ["acme.dedupe", "acme.log.pem", "admin.pem"]);
    }

    #[test]
    fn places_inside_each_other_are_refused_before_they_exist() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir(at("data")).unwrap();
        std::os::unix::fs::symlink(at("data"), at("link")).unwrap();
        for (backup, inside) in [
            ("backup", false),
            ("database", false),
            ("a/b/c", false),
            ("data", true),
            ("data/deep/backup", true),
            ("link/backup", true),
            ("", true),
        ] {
            let refused = refuse_inside(&at("data"), &at(backup));
            assert_eq!(matches!(refused, Err(BackupError::Inside { .. })), inside, "{backup}: {refused:?}");
        }
        fs::write(at("file"), "").unwrap();
        assert!(matches!(refuse_inside(&at("data"), &at("file/backup")), Err(BackupError::NotADirectory(_))));
        assert!(matches!(refuse_other(&at("file")), Err(BackupError::NotADirectory(_))));
    }

    #[test]
    fn what_is_no_backup_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        refuse_other(dir.path()).unwrap();
        refuse_other(&dir.path().join("none")).unwrap();
        fs::create_dir(dir.path().join("nats")).unwrap();
        assert!(matches!(refuse_other(dir.path()), Err(BackupError::NotABackup(_))));
    }
}
