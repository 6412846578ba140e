//! Rows that come by the dozen, many in one: JSON lists of lists, which the documented views take apart again.

use serde::Serialize;

/// What a row of a table without row ids keeps on its own page, of 4,096 bytes, is (4,096 - 12) * 64 / 255 - 23 = 1,002 bytes
/// (<https://www.sqlite.org/fileformat.html>, 1.6), its keys among them: a longer one takes another page.
const BYTES_MAX: usize = 960;

/// Lists of items that each are a list of cells. `put` gets them one by one, with the number of the first item in each.
pub(super) fn lists<T: Serialize>(items: impl Iterator<Item = T>, mut put: impl FnMut(i64, &str)) {
    let (mut list, mut first) = (Vec::with_capacity(2 * BYTES_MAX), 0);
    list.push(b'[');
    for (item, n) in items.zip(0_i64..) {
        let before = list.len();
        if before > 1 {
            list.push(b',');
        }
        #[expect(clippy::expect_used, reason = "texts, numbers and tuples of them always serialise into memory")]
        serde_json::to_writer(&mut list, &item).expect("a tuple of plain values");
        if before > 1 && list.len() >= BYTES_MAX {
            // Ends where its last comma is, and the next one begins there.
            list[before] = b']';
            put(first, text(&list[..=before]));
            list.drain(..before);
            list[0] = b'[';
            first = n;
        }
    }
    if list.len() > 1 {
        list.push(b']');
        put(first, text(&list));
    }
}

fn text(list: &[u8]) -> &str {
    #[expect(clippy::expect_used, reason = "JSON is text")]
    std::str::from_utf8(list).expect("JSON is UTF-8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(items: &[(i64, &str)]) -> Vec<(i64, String)> {
        let mut made = Vec::new();
        lists(items.iter(), |first, list| made.push((first, list.to_owned())));
        made
    }

    #[test]
    fn a_list_ends_where_its_page_is_full() {
        assert!(made(&[]).is_empty());
        assert_eq!(made(&[(1, "a"), (2, "b\0\"")]), [(0, r#"[[1,"a"],[2,"b\u0000\""]]"#.to_owned())]);
        let long = "x".repeat(2 * BYTES_MAX);
        let many: Vec<_> = (0..400).map(|number| (number, if number == 50 { long.as_str() } else { "y" })).collect();
        let lists = made(&many);
        assert!(lists.len() > 3 && lists.iter().filter(|(_, list)| list.len() > BYTES_MAX).count() == 1);
        let items = lists.iter().flat_map(|(first, list)| {
            let items: Vec<(i64, String)> = serde_json::from_str(list).unwrap();
            assert_eq!(items[0].0, *first);
            items
        });
        assert!(items.zip(many).all(|((number, text), item)| (number, text.as_str()) == item));
    }
}
