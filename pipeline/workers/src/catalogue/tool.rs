//! Command-line tools, pinned, and roles that resources play for others.

use std::collections::BTreeSet;

use super::Template;
use crate::execute::tls::Fallback;

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
    /// What may stand behind its name, one word or two; anything where it names none. A tool that looks for plugins runs a program of any other word's name.
    pub subcommands: BTreeSet<String>,
    /// Options that no command may have, with the reason.
    pub refused_options: Vec<(String, String)>,
    /// How values begin that the tool would read something else for (a file, a URL), with the reason.
    pub refused_values: Vec<(String, String)>,
    /// How it is told, once, to check no certificate.
    pub tls_fallback: Option<Fallback>,
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
    /// Takes over what the tool that this one replaces refuses: who pins another version does not mean to allow more.
    pub(super) fn keep_refusals(&mut self, earlier: &Self) {
        let keep = |own: &mut Vec<(String, String)>, theirs: &[(String, String)]| {
            let missing: Vec<_> =
                theirs.iter().filter(|(word, _)| own.iter().all(|(known, _)| known != word)).cloned().collect();
            own.extend(missing);
        };
        keep(&mut self.refused_options, &earlier.refused_options);
        keep(&mut self.refused_values, &earlier.refused_values);
        if self.subcommands.is_empty() {
            self.subcommands.clone_from(&earlier.subcommands);
        }
        // Another version says and is told the same, until its file says otherwise.
        self.tls_fallback = self.tls_fallback.take().or_else(|| earlier.tls_fallback.clone());
    }

    /// The place of the word among its arguments that is no command of its own, if one of the first two is.
    pub fn stranger(&self, arguments: &[&str]) -> Option<usize> {
        let first =
            *arguments.first().filter(|first| !self.subcommands.contains(**first) && !self.subcommands.is_empty())?;
        let seconds: Vec<&str> =
            self.subcommands.iter().filter_map(|known| known.strip_prefix(first)?.strip_prefix(' ')).collect();
        if seconds.is_empty() {
            return Some(0);
        }
        arguments.get(1).filter(|second| !seconds.contains(*second)).map(|_| 1)
    }

    /// Why an argument must not be given to this tool.
    pub fn refuses(&self, argument: &str) -> Option<&str> {
        let name = argument.split('=').next().unwrap_or_default();
        let option = self.refused_options.iter().find(|(option, _)| is_or_begins(name, option));
        // A list of pairs in one argument has a value behind each sign.
        let begins = |start: &str| {
            argument.starts_with(start) || argument.split(['=', ',']).any(|value| value.starts_with(start))
        };
        let value = || self.refused_values.iter().find(|(start, _)| begins(start));
        option.or_else(value).map(|(_, reason)| reason.as_str())
    }
}

/// Whether a word is an option, or an abbreviation: many tools take any beginning that is long enough to be the only one. A short one may
/// have its value attached, and stand behind others (`-As` is `-A -s`).
fn is_or_begins(word: &str, option: &str) -> bool {
    const SHORTEST: usize = "--x".len();
    if let Some(letter) = option.strip_prefix('-').filter(|letter| letter.len() == 1) {
        return word.strip_prefix('-').is_some_and(|rest| !rest.starts_with('-') && rest.contains(letter));
    }
    if !option.starts_with("--") {
        return word.starts_with(option);
    }
    word == option || (word.len() >= SHORTEST && option.starts_with(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_is_refused_in_every_spelling() {
        let reasons = |words: &[&str]| words.iter().map(|word| ((*word).to_owned(), "because".to_owned())).collect();
        let tool = Tool {
            name: "tool".to_owned(),
            file: "tools.toml".to_owned(),
            program: "tool".to_owned(),
            version: "1".to_owned(),
            version_check: vec!["--version".to_owned()],
            sha256: None,
            subcommands: BTreeSet::new(),
            refused_options: reasons(&["--endpoint-url", "-s", "-chdir"]),
            refused_values: reasons(&["file://", "@"]),
            tls_fallback: None,
        };
        for refused in [
            "--endpoint-url",
            "--endpoint-url=x",
            "--end=x",
            "--e",
            "-s",
            "-sx",
            "-As",
            "-Ashttps://x",
            "-chdir=/",
            "file:///etc/shadow",
            "a=file:///etc/shadow",
            "TagSet=[{Key=a,Value@=file:///etc/shadow}]",
            "a=b,@/etc/shadow",
            "@x",
        ] {
            assert!(tool.refuses(refused).is_some(), "{refused}");
        }
        for passes in
            ["--", "--region", "--endpoint-urls", "-n", "s", "--sort", "-c", "profile=a", "ada@example.org", "a,b=c"]
        {
            assert!(tool.refuses(passes).is_none(), "{passes}");
        }
    }
}
