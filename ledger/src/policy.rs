//! Who has to have cosigned a checkpoint before it is trusted: C2SP tlog-policy.
//!
//! ```text
//! log <vkey> [<url>]
//! witness <name> <vkey> [<url>]
//! group <name> all|any|<k> <name>...
//! quorum <name>|none
//! ```
//!
//! Strict: any line that the specification does not allow is refused with its number, because a policy that is read in two ways
//! is two policies. Names are octets without a meaning outside the file. Left out: fetching, and what a URL answers.

use std::fmt;

use crate::checkpoint::Origin;
use crate::cosignature::{CosignerKey, CosignerKeyError};
use crate::note::{VerifierKey, VerifierKeyError};

/// Bytes of a policy file. A log or witness with an ML-DSA-44 key takes 2 KiB; this is hundreds of them.
pub const MAX_POLICY_BYTES: usize = 1 << 20;

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    keys: Vec<CosignerKey>,
    /// Witnesses and groups in the order of the file: a group refers to earlier ones only.
    nodes: Vec<Node>,
    quorum: Option<usize>,
}

/// A log that is accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyLog {
    /// Its key; the key's name is the log's origin.
    pub key: VerifierKey,
    /// Where it is served.
    pub url: Option<String>,
}

/// A witness that is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyWitness {
    /// Its name in the policy, shown as UTF-8.
    pub name: String,
    /// Its key.
    pub key: CosignerKey,
    /// Its submission prefix (C2SP tlog-witness).
    pub url: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Node {
    name: Vec<u8>,
    kind: Kind,
    /// Whether a group has it.
    grouped: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// By index among the witnesses.
    Witness(usize),
    Group {
        threshold: usize,
        /// By index among the nodes.
        members: Vec<usize>,
    },
}

/// What a policy says of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// The quorum is there.
    Satisfied,
    /// It is not; the text says what is missing.
    Missing(String),
}

/// A file that is no policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("witness policy, line {line}: {reason}")]
pub struct PolicyError {
    /// Counted from 1.
    pub line: usize,
    /// What is wrong with it.
    pub reason: PolicyReason,
}

/// What is wrong with a line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PolicyReason {
    /// More than [`MAX_POLICY_BYTES`].
    #[error("the file has {0} bytes, more than {MAX_POLICY_BYTES}")]
    TooLong(usize),
    /// A control character other than tab and newline.
    #[error("control character {0:#04x}; only tab and newline are allowed")]
    ControlCharacter(u8),
    /// The last line.
    #[error("the last line does not end in a newline: the file may be cut off")]
    Unterminated,
    /// The first word.
    #[error("unknown keyword {0:?}; expected log, witness, group or quorum")]
    Keyword(String),
    /// Too few or too many words.
    #[error("expected `{0}`")]
    Form(&'static str),
    /// A key or a URL is not UTF-8.
    #[error("{0} is not UTF-8")]
    Utf8(&'static str),
    /// A log's vkey.
    #[error("log key: {0}")]
    LogKey(VerifierKeyError),
    /// A witness's vkey.
    #[error("witness key: {0}")]
    WitnessKey(CosignerKeyError),
    /// The same public key again.
    #[error("the public key of {0} stands on an earlier line too")]
    DuplicateKey(String),
    /// A name is taken.
    #[error("the name {0:?} is taken by an earlier line")]
    DuplicateName(String),
    /// `none` names nothing.
    #[error("`none` is no name for a witness or a group, and no member of one")]
    ReservedName,
    /// A name that no earlier line defines.
    #[error("{0:?} is defined by no earlier line")]
    UnknownName(String),
    /// A member of two groups, or twice of one.
    #[error("{0:?} is a member already: each witness counts in one way only")]
    MemberTwice(String),
    /// A threshold.
    #[error("threshold {found:?}; expected all, any, or a number from 1 to {members}")]
    Threshold {
        /// As written.
        found: String,
        /// Members of the group.
        members: usize,
    },
    /// A second quorum line.
    #[error("a second quorum line")]
    SecondQuorum,
    /// No quorum line; the line is the file's last.
    #[error("the file ends without a quorum line")]
    NoQuorum,
}

impl Policy {
    /// The policy of a file.
    pub fn parse(file: &[u8]) -> Result<Policy, PolicyError> {
        let whole = |reason| PolicyError { line: 1, reason };
        if file.len() > MAX_POLICY_BYTES {
            return Err(whole(PolicyReason::TooLong(file.len())));
        }
        let mut reading = Reading::default();
        let lines: Vec<&[u8]> = file.split(|byte| *byte == b'\n').collect();
        // What follows the last newline is no line: it has to be empty.
        let (rest, lines) = lines.split_last().unwrap_or((&file, &[]));
        for (at, line) in lines.iter().enumerate() {
            reading.line(line).map_err(|reason| PolicyError { line: at + 1, reason })?;
        }
        let line = lines.len() + 1;
        if !rest.is_empty() {
            return Err(PolicyError { line, reason: PolicyReason::Unterminated });
        }
        let Some(quorum) = reading.quorum else {
            return Err(PolicyError { line: lines.len().max(1), reason: PolicyReason::NoQuorum });
        };
        let quorum = match quorum {
            Quorum::Nobody => None,
            Quorum::Node(at) => Some(at),
        };
        let Reading { logs, witnesses, nodes, .. } = reading;
        let keys = witnesses.iter().map(|witness| witness.key.clone()).collect();
        Ok(Policy { logs, witnesses, keys, nodes, quorum })
    }

    /// The logs that are accepted; none means that the caller knows its logs otherwise.
    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    /// The keys of the logs of an origin.
    pub fn keys_of(&self, origin: &Origin) -> Vec<VerifierKey> {
        let of_origin = self.logs.iter().filter(|log| log.key.name() == origin.key_name());
        of_origin.map(|log| log.key.clone()).collect()
    }

    /// The witnesses, in the order of the file.
    pub fn witnesses(&self) -> &[PolicyWitness] {
        &self.witnesses
    }

    /// The keys of the witnesses, in the order of the file: what [`crate::cosignature::cosignatures`] asks for.
    pub fn witness_keys(&self) -> &[CosignerKey] {
        &self.keys
    }

    /// Whether the policy asks for any cosignature at all; `quorum none` does not.
    pub fn asks_for_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Whether those who cosigned are enough. Cosignatures have been verified by then.
    pub fn standing(&self, cosigned_by: &[&CosignerKey]) -> Standing {
        let Some(quorum) = self.quorum else {
            return Standing::Satisfied;
        };
        let mut met: Vec<bool> = Vec::with_capacity(self.nodes.len());
        for node in &self.nodes {
            let holds = match &node.kind {
                Kind::Witness(at) => cosigned_by.contains(&&self.witnesses[*at].key),
                Kind::Group { threshold, members } => members.iter().filter(|at| met[**at]).count() >= *threshold,
            };
            met.push(holds);
        }
        if met[quorum] { Standing::Satisfied } else { Standing::Missing(self.explain(quorum, &met)) }
    }

    /// What a node that is not met lacks: groups below it are named, and said to lack what they lack, one after the other.
    fn explain(&self, quorum: usize, met: &[bool]) -> String {
        let mut sentences = Vec::new();
        let mut open = vec![quorum];
        while let Some(at) = open.pop() {
            let node = &self.nodes[at];
            match &node.kind {
                Kind::Witness(_) if at == quorum => sentences.push(format!("no cosignature by {}", shown(&node.name))),
                Kind::Witness(_) => {}
                Kind::Group { threshold, members } => {
                    let (have, lack): (Vec<usize>, Vec<usize>) = members.iter().partition(|member| met[**member]);
                    let names: Vec<String> = lack.iter().map(|member| shown(&self.nodes[*member].name)).collect();
                    let (name, have) = (shown(&node.name), have.len());
                    sentences
                        .push(format!("{name} has {have} of the {threshold} it needs (not: {})", names.join(", ")));
                    open.extend(lack.iter().rev());
                }
            }
        }
        sentences.join("; ")
    }
}

/// What the quorum line names.
enum Quorum {
    /// `none`.
    Nobody,
    /// By index among the nodes.
    Node(usize),
}

/// What the lines so far have said.
#[derive(Default)]
struct Reading {
    logs: Vec<PolicyLog>,
    witnesses: Vec<PolicyWitness>,
    nodes: Vec<Node>,
    quorum: Option<Quorum>,
}

impl Reading {
    fn line(&mut self, line: &[u8]) -> Result<(), PolicyReason> {
        if let Some(control) = line.iter().find(|byte| (**byte < 0x20 && **byte != b'\t') || **byte == 0x7f) {
            return Err(PolicyReason::ControlCharacter(*control));
        }
        let words: Vec<&[u8]> =
            line.split(|byte| matches!(byte, b' ' | b'\t')).filter(|word| !word.is_empty()).collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", rest @ ..] => self.log(rest),
            [b"witness", rest @ ..] => self.witness(rest),
            [b"group", rest @ ..] => self.group(rest),
            [b"quorum", rest @ ..] => self.quorum(rest),
            [other, ..] => Err(PolicyReason::Keyword(shown(other))),
        }
    }

    fn log(&mut self, words: &[&[u8]]) -> Result<(), PolicyReason> {
        let (vkey, url) = match words {
            [vkey] => (vkey, None),
            [vkey, url] => (vkey, Some(url)),
            _ => return Err(PolicyReason::Form("log <vkey> [<url>]")),
        };
        let key = VerifierKey::parse(utf8(vkey, "the key")?).map_err(PolicyReason::LogKey)?;
        if self.logs.iter().any(|log| log.key.key() == key.key()) {
            return Err(PolicyReason::DuplicateKey(key.name().to_string()));
        }
        self.logs.push(PolicyLog { key, url: url.map(|url| parse_url(url)).transpose()? });
        Ok(())
    }

    fn witness(&mut self, words: &[&[u8]]) -> Result<(), PolicyReason> {
        let (name, vkey, url) = match words {
            [name, vkey] => (name, vkey, None),
            [name, vkey, url] => (name, vkey, Some(url)),
            _ => return Err(PolicyReason::Form("witness <name> <vkey> [<url>]")),
        };
        self.is_free(name)?;
        let key = CosignerKey::parse(utf8(vkey, "the key")?).map_err(PolicyReason::WitnessKey)?;
        if self.witnesses.iter().any(|witness| witness.key.same_key(&key)) {
            return Err(PolicyReason::DuplicateKey(shown(name)));
        }
        self.nodes.push(Node { name: name.to_vec(), kind: Kind::Witness(self.witnesses.len()), grouped: false });
        let url = url.map(|url| parse_url(url)).transpose()?;
        self.witnesses.push(PolicyWitness { name: shown(name), key, url });
        Ok(())
    }

    fn group(&mut self, words: &[&[u8]]) -> Result<(), PolicyReason> {
        let [name, threshold, names @ ..] = words else {
            return Err(PolicyReason::Form("group <name> all|any|<k> <name>..."));
        };
        if names.is_empty() {
            return Err(PolicyReason::Form("group <name> all|any|<k> <name>..."));
        }
        self.is_free(name)?;
        let threshold = parse_threshold(threshold, names.len())?;
        let mut members = Vec::with_capacity(names.len());
        for member in names {
            let at = self.find(member)?;
            if std::mem::replace(&mut self.nodes[at].grouped, true) {
                return Err(PolicyReason::MemberTwice(shown(member)));
            }
            members.push(at);
        }
        self.nodes.push(Node { name: name.to_vec(), kind: Kind::Group { threshold, members }, grouped: false });
        Ok(())
    }

    fn quorum(&mut self, words: &[&[u8]]) -> Result<(), PolicyReason> {
        let [name] = words else {
            return Err(PolicyReason::Form("quorum <name>|none"));
        };
        if self.quorum.is_some() {
            return Err(PolicyReason::SecondQuorum);
        }
        self.quorum = Some(if *name == b"none" { Quorum::Nobody } else { Quorum::Node(self.find(name)?) });
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Result<usize, PolicyReason> {
        if name == b"none" {
            return Err(PolicyReason::ReservedName);
        }
        let at = self.nodes.iter().position(|node| node.name == name);
        at.ok_or_else(|| PolicyReason::UnknownName(shown(name)))
    }

    fn is_free(&self, name: &[u8]) -> Result<(), PolicyReason> {
        if name == b"none" {
            return Err(PolicyReason::ReservedName);
        }
        if self.nodes.iter().any(|node| node.name == name) {
            return Err(PolicyReason::DuplicateName(shown(name)));
        }
        Ok(())
    }
}

fn parse_threshold(word: &[u8], members: usize) -> Result<usize, PolicyReason> {
    let refused = || PolicyReason::Threshold { found: shown(word), members };
    match word {
        b"all" => Ok(members),
        b"any" => Ok(1),
        digits => {
            let number = std::str::from_utf8(digits).ok().and_then(crate::encoding::from_decimal);
            let number = number.and_then(|number| usize::try_from(number).ok()).ok_or_else(refused)?;
            if (1..=members).contains(&number) { Ok(number) } else { Err(refused()) }
        }
    }
}

fn parse_url(word: &[u8]) -> Result<String, PolicyReason> {
    Ok(utf8(word, "the URL")?.to_owned())
}

fn utf8<'w>(word: &'w [u8], what: &'static str) -> Result<&'w str, PolicyReason> {
    std::str::from_utf8(word).map_err(|_| PolicyReason::Utf8(what))
}

/// A word of the file for a person.
fn shown(word: &[u8]) -> String {
    String::from_utf8_lossy(word).chars().take(160).collect()
}

impl Standing {
    /// Whether the quorum is there.
    pub fn is_satisfied(&self) -> bool {
        *self == Standing::Satisfied
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Standing::Satisfied => f.write_str("the policy is satisfied"),
            Standing::Missing(what) => write!(f, "the policy is not satisfied: {what}"),
        }
    }
}
