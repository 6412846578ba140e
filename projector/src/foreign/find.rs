//! Where foreign evidence stands in a payload: any object that has the members of a DSSE envelope or the media type of a bundle.

use std::sync::LazyLock;

use memchr::memmem::Finder;
use schemas::admit::LIMITS;
use schemas::scan::{Kind, Tape};

use super::{BUNDLE, Form};

/// An object that is foreign evidence by its look.
pub(super) struct Found<'a> {
    pub(super) pointer: String,
    pub(super) form: Form,
    pub(super) json: &'a [u8],
}

/// All of them, in order. What is inside of a bundle is the bundle's.
pub(super) fn all(payload: &[u8]) -> Vec<Found<'_>> {
    let mut tape = Tape::default();
    if !may_have(payload) || tape.scan(payload, LIMITS).is_err() {
        return Vec::new();
    }
    let tokens = tape.tokens();
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(token) = tokens.get(at) {
        let form = if token.kind == Kind::Object { form(&tape, payload, at) } else { None };
        at = match form {
            Some(form) => {
                out.push(Found { pointer: tape.pointer(payload, at), form, json: token.raw(payload) });
                token.next as usize
            }
            None => at + 1,
        };
    }
    out
}

/// Words of which any evidence has one, or an escape that could hide it. Made once: every event of a log is searched for them.
static WORDS: LazyLock<[Finder<'static>; 4]> =
    LazyLock::new(|| ["payloadType", "dev.sigstore.bundle", "\\u00", "\\/"].map(Finder::new));

/// Whether a closer look is worth it.
fn may_have(payload: &[u8]) -> bool {
    let escaped = memchr::memchr(b'\\', payload).is_some();
    WORDS.iter().take(if escaped { 4 } else { 2 }).any(|word| word.find(payload).is_some())
}

/// The form of the object at token `at`, by its direct members.
fn form(tape: &Tape, payload: &[u8], at: usize) -> Option<Form> {
    let tokens = tape.tokens();
    let end = tokens.get(at)?.next as usize;
    let (mut name, mut members) = (at + 1, 0);
    while name < end {
        let value = tokens.get(name + 1)?;
        let text = value.is_text();
        match tokens.get(name)?.text(payload).as_ref() {
            "mediaType" if text && value.text(payload).starts_with(BUNDLE) => return Some(Form::SigstoreBundle),
            "payload" | "payloadType" if text => members += 1,
            "signatures" if value.kind == Kind::Array => members += 1,
            _ => {}
        }
        name = value.next as usize;
    }
    (members == 3).then_some(Form::Dsse)
}
