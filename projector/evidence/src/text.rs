//! Text of others, made safe to look at: what cannot be seen is shown.
//!
//! Control characters drive terminals, direction marks turn a line around, separators break it and invisible characters make two
//! texts look like one. Each is shown as `\u{202e}` wherever a person reads it; files that are cut out of an event byte for byte
//! stay as they are.

use std::fmt::{self, Write};

use projector::unseen::is_unseen;

/// Text for within a line: everything unseen is shown, line feeds too.
pub(crate) fn visible(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        show(c, &mut out);
    }
    out
}

/// Text of several lines: as [`visible`], but its line feeds stay.
pub(crate) fn visible_lines(text: &str) -> String {
    let mut out = VisibleLines(String::with_capacity(text.len()));
    // Writing to a string cannot fail.
    let _ = out.write_str(text);
    out.0
}

/// A text under construction in which whatever is written is shown as by [`visible_lines`]. Through it passes a whole
/// document, so that no value in it can be forgotten.
#[derive(Debug, Default)]
pub(crate) struct VisibleLines(pub(crate) String);

impl Write for VisibleLines {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if c == '\n' { self.0.push(c) } else { show(c, &mut self.0) }
        }
        Ok(())
    }
}

/// A character as it is, or escaped if it cannot be seen.
pub(crate) fn show(c: char, out: &mut String) {
    if is_unseen(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_seen_is_shown() {
        assert_eq!(visible("a\u{1b}[2J\rü\n\u{202e}\t"), "a\\u{1b}[2J\\u{d}ü\\u{a}\\u{202e}\\u{9}");
        assert_eq!(visible_lines("a\r\nb\u{85}\u{2028}\u{e0041}"), "a\\u{d}\nb\\u{85}\\u{2028}\\u{e0041}");
        for plain in ["", "Grüße, 世界 \u{1f600}", "C:\\dir & <b>\"'"] {
            assert_eq!((visible(plain).as_str(), visible_lines(plain).as_str()), (plain, plain));
        }
    }
}
