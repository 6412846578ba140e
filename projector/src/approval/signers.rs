//! Whose approvals a key signs: facts of the tenant, and the same as `ssh-keygen -Y verify` reads it (`ALLOWED SIGNERS` in ssh-keygen(1)).
//!
//! A fact `approval.signer.LABEL` is `SHA256:FINGERPRINT NAME`, which is all that judging needs: the signature carries the key. Since a verifier that
//! is not ours wants the key from us, the fact has it too, before the name: `SHA256:FINGERPRINT TYPE BASE64 NAME`.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use ledger::ssh::SshKey;

use super::{FACTS, NAMESPACE, Rule};

/// What the name of each such fact begins with.
pub(super) const SIGNER: &str = "approval.signer.";

/// A key that signs somebody's approvals.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signer {
    /// `SHA256:…`, as `ssh-keygen -l` prints it.
    pub fingerprint: String,
    /// The key; `None` where the fact has its fingerprint only.
    pub key: Option<SshKey>,
    /// Whose approvals.
    pub approver: String,
}

impl Signer {
    /// Of the value of a fact. `None` where it names no key, or another than its fingerprint is of.
    pub fn read(value: &str) -> Option<Self> {
        let (fingerprint, rest) = value.split_once(' ')?;
        let digits = fingerprint.strip_prefix("SHA256:")?;
        let fits = digits.len() == 43 && digits.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '/'));
        let rest = rest.trim();
        // A name may have spaces, but none begins with the two words of a key.
        let (key, approver) = match SshKey::parse(rest) {
            Ok(key) => (Some(key), rest.splitn(3, char::is_whitespace).nth(2)?.trim()),
            Err(_) => (None, rest),
        };
        let same = key.as_ref().is_none_or(|key| key.fingerprint() == fingerprint);
        (fits && same && !approver.is_empty()).then(|| Self {
            fingerprint: fingerprint.to_owned(),
            key,
            approver: approver.to_owned(),
        })
    }

    /// The line of an `allowed_signers` file; why there is none where the fact has no key, or the name would be a pattern.
    fn line(&self) -> Result<String, &'static str> {
        let key = self.key.as_ref().ok_or("only its fingerprint is on record: allow it again with its file")?;
        let plain = |c: char| !c.is_control() && !matches!(c, ',' | '*' | '?' | '!' | '"' | '#' | '\\');
        if !self.approver.chars().all(plain) {
            return Err("ssh-keygen would take this name for a pattern");
        }
        let spaces = self.approver.contains(char::is_whitespace);
        let name = if spaces { format!("\"{}\"", self.approver) } else { self.approver.clone() };
        Ok(format!("{name} namespaces=\"{NAMESPACE}\" {}", key.line()))
    }
}

/// The keys that a tenant's facts allow, by approver and fingerprint. What cannot be read allows nobody.
pub fn signers(facts: &BTreeMap<String, String>) -> Vec<Signer> {
    let named = facts.iter().filter(|(name, _)| name.starts_with(SIGNER));
    let mut signers: Vec<Signer> = named.filter_map(|(_, value)| Signer::read(value)).collect();
    signers.sort_by(|a, b| (&a.approver, &a.fingerprint).cmp(&(&b.approver, &b.fingerprint)));
    signers
}

/// An `allowed_signers` file of them: for `ssh-keygen -Y verify -f FILE -I APPROVER -n upm-approval`. What cannot stand there is a comment.
pub fn allowed_signers(signers: &[Signer]) -> String {
    let mut text = String::new();
    for signer in signers {
        let _ = match signer.line() {
            Ok(line) => writeln!(text, "{line}"),
            Err(why) => {
                let approver: String = signer.approver.chars().filter(|c| !c.is_control()).collect();
                writeln!(text, "# {approver} {}: {why}", signer.fingerprint)
            }
        };
    }
    text
}

/// Fingerprint and name out of the value of a fact.
pub(crate) fn named_key(value: &str) -> Option<(String, String)> {
    Signer::read(value).map(|signer| (signer.fingerprint, signer.approver))
}

impl Rule {
    /// The fact that allows a key: its name and its value.
    pub fn signer_fact(key: &SshKey, approver: &str) -> (String, String) {
        let fingerprint = key.fingerprint();
        // Names of facts have no `+`; the value has the whole fingerprint.
        let label: String =
            fingerprint.trim_start_matches("SHA256:").chars().filter(char::is_ascii_alphanumeric).take(24).collect();
        debug_assert!(SIGNER.starts_with(FACTS), "it is a fact of the rule");
        (format!("{SIGNER}{label}"), format!("{fingerprint} {} {approver}", key.line()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = include_str!("../../testdata/approval/bob.pub");

    fn key() -> SshKey {
        SshKey::parse(KEY).unwrap()
    }

    #[test]
    fn a_fact_has_a_key_or_its_fingerprint() {
        let (name, value) = Rule::signer_fact(&key(), "Bob of Ops");
        assert!(name.starts_with(SIGNER) && name.len() <= ledger::governance::MAX_NAME_CHARS);
        let read = |value: &str| Signer::read(value).map(|signer| (signer.key.is_some(), signer.approver));
        let print = key().fingerprint();
        assert_eq!(read(&value), Some((true, "Bob of Ops".to_owned())));
        assert_eq!(read(&format!("{print} bob")), Some((false, "bob".to_owned())));
        assert_eq!(read(&format!("{print} ssh-ed25519 for bob")), Some((false, "ssh-ed25519 for bob".to_owned())));
        let other = format!("SHA256:{}", "A".repeat(43));
        for bad in [
            String::new(),
            print.clone(),
            format!("{print} "),
            format!("{print} {}", key().line()),
            value.replacen(&print, &other, 1),
            format!("SHA256:short {}", key().line()),
        ] {
            assert_eq!(read(&bad), None, "{bad}");
        }
    }

    #[test]
    fn names_that_are_patterns_are_comments() {
        let signer = |approver: &str| Signer {
            fingerprint: key().fingerprint(),
            key: Some(key()),
            approver: approver.to_owned(),
        };
        let line = key().line();
        for (approver, expect) in [
            ("bob", format!("bob namespaces=\"upm-approval\" {line}\n")),
            ("Bob of Ops", format!("\"Bob of Ops\" namespaces=\"upm-approval\" {line}\n")),
        ] {
            assert_eq!(allowed_signers(&[signer(approver)]), expect);
        }
        for approver in ["*", "bob,eve", "!eve", "b?b", "# eve", "a\"b", "a\nroot"] {
            let text = allowed_signers(&[signer(approver)]);
            assert!(text.starts_with("# ") && text.lines().count() == 1, "{text}");
        }
        let bare = Signer { key: None, ..signer("bob") };
        assert!(allowed_signers(&[bare]).contains("only its fingerprint is on record"));
    }
}
