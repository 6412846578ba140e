//! The clock and the randomness of the process. Everything else is given them as functions, so that it can be tested
//! and replayed; `clippy.toml` bans them elsewhere.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::cli::say;

/// A source of the time, in milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;
/// A source of unpredictable bytes, which fills the slice it is given.
pub type Entropy = Arc<dyn Fn(&mut [u8]) + Send + Sync>;

/// The wall clock: milliseconds since 1970; 0 for a clock set before that.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the wall clock")]
pub fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

/// The monotonic clock, for waits and durations.
#[expect(clippy::disallowed_methods, reason = "the one place that reads the monotonic clock")]
pub fn now() -> Instant {
    Instant::now()
}

/// Fills `bytes` from the operating system, or says why it can't.
#[expect(clippy::disallowed_methods, reason = "the one place that draws randomness")]
pub fn fill(bytes: &mut [u8]) -> Result<(), getrandom::Error> {
    getrandom::fill(bytes)
}

/// The wall clock as a function to pass on.
pub fn clock() -> Clock {
    Arc::new(unix_ms)
}

/// The monotonic clock as a function to pass on.
pub fn stopwatch() -> Arc<dyn Fn() -> Duration + Send + Sync> {
    let start = now();
    Arc::new(move || start.elapsed())
}

/// The operating system's randomness as a function to pass on. It is tried once here, so that a system without any is
/// refused before anything starts.
pub fn entropy() -> Result<Entropy, getrandom::Error> {
    fill(&mut [0; 16])?;
    Ok(Arc::new(|bytes| {
        if let Err(error) = fill(bytes) {
            // A salt that can be guessed would break every commitment made from here on, and silently: stop instead.
            say(&format!("upm: the operating system gives no randomness any more: {error}"));
            std::process::abort();
        }
    }))
}
