//! Command-line tools, pinned, and roles that resources play for others.

use super::Template;

/// A command-line tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tool {
    /// Its name in templates.
    pub name: String,
    /// The file that it stands in.
    pub file: String,
    /// The program as commands name it; a version in its name is part of the pin (`kubectl-1.29`).
    pub program: String,
    /// The version that it has to be of: equal, or going on with a dot (`1.29` is `1.29.4`).
    pub version: String,
    /// Arguments that make it print its version.
    pub version_check: Vec<String>,
    /// SHA-256 of the program, where it is pinned too.
    pub sha256: Option<String>,
    /// Options that no command may have, with the reason.
    pub refused_options: Vec<(String, String)>,
    /// How values begin that the tool would read something else for (a file, a URL), with the reason.
    pub refused_values: Vec<(String, String)>,
}

/// What a type may run on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The file that it stands in.
    pub file: String,
    /// For people.
    pub title: String,
    /// The command that ends well where there is one.
    pub check: Template,
    /// How to get one.
    pub how: String,
}

impl Tool {
    /// Why an argument must not be given to this tool.
    pub fn refuses(&self, argument: &str) -> Option<&str> {
        let name = argument.split('=').next().unwrap_or_default();
        let option = self.refused_options.iter().find(|(option, _)| is_or_begins(name, option));
        let values = [argument, argument.split_once('=').map_or("", |(_, value)| value)];
        let value =
            || self.refused_values.iter().find(|(start, _)| values.iter().any(|value| value.starts_with(start)));
        option.or_else(value).map(|(_, reason)| reason.as_str())
    }
}

/// Whether a word is an option, with its value attached where it is a short one, or an abbreviation: many tools take any beginning
/// that is long enough to be the only one.
fn is_or_begins(word: &str, option: &str) -> bool {
    const SHORTEST: usize = "--xxx".len();
    if !option.starts_with("--") {
        return word.starts_with(option);
    }
    word == option || (word.len() >= SHORTEST && option.starts_with(word))
}
