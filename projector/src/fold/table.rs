//! The states of a change, as one table: what the fold reads, and what the documentation draws.
//!
//! Rows stand in order of precedence: the first whose mark an attempt has is its state, so that every order of the same entries gives the same
//! one. `from` names where it is usually entered from; nothing has to come that way, and what is odd about another way is an anomaly.

use std::fmt::Write as _;

use super::{Marks, State};

/// One state.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// The state.
    pub state: State,
    /// What an attempt has to have.
    pub mark: Marks,
    /// Which entry gives that mark.
    pub by: &'static str,
    /// Where it is usually entered from; nowhere: from the start.
    pub from: &'static [State],
}

/// All states, highest precedence first.
pub const TABLE: [Row; 14] = [
    Row {
        state: State::Closed,
        mark: Marks::CLOSED,
        by: "an event of phase audit with governance.closed",
        from: &[
            State::Verified,
            State::VerifyFailed,
            State::Failed,
            State::Refused,
            State::RolledBack,
            State::RollbackFailed,
        ],
    },
    Row {
        state: State::RollbackFailed,
        mark: Marks::ROLLBACK_FAILED,
        by: "an executed rollback with a failed step or a failed outcome",
        from: &[State::RollingBack],
    },
    Row {
        state: State::RolledBack,
        mark: Marks::ROLLED_BACK,
        by: "an executed rollback with an outcome that is no failure",
        from: &[State::RollingBack],
    },
    Row {
        state: State::RollingBack,
        mark: Marks::ROLLING_BACK,
        by: "an executed rollback",
        from: &[State::Failed, State::VerifyFailed],
    },
    Row {
        state: State::VerifyFailed,
        mark: Marks::VERIFY_FAILED,
        by: "a check or service level after the change that did not hold",
        from: &[State::Executed],
    },
    Row {
        state: State::Failed,
        mark: Marks::FAILED,
        by: "a step that returned something else than 0",
        from: &[State::Executing],
    },
    Row {
        state: State::Verified,
        mark: Marks::VERIFIED,
        by: "checks after the change of which one held and none failed, or an empty drift diff",
        from: &[State::Executed],
    },
    Row {
        state: State::Executed,
        mark: Marks::EXECUTED,
        by: "steps that all returned 0, with none remaining",
        from: &[State::Executing],
    },
    Row {
        state: State::Executing,
        mark: Marks::EXECUTING,
        by: "steps, or an event of phase execute",
        from: &[State::Approved, State::PreflightPassed],
    },
    Row {
        state: State::Refused,
        mark: Marks::REFUSED,
        by: "an approval that refused, or a mandatory policy that denied",
        from: &[State::PreflightPassed],
    },
    Row {
        state: State::PreflightFailed,
        mark: Marks::PREFLIGHT_FAILED,
        by: "a preflight check that failed",
        from: &[State::Planned],
    },
    Row { state: State::Approved, mark: Marks::APPROVED, by: "an approval", from: &[State::PreflightPassed] },
    Row {
        state: State::PreflightPassed,
        mark: Marks::PREFLIGHT_PASSED,
        by: "preflight checks or policies of which one held and none failed",
        from: &[State::Planned],
    },
    Row { state: State::Planned, mark: Marks::NONE, by: "any event: the change is on record", from: &[] },
];

/// The table as Markdown.
pub fn markdown() -> String {
    let mut out = String::from("| | state | an attempt is so with |\n|---|---|---|\n");
    for (rank, row) in (1..).zip(TABLE) {
        // Writing to a string cannot fail.
        let _ = writeln!(out, "| {rank} | `{}` | {} |", row.state, row.by);
    }
    out
}

/// The table as a Mermaid state diagram.
pub fn mermaid() -> String {
    let mut out = String::from("stateDiagram-v2\n");
    for row in TABLE.iter().rev() {
        if row.from.is_empty() {
            let _ = writeln!(out, "    [*] --> {}", row.state);
        }
        for from in row.from {
            let _ = writeln!(out, "    {from} --> {}", row.state);
        }
    }
    out.push_str("    closed --> [*]\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_one_row_and_is_reached_as_drawn() {
        for state in State::ALL {
            assert_eq!(TABLE.iter().filter(|row| row.state == state).count(), 1, "{state}");
        }
        let mark = |state: State| TABLE.iter().find(|row| row.state == state).map_or(Marks::NONE, |row| row.mark);
        for row in TABLE {
            assert_eq!(row.mark.state(), row.state);
            for from in row.from {
                assert_eq!((mark(*from) | row.mark).state(), row.state, "{from} --> {}", row.state);
            }
        }
    }

    #[test]
    fn the_documentation_draws_this_table() {
        let page = include_str!("../../../docs/change-state.md");
        assert!(page.contains(&format!("\n```mermaid\n{}```\n", mermaid())), "the diagram is to be\n{}", mermaid());
        assert!(page.contains(&format!("\n{}\n", markdown())), "the table is to be\n{}", markdown());
    }

    #[test]
    fn the_documentation_names_every_anomaly() {
        let page = include_str!("../../../docs/change-state.md");
        for code in crate::anomaly::Code::ALL {
            let line = format!("| `{}` | {} |\n", code.as_str(), code.meaning());
            assert!(page.contains(&line), "missing: {line}");
        }
    }
}
