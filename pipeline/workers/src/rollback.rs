//! Taking back what was done. UPM v2, F5. Pure: what a machine has and what commands answered come in as data.
//!
//! - [`Way::of`]: what has to be taken back, in the reverse order of what was really done, by the commands of the plan that was approved;
//! - [`Way::dry_run`]: proves that each command parses, is let through by the guard, exists, and is of the pinned version;
//! - [`Way::next`]: the next step on the way, given what is recorded of it, and [`Undo::decide`] what its check means;
//! - [`Way::outcome`]: what stands and what does not when it is over;
//! - [`event`]: what is said of it.
//!
//! Left out: running commands, waiting, and whether a rollback is due at all ([`crate::course::due`]).

mod dry_run;
pub mod event;
mod options;
mod walk;
mod way;

pub use dry_run::{DryRun, Machine, Proof, ToolFound, pipeline};
pub use options::{Automatic, Options};
pub use walk::{Decision, Next, Outcome};
pub use way::{NoWay, Undo, Way};

#[cfg(test)]
mod tests;
