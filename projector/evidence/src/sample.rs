//! A sample of a population that anybody draws again: which changes it has follows from the root of the log's tree, a seed and the names
//! of the changes, byte by byte as `docs/sampling.md` says. Pure.
//!
//! The seed is the auditor's, chosen after the population was handed over: then nobody could know which changes would be drawn. The rank of
//! a change is SHA-256 of `upm-sample-v1`, root, seed and change, a line each; the smallest ranks are drawn.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::population::{Change, PopulationDocument};

/// Format of samples written here.
pub const FORMAT: u32 = 1;
/// Longest seed, in bytes.
pub const MAX_SEED_BYTES: usize = 256;

/// What a sample is spread over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The environments of a change.
    Environment,
    /// Its classes.
    Class,
    /// The outcomes of its events.
    Outcome,
}

impl By {
    /// The one of this word.
    pub fn parse(word: &str) -> Option<By> {
        [("environment", By::Environment), ("class", By::Class), ("outcome", By::Outcome)]
            .into_iter()
            .find_map(|(name, by)| (name == word).then_some(by))
    }

    /// The stratum of a change: its values as a JSON array, as in the list of changes.
    fn stratum(self, change: &Change) -> String {
        let values = match self {
            By::Environment => &change.environments,
            By::Class => &change.classes,
            By::Outcome => &change.outcomes,
        };
        // Texts serialise.
        serde_json::to_string(values).unwrap_or_default()
    }
}

/// A sample.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// What it is spread over; absent where it is drawn from all alike.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<By>,
    /// The changes drawn, by stratum, then by rank.
    pub drawn: Vec<Drawn>,
    /// [`FORMAT`].
    pub format: u32,
    /// Beginning of the population's period.
    pub from: String,
    /// The log.
    pub origin: String,
    /// Changes in the population.
    pub population: u64,
    /// Root of the tree under which the population is proved, lowercase hex.
    pub root: String,
    /// The seed.
    pub seed: String,
    /// How many changes were asked for.
    pub size: u64,
    /// The strata, by name; one without a name where it is drawn from all alike.
    pub strata: Vec<Stratum>,
    /// End of the population's period.
    pub to: String,
    /// Size of that tree.
    pub tree_size: u64,
}

/// A part of the population.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stratum {
    /// Changes in it.
    pub changes: u64,
    /// Changes drawn from it.
    pub drawn: u64,
    /// Its values as a JSON array; empty where there is one stratum only.
    pub name: String,
}

/// A change that was drawn.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drawn {
    /// The change, as the population lists it.
    pub change: Change,
    /// Its place in the sample, from 1.
    pub number: u64,
    /// Its rank, lowercase hex.
    pub rank: String,
    /// Its stratum.
    pub stratum: String,
}

/// Why nothing can be drawn.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SampleError {
    /// A seed that two people could spell in two ways, or none.
    #[error("a seed has 1 to {MAX_SEED_BYTES} bytes without control characters; found {found} bytes")]
    Seed {
        /// Bytes given.
        found: usize,
    },
    /// Nothing was asked for.
    #[error("a sample of 0 changes is none: expected 1 or more")]
    Nothing,
    /// The population has no change.
    #[error("the population has no change to draw from")]
    Empty,
}

/// Draws a sample. `changes` gives the population's changes, twice: once to rank them, once to pick them.
pub fn draw<I: Iterator<Item = Change>>(
    document: &PopulationDocument,
    changes: impl Fn() -> I,
    seed: &str,
    size: u64,
    by: Option<By>,
) -> Result<Sample, SampleError> {
    if seed.is_empty() || seed.len() > MAX_SEED_BYTES || seed.chars().any(char::is_control) {
        return Err(SampleError::Seed { found: seed.len() });
    }
    if size == 0 {
        return Err(SampleError::Nothing);
    }
    let root = &document.last.root;
    let mut strata: BTreeMap<String, Vec<([u8; 32], u64)>> = BTreeMap::new();
    for (number, change) in (0..).zip(changes()) {
        let stratum = by.map_or_else(String::new, |by| by.stratum(&change));
        strata.entry(stratum).or_default().push((rank(root, seed, &change.change), number));
    }
    if strata.is_empty() {
        return Err(SampleError::Empty);
    }
    let counts: Vec<u64> = strata.values().map(|ranked| ranked.len() as u64).collect();
    let shares = shares(&counts, size);
    let mut picked: BTreeMap<u64, (usize, [u8; 32])> = BTreeMap::new();
    for (stratum, (ranked, share)) in strata.values_mut().zip(&shares).enumerate() {
        ranked.sort_unstable();
        let share = usize::try_from(*share).unwrap_or(usize::MAX);
        picked.extend(ranked.iter().take(share).map(|(rank, number)| (*number, (stratum, *rank))));
    }
    let names: Vec<&String> = strata.keys().collect();
    let mut drawn: Vec<Drawn> = (0..)
        .zip(changes())
        .filter_map(|(number, change)| {
            let (stratum, rank) = picked.get(&number)?;
            Some(Drawn { change, number: 0, rank: hex::encode(rank), stratum: names[*stratum].clone() })
        })
        .collect();
    drawn.sort_by(|a, b| (&a.stratum, &a.rank).cmp(&(&b.stratum, &b.rank)));
    (1..).zip(&mut drawn).for_each(|(number, one)| one.number = number);
    let stratum = |((name, changes), drawn): ((&String, &u64), &u64)| Stratum {
        changes: *changes,
        drawn: *drawn,
        name: name.clone(),
    };
    Ok(Sample {
        by,
        drawn,
        format: FORMAT,
        from: document.from.clone(),
        origin: document.origin.clone(),
        population: counts.iter().sum(),
        root: root.clone(),
        seed: seed.to_owned(),
        size,
        strata: strata.keys().zip(&counts).zip(&shares).map(stratum).collect(),
        to: document.to.clone(),
        tree_size: document.last.size,
    })
}

/// The rank of a change.
fn rank(root: &str, seed: &str, change: &str) -> [u8; 32] {
    Sha256::digest(format!("upm-sample-v1\n{root}\n{seed}\n{change}")).into()
}

/// How many are drawn of each stratum, of which there are `counts` (none empty), in the order of their names.
///
/// Of as many strata as there are places, each gets one (the largest first, then by order). The places left are shared out in proportion to
/// what each stratum has left, by largest remainder, ties to the stratum that comes first.
fn shares(counts: &[u64], size: u64) -> Vec<u64> {
    let total: u64 = counts.iter().sum();
    let size = size.min(total);
    let mut order: Vec<usize> = (0..counts.len()).collect();
    order.sort_by_key(|at| (std::cmp::Reverse(counts[*at]), *at));
    let mut shares = vec![0; counts.len()];
    for at in order.iter().take(usize::try_from(size).unwrap_or(usize::MAX)) {
        shares[*at] = 1;
    }
    let places = size.saturating_sub(counts.len() as u64);
    let left = total - counts.len() as u64;
    if places == 0 || left == 0 {
        return shares;
    }
    let product = |count: u64| u128::from(count - 1) * u128::from(places);
    let mut given = 0;
    for (share, count) in shares.iter_mut().zip(counts) {
        // At most `places`, so it fits.
        let whole = u64::try_from(product(*count) / u128::from(left)).unwrap_or(u64::MAX);
        *share += whole;
        given += whole;
    }
    let mut by_remainder: Vec<usize> = (0..counts.len()).collect();
    by_remainder.sort_by_key(|at| (std::cmp::Reverse(product(counts[*at]) % u128::from(left)), *at));
    for at in by_remainder.into_iter().take(usize::try_from(places - given).unwrap_or_default()) {
        shares[at] += 1;
    }
    shares
}

impl Sample {
    /// As JSON over several lines, a line feed at the end.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// The sample of a JSON text.
    pub fn parse(text: &[u8]) -> Result<Sample, String> {
        let sample: Sample = serde_json::from_slice(text).map_err(|error| format!("not a sample: {error}"))?;
        if sample.format == FORMAT {
            Ok(sample)
        } else {
            Err(format!("sample format {}, {FORMAT} is known", sample.format))
        }
    }

    /// As CSV (RFC 4180), a header line first.
    pub fn to_csv(&self) -> String {
        let mut out = line(&[
            "number",
            "change",
            "stratum",
            "rank",
            "first",
            "last",
            "events",
            "started",
            "executed",
            "closed",
            "phases",
            "outcomes",
            "environments",
            "classes",
        ]);
        for Drawn { change, number, rank, stratum } in &self.drawn {
            let numbers = [change.first, change.last, change.events].map(|number| number.to_string());
            let flags = [change.started, change.executed, change.closed].map(|flag| flag.to_string());
            let lists =
                [&change.phases, &change.outcomes, &change.environments, &change.classes].map(|list| list.join(" "));
            let head = [number.to_string(), change.change.clone(), stratum.clone(), rank.clone()];
            let fields: Vec<&str> =
                head.iter().chain(&numbers).chain(&flags).chain(&lists).map(String::as_str).collect();
            out.push_str(&line(&fields));
        }
        out
    }
}

/// A line of CSV. A text that a spreadsheet would run as a formula gets an apostrophe before it.
pub(crate) fn line(fields: &[&str]) -> String {
    let quoted: Vec<String> = fields
        .iter()
        .map(|field| {
            let guard = if field.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
            format!("\"{guard}{}\"", field.replace('"', "\"\""))
        })
        .collect();
    quoted.join(",") + "\r\n"
}

/// Name of the pack of a change drawn, within a folder: it means nothing to any system.
pub fn pack_name(number: u64, change: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '_' };
    let name: String = change.chars().map(plain).take(80).collect();
    format!("{number:04}-{name}.zip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_whole_fair_and_never_more_than_there_are() {
        assert_eq!(shares(&[5], 3), [3]);
        assert_eq!(shares(&[5], 9), [5]);
        // Fewer places than strata: the largest ones, then those that come first.
        assert_eq!(shares(&[1, 9, 1, 9], 3), [1, 1, 0, 1]);
        assert_eq!(shares(&[1, 1, 1], 2), [1, 1, 0]);
        // One each, then in proportion: 7 places over 89, 9, 0 left.
        assert_eq!(shares(&[90, 10, 1], 10), [7, 2, 1]);
        for size in 0..40 {
            let counts = [17, 3, 1, 8];
            let shares = shares(&counts, size);
            assert_eq!(shares.iter().sum::<u64>(), size.min(29), "{size}");
            assert!(shares.iter().zip(&counts).all(|(share, count)| share <= count), "{size}: {shares:?}");
        }
    }

    #[test]
    fn a_rank_is_a_hash_of_lines() {
        let expected = Sha256::digest(b"upm-sample-v1\n00ff\n2026-Q1\nCHG-1");
        assert_eq!(rank("00ff", "2026-Q1", "CHG-1")[..], expected[..]);
    }

    #[test]
    fn csv_runs_nothing_and_file_names_mean_nothing() {
        assert_eq!(line(&["a\"b", "=1+1", "-2", ""]), "\"a\"\"b\",\"'=1+1\",\"'-2\",\"\"\r\n");
        assert_eq!(pack_name(7, "../\u{e9}/x"), "0007-..___x.zip");
    }
}
