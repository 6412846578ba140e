//! Requests and catalogues: any words and documents are answered, and what is planned passes the guard and is the same twice.
#![no_main]

use libfuzzer_sys::fuzz_target;
use workers::argv::parse;
use workers::catalogue::{Catalogue, shipped};
use workers::plan::{Existing, plan};
use workers::request::{Request, json};

fuzz_target!(|bytes: &[u8]| {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let _ = Catalogue::read(&[("own.toml".to_owned(), text.to_owned())]);
    let _ = Existing::read(bytes);
    let of_words = Request { words: Some(text.to_owned()), ..Request::default() };
    for request in json::read(bytes).into_iter().chain([of_words]) {
        let Ok(made) = plan(shipped(), &request, None) else { continue };
        for line in made.commands().iter().chain(&made.rollback_commands()) {
            assert!(parse(line, shipped()).is_ok(), "{line}");
        }
        let again = plan(shipped(), &request, None).expect("the same");
        assert_eq!(made.document().to_string(), again.document().to_string());
        let _ = (made.graph().svg(), made.graph().mermaid(), made.graph().dot());
    }
});
