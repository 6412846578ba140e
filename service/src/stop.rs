//! Being told to stop: the first Ctrl-C or SIGTERM drains, the second one hurries.

use std::io;

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::cli::say;

/// Listens for the signals that end a server.
pub struct Stop {
    interrupt: Signal,
    terminate: Signal,
}

impl Stop {
    /// From now on the signals are ours. Needs a tokio runtime.
    pub fn listen() -> io::Result<Self> {
        Ok(Self { interrupt: signal(SignalKind::interrupt())?, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for the next of them, and gives its name.
    pub async fn wait(&mut self) -> &'static str {
        tokio::select! {
            _ = self.interrupt.recv() => "Ctrl-C",
            _ = self.terminate.recv() => "SIGTERM",
        }
    }

    /// Ends the process at once at the next signal. What is durable stays so; the child server goes with us.
    pub fn hurry(mut self) {
        tokio::spawn(async move {
            let name = self.wait().await;
            say(&format!("upm: {name} again: stopping at once; the next start takes up what was not drained"));
            std::process::exit(2);
        });
    }
}
