//! The byte scanner: what it accepts is JSON to others too, and its tokens lie within the document.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::admit::LIMITS;
use schemas::scan::Tape;

fuzz_target!(|document: &[u8]| {
    let mut tape = Tape::default();
    if tape.scan(document, LIMITS).is_err() {
        return;
    }
    assert!(serde_json::from_slice::<serde_json::Value>(document).is_ok(), "accepted, and no JSON");
    for (at, token) in tape.tokens().iter().enumerate() {
        assert!(token.raw(document).len() <= document.len());
        let pointer = tape.pointer(document, at);
        assert!(pointer.is_empty() || pointer.starts_with('/'), "{pointer}");
        if token.is_text() {
            token.text(document);
        }
    }
});
