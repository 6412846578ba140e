//! `[verify]`: how long to wait for what was asked for, which fields have to say what, probes, service levels.

use std::collections::BTreeSet;

use crate::scope::{self, Scope};
use crate::table::{Entry, Read};

/// `[verify]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Seconds after the last execution within which everything has to hold.
    pub deadline_s: u64,
    /// The shortest pause between two rounds. The longer it was waited already, the longer the next pause: as long as that.
    pub interval_ms: u64,
    /// The longest pause.
    pub interval_most_ms: u64,
    /// Whether what is verified is closed.
    pub close: bool,
    /// Places of read-backs that say nothing about the state asked for, as JSON pointers; `*` stands for one name.
    pub ignore: Vec<String>,
    /// Which places of read-backs have to say what was asked for.
    pub expectations: Vec<Expectation>,
    /// What else has to answer.
    pub probes: Vec<Probe>,
    /// Service levels.
    pub slos: Vec<Slo>,
}

/// `[[verify.expect]]`: a field as it was asked for, and where the read-back says it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Expectation {
    /// Resources of this type.
    pub kind: String,
    /// The field as requests say it.
    pub field: String,
    /// Where its read-back says it.
    pub pointer: String,
}

/// `[[verify.probes]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    /// For messages.
    pub name: String,
    /// Which changes it is about.
    pub scope: Scope,
    /// Once for each resource of these types, with its fields in place of `{field}`; `None`: once.
    pub types: Option<BTreeSet<String>>,
    /// What is done.
    pub way: Way,
    /// Milliseconds within which it has to answer.
    pub within_ms: u64,
}

/// What a probe does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    /// GETs a URL.
    Http {
        /// With places for fields.
        url: String,
        /// The status that it has to answer.
        status: u64,
        /// Text that the answer has to hold.
        contains: Option<String>,
    },
    /// Connects to `HOST:PORT`.
    Tcp(String),
    /// Runs a command that the guard lets through; exit code 0 is good.
    Command {
        /// The line.
        line: String,
        /// What it has to print, without space around it.
        prints: Option<String>,
    },
}

/// `[[verify.slo]]`: a level that a probe has to keep, or a number that a command prints.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slo {
    /// For messages.
    pub name: String,
    /// Which changes it is about.
    pub scope: Scope,
    /// What is measured.
    pub bound: Bound,
}

/// What a service level bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Bound {
    /// A probe, asked so often.
    Probe {
        /// Its name.
        probe: String,
        /// How often.
        samples: u64,
        /// At least so many per cent have to be good.
        good_percent: u64,
        /// The 95th percentile of how long it took.
        p95_ms: Option<u64>,
    },
    /// A number that a command prints.
    Number {
        /// The line.
        line: String,
        /// In thousandths.
        at_most: Option<i64>,
        /// In thousandths.
        at_least: Option<i64>,
    },
}

/// What changes without anybody's doing in what tools print.
const IGNORED: [&str; 6] = [
    "/ResponseMetadata",
    "/metadata/generation",
    "/metadata/managedFields",
    "/metadata/resourceVersion",
    "/serial",
    "/status",
];

impl Default for Options {
    fn default() -> Self {
        Self {
            deadline_s: 60,
            interval_ms: 500,
            interval_most_ms: 10_000,
            close: true,
            ignore: IGNORED.map(str::to_owned).to_vec(),
            expectations: Vec::new(),
            probes: Vec::new(),
            slos: Vec::new(),
        }
    }
}

impl Options {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(&["deadline_s", "interval_ms", "interval_most_ms", "close", "ignore", "expect", "probes", "slo"])?;
        let default = Self::default();
        let given = |key: &str| entry.table.contains_key(key);
        let interval_ms = entry.number_within("interval_ms", 10, 600_000)?.unwrap_or(default.interval_ms);
        let options = Self {
            deadline_s: entry.number_within("deadline_s", 0, 86_400)?.unwrap_or(default.deadline_s),
            interval_ms,
            interval_most_ms: entry
                .number_within("interval_most_ms", interval_ms, 3_600_000)?
                .unwrap_or_else(|| default.interval_most_ms.max(interval_ms)),
            close: if given("close") { entry.flag("close")? } else { default.close },
            ignore: if given("ignore") { entry.texts("ignore")? } else { default.ignore },
            expectations: entry.list("expect", "expectation")?.iter().map(expectation).collect::<Read<_>>()?,
            probes: entry.list("probes", "probe")?.iter().map(probe).collect::<Read<_>>()?,
            slos: entry.list("slo", "slo")?.iter().map(slo).collect::<Read<_>>()?,
        };
        if let Some(found) = options.ignore.iter().find(|pointer| !pointer.starts_with('/')) {
            return entry.wrong("ignore", format!("{found:?}"), "JSON pointers, such as \"/metadata/resourceVersion\"");
        }
        for slo in &options.slos {
            if let Bound::Probe { probe, .. } = &slo.bound
                && options.probes.iter().all(|known| known.name != *probe)
            {
                return entry.wrong("slo", format!("the probe {probe:?}"), "the name of one of [[verify.probes]]");
            }
        }
        Ok(options)
    }

    /// How long to wait before the next round, milliseconds, when so much has passed since everything was done; `None` when the deadline is
    /// over. Nothing has to be remembered between two rounds.
    pub fn pause_ms(&self, passed_ms: u64) -> Option<u64> {
        let left = self.deadline_s.saturating_mul(1_000).checked_sub(passed_ms).filter(|left| *left > 0)?;
        Some(passed_ms.clamp(self.interval_ms, self.interval_most_ms).min(left))
    }
}

fn expectation(entry: &Entry<'_>) -> Read<Expectation> {
    entry.only(&["type", "field", "pointer"])?;
    let pointer = entry.needed_text("pointer")?;
    if !pointer.starts_with('/') {
        return entry.wrong("pointer", format!("{pointer:?}"), "a JSON pointer, such as \"/spec/replicas\"");
    }
    Ok(Expectation { kind: entry.needed_text("type")?, field: entry.needed_text("field")?, pointer })
}

fn probe(entry: &Entry<'_>) -> Read<Probe> {
    let own = ["name", "types", "http", "status", "contains", "tcp", "command", "prints", "within_ms"];
    entry.only(&[&own[..], &scope::KEYS].concat())?;
    let (http, tcp, command) = (entry.text("http")?, entry.text("tcp")?, entry.text("command")?);
    let way = match (http, tcp, command) {
        (Some(url), None, None) if url.starts_with("http://") || url.starts_with("https://") => Way::Http {
            url,
            status: entry.number_within("status", 100, 599)?.unwrap_or(200),
            contains: entry.text("contains")?,
        },
        (Some(url), None, None) => return entry.wrong("http", format!("{url:?}"), "a URL, http:// or https://"),
        (None, Some(address), None) if address.rsplit_once(':').is_some_and(|(_, port)| !port.is_empty()) => {
            Way::Tcp(address)
        }
        (None, Some(address), None) => return entry.wrong("tcp", format!("{address:?}"), "HOST:PORT"),
        (None, None, Some(line)) => Way::Command { line, prints: entry.text("prints")? },
        (None, None, None) => return entry.wrong("http", "nothing", "one of http, tcp and command"),
        _ => return entry.wrong("http", "several of http, tcp and command", "one of them"),
    };
    Ok(Probe {
        name: entry.needed_text("name")?,
        scope: Scope::read(entry)?,
        types: entry.names("types")?,
        way,
        within_ms: entry.number_within("within_ms", 1, 600_000)?.unwrap_or(5_000),
    })
}

fn slo(entry: &Entry<'_>) -> Read<Slo> {
    let own = ["name", "probe", "samples", "good_percent", "p95_ms", "command", "at_most", "at_least"];
    entry.only(&[&own[..], &scope::KEYS].concat())?;
    let bound = match (entry.text("probe")?, entry.text("command")?) {
        (Some(probe), None) => Bound::Probe {
            probe,
            samples: entry.number_within("samples", 1, 1_000)?.unwrap_or(5),
            good_percent: entry.number_within("good_percent", 0, 100)?.unwrap_or(100),
            p95_ms: entry.number("p95_ms")?,
        },
        (None, Some(line)) => {
            let (at_most, at_least) = (thousandths(entry, "at_most")?, thousandths(entry, "at_least")?);
            if at_most.is_none() && at_least.is_none() {
                return entry.wrong("at_most", "nothing", "at_most, at_least, or both");
            }
            Bound::Number { line, at_most, at_least }
        }
        _ => return entry.wrong("probe", "neither or both of probe and command", "one of them"),
    };
    Ok(Slo { name: entry.needed_text("name")?, scope: Scope::read(entry)?, bound })
}

/// A number in thousandths, so that options can be compared.
fn thousandths(entry: &Entry<'_>, key: &str) -> Read<Option<i64>> {
    match entry.table.get(key) {
        None => Ok(None),
        Some(toml::Value::Integer(number)) => Ok(Some(number.saturating_mul(1_000))),
        #[expect(clippy::cast_possible_truncation, reason = "checked to be far below 2^53")]
        Some(toml::Value::Float(number)) if number.abs() < 1e12 => Ok(Some((number * 1_000.0).round() as i64)),
        Some(other) => entry.wrong(key, crate::table::shown(other), "a number"),
    }
}
