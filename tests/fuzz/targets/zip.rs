//! The zip reader: what it accepts is exactly what the writer writes of the same files.
#![no_main]

use evidence::zip::{read, write};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|archive: &[u8]| {
    if let Ok(files) = read(archive) {
        let mut again = Vec::new();
        write(&files, &mut again).expect("what was read can be written");
        assert!(again == archive, "two zips for the same files");
    }
});
