//! Bodies that are written while they are sent. What breaks off has no end, so that nobody takes it for whole.

use std::io::{self, Write};

use axum::body::Body;
use bytes::Bytes;
use tokio::sync::mpsc;

/// Bytes handed to the connection at once, and how many of these may wait.
pub const PIECE_BYTES: usize = 256 * 1024;
const PIECES_AHEAD: usize = 4;

/// A piece of a body, or why there is no more of it.
type Piece = io::Result<Bytes>;

/// A body that `make` writes, on a thread of its own. Where it fails the client sees a connection that breaks off, never an end.
pub fn body(make: impl FnOnce(Connection) -> io::Result<()> + Send + 'static) -> Body {
    let (pieces, receiver) = mpsc::channel(PIECES_AHEAD);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = make(Connection(pieces.clone())) {
            // Nobody is left to tell where the client went away.
            let _ = pieces.blocking_send(Err(error));
        }
    });
    received(receiver)
}

/// A body of pieces that come from elsewhere.
pub fn received(receiver: mpsc::Receiver<Piece>) -> Body {
    Body::from_stream(futures::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((piece, receiver))
    }))
}

/// Hands what is written to a connection, and waits where it is slow.
pub struct Connection(mpsc::Sender<Piece>);

impl Write for Connection {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let bytes = &bytes[..bytes.len().min(PIECE_BYTES)];
        let sent = self.0.blocking_send(Ok(Bytes::copy_from_slice(bytes)));
        sent.map_err(|_| io::Error::new(io::ErrorKind::BrokenPipe, "the client went away"))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
