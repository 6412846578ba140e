//! What a jq program reaches besides its input: the environment, files by modules. Such programs are refused.
//!
//! Only what is needed to tell code from text is read: strings with their interpolations, fields, numbers and names, as jq's own lexer
//! does. Comments are refused, because versions of jq disagree on where one ends.

/// Names that reach outside.
const OUTSIDE: [(&str, &str); 8] = [
    ("env", "it reads the environment (a field of this name is .env or \"env\")"),
    ("ENV", "it reads the environment"),
    ("getenv", "it reads the environment"),
    ("import", "it loads a module from a file"),
    ("include", "it loads a module from a file"),
    ("modulemeta", "it loads a module from a file"),
    ("get_search_list", "it tells where modules are"),
    ("input_filename", "it tells names of files"),
];

/// Why a program is refused.
pub(super) fn check(program: &str) -> Result<(), String> {
    let mut rest = Rest(program);
    // How many parentheses are open in each interpolation that we are in; the program itself is the first.
    let mut open = vec![0_u32];
    while let Some(c) = rest.next() {
        match c {
            '"' => string(&mut rest, &mut open)?,
            '#' => return Err("comments are refused: versions of jq disagree on where one ends".to_owned()),
            '.' if rest.begins_name() => drop(rest.name()),
            '.' => drop(rest.take(|c| c == '.')),
            c if c.is_ascii_digit() => drop(rest.take(|c| c.is_ascii_digit() || c == '.')),
            c if c.is_ascii_alphabetic() || c == '_' => named(c, &mut rest)?,
            '(' => *open.last_mut().unwrap_or(&mut 0) += 1,
            ')' => close(&mut rest, &mut open)?,
            _ => {}
        }
    }
    if open.len() == 1 { Ok(()) } else { Err("a string is not closed".to_owned()) }
}

fn named(first: char, rest: &mut Rest<'_>) -> Result<(), String> {
    let name = format!("{first}{}", rest.name());
    let found = OUTSIDE.iter().find(|(outside, _)| name == *outside);
    found.map_or(Ok(()), |(outside, reason)| Err(format!("{outside}: {reason}")))
}

/// Reads a string up to its end or to an interpolation.
fn string(rest: &mut Rest<'_>, open: &mut Vec<u32>) -> Result<(), String> {
    loop {
        match rest.next() {
            None => return Err("a string is not closed".to_owned()),
            Some('"') => return Ok(()),
            Some('\\') => {
                if rest.next() == Some('(') {
                    open.push(0);
                    return Ok(());
                }
            }
            Some(_) => {}
        }
    }
}

/// A parenthesis that closes one of code, or the interpolation: then its string goes on.
fn close(rest: &mut Rest<'_>, open: &mut Vec<u32>) -> Result<(), String> {
    let is_inner = open.len() > 1;
    match open.last_mut() {
        Some(0) if is_inner => {
            open.pop();
            string(rest, open)
        }
        Some(0) | None => Err("a parenthesis is closed that was not opened".to_owned()),
        Some(depth) => {
            *depth -= 1;
            Ok(())
        }
    }
}

struct Rest<'a>(&'a str);

impl<'a> Rest<'a> {
    fn next(&mut self) -> Option<char> {
        let c = self.0.chars().next()?;
        self.0 = &self.0[c.len_utf8()..];
        Some(c)
    }

    fn begins_name(&self) -> bool {
        self.0.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
    }

    fn name(&mut self) -> &'a str {
        self.take(|c| c.is_ascii_alphanumeric() || c == '_')
    }

    fn take(&mut self, fits: impl Fn(char) -> bool) -> &'a str {
        let end = self.0.find(|c| !fits(c)).unwrap_or(self.0.len());
        let (taken, rest) = self.0.split_at(end);
        self.0 = rest;
        taken
    }
}
