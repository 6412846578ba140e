//! The async shell: from a `JetStream` road into a signed log, its answers and its views.
//!
//! Four threads in a row, joined by short channels of batches moved by value: `intake` (one current-thread runtime) → `admit` →
//! `append` → `project`, with `answer` beside `project`. `append` is the only one that writes the ledger; a round's answers and
//! views follow its synced write. Each thread carries its name, so that its CPU time can be read from `/proc`.
//!
//! Left out: what an event is (`schemas`), what an entry is (`ledger`), what state a change is in (`projector`), where keys and
//! flags come from and what HTTP looks like (`service`). Formats: FORMATS "Subjects and streams" (stream, answers, cursors).

pub mod answer;
pub mod objects;
pub mod produce;
pub mod server;
pub mod stats;
pub mod streams;
pub mod work;

mod admit;
mod append;
mod batch;
mod config;
mod follow;
mod heartbeat;
mod intake;
mod kept;
mod project;
mod pull;
mod reply;
mod road;
mod running;
mod shared;
mod sweep;
mod target;
mod watch;

pub use config::{
    Clock, Config, Disk, Entropy, FindSigner, Followers, NewestCosigned, Signing, Stopwatch, Sweep, TenantSetup,
};
pub use follow::{DedupeKeys, Finder, FollowConfig, Following, Reporter, Standing, follow};
pub use kept::{KeepError, KeptHeads};
pub use running::{Running, StartError, start};
pub use shared::{Health, Progress};
pub use target::{ConnectError, NatsAuth, NatsTarget, Refusals};
