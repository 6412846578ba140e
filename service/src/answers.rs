//! Answers to questions in SQL: collected, and written as JSON, CSV, NDJSON or a table for people.
//!
//! JSON and NDJSON keep types (a blob is `{"hex": …}`, an infinite number `null`); CSV is RFC 4180, with nothing between the commas for NULL and `""`
//! for an empty text. A table is for a terminal: cells are shortened, and nothing in them steers it.

use projector_sqlite::ask::{AsOf, Sink, ValueRef};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

/// Longest cell of a table, in characters.
const CELL_CHARS_MAX: usize = 60;

/// An answer.
#[derive(Clone, Debug, Default, PartialEq)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
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

    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<(), Self::Error> {
        self.rows.push(values.iter().map(value).collect());
        Ok(())
    }
}

/// An answer as it is sent, written row by row: the values themselves are never held.
pub struct Text {
    format: Format,
    /// Entries of the log, which the tables may be behind.
    entries: u64,
    /// Bytes that it may have.
    most: usize,
    columns: Vec<String>,
    rows: usize,
    written: Vec<u8>,
}

/// It has more bytes than it may have.
#[derive(Debug)]
pub struct TooLarge;

impl Text {
    /// Nothing yet. A table is written as JSON, because only people want one.
    pub fn new(format: Format, entries: u64, most: usize) -> Self {
        Self { format, entries, most, columns: Vec::new(), rows: 0, written: Vec::new() }
    }

    /// The whole.
    pub fn end(mut self) -> Vec<u8> {
        if matches!(self.format, Format::Json | Format::Table) {
            self.written.extend_from_slice(b"]}");
        }
        self.written
    }

    fn put(&mut self, text: &str) -> Result<(), TooLarge> {
        // What ends it comes on top.
        if self.written.len() + text.len() > self.most {
            return Err(TooLarge);
        }
        self.written.extend_from_slice(text.as_bytes());
        Ok(())
    }
}

impl Sink for Text {
    type Error = TooLarge;

    fn columns(&mut self, names: &[&str], as_of: AsOf) -> Result<(), TooLarge> {
        self.columns = names.iter().map(|name| (*name).to_owned()).collect();
        let start = match self.format {
            Format::Csv => csv_header(&self.columns),
            Format::Ndjson => String::new(),
            Format::Json | Format::Table => {
                let as_of =
                    json!({"entries": self.entries.max(as_of.core), "core": as_of.core, "detail": as_of.detail});
                format!("{{\"as_of\":{as_of},\"columns\":{},\"rows\":[", json!(names))
            }
        };
        self.put(&start)
    }

    fn row(&mut self, values: &[ValueRef<'_>]) -> Result<(), TooLarge> {
        let row: Vec<Value> = values.iter().map(value).collect();
        self.rows += 1;
        let line = match self.format {
            Format::Csv => csv_line(&row),
            Format::Ndjson => ndjson_line(&self.columns, &row),
            Format::Json | Format::Table => {
                let comma = if self.rows > 1 { "," } else { "" };
                format!("{comma}{}", Value::Array(row))
            }
        };
        self.put(&line)
    }
}

fn value(value: &ValueRef<'_>) -> Value {
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
        self.rows.iter().fold(csv_header(&self.columns), |out, row| out + &csv_line(row))
    }

    /// One object a row. Of columns with the same name the last one stands.
    pub fn ndjson(&self) -> String {
        self.rows.iter().fold(String::new(), |out, row| out + &ndjson_line(&self.columns, row))
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

fn csv_header(columns: &[String]) -> String {
    columns.iter().map(|name| quoted(name)).collect::<Vec<_>>().join(",") + "\r\n"
}

fn csv_line(row: &[Value]) -> String {
    row.iter().map(csv_cell).collect::<Vec<_>>().join(",") + "\r\n"
}

fn ndjson_line(columns: &[String], row: &[Value]) -> String {
    let object: Map<String, Value> = columns.iter().cloned().zip(row.iter().cloned()).collect();
    format!("{}\n", Value::Object(object))
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

    /// What is written row by row is what is written at once.
    #[test]
    fn a_text_is_the_answer() {
        let columns = ["a", "b,c"];
        let rows: [[ValueRef<'_>; 2]; 2] =
            [[ValueRef::Integer(1), ValueRef::Text(b"x\"y")], [ValueRef::Null, ValueRef::Blob(&[0, 255])]];
        let as_of = AsOf { core: 10, detail: 7 };
        let mut whole = Answer::default();
        whole.columns(&columns, as_of).unwrap();
        let write = |format, most| {
            let mut text = Text::new(format, 12, most);
            text.columns(&columns, as_of)?;
            rows.iter().try_for_each(|row| text.row(row))?;
            Ok::<_, TooLarge>(String::from_utf8(text.end()).unwrap())
        };
        for row in &rows {
            whole.row(row).unwrap();
        }
        assert_eq!(write(Format::Csv, 1_000).unwrap(), whole.csv());
        assert_eq!(write(Format::Ndjson, 1_000).unwrap(), whole.ndjson());
        let json: Value = serde_json::from_str(&write(Format::Json, 1_000).unwrap()).unwrap();
        assert_eq!(json, whole.document(12));
        assert!(write(Format::Json, 80).is_err() && write(Format::Csv, 12).is_err());
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
