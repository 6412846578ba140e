//! The words of UPM v2's "Field Canonicals", read from `model/canonicals.json`.
//!
//! Only `phase` is closed at admission. Whether another word is an anomaly is for the fold to say; this gives the lists.

use std::sync::LazyLock;

use serde::Deserialize;

/// The published file.
pub const TEXT: &str = include_str!("../model/canonicals.json");

/// The lists, in the model's order.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Canonicals {
    /// `phase`.
    pub phase: Vec<String>,
    /// `intent.source`.
    pub source: Vec<String>,
    /// `governance.visibility`.
    pub visibility: Vec<String>,
    /// `execution.agent`.
    pub agent: Vec<String>,
    /// Commands that may stand after a pipe.
    pub pipe_allow_list: Vec<String>,
}

static CANONICALS: LazyLock<Canonicals> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the file is compiled in, and a test reads it")]
    serde_json::from_str(TEXT).expect("canonicals.json is the lists of strings that Canonicals names")
});

/// The lists.
pub fn get() -> &'static Canonicals {
    &CANONICALS
}

fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|known| known == word)
}

/// Whether `intent.source` is one of the model's.
pub fn is_source(word: &str) -> bool {
    has(&get().source, word)
}

/// Whether `governance.visibility` is one of the model's.
pub fn is_visibility(word: &str) -> bool {
    has(&get().visibility, word)
}

/// Whether `execution.agent` is one of the model's.
pub fn is_agent(word: &str) -> bool {
    has(&get().agent, word)
}

/// Whether a command may stand after a pipe.
pub fn is_pipe_allowed(command: &str) -> bool {
    has(&get().pipe_allow_list, command)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Phase;

    #[test]
    fn the_models_words() {
        let phases: Vec<_> = Phase::ALL.iter().map(|phase| phase.as_str()).collect();
        assert_eq!(get().phase, phases);
        assert!(is_source("ticket") && !is_source("ci"));
        assert!(is_visibility("team") && !is_visibility("public"));
        assert!(is_agent("agent-session") && !is_agent("terraform"));
        assert!(is_pipe_allowed("jq") && !is_pipe_allowed("sh"));
    }
}
