//! Files that a person names, read whole within a bound: a device or a wrong file must not fill the memory.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// Bytes of a document that is read as one, at most.
pub const DOCUMENT_MAX: u64 = 64 << 20;

/// Bytes of a signed note, a receipt or a public key: a checkpoint with 64 post-quantum cosignatures stays below a quarter of it.
pub const NOTE_MAX: u64 = 1 << 20;

/// All bytes of a file that has at most `max`.
pub fn read(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    all_of(File::open(path)?, max)
}

/// The same of a file that has to be text.
pub fn text(path: &Path, max: u64) -> io::Result<String> {
    String::from_utf8(read(path, max)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("not text: {}", error.utf8_error())))
}

/// All bytes of a reader that gives at most `max`.
pub fn all_of(reader: impl Read, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if reader.take(max + 1).read_to_end(&mut bytes)? as u64 > max {
        return Err(too_large(max));
    }
    Ok(bytes)
}

/// What is said of more than the bound.
pub fn too_large(max: u64) -> io::Error {
    io::Error::other(format!("more than {max} bytes: too large for what is expected here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_whole_has_a_bound() {
        assert_eq!(all_of(&b"{}"[..], 2).unwrap(), b"{}");
        for max in [1, NOTE_MAX] {
            let refused = all_of(io::repeat(b' '), max).unwrap_err().to_string();
            assert!(refused.contains(&format!("more than {max} bytes")), "{refused}");
        }
        assert!(text(Path::new("/dev/zero"), 100).unwrap_err().to_string().contains("more than 100 bytes"));
    }
}
