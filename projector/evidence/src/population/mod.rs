//! A population: every entry header of a log over a period, so that the list of its changes is provably complete.
//!
//! ```text
//! headers/0000016384.ndjson …    every entry between two signed tree heads, byte for byte, one a line, 16,384 of them a file
//! changes/0000000000.ndjson …    the changes of the period, derived from the headers
//! details/0000000000.ndjson …    what only payloads say of them: vouched for by the operator, not proved by headers
//! checkpoint consistency first.checkpoint frontier keys/chain.json ledger.pub ledger.vkey
//! population.json tenants/… VERIFY.md
//! SHA256SUMS attestation.sigstore.json      last, because they are about the others
//! ```
//!
//! [`write`](write()) streams it out of a log, [`verify_population`] streams it back and trusts nothing in it: the root under the second head
//! is computed from the frontier at the first one and every header between, so that leaving out, adding, reordering or altering
//! an entry gives another root. The format, byte by byte, is in `docs/population.md`; DESIGN §10 says what it is for.
//!
//! Memory grows with the number of changes (some 200 bytes each), never with the number of entries. Absent here: logs and
//! databases (entries come through a function), clocks, randomness.

pub(crate) mod archive;
mod document;
pub(crate) mod later;
mod pass;
mod period;
mod tally;
mod tenants;
mod verify;
mod write;

pub use document::{Details, PopulationDocument};
pub use later::verify_pack_with;
pub use period::{Period, PeriodError};
pub use tally::{Change, InEnvironment, Late, Totals, Wrong};
pub use tenants::{Listing, OwnListing, TenantsInput};
pub use verify::{Population, read_changes, read_details, verify_population};
pub use write::{DetailsOf, EntriesOf, MakeError, PopulationInput, Written, write};

/// Entries in one file of headers, but for the first and the last: 64 tiles. At most 33 MB, so that one is held in memory.
pub const HEADERS_PER_FILE: u64 = 16_384;
/// Changes in one file of changes or details.
pub const CHANGES_PER_FILE: usize = 16_384;
/// Type of the attestation's predicate, as given to `cosign … --type`.
pub const PREDICATE_TYPE: &str = "urn:upm-ledger:population:v1";

pub(crate) const DOCUMENT: &str = "population.json";
pub(crate) const CONSISTENCY: &str = "consistency";
pub(crate) const FIRST: &str = "first.checkpoint";
pub(crate) const FRONTIER: &str = "frontier";
pub(crate) const HEADERS: &str = "headers/";
pub(crate) const CHANGES: &str = "changes/";
pub(crate) const DETAILS: &str = "details/";
pub(crate) const GUIDE: &str = "VERIFY.md";
pub(crate) const GUIDE_TEXT: &str = include_str!("../../templates/POPULATION.md");

/// Name of a numbered file of lines.
pub(crate) fn lines_name(directory: &str, number: u64) -> String {
    format!("{directory}{}.ndjson", crate::parts::number(number))
}

/// The indices that each file of headers holds, of a tree from `first` to `size`.
pub(crate) fn header_files(first: u64, size: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
    let mut at = first;
    std::iter::from_fn(move || {
        let start = at;
        at = size.min((start / HEADERS_PER_FILE + 1) * HEADERS_PER_FILE);
        (start < size).then_some(start..at)
    })
}

/// Roots of a frontier as a file: base64, one a line, the largest subtree's first.
pub(crate) fn frontier_text(frontier: &ledger::frontier::Frontier) -> Vec<u8> {
    frontier.peaks().iter().flat_map(|hash| (hash.to_base64() + "\n").into_bytes()).collect()
}

/// The frontier of a file, for a tree of `size`.
pub(crate) fn frontier_of(bytes: &[u8], size: u64) -> Result<ledger::frontier::Frontier, String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "it is not text".to_owned())?;
    let lines = text.split_terminator('\n');
    let peaks: Result<Vec<_>, _> = lines.map(ledger::hash::Hash::from_base64).collect();
    let frontier = ledger::frontier::Frontier::new(size, peaks.map_err(|error| error.to_string())?);
    let frontier = frontier.ok_or_else(|| format!("a tree of {size} has {} roots", size.count_ones()))?;
    if frontier_text(&frontier) == bytes { Ok(frontier) } else { Err("it is not in its one form".to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "one range is meant")]
    fn files_of_headers_end_where_whole_tiles_do() {
        let files = |first, size| header_files(first, size).collect::<Vec<_>>();
        assert_eq!(files(0, 0), []);
        assert_eq!(files(5, 5), []);
        assert_eq!(files(3, 9), [3..9]);
        assert_eq!(files(16_383, 32_769), [16_383..16_384, 16_384..32_768, 32_768..32_769]);
    }
}
