//! The published rules.

/// One published version of the rules.
#[derive(Debug)]
pub struct Rules {
    /// SHA-256 of the file.
    pub name: [u8; 32],
    /// The file.
    pub text: &'static str,
}

/// The rules that this version admits by.
pub fn current() -> &'static Rules {
    todo!()
}

/// A published version by its name; `None` if this binary does not carry it.
pub fn by_name(name: &[u8; 32]) -> Option<&'static Rules> {
    let _ = name;
    todo!()
}

/// Whether a word of a decision (an approval's, a policy's) means no.
pub fn is_refusal(word: &str) -> bool {
    let _ = word;
    todo!()
}

/// Whether a word of an executed rollback's outcome means that it failed.
pub fn is_failure(word: &str) -> bool {
    let _ = word;
    todo!()
}
