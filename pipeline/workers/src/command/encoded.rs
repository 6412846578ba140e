//! How a secret may look in what a command writes: as it is, in Base64, alone or within something longer (as in `Authorization: Basic`), and percent-encoded.
//!
//! Left out: Base64 that is wrapped into several lines, and whatever else a program may make of it. Masking is a net, not a wall.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};

/// A shorter piece of Base64 would be found in every other word.
const PIECE_MIN: usize = 6;

/// All forms of a secret that are looked for. One of several lines only has those that stand in one.
pub(super) fn forms(secret: &str) -> Vec<String> {
    let mut forms = Vec::new();
    if !secret.contains(['\n', '\r']) {
        forms.push(secret.to_owned());
    }
    forms.extend([&STANDARD, &STANDARD_NO_PAD, &URL_SAFE, &URL_SAFE_NO_PAD].map(|alphabet| alphabet.encode(secret)));
    for offset in 0..3 {
        let within = [&[0; 3][..offset], secret.as_bytes()].concat();
        // The characters that the secret alone decides.
        let (from, to) = ((8 * offset).div_ceil(6), 8 * within.len() / 6);
        let pieces = [&STANDARD_NO_PAD, &URL_SAFE_NO_PAD].map(|alphabet| alphabet.encode(&within));
        forms.extend(pieces.into_iter().filter_map(|piece| piece.get(from..to).map(str::to_owned)));
    }
    for kept in ["-._~", "-._~!*'()"] {
        for upper in [true, false] {
            let encoded = percent(secret, kept, upper);
            // As forms are sent.
            forms.push(encoded.replace("%20", "+"));
            forms.push(encoded);
        }
    }
    forms.retain(|form| form.len() >= PIECE_MIN);
    forms
}

/// Percent-encoded but for letters, digits and `kept` (RFC 3986, 2.3; `encodeURIComponent` keeps more).
fn percent(secret: &str, kept: &str, upper: bool) -> String {
    let encode = |byte: u8| match byte {
        b if b.is_ascii_alphanumeric() || kept.contains(char::from(b)) => char::from(b).to_string(),
        b if upper => format!("%{b:02X}"),
        b => format!("%{b:02x}"),
    };
    secret.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::Capture;
    use super::*;

    fn masked(secret: &str, line: &str) -> String {
        let mut capture = Capture::hiding(&[secret.to_owned()]);
        capture.push(line.as_bytes());
        capture.finish().text
    }

    #[test]
    fn a_secret_is_masked_however_it_is_encoded() {
        let secret = "correct horse/battery+staple?";
        for line in [
            "correct horse/battery+staple?",
            "Y29ycmVjdCBob3JzZS9iYXR0ZXJ5K3N0YXBsZT8=",
            "Y29ycmVjdCBob3JzZS9iYXR0ZXJ5K3N0YXBsZT8",
            "correct%20horse%2Fbattery%2Bstaple%3F",
            "correct%20horse%2fbattery%2bstaple%3f",
            "correct+horse%2Fbattery%2Bstaple%3F",
        ] {
            assert_eq!(masked(secret, &format!("x={line};")), "x=[masked:credential];", "{line}");
        }
        let basic = STANDARD.encode(format!("upm:{secret}:x"));
        let shown = masked(secret, &format!("auth: {basic}"));
        assert!(shown.contains("[masked:credential]") && !shown.contains(&basic[8..40]), "{shown}");
        let file = "line one of a key\nline two of a key\n";
        assert_eq!(masked(file, &format!("k {}", STANDARD.encode(file.trim()))), "k [masked:credential]");
        assert_eq!(masked("abc", "abc YWJj"), "abc YWJj", "what is too short is not looked for");
    }

    proptest! {
        #[test]
        fn no_alignment_leaves_more_than_a_rest(secret in "[ -~]{8,40}", before in "[a-z]{0,7}", after in "[a-z]{0,7}") {
            let secret = secret.trim().to_owned();
            prop_assume!(secret.len() >= 8);
            let text = format!("{before}{secret}{after}");
            for encoded in [STANDARD.encode(&text), URL_SAFE_NO_PAD.encode(&text)] {
                let shown = masked(&secret, &encoded);
                let from = (8 * before.len()).div_ceil(6);
                let core = &encoded[from..8 * (before.len() + secret.len()) / 6];
                prop_assert!(!shown.contains(core), "{core} in {shown}");
            }
        }
    }
}
