//! Whose signatures a verifier accepts: an `allowed_signers` file, as ssh-keygen(1) has it under ALLOWED SIGNERS.
//!
//! ```text
//! bob,"Bob of Ops" namespaces="upm-approval" ssh-ed25519 AAAA… a comment
//! ```
//!
//! Read are principals by their full names and the option `namespaces`. What would mean something else than it says here is refused with its line:
//! patterns (`*`, `?`, `!`), the options `cert-authority`, `valid-after` and `valid-before`, and kinds of key that are not known. Left out: certificates.

use super::{SshError, SshKey};

/// The list of a verifier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedSigners(Vec<Allowed>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Allowed {
    principals: Vec<String>,
    /// `None`: every one.
    namespaces: Option<Vec<String>>,
    key: SshKey,
}

/// A line that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct AllowedError {
    /// From 1.
    pub line: usize,
    /// What is wrong with it.
    pub why: String,
}

impl AllowedSigners {
    /// Reads the list.
    ///
    /// # Errors
    /// The first line that is no entry of a form that is read here.
    pub fn parse(text: &str) -> Result<Self, AllowedError> {
        let lines = (1..).zip(text.lines()).map(|(line, text)| (line, text.trim()));
        let entries = lines.filter(|(_, text)| !text.is_empty() && !text.starts_with('#'));
        let read = |(line, text)| entry(text).map_err(|why| AllowedError { line, why });
        entries.map(read).collect::<Result<_, _>>().map(Self)
    }

    /// Whether this key signs for this principal in this namespace.
    pub fn allows(&self, principal: &str, namespace: &str, key: &SshKey) -> bool {
        self.0.iter().any(|allowed| {
            let spaces = allowed.namespaces.as_ref();
            allowed.key == *key
                && allowed.principals.iter().any(|name| name == principal)
                && spaces.is_none_or(|names| names.iter().any(|name| name == namespace))
        })
    }
}

fn entry(text: &str) -> Result<Allowed, String> {
    let (principals, rest) = word(text)?;
    let (mut key, mut namespaces) = (rest, None);
    // A key's kind is one bare word, and no option is.
    if SshKey::parse(rest).is_err() {
        let (options, behind) = word(rest)?;
        if let Some(names) = options.strip_prefix("namespaces=") {
            namespaces = Some(names_of(names, "a namespace")?);
            key = behind;
        } else if matches!(SshKey::parse(rest), Err(SshError::KeyType(_))) && options.contains('=') {
            return Err(format!("options {options:?}: expected namespaces=\"…\" or none"));
        }
    }
    let key = SshKey::parse(key).map_err(|error| error.to_string())?;
    Ok(Allowed { principals: names_of(&principals, "a principal")?, namespaces, key })
}

/// The first word, in which quoted parts may hold spaces, without its quotes; and what is behind it.
fn word(text: &str) -> Result<(String, &str), String> {
    let (mut out, mut quoted) = (String::new(), false);
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            c if c.is_whitespace() && !quoted => return Ok((out, text[at..].trim_start())),
            c => out.push(c),
        }
    }
    Err(if quoted { "a quote has no end" } else { "expected PRINCIPALS [namespaces=\"…\"] TYPE BASE64" }.to_owned())
}

fn names_of(list: &str, what: &str) -> Result<Vec<String>, String> {
    let names: Vec<String> = list.split(',').map(str::to_owned).collect();
    match names.iter().find(|name| name.is_empty() || name.contains(['*', '?', '!', '\\', '='])) {
        Some(name) => Err(format!("{what} {name:?}: patterns and options are not read here, expected a full name")),
        None => Ok(names),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ED25519: &str = include_str!("../../testdata/ssh/ed25519.pub");
    const ECDSA: &str = include_str!("../../testdata/ssh/ecdsa.pub");

    #[test]
    fn full_names_and_namespaces_are_read() {
        let (one, two) = (SshKey::parse(ED25519).unwrap(), SshKey::parse(ECDSA).unwrap());
        let text = format!(
            "# a list\n\nbob,\"Bob of Ops\" namespaces=\"upm-approval,file\" {ED25519}\n eve {} a comment\n\"bob\" {}\n",
            two.line(),
            two.line()
        );
        let list = AllowedSigners::parse(&text).unwrap();
        for (principal, namespace, key, expect) in [
            ("bob", "upm-approval", &one, true),
            ("Bob of Ops", "file", &one, true),
            ("bob", "git", &one, false),
            ("eve", "git", &two, true),
            ("bob", "git", &two, true),
            ("Bob", "file", &one, false),
            ("eve", "file", &one, false),
            ("", "file", &one, false),
        ] {
            assert_eq!(list.allows(principal, namespace, key), expect, "{principal} {namespace}");
        }
        assert_eq!(AllowedSigners::parse("").unwrap(), AllowedSigners::default());
    }

    #[test]
    fn what_would_mean_something_else_is_refused_with_its_line() {
        let key = SshKey::parse(ED25519).unwrap().line();
        for (text, expect) in [
            ("bob".to_owned(), "line 1: expected PRINCIPALS"),
            (format!("\n* {key}"), "line 2: a principal \"*\": patterns"),
            (format!("bob,!eve {key}"), "a principal \"!eve\""),
            (format!("bob, {key}"), "a principal \"\""),
            (format!("bob namespaces=\"file*\" {key}"), "a namespace \"file*\""),
            (format!("bob cert-authority {key}"), "key type \"cert-authority\" is not supported"),
            (format!("bob valid-after=\"20260101\" {key}"), "expected namespaces="),
            (format!("bob namespaces=\"file\",valid-after=\"20260101\" {key}"), "a namespace \"valid-after=20260101\""),
            (format!("\"bob {key}"), "a quote has no end"),
            ("bob ssh-rsa AAAA".to_owned(), "key type \"ssh-rsa\" is not supported"),
            ("bob ssh-ed25519 AAAA".to_owned(), "not an SSH signature"),
        ] {
            let said = AllowedSigners::parse(&text).unwrap_err().to_string();
            assert!(said.contains(expect), "{text}: {said}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_refused_calmly(text in "(\\PC|\n|\"){1,200}") {
            // No key is in it, so no line of it is an entry.
            let empty = text.lines().all(|line| line.trim().is_empty() || line.trim().starts_with('#'));
            prop_assert_eq!(AllowedSigners::parse(&text).is_ok(), empty);
        }
    }
}
