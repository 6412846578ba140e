//! Cells of rows, one behind the other in one piece of memory. A chunk has tens of thousands; each as a text of its own would be made by one thread, given
//! back by another, and be a sixth of what telling and writing cost.

use std::borrow::Cow;

use rusqlite::types::ValueRef;

/// Rows of several tables: of each its table's number, then its cells, each a letter for its type and its bytes.
#[derive(Clone, Debug, Default)]
pub(super) struct Cells(Vec<u8>);

/// What a cell can be made of.
pub(super) trait Cell {
    fn put(&self, bytes: &mut Vec<u8>);
}

impl Cells {
    /// None yet, with room for those of most changes.
    pub(super) fn with_room() -> Self {
        Self(Vec::with_capacity(8 << 10))
    }

    /// Gives back what no cell took.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    /// Adds a row: as many cells as the table takes.
    pub(super) fn push(&mut self, table: u8, cells: &[&dyn Cell]) {
        self.0.push(table);
        for cell in cells {
            cell.put(&mut self.0);
        }
    }

    /// Reads them from the first on.
    pub(super) fn read(&self) -> Reading<'_> {
        Reading(&self.0)
    }
}

/// Cells that are still to be read. Whoever reads knows how many each table has.
pub(super) struct Reading<'c>(&'c [u8]);

impl<'c> Reading<'c> {
    /// The table of the next row.
    pub(super) fn table(&mut self) -> Option<u8> {
        let (table, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*table)
    }

    /// The next cell of that row.
    pub(super) fn cell(&mut self) -> ValueRef<'c> {
        match self.take() {
            [b'i'] => ValueRef::Integer(i64::from_ne_bytes(self.take())),
            [b'r'] => ValueRef::Real(f64::from_ne_bytes(self.take())),
            [b't'] => {
                let length = usize::from_ne_bytes(self.take());
                let (text, rest) = self.0.split_at_checked(length).unwrap_or_default();
                self.0 = rest;
                ValueRef::Text(text)
            }
            _ => ValueRef::Null,
        }
    }

    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk() else { return [0; N] };
        self.0 = rest;
        *first
    }
}

impl Cell for i64 {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.push(b'i');
        bytes.extend_from_slice(&self.to_ne_bytes());
    }
}

impl Cell for bool {
    fn put(&self, bytes: &mut Vec<u8>) {
        i64::from(*self).put(bytes);
    }
}

impl Cell for f64 {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.push(b'r');
        bytes.extend_from_slice(&self.to_ne_bytes());
    }
}

impl Cell for str {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.push(b't');
        bytes.extend_from_slice(&self.len().to_ne_bytes());
        bytes.extend_from_slice(self.as_bytes());
    }
}

impl Cell for &str {
    fn put(&self, bytes: &mut Vec<u8>) {
        (**self).put(bytes);
    }
}

impl Cell for String {
    fn put(&self, bytes: &mut Vec<u8>) {
        self.as_str().put(bytes);
    }
}

impl Cell for Cow<'_, str> {
    fn put(&self, bytes: &mut Vec<u8>) {
        (**self).put(bytes);
    }
}

impl<T: Cell> Cell for Option<T> {
    fn put(&self, bytes: &mut Vec<u8>) {
        match self {
            Some(cell) => cell.put(bytes),
            None => bytes.push(b'n'),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_are_read_as_they_were_put() {
        let mut cells = Cells::default();
        cells.push(3, &[&7_i64, &-1.5, &"a\0ä", &None::<i64>]);
        cells.push(1, &[&true, &Some(String::new()), &Some(Cow::Borrowed("b"))]);
        let mut read = cells.read();
        assert_eq!(read.table(), Some(3));
        let text = |text: &'static str| ValueRef::Text(text.as_bytes());
        assert_eq!(
            [(); 4].map(|()| read.cell()),
            [ValueRef::Integer(7), ValueRef::Real(-1.5), text("a\0ä"), ValueRef::Null]
        );
        assert_eq!(read.table(), Some(1));
        assert_eq!([(); 3].map(|()| read.cell()), [ValueRef::Integer(1), text(""), text("b")]);
        assert_eq!(read.table(), None);
    }
}
