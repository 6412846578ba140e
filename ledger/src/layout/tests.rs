//! Both directions of every encoding, hostile bytes, and the order that range reads rest on.

use proptest::collection::vec;
use proptest::prelude::*;
use schemas::ids::Tenant;

use super::*;
use crate::append::{Cursor, Head};
use crate::checkpoint::Origin;
use crate::dedupe::Fingerprint;
use crate::entry::Salt;
use crate::hash::Hash;
use crate::kv::{Batch, Space};
use crate::tree::{Edge, TileId};

fn key() -> impl Strategy<Value = Key> {
    let log = any::<u32>().prop_map(LogId);
    let tile = (any::<u8>(), any::<u64>()).prop_map(|(level, index)| TileId { level, index });
    let tenant = "[a-z0-9][a-z0-9-]{0,62}".prop_map(|name| Tenant::parse(&name).unwrap());
    prop_oneof![
        (log.clone(), any::<u64>()).prop_map(|(log, n)| Key::Entry(log, n)),
        (log.clone(), any::<u64>()).prop_map(|(log, n)| Key::Payload(log, n)),
        (log.clone(), tile).prop_map(|(log, tile)| Key::Tile(log, tile)),
        (log.clone(), any::<u64>()).prop_map(|(log, n)| Key::Checkpoint(log, n)),
        (log.clone(), any::<u64>()).prop_map(|(log, n)| Key::Details(log, n)),
        (log.clone(), any::<u64>()).prop_map(|(log, n)| Key::Opening(log, n)),
        (log.clone(), any::<u64>()).prop_map(|(log, n)| Key::Cosignatures(log, n)),
        log.clone().prop_map(Key::NewestCosigned),
        (log.clone(), any::<u64>()).prop_map(|(log, n)| Key::Control(log, n)),
        (log.clone(), any::<[u8; 16]>()).prop_map(|(log, bytes)| Key::Dedupe(log, Fingerprint(bytes))),
        (log.clone(), any::<[u8; 16]>()).prop_map(|(log, bytes)| Key::Chain(log, bytes)),
        Just(Key::Format),
        Just(Key::LedgerName),
        Just(Key::NextLog),
        log.clone().prop_map(Key::Log),
        log.prop_map(Key::Head),
        tenant.prop_map(Key::Tenant),
    ]
}

fn space() -> impl Strategy<Value = Space> {
    proptest::sample::select(&Space::ALL[..])
}

fn head() -> impl Strategy<Value = Head> {
    let cursor = (any::<u64>(), any::<u64>(), any::<u64>(), any::<[u8; 16]>());
    let cursor = cursor.prop_map(|(stream_created_ns, sequence, at_ns, digest)| Cursor {
        stream_created_ns,
        sequence,
        at_ns,
        digest: Fingerprint(digest),
    });
    let numbers = (any::<u32>(), any::<u64>(), any::<u32>(), any::<u64>(), any::<u64>());
    (numbers, cursor, any::<[u8; 32]>(), 0..2_000_u64, "[a-z]{1,9}").prop_map(|(numbers, cursor, prev, size, name)| {
        let (log, at_ms, epoch, answered, control_counter) = numbers;
        let mut edge = Edge::new();
        for leaf in 0..size {
            edge.push(Hash([leaf.to_le_bytes()[0]; 32]), &mut |_: TileId, _: &[Hash]| ());
        }
        let origin = Origin::of(&name, "tenant").unwrap();
        let (log, control_prev) = (LogId(log), Hash(prev));
        Head { log, origin, size, edge, at_ms, epoch, cursor, answered, control_counter, control_prev }
    })
}

proptest! {
    #[test]
    fn keys_read_back(key in key()) {
        prop_assert_eq!(Key::decode(key.space(), &key.bytes()).unwrap(), key);
    }

    #[test]
    fn different_keys_of_a_space_have_different_bytes(a in key(), b in key()) {
        prop_assert_eq!(a == b, a.space() == b.space() && *a.bytes() == *b.bytes());
    }

    /// Whatever decodes is the encoding of what it decodes to: no two bytes for one key.
    #[test]
    fn bytes_that_are_keys_are_their_only_form(space in space(), kind in 0..10_u8, rest in vec(any::<u8>(), 0..40)) {
        let bytes = [vec![kind], rest].concat();
        if let Ok(key) = Key::decode(space, &bytes) {
            prop_assert_eq!(key.space(), space);
            prop_assert_eq!(&*key.bytes(), &bytes[..]);
        }
    }

    #[test]
    fn byte_order_is_number_order(log in any::<u32>(), other in any::<u32>(), a in any::<u64>(), b in any::<u64>()) {
        let order = (log, a).cmp(&(other, b));
        for kind in [Key::Entry, Key::Payload, Key::Checkpoint, Key::Details, Key::Opening, Key::Control] {
            let (left, right) = (kind(LogId(log), a).bytes(), kind(LogId(other), b).bytes());
            prop_assert_eq!(left.cmp(&right), order);
        }
        let tile = |level, index| Key::Tile(LogId(log), TileId { level, index }).bytes();
        prop_assert_eq!(tile(1, a).cmp(&tile(1, b)), a.cmp(&b));
        prop_assert!(*tile(0, a) < *tile(1, b));
    }

    /// Whatever their sizes, and wherever entries without a payload stand between them.
    #[test]
    fn blocks_read_back(payloads in vec((1..9_u64, any::<u8>(), 0..3_000_usize, any::<bool>()), 1..200), large in 0..200_usize) {
        let mut index = 0;
        let expected: Vec<(u64, Stored)> = payloads.iter().enumerate().map(|(place, &(step, byte, length, mixed))| {
            index += step;
            let length = if place == large { 200_000 } else { length };
            // Some that pack well and some that do not.
            let payload = (0..length).map(|at| if mixed { Hash::of(&at.to_le_bytes()).0[0] } else { byte }).collect();
            let previous = (byte > 9).then_some(index - 1);
            (index, Stored { salt: Salt([byte; 16]), fingerprint: Fingerprint([1; 16]), previous, payload })
        }).collect();
        let mut found = Vec::new();
        for (key, row) in blocks_of(&expected) {
            let Key::Payload(_, last) = key else { panic!("{key:?}") };
            let block = Block::decode(&key, &row).unwrap();
            let rows: Vec<_> = block.clone().into_rows().collect();
            for (index, stored) in &rows {
                prop_assert!(*index <= last && last - index < BLOCK_SPAN);
                prop_assert_eq!(block.find(*index), Some(stored.clone()));
            }
            prop_assert_eq!(block.find(last + 1), None);
            found.extend(rows);
        }
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn checkpoints_read_back(previous in any::<u64>(), note in ".*") {
        let signed = SignedAt { previous, note };
        prop_assert_eq!(SignedAt::decode(&signed.encode()).unwrap(), signed);
    }

    #[test]
    fn details_read_back(subject in ".*", path in ".*", found in ".*", expected in ".*") {
        let details = Details { subject, path, found, expected };
        let key = Key::Details(LogId(3), 7);
        prop_assert_eq!(Details::decode(&key, &details.encode(&key)).unwrap(), details);
    }

    #[test]
    fn chain_heads_read_back(seq in any::<u64>(), index in any::<u64>(), leaf in any::<[u8; 32]>()) {
        let chain = ChainHead { seq, index, leaf: Hash(leaf) };
        prop_assert_eq!(ChainHead::decode(&chain.encode()).unwrap(), chain);
    }

    #[test]
    fn heads_read_back(head in head()) {
        prop_assert_eq!(decode_head(head.log, &encode_head(&head)).unwrap(), head);
    }

    #[test]
    fn tiles_read_back(hashes in vec(any::<[u8; 32]>(), TILE_WIDTH)) {
        let hashes: Vec<Hash> = hashes.into_iter().map(Hash).collect();
        prop_assert_eq!(decode_tile(&encode_tile(&hashes)).unwrap(), hashes);
    }

    /// No row that we did not write makes us panic, and what is taken for a row is its only form.
    #[test]
    fn rows_of_any_bytes_are_read_or_refused(row in vec(any::<u8>(), 0..300)) {
        let key = Key::Payload(LogId(1), 70);
        prop_assert!(Block::decode(&key, &row).is_err());
        if let Ok(block) = Block::decode(&key, &key.with_check(row.clone())) {
            prop_assert!(block.into_rows().all(|(index, _)| index <= 70));
        }
        if let Ok(signed) = SignedAt::decode(&row) {
            prop_assert_eq!(signed.encode(), row.clone());
        }
        // Behind a check value: without a right one nothing of such a row is looked at.
        let key = Key::Details(LogId(1), 2);
        let checked = key.with_check(row.clone());
        if let Ok(details) = Details::decode(&key, &checked) {
            prop_assert_eq!(details.encode(&key), checked);
        }
        if let Ok(chain) = ChainHead::decode(&row) {
            prop_assert_eq!(chain.encode().to_vec(), row.clone());
        }
        let checked = Key::Log(LogId(1)).with_check(row.clone());
        if let Ok(log) = LogRow::decode(LogId(1), &checked) {
            prop_assert_eq!(log.encode(LogId(1)), checked);
        }
        let checked = Key::Head(LogId(1)).with_check(row.clone());
        if let Ok(head) = decode_head(LogId(1), &checked) {
            prop_assert_eq!(encode_head(&head), checked);
        }
    }

    #[test]
    fn a_flipped_bit_fails_the_check(key in key(), value in vec(any::<u8>(), 0..99), at in any::<proptest::sample::Index>()) {
        let mut row = key.with_check(value.clone());
        prop_assert_eq!(key.without_check(&row).unwrap(), &value[..]);
        let bit = at.index(row.len() * 8);
        row[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(key.without_check(&row).is_err());
    }

    #[test]
    fn a_head_cut_short_or_with_more_behind_it_is_refused(head in head(), cut in any::<proptest::sample::Index>()) {
        let row = encode_head(&head);
        prop_assert!(decode_head(head.log, &row[..cut.index(row.len())]).is_err());
        prop_assert!(decode_head(head.log, &[&row[..], &[0]].concat()).is_err());
    }
}

/// The rows of a log's payloads.
fn blocks_of(payloads: &[(u64, Stored)]) -> Vec<(Key, Vec<u8>)> {
    let (mut batch, mut writer) = (Batch::default(), BlockWriter::default());
    for (index, stored) in payloads {
        let Stored { salt, fingerprint, previous, payload } = stored;
        let parts = Parts { salt: *salt, fingerprint: *fingerprint, previous: *previous, payload };
        writer.add(&mut batch, LogId(0x0102_0304), *index, parts);
    }
    writer.finish(&mut batch, LogId(0x0102_0304));
    batch.rows().map(|(space, key, row)| (Key::decode(space, key).unwrap(), row.unwrap().to_vec())).collect()
}

#[test]
fn every_flipped_bit_of_a_block_is_seen() {
    let stored = |n: u8| Stored {
        salt: Salt([n; 16]),
        fingerprint: Fingerprint([n; 16]),
        previous: Some(n.into()),
        payload: b"the same words again and again and again".repeat(3),
    };
    let rows = blocks_of(&[(7, stored(1)), (8, stored(2)), (11, stored(3))]);
    let [(key, row)] = &rows[..] else { panic!("{} blocks", rows.len()) };
    assert_eq!(row[0], 1, "packed");
    for bit in 0..row.len() * 8 {
        let mut damaged = row.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(Block::decode(key, &damaged).is_err(), "bit {bit}");
    }
    assert!(Block::decode(&Key::Payload(LogId(0x0102_0304), 12), row).is_err(), "another place");
}

#[test]
fn a_block_holds_64_indices_or_60_kib_at_most_but_for_one_large_payload() {
    let stored = |length| Stored {
        salt: Salt([0; 16]),
        fingerprint: Fingerprint::default(),
        previous: None,
        payload: vec![0; length],
    };
    let keys = |sizes: &[usize]| -> Vec<u64> {
        let payloads: Vec<_> = (1_u64..).zip(sizes).map(|(index, length)| (index, stored(*length))).collect();
        let rows = blocks_of(&payloads);
        rows.into_iter().map(|(key, _)| if let Key::Payload(_, last) = key { last } else { 0 }).collect()
    };
    assert_eq!(keys(&[10; 130]), [64, 128, 130]);
    assert_eq!(keys(&[30 << 10; 5]), [2, 4, 5]);
    assert_eq!(keys(&[1, 1_000_000, 1]), [2, 3]);
}

#[test]
fn log_rows_read_back() {
    let tenant = Tenant::parse("a-tenant").unwrap();
    for row in [LogRow::Ledger, LogRow::Tenant { tenant, dedupe_check: [3; 16] }] {
        assert_eq!(LogRow::decode(LogId(1), &row.encode(LogId(1))).unwrap(), row);
        assert!(LogRow::decode(LogId(2), &row.encode(LogId(1))).is_err(), "another log's row");
    }
    let checked = |row: &[u8]| Key::Log(LogId(1)).with_check(row.to_vec());
    assert!(LogRow::decode(LogId(1), &checked(&[0; 16])).is_err(), "a tenant without a name");
    assert!(LogRow::decode(LogId(1), &checked(b"0123456789abcdefNOT A TENANT")).is_err());
}

/// Bytes that stand on disks already: changing any of these needs a new format version.
#[test]
fn the_published_forms_stay() {
    let hex = |key: Key| hex::encode(&*key.bytes());
    let log = LogId(0x0102_0304);
    let tenant = Tenant::parse("acme").unwrap();
    for (key, form) in [
        (Key::Entry(log, 5), "01010203040000000000000005"),
        (Key::Payload(log, 5), "02010203040000000000000005"),
        (Key::Tile(log, TileId { level: 2, index: 5 }), "0301020304020000000000000005"),
        (Key::Checkpoint(log, 5), "04010203040000000000000005"),
        (Key::Details(log, 5), "05010203040000000000000005"),
        (Key::Opening(log, 5), "06010203040000000000000005"),
        (Key::Dedupe(log, Fingerprint([7; 16])), "010102030407070707070707070707070707070707"),
        (Key::Chain(log, [7; 16]), "020102030407070707070707070707070707070707"),
        (Key::Format, "00"),
        (Key::LedgerName, "01"),
        (Key::NextLog, "02"),
        (Key::Log(log), "0301020304"),
        (Key::Head(log), "0401020304"),
        (Key::Tenant(tenant), "0561636d65"),
    ] {
        assert_eq!(hex(key), form);
    }
    let stored = |payload: &[u8]| Stored {
        salt: Salt([1; 16]),
        fingerprint: Fingerprint([2; 16]),
        previous: None,
        payload: payload.to_vec(),
    };
    let member = |distance: u8, length: u8| {
        format!("{distance:02x}{}{}{}000000{length:02x}", "01".repeat(16), "02".repeat(16), "ff".repeat(8))
    };
    let rows = blocks_of(&[(3, stored(b"{}")), (5, stored(b"[]"))]);
    // The check values by another implementation (Python's hashlib), the LZ4 block by hand.
    assert_eq!(hex::encode(&rows[0].1), format!("0002{}{}7b7d5b5d5950d118e6cadccb", member(2, 2), member(0, 2)));
    // Which of its many forms LZ4 takes is the packer's to choose.
    let row = hex::decode(format!("0101{}1f610100275061616161614dfb4b0e85c8d62a", member(0, 64))).unwrap();
    let block = Block::decode(&Key::Payload(log, 5), &row).unwrap();
    assert_eq!(block.into_rows().collect::<Vec<_>>(), [(5, stored(&[b'a'; 64]))]);
    let details = Details { subject: "s".into(), path: String::new(), found: "é".into(), expected: "x".into() };
    let form = "00000001730000000000000002c3a90000000178";
    // The check value by another implementation: Python's hashlib.
    assert_eq!(hex::encode(details.encode(&Key::Details(log, 5))), format!("{form}d7732db6fab51478"));
}

#[test]
fn numbers_are_of_their_exact_length() {
    assert_eq!(read_u64("n", &7_u64.to_be_bytes()), Ok(7));
    assert_eq!(read_u32("n", &7_u32.to_be_bytes()), Ok(7));
    for bad in [&[][..], &[0; 3], &[0; 5], &[0; 7], &[0; 9]] {
        assert!(read_u64("n", bad).is_err() && read_u32("n", bad).is_err());
    }
}
