//! Connections, taken and answered. `axum::serve` does not say how long a request's headers may take to arrive: whoever sends them slowly, or never, would hold a
//! connection as long as he likes. What a body may take is `body_time`'s.

use std::io;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::serve::Listener;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Answers requests, whose headers have to arrive within `header_time` each, until `stopped` says so; then what was asked is answered still. A connection on
/// which nothing is asked for so long is closed, too.
pub async fn answer<L>(
    mut listener: L,
    router: Router,
    header_time: Duration,
    mut stopped: watch::Receiver<bool>,
) -> io::Result<()>
where
    L: Listener,
    L::Io: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            () = said(&mut stopped) => break,
            (stream, _) = listener.accept() => {
                drop(connections.spawn(one(stream, router.clone(), header_time, stopped.clone())));
            }
            Some(_) = connections.join_next() => {}
        }
    }
    // Nobody new is let in.
    drop(listener);
    while connections.join_next().await.is_some() {}
    Ok(())
}

async fn one<S>(stream: S, router: Router, header_time: Duration, mut stopped: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(router);
    let mut settings = http1::Builder::new();
    settings.timer(TokioTimer::new()).header_read_timeout(header_time);
    let mut connection = pin!(settings.serve_connection(TokioIo::new(stream), service));
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = said(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        // The other side left, or was left.
        tracing::debug!(%error, "a connection ended");
    }
}

/// Returns when it is to stop, or whoever could say so is gone.
async fn said(stopped: &mut watch::Receiver<bool>) {
    drop(stopped.wait_for(|stop| *stop).await);
}
