//! Which file a program is.

use std::fs::File;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

/// A program that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The file.
    pub path: PathBuf,
    /// Its SHA-256, hex.
    pub sha256: String,
}

/// The executable file that a name stands for: along the absolute directories of `path` for a bare name, itself for an absolute path. Nothing
/// is looked for in the working directory, where a step may have put it.
pub fn resolve(program: &str, path: &str) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(PathBuf::from(program)).filter(|path| path.is_absolute() && is_executable(path));
    }
    let directories = path.split(':').filter(|directory| directory.starts_with('/'));
    directories.map(|directory| Path::new(directory).join(program)).find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
}

/// The program behind a name, with its digest. It may be large: for a thread that may block.
pub fn digest(program: &str, path: &str) -> io::Result<Program> {
    let looked = || format!("{program} is not in {path}");
    let path = resolve(program, path).ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, looked()))?;
    let mut hasher = Sha256::new();
    io::copy(&mut File::open(&path)?, &mut Hashing(&mut hasher))?;
    Ok(Program { path, sha256: hex::encode(hasher.finalize()) })
}

struct Hashing<'a>(&'a mut Sha256);

impl io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The files of all programs; an exit code as shells number it and a reason for the first one that is missing.
pub(super) fn all(pipeline: &[Vec<String>], path: &str) -> Result<Vec<PathBuf>, (i32, String)> {
    let find = |argv: &Vec<String>| {
        let program = argv.first().map_or("", String::as_str);
        resolve(program, path).ok_or_else(|| (127, format!("{program}: not found in {path}")))
    };
    pipeline.iter().map(find).collect()
}
