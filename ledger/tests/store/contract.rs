//! What every implementation of `Kv` promises, as far as a living store can show it.

use ledger::kv::{Batch, Kv, Space};

/// Runs against an empty store.
pub(crate) fn check<K: Kv>(kv: &K) {
    reads_back_what_was_written(kv);
    spaces_are_apart(kv);
    ranges_are_half_open_and_ascending(kv);
    many_are_answered_in_order(kv);
    a_batch_applies_in_order(kv);
}

fn put<K: Kv>(kv: &K, space: Space, rows: &[(&[u8], &[u8])]) {
    let mut batch = Batch::default();
    for (key, value) in rows {
        batch.put(space, key, &[value]);
    }
    kv.write(batch).unwrap();
}

fn reads_back_what_was_written<K: Kv>(kv: &K) {
    let long = vec![7; 1_000_000];
    put(kv, Space::Payloads, &[(b"a", b"1"), (b"empty", b""), (b"long", &long), (&[0, 255], b"bytes")]);
    assert_eq!(kv.get(Space::Payloads, b"a").unwrap().as_deref(), Some(&b"1"[..]));
    assert_eq!(kv.get(Space::Payloads, b"empty").unwrap().as_deref(), Some(&b""[..]));
    assert_eq!(kv.get(Space::Payloads, b"long").unwrap(), Some(long));
    assert_eq!(kv.get(Space::Payloads, &[0, 255]).unwrap().as_deref(), Some(&b"bytes"[..]));
    assert_eq!(kv.get(Space::Payloads, b"absent").unwrap(), None);
}

fn spaces_are_apart<K: Kv>(kv: &K) {
    for space in Space::ALL {
        put(kv, space, &[(b"same key", space.name().as_bytes())]);
    }
    for space in Space::ALL {
        assert_eq!(kv.get(space, b"same key").unwrap().as_deref(), Some(space.name().as_bytes()));
    }
}

fn ranges_are_half_open_and_ascending<K: Kv>(kv: &K) {
    put(kv, Space::Tree, &[(b"r\x03", b"3"), (b"r\x01", b"1"), (b"r\x02", b"2"), (b"r\x02\x00", b"2.0")]);
    let range = |from: &[u8], to: &[u8], limit| -> Vec<Vec<u8>> {
        kv.range(Space::Tree, from, to, limit).unwrap().into_iter().map(|(_, value)| value).collect()
    };
    assert_eq!(range(b"r\x01", b"r\x03", 9), [&b"1"[..], b"2", b"2.0"]);
    assert_eq!(range(b"r\x01", b"r\x04", 2), [&b"1"[..], b"2"]);
    assert_eq!(range(b"r\x01", b"r\x04", 0), [&b""[..]; 0]);
    assert_eq!(range(b"r\x02", b"r\x02", 9), [&b""[..]; 0]);
    assert_eq!(range(b"r\x03", b"r\x01", 9), [&b""[..]; 0]);
    assert_eq!(range(b"r\x02\x00", b"s", usize::MAX), [&b"2.0"[..], b"3"]);
}

fn many_are_answered_in_order<K: Kv>(kv: &K) {
    put(kv, Space::Index, &[(b"k1", b"v1"), (b"k2", b"v2"), (b"k3", b"v3")]);
    let many = |keys: &[&[u8]]| -> Vec<Option<Vec<u8>>> { kv.get_many(Space::Index, keys).unwrap() };
    let some = |value: &str| Some(value.as_bytes().to_vec());
    assert_eq!(many(&[b"k1", b"k2", b"none"]), [some("v1"), some("v2"), None]);
    assert_eq!(many(&[b"none", b"k3", b"k1", b"k1"]), [None, some("v3"), some("v1"), some("v1")]);
    assert_eq!(many(&[]), []);
}

fn a_batch_applies_in_order<K: Kv>(kv: &K) {
    let mut batch = Batch::default();
    batch.put(Space::Meta, b"x", &[b"1"]);
    batch.put(Space::Meta, b"y", &[b"one ", b"", b"value"]);
    batch.delete(Space::Meta, b"x");
    batch.delete(Space::Meta, b"never there");
    let mut second = Batch::with_capacity(2, 16);
    second.put(Space::Meta, b"y", &[b"newer"]);
    second.put(Space::Index, b"y", &[b"elsewhere"]);
    batch.append(second);
    batch.sort();
    kv.write(batch).unwrap();
    assert_eq!(kv.get(Space::Meta, b"x").unwrap(), None);
    assert_eq!(kv.get(Space::Meta, b"y").unwrap().as_deref(), Some(&b"newer"[..]));
    assert_eq!(kv.get(Space::Index, b"y").unwrap().as_deref(), Some(&b"elsewhere"[..]));
    kv.write(Batch::default()).unwrap();
}
