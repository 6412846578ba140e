//! The login of a NATS in a file: one line, a URL with user and password. A password on a command line or in a variable is seen by others; a file that only its
//! owner may read is not.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;

use pipeline::{NatsTarget, server};

use crate::bounded;

/// No URL is longer.
const BYTES: u64 = 4096;

/// Reads a file that `--nats-file` names. What is wrong is told without quoting it.
pub fn read(name: &str) -> Result<Arc<NatsTarget>, String> {
    of_file(Path::new(name)).map(Arc::new)
}

fn of_file(path: &Path) -> Result<NatsTarget, String> {
    let mode = std::fs::metadata(path).map_err(|error| error.to_string())?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!("others may read it (mode {:o}); expected 600", mode & 0o777));
    }
    let text = bounded::text(path, BYTES).map_err(|error| error.to_string())?;
    server::worker_target(text.trim()).ok_or_else(|| "expected one line, nats://USER:PASSWORD@HOST:PORT".to_owned())
}

/// The login of workers of the child server of a data directory, where it is the one at `url`.
pub fn of_workers(data: &Path, url: &str) -> Result<Option<NatsTarget>, String> {
    let path = data.join("nats").join(server::WORKERS_FILE);
    if !path.exists() {
        return Ok(None);
    }
    let target = of_file(&path).map_err(|why| format!("{}: {why}", path.display()))?;
    // Left by a child of former times, where a server has joined somebody else's NATS since.
    Ok(Some(target).filter(|target| target.url == url))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_login_is_read_from_a_file_of_its_owner() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("workers.url");
        let name = path.display().to_string();
        let put = |text: &str, mode: u32| {
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        };
        put("nats://upm-work:hunter2@127.0.0.1:4222\n", 0o600);
        let target = read(&name).unwrap();
        assert_eq!(target.url, "nats://127.0.0.1:4222");
        assert!(format!("{target:?}").contains("upm-work") && !format!("{target:?}").contains("hunter2"));
        put("nats://upm-work:hunter2@127.0.0.1:4222\n", 0o640);
        assert!(read(&name).unwrap_err().contains("others may read it (mode 640)"));
        put("nats://hunter2@127.0.0.1:4222", 0o600);
        let why = read(&name).unwrap_err();
        assert!(why.contains("expected one line") && !why.contains("hunter2"), "{why}");
    }
}
