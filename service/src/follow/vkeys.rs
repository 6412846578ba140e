//! Verifier keys out of files, as people hand them on: a C2SP vkey on a line of its own; empty lines and `#` comments are skipped.

use std::path::{Path, PathBuf};

use ledger::note::{VerifierKey, VerifierKeyError};

use crate::bounded::{self, NOTE_MAX};

/// A file that holds no verifier key.
#[derive(Debug, thiserror::Error)]
pub enum VkeyFileError {
    /// The system refused.
    #[error("can't read the key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line that is no key.
    #[error("{path}: {source}; a verifier key looks like `name+<8 hex digits>+<base64>` (`upm keys show` prints it)")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: VerifierKeyError,
    },
    /// Nothing but comments.
    #[error("{0} holds no verifier key")]
    Empty(PathBuf),
}

/// The keys of all files, in order.
pub fn read_vkeys(paths: &[PathBuf]) -> Result<Vec<VerifierKey>, VkeyFileError> {
    let mut keys = Vec::new();
    for path in paths {
        keys.extend(read_one(path)?);
    }
    Ok(keys)
}

fn read_one(path: &Path) -> Result<Vec<VerifierKey>, VkeyFileError> {
    let text = bounded::text(path, NOTE_MAX).map_err(|source| VkeyFileError::Io { path: path.to_owned(), source })?;
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let keys: Result<Vec<_>, _> = lines.map(VerifierKey::parse).collect();
    let keys = keys.map_err(|source| VkeyFileError::Malformed { path: path.to_owned(), source })?;
    if keys.is_empty() { Err(VkeyFileError::Empty(path.to_owned())) } else { Ok(keys) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_and_what_is_none_is_named() {
        let temp = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = temp.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let key = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let good = file("good", &format!("# ours\n\n{key}\n"));
        assert_eq!(read_vkeys(&[good]).unwrap()[0].to_vkey(), key);
        for (text, expect) in [("", "holds no"), ("not a key", "looks like")] {
            let refused = read_vkeys(&[file("bad", text)]).unwrap_err().to_string();
            assert!(refused.contains(expect), "{refused}");
        }
        assert!(matches!(read_vkeys(&[temp.path().join("none")]), Err(VkeyFileError::Io { .. })));
    }
}
