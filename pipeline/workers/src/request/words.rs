//! Requests in words, by a deterministic grammar over the catalogue.
//!
//! ```text
//! request  = clause { ("and" | "then" | "," | ";" | ".") clause }
//! clause   = [ verb ] [ article ] TYPE-WORDS NAME { PHRASE-OF-A-FIELD }
//!          | UPDATE-WORDS [ article ] TYPE-WORDS NAME { PHRASE-OF-A-FIELD }
//!          | "in production" | "in environment NAME" | "as a canary" | "as blue-green"
//! ```
//! The verb stays until another one is said. Types, updates and phrases are the catalogue's; the one with most fixed words wins. A plural
//! type takes a list of names. Quotes hold a value of several words together. Nothing is guessed: what no rule takes is quoted back,
//! beside what was understood.

use crate::catalogue::{Catalogue, Type, places};
use crate::request::{Action, Variant, Wanted};

/// The longest request, in bytes.
const REQUEST_BYTES: usize = 64 * 1024;

const ARTICLES: [&str; 6] = ["a", "an", "the", "new", "another", "my"];
const SEPARATORS: [&str; 6] = ["and", "then", "also", ",", ";", "."];
const POLITE: [&str; 2] = ["please", "kindly"];
const CALLED: [&str; 2] = ["called", "named"];
const VERBS: [(&str, bool); 14] = [
    ("create", true),
    ("add", true),
    ("make", true),
    ("provision", true),
    ("deploy", true),
    ("ensure", true),
    ("set up", true),
    ("spin up", true),
    ("delete", false),
    ("remove", false),
    ("destroy", false),
    ("drop", false),
    ("tear down", false),
    ("decommission", false),
];
const ENVIRONMENTS: [&str; 4] = ["production", "staging", "test", "development"];

/// What a request in words asks for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Understood {
    /// In the order in which it was said.
    pub wanted: Vec<Wanted>,
    /// `in production`.
    pub environment: Option<String>,
    /// `as a canary`.
    pub variant: Option<Variant>,
}

/// What no rule takes, beside what was understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotUnderstood {
    /// Pieces of the request, in order.
    pub pieces: Vec<Piece>,
    /// What the rest asks for, one line each.
    pub understood: Vec<String>,
}

/// A piece of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// As it was written.
    pub text: String,
    /// Where it begins, in bytes from 0.
    pub at: usize,
    /// What would have been understood there.
    pub expected: String,
}

impl std::error::Error for NotUnderstood {}

impl std::fmt::Display for NotUnderstood {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pieces: Vec<String> =
            self.pieces.iter().map(|piece| format!("“{}” (expected {})", piece.text, piece.expected)).collect();
        let understood = if self.understood.is_empty() { "nothing".to_owned() } else { self.understood.join("; ") };
        write!(out, "not understood: {}; understood: {understood}", pieces.join(", "))
    }
}

/// Reads a request.
pub fn compile(text: &str, catalogue: &Catalogue) -> Result<Understood, NotUnderstood> {
    if text.len() > REQUEST_BYTES {
        let text: String = text.chars().take(60).chain(['…']).collect();
        let expected = format!("at most {REQUEST_BYTES} bytes");
        return Err(NotUnderstood {
            pieces: vec![Piece { text, at: REQUEST_BYTES, expected }],
            understood: Vec::new(),
        });
    }
    let mut parser = Parser {
        text,
        words: split(text),
        at: 0,
        catalogue,
        action: None,
        out: Understood::default(),
        pieces: Vec::new(),
        expected: String::new(),
    };
    parser.request();
    let Parser { out, mut pieces, .. } = parser;
    if pieces.is_empty() && out.wanted.is_empty() {
        let expected = "a verb, a type of the catalogue and a name, such as: create namespace team-alpha".to_owned();
        pieces.push(Piece { text: text.to_owned(), at: 0, expected });
    }
    if pieces.is_empty() {
        return Ok(out);
    }
    Err(NotUnderstood { pieces, understood: out.wanted.iter().map(Wanted::shown).collect() })
}

/// A word of a request.
struct Word<'a> {
    text: &'a str,
    lower: String,
    at: usize,
    end: usize,
    quoted: bool,
}

/// Words, with punctuation at a word's end as words of their own, and what stands between quotes as one.
fn split(text: &str) -> Vec<Word<'_>> {
    let mut words = Vec::new();
    let mut at = 0;
    while let Some(c) = text[at..].chars().next() {
        if c.is_whitespace() {
            at += c.len_utf8();
            continue;
        }
        if let Some(close) = closing(c)
            && let Some(length) = text[at + c.len_utf8()..].find(close)
        {
            let begins = at + c.len_utf8();
            let end = begins + length + close.len_utf8();
            words.push(word(text, begins, begins + length, true, (at, end)));
            at = end;
            continue;
        }
        let end = text[at..].find(char::is_whitespace).map_or(text.len(), |length| at + length);
        let bare = text[at..end].trim_end_matches([',', ';', '.', '!', '?']);
        if !bare.is_empty() {
            words.push(word(text, at, at + bare.len(), false, (at, at + bare.len())));
        }
        if at + bare.len() < end {
            words.push(word(text, at + bare.len(), at + bare.len() + 1, false, (at + bare.len(), end)));
        }
        at = end;
    }
    words
}

fn closing(c: char) -> Option<char> {
    [('"', '"'), ('\'', '\''), ('“', '”'), ('„', '“'), ('‘', '’')]
        .into_iter()
        .find(|(open, _)| *open == c)
        .map(|(_, close)| close)
}

fn word(text: &str, from: usize, to: usize, quoted: bool, (at, end): (usize, usize)) -> Word<'_> {
    let inner = &text[from..to];
    let punctuation = !quoted && matches!(inner, "!" | "?");
    let lower = if punctuation { ".".to_owned() } else { inner.to_lowercase() };
    Word { text: inner, lower, at, end, quoted }
}

struct Parser<'a> {
    text: &'a str,
    words: Vec<Word<'a>>,
    at: usize,
    catalogue: &'a Catalogue,
    action: Option<bool>,
    out: Understood,
    pieces: Vec<Piece>,
    /// What the last rule that did not apply wanted.
    expected: String,
}

/// A rule that took words: how far, and the values that stood in its places.
struct Taken<'a> {
    next: usize,
    values: Vec<&'a str>,
}

impl<'a> Parser<'a> {
    fn request(&mut self) {
        while self.at < self.words.len() {
            if self.is_separator(self.at) || self.is(self.at, &POLITE) {
                self.at += 1;
                continue;
            }
            let begins = self.at;
            self.expected = String::from("a verb (create, delete, …), a type of the catalogue and a name");
            if !(self.of_the_whole() || self.update() || self.resource()) {
                self.at = begins;
                self.give_back();
            }
        }
    }

    fn is(&self, at: usize, list: &[&str]) -> bool {
        self.words.get(at).is_some_and(|word| !word.quoted && list.contains(&word.lower.as_str()))
    }

    fn is_separator(&self, at: usize) -> bool {
        self.is(at, &SEPARATORS)
    }

    fn skip(&self, mut at: usize, list: &[&str]) -> usize {
        while self.is(at, list) {
            at += 1;
        }
        at
    }

    /// Everything up to the next separator was not understood.
    fn give_back(&mut self) {
        let begins = self.at;
        self.at += 1;
        while self.at < self.words.len() && !self.is_separator(self.at) {
            self.at += 1;
        }
        let (from, to) = (self.words[begins].at, self.words[self.at - 1].end);
        let piece = Piece { text: self.text[from..to].to_owned(), at: from, expected: self.expected.clone() };
        self.pieces.push(piece);
    }

    /// The words of a rule from `at` on; a word with a brace is a place for a value. Articles may stand anywhere between.
    fn take(&self, at: usize, rule: &str) -> Option<Taken<'a>> {
        let mut taken = Taken { next: at, values: Vec::new() };
        for part in rule.split(' ') {
            let is_place = part.starts_with('{');
            let fits = |at: usize| !is_place && self.is(at, &[part]);
            if !fits(taken.next) {
                taken.next = self.skip(taken.next, &ARTICLES);
            }
            if is_place && !self.is_separator(taken.next) {
                taken.values.push(self.words.get(taken.next)?.text);
            } else if !fits(taken.next) {
                return None;
            }
            taken.next += 1;
        }
        Some(taken)
    }

    /// What is said of the whole request.
    fn of_the_whole(&mut self) -> bool {
        let canary = ["as a canary", "as canary", "by canary"].iter().find_map(|rule| self.take(self.at, rule));
        let twins = ["as blue-green", "by blue-green", "blue-green"].iter().find_map(|rule| self.take(self.at, rule));
        let variant = canary.map(|taken| (taken, Variant::Canary)).or(twins.map(|taken| (taken, Variant::BlueGreen)));
        if let Some((taken, variant)) = variant {
            self.at = taken.next;
            self.out.variant = Some(variant);
            return true;
        }
        let named = ["in environment {}", "for environment {}", "in the {} environment"];
        let known = ENVIRONMENTS.map(|name| format!("in {name}"));
        let taken = named.into_iter().chain(known.iter().map(String::as_str)).find_map(|rule| {
            let taken = self.take(self.at, rule)?;
            let name = taken
                .values
                .first()
                .map_or_else(|| rule.trim_start_matches("in ").to_owned(), |name| (*name).to_owned());
            // `in the test cluster` is a field's.
            let ends = taken.next >= self.words.len() || self.is_separator(taken.next);
            (ends || !taken.values.is_empty()).then_some((taken.next, name))
        });
        let Some((next, name)) = taken else { return false };
        self.at = next;
        self.out.environment = Some(name);
        true
    }

    /// `scale`, `set tag {tag} on`, …, then type and name.
    fn update(&mut self) -> bool {
        let mut best: Option<(usize, &'a Type, &'a str, Taken<'a>, &'a str)> = None;
        for kind in self.catalogue.types.values() {
            for (name, update) in &kind.updates {
                for says in &update.says {
                    let Some(taken) = self.take(self.at, says) else { continue };
                    let Some((next, false)) = self.type_words(taken.next, kind) else { continue };
                    let length = next - self.at;
                    if best.as_ref().is_none_or(|(longest, ..)| length > *longest) {
                        best = Some((length, kind, name, taken, says));
                    }
                }
            }
        }
        let Some((length, kind, name, taken, says)) = best else { return false };
        self.at += length;
        self.action = None;
        let mut wanted = Wanted {
            action: Action::Update(name.to_owned()),
            kind: kind.name.clone(),
            fields: places(says).map(str::to_owned).zip(taken.values.into_iter().map(str::to_owned)).collect(),
            depends_on: Vec::new(),
        };
        if let Some(wrong) = wanted.fields.iter().find_map(|(field, value)| wrong_value(kind, field, value)) {
            self.expected = wrong;
            return false;
        }
        let Some(resource) = self.name(kind) else { return false };
        wanted.fields.insert("name".to_owned(), resource);
        self.fields(kind, std::slice::from_mut(&mut wanted));
        self.out.wanted.push(wanted);
        true
    }

    /// A verb, or the one before, then type, name and fields.
    fn resource(&mut self) -> bool {
        if let Some((taken, creates)) =
            VERBS.iter().find_map(|(verb, creates)| Some((self.take(self.at, verb)?, *creates)))
        {
            self.at = taken.next;
            self.action = Some(creates);
        }
        let Some(creates) = self.action else { return false };
        let mut best: Option<(usize, bool, &'a Type)> = None;
        for kind in self.catalogue.types.values() {
            if let Some((next, plural)) = self.type_words(self.at, kind)
                && best.as_ref().is_none_or(|(longest, ..)| next > *longest)
            {
                best = Some((next, plural, kind));
            }
        }
        let Some((next, plural, kind)) = best else {
            self.expected = String::from("a type of the catalogue; `upm catalogue` lists them");
            return false;
        };
        self.at = next;
        let Some(names) = self.names(kind, plural) else { return false };
        let action = if creates { Action::Create } else { Action::Delete };
        let one = |name: String| Wanted {
            action: action.clone(),
            kind: kind.name.clone(),
            fields: [("name".to_owned(), name)].into(),
            depends_on: Vec::new(),
        };
        let mut wanted: Vec<Wanted> = names.into_iter().map(one).collect();
        self.fields(kind, &mut wanted);
        self.out.wanted.extend(wanted);
        true
    }

    /// How far the words of a type go from `at`, and whether they are plural.
    fn type_words(&self, at: usize, kind: &Type) -> Option<(usize, bool)> {
        let take = |words: &String| {
            let plural = format!("{words}s");
            let one = self.take(at, words).map(|taken| (taken.next, false));
            one.or_else(|| self.take(at, &plural).map(|taken| (taken.next, true)))
        };
        kind.words.iter().filter_map(take).max()
    }

    fn name(&mut self, kind: &Type) -> Option<String> {
        let at = self.skip(self.at, &CALLED);
        let name = self.words.get(at).filter(|_| !self.is_separator(at)).map(|word| word.text);
        let Some(name) = name else {
            self.expected = format!("the name of the {} behind it", kind.title);
            return None;
        };
        if let Some(wrong) = wrong_value(kind, "name", name) {
            self.expected = wrong;
            return None;
        }
        self.at = at + 1;
        Some(name.to_owned())
    }

    /// One name, or after a plural a list of them.
    fn names(&mut self, kind: &Type, plural: bool) -> Option<Vec<String>> {
        let mut names = vec![self.name(kind)?];
        while plural && self.is_separator(self.at) {
            let (before, mut at) = (self.at, self.at);
            while self.is_separator(at) {
                at += 1;
            }
            let begins_something = VERBS.iter().any(|(verb, _)| self.take(at, verb).is_some())
                || self.catalogue.types.values().any(|kind| self.type_words(at, kind).is_some());
            self.at = at;
            let Some(name) = self.name(kind).filter(|_| !begins_something) else {
                self.at = before;
                break;
            };
            names.push(name);
        }
        Some(names)
    }

    /// Phrases of fields, and of the whole request, as long as there are any.
    fn fields(&mut self, kind: &Type, wanted: &mut [Wanted]) {
        while self.at < self.words.len() && !self.is_separator(self.at) {
            self.expected = format!("something that can be said about this {}: {}", kind.title, sayable(kind));
            if self.of_the_whole() || self.field(kind, wanted) {
                continue;
            }
            return self.give_back();
        }
    }

    fn field(&mut self, kind: &Type, wanted: &mut [Wanted]) -> bool {
        let mut found: Vec<(usize, &str, Taken<'a>)> = Vec::new();
        for (name, field) in &kind.fields {
            for phrase in &field.phrases {
                if let Some(taken) = self.take(self.at, phrase) {
                    found.push((phrase.split(' ').count(), name, taken));
                }
            }
        }
        // The one with most words; among those the first by name.
        found.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(b.1)));
        let fits = |name: &str, taken: &Taken<'_>| wrong_value(kind, name, taken.values[0]).is_none();
        let Some((_, name, taken)) = found.iter().find(|(_, name, taken)| fits(name, taken)) else {
            if let Some(wrong) = found.first().and_then(|(_, name, taken)| wrong_value(kind, name, taken.values[0])) {
                self.expected = wrong;
            }
            return false;
        };
        let value = taken.values[0];
        if let Some(before) = wanted.iter().find_map(|one| one.fields.get(*name)).filter(|before| *before != value) {
            self.expected = format!("{name} once; it was {before} before");
            return false;
        }
        for one in wanted {
            one.fields.insert((*name).to_owned(), value.to_owned());
        }
        self.at = taken.next;
        true
    }
}

fn wrong_value(kind: &Type, field: &str, value: &str) -> Option<String> {
    let expected = kind.fields.get(field)?.check(value).err()?;
    Some(format!("{field} of this {}: {expected}", kind.title))
}

fn sayable(kind: &Type) -> String {
    let mut said = Vec::new();
    for (name, field) in &kind.fields {
        said.extend(field.phrases.first().map(|phrase| phrase.replace("{}", &name.to_uppercase())));
    }
    if said.is_empty() { "nothing but its name".to_owned() } else { said.join(", ") }
}
