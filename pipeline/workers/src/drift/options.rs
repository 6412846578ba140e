//! `[drift]`: which resources are watched after their change, how often, and what happens when they are found to differ.

use std::collections::BTreeSet;

use crate::scope::{self, Case, Scope};
use crate::table::{Entry, Read};

/// `[drift]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Seconds between two looks where no monitor says otherwise; 0: nothing is watched.
    pub every_s: u64,
    /// By how much a look may come later, in per cent of the time between two.
    pub jitter_percent: u64,
    /// Hours after which a look is recorded although it shows nothing new.
    pub report_hours: u64,
    /// Whether a change that mends a drift is asked for without anybody's doing. It needs its approvals like any other.
    pub repair: bool,
    /// Where alarms go.
    pub webhook: Option<Webhook>,
    /// Which resources are watched how; the first that is about one counts.
    pub monitors: Vec<Monitor>,
}

/// Where alarms go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Gets a JSON document by POST.
    pub url: String,
    /// A file whose text is the value of the header `Authorization`.
    pub authorization_file: Option<String>,
}

/// `[[drift.monitors]]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Monitor {
    /// For messages.
    pub name: String,
    /// Which changes it is about.
    pub scope: Scope,
    /// Resources of these types; `None`: every one.
    pub types: Option<BTreeSet<String>>,
    /// Seconds between two looks; 0: these are not watched.
    pub every_s: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            every_s: 3_600,
            jitter_percent: 10,
            report_hours: 24,
            repair: false,
            webhook: None,
            monitors: Vec::new(),
        }
    }
}

/// The longest time between two looks: a week, in seconds.
const EVERY_S_MOST: u64 = 604_800;

impl Options {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(&[
            "every_s",
            "jitter_percent",
            "report_hours",
            "repair",
            "webhook",
            "authorization_file",
            "monitors",
        ])?;
        let default = Self::default();
        let authorization_file = entry.text("authorization_file")?;
        let webhook = match entry.text("webhook")? {
            Some(url) if url.starts_with("http://") || url.starts_with("https://") => {
                Some(Webhook { url, authorization_file })
            }
            Some(url) => return entry.wrong("webhook", format!("{url:?}"), "a URL, http:// or https://"),
            None if authorization_file.is_some() => {
                return entry.wrong("authorization_file", "this without a webhook", "it beside webhook alone");
            }
            None => None,
        };
        Ok(Self {
            every_s: entry.number_within("every_s", 0, EVERY_S_MOST)?.unwrap_or(default.every_s),
            jitter_percent: entry.number_within("jitter_percent", 0, 100)?.unwrap_or(default.jitter_percent),
            report_hours: entry.number_within("report_hours", 1, 720)?.unwrap_or(default.report_hours),
            repair: entry.flag("repair")?,
            webhook,
            monitors: entry.list("monitors", "monitor")?.iter().map(monitor).collect::<Read<_>>()?,
        })
    }

    /// Seconds between two looks at a resource of this type; `None`: it is not watched.
    pub fn every_s(&self, kind: &str, case: Case<'_>) -> Option<u64> {
        let about = |monitor: &&Monitor| {
            monitor.scope.binds(case) && monitor.types.as_ref().is_none_or(|types| types.contains(kind))
        };
        let every = self.monitors.iter().find(about).map_or(self.every_s, |monitor| monitor.every_s);
        (every > 0).then_some(every)
    }
}

fn monitor(entry: &Entry<'_>) -> Read<Monitor> {
    entry.only(&[&["name", "types", "every_s"][..], &scope::KEYS].concat())?;
    let Some(every_s) = entry.number_within("every_s", 0, EVERY_S_MOST)? else {
        return entry.wrong("every_s", "nothing", "seconds between two looks; 0 to look never");
    };
    Ok(Monitor { name: entry.needed_text("name")?, scope: Scope::read(entry)?, types: entry.names("types")?, every_s })
}
