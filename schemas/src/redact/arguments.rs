//! Secrets among the arguments of a command, which are known apart before they are quoted for display.

use super::mask_text;
use super::table::{RuleId, TABLE};

/// Masks the arguments of a command, each by itself: as text, and whole where the argument before it says that it is a
/// secret, whatever quotes and line ends it has.
pub fn mask_arguments(words: &[String]) -> Vec<String> {
    let mut masked: Vec<String> = Vec::with_capacity(words.len());
    for (at, word) in words.iter().enumerate() {
        let from = secret_from(&words[..at], word);
        masked.push(match from {
            // It may be the next option, or a reference.
            Some((from, _)) if TABLE.is_untouched(&word.as_bytes()[from..]) => word.clone(),
            Some((from, rule)) => word[..from].to_owned() + &TABLE.marks[rule],
            None => mask_text(word).0,
        });
    }
    masked
}

/// Where in a word its secret begins, by the words before and by its own beginning.
fn secret_from(before: &[String], word: &str) -> Option<(usize, RuleId)> {
    let rule = TABLE.by_flag.1;
    let runs =
        |programs: &[&str]| before.iter().any(|word| programs.contains(&word.rsplit('/').next().unwrap_or(word)));
    let flag = before.last().map_or("", String::as_str);
    if is_secret_option(flag) {
        return Some((0, rule));
    }
    let logs_in = runs(&["login"]) && !runs(&["ssh"]);
    let value_of = |names: &[&str]| names.contains(&flag);
    let own = |name: &str| word.strip_prefix(name).filter(|rest| !rest.is_empty()).map(|_| name.len());
    if (logs_in || runs(&["sshpass"])) && value_of(&["-p"]) {
        return Some((0, rule));
    }
    if runs(&["sshpass", "mysql", "mysqldump", "mysqladmin", "mariadb", "mariadb-dump"])
        && let Some(from) = own("-p")
    {
        return Some((from, rule));
    }
    if runs(&["curl"]) {
        let names = ["-u", "--user", "-U", "--proxy-user"];
        let from = if value_of(&names) { Some(0) } else { own("--user=").or_else(|| own("-u")) };
        let colon = from.and_then(|from| word[from..].find(':').map(|colon| from + colon + 1));
        if let Some(from) = colon {
            return Some((from, rule));
        }
    }
    if runs(&["put-parameter"]) || (runs(&["secret"]) && runs(&["set"])) {
        let names = ["--value", "--body", "-b"];
        let from = if value_of(&names) { Some(0) } else { own("--value=").or_else(|| own("--body=")) };
        if let Some(from) = from {
            return Some((from, rule));
        }
    }
    let literal = if flag == "--from-literal" { Some(0) } else { own("--from-literal=") };
    if let Some(from) = literal {
        return word[from..].find('=').map(|equals| (from + equals + 1, rule));
    }
    let (name, _) = word.split_once('=')?;
    let spelled = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    let secret =
        spelled && if name.starts_with('-') { is_secret_option(name) } else { TABLE.names.secret(name).is_some() };
    secret.then_some((name.len() + 1, rule))
}

/// Whether the next argument, or what stands behind `=`, is a secret: `--db-password`, `--pass`, `--apiToken`.
fn is_secret_option(word: &str) -> bool {
    let option = word.starts_with('-') && word.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    option && (TABLE.by_flag.0.is_match(word.as_bytes()) || TABLE.names.secret_option(word))
}
