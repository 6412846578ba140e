//! Keys in `keys/`.
