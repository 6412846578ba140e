//! Templates of one command: words with places for fields, and groups of words that are there only if their fields are.

use std::collections::BTreeMap;

use crate::table::is_name;

/// A command with places for values. Its first word is the name of a tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// The tool's name in the catalogue.
    pub tool: String,
    pieces: Vec<Piece>,
}

/// Arguments of a command, or the fields that are missing for it.
pub type Rendered = Result<Vec<String>, Vec<String>>;

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Word(Word),
    /// All of it or, where a field has no value, nothing.
    Group(Vec<Word>),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Word(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Field(String),
}

/// A word or a group as it stands in a file.
pub(super) enum Raw<'a> {
    Word(&'a str),
    Group(Vec<&'a str>),
}

impl Template {
    /// Reads words and groups; says which word is wrong, and what was expected.
    pub(super) fn parse(raw: &[Raw<'_>]) -> Result<Self, (String, &'static str)> {
        let Some((Raw::Word(tool), rest)) = raw.split_first() else {
            return Err((String::from("no words"), "a list whose first word is the name of a tool"));
        };
        let pieces: Result<Vec<Piece>, _> = rest
            .iter()
            .map(|piece| match piece {
                Raw::Word(text) => word(text).map(Piece::Word),
                Raw::Group(texts) => texts.iter().map(|text| word(text)).collect::<Result<_, _>>().map(Piece::Group),
            })
            .collect();
        Ok(Self { tool: (*tool).to_owned(), pieces: pieces? })
    }

    /// The fields that it has places for; those of groups may be absent.
    pub fn fields(&self) -> Vec<(&str, bool)> {
        let mut fields = Vec::new();
        for piece in &self.pieces {
            let (words, needed) = match piece {
                Piece::Word(word) => (std::slice::from_ref(word), true),
                Piece::Group(words) => (words.as_slice(), false),
            };
            for part in words.iter().flat_map(|word| &word.0) {
                if let Part::Field(name) = part {
                    fields.push((name.as_str(), needed));
                }
            }
        }
        fields
    }

    /// The command with these values, for this program.
    pub fn render(&self, program: &str, values: &BTreeMap<String, String>) -> Rendered {
        let mut argv = vec![program.to_owned()];
        let mut missing = Vec::new();
        for piece in &self.pieces {
            match piece {
                Piece::Word(word) => match word.fill(values) {
                    Ok(text) => argv.push(text),
                    Err(field) => missing.push(field.to_owned()),
                },
                Piece::Group(words) => {
                    let filled: Result<Vec<String>, _> = words.iter().map(|word| word.fill(values)).collect();
                    argv.extend(filled.unwrap_or_default());
                }
            }
        }
        missing.dedup();
        if missing.is_empty() { Ok(argv) } else { Err(missing) }
    }

    /// Whether arguments are what [`Template::render`] makes of some values, each allowed for its field.
    pub(super) fn takes(&self, arguments: &[String], allows: &dyn Fn(&str, &str) -> bool) -> bool {
        pieces_take(&self.pieces, arguments, allows)
    }

    /// As people write it: groups in brackets.
    pub fn shown(&self, program: &str) -> String {
        let mut words = vec![program.to_owned()];
        for piece in &self.pieces {
            match piece {
                Piece::Word(word) => words.push(word.shown()),
                Piece::Group(group) => {
                    words.push(format!("[{}]", group.iter().map(Word::shown).collect::<Vec<_>>().join(" ")));
                }
            }
        }
        words.join(" ")
    }
}

impl Word {
    fn fill<'a>(&'a self, values: &BTreeMap<String, String>) -> Result<String, &'a str> {
        self.0.iter().try_fold(String::new(), |mut text, part| {
            text.push_str(match part {
                Part::Text(fixed) => fixed,
                Part::Field(name) => values.get(name).ok_or(name.as_str())?,
            });
            Ok(text)
        })
    }

    fn shown(&self) -> String {
        let part = |part: &Part| match part {
            Part::Text(text) => text.clone(),
            Part::Field(name) => name.to_uppercase(),
        };
        self.0.iter().map(part).collect()
    }
}

fn pieces_take(pieces: &[Piece], words: &[String], allows: &dyn Fn(&str, &str) -> bool) -> bool {
    match pieces.split_first() {
        None => words.is_empty(),
        Some((Piece::Word(word), rest)) => words
            .split_first()
            .is_some_and(|(text, after)| parts_take(&word.0, text, allows) && pieces_take(rest, after, allows)),
        Some((Piece::Group(group), rest)) => {
            let with = words.split_at_checked(group.len()).is_some_and(|(texts, after)| {
                group.iter().zip(texts).all(|(word, text)| parts_take(&word.0, text, allows))
                    && pieces_take(rest, after, allows)
            });
            with || pieces_take(rest, words, allows)
        }
    }
}

fn parts_take(parts: &[Part], text: &str, allows: &dyn Fn(&str, &str) -> bool) -> bool {
    match parts.split_first() {
        None => text.is_empty(),
        Some((Part::Text(fixed), rest)) => {
            text.strip_prefix(fixed.as_str()).is_some_and(|text| parts_take(rest, text, allows))
        }
        Some((Part::Field(name), [])) => allows(name, text),
        Some((Part::Field(name), rest)) => {
            let mut ends = text.char_indices().map(|(at, _)| at);
            ends.any(|end| allows(name, &text[..end]) && parts_take(rest, &text[end..], allows))
        }
    }
}

/// `{field}` is a place, `{{` and `}}` are braces.
fn word(text: &str) -> Result<Word, (String, &'static str)> {
    let wrong = |expected| (format!("{text:?}"), expected);
    let mut parts = Vec::new();
    let mut fixed = String::new();
    let mut rest = text.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '{' | '}' if rest.peek() == Some(&c) => {
                rest.next();
                fixed.push(c);
            }
            '{' => {
                let name: String = rest.by_ref().take_while(|c| *c != '}').collect();
                if !is_name(&name) || !text.contains('}') {
                    return Err(wrong("a field's name between { and }; braces themselves as {{ and }}"));
                }
                if !fixed.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut fixed)));
                }
                parts.push(Part::Field(name));
            }
            '}' => return Err(wrong("no } without a {; a brace itself as }}")),
            c if c.is_control() => return Err(wrong("no control characters")),
            c => fixed.push(c),
        }
    }
    if !fixed.is_empty() || parts.is_empty() {
        parts.push(Part::Text(fixed));
    }
    Ok(Word(parts))
}
