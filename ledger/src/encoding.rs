//! The text encodings that every signed format here is made of: strict base64 (RFC 4648 §4), lowercase hex, decimal.
//!
//! Strict means that each value has exactly one spelling: padding is required, trailing bits are zero, hex is lowercase,
//! a decimal has no sign and no leading zero. Whoever finds two spellings of a signed or hashed thing has found a hole.

use base64::{Engine as _, engine::general_purpose::STANDARD};

/// Standard base64 with padding.
pub(crate) fn to_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// The bytes of a standard base64 text; `None` for any spelling but the one that [`to_base64`] writes.
pub(crate) fn from_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

/// The bytes of a base64 text that must hold exactly `N` of them.
pub(crate) fn array_from_base64<const N: usize>(text: &str) -> Option<[u8; N]> {
    // Refused by length before anything is allocated for it.
    if text.len() != N.div_ceil(3) * 4 {
        return None;
    }
    from_base64(text)?.try_into().ok()
}

/// The bytes of a lowercase hex text that must hold exactly `N` of them. By a table, because every entry that is read has three
/// hashes.
pub(crate) fn array_from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let (mut out, mut seen) = ([0; N], 0);
    for (byte, [high, low]) in out.iter_mut().zip(pairs) {
        let (high, low) = (HEX[usize::from(*high)], HEX[usize::from(*low)]);
        seen |= high | low;
        *byte = (high << 4) | low;
    }
    (seen != NO_DIGIT).then_some(out)
}

/// In [`HEX`], where there is no digit: no number of digits gives it.
const NO_DIGIT: u8 = 0xff;

/// What each byte is as a lowercase hex digit.
const HEX: [u8; 256] = {
    let mut digits = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 10 {
        digits[(b'0' + digit) as usize] = digit;
        digit += 1;
    }
    while digit < 16 {
        digits[(b'a' + digit - 10) as usize] = digit;
        digit += 1;
    }
    digits
};

/// The 64 lowercase hex digits of a hash.
pub(crate) fn hex_digits(bytes: &[u8; 32]) -> [u8; 64] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut out = [0; 64];
    for (pair, byte) in out.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    out
}

/// A decimal without sign or leading zeros.
pub(crate) fn from_decimal(text: &str) -> Option<u64> {
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    if !plain {
        return None;
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn decimals_have_one_spelling() {
        let check = |text: &str, expect: Option<u64>| assert_eq!(from_decimal(text), expect, "{text:?}");
        check("0", Some(0));
        check("15", Some(15));
        check("18446744073709551615", Some(u64::MAX));
        for bad in ["", "00", "015", "+1", "-1", " 1", "1 ", "1\r", "0x1", "1e3", "18446744073709551616", "١"] {
            check(bad, None);
        }
    }

    #[test]
    fn base64_and_hex_have_one_spelling() {
        assert_eq!(from_base64("TQ=="), Some(b"M".to_vec()));
        for bad in ["TR==", "TQ", "TQ=", "TQ==\n", "T Q==", "TQ===", "-_-_", "TQ==TQ=="] {
            assert_eq!(from_base64(bad), None, "{bad:?}");
        }
        assert_eq!(array_from_hex::<2>("0aff"), Some([10, 255]));
        for bad in ["0aFF", "0af", "0aff00", "", "0x0a", "0a f"] {
            assert_eq!(array_from_hex::<2>(bad), None, "{bad:?}");
        }
        assert_eq!(array_from_base64::<1>("TQ=="), Some(*b"M"));
        assert_eq!(array_from_base64::<2>("TQ=="), None);
    }

    proptest! {
        #[test]
        fn what_decodes_is_what_encodes(text in "[A-Za-z0-9+/=]{0,48}") {
            if let Some(bytes) = from_base64(&text) {
                prop_assert_eq!(to_base64(&bytes), text);
            }
        }
    }
}
