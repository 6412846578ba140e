//! `headers/` of a pack: every entry of the log behind the change's last one, up to the pack's tree head, so that the last is shown to be
//! the last. `seq` and `prev` alone show that nothing is missing before it.
//!
//! ```text
//! headers/frontier               roots of the tree up to and with the change's last entry: base64, one a line, largest first
//! headers/0000000043.ndjson …    the entries behind it, one a line, in the files of a population
//! ```
//!
//! The root over both has to be the one that was signed. Writer and verifier share this file.

use std::collections::BTreeMap;

use ledger::entry::{Header, View};
use ledger::hash::{self, Hash};
use schemas::ids::ChangeId;

use crate::parts::PackFile;
use crate::plan::LaterHeaders;
use crate::population::{HEADERS, frontier_of, frontier_text, header_files, lines_name};

/// Name of the frontier.
pub(crate) const FRONTIER: &str = "headers/frontier";

/// The files, checked as a verifier will check them.
pub(crate) fn files(
    change: &ChangeId,
    headers: &LaterHeaders,
    size: u64,
    root: &Hash,
) -> Result<Vec<PackFile>, String> {
    let first = headers.frontier.size();
    if first + headers.entries.len() as u64 != size {
        return Err(format!("{} entries behind entry {first}, the tree has {size}", headers.entries.len()));
    }
    let mut out = vec![(FRONTIER.to_owned(), frontier_text(&headers.frontier))];
    let mut entries = headers.entries.iter();
    for range in header_files(first, size) {
        let mut lines = Vec::new();
        for (_, entry) in range.clone().zip(entries.by_ref()) {
            lines.extend_from_slice(entry);
            lines.push(b'\n');
        }
        out.push((lines_name(HEADERS, range.start), lines));
    }
    let views: BTreeMap<&str, &[u8]> = out.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())).collect();
    let checked = check(change, first, size, root, &views)?;
    match checked.unknown {
        Some(index) => Err(unknown(index)),
        None => Ok(out),
    }
}

/// Names of the files of a pack whose change's last entry is `first - 1`.
pub(crate) fn names(first: u64, size: u64) -> impl Iterator<Item = String> {
    let files = header_files(first, size).map(|range| lines_name(HEADERS, range.start));
    std::iter::once(FRONTIER.to_owned()).chain(files)
}

/// What the entries behind the last one are.
pub(crate) struct Checked {
    /// How many they are.
    pub(crate) count: u64,
    /// The first of a kind that this version does not know: nobody here can say of what change it is.
    pub(crate) unknown: Option<u64>,
    /// The log's time of the last one, in milliseconds; none where there is none, or where it tells no time.
    pub(crate) last_at: Option<u64>,
}

/// What is to be said of an entry of an unknown kind.
pub(crate) fn unknown(index: u64) -> String {
    format!("entry {index} is of a kind that this version does not know, and may be of this change")
}

/// Checks that these are all entries from `first` to `size` under `root`, and that none is of the change, as far as this version knows.
pub(crate) fn check(
    change: &ChangeId,
    first: u64,
    size: u64,
    root: &Hash,
    files: &BTreeMap<&str, &[u8]>,
) -> Result<Checked, String> {
    if first > size {
        return Err(format!("the change's last entry is {}, the tree has {size}", first.saturating_sub(1)));
    }
    let get = |name: &str| files.get(name).copied().ok_or_else(|| format!("{name} is missing"));
    let mut tree = frontier_of(get(FRONTIER)?, first).map_err(|error| format!("{FRONTIER}: {error}"))?;
    let (mut later, mut unknown, mut last_at) = (None, None, None);
    for range in header_files(first, size) {
        let name = lines_name(HEADERS, range.start);
        let text = get(&name)?.strip_suffix(b"\n").ok_or_else(|| format!("{name} does not end with a line feed"))?;
        for (index, line) in (range.start..range.end).zip(text.split(|b| *b == b'\n')) {
            tree.push(hash::leaf(line));
            let view = View::read(line).map_err(|error| format!("{name}, entry {index}: {error}"))?;
            last_at = view.at();
            match view {
                View::Event(event) if event.change == change.as_str() => later = later.or(Some(index)),
                View::Other(Header::Unknown { .. }) => unknown = unknown.or(Some(index)),
                View::Event(_) | View::Other(_) => {}
            }
        }
        if tree.size() != range.end || text.split(|b| *b == b'\n').count() as u64 != range.end - range.start {
            return Err(format!("{name} has other lines than the entries {} to {}", range.start, range.end));
        }
    }
    if tree.root() != *root {
        return Err(format!(
            "they lead to root {}, {root} was signed: an entry was left out, added, moved or altered",
            tree.root()
        ));
    }
    match later {
        Some(index) => Err(format!("entry {index} is of this change, and the pack leaves it out")),
        None => Ok(Checked { count: size - first, unknown, last_at }),
    }
}
