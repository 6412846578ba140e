//! Which changes are watched: a symbolic link for each, which leads to nothing but its name. So one more costs no more than the first, each is there whole or not at all,
//! whoever is killed meanwhile, and several workers over one directory agree.

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use schemas::ids::{ChangeId, Tenant};
use sha2::{Digest as _, Sha256};

use crate::work::{Case, WorkError};

/// The changes of a tenant that are watched. What can't be read is none of ours.
pub(super) fn read(workdir: &Path, tenant: &Tenant) -> Vec<ChangeId> {
    let files = fs::read_dir(directory(workdir, tenant)).into_iter().flatten().flatten();
    let names = files.filter_map(|file| fs::read_link(file.path()).ok());
    names.filter_map(|name| ChangeId::parse(name.to_str()?).ok()).collect()
}

/// Keeps whether a change is watched.
pub(super) fn keep(workdir: &Path, case: &Case, is_watched: bool) -> Result<(), WorkError> {
    let path = file(workdir, &case.tenant, &case.change);
    let kept = if is_watched { add(&path, &case.change) } else { remove(&path) };
    kept.map_err(|error| WorkError::failed(path.display().to_string(), &error))
}

fn add(path: &Path, change: &ChangeId) -> io::Result<()> {
    let link = || match symlink(change.as_str(), path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        linked => linked,
    };
    match (link(), path.parent()) {
        (Err(error), Some(directory)) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(directory)?;
            link()
        }
        (linked, _) => linked,
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

fn directory(workdir: &Path, tenant: &Tenant) -> PathBuf {
    workdir.join("drift").join(tenant.as_str())
}

/// Named by a digest: a change's name may be longer than a file's, and hold what a file's may not.
fn file(workdir: &Path, tenant: &Tenant, change: &ChangeId) -> PathBuf {
    directory(workdir, tenant).join(hex::encode(&Sha256::digest(change.as_str())[..16]))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn each_change_is_listed_until_it_is_watched_no_more() {
        let dir = tempfile::tempdir().expect("a directory");
        let tenant = Tenant::parse("shop").expect("a tenant");
        let case = |name: &str| Case::new(tenant.clone(), ChangeId::parse(name).expect("an id"), Vec::new());
        let long = "c".repeat(128);
        let names = ["a", "a.b", long.as_str()];
        for name in names {
            // Twice is once.
            keep(dir.path(), &case(name), true).expect("kept");
            keep(dir.path(), &case(name), true).expect("kept");
        }
        keep(dir.path(), &case("a"), false).expect("removed");
        keep(dir.path(), &case("never"), false).expect("nothing to remove");
        let listed: BTreeSet<String> = read(dir.path(), &tenant).iter().map(ToString::to_string).collect();
        assert_eq!(listed, BTreeSet::from(["a.b".to_owned(), long.clone()]));
        assert_eq!(read(dir.path(), &Tenant::parse("other").expect("a tenant")), []);
        // What somebody else has put there.
        fs::write(directory(dir.path(), &tenant).join("0"), "c").expect("written");
        assert_eq!(read(dir.path(), &tenant).len(), 2);
    }
}
