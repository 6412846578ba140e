//! `SHA256SUMS` as `sha256sum -c` reads it, and `files_root`, the RFC 6962 root over its lines.
//!
//! The tree over the files of a pack is hashed like a log's.

use ledger::frontier::Frontier;
use ledger::hash;

use crate::zip;

/// Name of the file in a pack.
pub(crate) const NAME: &str = "SHA256SUMS";

/// One line: the digest of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line<'a> {
    /// Lowercase hex SHA-256.
    pub(crate) digest: &'a str,
    /// Name of the file.
    pub(crate) name: &'a str,
}

/// Why a text is not a `SHA256SUMS` of a pack.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum SumsError {
    #[error("it is not UTF-8 text that ends with a line feed")]
    Text,
    #[error("line {line} is not `<64 hex digits>  <name>`")]
    Line { line: usize },
    #[error("line {line}: {name:?} is there twice or out of order")]
    Order { line: usize, name: String },
}

/// The text over `files`, given as name and digest, which come sorted by name.
pub(crate) fn text<'a>(files: impl Iterator<Item = (&'a str, [u8; 32])>) -> String {
    let mut out = String::new();
    for (name, sha256) in files {
        out.push_str(&hex::encode(sha256));
        out.push_str("  ");
        out.push_str(name);
        out.push('\n');
    }
    out
}

/// Parses the text; accepts exactly what [`text`] gives.
pub(crate) fn parse(bytes: &[u8]) -> Result<Vec<Line<'_>>, SumsError> {
    let text = std::str::from_utf8(bytes).map_err(|_| SumsError::Text)?;
    let text = text.strip_suffix('\n').ok_or(SumsError::Text)?;
    let mut lines: Vec<Line<'_>> = Vec::new();
    for (n, line) in text.split('\n').enumerate() {
        let malformed = SumsError::Line { line: n + 1 };
        let Some((digest, name)) = line.split_once("  ") else { return Err(malformed) };
        let hex = digest.len() == 64 && digest.bytes().all(|c| matches!(c, b'0'..=b'9' | b'a'..=b'f'));
        if !hex || zip::bad_name(name.as_bytes()).is_some() {
            return Err(malformed);
        }
        if lines.last().is_some_and(|last| last.name >= name) {
            return Err(SumsError::Order { line: n + 1, name: name.to_owned() });
        }
        lines.push(Line { digest, name });
    }
    Ok(lines)
}

/// RFC 6962 root over the lines of the text, each without its line feed.
pub(crate) fn files_root(text: &[u8]) -> [u8; 32] {
    let mut tree = Frontier::default();
    for line in text.strip_suffix(b"\n").unwrap_or(text).split(|c| *c == b'\n') {
        tree.push(hash::leaf(line));
    }
    tree.root().0
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn digest(parts: &[&[u8]]) -> [u8; 32] {
        Sha256::digest(parts.concat()).into()
    }

    #[test]
    fn text_and_parse_are_inverse() {
        let files: [(&str, &[u8]); 2] = [("a.txt", b"a"), ("b/c", b"")];
        let text = text(files.into_iter().map(|(name, bytes)| (name, digest(&[bytes]))));
        assert_eq!(
            text,
            "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb  a.txt\n\
             e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855  b/c\n"
        );
        let lines = parse(text.as_bytes()).unwrap();
        assert_eq!(lines.iter().map(|l| l.name).collect::<Vec<_>>(), ["a.txt", "b/c"]);
    }

    #[test]
    fn other_forms_are_refused() {
        let digest = "ca978112ca1bbdcafac231b39a23dc4da786eff8147c4e72b9807785afee48bb";
        let upper = digest.to_uppercase();
        let check = |text: &str, expect: SumsError| assert_eq!(parse(text.as_bytes()), Err(expect), "{text:?}");
        check("", SumsError::Text);
        check("\n", SumsError::Line { line: 1 });
        check(&format!("{digest}  a"), SumsError::Text);
        check(&format!("{digest}  a\n\n"), SumsError::Line { line: 2 });
        check(&format!("{digest} *a\n"), SumsError::Line { line: 1 });
        check(&format!("\\{digest}  a\n"), SumsError::Line { line: 1 });
        check(&format!("{digest}  a\r\n"), SumsError::Line { line: 1 });
        check(&format!("{digest}   a\n"), SumsError::Line { line: 1 });
        check(&format!("{digest}  ../a\n"), SumsError::Line { line: 1 });
        check(&format!("{upper}  a\n"), SumsError::Line { line: 1 });
        check(&format!("{digest}  a\n{digest}  a\n"), SumsError::Order { line: 2, name: "a".into() });
        check(&format!("{digest}  b\n{digest}  a\n"), SumsError::Order { line: 2, name: "a".into() });
    }

    #[test]
    fn the_root_is_the_one_of_rfc_6962() {
        /// RFC 6962, section 2.1, word for word.
        fn mth(leaves: &[&[u8]]) -> [u8; 32] {
            match leaves {
                [] => digest(&[b""]),
                [leaf] => digest(&[&[0], leaf]),
                _ => {
                    let k = leaves.len().next_power_of_two() / 2;
                    digest(&[&[1], &mth(&leaves[..k]), &mth(&leaves[k..])])
                }
            }
        }
        for n in 1..70 {
            let lines: Vec<String> = (0..n).map(|i| format!("line {i}")).collect();
            let text = lines.join("\n") + "\n";
            let leaves: Vec<&[u8]> = lines.iter().map(String::as_bytes).collect();
            assert_eq!(files_root(text.as_bytes()), mth(&leaves), "{n} lines");
        }
    }
}
