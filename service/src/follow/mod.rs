//! Following another copy of the ledger: where it is copied from, who is waited for.

mod followers;
mod source;
mod vkeys;

pub use followers::Followers;
pub use source::HttpSource;
pub use vkeys::read_vkeys;
