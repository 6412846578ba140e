//! Admission: what is admitted is stored as it would be admitted again, and a rejection never keeps what it should mask.
#![no_main]

use libfuzzer_sys::fuzz_target;
use schemas::admit::{Scratch, admit, admit_unaddressed, derive};

fuzz_target!(|received: &[u8]| {
    let mut scratch = Scratch::default();
    let Ok((subject, admitted)) = admit_unaddressed(received, &mut scratch) else { return };
    let (stored, facts, masked) = (admitted.payload.into_owned(), admitted.facts, admitted.masked);
    let again = admit(&subject, &stored, &mut Scratch::default()).expect("what is stored is admissible");
    assert_eq!(again.payload, stored, "admit(stored) = stored");
    let (_, _, marks, derived) = derive(&stored, &mut Scratch::default()).expect("what is stored can be read");
    assert_eq!((marks, derived), (masked, facts), "header and payload agree");
});
