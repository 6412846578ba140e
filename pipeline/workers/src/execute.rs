//! Execute: which step of a plan is due, whether it may run again, and what is said about it. UPM v2, F3. Pure: the change's events and the clock come
//! in, starts and sections of events come out.
//!
//! - [`options`]: `[execute]` of the configuration;
//! - [`environment`]: which variables may reach a command;
//! - [`credentials`]: what a helper hands over for one step;
//! - [`class`]: what an exit means, whether it is tried again, and when;
//! - [`tls`]: the one retry after a certificate error;
//! - [`steps`]: the stored plan as steps in waves;
//! - [`progress`]: what the events of an attempt say was done;
//! - [`due`]: what comes next;
//! - [`gate`]: whether it may still start;
//! - [`event`]: what is said.
//!
//! Left out: running anything (`pipeline`), and whether the plan may run at all (`preflight`).

pub mod class;
pub mod credentials;
pub mod due;
pub mod environment;
pub mod event;
pub mod gate;
pub mod options;
pub mod progress;
pub mod steps;
pub mod tls;

pub use class::{Class, Exit};
pub use due::{Due, Start, Why};
pub use options::ExecuteOptions;
pub use progress::{Past, Progress, State};
pub use steps::{Runnable, Wave};
