//! Names of variables that may reach a command by a catalogue or a credential helper. What of the worker's own environment is let through is
//! `guard.environment`.

/// What a name has to be.
pub const EXPECTED: &str = "a name of letters, digits and underlines, and none that makes programs load or run something else (LD_*, DYLD_*, BASH_ENV, …)";

/// Variables by which a program loads or runs something that was not approved, or reads what was approved as something else.
const LOADERS: [&str; 16] = [
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
    // By these coreutils and grep read the same words in another way than the guard did.
    "POSIXLY_CORRECT",
    "_POSIX2_VERSION",
];

/// Whether a variable of this name may reach a command.
pub fn may_be_named(name: &str) -> bool {
    let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    is_name && !name.starts_with("LD_") && !name.starts_with("DYLD_") && !LOADERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_load_something_else_are_none() {
        for name in [
            "LD_PRELOAD",
            "LD_LIBRARY_PATH",
            "DYLD_INSERT_LIBRARIES",
            "BASH_ENV",
            "POSIXLY_CORRECT",
            "A=B",
            "",
            "1A",
            "A B",
            "é",
        ] {
            assert!(!may_be_named(name), "{name}");
        }
        for name in ["A", "_x", "AWS_PROFILE", "LDAP"] {
            assert!(may_be_named(name), "{name}");
        }
    }
}
