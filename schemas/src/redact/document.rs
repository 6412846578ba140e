//! Secrets in a scanned document: by shape in every string, by name, and by the marks of the source.
//!
//! A walk over the tape that descends only where a trigger stands. It finds places; [`super::edits`] writes.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};

use super::edits::Edit;
use super::table::{Bits, RuleId, Secret, TABLE, Table};
use super::text::{self, Span};
use crate::scan::{Kind, Tape, Token, decode_mapped};
use crate::shape::{EVENT, Place};

/// A trigger in the document.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hit {
    at: u32,
    bits: Bits,
}

/// Reused buffers of the walk.
#[derive(Debug, Default)]
pub(crate) struct Buffers {
    lower: Vec<u8>,
    pub(super) hits: Vec<Hit>,
    pub(super) edits: Vec<Edit>,
    spans: Vec<Span>,
    decoded: String,
    map: Vec<u32>,
    forced: BTreeMap<u32, Force>,
    clean: Clean,
}

/// Short texts that hold triggers and were found clean. Producers send the same ones (`--token=***`) in every event, and
/// the patterns cost more than all else. Compared whole, so it says nothing else than the patterns would.
#[derive(Debug, Default)]
struct Clean {
    slots: Vec<Box<[u8]>>,
}

impl Clean {
    const SLOTS: usize = 256;
    const MAX_BYTES: usize = 128;

    fn slot(raw: &[u8]) -> usize {
        let hash = raw.iter().fold(0_usize, |hash, &byte| hash.wrapping_mul(31).wrapping_add(usize::from(byte)));
        hash % Self::SLOTS
    }

    fn knows(&self, raw: &[u8]) -> bool {
        self.slots.get(Self::slot(raw)).is_some_and(|known| **known == *raw && !raw.is_empty())
    }

    fn learn(&mut self, raw: &[u8]) {
        if raw.len() <= Self::MAX_BYTES {
            self.slots.resize(Self::SLOTS, Box::default());
            self.slots[Self::slot(raw)] = raw.into();
        }
    }
}

/// A subtree that is secret, whatever its strings look like.
#[derive(Debug, Clone, Copy)]
struct Force {
    rule: RuleId,
    numbers: bool,
    booleans: bool,
}

/// What the walk leaves alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Typed {
    /// Ids, times and phases of an event that is admitted.
    Kept,
    /// Nothing: the document is kept as rejected, and any of its texts may be anything.
    Masked,
}

impl Buffers {
    /// Finds the triggers of a document. False: there is nothing to mask in it, and no walk is needed.
    pub(crate) fn prefilter(&mut self, document: &[u8], tape: &Tape) -> bool {
        self.lower.clear();
        self.lower.extend(document.iter().map(u8::to_ascii_lowercase));
        self.hits.clear();
        let hits = &mut self.hits;
        TABLE.triggers(&self.lower, |at, bits| hits.push(Hit { at: position(at), bits }));
        hits.sort_unstable_by_key(|hit| hit.at);
        !hits.is_empty() || tape.has_ascii_escapes()
    }

    /// Whether a rule finds a secret in the text of this token. After [`Self::prefilter`].
    pub(crate) fn is_secret(&mut self, document: &[u8], tape: &Tape, token: usize) -> bool {
        let walk = Walk { document, tape, buffers: self, typed: Typed::Masked };
        let token = tape.tokens()[token];
        let bits = walk.bits(token);
        walk.buffers.spans.clear();
        text::find(token.text(document).as_bytes(), bits, &mut walk.buffers.spans);
        !walk.buffers.spans.is_empty()
    }

    /// Finds every place to mask, in document order. After [`Self::prefilter`].
    pub(crate) fn walk(&mut self, document: &[u8], tape: &Tape, typed: Typed) {
        self.edits.clear();
        self.forced.clear();
        let mut walk = Walk { document, tape, buffers: self, typed };
        walk.value(0, Some(EVENT.root), None);
    }
}

/// Spans and positions fit: a tape holds documents below 4 GiB.
#[expect(clippy::cast_possible_truncation, reason = "scan refuses documents of 2^32 bytes and more")]
const fn position(at: usize) -> u32 {
    at as u32
}

struct Walk<'a> {
    document: &'a [u8],
    tape: &'a Tape,
    buffers: &'a mut Buffers,
    typed: Typed,
}

impl Walk<'_> {
    fn token(&self, at: usize) -> Token {
        self.tape.tokens()[at]
    }

    /// The rules whose triggers stand within a token, decoded where ASCII may stand in disguise.
    fn bits(&self, token: Token) -> Bits {
        if token.is_text() && token.escaped && self.tape.has_ascii_escapes() {
            return text::bits(token.text(self.document).as_bytes());
        }
        let hits = &self.buffers.hits;
        let from = hits.partition_point(|hit| hit.at < token.start);
        hits[from..].iter().take_while(|hit| hit.at < token.end).fold(0, |bits, hit| bits | hit.bits)
    }

    /// Whether something within a token may have to be masked.
    fn is_of_interest(&self, at: usize, token: Token) -> bool {
        if self.tape.has_ascii_escapes() || self.buffers.forced.range(position(at)..token.next).next().is_some() {
            return true;
        }
        let hits = &self.buffers.hits;
        let from = hits.partition_point(|hit| hit.at < token.start);
        hits.get(from).is_some_and(|hit| hit.at < token.end)
    }

    /// As deep as the document, which the scan holds to 64.
    fn value(&mut self, at: usize, place: Option<Place>, force: Option<Force>) {
        let token = self.token(at);
        let force = self.buffers.forced.get(&position(at)).copied().or(force);
        let typed = self.typed == Typed::Kept && place.is_some_and(|place| EVENT.node(place).accept.is_typed_text());
        if typed || (force.is_none() && !self.is_of_interest(at, token)) {
            return;
        }
        match token.kind {
            Kind::Object => self.object(at, place, force),
            Kind::Array => self.array(at, place, force),
            Kind::String | Kind::Name => self.text(token, force),
            Kind::Number if place.is_none() && force.is_some_and(|force| force.numbers) => self.scalar(token, force),
            Kind::True | Kind::False if place.is_none() && force.is_some_and(|force| force.booleans) => {
                self.scalar(token, force);
            }
            _ => {}
        }
    }

    fn scalar(&mut self, token: Token, force: Option<Force>) {
        if let Some(force) = force {
            self.buffers.edits.push(Edit::scalar(token, force.rule));
        }
    }

    fn object(&mut self, at: usize, place: Option<Place>, force: Option<Force>) {
        if force.is_none() {
            self.source_marks(at);
        }
        let end = self.token(at).next as usize;
        let mut child = at + 1;
        while child < end {
            let (name, value) = (self.token(child), self.token(child + 1));
            if force.is_none() && !self.is_of_interest(child, name) && !self.is_of_interest(child + 1, value) {
                child = value.next as usize;
                continue;
            }
            let text = name.text(self.document);
            let known = place.and_then(|place| EVENT.child(place, text.as_bytes()));
            let named = if known.is_none() { self.name(child, name, &text) } else { None };
            self.value(child + 1, known, force.or(named));
            child = value.next as usize;
        }
    }

    /// Masks secrets in a member name, and says whether the name makes its value one.
    fn name(&mut self, at: usize, name: Token, text: &str) -> Option<Force> {
        let bits = self.bits(name);
        if bits == 0 {
            return None;
        }
        let before = self.buffers.edits.len();
        self.shape(name, bits);
        for edit in &mut self.buffers.edits[before..] {
            edit.name = Some(position(at));
        }
        if bits & TABLE.by_name.0 == 0 {
            return None;
        }
        let secret = TABLE.names.secret(text)?;
        Some(Force { rule: TABLE.by_name.1, numbers: secret == Secret::All, booleans: false })
    }

    fn array(&mut self, at: usize, place: Option<Place>, force: Option<Force>) {
        let items = place.and_then(|place| EVENT.node(place).items);
        let end = self.token(at).next as usize;
        let mut item = at + 1;
        let mut flagged = None;
        while item < end {
            self.value(item, items, force.or(flagged.take()));
            flagged = self.flag(self.token(item));
            item = self.token(item).next as usize;
        }
    }

    /// `"--password"` as an item of a list makes the next item a secret.
    fn flag(&self, token: Token) -> Option<Force> {
        let (pattern, rule) = &TABLE.by_flag;
        let is_flag = token.kind == Kind::String
            && self.bits(token) & TABLE.by_name.0 != 0
            && pattern.is_match(token.text(self.document).as_bytes());
        is_flag.then_some(Force { rule: *rule, numbers: true, booleans: false })
    }

    fn text(&mut self, token: Token, force: Option<Force>) {
        if let Some(force) = force {
            if !TABLE.is_untouched(token.text(self.document).as_bytes()) {
                self.buffers.edits.push(Edit::inside(token.start, token.end, force.rule));
            }
            return;
        }
        let bits = self.bits(token);
        if bits != 0 {
            self.shape(token, bits);
        }
    }

    /// Masks what the text rules find in a string or name: found in the decoded text, replaced in the bytes.
    fn shape(&mut self, token: Token, bits: Bits) {
        let raw = token.raw(self.document);
        let buffers = &mut *self.buffers;
        if buffers.clean.knows(raw) {
            return;
        }
        buffers.spans.clear();
        if token.escaped {
            decode_mapped(raw, &mut buffers.decoded, &mut buffers.map);
            text::find(buffers.decoded.as_bytes(), bits, &mut buffers.spans);
            for span in &mut buffers.spans {
                let (start, end) = on_boundaries(&buffers.decoded, span.start, span.end);
                (span.start, span.end) = (buffers.map[start] as usize, buffers.map[end] as usize);
            }
        } else {
            text::find(raw, bits, &mut buffers.spans);
            let text = std::str::from_utf8(raw).unwrap_or_default();
            for span in &mut buffers.spans {
                (span.start, span.end) = on_boundaries(text, span.start, span.end);
            }
        }
        if buffers.spans.is_empty() {
            buffers.clean.learn(raw);
        }
        text::join(&mut buffers.spans);
        for span in &buffers.spans {
            let (start, end) = (token.start + position(span.start), token.start + position(span.end));
            buffers.edits.push(Edit::inside(start, end, span.rule));
        }
    }
}

/// Widens a span to whole characters.
pub(super) fn on_boundaries(text: &str, start: usize, end: usize) -> (usize, usize) {
    (text.floor_char_boundary(start), text.ceil_char_boundary(end))
}

/// What the source itself marks as secret.
impl Walk<'_> {
    fn source_marks(&mut self, at: usize) {
        let table = &*TABLE;
        let bits = if self.tape.has_ascii_escapes() { Bits::MAX } else { self.bits(self.token(at)) };
        if bits & table.by_name.0 != 0 {
            self.pair(at, table);
        }
        if bits & table.terraform.0 != 0 {
            self.terraform(at, table);
        }
        if bits & table.kubernetes.0 != 0 {
            self.kubernetes(at, table);
        }
        if bits & table.cloudtrail.0 != 0 {
            let credentials = self.member(at, &table.credentials.parent);
            let credentials = credentials.and_then(|parent| self.member(parent, &table.credentials.member));
            self.force(credentials, Force { rule: table.cloudtrail.1, numbers: true, booleans: false });
        }
        if bits & table.docker.0 != 0
            && let Some(registries) = self.member(at, &table.registries.parent)
        {
            let member = &table.registries.member;
            let found: Vec<_> =
                self.members(registries).filter_map(|(_, registry)| self.member(registry, member)).collect();
            for auth in found {
                self.force(Some(auth), Force { rule: table.docker.1, numbers: false, booleans: false });
            }
        }
    }

    fn force(&mut self, at: Option<usize>, force: Force) {
        if let Some(at) = at {
            self.buffers.forced.entry(position(at)).or_insert(force);
        }
    }

    /// The value of a member of an object.
    fn member(&self, object: usize, name: &str) -> Option<usize> {
        self.members(object).find(|(found, _)| found == name).map(|(_, value)| value)
    }

    fn members(&self, object: usize) -> impl Iterator<Item = (Cow<'_, str>, usize)> {
        let parent = self.token(object);
        let end = if parent.kind == Kind::Object { parent.next as usize } else { 0 };
        let mut child = object + 1;
        std::iter::from_fn(move || {
            let name = (child < end).then(|| self.token(child))?;
            let value = child + 1;
            child = self.token(value).next as usize;
            Some((name.text(self.document), value))
        })
    }

    fn items(&self, array: Option<usize>) -> impl Iterator<Item = usize> {
        let array = array.filter(|&at| self.token(at).kind == Kind::Array);
        let end = array.map_or(0, |at| self.token(at).next as usize);
        let mut item = array.map_or(0, |at| at + 1);
        std::iter::from_fn(move || {
            let found = (item < end).then_some(item)?;
            item = self.token(item).next as usize;
            Some(found)
        })
    }

    fn string(&self, at: Option<usize>) -> Option<Cow<'_, str>> {
        let token = self.token(at?);
        (token.kind == Kind::String).then(|| token.text(self.document))
    }

    /// `{"name": "DB_PASSWORD", "value": "…"}`.
    fn pair(&mut self, at: usize, table: &Table) {
        let listed = |list: &[String], name: &str| list.iter().any(|known| known.eq_ignore_ascii_case(name));
        let mut secret = None;
        for (name, value) in self.members(at) {
            if listed(&table.pair_names, &name)
                && let Some(text) = self.string(Some(value))
            {
                secret = secret.or_else(|| table.names.secret(&text));
            }
        }
        let Some(secret) = secret else { return };
        let force = Force { rule: table.by_pair, numbers: secret == Secret::All, booleans: false };
        let values: Vec<_> =
            self.members(at).filter(|(name, _)| listed(&table.pair_values, name)).map(|(_, value)| value).collect();
        for value in values {
            self.force(Some(value), force);
        }
    }

    fn terraform(&mut self, at: usize, table: &Table) {
        let force = Force { rule: table.terraform.1, numbers: true, booleans: true };
        for (value, mark) in &table.sensitive_pairs {
            if let (Some(value), Some(mark)) = (self.member(at, value), self.member(at, mark)) {
                self.sensitive(value, mark, force);
            }
        }
        let (value, flag) = &table.sensitive_flag;
        if let (Some(value), Some(flag)) = (self.member(at, value), self.member(at, flag)) {
            self.sensitive(value, flag, force);
        }
        self.variables(at, flag, value, force);
    }

    /// Forces the places of `value` that are true in `mark`, which has the same form.
    fn sensitive(&mut self, value: usize, mark: usize, force: Force) {
        match self.token(mark).kind {
            Kind::True => self.force(Some(value), force),
            Kind::Object => {
                let values: HashMap<_, _> = self.members(value).collect();
                let pairs: Vec<_> =
                    self.members(mark).filter_map(|(name, mark)| Some((*values.get(&name)?, mark))).collect();
                drop(values);
                for (value, mark) in pairs {
                    self.sensitive(value, mark, force);
                }
            }
            Kind::Array => {
                let pairs: Vec<_> = self.items(Some(value)).zip(self.items(Some(mark))).collect();
                for (value, mark) in pairs {
                    self.sensitive(value, mark, force);
                }
            }
            _ => {}
        }
    }

    /// A plan's `variables` hold values; that one is sensitive stands with its declaration.
    fn variables(&mut self, at: usize, flag: &str, value: &str, force: Force) {
        let declared = self.member(at, "configuration").and_then(|at| self.member(at, "root_module"));
        let declared = declared.and_then(|at| self.member(at, "variables"));
        let (Some(values), Some(declared)) = (self.member(at, "variables"), declared) else { return };
        let values: HashMap<_, _> = self.members(values).collect();
        let sensitive = |at: &usize| self.member(*at, flag).is_some_and(|flag| self.token(flag).kind == Kind::True);
        let found: Vec<_> = self
            .members(declared)
            .filter(|(_, declaration)| sensitive(declaration))
            .filter_map(|(name, _)| values.get(&name).copied())
            .filter_map(|variable| self.member(variable, value))
            .collect();
        drop(values);
        for value in found {
            self.force(Some(value), force);
        }
    }

    fn kubernetes(&mut self, at: usize, table: &Table) {
        let manifest = &table.manifest;
        let is = |list: &[String], word: &str| list.iter().any(|known| known == word);
        let kind = self.string(self.member(at, "kind")).unwrap_or_default().into_owned();
        if is(&manifest.kinds, &kind) {
            self.secret_data(at, table);
        }
        if is(&manifest.lists, &kind) {
            self.secret_list(at, table);
        }
        let resource = self.member(at, "objectRef").and_then(|at| self.member(at, "resource"));
        if self.string(resource).is_some_and(|resource| resource == manifest.resource) {
            for body in manifest.bodies.iter().filter_map(|body| self.member(at, body)).collect::<Vec<_>>() {
                self.secret_data(body, table);
                self.secret_list(body, table);
            }
        }
    }

    fn secret_list(&mut self, at: usize, table: &Table) {
        for item in self.items(self.member(at, "items")).collect::<Vec<_>>() {
            self.secret_data(item, table);
        }
    }

    fn secret_data(&mut self, at: usize, table: &Table) {
        for name in &table.manifest.members {
            self.force(self.member(at, name), Force { rule: table.kubernetes.1, numbers: true, booleans: false });
        }
    }
}
