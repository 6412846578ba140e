//! The model's comparison template, filled: its 18 columns, a row from a ledger and rows from assessments.

use std::fmt::Write as _;

use schemas::assessment::Assessment;
use schemas::model::{self, ColumnKind, Kpi, Unit};
use serde_json::{Map, Value, json};

use super::rating;

/// What a cell says that nobody measured.
pub const NOT_MEASURED: &str = "not measured";

/// One row.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// Who.
    pub platform: String,
    /// The overall level.
    pub overall: u8,
    /// The five phases, in order.
    pub phases: Vec<u8>,
    /// Values of the ten KPIs in their units; `None` where not measured.
    pub kpis: Vec<Option<f64>>,
    /// Where the evidence is.
    pub evidence: Vec<String>,
    /// Why not one level more.
    pub reason: String,
}

impl Row {
    /// A platform's, from its assessment: nothing of it was measured.
    pub fn of(assessment: &Assessment) -> Self {
        let rating = rating::rate(assessment);
        let stated = rating.stated_reason.map(str::to_owned);
        Self {
            platform: assessment.platform.clone(),
            overall: rating.levels.overall,
            phases: rating.levels.phases.iter().map(|row| row.level).collect(),
            kpis: vec![None; model::get().kpis.len()],
            evidence: Vec::new(),
            reason: stated.unwrap_or(rating.reason),
        }
    }

    /// The 18 cells, as text.
    pub fn cells(&self) -> Vec<String> {
        let (mut phases, mut kpis) = (self.phases.iter(), model::get().kpis.iter().zip(&self.kpis));
        let cell = |kind: ColumnKind| match kind {
            ColumnKind::Platform => self.platform.clone(),
            ColumnKind::Phase => phases.next().map(u8::to_string).unwrap_or_default(),
            ColumnKind::Overall => self.overall.to_string(),
            ColumnKind::Kpi => kpis.next().map_or_else(String::new, |(kpi, value)| shown(kpi, *value)),
            ColumnKind::Links => {
                if self.evidence.is_empty() {
                    "none".to_owned()
                } else {
                    self.evidence.join(" ")
                }
            }
        };
        model::get().comparison.iter().map(|column| column.kind).map(cell).collect()
    }

    /// An object with `platform`, `overall`, each phase and KPI by its id, `reason` and `evidence`.
    pub fn json(&self) -> Value {
        let mut row = Map::new();
        row.insert("platform".to_owned(), json!(self.platform));
        for (phase, level) in model::get().phases.iter().zip(&self.phases) {
            row.insert(phase.id.clone(), json!(level));
        }
        row.insert("overall".to_owned(), json!(self.overall));
        for (kpi, value) in model::get().kpis.iter().zip(&self.kpis) {
            row.insert(kpi.id.clone(), value.map_or_else(|| json!(NOT_MEASURED), |value| json!(rounded(value))));
        }
        row.insert("reason".to_owned(), json!(self.reason));
        row.insert("evidence".to_owned(), json!(self.evidence));
        Value::Object(row)
    }
}

fn rounded(value: f64) -> f64 {
    (value * 100.0).round() / 100.0
}

fn shown(kpi: &Kpi, value: Option<f64>) -> String {
    match (value, kpi.unit) {
        (None, _) => NOT_MEASURED.to_owned(),
        (Some(value), Unit::Milliseconds) => format!("{value:.0}"),
        (Some(value), Unit::Percent | Unit::Minutes) => format!("{value:.1}"),
    }
}

/// The headers, the model's.
pub fn headers() -> Vec<&'static str> {
    model::get().comparison.iter().map(|column| column.header.as_str()).collect()
}

/// The template as the model has it, a Markdown table.
pub fn markdown(rows: &[Row]) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let headers: Vec<_> = headers().into_iter().map(str::to_owned).collect();
    let mut table = line(&headers);
    let _ = writeln!(table, "|{}", "---|".repeat(headers.len()));
    for row in rows {
        table.push_str(&line(
            &row.cells().iter().map(|cell| cell.replace('|', "\\|").replace('\n', " ")).collect::<Vec<_>>(),
        ));
    }
    table
}

/// RFC 4180. A cell that a spreadsheet would take for a formula gets an apostrophe in front.
pub fn csv(rows: &[Row]) -> String {
    csv_with([], rows.iter().map(|row| (row, [])))
}

/// The same with further columns behind the template's.
pub fn csv_with<'r, const N: usize>(more: [&str; N], rows: impl IntoIterator<Item = (&'r Row, [String; N])>) -> String {
    let header = headers().into_iter().chain(more).map(str::to_owned).collect();
    let lines = rows.into_iter().map(|(row, more)| row.cells().into_iter().chain(more).collect());
    std::iter::once(header)
        .chain(lines)
        .map(|cells: Vec<String>| cells.iter().map(|cell| quoted(cell)).collect::<Vec<_>>().join(",") + "\r\n")
        .collect()
}

fn quoted(cell: &str) -> String {
    let guarded = if cell.starts_with(['=', '+', '-', '@', '\t', '\r']) { format!("'{cell}") } else { cell.to_owned() };
    if guarded.contains([',', '"', '\n', '\r']) { format!("\"{}\"", guarded.replace('"', "\"\"")) } else { guarded }
}

#[cfg(test)]
mod tests {
    use schemas::assessment;

    use super::*;

    #[test]
    fn every_platform_fills_18_columns() {
        let rows: Vec<_> = assessment::all().iter().map(|(_, file)| Row::of(file)).collect();
        assert!(rows.iter().all(|row| row.cells().len() == 18));
        let table = markdown(&rows);
        assert_eq!(table.lines().count(), 28);
        let header = model::TEXT.lines().find(|line| line.starts_with("| Platform | Intent&Plan")).unwrap();
        assert_eq!(table.lines().next(), Some(header), "the model's own header");
        assert!(table.lines().all(|line| line.replace("\\|", "").matches('|').count() == 19));
        assert_eq!(csv(&rows).lines().count(), 27);
        for (row, platform) in rows.iter().zip(&model::get().platforms) {
            let json = row.json();
            assert_eq!(
                (json["platform"].as_str(), json["overall"].as_u64()),
                (Some(&*platform.name), Some(platform.overall.into()))
            );
            assert_eq!(json["plan_p95"], NOT_MEASURED);
            assert_eq!(row.reason, platform.cap_reason);
        }
    }

    #[test]
    fn cells_cannot_break_the_table_or_run_in_a_spreadsheet() {
        let mut row = Row::of(assessment::of("new-relic-ai").unwrap());
        row.platform = "=cmd|' /C calc'!A0,\"x\"".to_owned();
        assert!(csv(&[row.clone()]).contains("\"'=cmd|' /C calc'!A0,\"\"x\"\"\""));
        assert!(markdown(&[row]).contains("=cmd\\|"));
    }
}
