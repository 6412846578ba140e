//! The level of a platform from its assessment, by the same scorer as a ledger's.
//!
//! A clause is shown where the assessment supports it, where an exception takes it to hold, or where nothing is said and its level is presumed.
//! A gate is open where every export it asks for is supported or presumed: the evidence gate at level 3 and above, the rollback gate at 4.

use schemas::assessment::{Assessment, Exception, Export, Says};
use schemas::model::{self, Clause, Gate};
use serde::Serialize;

use super::score::{self, Levels};

/// A platform's levels, and how much of them is somebody's word.
#[derive(Clone, Debug)]
pub struct Rating<'a> {
    /// Who.
    pub platform: &'a str,
    /// Levels and caps.
    pub levels: Levels,
    /// Why not one more.
    pub reason: String,
    /// What the model's table gives as the cap's reason, for its platforms.
    pub stated_reason: Option<&'static str>,
    /// Clauses that count without being spoken of.
    pub presumed: Vec<&'static str>,
    /// Contradictions.
    pub exceptions: &'a [Exception],
    /// The four exports.
    pub exports: Vec<(Export, Says)>,
}

/// Why a level is not higher, as one line.
#[derive(Clone, Debug, Serialize)]
pub struct Stop {
    /// The gate, where one is shut.
    pub cap: Option<&'static str>,
    /// Clauses of the next level.
    pub unmet: Vec<&'static str>,
}

/// Rates an assessment.
pub fn rate(assessment: &Assessment) -> Rating<'_> {
    let levels = score::levels(|clause| shown(assessment, clause), |gate| open(assessment, gate));
    let platform = model::get().platform(&assessment.platform);
    let presumed = model::get().clauses.iter();
    let presumed = presumed.filter(|clause| assessment.says(&clause.id) == Says::Presumed && shown(assessment, clause));
    Rating {
        platform: &assessment.platform,
        reason: reason(&levels),
        stated_reason: platform.map(|platform| platform.cap_reason.as_str()),
        presumed: presumed.map(|clause| clause.id.as_str()).collect(),
        exceptions: &assessment.exceptions,
        exports: Export::ALL.map(|export| (export, assessment.exports(export))).into(),
        levels,
    }
}

fn shown(assessment: &Assessment, clause: &Clause) -> bool {
    match assessment.says(&clause.id) {
        Says::Supported => true,
        Says::Denied => assessment.excepts(&clause.id),
        Says::Presumed => clause.level <= assessment.presumed_to,
    }
}

fn open(assessment: &Assessment, gate: &Gate) -> bool {
    let Some(cap) = gate.cap else { return true };
    let asked: &[Export] = if gate.id == "rollback_evidence" {
        &[Export::Rollback]
    } else {
        &[Export::PlanDiff, Export::ApprovalTrail, Export::ExecutionLogs]
    };
    asked.iter().all(|export| match assessment.exports(*export) {
        Says::Supported => true,
        Says::Denied => false,
        Says::Presumed => assessment.presumed_to > cap,
    })
}

/// Why the level is not one higher; at the top there is nothing to say.
pub fn reason(levels: &Levels) -> String {
    if let Some(gate) = levels.cap() {
        return format!("{} ⇒ cap L{}", gate.reason, levels.overall);
    }
    let words = |id| model::get().clause(id).map(|clause| format!("“{}”", clause.words));
    let missing: Vec<_> = levels.scale.next().filter_map(words).collect();
    if missing.is_empty() {
        String::new()
    } else {
        format!("L{} asks for {}", levels.scale.level + 1, missing.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use schemas::assessment::{self, Exported, Statement};

    use super::*;

    /// The model's ratings table is what its notes and gates give, but for the exceptions on record.
    #[test]
    fn all_platforms_are_rated_as_in_the_table() {
        for (id, file) in assessment::all() {
            let platform = model::get().platform(id).unwrap();
            let rating = rate(file);
            assert_eq!(rating.levels.overall, platform.overall, "{id}: {rating:?}");
            assert_eq!(rating.stated_reason, Some(platform.cap_reason.as_str()));
            assert_eq!(rating.reason.is_empty(), platform.overall == model::TOP, "{id}: {}", rating.reason);
            // Where the table says that a missing export or rollback caps, the gate is shut.
            let capped = platform.cap_reason.contains("⇒ cap L");
            assert!(!capped || open_gates(file) < 2, "{id}: {:?}", rating.exports);
        }
    }

    fn open_gates(file: &Assessment) -> usize {
        model::get().gates.iter().filter(|gate| gate.cap.is_some() && open(file, gate)).count()
    }

    /// No exception is on record that changes nothing.
    #[test]
    fn every_exception_of_a_clause_is_needed() {
        for (id, file) in assessment::all() {
            for exception in file.exceptions.iter().filter(|exception| exception.clause.is_some()) {
                let mut without = file.clone();
                without.exceptions.retain(|other| other != exception);
                assert!(rate(&without).levels.overall < rate(file).levels.overall, "{id}: {exception:?}");
            }
        }
    }

    fn of(platform: &str) -> Assessment {
        assessment::of(platform).unwrap().clone()
    }

    fn says(file: &mut Assessment, clause: &str, says: Says) {
        assert!(model::get().clause(clause).is_some(), "{clause}");
        file.clauses.retain(|said| said.clause != clause);
        file.clauses.push(Statement { clause: clause.to_owned(), says, quote: Some("flipped".to_owned()) });
    }

    fn exports(file: &mut Assessment, export: Export, says: Says) {
        file.exports.retain(|said| said.export != export);
        file.exports.push(Exported { export, says, quote: Some("flipped".to_owned()) });
    }

    fn level(file: &Assessment) -> u8 {
        rate(file).levels.overall
    }

    #[test]
    fn without_executed_rollback_askiam_falls_to_3() {
        let mut file = of("ibm-askiam-saviynt");
        exports(&mut file, Export::Rollback, Says::Denied);
        assert_eq!(level(&file), 3);
        assert_eq!(rate(&file).levels.caps, ["rollback_evidence"]);
        exports(&mut file, Export::ApprovalTrail, Says::Denied);
        assert_eq!(level(&file), 2, "the lower gate wins");
    }

    #[test]
    fn with_executed_rollback_duplocloud_reaches_4_only_if_all_else_holds() {
        let mut file = of("duplocloud-ai-help-desk");
        exports(&mut file, Export::Rollback, Says::Supported);
        says(&mut file, "scale.4.rollback", Says::Supported);
        assert_eq!(level(&file), 3, "nothing is said of its other clauses of level 4");
        let others: Vec<_> = model::get().clauses_of(model::OVERALL).filter(|clause| clause.level == 4).collect();
        for clause in &others {
            says(&mut file, &clause.id, Says::Supported);
        }
        assert_eq!(level(&file), 4);
        for clause in others {
            let mut short = file.clone();
            says(&mut short, &clause.id, Says::Denied);
            assert_eq!(level(&short), 3, "{}", clause.id);
        }
    }

    /// One clause or export flipped, and the level that follows.
    #[test]
    fn single_flips() {
        let denied: [(&str, &str, u8); 8] = [
            ("ibm-askiam-saviynt", "scale.3.approvals", 2),
            ("ibm-askiam-saviynt", "scale.2.plans", 1),
            ("ibm-askiam-saviynt", "scale.4.progressive", 3),
            ("pagerduty-aiops", "scale.3.policy", 2),
            ("microsoft-azure-copilot", "scale.2.plans", 1),
            ("solo-io-kagent", "scale.2.preflight", 1),
            ("kuberns-ai-paas", "scale.2.drift", 1),
            ("dynatrace-davis-ai", "plan.2.deterministic", 3),
        ];
        for (platform, clause, expected) in denied {
            let mut file = of(platform);
            says(&mut file, clause, Says::Denied);
            assert_eq!(level(&file), expected, "{platform} without {clause}");
        }
        let mut servicenow = of("servicenow-ai-orchestrator");
        exports(&mut servicenow, Export::PlanDiff, Says::Denied);
        assert_eq!(level(&servicenow), 2);
        // Exports alone lift nothing: its approvals are external.
        let mut kagent = of("solo-io-kagent");
        for export in Export::ALL {
            exports(&mut kagent, export, Says::Supported);
        }
        assert_eq!(level(&kagent), 2);
        for clause in model::get().clauses_of(model::OVERALL).filter(|clause| clause.level == 3) {
            says(&mut kagent, &clause.id, Says::Supported);
        }
        assert_eq!(level(&kagent), 3);
        exports(&mut kagent, Export::ExecutionLogs, Says::Denied);
        assert_eq!(level(&kagent), 2);
        // One clause supported of a platform that has none.
        let mut newrelic = of("new-relic-ai");
        says(&mut newrelic, "scale.2.timeouts", Says::Supported);
        assert_eq!(level(&newrelic), 1, "a clause above holds the floors");
    }
}
