//! Answers to questions in SQL: collected, and written as JSON, CSV, NDJSON or a table for people.
//!
//! JSON and NDJSON keep types (a blob is `{"hex": …}`, an infinite number `null`); CSV is RFC 4180, with nothing between the commas for NULL and `""`
//! for an empty text. A table is for a terminal: cells are shortened, and nothing in them steers it.

use std::fmt::Write as _;

use projector_sqlite::ask::{AsOf, Sink};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Longest cell of a table, in characters.
const CELL_CHARS_MAX: usize = 60;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// Names of the columns.
    pub columns: Vec<String>,
    /// As many values in each as there are columns.
    pub rows: Vec<Vec<Value>>,
    /// Entries in `changes` and `events` when it was asked.
    pub core: u64,
    /// Entries in the other tables.
    pub detail: u64,
}

/// How an answer is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Columns for people
    #[default]
    Table,
    /// One document: columns, rows, and how far the tables reach
    Json,
    /// RFC 4180, with a header
    Csv,
    /// One object a row
    Ndjson,
}

impl Sink for Answer {
    type Error = std::convert::Infallible;

    fn columns(&mut self, names: &[&str], as_of: AsOf) -> Result<(), Self::Error> {
        self.columns = names.iter().map(|name| (*name).to_owned()).collect();
        (self.core, self.detail) = (as_of.core, as_of.detail);
        Ok(())
    }

    fn row(&mut self, values: &[projector_sqlite::ask::ValueRef<'_>]) -> Result<(), Self::Error> {
        self.rows.push(values.iter().map(value).collect());
        Ok(())
    }
}

fn value(value: &projector_sqlite::ask::ValueRef<'_>) -> Value {
    use projector_sqlite::ask::ValueRef;
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => (*number).into(),
        ValueRef::Real(number) => serde_json::Number::from_f64(*number).map_or(Value::Null, Value::Number),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        ValueRef::Blob(bytes) => json!({ "hex": hex::encode(bytes) }),
    }
}

impl Answer {
    /// The document that the API gives: how far the tables reach is said beside the rows.
    pub fn document(&self, entries: u64) -> Value {
        json!({
            "columns": self.columns,
            "rows": self.rows,
            "as_of": {"entries": entries.max(self.core), "core": self.core, "detail": self.detail},
        })
    }

    /// The answer out of such a document.
    pub fn of_document(document: &Value) -> Option<Self> {
        let part = |name: &str| document.get(name).cloned();
        Some(Self {
            columns: serde_json::from_value(part("columns")?).ok()?,
            rows: serde_json::from_value(part("rows")?).ok()?,
            core: document["as_of"]["core"].as_u64()?,
            detail: document["as_of"]["detail"].as_u64()?,
        })
    }

    /// RFC 4180, lines ending in CRLF.
    pub fn csv(&self) -> String {
        let mut out = String::new();
        let header = self.columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",");
        let _ = write!(out, "{header}\r\n");
        for row in &self.rows {
            let line = row.iter().map(csv_cell).collect::<Vec<_>>().join(",");
            let _ = write!(out, "{line}\r\n");
        }
        out
    }

    /// One object a row. Of columns with the same name the last one stands.
    pub fn ndjson(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            let object: Map<String, Value> = self.columns.iter().cloned().zip(row.iter().cloned()).collect();
            let _ = writeln!(out, "{}", Value::Object(object));
        }
        out
    }

    /// Rows of cells for a table, the header first. Cells are cut, not yet cleaned.
    pub fn cells(&self) -> Vec<Vec<String>> {
        let header = self.columns.iter().map(|name| name.to_uppercase()).collect();
        std::iter::once(header).chain(self.rows.iter().map(|row| row.iter().map(table_cell).collect())).collect()
    }

    /// In a line, how far the tables reach that the answer is from.
    pub fn reach(&self) -> String {
        match self.core.saturating_sub(self.detail) {
            0 => format!("as of {} entries; all tables are current", self.core),
            behind => {
                format!("as of {} entries; tables other than changes and events are {behind} entries behind", self.core)
            }
        }
    }
}

fn csv_cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => quoted(text),
        Value::Object(blob) => blob.get("hex").and_then(Value::as_str).unwrap_or_default().to_owned(),
        other => other.to_string(),
    }
}

/// Quoted where it has to be: an empty text too, which would read as NULL otherwise.
fn quoted(text: &str) -> String {
    let plain = !text.is_empty() && !text.contains(['"', ',', '\r', '\n']) && text.trim() == text;
    if plain { text.to_owned() } else { format!("\"{}\"", text.replace('"', "\"\"")) }
}

fn table_cell(value: &Value) -> String {
    let text = match value {
        Value::Null => return "NULL".to_owned(),
        Value::String(text) if text == "NULL" => return "'NULL'".to_owned(),
        Value::String(text) => text.clone(),
        Value::Object(blob) => format!("x'{}'", blob.get("hex").and_then(Value::as_str).unwrap_or_default()),
        other => other.to_string(),
    };
    if text.chars().count() <= CELL_CHARS_MAX {
        return text;
    }
    text.chars().take(CELL_CHARS_MAX - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer() -> Answer {
        Answer {
            columns: vec!["a".into(), "b,c".into()],
            rows: vec![
                vec![json!(1), json!("x\"y,z\r\n")],
                vec![Value::Null, json!("")],
                vec![json!(1.5), json!("NULL")],
                vec![json!({"hex": "00ff"}), json!("\u{1b}[31m".repeat(40))],
            ],
            core: 10,
            detail: 7,
        }
    }

    #[test]
    fn csv_tells_null_from_empty() {
        let text = answer().csv();
        assert!(text.starts_with("a,\"b,c\"\r\n1,\"x\"\"y,z\r\n\"\r\n,\"\"\r\n1.5,NULL\r\n00ff,"), "{text:?}");
    }

    #[test]
    fn a_row_is_an_object() {
        let text = answer().ndjson();
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines[0], json!({"a": 1, "b,c": "x\"y,z\r\n"}));
        assert_eq!(lines[1], json!({"a": null, "b,c": ""}));
    }

    #[test]
    fn cells_are_cut_and_null_is_told_from_its_name() {
        let cells = answer().cells();
        assert_eq!(cells[0], ["A", "B,C"]);
        assert_eq!((cells[2][0].as_str(), cells[3][1].as_str(), cells[4][0].as_str()), ("NULL", "'NULL'", "x'00ff'"));
        assert_eq!(cells[4][1].chars().count(), CELL_CHARS_MAX);
    }

    #[test]
    fn a_document_reads_back() {
        let document = answer().document(12);
        assert_eq!(document["as_of"], json!({"entries": 12, "core": 10, "detail": 7}));
        assert_eq!(Answer::of_document(&document), Some(answer()));
        assert_eq!(Answer::of_document(&json!({})), None);
        assert!(answer().reach().contains("3 entries behind"));
    }
}
