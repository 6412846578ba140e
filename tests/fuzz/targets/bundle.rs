//! Evidence of others inside events: whatever looks like it is told of, and nothing made up is ever signed.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use projector::foreign::{ForeignKey, Standing, of};

static KEYS: LazyLock<Vec<(String, ForeignKey)>> = LazyLock::new(|| {
    let key = |name: &str, pem| (name.to_owned(), ForeignKey::parse(pem).expect("a key"));
    vec![
        key("cosign", include_str!("../../../projector/testdata/foreign/sigstore-v0.3-managed-key.pub")),
        key("chainloop", include_str!("../../../projector/testdata/foreign/dsse-chainloop-attestation.pub")),
    ]
});

/// What the real evidence is about: nobody else's signature is to be had.
const GENUINE: [&str; 2] = ["sha256:a0cfc71271d6e278e57cd332ff957c3f7043fdda354c4cbb190a30d56efa01bf", "chainloop.workflow.mywf sha256:b81726b02d6e"];

fuzz_target!(|payload: &[u8]| {
    let found = of(1, payload, &KEYS);
    for foreign in &found {
        assert!(foreign.pointer.is_empty() || foreign.pointer.starts_with('/'));
        assert!(!foreign.sentence().is_empty());
        if let Standing::Signed { .. } = foreign.standing {
            assert!(GENUINE.iter().any(|about| foreign.about[0].starts_with(about)), "{foreign:?}");
        }
    }
    let unchecked = of(1, payload, &[]);
    assert_eq!(found.len(), unchecked.len());
    assert!(unchecked.iter().all(|foreign| !matches!(foreign.standing, Standing::Signed { .. } | Standing::Bad { .. })));
    if let Ok(text) = std::str::from_utf8(payload)
        && let Ok(key) = ForeignKey::parse(text)
    {
        assert_eq!(ForeignKey::parse(&key.to_base64()), Ok(key));
    }
});
