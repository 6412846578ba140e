//! What the server says of itself: structured lines on standard error. Level and targets by `UPM_LOG` (default `info`).
//!
//! Nothing that a producer sent and no key is ever logged: fields are ids, counts, reasons and paths. What URLs hold of users and passwords is taken out.

use std::io::{self, IsTerminal as _};

use tracing_subscriber::EnvFilter;

use crate::cli::say;
use crate::{env, redact};

/// Sets the process's log up; JSON lines if asked for.
pub fn init(json: bool) {
    let asked = env::var("UPM_LOG");
    let filter = asked.as_deref().unwrap_or("info,async_nats=warn");
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|error| {
        say(&format!("upm: UPM_LOG is ignored: {error}"));
        EnvFilter::new("info")
    });
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| redact::Stderr);
    let done = if json {
        log.json().try_init()
    } else {
        let colours = io::stderr().is_terminal() && env::var("NO_COLOR").is_none();
        log.with_ansi(colours).with_target(false).try_init()
    };
    if let Err(error) = done {
        say(&format!("upm: no log: {error}"));
    }
}
