//! What commands write: masked as it comes, in memory as far as an event carries it, in a file beyond.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::sync::{Notify, watch};
use workers::command::{Capture, KEPT_BYTES};

use super::Captured;

/// Where one output goes.
pub(super) struct Sink {
    capture: Capture,
    /// Bytes that may still come.
    room: u64,
    path: Option<PathBuf>,
    /// Masked, as long as it fits into an event.
    short: String,
    file: Option<File>,
}

impl Sink {
    pub(super) fn new(secrets: &[String], keep: Option<&Path>, name: &str, room: u64) -> Self {
        let capture = Capture::hiding(secrets);
        let path = keep.map(|keep| keep.with_added_extension(name));
        let capture = if path.is_some() { capture.handing_over() } else { capture };
        Self { capture, room, path, short: String::new(), file: None }
    }

    /// Takes what there is room for; false where something had none.
    fn push(&mut self, chunk: &[u8]) -> io::Result<bool> {
        let taken = chunk.len().min(usize::try_from(self.room).unwrap_or(usize::MAX));
        self.room -= taken as u64;
        self.capture.push(&chunk[..taken]);
        self.spill()?;
        Ok(taken == chunk.len())
    }

    fn spill(&mut self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let masked = self.capture.take();
        if let Some(file) = &mut self.file {
            return file.write_all(masked.as_bytes());
        }
        self.short.push_str(&masked);
        // At half of it the capture begins to drop what neither of its ends holds.
        if self.short.len() > KEPT_BYTES / 2 {
            // Left behind by a run that was killed, it is of no use.
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
            self.file.insert(file).write_all(std::mem::take(&mut self.short).as_bytes())?;
        }
        Ok(())
    }

    fn finish(mut self) -> io::Result<Captured> {
        self.capture.end();
        self.spill()?;
        let output = self.capture.finish();
        let Some(path) = self.path.filter(|_| self.file.is_some()) else {
            return Ok(Captured { output, whole: None });
        };
        if output.truncated {
            return Ok(Captured { output, whole: Some(path) });
        }
        std::fs::remove_file(path)?;
        Ok(Captured { output, whole: None })
    }
}

/// Reads to the end, or until `silence` after everybody who should write has ended. What has no room is read and dropped, so that whoever
/// is asked to end does not hang in a full pipe.
pub(super) async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut sink: Sink,
    too_much: Arc<Notify>,
    mut ended: watch::Receiver<bool>,
    silence: Duration,
) -> io::Result<Captured> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let over = *ended.borrow_and_update();
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            changed = ended.changed(), if !over => match changed {
                Ok(()) => continue,
                // The run was given up.
                Err(_) => 0,
            },
            () = tokio::time::sleep(silence), if over => 0,
        };
        if read == 0 {
            return sink.finish();
        }
        // A file in the page cache: short enough for a runtime's thread.
        if !sink.push(&buffer[..read])? {
            too_much.notify_one();
        }
    }
}
