//! When a change may run: maintenance windows, freezes, and the window that its plan names.
//!
//! Windows are said in local time and recur; freezes are stretches of local time. Zones are those of the time zone database that is compiled
//! in, so that the answer is the same on each machine. A local time that clocks skip is read by the offset before the jump, one that they
//! repeat is the first of the two, as RFC 5545 (section 3.3.5) reads them; of a freeze, which is there to hold, the wider reading counts:
//! it begins with the first and ends with the last. Stretches hold their first moment and not their last.
//!
//! Left out: the clock. Moments are seconds since 1970.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousTimestamp, TimeZone, TimeZoneDatabase};

use crate::scope::{self, Case, Scope};
use crate::table::{Entry, Read};

/// How far ahead an opening is looked for, in days. A window recurs at least weekly, freezes and the plan's own window are jumped over.
const AHEAD_DAYS: i64 = 400;
/// Minutes of a day.
const DAY_MIN: u32 = 24 * 60;
/// Days by their names, Monday first.
const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

/// A time zone by its name in the time zone database.
#[derive(Debug, Clone)]
pub struct Zone {
    name: String,
    rules: TimeZone,
}

/// A stretch of local time that recurs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Window {
    /// For messages.
    pub name: String,
    /// Which changes it is about.
    pub scope: Scope,
    /// Whose clocks.
    pub zone: Zone,
    /// Whether it begins on that day, Monday first.
    pub days: [bool; 7],
    /// Minutes after midnight at which it begins.
    pub from_min: u32,
    /// Minutes after midnight at which it ends; not after `from_min`: on the next day.
    pub to_min: u32,
}

/// A stretch of local time in which nothing runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Freeze {
    /// For messages.
    pub name: String,
    /// Which changes it is about.
    pub scope: Scope,
    /// Its first second.
    pub from_s: i64,
    /// The first second behind it.
    pub to_s: i64,
}

/// Windows and freezes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Calendar {
    /// Without any that binds a change, it may run at all times that are not frozen.
    pub windows: Vec<Window>,
    /// However open a window is.
    pub freezes: Vec<Freeze>,
}

/// Whether a change may run at a moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    /// It may.
    pub open: bool,
    /// The window it is inside of.
    pub window: Option<String>,
    /// The freezes that hold it.
    pub freezes: Vec<String>,
    /// From when on it may no more; `None` where no end is in sight.
    pub closes_s: Option<i64>,
    /// When it may next; `None` while it may, and where it never will.
    pub next_s: Option<i64>,
    /// For people.
    pub text: String,
}

impl PartialEq for Zone {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Zone {}

impl Zone {
    /// The zone of this name, for instance `Europe/Berlin` or `UTC`.
    pub fn parse(name: &str) -> Option<Self> {
        let rules = TimeZoneDatabase::bundled().get(name).ok()?;
        let name = rules.iana_name().unwrap_or(name).to_owned();
        Some(Self { name, rules })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The local date of a moment.
    fn date(&self, at_s: i64) -> Option<Date> {
        Some(self.rules.to_datetime(Timestamp::from_second(at_s).ok()?).date())
    }

    fn moment(&self, local: DateTime, read: fn(AmbiguousTimestamp) -> Result<Timestamp, jiff::Error>) -> Option<i64> {
        read(self.rules.to_ambiguous_timestamp(local)).ok().map(Timestamp::as_second)
    }

    fn of(entry: &Entry<'_>) -> Read<Self> {
        let name = entry.needed_text("zone")?;
        Self::parse(&name).map_or_else(
            || entry.wrong("zone", format!("{name:?}"), "a name of the time zone database, such as \"Europe/Berlin\""),
            Ok,
        )
    }
}

impl Window {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(&[&["name", "zone", "days", "from", "to"][..], &scope::KEYS].concat())?;
        let mut days = [false; 7];
        match entry.names("days")? {
            None => days = [true; 7],
            Some(names) => {
                for name in names {
                    match DAYS.iter().position(|day| *day == name) {
                        Some(at) => days[at] = true,
                        None => return entry.wrong("days", format!("{name:?}"), DAYS.join(", ")),
                    }
                }
            }
        }
        let (from_min, to_min) = (minutes(entry, "from")?, minutes(entry, "to")?);
        if from_min == DAY_MIN {
            return entry.wrong("from", "24:00", "00:00 to 23:59");
        }
        if from_min == to_min {
            return entry.wrong("to", "the same as from", "another time; 00:00 to 24:00 is a whole day");
        }
        let (name, scope, zone) = (entry.needed_text("name")?, Scope::read(entry)?, Zone::of(entry)?);
        Ok(Self { name, scope, zone, days, from_min, to_min })
    }

    /// The stretch that begins on this local date.
    fn on(&self, date: Date) -> Option<(i64, i64)> {
        let day = usize::try_from(date.weekday().to_monday_zero_offset()).ok()?;
        if !self.days[day] {
            return None;
        }
        let last = if self.to_min > self.from_min { date } else { date.tomorrow().ok()? };
        let moment = |date: Date, min: u32| {
            let (date, min) = if min == DAY_MIN { (date.tomorrow().ok()?, 0) } else { (date, min) };
            let (hour, minute) = (i8::try_from(min / 60).ok()?, i8::try_from(min % 60).ok()?);
            self.zone.moment(date.at(hour, minute, 0, 0), AmbiguousTimestamp::compatible)
        };
        let (from_s, to_s) = (moment(date, self.from_min)?, moment(last, self.to_min)?);
        // Both ends may lie in one jump of the clocks.
        (from_s < to_s).then_some((from_s, to_s))
    }

    /// The stretches that begin on local dates around a moment and up to `days` later.
    fn around(&self, at_s: i64, days: i64) -> impl Iterator<Item = (i64, i64)> {
        // Two days back: no stretch is longer than one, and clocks may skip a day.
        let first = self.zone.date(at_s).and_then(|date| date.checked_sub(jiff::Span::new().days(2)).ok());
        let dates = std::iter::successors(first, |date| date.tomorrow().ok());
        let count = usize::try_from(days.saturating_add(3)).unwrap_or(usize::MAX);
        dates.take(count).filter_map(|date| self.on(date))
    }

    fn holds(&self, at_s: i64) -> bool {
        self.around(at_s, 1).any(|(from, to)| (from..to).contains(&at_s))
    }
}

impl Freeze {
    pub(crate) fn read(entry: &Entry<'_>) -> Read<Self> {
        entry.only(&[&["name", "zone", "from", "to"][..], &scope::KEYS].concat())?;
        let zone = Zone::of(entry)?;
        let from_s = moment(entry, "from", &zone, AmbiguousTimestamp::earlier)?;
        let to_s = moment(entry, "to", &zone, AmbiguousTimestamp::later)?;
        if from_s >= to_s {
            return entry.wrong("to", "an end that is not after from", "a later time");
        }
        Ok(Self { name: entry.needed_text("name")?, scope: Scope::read(entry)?, from_s, to_s })
    }

    fn holds(&self, at_s: i64) -> bool {
        (self.from_s..self.to_s).contains(&at_s)
    }
}

/// `HH:MM`, to 24:00.
fn minutes(entry: &Entry<'_>, key: &str) -> Read<u32> {
    let text = entry.needed_text(key)?;
    let digits = |part: &str| (part.len() == 2).then(|| part.parse::<u32>().ok()).flatten();
    let parts = text.split_once(':').and_then(|(hour, minute)| Some((digits(hour)?, digits(minute)?)));
    match parts {
        Some((hour, minute)) if minute < 60 && hour * 60 + minute <= DAY_MIN => Ok(hour * 60 + minute),
        _ => entry.wrong(key, format!("{text:?}"), "a time of day from \"00:00\" to \"24:00\""),
    }
}

/// A local time, `2026-12-18T18:00`, as a moment.
fn moment(
    entry: &Entry<'_>,
    key: &str,
    zone: &Zone,
    read: fn(AmbiguousTimestamp) -> Result<Timestamp, jiff::Error>,
) -> Read<i64> {
    let text = entry.needed_text(key)?;
    // An offset beside a zone would be a second opinion.
    let local = Some(&text).filter(|text| text.len() == "2026-12-18T18:00".len()).and_then(|text| text.parse().ok());
    let found = local.and_then(|local| zone.moment(local, read));
    found.map_or_else(
        || entry.wrong(key, format!("{text:?}"), "a local time without offset, such as \"2026-12-18T18:00\""),
        Ok,
    )
}

/// What binds one change.
struct Binding<'a> {
    windows: Vec<&'a Window>,
    freezes: Vec<&'a Freeze>,
    /// The plan's own window, half open.
    own: Option<(i64, i64)>,
}

impl Calendar {
    /// Whether a change may run at `now_s`. `own` are the first and the last second of the window that its plan names.
    pub fn at(&self, case: Case<'_>, own: Option<(i64, i64)>, now_s: i64) -> Opening {
        let binding = Binding {
            windows: self.windows.iter().filter(|window| window.scope.binds(case)).collect(),
            freezes: self.freezes.iter().filter(|freeze| freeze.scope.binds(case)).collect(),
            own: own.map(|(from, to)| (from, to.saturating_add(1))),
        };
        binding.at(now_s)
    }
}

impl Binding<'_> {
    fn at(&self, now_s: i64) -> Opening {
        let open = self.is_open(now_s);
        let mut opening = Opening {
            open,
            window: self.windows.iter().find(|window| window.holds(now_s)).map(|window| window.name.clone()),
            freezes: self.frozen(now_s).map(|freeze| freeze.name.clone()).collect(),
            closes_s: if open { self.change(now_s, false) } else { None },
            next_s: if open { None } else { self.next(now_s) },
            text: String::new(),
        };
        opening.text = self.text(&opening, now_s);
        opening
    }

    fn frozen(&self, at_s: i64) -> impl Iterator<Item = &Freeze> {
        self.freezes.iter().copied().filter(move |freeze| freeze.holds(at_s))
    }

    fn is_open(&self, at_s: i64) -> bool {
        self.own.is_none_or(|(from, to)| (from..to).contains(&at_s))
            && self.frozen(at_s).next().is_none()
            && (self.windows.is_empty() || self.windows.iter().any(|window| window.holds(at_s)))
    }

    /// When it opens: behind what holds it now, or at the first boundary behind that at which it is open.
    fn next(&self, now_s: i64) -> Option<i64> {
        let mut from = now_s;
        // Each freeze and the start of the plan's window move it forward once at most.
        loop {
            let own = self.own.map_or(from, |(start, _)| start);
            let thawed = self.frozen(from).map(|freeze| freeze.to_s).max().unwrap_or(from);
            let later = from.max(own).max(thawed);
            if later == from {
                break;
            }
            from = later;
        }
        if self.own.is_some_and(|(_, to)| from >= to) {
            return None;
        }
        if self.is_open(from) { Some(from) } else { self.change(from, true) }
    }

    /// The first boundary after a moment at which it is open, or not.
    fn change(&self, after_s: i64, open: bool) -> Option<i64> {
        // Near ones first: most windows recur within days.
        [14, AHEAD_DAYS].into_iter().find_map(|days| {
            let recurring = self.windows.iter().flat_map(|window| window.around(after_s, days));
            let fixed = self.freezes.iter().map(|freeze| (freeze.from_s, freeze.to_s)).chain(self.own);
            let ends = recurring.chain(fixed).flat_map(|(from, to)| [from, to]);
            let mut ends: Vec<i64> = ends.filter(|end| *end > after_s).collect();
            ends.sort_unstable();
            ends.dedup();
            ends.into_iter().find(|end| self.is_open(*end) == open)
        })
    }

    fn text(&self, opening: &Opening, now_s: i64) -> String {
        let mut text = match (&opening.window, opening.open) {
            (Some(name), true) => format!("inside of the window {name}"),
            (None, true) => "no window binds it".to_owned(),
            (_, false) => {
                let mut held = Vec::new();
                if !opening.freezes.is_empty() {
                    held.push(format!("frozen by {}", opening.freezes.join(", ")));
                }
                if opening.window.is_none() && !self.windows.is_empty() {
                    let names: Vec<&str> = self.windows.iter().map(|window| window.name.as_str()).collect();
                    held.push(format!("outside of the windows {}", names.join(", ")));
                }
                match self.own {
                    Some((from, _)) if now_s < from => held.push("before the plan's own window".to_owned()),
                    Some((_, to)) if now_s >= to => held.push("the plan's own window is over".to_owned()),
                    _ => {}
                }
                held.join("; ")
            }
        };
        // Writing to a string has no way to fail.
        let _ = match (opening.open, opening.closes_s, opening.next_s) {
            (true, Some(at), _) => write!(text, " until {}", self.shown(at)),
            (true, None, _) => Ok(()),
            (false, _, Some(at)) => write!(text, "; it may run next at {}", self.shown(at)),
            (false, _, None) => write!(text, "; it may not run within {AHEAD_DAYS} days"),
        };
        text
    }

    /// In UTC, and by the clocks of the window that is meant.
    fn shown(&self, at_s: i64) -> String {
        let utc = rfc3339(at_s);
        let zones = self.windows.iter().filter(|window| window.holds(at_s) || window.holds(at_s.saturating_sub(1)));
        let zone = zones.map(|window| &window.zone).find(|zone| zone.name != "UTC");
        match (zone, Timestamp::from_second(at_s)) {
            (Some(zone), Ok(at)) => {
                let local = zone.rules.to_datetime(at);
                format!("{utc} ({:02}:{:02} in {})", local.hour(), local.minute(), zone.name)
            }
            _ => utc,
        }
    }
}

/// Seconds since 1970 as RFC 3339 in UTC; what lies outside years −9999 to 9999 is clamped.
pub fn rfc3339(at_s: i64) -> String {
    Timestamp::from_second(at_s).unwrap_or(if at_s < 0 { Timestamp::MIN } else { Timestamp::MAX }).to_string()
}

#[cfg(test)]
mod tests;
