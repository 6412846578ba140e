//! Entry headers: what is decoded encodes to the same bytes, and both readers accept the same.
#![no_main]

use ledger::entry::{Header, View};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let header = Header::decode(bytes);
    assert_eq!(View::read(bytes).is_ok(), header.is_ok(), "two readers, two answers");
    match header {
        // An unknown kind is kept as it is, and never written by this version.
        Ok(Header::Unknown { .. }) | Err(_) => {}
        Ok(header) => assert_eq!(header.encode().expect("it was decoded"), bytes),
    }
});
