//! One file, one JSON document or several (one a line, as Kubernetes writes its audit log), each masked.

use crate::AdaptError;
use schemas::reason::Reason;
use schemas::redact;

/// A masked document and where it stood.
#[derive(Debug)]
pub(crate) struct Document {
    /// From 1.
    pub(crate) line: usize,
    pub(crate) masked: Vec<u8>,
}

/// A file that is one document over many lines is one; where something follows the first value, each line is one.
pub(crate) fn documents(file: &[u8]) -> Result<Vec<Document>, AdaptError> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    if file.trim_ascii().is_empty() {
        return Err(AdaptError::Empty);
    }
    match redact::mask_document(file) {
        Ok((masked, _)) => Ok(vec![Document { line: 1, masked }]),
        Err(rejection) if rejection.reason == Reason::TrailingData => lines(file),
        Err(rejection) => Err(AdaptError::Unreadable { line: 1, rejection: Box::new(rejection) }),
    }
}

fn lines(file: &[u8]) -> Result<Vec<Document>, AdaptError> {
    file.split(|byte| *byte == b'\n')
        .enumerate()
        .filter(|(_, line)| !line.trim_ascii().is_empty())
        .map(|(n, line)| match redact::mask_document(line.trim_ascii()) {
            Ok((masked, _)) => Ok(Document { line: n + 1, masked }),
            Err(rejection) => Err(AdaptError::Unreadable { line: n + 1, rejection: Box::new(rejection) }),
        })
        .collect()
}
