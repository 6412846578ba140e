//! `headers/` of a pack: every entry of the log behind the change's last one, up to the pack's tree head, so that the last is shown to be
//! the last. `seq` and `prev` alone show that nothing is missing before it.
//!
//! ```text
//! headers/frontier               roots of the tree up to and with the change's last entry: base64, one a line, largest first
//! headers/0000000043.ndjson …    the entries behind it, one a line, in the files of a population
//! ```
//!
//! The root over both has to be the one that was signed. Writer and verifier share this file.

use std::ops::Range;

use ledger::entry::{Header, View};
use ledger::frontier::Frontier;
use ledger::hash::{self, Hash};
use schemas::ids::ChangeId;

use crate::planned::{Planned, Source};
use crate::population::{HEADERS, frontier_of, frontier_text, header_files, lines_name};

/// Name of the frontier.
pub(crate) const FRONTIER: &str = "headers/frontier";

/// Plans the files, checked as a verifier will check them. `behind` gives the entries of a range.
pub(crate) fn plan<E>(
    change: &ChangeId,
    frontier: &Frontier,
    size: u64,
    root: &Hash,
    behind: &mut dyn FnMut(Range<u64>) -> Result<Vec<Vec<u8>>, E>,
) -> Result<Result<Vec<Planned>, String>, E> {
    let mut out = vec![Planned::kept(FRONTIER, frontier_text(frontier))];
    let mut walk = Walk::from(change, frontier.clone());
    for range in header_files(frontier.size(), size) {
        let (name, text) = (lines_name(HEADERS, range.start), lines(behind(range.clone())?));
        if let Err(why) = walk.file(&name, range.clone(), &text) {
            return Ok(Err(why));
        }
        out.push(Planned::again(name, &text, Source::Headers(range)));
    }
    Ok(match walk.end(root) {
        Ok(Checked { unknown: Some(index), .. }) => Err(unknown(index)),
        Ok(_) => Ok(out),
        Err(why) => Err(why),
    })
}

/// The file of some entries.
pub(crate) fn lines(entries: Vec<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(entries.iter().map(|entry| entry.len() + 1).sum());
    for entry in entries {
        out.extend_from_slice(&entry);
        out.push(b'\n');
    }
    out
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
/// `get` gives the content of a file.
pub(crate) fn check(
    change: &ChangeId,
    first: u64,
    size: u64,
    root: &Hash,
    get: &dyn Fn(&str) -> Option<Vec<u8>>,
) -> Result<Checked, String> {
    if first > size {
        return Err(format!("the change's last entry is {}, the tree has {size}", first.saturating_sub(1)));
    }
    let get = |name: &str| get(name).ok_or_else(|| format!("{name} is missing"));
    let frontier = frontier_of(&get(FRONTIER)?, first).map_err(|error| format!("{FRONTIER}: {error}"))?;
    let mut walk = Walk::from(change, frontier);
    for range in header_files(first, size) {
        let name = lines_name(HEADERS, range.start);
        walk.file(&name, range, &get(&name)?)?;
    }
    walk.end(root)
}

/// On the way from the change's last entry to the size.
struct Walk<'a> {
    change: &'a ChangeId,
    first: u64,
    tree: Frontier,
    later: Option<u64>,
    unknown: Option<u64>,
    last_at: Option<u64>,
}

impl<'a> Walk<'a> {
    fn from(change: &'a ChangeId, tree: Frontier) -> Self {
        Self { change, first: tree.size(), tree, later: None, unknown: None, last_at: None }
    }

    /// Takes the file of the next entries.
    fn file(&mut self, name: &str, range: Range<u64>, text: &[u8]) -> Result<(), String> {
        let text = text.strip_suffix(b"\n").ok_or_else(|| format!("{name} does not end with a line feed"))?;
        for (index, line) in (range.start..range.end).zip(text.split(|b| *b == b'\n')) {
            self.tree.push(hash::leaf(line));
            let view = View::read(line).map_err(|error| format!("{name}, entry {index}: {error}"))?;
            self.last_at = view.at();
            match view {
                View::Event(event) if event.change == self.change.as_str() => self.later = self.later.or(Some(index)),
                View::Other(Header::Unknown { .. }) => self.unknown = self.unknown.or(Some(index)),
                View::Event(_) | View::Other(_) => {}
            }
        }
        if self.tree.size() != range.end || text.split(|b| *b == b'\n').count() as u64 != range.end - range.start {
            return Err(format!("{name} has other lines than the entries {} to {}", range.start, range.end));
        }
        Ok(())
    }

    fn end(self, root: &Hash) -> Result<Checked, String> {
        if self.tree.root() != *root {
            return Err(format!(
                "they lead to root {}, {root} was signed: an entry was left out, added, moved or altered",
                self.tree.root()
            ));
        }
        match self.later {
            Some(index) => Err(format!("entry {index} is of this change, and the pack leaves it out")),
            None => Ok(Checked { count: self.tree.size() - self.first, unknown: self.unknown, last_at: self.last_at }),
        }
    }
}
