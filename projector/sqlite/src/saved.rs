//! Saved questions: what auditors ask, each a file of SQL whose first line says what it answers.
//!
//! Further comment lines `-- :name = value, what it is` give parameters that have a value of their own. `:now` (milliseconds since 1970) is always
//! given by whoever asks.

use std::collections::BTreeMap;

use crate::ask::{Param, Question};

/// A saved question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    /// What it is called, without the `@`.
    pub name: &'static str,
    /// The file.
    pub sql: &'static str,
}

/// A parameter of a saved question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Its name, without the colon.
    pub name: &'static str,
    /// Its value where none is given.
    pub value: &'static str,
    /// What it is.
    pub about: &'static str,
}

macro_rules! saved {
    ($($name:literal),* $(,)?) => {
        [$(Saved { name: $name, sql: include_str!(concat!("../queries/", $name, ".sql")) }),*]
    };
}

/// All of them.
pub const SAVED: [Saved; 12] = saved![
    "changes-without-approval",
    "self-approved",
    "failed-not-rolled-back",
    "executed-outside-window",
    "plan-changed-after-approval",
    "unverified-after-a-day",
    "by-initiator",
    "emergency-changes",
    "unmonitored-resources",
    "rejected-events",
    "longest-open",
    "evidence-incomplete",
];

impl Saved {
    /// The saved question of this name.
    pub fn find(name: &str) -> Option<&'static Self> {
        SAVED.iter().find(|saved| saved.name == name)
    }

    /// What it answers.
    pub fn about(&self) -> &'static str {
        self.sql.lines().next().and_then(|line| line.strip_prefix("-- ")).unwrap_or_default()
    }

    /// Its parameters.
    pub fn parameters(&self) -> impl Iterator<Item = Parameter> + use<> {
        self.sql.lines().filter_map(|line| {
            let (name, rest) = line.strip_prefix("-- :")?.split_once(" = ")?;
            let (value, about) = rest.split_once(", ")?;
            Some(Parameter { name, value, about })
        })
    }
}

/// The most that a parameter of a saved question may be: days, or rows.
const PARAMETER_MAX: i64 = 1_000_000;

/// Why a saved question is not asked: rather than with another window than somebody meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SavedError {
    /// There is none of this name.
    Unknown(String),
    /// A parameter that it does not have, or a value that is none; in words.
    Parameter(String),
}

impl Saved {
    fn fits(&self, params: &BTreeMap<String, Param>) -> Result<(), SavedError> {
        for (name, value) in params {
            let is_own = self.parameters().any(|own| own.name == name);
            let range = match name.as_str() {
                "now" => Some(0..=i64::MAX),
                _ if is_own => Some(1..=PARAMETER_MAX),
                _ => None,
            };
            let Some(range) = range else {
                let known: Vec<String> = self.parameters().map(|own| format!(":{}", own.name)).collect();
                let text = format!("@{} has no parameter :{name}: there is {}", self.name, known.join(", "));
                return Err(SavedError::Parameter(text));
            };
            if !matches!(value, Param::Integer(number) if range.contains(number)) {
                let text = format!(
                    ":{name} of @{}: found {value}, expected a whole number from {} to {}",
                    self.name,
                    range.start(),
                    range.end()
                );
                return Err(SavedError::Parameter(text));
            }
        }
        Ok(())
    }
}

/// The question that a text asks: SQL, or `@name` for a saved one.
pub fn question(text: &str, mut params: BTreeMap<String, Param>, now_ms: i64) -> Result<Question, SavedError> {
    params.entry("now".to_owned()).or_insert(Param::Integer(now_ms));
    let Some(name) = text.trim().strip_prefix('@') else {
        return Ok(Question { sql: text.to_owned(), params });
    };
    let saved = Saved::find(name).ok_or_else(|| SavedError::Unknown(name.to_owned()))?;
    saved.fits(&params)?;
    for parameter in saved.parameters() {
        params.entry(parameter.name.to_owned()).or_insert_with(|| Param::parse(parameter.value));
    }
    Ok(Question { sql: saved.sql.to_owned(), params })
}

#[cfg(test)]
mod tests;
