//! The timeline: a drawing of what happened when, and the same as a table.
//!
//! The drawing is an SVG whose places are shares of its width, so it fits a telephone and a sheet of paper with letters of the same size.

use std::collections::BTreeMap;

use projector::document::ChangeDocument;
use schemas::admit::Outcome;
use schemas::ids::Phase;

use super::shown::{cut, time};
use crate::chain::Opened;
use crate::parts::number;
use crate::report::counted;

/// Height of one lane.
const LANE_PX: u32 = 40;

/// Entries of one lane that fall into the same five-hundredth of the drawing are one dot.
const SLOTS: u64 = 500;

/// Most attempts that get a line of their own in the drawing.
const ATTEMPTS_MAX: usize = 20;

const PHASES: [Phase; 5] = [Phase::Plan, Phase::Preflight, Phase::Execute, Phase::Verify, Phase::Audit];

pub(super) struct Timeline {
    pub(super) moments: Vec<Moment>,
    pub(super) lanes: Vec<Lane>,
    pub(super) dots: Vec<Dot>,
    /// Where each attempt but the first begins.
    pub(super) attempts: Vec<String>,
    pub(super) height: u32,
    pub(super) from: String,
    pub(super) to: String,
    /// The drawing in words.
    pub(super) told: String,
}

pub(super) struct Moment {
    pub(super) index: u64,
    pub(super) n: String,
    pub(super) file: String,
    pub(super) at: String,
    pub(super) attempt: u64,
    pub(super) phase: &'static str,
    pub(super) text: String,
    pub(super) outcome: &'static str,
    pub(super) bad: bool,
    pub(super) id: String,
    pub(super) producer: String,
    pub(super) masked: u32,
}

pub(super) struct Lane {
    pub(super) name: &'static str,
    pub(super) text_y: u32,
    pub(super) y: u32,
}

pub(super) struct Dot {
    pub(super) x: String,
    pub(super) y: u32,
    pub(super) bad: bool,
    pub(super) title: String,
}

pub(super) fn timeline(document: &ChangeDocument, entries: &[Opened]) -> Timeline {
    let moments = moments(document, entries);
    let (first, last) = (entries.first().map_or(0, at), entries.last().map_or(0, at));
    let lanes: Vec<Lane> = (0..)
        .zip(PHASES)
        .map(|(lane, phase)| Lane { name: phase.as_str(), text_y: lane * LANE_PX + 13, y: lane_y(lane) })
        .collect();
    let bad = moments.iter().filter(|moment| moment.bad).count();
    Timeline {
        dots: dots(entries, &moments, first, last),
        attempts: attempts(document, first, last),
        height: LANE_PX * 5 + 4,
        from: time(first),
        to: time(last),
        told: format!(
            "{} from {} to {}, by phase; {} with bad news. The table below says the same in words.",
            counted(entries.len(), "event", "events"),
            time(first),
            time(last),
            bad
        ),
        moments,
        lanes,
    }
}

fn at(entry: &Opened) -> u64 {
    entry.header.at
}

fn moments(document: &ChangeDocument, entries: &[Opened]) -> Vec<Moment> {
    let told: BTreeMap<u64, &projector::document::Moment> =
        document.timeline.iter().map(|moment| (moment.index, moment)).collect();
    let moment = |entry: &Opened| {
        let header = &entry.header;
        let told = told.get(&entry.index);
        let n = number(entry.index);
        Moment {
            index: entry.index,
            file: format!("{n}-{}", header.phase.as_str()),
            n,
            at: time(header.at),
            attempt: told.map_or(1, |moment| moment.attempt),
            phase: header.phase.as_str(),
            text: told.map(|moment| cut(&moment.text)).unwrap_or_default(),
            outcome: header.outcome.as_str(),
            bad: !matches!(header.outcome, Outcome::Passed | Outcome::None | Outcome::RolledBack),
            id: header.id.to_string(),
            producer: header.producer.as_ref().map_or_else(|| "not stated".to_owned(), ToString::to_string),
            masked: header.masked,
        }
    };
    entries.iter().map(moment).collect()
}

fn lane_y(lane: u32) -> u32 {
    lane * LANE_PX + 27
}

/// One dot for all entries of a lane that fall into one slot; bad news in any of them shows.
fn dots(entries: &[Opened], moments: &[Moment], first: u64, last: u64) -> Vec<Dot> {
    let mut slots: BTreeMap<(usize, u64), (bool, Vec<&Moment>)> = BTreeMap::new();
    for (entry, moment) in entries.iter().zip(moments) {
        let lane = PHASES.iter().position(|phase| *phase == entry.header.phase).unwrap_or_default();
        let dot = slots.entry((lane, slot(entry.header.at, first, last))).or_default();
        dot.0 |= moment.bad;
        dot.1.push(moment);
    }
    let dot = |((lane, slot), (bad, moments)): ((usize, u64), (bool, Vec<&Moment>))| Dot {
        x: share(slot),
        y: lane_y(u32::try_from(lane).unwrap_or_default()),
        bad,
        title: match moments.as_slice() {
            [one] => format!("Entry {}, {}: {} ({})", one.index, one.at, one.text, one.outcome),
            many => format!(
                "{}, entries {} to {}",
                counted(many.len(), "event", "events"),
                many[0].index,
                many[many.len() - 1].index
            ),
        },
    };
    slots.into_iter().map(dot).collect()
}

fn attempts(document: &ChangeDocument, first: u64, last: u64) -> Vec<String> {
    if document.attempts.len() < 2 || document.attempts.len() > ATTEMPTS_MAX {
        return Vec::new();
    }
    let begun = |attempt: &projector::document::Attempt| {
        let index = attempt.entries.first()?;
        let moment = document.timeline.iter().find(|moment| moment.index == *index)?;
        Some(share(slot(moment.at, first, last)))
    };
    document.attempts.iter().skip(1).filter_map(begun).collect()
}

/// Where between the first and the last entry a time lies; the middle where there is but one time.
fn slot(at: u64, first: u64, last: u64) -> u64 {
    let span = last.saturating_sub(first);
    if span == 0 {
        return SLOTS / 2;
    }
    let share = u128::from(at.saturating_sub(first).min(span)) * u128::from(SLOTS) / u128::from(span);
    u64::try_from(share).unwrap_or(SLOTS)
}

/// A slot as a share of the width, within margins of 2 %.
fn share(slot: u64) -> String {
    let thousandths = 20 + slot * 960 / SLOTS;
    format!("{}.{}%", thousandths / 10, thousandths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_stay_within_the_drawing() {
        for (at, first, last, expect) in [
            (5, 5, 5, "50.0%"),
            (0, 0, 10, "2.0%"),
            (10, 0, 10, "98.0%"),
            (5, 0, 10, "50.0%"),
            (11, 0, 10, "98.0%"),
            (0, 1, 10, "2.0%"),
            (u64::MAX, 0, u64::MAX, "98.0%"),
        ] {
            assert_eq!(share(slot(at, first, last)), expect, "{at} in {first} to {last}");
        }
    }
}
