//! Files of policies, and what is wrong in them.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

/// Policies and data, by path.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Files {
    /// Rego by its path.
    pub rego: BTreeMap<String, String>,
    /// What `data` holds beside the packages.
    pub data: Map<String, Value>,
    digests: BTreeMap<String, [u8; 32]>,
}

/// A mistake in a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}{}: {message}", line.map_or(String::new(), |line| format!(", line {line}")))]
pub struct SourceError {
    /// The file, or what else is meant.
    pub file: String,
    /// From 1.
    pub line: Option<u64>,
    /// What is wrong, and where in the line.
    pub message: String,
}

/// One policy file, in bytes. A longer one is generated, and belongs into data.
const FILE_BYTES: usize = 1 << 20;
/// Brackets within brackets. The parser tries what may stand in them one after the other, so each level doubles its work.
const NESTED: usize = 12;

impl SourceError {
    pub(super) fn new(file: &str, message: impl Into<String>) -> Self {
        Self { file: file.to_owned(), line: None, message: message.into() }
    }

    /// Out of the evaluator's message, which shows the line with a pointer below it:
    /// `--> FILE:LINE:COLUMN`, the line, `error: MESSAGE`. `file` where it names none.
    pub(super) fn of(text: &str, file: &str) -> Self {
        let place = text.lines().find_map(|line| {
            let mut parts = line.trim().strip_prefix("--> ")?.rsplitn(3, ':');
            let (_, line, file) = (parts.next()?, parts.next()?.parse().ok()?, parts.next()?);
            Some((file.to_owned(), line))
        });
        let message = text.lines().rev().find_map(|line| line.trim().strip_prefix("error: "));
        let shown = text.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason was given");
        let message = message.unwrap_or(shown).to_owned();
        let message =
            if message.contains("time limit") { "it takes more steps than it may".to_owned() } else { message };
        match place {
            Some((file, line)) => Self { file, line: Some(line), message },
            None => Self { file: file.to_owned(), line: None, message },
        }
    }
}

impl Files {
    /// Files of a directory or a bundle: path, with slashes, from its top, and bytes. `.rego` are policies (`_test.rego` are tests, which are left
    /// out), `data.json` is data at the place of its folder, everything else is not looked at.
    pub fn read<'f>(files: impl IntoIterator<Item = (&'f str, &'f [u8])>) -> Result<Self, Vec<SourceError>> {
        let (mut read, mut errors) = (Self::default(), Vec::new());
        for (path, bytes) in files {
            if let Err(error) = read.add(path.trim_start_matches("./").trim_start_matches('/'), bytes) {
                errors.push(error);
            }
        }
        if errors.is_empty() { Ok(read) } else { Err(errors) }
    }

    fn add(&mut self, path: &str, bytes: &[u8]) -> Result<(), SourceError> {
        let name = path.rsplit('/').next().unwrap_or(path);
        let stem = name.strip_suffix(".rego");
        let is_rego = stem.is_some_and(|stem| !stem.ends_with("_test"));
        if name == "data.yaml" || name == "data.yml" {
            return Err(SourceError::new(path, "data is read as JSON: data.json"));
        }
        if !is_rego && name != "data.json" {
            return Ok(());
        }
        if self.digests.insert(path.to_owned(), Sha256::digest(bytes).into()).is_some() {
            return Err(SourceError::new(path, "it is there twice"));
        }
        let text = std::str::from_utf8(bytes).map_err(|_| SourceError::new(path, "it is no UTF-8"))?;
        if is_rego {
            if bytes.len() > FILE_BYTES {
                let message = format!("{} bytes, expected at most {FILE_BYTES}", bytes.len());
                return Err(SourceError::new(path, message));
            }
            if let Some(line) = too_deep(text) {
                let message = format!("brackets more than {NESTED} deep; give what is in them a name");
                return Err(SourceError { file: path.to_owned(), line: Some(line), message });
            }
            self.rego.insert(path.to_owned(), text.to_owned());
            return Ok(());
        }
        let value: Value = serde_json::from_str(text).map_err(|error| SourceError {
            file: path.to_owned(),
            line: Some(error.line() as u64),
            message: format!("no JSON: {error}"),
        })?;
        let Value::Object(members) = value else {
            return Err(SourceError::new(path, "found no object, expected one: its members are the data"));
        };
        let folders: Vec<&str> = path.split('/').collect();
        let inner = folders[..folders.len() - 1]
            .iter()
            .rev()
            .fold(members, |inner, folder| Map::from_iter([((*folder).to_owned(), Value::Object(inner))]));
        merge(&mut self.data, inner, path)
    }

    /// SHA-256 over paths and digests of all files that were read.
    pub(super) fn digest(&self) -> String {
        let mut digest = Sha256::new();
        for (path, content) in &self.digests {
            digest.update(Sha256::digest(path.as_bytes()));
            digest.update(content);
        }
        format!("sha256:{}", hex::encode(digest.finalize()))
    }
}

/// The line of the first bracket that is too deep, outside of text and comments.
fn too_deep(text: &str) -> Option<u64> {
    let (mut depth, mut line) = (0_usize, 1);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\n' => line += 1,
            '#' => {
                line += u64::from(chars.by_ref().any(|c| c == '\n'));
            }
            '`' => {
                for c in chars.by_ref().take_while(|c| *c != '`') {
                    line += u64::from(c == '\n');
                }
            }
            '"' => {
                // Text ends with its line at the latest; the parser tells what is wrong then.
                while let Some(c) = chars.next() {
                    match c {
                        '\\' => drop(chars.next()),
                        '"' => break,
                        '\n' => {
                            line += 1;
                            break;
                        }
                        _ => {}
                    }
                }
            }
            '(' | '[' | '{' => {
                depth += 1;
                if depth > NESTED {
                    return Some(line);
                }
            }
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    None
}

/// Two documents that say different things of one place are a mistake.
fn merge(into: &mut Map<String, Value>, from: Map<String, Value>, path: &str) -> Result<(), SourceError> {
    for (name, value) in from {
        match (into.get_mut(&name), value) {
            (None, value) => drop(into.insert(name, value)),
            (Some(Value::Object(inner)), Value::Object(more)) => merge(inner, more, path)?,
            (Some(known), value) if *known == value => {}
            (Some(_), _) => {
                return Err(SourceError::new(path, format!("{name:?} has another value in an earlier file")));
            }
        }
    }
    Ok(())
}
