//! The `intake` thread: one current-thread runtime that follows all roads over one connection.

use std::sync::Arc;
use std::thread::JoinHandle;

use async_nats::{Client, Event};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;

use crate::batch::{Answers, Arrived};
use crate::config::{Disk, Sweep};
use crate::road::{Access, Follower};
use crate::running::StartError;
use crate::server::ChildHandle;
use crate::shared::{Common, TenantState};
use crate::streams::StreamLimits;
use crate::sweep::Sweeper;
use crate::target::{ConnectError, NatsTarget};

/// Tells once whether the thread is connected.
pub(crate) type Connected = oneshot::Receiver<Result<(), ConnectError>>;

/// What the intake is given.
pub(crate) struct Intake {
    pub(crate) target: NatsTarget,
    pub(crate) limits: StreamLimits,
    pub(crate) common: Arc<Common>,
    pub(crate) to_admit: mpsc::Sender<Arrived>,
    pub(crate) to_answer: mpsc::Sender<Answers>,
    /// Roads to follow from now on.
    pub(crate) roads: mpsc::UnboundedReceiver<Arc<TenantState>>,
    pub(crate) stop: watch::Receiver<bool>,
    pub(crate) sweep: Sweep,
    pub(crate) disk: Option<Disk>,
    pub(crate) child: Option<ChildHandle>,
}

impl Intake {
    /// Starts the thread; the receiver tells when it is connected.
    pub(crate) fn start(self) -> Result<(JoinHandle<()>, Connected), StartError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(StartError::Thread)?;
        let (connected, receiver) = oneshot::channel();
        let thread = std::thread::Builder::new().name("intake".into());
        let thread = thread.spawn(move || runtime.block_on(self.run(connected))).map_err(StartError::Thread)?;
        Ok((thread, receiver))
    }

    async fn run(self, connected: oneshot::Sender<Result<(), ConnectError>>) {
        let (broke, breaks) = watch::channel(0);
        let client = match connect(&self.target, broke).await {
            Ok(client) => client,
            Err(error) => return drop(connected.send(Err(error))),
        };
        let _ = connected.send(Ok(()));
        let Self { limits, common, to_admit, to_answer, mut roads, mut stop, sweep: policy, disk, child, .. } = self;
        let mut followers = JoinSet::new();
        let (known, watched) = watch::channel(Vec::new());
        let sweeper = Sweeper { client: client.clone(), policy, common: Arc::clone(&common), roads: watched };
        followers.spawn(sweeper.run());
        if let Some(disk) = disk {
            followers.spawn(crate::watch::disk(disk, Arc::clone(&common)));
        }
        if let Some(child) = child {
            followers.spawn(crate::watch::child(child, Arc::clone(&common)));
        }
        let access = Access { client, limits, common, to_admit, to_answer, breaks };
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                next = roads.recv() => match next {
                    Some(state) => {
                        known.send_modify(|roads: &mut Vec<_>| roads.push(Arc::clone(&state)));
                        followers.spawn(Follower::new(state, access.clone()).follow());
                    }
                    None => return,
                },
            }
        }
    }
}

/// A connection that counts how often it broke: each time, every road has to be identified again.
async fn connect(target: &NatsTarget, broke: watch::Sender<u64>) -> Result<Client, ConnectError> {
    let broke = Arc::new(broke);
    let count = move |event| {
        let broke = Arc::clone(&broke);
        async move {
            if event == Event::Disconnected {
                broke.send_modify(|breaks| *breaks += 1);
            }
        }
    };
    target.connect_with("upm intake", |options| options.event_callback(count)).await
}
