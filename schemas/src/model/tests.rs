//! The tables against the model's text, both ways, and against each other.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::canonicals;

fn cell_row(cells: &[&str]) -> String {
    format!("| {} |", cells.join(" | "))
}

/// Every line of the model's tables and lists, written again from the data.
fn lines_from_data() -> Vec<String> {
    let model = get();
    let mut lines = Vec::new();
    for row in &model.phases {
        let number = row.number.to_string();
        lines.push(cell_row(&[&number, &row.name, &row.definition, &row.typical_data, &row.expected_capability]));
        lines.push(row.heading.clone());
    }
    for row in &model.scale {
        lines.push(cell_row(&[&row.level.to_string(), &row.label, &row.words]));
    }
    lines.extend(model.expectations.iter().map(|row| format!("- L{}: {}", row.level, row.words)));
    lines.extend(model.gates.iter().map(|row| match row.cap {
        Some(_) => format!("• {}", row.words),
        None => row.words.clone(),
    }));
    lines.extend(model.kpis.iter().map(|row| format!("- {}", row.words)));
    lines.extend(model.atlas.iter().map(|row| cell_row(&[&row.token, &row.level.to_string()])));
    lines.push(cell_row(&model.comparison.iter().map(|row| row.header.as_str()).collect::<Vec<_>>()));
    lines.extend(model.checklist.iter().map(|row| format!("- {}", row.words)));
    for row in &model.requirements {
        let criteria: Vec<_> = row.acceptance.iter().map(|criterion| criterion.words.as_str()).collect();
        lines.push(format!("{}. {}", row.id, row.words));
        lines.push(format!("AC: {}.", criteria.join("; ")));
    }
    for row in &model.platforms {
        lines.push(cell_row(&[&row.name, &row.overall.to_string(), &row.cap_reason]));
        lines.push(format!("{} — UPM {} ({})", row.name, row.overall, row.label));
        for note in &row.notes {
            let phase = note.phase.as_ref().and_then(|id| model.phases.iter().find(|phase| phase.id == *id));
            lines.push(phase.map_or(format!("- {}", note.words), |phase| format!("- {}: {}", phase.note, note.words)));
        }
    }
    lines.extend(model.guidance.iter().map(|row| format!("- {}", row.words)));
    lines
}

/// Two lists that the text runs on from one item into the next: they are compared as flowing text.
fn flowing() -> String {
    let examples = get().examples.iter().map(|row| format!("- {}", row.words));
    let words = canonicals::get();
    let set = |name: &str, list: &[String]| format!("- {name} ∈ {{{}}}", list.join(", "));
    let lists = [
        set("phase", &words.phase),
        set("source", &words.source),
        set("visibility", &words.visibility),
        set("agent", &words.agent),
        format!("- pipe_allow_list default: {}", words.pipe_allow_list.join(",")),
    ];
    let heading = "🗂️ Field Canonicals (Provisioning)".to_owned();
    spaced(&examples.chain([heading]).chain(lists).collect::<Vec<_>>().join(" "))
}

fn spaced(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[test]
fn examples_and_canonicals_are_the_texts() {
    let (_, rest) = TEXT.split_once("Minimal Acceptance Examples\n").unwrap();
    let (section, _) = rest.split_once("📊 ").unwrap();
    assert_eq!(flowing(), spaced(section));
    let metas = &get().examples[0].words;
    assert!(
        crate::guard::METAS
            .iter()
            .all(|meta| metas.contains(&meta.escape_default().to_string()) || metas.contains(meta))
    );
}

/// The text without its JSON example, which `examples/model.json` is, and without what [`flowing`] compares.
fn lines_of_text() -> Vec<&'static str> {
    let (before, rest) = TEXT.split_once("\n{\n").unwrap();
    let (_, after) = rest.split_once("\n✅ ").unwrap();
    let (after, rest) = after.split_once("🧪 ").unwrap();
    let (_, ratings) = rest.split_once("📊 ").unwrap();
    before.lines().chain(after.lines().skip(1)).chain(ratings.lines().skip(1)).collect()
}

#[test]
fn every_row_is_in_the_text_word_for_word() {
    let text: BTreeSet<_> = TEXT.lines().map(str::trim_end).collect();
    for line in lines_from_data() {
        assert!(text.contains(line.as_str()), "not a line of the model: {line:?}");
    }
    for clause in &get().clauses {
        assert!(TEXT.contains(&clause.words), "{}: {:?} is not in the model", clause.id, clause.words);
    }
    for kpi in &get().kpis {
        assert!(
            kpi.words.starts_with(&kpi.name) && kpi.band_words.iter().all(|band| kpi.words.contains(band)),
            "{}",
            kpi.id
        );
        assert_eq!(kpi.band_words.each_ref().map(|band| number(band)), [kpi.l3, kpi.l4], "{}", kpi.id);
        assert!(get().comparison.iter().any(|column| column.id == kpi.id && column.header == kpi.column), "{}", kpi.id);
    }
}

fn number(words: &str) -> u32 {
    words.chars().filter(char::is_ascii_digit).collect::<String>().parse().unwrap()
}

/// What the text says around its tables and lists; anything else must be a row.
const PROSE: &[&str] = &[
    "🚀 ",
    "A vendor‑neutral baseline",
    "Last updated",
    "What changed in v2",
    "- Maturity scale normalized",
    "- Evidence discipline",
    "- Quality KPIs added",
    "- Atlas alignment",
    "⚙️ ",
    "🧩 ",
    "Evidence gates",
    "🔎 ",
    "🧠 ",
    "✅ ",
    "📈 ",
    "Use a fixed",
    "🔁 ",
    "🔍 ",
    "Attach evidence",
    "📝 ",
    "🧪 ",
    "🗂️ ",
    "📊 ",
    "Note: Scores",
    "🧾 ",
    "🧭 ",
    "| # | Phase",
    "| Level | Label",
    "| Atlas token",
    "| Your Stack",
    "| Platform | Overall",
    "|---",
];

#[test]
fn every_line_of_the_tables_and_lists_is_a_row() {
    let mut rows: BTreeMap<String, usize> = BTreeMap::new();
    for line in lines_from_data() {
        *rows.entry(line).or_default() += 1;
    }
    let mut unknown = Vec::new();
    for line in lines_of_text() {
        let line = line.trim_end();
        match rows.get_mut(line) {
            Some(left) if *left > 0 => *left -= 1,
            _ if PROSE.iter().any(|prose| line.starts_with(prose)) => {}
            _ => unknown.push(line),
        }
    }
    assert!(unknown.is_empty(), "in no table: {unknown:#?}");
    let left: Vec<_> = rows.iter().filter(|(_, left)| **left > 0).collect();
    assert!(left.is_empty(), "more often in the data than in the text: {left:?}");
}

/// The words of a cell's clauses and what joins them are the whole cell, so no clause is forgotten.
#[test]
fn clauses_split_their_cells_without_a_rest() {
    let model = get();
    let scale = model.scale.iter().map(|row| (OVERALL, row.level, row.words.as_str()));
    let phases = model.expectations.iter().map(|row| (row.phase.as_str(), row.level, row.words.as_str()));
    for (row, level, cell) in scale.chain(phases) {
        let mut rest = cell;
        for clause in model.clauses_of(row).filter(|clause| clause.level == level) {
            let at = rest.find(&clause.words).unwrap_or_else(|| panic!("{} is not in order in {cell:?}", clause.id));
            let joint = rest[..at].trim();
            assert!(["", ";", "/", "+", "with"].contains(&joint), "{}: {joint:?} is in no clause", clause.id);
            rest = &rest[at + clause.words.len()..];
        }
        assert_eq!(rest, ".", "left of {row} {level}");
    }
}

#[test]
fn rows_name_only_rows_that_exist() {
    let model = get();
    let mut ids = BTreeSet::new();
    for clause in &model.clauses {
        assert!(ids.insert(&clause.id), "{} twice", clause.id);
        let (row, level) = (clause.id.split('.').next().unwrap(), clause.id.split('.').nth(1).unwrap());
        assert_eq!(if row == "scale" { OVERALL } else { row }, clause.row);
        assert_eq!(level, clause.level.to_string());
        assert!(clause.needs.iter().all(known), "{}: {:?}", clause.id, clause.needs);
        assert_eq!(clause.kind == ClauseKind::Floor, clause.level < 2, "{}", clause.id);
        assert_eq!(clause.needs.is_empty(), clause.attest_only.is_some() || clause.level == 0, "{}", clause.id);
        assert_eq!(!clause.subsumed_by.is_empty(), clause.kind == ClauseKind::Floor, "{}", clause.id);
        for higher in &clause.subsumed_by {
            let higher = model.clause(higher).unwrap();
            assert!(higher.row == clause.row && higher.level > clause.level && higher.kind != ClauseKind::Optional);
        }
    }
    assert!(model.gates.iter().all(|gate| gate.needs.iter().all(known) && gate.cap.is_none() == gate.needs.is_empty()));
    let items = model.checklist.iter().flat_map(|item| &item.needs);
    assert!(items.clone().all(|id| model.clause(id).is_some()), "{:?}", items.collect::<Vec<_>>());
    assert!(model.checklist.iter().all(|item| item.measures.iter().all(known)));
    assert!(model.measures.iter().all(|measure| used(&measure.id)), "a measure that shows nothing");
    assert!(model.conformance.iter().all(|case| used(&case.id)), "a case that shows nothing");
}

fn known(need: &ClauseNeed) -> bool {
    match need {
        ClauseNeed::Measure { measure, band } => {
            get().measure(measure).is_some() && band.as_ref().is_none_or(|band| get().kpi(band).is_some())
        }
        ClauseNeed::Kpi { kpi, .. } => get().kpi(kpi).is_some(),
        ClauseNeed::Probe { probe } => get().case(probe).is_some(),
    }
}

fn used(id: &str) -> bool {
    let needs =
        get().clauses.iter().flat_map(|clause| &clause.needs).chain(get().gates.iter().flat_map(|gate| &gate.needs));
    needs.chain(get().checklist.iter().flat_map(|item| &item.measures)).any(|need| match need {
        ClauseNeed::Measure { measure: name, .. } | ClauseNeed::Probe { probe: name } => name == id,
        ClauseNeed::Kpi { .. } => false,
    })
}

#[test]
fn six_tables_have_their_size() {
    let model = get();
    assert_eq!(model.phases.len(), 5);
    assert_eq!(model.scale.iter().map(|row| row.level).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
    assert_eq!(model.expectations.len(), 25);
    assert_eq!((model.kpis.len(), model.atlas.len(), model.platforms.len()), (10, 5, 26));
    assert_eq!(model.comparison.len(), 18);
    assert_eq!((model.checklist.len(), model.requirements.len(), model.examples.len()), (7, 5, 6));
    let phases: Vec<_> = model.phases.iter().map(|phase| phase.id.as_str()).collect();
    assert_eq!(phases, canonicals::get().phase.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn tokens_and_levels_lead_to_each_other() {
    let model = get();
    for row in &model.atlas {
        assert_eq!(model.level_of_token(&row.token), Some(row.level));
        assert_eq!(model.token_of_level(row.level), row.token);
    }
    assert_eq!(model.level_of_token("y/m"), Some(3));
    assert_eq!(model.level_of_token("X/Y"), None);
    assert!(model.kpi("mttr").unwrap().within(3, 30.0) && !model.kpi("mttr").unwrap().within(4, 15.5));
    assert!(
        model.kpi("approval_coverage").unwrap().within(3, 90.0)
            && !model.kpi("approval_coverage").unwrap().within(4, 99.9)
    );
}

/// Each acceptance criterion names tests, and they are there; or it says why none does.
#[test]
fn acceptance_criteria_are_shown_by_tests_that_exist() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for criterion in get().requirements.iter().flat_map(|requirement| &requirement.acceptance) {
        assert_eq!(criterion.tests.is_empty(), criterion.unknown.is_some(), "{}", criterion.id);
        for test in &criterion.tests {
            let (file, function) = test.split_once("::").unwrap();
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_else(|error| panic!("{test}: {error}"));
            let at = text.find(&format!("fn {function}(")).unwrap_or_else(|| panic!("{test} is not there"));
            let before = text[..at].trim_end().lines().last().unwrap_or_default().trim();
            assert!(before == "#[test]" || before.starts_with("#[tokio::test"), "{test} is no test: {before}");
        }
    }
}
