//! From clauses to levels: the one scorer, for ledgers and for assessments of platforms.
//!
//! It is told which clauses are shown and which gates are open, and knows nothing of how. A row's level is the highest at which all gating
//! clauses of that level and below hold (the model's gating rule); floors hold by themselves or by any clause above them, optional clauses never count. The overall
//! level is the scale's row, capped by the gates that are shut; phases are read off their own expectations, and are not capped.

use schemas::model::{self, Clause, ClauseKind, Gate, OVERALL, TOP};

/// One row: `overall` before the caps, or a phase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `overall` or a phase.
    pub row: &'static str,
    /// 0 to 4.
    pub level: u8,
    /// Clauses that do not hold, of all levels above.
    pub unmet: Vec<&'static str>,
}

impl Row {
    /// The unmet clauses that keep it from the next level.
    pub fn next(&self) -> impl Iterator<Item = &'static str> {
        let next = self.level + 1;
        self.unmet.iter().copied().filter(move |id| model::get().clause(id).is_some_and(|clause| clause.level == next))
    }
}

/// All levels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Levels {
    /// The overall level: the scale's row under the caps.
    pub overall: u8,
    /// The scale's row without them.
    pub scale: Row,
    /// Gates that are shut and whose cap is reached, lowest first.
    pub caps: Vec<&'static str>,
    /// The five phases.
    pub phases: Vec<Row>,
}

impl Levels {
    /// The gate that keeps the overall level where it is; none where clauses do.
    pub fn cap(&self) -> Option<&'static Gate> {
        let first = self.caps.first()?;
        model::get().gates.iter().find(|gate| gate.id == *first && gate.cap == Some(self.overall))
    }
}

/// Levels from what is shown. `shown` is asked for clause ids, `open` for gate ids.
pub fn levels(shown: impl Fn(&'static Clause) -> bool, open: impl Fn(&'static Gate) -> bool) -> Levels {
    let scale = row(OVERALL, &shown);
    let shut = model::get().gates.iter().filter_map(|gate| gate.cap.map(|cap| (cap, gate)));
    let mut shut: Vec<_> = shut.filter(|(cap, gate)| *cap <= scale.level && !open(gate)).collect();
    shut.sort_by_key(|(cap, _)| *cap);
    let overall = shut.first().map_or(scale.level, |(cap, _)| *cap);
    let phases = model::get().phases.iter().map(|phase| row(&phase.id, &shown)).collect();
    Levels { overall, scale, caps: shut.iter().map(|(_, gate)| gate.id.as_str()).collect(), phases }
}

fn row(name: &'static str, shown: &impl Fn(&'static Clause) -> bool) -> Row {
    let clauses = || model::get().clauses_of(name);
    let unmet: Vec<_> = clauses().filter(|clause| !holds(clause, shown)).collect();
    let level = (0..=TOP).take_while(|level| unmet.iter().all(|clause| clause.level != *level)).last().unwrap_or(0);
    Row { row: name, level, unmet: unmet.iter().map(|clause| clause.id.as_str()).collect() }
}

fn holds(clause: &'static Clause, shown: &impl Fn(&'static Clause) -> bool) -> bool {
    match clause.kind {
        ClauseKind::Optional => true,
        // Level 0 is what is left: nothing has to be shown for it.
        ClauseKind::Floor if clause.level == 0 => true,
        ClauseKind::Floor => {
            shown(clause) || clause.subsumed_by.iter().filter_map(|id| model::get().clause(id)).any(shown)
        }
        ClauseKind::Gating => shown(clause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn up_to(level: u8) -> impl Fn(&'static Clause) -> bool {
        move |clause| clause.level <= level
    }

    #[test]
    fn every_level_of_every_row_is_reached_by_its_clauses() {
        for level in 0..=TOP {
            let levels = levels(up_to(level), |_| true);
            assert_eq!((levels.overall, levels.cap().is_none()), (level, true));
            assert!(levels.phases.iter().all(|row| row.level == level), "{levels:?}");
        }
    }

    /// One clause short of level 4, wherever it stands: a gating one costs everything from its level on, another nothing.
    #[test]
    fn one_clause_short() {
        for missing in &model::get().clauses {
            let levels = levels(|clause| clause.id != missing.id, |_| true);
            let expected = if missing.kind == ClauseKind::Gating { missing.level - 1 } else { TOP };
            let row = levels.phases.iter().chain([&levels.scale]).find(|row| row.row == missing.row).unwrap();
            assert_eq!(row.level, expected, "{}", missing.id);
            assert_eq!(row.unmet.is_empty(), missing.kind != ClauseKind::Gating, "{}", missing.id);
            // The tables are never mixed.
            let others = levels.phases.iter().chain([&levels.scale]).filter(|row| row.row != missing.row);
            assert!(others.into_iter().all(|row| row.level == TOP), "{}", missing.id);
        }
    }

    #[test]
    fn gates_cap_the_overall_level_only() {
        for (shut, cap) in [("evidence_export", 2), ("rollback_evidence", 3)] {
            let levels = levels(|_| true, |gate| gate.id != shut);
            assert_eq!((levels.overall, levels.scale.level, levels.caps.as_slice()), (cap, TOP, [shut].as_slice()));
            assert_eq!(levels.cap().map(|gate| gate.id.as_str()), Some(shut));
            assert!(levels.phases.iter().all(|row| row.level == TOP));
        }
        let both = levels(|_| true, |_| false);
        assert_eq!((both.overall, both.caps.as_slice()), (2, ["evidence_export", "rollback_evidence"].as_slice()));
        let low = levels(up_to(1), |_| false);
        assert_eq!((low.overall, low.caps.is_empty(), low.cap().is_none()), (1, true, true));
    }

    /// A floor alone, a clause above it alone, and nothing.
    #[test]
    fn floors_hold_by_a_higher_clause() {
        let only = |id: &'static str| levels(|clause| clause.id == id, |_| true).overall;
        assert_eq!(only("scale.3.pins"), 1);
        assert_eq!(only("scale.1.logs"), 0);
        assert_eq!(levels(|_| false, |_| true).overall, 0);
        assert_eq!(only("audit.3.immutable"), 0, "another row's clause holds no floor");
    }
}
