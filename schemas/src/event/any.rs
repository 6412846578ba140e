//! A value of a payload in whatever form it was sent: its JSON, looked into when somebody asks.

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// A value in any form but null.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(transparent)]
pub struct Any<'a>(#[serde(borrow)] &'a RawValue);

impl<'a> Any<'a> {
    /// Its JSON, as sent.
    pub fn json(self) -> &'a str {
        self.0.get()
    }

    /// Read as a type of its own; none where it has another form.
    pub fn read<T: Deserialize<'a>>(self) -> Option<T> {
        serde_json::from_str(self.json()).ok()
    }

    /// The value, whole.
    pub fn value(self) -> Value {
        self.read().unwrap_or_default()
    }
}
