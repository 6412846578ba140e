//! Tables of TOML files, read by hand: what is wrong is told with file, entry, field, what was found and what was expected (decision 121).
//! Catalogue files and the workers' configuration are read through this.

use std::collections::BTreeSet;

use toml::{Table, Value};

/// What is wrong in a file, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{file}: {entry}, {field}: found {found}, expected {expected}")]
pub struct Mistake {
    /// The file as named by whoever gave it.
    pub file: String,
    /// `type az_aks`, `tool az`, `lane 2`, …, or `the file`.
    pub entry: String,
    /// The field, with the way to it.
    pub field: String,
    /// What stands there.
    pub found: String,
    /// What should.
    pub expected: String,
}

/// What was read, or what is wrong.
pub(crate) type Read<T> = Result<T, Mistake>;

/// A file's text as a table.
pub(crate) fn parse(file: &str, text: &str) -> Read<Table> {
    text.parse().map_err(|error: toml::de::Error| {
        let at = error.span().map_or(0, |span| text[..span.start].matches('\n').count() + 1);
        let message = error.message().to_owned();
        complaint(file, "the file", &format!("line {at}"), message, "TOML")
    })
}

/// A complaint; what was found is shortened to 80 characters.
pub(crate) fn complaint(
    file: &str,
    entry: &str,
    field: &str,
    found: impl Into<String>,
    expected: impl Into<String>,
) -> Mistake {
    let short =
        |text: String| if text.chars().count() > 80 { text.chars().take(79).chain(['…']).collect() } else { text };
    Mistake {
        file: file.to_owned(),
        entry: entry.to_owned(),
        field: field.to_owned(),
        found: short(found.into()),
        expected: expected.into(),
    }
}

/// A table of a file, with what is needed to complain about it.
pub(crate) struct Entry<'a> {
    pub(crate) file: &'a str,
    pub(crate) name: String,
    pub(crate) table: &'a Table,
}

impl<'a> Entry<'a> {
    /// All of a file.
    pub(crate) fn whole(file: &'a str, table: &'a Table) -> Self {
        Self { file, name: "the file".to_owned(), table }
    }

    pub(crate) fn wrong<T>(&self, field: &str, found: impl Into<String>, expected: impl Into<String>) -> Read<T> {
        Err(complaint(self.file, &self.name, field, found, expected))
    }

    pub(crate) fn only(&self, known: &[&str]) -> Read<()> {
        match self.table.keys().find(|key| !known.contains(&key.as_str())) {
            Some(key) => self.wrong(key, "a key that means nothing here", format!("one of {}", known.join(", "))),
            None => Ok(()),
        }
    }

    /// The tables below `key`, each with its name.
    pub(crate) fn entries(&self, key: &str, called: &str) -> Read<Vec<(String, Entry<'a>)>> {
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let Value::Table(tables) = value else { return self.wrong(key, shown(value), "a table of tables") };
        let mut entries = Vec::new();
        for (name, value) in tables {
            let entry_name = format!("{called} {name}");
            let Value::Table(table) = value else {
                return Err(complaint(self.file, &entry_name, name, shown(value), "a table"));
            };
            let entry = Entry { file: self.file, name: entry_name, table };
            if !is_name(name) {
                return entry.wrong(
                    "name",
                    format!("{name:?}"),
                    "a lower-case letter, then letters, digits and underlines",
                );
            }
            entries.push((name.clone(), entry));
        }
        Ok(entries)
    }

    /// The tables of a list, each called by its name where it has one, by its place from 1 where not.
    pub(crate) fn list(&self, key: &str, called: &str) -> Read<Vec<Entry<'a>>> {
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let expected = format!("a list of tables, [[{key}]]");
        let Value::Array(items) = value else { return self.wrong(key, shown(value), expected) };
        let mut entries = Vec::new();
        for (at, item) in items.iter().enumerate() {
            let Value::Table(table) = item else {
                return self.wrong(&format!("{key}[{at}]"), shown(item), expected);
            };
            let name = table.get("name").and_then(Value::as_str).map_or_else(|| (at + 1).to_string(), str::to_owned);
            entries.push(Entry { file: self.file, name: format!("{called} {name}"), table });
        }
        Ok(entries)
    }

    /// The same entry with only one of its inner tables, named in complaints by the way to it.
    pub(crate) fn inner(&self, key: &str) -> Read<Option<Entry<'a>>> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::Table(table)) => {
                Ok(Some(Entry { file: self.file, name: format!("{}, {key}", self.name), table }))
            }
            Some(other) => self.wrong(key, shown(other), "a table"),
        }
    }

    pub(crate) fn text(&self, key: &str) -> Read<Option<String>> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::String(text)) if text.chars().any(char::is_control) => {
                self.wrong(key, format!("{text:?}"), "text on one line")
            }
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(other) => self.wrong(key, shown(other), "text"),
        }
    }

    pub(crate) fn needed_text(&self, key: &str) -> Read<String> {
        match self.text(key)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => self.wrong(key, "no text", "text"),
            None => self.wrong(key, "nothing", "text"),
        }
    }

    pub(crate) fn texts(&self, key: &str) -> Read<Vec<String>> {
        let Some(value) = self.table.get(key) else { return Ok(Vec::new()) };
        let Value::Array(items) = value else { return self.wrong(key, shown(value), "a list of texts") };
        let mut texts = Vec::new();
        for (at, item) in items.iter().enumerate() {
            match item {
                Value::String(text) => texts.push(text.clone()),
                other => return self.wrong(&format!("{key}[{at}]"), shown(other), "text"),
            }
        }
        Ok(texts)
    }

    /// Texts of which none stands twice and none is empty; `None` without the key.
    pub(crate) fn names(&self, key: &str) -> Read<Option<BTreeSet<String>>> {
        let texts = self.texts(key)?;
        if !self.table.contains_key(key) {
            return Ok(None);
        }
        if texts.is_empty() || texts.iter().any(|text| text.trim().is_empty()) {
            return self.wrong(key, "nothing, or an empty name", "at least one name, or no such key");
        }
        let count = texts.len();
        let names: BTreeSet<String> = texts.into_iter().collect();
        if names.len() < count { self.wrong(key, "a name twice", "each name once") } else { Ok(Some(names)) }
    }

    /// A whole number between two others, both included.
    pub(crate) fn number_within(&self, key: &str, least: u64, most: u64) -> Read<Option<u64>> {
        match self.number(key)? {
            Some(found) if !(least..=most).contains(&found) => {
                self.wrong(key, found.to_string(), format!("a whole number from {least} to {most}"))
            }
            number => Ok(number),
        }
    }

    /// One of these words.
    pub(crate) fn word<T: Copy>(&self, key: &str, words: &[(&str, T)]) -> Read<Option<T>> {
        let Some(found) = self.text(key)? else { return Ok(None) };
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == found) {
            return Ok(Some(*value));
        }
        let known: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
        self.wrong(key, format!("{found:?}"), known.join(" or "))
    }

    pub(crate) fn flag(&self, key: &str) -> Read<bool> {
        match self.table.get(key) {
            None => Ok(false),
            Some(Value::Boolean(flag)) => Ok(*flag),
            Some(other) => self.wrong(key, shown(other), "true or false"),
        }
    }

    pub(crate) fn number(&self, key: &str) -> Read<Option<u64>> {
        match self.table.get(key) {
            None => Ok(None),
            Some(Value::Integer(n)) => match u64::try_from(*n) {
                Ok(n) => Ok(Some(n)),
                Err(_) => self.wrong(key, n.to_string(), "a whole number from 0"),
            },
            Some(other) => self.wrong(key, shown(other), "a whole number from 0"),
        }
    }
}

/// What stands there, for a complaint.
pub(crate) fn shown(value: &Value) -> String {
    let kind = match value {
        Value::Array(_) => "a list",
        Value::Table(_) => "a table",
        Value::String(_) => "text",
        Value::Boolean(_) => "true or false:",
        Value::Integer(_) | Value::Float(_) => "a number:",
        Value::Datetime(_) => "a time:",
    };
    format!("{kind} {value}")
}

/// What names of fields, types, tools and roles look like.
pub(crate) fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.len() <= 64
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
}
