//! A store of which one operation fails, and a record of what was asked of it.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use ledger::kv::{Batch, Kv, KvError, Row, Space};

/// What was asked of the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    Read,
    Write,
    /// A write of rows that may be lost.
    Aside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Read,
    NotPersisted,
    PersistedAnyway,
}

/// The n-th operation of a process fails. One that is to fail as a write, but is a read, fails as a read; and the reverse is a write
/// that is not persisted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Fault {
    place: usize,
    kind: Kind,
}

impl Fault {
    pub(super) fn read(place: usize) -> Self {
        Self { place, kind: Kind::Read }
    }

    /// A write that is not persisted.
    pub(super) fn lost(place: usize) -> Self {
        Self { place, kind: Kind::NotPersisted }
    }

    /// A write that is persisted although it failed.
    pub(super) fn kept(place: usize) -> Self {
        Self { place, kind: Kind::PersistedAnyway }
    }

    pub(super) fn is_write(self) -> bool {
        self.kind != Kind::Read
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            Kind::Read => 'r',
            Kind::NotPersisted => '-',
            Kind::PersistedAnyway => '+',
        };
        write!(out, "{}{kind}", self.place)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text} is no fault: expected a place and r, - or +");
        let kind = match text.chars().last() {
            Some('r') => Kind::Read,
            Some('-') => Kind::NotPersisted,
            Some('+') => Kind::PersistedAnyway,
            _ => return Err(wrong()),
        };
        Ok(Self { place: text[..text.len() - 1].parse().map_err(|_| wrong())?, kind })
    }
}

pub(super) struct Faulty<K> {
    inner: K,
    fault: Option<Fault>,
    operations: Mutex<Vec<Op>>,
    /// A write has failed: no other may be tried.
    closed: AtomicBool,
}

impl<K> Faulty<K> {
    pub(super) fn new(inner: K, fault: Option<Fault>) -> Self {
        Self { inner, fault, operations: Mutex::default(), closed: AtomicBool::new(false) }
    }

    /// The store as a reader sees it who does not fail.
    pub(super) fn inner(&self) -> &K {
        &self.inner
    }

    pub(super) fn operations(&self) -> Vec<Op> {
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Counts an operation, and tells how it is to fail.
    fn next(&self, operation: Op) -> Option<Kind> {
        let mut operations = self.operations.lock().unwrap_or_else(PoisonError::into_inner);
        operations.push(operation);
        self.fault.filter(|fault| fault.place + 1 == operations.len()).map(|fault| fault.kind)
    }

    fn read<T>(
        &self,
        what: &'static str,
        space: Space,
        read: impl FnOnce(&K) -> Result<T, KvError>,
    ) -> Result<T, KvError> {
        match self.next(Op::Read) {
            None => read(&self.inner),
            Some(_) => Err(KvError::Read { what, space, source: "injected".into() }),
        }
    }
}

impl<K: Kv> Kv for Faulty<K> {
    fn get(&self, space: Space, key: &[u8]) -> Result<Option<Vec<u8>>, KvError> {
        self.read("a row", space, |kv| kv.get(space, key))
    }

    fn get_many(&self, space: Space, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, KvError> {
        self.read("rows", space, |kv| kv.get_many(space, keys))
    }

    fn range(&self, space: Space, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Row>, KvError> {
        self.read("a range", space, |kv| kv.range(space, from, to, limit))
    }

    fn write(&self, batch: Batch) -> Result<(), KvError> {
        if self.closed.load(Ordering::SeqCst) {
            return Err(KvError::WriteAfterFailure);
        }
        let Some(kind) = self.next(Op::Write) else { return self.inner.write(batch) };
        self.closed.store(true, Ordering::SeqCst);
        if kind == Kind::PersistedAnyway {
            self.inner.write(batch)?;
        }
        Err(KvError::Write { source: "injected".into() })
    }

    /// A failure forbids nothing.
    fn write_aside(&self, batch: Batch) -> Result<(), KvError> {
        let Some(kind) = self.next(Op::Aside) else { return self.inner.write_aside(batch) };
        if kind == Kind::PersistedAnyway {
            self.inner.write_aside(batch)?;
        }
        Err(KvError::Write { source: "injected".into() })
    }
}
