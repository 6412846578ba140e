//! How values of others stand on the page: with everything unseen shown, of a bearable length, in lists that end.

use crate::text::visible;

/// Longest text on the page, in characters. The whole of it is in the event.
const CHARS_MAX: usize = 1_000;

/// Longest list on the page. The whole of it is in the pack's other files.
pub(super) const ITEMS_MAX: usize = 1_000;

/// A text, shown, and ended where it is too long.
pub(super) fn cut(text: &str) -> String {
    // No text has more characters than bytes.
    let Some((end, _)) = (text.len() > CHARS_MAX).then(|| text.char_indices().nth(CHARS_MAX)).flatten() else {
        return visible(text);
    };
    format!("{}… [{} characters; the whole text is in the event]", visible(&text[..end]), text.chars().count())
}

/// A list that ends, and how many there are beyond.
pub(super) struct Cut<T> {
    pub(super) items: Vec<T>,
    pub(super) more: usize,
}

impl<'a, T> Cut<&'a T> {
    /// The first items of a list.
    pub(super) fn of(all: &'a [T]) -> Self {
        Self { items: all.iter().take(ITEMS_MAX).collect(), more: all.len().saturating_sub(ITEMS_MAX) }
    }
}

impl<T> From<Vec<T>> for Cut<T> {
    fn from(mut items: Vec<T>) -> Self {
        let more = items.len().saturating_sub(ITEMS_MAX);
        items.truncate(ITEMS_MAX);
        Self { items, more }
    }
}

/// Milliseconds since 1970 as `2025-10-09 12:00:00 UTC`; the number itself beyond the calendar's range.
pub(super) fn time(ms: u64) -> String {
    let text = schemas::time::text(ms);
    text.map_or_else(|| format!("{ms} ms"), |text| format!("{} {} UTC", &text[..10], &text[11..19]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_texts_end_and_say_so() {
        let long = "ä".repeat(CHARS_MAX);
        assert_eq!(cut(&long), long);
        let cut = cut(&(long.clone() + "\u{202e}x"));
        assert_eq!(cut, format!("{long}… [1002 characters; the whole text is in the event]"));
    }

    #[test]
    fn long_lists_end_and_say_so() {
        let list = Cut::from(vec![0; ITEMS_MAX + 3]);
        assert_eq!((list.items.len(), list.more), (ITEMS_MAX, 3));
        assert_eq!(Cut::of(&[0; 3]).more, 0);
    }
}
