//! One pass over bytes: JSON or the reason why not, and a tape of spans.
//!
//! RFC 8259, narrowed to what every reader understands alike (I-JSON, RFC 7493): UTF-8 without lone surrogates, member
//! names unique *as decoded*, finite numbers, integers up to 2^53, nesting up to a limit. The tape has one token for each
//! value and each member name, in document order, with the span of its bytes; it is reused from document to document, so
//! that scanning allocates nothing once it is warm. Nothing is decoded here but names that are compared.
//!
//! An "integer" is a number written without fraction and exponent. `1e300` is a double like any other and passes;
//! where the schema asks for an integer, 2^53 is the limit however the number is written ([`crate::admit`]).

mod bytes;
mod names;

use std::borrow::Cow;

use crate::reason::Reason;

pub(crate) use bytes::float;
pub use bytes::{decode, decode_mapped};

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `{…}`
    Object,
    /// `[…]`
    Array,
    /// A member name; its value is the next token.
    Name,
    /// A string.
    String,
    /// A number.
    Number,
    /// `true`
    True,
    /// `false`
    False,
    /// `null`
    Null,
}

impl Kind {
    /// The word of JSON Schema, for messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Object => "object",
            Self::Array => "array",
            Self::Name | Self::String => "string",
            Self::Number => "number",
            Self::True | Self::False => "boolean",
            Self::Null => "null",
        }
    }
}

/// A value or a member name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    /// What it is.
    pub kind: Kind,
    /// A string or name with a backslash in it.
    pub escaped: bool,
    /// First byte; of strings and names, the first inside the quotes.
    pub start: u32,
    /// One past the last byte; of strings and names, the closing quote.
    pub end: u32,
    /// Index of the token after this one and all that it contains.
    pub next: u32,
}

impl Token {
    /// The bytes of the token: of strings and names without quotes, as written.
    pub fn raw<'a>(&self, document: &'a [u8]) -> &'a [u8] {
        document.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// The text of a string or name, decoded.
    pub fn text<'a>(&self, document: &'a [u8]) -> Cow<'a, str> {
        decode(self.raw(document))
    }

    /// Strings and names.
    pub const fn is_text(&self) -> bool {
        matches!(self.kind, Kind::Name | Kind::String)
    }
}

/// What a scan allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Of the whole document.
    pub bytes: usize,
    /// Containers inside each other, the outermost counted.
    pub depth: usize,
}

/// Why a document does not pass.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason} at byte {at}: expected {expected}")]
pub struct Fault {
    /// From the closed list.
    pub reason: Reason,
    /// Where, in bytes from the start.
    pub at: usize,
    /// The offending bytes end here; the same as `at` where there are none.
    pub until: usize,
    /// JSON pointer to the place, as far as it was read. Not masked.
    pub path: String,
    /// What should stand there.
    pub expected: &'static str,
}

/// A container that is still open.
#[derive(Debug, Clone, Copy)]
struct Frame {
    token: u32,
    /// Members or items begun so far.
    count: u32,
}

/// The tokens of one document, and the buffers to make them.
#[derive(Debug, Default)]
pub struct Tape {
    tokens: Vec<Token>,
    open: Vec<Frame>,
    names: names::Names,
    /// Some string holds a `\u00…` escape, so that ASCII may stand in disguise.
    ascii_escapes: bool,
}

impl Tape {
    /// Tokens in document order; the first is the document itself.
    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    /// Whether any string or name writes an ASCII character as `\u00…`, so that a search of the bytes could miss a word.
    pub const fn has_ascii_escapes(&self) -> bool {
        self.ascii_escapes
    }

    /// Reads a document; afterwards the tape describes it, or (after a fault) nothing usable.
    pub fn scan(&mut self, document: &[u8], limits: Limits) -> Result<(), Fault> {
        self.tokens.clear();
        self.open.clear();
        self.ascii_escapes = false;
        // Spans are 32 bits wide.
        let most = limits.bytes.min(u32::MAX as usize - 1);
        if document.len() > most {
            return Err(fault(Reason::TooLarge, most, document.len(), "a document within the limit of bytes"));
        }
        if let Err(error) = std::str::from_utf8(document) {
            let at = error.valid_up_to();
            return Err(fault(Reason::NotUtf8, at, at + error.error_len().unwrap_or(1), "UTF-8"));
        }
        Scanner { document, at: 0, tape: self, depth: limits.depth }.document().map_err(|mut fault| {
            fault.path = self.path_here(document);
            fault
        })
    }

    /// Pointer to where the scan stopped.
    fn path_here(&self, document: &[u8]) -> String {
        let mut path = String::new();
        for (level, frame) in self.open.iter().enumerate() {
            let container = frame.token as usize;
            // The value that is still open follows its name; without one, the last name read is the place.
            let name = self.open.get(level + 1).map(|inner| inner.token as usize - 1);
            if self.tokens.get(container).is_some_and(|token| token.kind == Kind::Array) {
                push_index(&mut path, frame.count.saturating_sub(1) as usize);
            } else if let Some(name) = name.or_else(|| self.last_name(container)) {
                push_name(&mut path, &self.tokens[name].text(document));
            }
        }
        path
    }

    /// The last member name directly in a container that is not closed, and in which none is open.
    fn last_name(&self, container: usize) -> Option<usize> {
        let mut at = container + 1;
        let mut last = None;
        while self.tokens.get(at).is_some_and(|token| token.kind == Kind::Name) {
            last = Some(at);
            at = self.tokens.get(at + 1).map_or(usize::MAX, |value| value.next as usize);
        }
        last
    }

    /// JSON pointer (RFC 6901) to a token; of a name, to its value.
    pub fn pointer(&self, document: &[u8], target: usize) -> String {
        let mut path = String::new();
        let mut at = 0;
        // Down from the document: at each container, into the child whose span of tokens holds the target.
        while at < target {
            let Some(child) = self.child_towards(document, at, target, &mut path) else { break };
            at = child;
        }
        path
    }

    fn child_towards(&self, document: &[u8], container: usize, target: usize, path: &mut String) -> Option<usize> {
        let parent = self.tokens.get(container)?;
        let mut at = container + 1;
        let mut index = 0;
        while at < parent.next as usize {
            let value = at + usize::from(parent.kind == Kind::Object);
            let next = self.tokens.get(value)?.next as usize;
            if target < next {
                match parent.kind {
                    Kind::Object => push_name(path, &self.tokens[at].text(document)),
                    _ => push_index(path, index),
                }
                return Some(value);
            }
            at = next;
            index += 1;
        }
        None
    }
}

fn push_name(path: &mut String, name: &str) {
    path.push('/');
    path.push_str(&name.replace('~', "~0").replace('/', "~1"));
}

fn push_index(path: &mut String, index: usize) {
    path.push('/');
    path.push_str(&index.to_string());
}

fn fault(reason: Reason, at: usize, until: usize, expected: &'static str) -> Fault {
    Fault { reason, at, until, path: String::new(), expected }
}

struct Scanner<'a> {
    document: &'a [u8],
    at: usize,
    tape: &'a mut Tape,
    depth: usize,
}

impl Scanner<'_> {
    fn document(&mut self) -> Result<(), Fault> {
        self.skip_space();
        self.value()?;
        // A container that was opened is filled here, one member or item a turn: no recursion, whatever the nesting.
        while let Some(&frame) = self.tape.open.last() {
            let object = self.tape.tokens[frame.token as usize].kind == Kind::Object;
            if object { self.member(frame)? } else { self.item(frame)? }
        }
        self.skip_space();
        if self.at < self.document.len() {
            return Err(fault(Reason::TrailingData, self.at, self.document.len(), "the end of the document"));
        }
        Ok(())
    }

    fn member(&mut self, frame: Frame) -> Result<(), Fault> {
        self.skip_space();
        let expected = if frame.count == 0 { "a member name or '}'" } else { "',' or '}'" };
        match self.peek() {
            Some(b'}') => return self.close(frame),
            Some(b',') if frame.count > 0 => {
                self.at += 1;
                self.skip_space();
            }
            Some(b'"') if frame.count == 0 => {}
            _ => return Err(self.not_json(expected)),
        }
        if self.peek() != Some(b'"') {
            return Err(self.not_json("a member name in double quotes"));
        }
        self.count_one();
        self.string(Kind::Name)?;
        self.skip_space();
        if self.peek() != Some(b':') {
            return Err(self.not_json("':'"));
        }
        self.at += 1;
        self.skip_space();
        self.value()
    }

    fn item(&mut self, frame: Frame) -> Result<(), Fault> {
        self.skip_space();
        match self.peek() {
            Some(b']') => return self.close(frame),
            Some(b',') if frame.count > 0 => {
                self.at += 1;
                self.skip_space();
            }
            _ if frame.count == 0 => {}
            _ => return Err(self.not_json("',' or ']'")),
        }
        self.count_one();
        self.value()
    }

    fn count_one(&mut self) {
        if let Some(frame) = self.tape.open.last_mut() {
            frame.count += 1;
        }
    }

    fn value(&mut self) -> Result<(), Fault> {
        match self.peek() {
            Some(b'"') => self.string(Kind::String),
            Some(b'{') => self.open(Kind::Object),
            Some(b'[') => self.open(Kind::Array),
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word(b"true", Kind::True),
            Some(b'f') => self.word(b"false", Kind::False),
            Some(b'n') => self.word(b"null", Kind::Null),
            _ => {
                let length = bytes::not_finite_word(&self.document[self.at..]);
                if length > 0 {
                    return Err(fault(Reason::NumberNotFinite, self.at, self.at + length, "a finite number"));
                }
                Err(self.not_json("a JSON value"))
            }
        }
    }

    fn open(&mut self, kind: Kind) -> Result<(), Fault> {
        if self.tape.open.len() >= self.depth {
            return Err(fault(Reason::TooDeep, self.at, self.at + 1, "containers nested within the limit of depth"));
        }
        let token = index(self.tape.tokens.len());
        self.push(kind, false, self.at, self.at + 1);
        self.tape.open.push(Frame { token, count: 0 });
        self.at += 1;
        Ok(())
    }

    fn close(&mut self, frame: Frame) -> Result<(), Fault> {
        self.at += 1;
        let next = index(self.tape.tokens.len());
        let token = &mut self.tape.tokens[frame.token as usize];
        token.end = index(self.at);
        token.next = next;
        if token.kind == Kind::Object && frame.count > 1 {
            let tape = &mut *self.tape;
            if let Some(again) = tape.names.duplicate(self.document, &tape.tokens, frame.token as usize) {
                let (start, end) = (again.start as usize, again.end as usize);
                // The pointer ends with the name that stands twice, not with the last one.
                tape.tokens.truncate(frame.token as usize + 1);
                tape.tokens.push(again);
                return Err(fault(Reason::DuplicateKey, start, end, "member names that differ"));
            }
        }
        self.tape.open.pop();
        Ok(())
    }

    #[inline]
    fn string(&mut self, kind: Kind) -> Result<(), Fault> {
        let start = self.at + 1;
        let found = bytes::string(self.document, start)?;
        self.tape.ascii_escapes |= found.ascii;
        self.push(kind, found.escaped, start, found.end);
        self.at = found.end + 1;
        Ok(())
    }

    fn number(&mut self) -> Result<(), Fault> {
        let end = bytes::number(self.document, self.at)?;
        self.push(Kind::Number, false, self.at, end);
        self.at = end;
        Ok(())
    }

    fn word(&mut self, word: &[u8], kind: Kind) -> Result<(), Fault> {
        if !self.document[self.at..].starts_with(word) {
            return Err(self.not_json("a JSON value"));
        }
        self.push(kind, false, self.at, self.at + word.len());
        self.at += word.len();
        Ok(())
    }

    #[inline]
    fn push(&mut self, kind: Kind, escaped: bool, start: usize, end: usize) {
        let next = index(self.tape.tokens.len() + 1);
        self.tape.tokens.push(Token { kind, escaped, start: index(start), end: index(end), next });
    }

    #[inline]
    fn peek(&self) -> Option<u8> {
        self.document.get(self.at).copied()
    }

    #[inline]
    fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    fn not_json(&self, expected: &'static str) -> Fault {
        fault(Reason::NotJson, self.at, (self.at + 1).min(self.document.len()), expected)
    }
}

/// Positions and token counts are below the length of a document, which `scan` holds under 2^32.
#[expect(clippy::cast_possible_truncation, reason = "scan refuses documents of 2^32 bytes and more")]
const fn index(value: usize) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests;
