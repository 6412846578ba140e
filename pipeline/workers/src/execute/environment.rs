//! The environment of a command: a short list of our own, what the house passes on, and what it sets. Nothing else of the worker's environment reaches a
//! command: tokens, proxies and library paths of whoever started the worker are not what was approved.

use std::collections::BTreeMap;
use std::path::Path;

use super::options::ExecuteOptions;

/// Where programs are looked for if nobody says.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// What a name has to be.
pub const EXPECTED: &str =
    "a name of letters, digits and underlines, and none that makes programs load or run something else (LD_*, DYLD_*, BASH_ENV, …)";

/// Variables by which a program loads or runs something that was not approved.
const LOADERS: [&str; 14] = [
    "BASH_ENV",
    "ENV",
    "IFS",
    "SHELLOPTS",
    "PYTHONSTARTUP",
    "PYTHONPATH",
    "PYTHONHOME",
    "NODE_OPTIONS",
    "PERL5OPT",
    "PERL5LIB",
    "RUBYOPT",
    "GCONV_PATH",
    "JAVA_TOOL_OPTIONS",
    "KUBECTL_EXTERNAL_DIFF",
];

/// Whether a variable of this name, or of names that begin so, may reach a command.
pub fn may_be_named(name: &str) -> bool {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name && !name.starts_with("LD_") && !name.starts_with("DYLD_") && !LOADERS.contains(&name)
}

/// The environment of commands that run in `directory`; `own` is the worker's.
pub fn of(options: &ExecuteOptions, own: &BTreeMap<String, String>, directory: &Path) -> BTreeMap<String, String> {
    let here = directory.to_string_lossy().into_owned();
    let mut clean: BTreeMap<String, String> = [
        ("PATH", own.get("PATH").map_or(PATH, String::as_str)),
        // jq reads a file there, and most tools keep something below it.
        ("HOME", &here),
        ("TMPDIR", &here),
        ("LANG", "C.UTF-8"),
        ("LC_ALL", "C.UTF-8"),
        ("TZ", "UTC"),
        // kubectl, aws and az ask whether they are asked from a terminal, and page what they print.
        ("TERM", "dumb"),
        ("PAGER", "cat"),
        ("AWS_PAGER", ""),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value.to_owned()))
    .collect();
    let is_passed = |name: &str| {
        may_be_named(name)
            && options.pass.iter().any(|pass| match pass.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == pass,
            })
    };
    clean.extend(own.iter().filter(|(name, _)| is_passed(name)).map(|(name, value)| (name.clone(), value.clone())));
    clean.extend(options.environment.clone());
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_named_is_passed_on() {
        let text = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
        };
        let own = text(&[
            ("PATH", "/opt/tools"),
            ("GITHUB_TOKEN", "ghp"),
            ("LD_PRELOAD", "/tmp/x.so"),
            ("AWS_REGION", "eu-west-1"),
            ("AWSOME", "no"),
            ("KUBECONFIG", "/k"),
            ("HOME", "/root"),
        ]);
        let options = ExecuteOptions {
            pass: ["AWS_*".to_owned(), "KUBECONFIG".to_owned(), "LD_PRELOAD".to_owned()].into(),
            environment: text(&[("TZ", "Europe/Berlin")]),
            ..ExecuteOptions::default()
        };
        let clean = of(&options, &own, Path::new("/work/c-1"));
        let get = |name: &str| clean.get(name).map(String::as_str);
        assert_eq!((get("PATH"), get("HOME"), get("TZ")), (Some("/opt/tools"), Some("/work/c-1"), Some("Europe/Berlin")));
        assert_eq!((get("AWS_REGION"), get("KUBECONFIG")), (Some("eu-west-1"), Some("/k")));
        for absent in ["GITHUB_TOKEN", "LD_PRELOAD", "AWSOME"] {
            assert_eq!(get(absent), None, "{absent}");
        }
        let bare = of(&ExecuteOptions::default(), &BTreeMap::new(), Path::new("/w"));
        assert_eq!(bare["PATH"], PATH);
        assert_eq!(bare.len(), 9);
    }

    #[test]
    fn names_that_load_something_else_are_none() {
        for name in ["LD_PRELOAD", "LD_LIBRARY_PATH", "DYLD_INSERT_LIBRARIES", "BASH_ENV", "A=B", "", "1A", "A B", "é"] {
            assert!(!may_be_named(name), "{name}");
        }
        for name in ["A", "_x", "AWS_PROFILE", "LDAP"] {
            assert!(may_be_named(name), "{name}");
        }
    }
}
