//! What comes next, from the plan and what was done. One function, no clock: the same events at the same time give the same answer, on every worker.

use std::collections::BTreeSet;

use super::options::{Oddity, WaveOptions};
use super::progress::{Progress, State};
use super::steps::{Runnable, Wave};

const MINUTE_MS: u64 = 60_000;

/// What is to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Due {
    /// Nothing more: every step is over, or one failed.
    Over,
    /// These may start.
    Start(Vec<Start>),
    /// Read-backs of the wave at this place, before the next one.
    Gate(usize),
    /// Say that it is paused before the wave at this place, and why.
    Pause(usize, String),
    /// Say that it is cancelled.
    Cancel,
    /// Somebody has to say "resume"; until then, nothing.
    Paused,
    /// Something is running, or the next try is not due before this, milliseconds since 1970.
    Wait(Option<u64>),
}

/// A step that may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Start {
    /// Its place.
    pub step: usize,
    /// Which try it is, from 1.
    pub number: u64,
    /// Why it may.
    pub why: Why,
}

/// Why a step may start.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It never did.
    First,
    /// The last try ended in a way that another one may mend.
    Again,
    /// The last one found a certificate that is not good.
    Insecure,
    /// A try began, and whoever began it said nothing more. It may run again only if its check says that there is something to do.
    Lost {
        /// Who began it.
        instance: String,
        /// Where.
        place: String,
        /// When it is over at the latest.
        until_ms: u64,
    },
}

/// Decides. `running` are places of steps that this worker runs at the moment.
pub fn next(
    runnable: &Runnable,
    progress: &Progress,
    options: &WaveOptions,
    running: &BTreeSet<usize>,
    now_ms: u64,
) -> Due {
    if progress.ended_by_cancel {
        return Due::Over;
    }
    let is_over = |at: &usize| progress.rc(&runnable.steps[*at].id).is_some();
    let all_over = (0..runnable.steps.len()).all(|at| is_over(&at));
    if progress.cancelled.is_some() && !all_over {
        return if running.is_empty() { Due::Cancel } else { Due::Wait(None) };
    }
    if progress.has_failed() || all_over {
        return if running.is_empty() { Due::Over } else { Due::Wait(None) };
    }
    if progress.paused.is_some() {
        return if running.is_empty() { Due::Paused } else { Due::Wait(None) };
    }
    // The first wave that is not behind us; there is one, because not all is over.
    for (at, wave) in runnable.waves.iter().enumerate() {
        if !wave.steps.iter().all(is_over) {
            return within(runnable, wave, progress, options, running, now_ms);
        }
        if let Some(due) = between(runnable, at, progress, options) {
            return if running.is_empty() { due } else { Due::Wait(None) };
        }
    }
    Due::Over
}

/// What is due behind a wave whose steps are over.
fn between(runnable: &Runnable, at: usize, progress: &Progress, options: &WaveOptions) -> Option<Due> {
    let wave = &runnable.waves[at];
    let next = runnable.waves.get(at + 1)?;
    let began = next.steps.iter().any(|step| progress.steps.contains_key(&runnable.steps[*step].id));
    if began {
        return None;
    }
    match progress.gates.get(&wave.name) {
        None if !wave.gate.is_empty() => return Some(Due::Gate(at)),
        Some(false) => return Some(Due::Pause(at + 1, format!("the gate of wave {:?} does not hold", wave.name))),
        _ => {}
    }
    // It was paused before this wave already, and somebody said "resume".
    if progress.promoted.get(&next.name) == Some(&true) {
        return None;
    }
    let odd = |oddity: &Oddity| match oddity {
        Oddity::TlsFallback => !progress.insecure.is_empty(),
        Oddity::Retry => progress.retried > 0,
    };
    let reason = match options.pause_on.iter().find(|oddity| odd(oddity)) {
        Some(Oddity::TlsFallback) => Some("a certificate was not checked"),
        Some(Oddity::Retry) => Some("a step was tried more than once"),
        None => options.promote_by_hand.then_some("each wave waits for somebody to let it go"),
    };
    reason.map(|reason| Due::Pause(at + 1, format!("{reason}; wave {:?} comes next", next.name)))
}

/// Steps of a wave that may start.
fn within(
    runnable: &Runnable,
    wave: &Wave,
    progress: &Progress,
    options: &WaveOptions,
    running: &BTreeSet<usize>,
    now_ms: u64,
) -> Due {
    let mut room = usize::try_from(options.concurrency).unwrap_or(usize::MAX).saturating_sub(running.len());
    let (allowed, until_ms) = rate(progress, options, now_ms);
    let mut starts = Vec::new();
    let mut again_ms: Option<u64> = None;
    for at in wave.steps.iter().copied().filter(|at| !running.contains(at)) {
        let step = &runnable.steps[at];
        if !step.after.iter().all(|before| progress.rc(&runnable.steps[*before].id) == Some(0)) {
            continue;
        }
        let (number, why) = match progress.steps.get(&step.id) {
            None => (1, Why::First),
            Some(State::Ended { .. }) => continue,
            Some(State::Tried { again_ms: at_ms, .. }) if *at_ms > now_ms => {
                again_ms = Some(again_ms.map_or(*at_ms, |known| known.min(*at_ms)));
                // It keeps its place: with one at a time, nothing overtakes a step that is not over.
                room = room.saturating_sub(1);
                continue;
            }
            Some(State::Tried { number, insecure: true, .. }) => (number + 1, Why::Insecure),
            Some(State::Tried { number, .. }) => (number + 1, Why::Again),
            Some(State::Started { number, instance, place, until_ms }) => {
                let why = Why::Lost { instance: instance.clone(), place: place.clone(), until_ms: *until_ms };
                (number + 1, why)
            }
        };
        starts.push(Start { step: at, number, why });
    }
    starts.truncate(room.min(allowed));
    if !starts.is_empty() {
        return Due::Start(starts);
    }
    let rate_ms = if allowed == 0 { until_ms } else { None };
    Due::Wait([again_ms, rate_ms].into_iter().flatten().min())
}

/// How many steps may start now by the rate, and when the next may.
fn rate(progress: &Progress, options: &WaveOptions, now_ms: u64) -> (usize, Option<u64>) {
    let Some(most) = usize::try_from(options.starts_per_minute).ok().filter(|most| *most > 0) else {
        return (usize::MAX, None);
    };
    let mut recent: Vec<u64> =
        progress.starts_ms.iter().copied().filter(|start| start.saturating_add(MINUTE_MS) > now_ms).collect();
    recent.sort_unstable();
    // The oldest one that has to be a minute ago before there is room.
    let frees = recent.len().checked_sub(most).and_then(|at| recent.get(at)).map(|start| start + MINUTE_MS);
    (most.saturating_sub(recent.len()), frees)
}

#[cfg(test)]
mod tests;
