//! Bundles: policies as one `tar.gz`, as `opa build` and CI systems make them (OPA, "Bundles").
//!
//! Read into memory, within limits; no path of it is ever one of this machine. Of its manifest nothing is needed; its signatures are not checked:
//! who needs that pins the bundle's SHA-256 in the configuration.

use std::io::Read as _;

use flate2::read::GzDecoder;

use super::source::{Files, SourceError};

/// A bundle as it is sent, in bytes.
pub const PACKED_BYTES: usize = 16 << 20;
/// All that is in it.
const BYTES: u64 = 64 << 20;
/// Files in it.
const FILES: usize = 10_000;

/// Reads the policies of a bundle; `name` is for messages.
pub fn read(name: &str, bytes: &[u8]) -> Result<Files, Vec<SourceError>> {
    let wrong = |message: String| vec![SourceError::new(name, message)];
    if bytes.len() > PACKED_BYTES {
        return Err(wrong(format!("{} bytes, expected at most {PACKED_BYTES}", bytes.len())));
    }
    let unpacked = |error: std::io::Error| wrong(format!("found no tar.gz that can be read: {error}"));
    // Twice as much: headers and what is left out count too, and have to end somewhere.
    let mut archive = tar::Archive::new(GzDecoder::new(bytes).take(2 * BYTES));
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    let mut total = 0_u64;
    for entry in archive.entries().map_err(unpacked)? {
        let mut entry = entry.map_err(unpacked)?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = String::from_utf8(entry.path_bytes().into_owned())
            .map_err(|_| wrong("found a path that is no UTF-8".to_owned()))?;
        total = total.saturating_add(entry.size());
        if total > BYTES || files.len() >= FILES {
            return Err(wrong(format!("found more, expected at most {FILES} files with {BYTES} bytes in all")));
        }
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(unpacked)?;
        files.push((path, content));
    }
    Files::read(files.iter().map(|(path, content)| (path.as_str(), content.as_slice())))
}
