//! The redaction table, read from the published rules file, and the prefilter that most documents never get past.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use aho_corasick::{AhoCorasick, MatchKind, Span as Window, packed};
use regex::bytes::{Regex, RegexBuilder};
use serde::Deserialize;

use crate::rules;

/// Which rules may apply, a bit each: text rules from bit 0 in the file's order, then the ones below.
pub(super) type Bits = u64;

/// Index of a rule's mark.
pub(super) type RuleId = usize;

/// A rule that finds secrets in text.
pub(super) struct TextRule {
    pub(super) pattern: Regex,
}

/// Everything that masking needs to know.
pub(super) struct Table {
    pub(super) text: Vec<TextRule>,
    /// `[masked:…]`, by rule: text rules first, in order.
    pub(super) marks: Vec<String>,
    pub(super) names: Names,
    pub(super) by_name: (Bits, RuleId),
    pub(super) by_pair: RuleId,
    pub(super) by_flag: (Regex, RuleId),
    pub(super) pair_names: Vec<String>,
    pub(super) pair_values: Vec<String>,
    pub(super) terraform: (Bits, RuleId),
    pub(super) sensitive_pairs: Vec<(String, String)>,
    pub(super) sensitive_flag: (String, String),
    pub(super) kubernetes: (Bits, RuleId),
    pub(super) manifest: Manifest,
    pub(super) cloudtrail: (Bits, RuleId),
    pub(super) credentials: Credentials,
    pub(super) docker: (Bits, RuleId),
    pub(super) registries: Credentials,
    pub(super) not_text: RuleId,
    pub(super) unsettled: RuleId,
    untouched: Regex,
    prefilter: Prefilter,
}

/// Member names that mean a secret, squeezed to lower-case letters and digits.
#[derive(Deserialize)]
pub(super) struct Names {
    exact: Vec<String>,
    prefix: Vec<String>,
    suffix: Vec<String>,
    word: Vec<String>,
    word_after: Vec<String>,
    except: Vec<String>,
    #[serde(skip)]
    lists: Vec<String>,
}

/// What a secret name says about the numbers below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Secret {
    /// Strings and numbers are secret.
    All,
    /// Numbers are counts.
    Strings,
}

/// How Kubernetes shows a Secret.
#[derive(Deserialize)]
pub(super) struct Manifest {
    pub(super) kinds: Vec<String>,
    pub(super) lists: Vec<String>,
    pub(super) resource: String,
    pub(super) bodies: Vec<String>,
    pub(super) members: Vec<String>,
}

/// A member that holds credentials, by what it stands in.
#[derive(Deserialize)]
pub(super) struct Credentials {
    pub(super) parent: String,
    pub(super) member: String,
}

#[derive(Deserialize)]
struct File {
    redaction: Redaction,
}

#[derive(Deserialize)]
struct Redaction {
    parts: BTreeMap<String, String>,
    untouched: String,
    text: Vec<TextFile>,
    by_name: Marked<Names>,
    by_name_list: Suffixes,
    by_pair: Marked<Pairs>,
    by_flag: Marked<Flag>,
    terraform: Marked<Terraform>,
    kubernetes: Marked<Manifest>,
    cloudtrail: Marked<Credentials>,
    docker: Marked<Credentials>,
    lexical: Lexical,
}

#[derive(Deserialize)]
struct TextFile {
    id: String,
    triggers: Vec<String>,
    pattern: String,
}

#[derive(Deserialize)]
struct Marked<T> {
    id: String,
    #[serde(default)]
    triggers: Vec<String>,
    #[serde(flatten)]
    rule: T,
}

#[derive(Deserialize)]
struct Suffixes {
    suffix: Vec<String>,
}

#[derive(Deserialize)]
struct Pairs {
    names: Vec<String>,
    values: Vec<String>,
}

#[derive(Deserialize)]
struct Flag {
    pattern: String,
}

#[derive(Deserialize)]
struct Terraform {
    pairs: Vec<(String, String)>,
    flag: (String, String),
}

#[derive(Deserialize)]
struct Lexical {
    cut: String,
    unsettled: String,
}

/// The table of the newest rules.
pub(super) static TABLE: LazyLock<Table> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the file is compiled in, and every test of masking reads it")]
    let file: File = serde_json::from_str(rules::current().text).expect("the rules file has a redaction table");
    #[expect(clippy::expect_used, reason = "the patterns are compiled in, and every test of masking compiles them")]
    Table::new(file.redaction).expect("the patterns of the rules file compile")
});

fn regex(pattern: &str) -> Result<Regex, regex::Error> {
    RegexBuilder::new(pattern).unicode(false).build()
}

/// A pattern with its parts put in; parts have parts.
fn assembled(pattern: &str, parts: &BTreeMap<String, String>) -> String {
    let mut pattern = pattern.to_owned();
    for _ in 0..parts.len() {
        for (name, part) in parts {
            pattern = pattern.replace(&format!("(?&{name})"), part);
        }
    }
    pattern
}

/// Collects rules, their marks and the triggers that lead to them.
#[derive(Default)]
struct Builder {
    ids: Vec<String>,
    triggers: Vec<(String, Bits)>,
}

impl Builder {
    fn mark(&mut self, id: &str) -> RuleId {
        self.ids.iter().position(|known| known == id).unwrap_or_else(|| {
            self.ids.push(id.to_owned());
            self.ids.len() - 1
        })
    }

    fn triggers(&mut self, triggers: &[String], bits: Bits) {
        for trigger in triggers {
            match self.triggers.iter_mut().find(|(known, _)| known == trigger) {
                Some((_, known)) => *known |= bits,
                None => self.triggers.push((trigger.clone(), bits)),
            }
        }
    }
}

impl Table {
    fn new(file: Redaction) -> Result<Self, regex::Error> {
        let mut build = Builder::default();
        let mut text = Vec::new();
        for (bit, rule) in file.text.iter().enumerate() {
            build.mark(&rule.id);
            build.triggers(&rule.triggers, 1 << bit);
            text.push(TextRule { pattern: regex(&assembled(&rule.pattern, &file.parts))? });
        }
        let mut next_bit = text.len();
        let mut bit = |build: &mut Builder, triggers: &[String]| {
            let bits: Bits = 1 << next_bit;
            next_bit += 1;
            build.triggers(triggers, bits);
            bits
        };
        let by_name = (bit(&mut build, &file.by_name.triggers), build.mark(&file.by_name.id));
        let terraform = (bit(&mut build, &file.terraform.triggers), build.mark(&file.terraform.id));
        let kubernetes = (bit(&mut build, &file.kubernetes.triggers), build.mark(&file.kubernetes.id));
        let cloudtrail = (bit(&mut build, &file.cloudtrail.triggers), build.mark(&file.cloudtrail.id));
        let docker = (bit(&mut build, &file.docker.triggers), build.mark(&file.docker.id));
        let by_pair = build.mark(&file.by_pair.id);
        let by_flag = (regex(&assembled(&file.by_flag.rule.pattern, &file.parts))?, build.mark(&file.by_flag.id));
        let not_text = build.mark(&file.lexical.cut);
        let unsettled = build.mark(&file.lexical.unsettled);
        let mut names = file.by_name.rule;
        names.lists = file.by_name_list.suffix;
        Ok(Self {
            text,
            marks: build.ids.iter().map(|id| format!("[masked:{id}]")).collect(),
            names,
            by_name,
            by_pair,
            by_flag,
            pair_names: file.by_pair.rule.names,
            pair_values: file.by_pair.rule.values,
            terraform,
            sensitive_pairs: file.terraform.rule.pairs,
            sensitive_flag: file.terraform.rule.flag,
            kubernetes,
            manifest: file.kubernetes.rule,
            cloudtrail,
            credentials: file.cloudtrail.rule,
            docker,
            registries: file.docker.rule,
            not_text,
            unsettled,
            untouched: untouched(&file.untouched, &build.ids)?,
            prefilter: Prefilter::new(build.triggers),
        })
    }

    /// Whether a value is masked already, empty, or a reference and no secret.
    pub(super) fn is_untouched(&self, value: &[u8]) -> bool {
        self.untouched.is_match(value)
    }

    /// Positions where a trigger stands, in order, with the rules that it leads to. `lower` is the text in lower case.
    pub(super) fn triggers(&self, lower: &[u8], found: impl FnMut(usize, Bits)) {
        self.prefilter.find(lower, found);
    }
}

/// The file's pattern, or one or more marks of rules that exist: a mark of a made-up rule could hide anything.
fn untouched(pattern: &str, ids: &[String]) -> Result<Regex, regex::Error> {
    let ids: Vec<_> = ids.iter().map(|id| regex::escape(id)).collect();
    let scheme = r"(?i:[a-z0-9\-]{1,20}[ \t]+)?";
    // A quote within quotes.
    let quote = r#"(?:'\\''|'"'"')?"#;
    regex(&format!(r"{pattern}|^{quote}{scheme}(?:\[masked:(?:{})\](?:~[0-9]+)?)+{quote}[,;.)\]}}>]*$", ids.join("|")))
}

impl Names {
    /// What a member name says. Letters and digits count, without case: `DB_Password`, `db-password`, `dbPassword`.
    pub(super) fn secret(&self, name: &str) -> Option<Secret> {
        let squeezed: String =
            name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        let any = |list: &[String], test: fn(&str, &str) -> bool| list.iter().any(|word| test(&squeezed, word));
        if any(&self.except, |name, word| name == word) {
            None
        } else if any(&self.exact, |name, word| name == word)
            || any(&self.prefix, |name, word| name.starts_with(word))
            || any(&self.suffix, |name, word| name.ends_with(word))
        {
            Some(Secret::All)
        } else {
            let listed = any(&self.lists, |name, word| name.ends_with(word));
            (listed || self.ends_in_word(name)).then_some(Secret::Strings)
        }
    }

    /// The same for an option of a command (`--password`): whole names are of headers and files, and what begins with
    /// `secret` is mostly the name of one.
    pub(super) fn secret_option(&self, name: &str) -> bool {
        let squeezed: String =
            name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
        !self.except.contains(&squeezed)
            && (self.suffix.iter().any(|word| squeezed.ends_with(word)) || self.ends_in_word(name))
    }

    /// Whether the last word is one that says so only as a word: `db_pass` and `dbPass`, not `compass`.
    fn ends_in_word(&self, name: &str) -> bool {
        let is = |end: &str, word: &String| end.eq_ignore_ascii_case(word);
        let end = name.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
        let bytes = end.as_bytes();
        let begins = |&at: &usize| {
            at == 0
                || !bytes[at - 1].is_ascii_alphanumeric()
                || (bytes[at].is_ascii_uppercase() && !bytes[at - 1].is_ascii_uppercase())
        };
        let ends = |list: &[String], first: bool| {
            list.iter().any(|word| {
                let at = bytes.len().checked_sub(word.len()).filter(|&at| end.is_char_boundary(at));
                at.filter(begins).is_some_and(|at| (first || at > 0) && is(&end[at..], word))
            })
        };
        ends(&self.word, true) || ends(&self.word_after, false)
    }
}

/// Finds triggers. Vector search for up to 64 words at a time, which is why it reads text that is in lower case already:
/// the engine that folds case itself is five times slower.
struct Prefilter {
    groups: Vec<(Engine, Vec<Word>)>,
    single: Vec<(u8, Bits)>,
}

/// A word that is searched for, and what it means: always, or after another word (`api?key`).
#[derive(Default)]
struct Word {
    bits: Bits,
    after: Vec<(Vec<u8>, Bits)>,
    /// What it means where no letter or digit follows (`pass!`).
    ends: Bits,
}

impl Word {
    fn bits_at(&self, lower: &[u8], at: usize, bytes: usize) -> Bits {
        let ends = self.ends != 0 && !lower.get(at + bytes).is_some_and(u8::is_ascii_alphanumeric);
        let bits = self.bits | if ends { self.ends } else { 0 };
        if self.after.is_empty() {
            return bits;
        }
        let before = &lower[..at];
        let before = before
            .strip_suffix(b"-")
            .or_else(|| before.strip_suffix(b"_"))
            .or_else(|| before.strip_suffix(b"."))
            .or_else(|| before.strip_suffix(b" "))
            .unwrap_or(before);
        let after = self.after.iter().filter(|(word, _)| before.ends_with(word));
        after.fold(bits, |bits, (_, more)| bits | more)
    }
}

enum Engine {
    Packed(packed::Searcher),
    Automaton(AhoCorasick),
}

impl Engine {
    fn new(patterns: &[String]) -> Self {
        let searcher =
            packed::Config::new().match_kind(packed::MatchKind::LeftmostFirst).builder().extend(patterns).build();
        searcher.map_or_else(|| Self::Automaton(automaton(patterns)), Self::Packed)
    }

    fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize, usize)> {
        let window = Window { start: from, end: text.len() };
        let found = match self {
            Self::Packed(searcher) => searcher.find_in(text, window),
            Self::Automaton(automaton) => automaton.find(aho_corasick::Input::new(text).span(window)),
        };
        found.map(|found| (found.start(), found.len(), found.pattern().as_usize()))
    }
}

fn automaton(patterns: &[String]) -> AhoCorasick {
    #[expect(clippy::expect_used, reason = "fails only for patterns of gigabytes")]
    AhoCorasick::builder().match_kind(MatchKind::LeftmostFirst).build(patterns).expect("a few short patterns")
}

impl Prefilter {
    fn new(triggers: Vec<(String, Bits)>) -> Self {
        let mut single = Vec::new();
        let mut words: BTreeMap<String, Word> = BTreeMap::new();
        for (trigger, bits) in triggers {
            match (trigger.as_bytes(), trigger.split_once('?')) {
                (&[byte], _) => single.push((byte, bits)),
                (_, None) if trigger.ends_with('!') => {
                    words.entry(trigger.trim_end_matches('!').to_owned()).or_default().ends |= bits;
                }
                (_, None) => words.entry(trigger).or_default().bits |= bits,
                (_, Some((before, word))) => {
                    words.entry(word.to_owned()).or_default().after.push((before.into(), bits));
                }
            }
        }
        // At one position only one word is reported: a word answers for all that begin alike.
        let alike: Vec<(String, Bits)> = words.iter().map(|(word, meaning)| (word.clone(), meaning.bits)).collect();
        for (word, meaning) in &mut words {
            let alike = alike.iter().filter(|(other, _)| {
                word.starts_with(other.as_str()) || (meaning.ends == 0 && other.starts_with(word.as_str()))
            });
            meaning.bits = alike.fold(meaning.bits, |bits, (_, other)| bits | other);
        }
        let mut words: Vec<_> = words.into_iter().collect();
        // The engine's fingerprint is as long as the shortest word of a group, so words of one length go together.
        words.sort_by_key(|(word, _)| std::cmp::Reverse(word.len()));
        let mut groups = Vec::new();
        while !words.is_empty() {
            let group = words.drain(..words.len().min(64));
            let (texts, meanings): (Vec<_>, Vec<_>) = group.unzip();
            groups.push((Engine::new(&texts), meanings));
        }
        Self { groups, single }
    }

    fn find(&self, lower: &[u8], mut found: impl FnMut(usize, Bits)) {
        for (engine, words) in &self.groups {
            let mut from = 0;
            // On by one, not past the match: a word may overlap another.
            while let Some((at, bytes, word)) = engine.find(lower, from) {
                let bits = words[word].bits_at(lower, at, bytes);
                if bits != 0 {
                    found(at, bits);
                }
                from = at + 1;
            }
        }
        for &(byte, bits) in &self.single {
            memchr::memchr_iter(byte, lower).for_each(|at| found(at, bits));
        }
    }
}
