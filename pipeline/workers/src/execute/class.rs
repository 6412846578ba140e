//! What an exit means: done, a certificate that could not be checked, worth another try, or final. And when the next try is.

use sha2::{Digest, Sha256};

use crate::command::Ending;

use super::options::{ExecuteOptions, Retries};
use super::tls::Fallback;

/// How a try ended.
#[derive(Debug, Clone, Copy)]
pub struct Exit<'a> {
    /// The program of the first command.
    pub program: &'a str,
    /// How it ended.
    pub ending: Ending,
    /// Its time was over.
    pub timed_out: bool,
    /// It was ended from outside for another reason: cancelled, too much output, too many processes.
    pub stopped: bool,
    /// Its errors.
    pub stderr: &'a str,
}

/// What it means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Class {
    /// It did what it should.
    Done,
    /// A certificate could not be checked; the tool's texts say so.
    Certificate,
    /// Another try may mend it; the name of its class.
    Passing(String),
    /// It may not.
    Final,
}

impl Class {
    /// Its word in an event.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Done => "done",
            Self::Certificate => "certificate",
            Self::Passing(name) => name,
            Self::Final => "final",
        }
    }
}

/// The class of an exit. A time-out may have done anything, so it is worth a try only of a step that can be asked whether it is done; that is for the caller.
pub fn of(options: &ExecuteOptions, fallback: Option<&Fallback>, exit: &Exit<'_>) -> Class {
    if exit.ending == Ending::Exited(0) && !exit.timed_out && !exit.stopped {
        return Class::Done;
    }
    if exit.stopped || matches!(exit.ending, Ending::NotStarted(_)) {
        return Class::Final;
    }
    if exit.timed_out {
        return Class::Passing("time_limit".to_owned());
    }
    if fallback.is_some_and(|fallback| fallback.is_meant(exit.stderr)) {
        return Class::Certificate;
    }
    let said = exit.stderr.to_lowercase();
    let class = options.retries.classes.iter().find(|class| {
        (class.programs.is_empty() || class.programs.contains(exit.program))
            && (class.codes.is_empty() || class.codes.contains(&exit.ending.rc()))
            && (class.says.is_empty() || class.says.iter().any(|text| said.contains(text.as_str())))
    });
    class.map_or(Class::Final, |class| Class::Passing(class.name.clone()))
}

impl Retries {
    /// Milliseconds to wait behind try number `tries` (from 1). `seed` names change, attempt and step: steps that failed together are not tried again
    /// together, and the same try waits equally long on every machine.
    pub fn wait_ms(&self, tries: u64, seed: &str) -> u64 {
        let doublings = u32::try_from(tries.saturating_sub(1)).unwrap_or(u32::MAX);
        let doubled = 2_u64.checked_pow(doublings).and_then(|factor| self.first_ms.checked_mul(factor));
        let wait_ms = doubled.unwrap_or(u64::MAX).min(self.most_ms);
        let digest = Sha256::digest(format!("{seed}\0{tries}").as_bytes());
        let chance = digest[..4].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        // Between -jitter and +jitter, in thousandths of a per cent.
        let span = self.jitter_percent.saturating_mul(wait_ms) / 100;
        (wait_ms - span.min(wait_ms)) + (2 * span).saturating_mul(chance) / u64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exits_have_classes() {
        let options = ExecuteOptions::default();
        let fallback = Fallback { says: vec!["x509: ".to_owned()], ..Fallback::default() };
        let check = |ending, stderr: &str, expect: Class| {
            let exit = Exit { program: "kubectl-1.29", ending, timed_out: false, stopped: false, stderr };
            assert_eq!(of(&options, Some(&fallback), &exit), expect, "{ending:?} {stderr}");
        };
        let passing = |name: &str| Class::Passing(name.to_owned());
        check(Ending::Exited(0), "connection refused", Class::Done);
        check(Ending::Exited(1), "x509: certificate signed by unknown authority", Class::Certificate);
        check(Ending::Exited(1), "dial tcp 127.0.0.1:6443: connect: Connection Refused", passing("network"));
        check(Ending::Exited(254), "An error occurred (ThrottlingException): Rate exceeded", passing("throttled"));
        check(Ending::Exited(1), "namespaces \"a\" already exists", Class::Final);
        check(Ending::Killed(9), "", Class::Final);
        check(Ending::NotStarted(127), "connection refused", Class::Final);
        let exit = Exit { program: "az", ending: Ending::Killed(15), timed_out: true, stopped: false, stderr: "" };
        assert_eq!(of(&options, None, &exit), passing("time_limit"));
        assert_eq!(of(&options, None, &Exit { timed_out: false, stopped: true, ..exit }), Class::Final);
        let quiet = Exit { timed_out: true, ending: Ending::Exited(0), ..exit };
        assert_ne!(of(&options, None, &quiet), Class::Done, "what ended well on TERM did not do all");
        let no_texts = Exit { ending: Ending::Exited(1), timed_out: false, stderr: "x509: ", ..exit };
        assert_eq!(of(&options, None, &no_texts), Class::Final);
    }

    #[test]
    fn waits_double_up_to_a_limit_and_differ_by_step() {
        let retries = Retries { jitter_percent: 0, first_ms: 100, most_ms: 1_000, ..Retries::default() };
        let waits: Vec<u64> = (1..=6).map(|tries| retries.wait_ms(tries, "c-1")).collect();
        assert_eq!(waits, [100, 200, 400, 800, 1_000, 1_000]);
        assert_eq!(retries.wait_ms(u64::MAX, "c-1"), 1_000);
        let retries = Retries { jitter_percent: 20, ..retries };
        let of = |step: u64| retries.wait_ms(5, &format!("c-1/{step}"));
        let all: std::collections::BTreeSet<u64> = (0..200).map(of).collect();
        assert!(all.iter().all(|wait| (800..=1_200).contains(wait)) && all.len() > 50, "{all:?}");
        assert_eq!(of(7), of(7));
    }
}
