//! Evidence packs as a stranger meets them: honest ones verify; whatever is done to one is refuted by the check that is meant for
//! it, and never passes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod approved;
mod attacks;
mod command;
mod examples;
mod foreign;
mod honest;
mod kept;
mod kinds;
mod later;
mod mutations;
mod population;
mod populations;
mod reconciled;
mod sampled;
mod shown;
mod witnessed;
mod world;
mod zips;
