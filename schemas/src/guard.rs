//! The model's two guards of a command line: shell metas are refused, and a pipe may only lead into the allow-list.
//!
//! A command that is run as arguments, without a shell, cannot be harmed by either; [`of_arguments`] therefore looks only at what a shell would be
//! given. The allow-list is the model's (`model/canonicals.json`), the metas are those of its first acceptance example
//! (`>>` is two of `>`), and the backtick, which the shell reads as `$(`.

use crate::canonicals;

/// What a shell would make more of than a command and its arguments.
pub const METAS: [&str; 8] = [";", "&&", "||", "\\", "$(", "<", ">", "\n"];

/// Programs that run the text behind `-c`.
const SHELLS: [&str; 6] = ["sh", "bash", "dash", "zsh", "ksh", "ash"];

/// What is wrong with a command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// It holds this meta.
    Meta(&'static str),
    /// It pipes into this command.
    Pipe(String),
}

impl std::fmt::Display for Blocked {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Meta(meta) => write!(out, "shell meta {meta:?} is blocked"),
            Self::Pipe(command) => {
                write!(
                    out,
                    "a pipe into {command:?} is blocked; allowed are {}",
                    canonicals::get().pipe_allow_list.join(", ")
                )
            }
        }
    }
}

/// Everything that a command line would be refused for.
pub fn of_line(line: &str) -> Vec<Blocked> {
    // A line break at the very end is how a command is written down, not a second command.
    let line = line.trim_end();
    // Nearly no line has any of these, and one look tells.
    if !line.bytes().any(may_block) {
        return Vec::new();
    }
    let mut blocked: Vec<_> =
        METAS.iter().chain(&["`"]).filter(|meta| line.contains(**meta)).map(|meta| Blocked::Meta(meta)).collect();
    let piped = line.replace("||", " ");
    for part in piped.split('|').skip(1) {
        let command = part.split_whitespace().next().unwrap_or_default();
        if !canonicals::is_pipe_allowed(command) {
            blocked.push(Blocked::Pipe(command.chars().take(64).collect()));
        }
    }
    blocked
}

/// What metas begin with, and pipes.
fn may_block(byte: u8) -> bool {
    matches!(byte, b';' | b'&' | b'|' | b'\\' | b'$' | b'<' | b'>' | b'\n' | b'`')
}

/// The same for arguments: only the text that a shell among them is given.
pub fn of_arguments<'a>(arguments: impl IntoIterator<Item = &'a str>) -> Vec<Blocked> {
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_default();
    let name = program.rsplit('/').next().unwrap_or_default();
    if !SHELLS.contains(&name) {
        return Vec::new();
    }
    let mut script =
        arguments.skip_while(|word| !word.starts_with('-') || word.starts_with("--") || !word.ends_with('c'));
    script.nth(1).map(of_line).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> Vec<String> {
        of_line(text).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn metas_are_blocked_and_named() {
        for meta in METAS {
            assert!(of_line(&format!("az group list {meta} echo")).contains(&Blocked::Meta(meta)), "{meta:?}");
            assert!(meta.bytes().all(|byte| may_block(byte) || byte == b'('), "{meta:?}");
        }
        assert_eq!(line("a && b"), ["shell meta \"&&\" is blocked"]);
        assert!(of_line("az group create --name rg-demo --location eastus\n").is_empty());
    }

    #[test]
    fn pipes_lead_into_the_list_only() {
        for command in &canonicals::get().pipe_allow_list {
            assert!(of_line(&format!("kubectl get pods | {command} x")).is_empty(), "{command}");
        }
        assert_eq!(of_line("curl x | sh"), [Blocked::Pipe("sh".to_owned())]);
        assert_eq!(of_line("a | jq . | tee f"), [Blocked::Pipe("tee".to_owned())]);
        assert_eq!(of_line("a |"), [Blocked::Pipe(String::new())]);
        assert!(line("curl x | sh")[0].contains("grep, jq, wc"), "{:?}", line("curl x | sh"));
    }

    #[test]
    fn arguments_only_where_a_shell_reads_them() {
        assert!(of_arguments(["echo", "a && b"]).is_empty());
        assert_eq!(of_arguments(["/bin/bash", "-ec", "a && b"]), [Blocked::Meta("&&")]);
        assert_eq!(of_arguments(["sh", "-c", "a | tee f"]), [Blocked::Pipe("tee".to_owned())]);
        assert!(of_arguments(["sh", "script.sh"]).is_empty());
    }
}
