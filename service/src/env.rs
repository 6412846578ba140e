//! The environment of the process, read here and passed on.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

/// A variable, if it is set, not empty and text.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn var(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether a variable is set, but to nothing.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn is_empty(name: &OsStr) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

/// All variables that are text. CI's are read from here, see `workers::ci`.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn variables() -> BTreeMap<String, String> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Where the shell would look for programs, in its order.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
pub fn path() -> Vec<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // An empty element means the working directory; a server is not started from wherever somebody stands.
    std::env::split_paths(&path).filter(|dir| dir.is_absolute()).collect()
}

/// Our own program, if the system tells.
pub fn own_program() -> Option<PathBuf> {
    std::env::current_exe().ok()
}

/// The first label of the host's name, reduced to letters, digits and `-`; `ledger` where nothing is left of it.
pub fn host_label() -> String {
    let name = nix::unistd::gethostname().unwrap_or_else(|_| OsString::new());
    label(&name.to_string_lossy())
}

/// The places where a program of this name may be: beside ours, then on the PATH.
pub fn candidates(program: &str) -> Vec<PathBuf> {
    let beside = own_program().and_then(|own| own.parent().map(Path::to_owned));
    beside.into_iter().chain(path()).map(|dir| dir.join(program)).collect()
}

fn label(host: &str) -> String {
    let first = host.split('.').next().unwrap_or_default();
    let kept: String = first.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').take(63).collect();
    let kept = kept.trim_matches('-').to_ascii_lowercase();
    if kept.is_empty() { "ledger".to_owned() } else { kept }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_host_name_makes_a_label() {
        for (host, expect) in
            [("Build-7.example.org", "build-7"), ("", "ledger"), ("-", "ledger"), ("ünï + x", "nx"), ("a b", "ab")]
        {
            assert_eq!(label(host), expect, "{host:?}");
        }
        assert_eq!(label(&"x".repeat(300)).len(), 63);
    }
}
