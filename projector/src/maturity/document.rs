//! The lists of `docs/maturity.md` and `docs/ratings.md`, made from the data; tests hold the files equal.

use std::fmt::Write as _;

use schemas::assessment::{self, Says};
use schemas::model::{self, Clause, ClauseKind, ClauseNeed, Form, OVERALL};

use super::compare;
use super::rating;
use super::{COUNT_MIN, SHARE_MIN, WINDOW_DAYS};

/// Every clause with what shows it, as Markdown.
pub fn clauses() -> String {
    let mut text = format!(
        "Measured over {WINDOW_DAYS} days, with at least {COUNT_MIN} of whatever is counted; a share needs {SHARE_MIN} % where no KPI's band is named.\n"
    );
    for row in model::get().rows() {
        let name =
            model::get().phases.iter().find(|phase| phase.id == row).map_or("Overall: the scale", |phase| &phase.name);
        let _ = write!(text, "\n### {name}\n\n| clause | the model's words | shown by |\n|---|---|---|\n");
        for clause in model::get().clauses_of(row) {
            let _ = writeln!(text, "| `{}` | {} | {} |", clause.id, clause.words, shown_by(clause).replace('|', "\\|"));
        }
    }
    text.push_str("\n### Gates\n\n| gate | the model's words | opened by |\n|---|---|---|\n");
    for gate in model::get().gates.iter().filter(|gate| gate.cap.is_some()) {
        let needs: Vec<_> = gate.needs.iter().map(|one| need(one, gate.cap.unwrap_or(0) + 1)).collect();
        let _ = writeln!(text, "| `{}` | {} | {}; cannot be attested |", gate.id, gate.words, needs.join("; "));
    }
    text
}

fn shown_by(clause: &Clause) -> String {
    if clause.level == 0 {
        return "nothing: level 0 is what is left".to_owned();
    }
    let needs: Vec<_> = clause.needs.iter().map(|one| need(one, clause.level)).collect();
    match (clause.kind, &clause.attest_only) {
        (_, Some(why)) => format!("**attestation only**: {why}"),
        (ClauseKind::Floor, _) => format!("{}; or any clause of a higher level of this table", needs.join("; ")),
        (ClauseKind::Optional, _) => format!("{}; optional, never gates", needs.join("; ")),
        (ClauseKind::Gating, _) => needs.join("; "),
    }
}

fn need(need: &ClauseNeed, level: u8) -> String {
    match need {
        ClauseNeed::Probe { probe } => format!("conformance case `{probe}`"),
        ClauseNeed::Kpi { kpi, counter } => {
            let band = model::get().kpi(kpi).map_or("", |row| &row.band_words[usize::from(level >= model::TOP)]);
            let when = if *counter { " wherever it is measured" } else { "" };
            format!("KPI `{kpi}` {band}{when}")
        }
        ClauseNeed::Measure { measure, band } => {
            let Some(row) = model::get().measure(measure) else { return measure.clone() };
            let least = band.as_ref().and_then(|id| model::get().kpi(id));
            let least = least.map_or(String::new(), |kpi| {
                format!(" ({}: the band of `{}`)", kpi.band_words[usize::from(level >= model::TOP)], kpi.id)
            });
            match row.form {
                Form::Share => format!("`{measure}`: {}, {}{least}", row.den, row.num),
                Form::Every if level >= model::TOP => format!("`{measure}`: all {}", row.num),
                Form::Every => format!("`{measure}`: some {}", row.num),
                Form::None => format!("`{measure}`: no {}", row.num),
            }
        }
    }
}

/// The cases of the conformance set.
pub fn conformance() -> String {
    let mut text = "| case | driven through | what is done and must come of it |\n|---|---|---|\n".to_owned();
    for case in &model::get().conformance {
        let driver = format!("{:?}", case.driver).to_lowercase();
        let _ = writeln!(text, "| `{}` | {driver} | {} |", case.id, case.words);
    }
    text
}

/// The checklist and what each item needs.
pub fn checklist() -> String {
    let mut text =
        "| item | the model's words | clauses, and measures of what no clause names |\n|---|---|---|\n".to_owned();
    for item in &model::get().checklist {
        let measures: Vec<String> = item.measures.iter().map(|one| need(one, model::TOP)).collect();
        let measures = measures.iter().flat_map(|need| ["; ", need]).collect::<String>();
        let _ = writeln!(text, "| `{}` | {} | `{}`{measures} |", item.id, item.words, item.needs.join("` `"));
    }
    text
}

/// F1 to F5, criterion by criterion, with the tests that show each.
pub fn requirements() -> String {
    let mut text = "| criterion | the model's words | shown by |\n|---|---|---|\n".to_owned();
    for requirement in &model::get().requirements {
        for criterion in &requirement.acceptance {
            let tests: Vec<_> = criterion.tests.iter().map(|test| format!("`{test}`")).collect();
            let words = criterion.words.replace('|', "\\|");
            let shown =
                criterion.unknown.as_ref().map_or_else(|| tests.join(", "), |why| format!("**unknown**: {why}"));
            let _ = writeln!(text, "| `{}` | {words} | {shown} |", criterion.id);
        }
    }
    text
}

/// The 26 platforms: level, cap reason, and how much of it is presumed or contradicted.
pub fn ratings() -> String {
    let mut text = "| platform | overall | phases | the table's reason | derived reason | presumed | exceptions |\n|---|---|---|---|---|---|---|\n".to_owned();
    for (_, file) in assessment::all() {
        let rating = rating::rate(file);
        let row = compare::Row::of(file);
        let phases: Vec<_> = row.phases.iter().map(u8::to_string).collect();
        let _ = writeln!(
            text,
            "| {} | {} | {} | {} | {} | {} | {} |",
            file.platform,
            rating.levels.overall,
            phases.join(" "),
            rating.stated_reason.unwrap_or_default(),
            rating.reason,
            rating.presumed.len(),
            file.exceptions.len()
        );
    }
    for (_, file) in assessment::all() {
        let rating = rating::rate(file);
        let _ = write!(text, "\n### {}\n\n", file.platform);
        let overall = |ids: &[&'static str]| {
            let scale = ids
                .iter()
                .filter(|id| model::get().clause(id).is_some_and(|clause| clause.row == OVERALL && clause.level > 0));
            scale.map(|id| format!("`{id}`")).collect::<Vec<_>>().join(", ")
        };
        let _ = writeln!(text, "Presumed of the scale: {}.", none_or(overall(&rating.presumed)));
        let exports: Vec<_> =
            rating.exports.iter().map(|(export, says)| format!("{} {}", export.as_str(), word(*says))).collect();
        let _ = writeln!(text, "Exports: {}.", exports.join(", "));
        for exception in &file.exceptions {
            let what = exception.clause.as_deref().or(exception.gate.as_deref()).unwrap_or_default();
            let _ = writeln!(
                text,
                "\n- Exception `{what}`: “{}” against “{}”. {}",
                exception.note, exception.model, exception.why
            );
        }
    }
    text
}

fn none_or(list: String) -> String {
    if list.is_empty() { "nothing".to_owned() } else { list }
}

fn word(says: Says) -> &'static str {
    match says {
        Says::Supported => "supported",
        Says::Denied => "denied",
        Says::Presumed => "presumed",
    }
}

type List = (&'static str, fn() -> String);

/// The lists by the names that the documents' markers give them.
const LISTS: [List; 5] = [
    ("clauses", clauses),
    ("conformance", conformance),
    ("checklist", checklist),
    ("requirements", requirements),
    ("ratings", ratings),
];

/// A document with every list between `<!-- NAME -->` and `<!-- /NAME -->` made again.
pub fn filled(text: &str) -> String {
    let mut text = text.to_owned();
    for (name, list) in LISTS {
        let (start, end) = (format!("<!-- {name} -->"), format!("<!-- /{name} -->"));
        if let (Some(from), Some(to)) = (text.find(&start), text.find(&end)) {
            text.replace_range(from + start.len()..to, &format!("\n{}", list()));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENTS: [&str; 2] = [include_str!("../../../docs/maturity.md"), include_str!("../../../docs/ratings.md")];

    /// What the documents list is what the data says: `cargo run -p upm-projector --example maturity_docs` writes it again.
    #[test]
    fn documents_list_what_is_there() {
        for text in DOCUMENTS {
            assert!(filled(text) == text, "a list is out of date: run the example maturity_docs");
        }
        for (name, _) in LISTS {
            assert_eq!(DOCUMENTS.concat().matches(&format!("<!-- {name} -->")).count(), 1, "{name}");
        }
    }

    #[test]
    fn every_clause_is_listed_with_what_shows_it() {
        let text = clauses();
        for clause in &model::get().clauses {
            assert!(text.contains(&format!("| `{}` | {} | ", clause.id, clause.words)), "{}", clause.id);
        }
        let attested = model::get().clauses.iter().filter(|clause| clause.attest_only.is_some()).count();
        assert_eq!(text.matches("**attestation only**").count(), attested);
    }
}
