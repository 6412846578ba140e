//! What wakes workers: one durable `JetStream` consumer for each kind of worker and tenant, shared by all processes that run this kind.
//!
//! A message is acknowledged when everything that it woke for is done and on record, so that whoever is killed in between is followed by whoever
//! comes next. It only wakes: the worker waits until the message is an entry, then acts on the change as the log has it, one change at a time.
//! Redelivery, messages for nothing and several processes do no harm, because acting twice is acting once ([`super::Shop::emit`]).
//!
//! Messages do not live for ever: roads are swept. So whoever starts looks at all changes that are under way, and does so again now and then; what
//! is due at a time ([`Next::Again`]) is kept in memory and comes back by that look after a restart.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::consumer::{AckPolicy, DeliverPolicy, pull};
use async_nats::jetstream::{self, AckKind, Message};
use futures::StreamExt as _;
use schemas::ids::{ChangeId, Tenant, stream_name};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Case, Next, RecordError, Shop, WorkError, Worker};

/// Changes that one kind of worker works on at once, in one process.
const AT_ONCE: usize = 16;
/// How long the server waits before it gives a message to another process; while we work we say so three times in between.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// After a failure: doubled with each, up to the most.
const RETRY: Duration = Duration::from_secs(2);
const RETRY_MOST: Duration = Duration::from_mins(5);
/// How often tenants are looked for that are new, and how long a road or a ledger that can't be read is left alone.
const LOOK: Duration = Duration::from_secs(2);
/// A server that says nothing for two of these is gone, or has forgotten what we asked for.
const HEARTBEAT: Duration = Duration::from_secs(5);
/// How long the server keeps a request for messages.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often all changes that are under way are looked at.
const ROUND: Duration = Duration::from_mins(5);

/// Runs workers until [`Shop::stop`] is cancelled, and returns when what they were doing is done. `client` may read the roads.
pub async fn run(client: Client, shop: Shop, workers: Vec<Arc<dyn Worker>>) {
    let mut all = JoinSet::new();
    for worker in workers {
        let desk = Arc::new(Desk {
            client: client.clone(),
            shop: shop.of(&*worker),
            worker,
            room: Arc::new(Semaphore::new(AT_ONCE)),
            busy: Mutex::default(),
            due: Mutex::default(),
            given_up: Mutex::default(),
        });
        all.spawn(desk.run());
    }
    while all.join_next().await.is_some() {}
}

/// A change of a tenant.
type Key = (Tenant, ChangeId);

/// One kind of worker in this process.
struct Desk {
    client: Client,
    shop: Shop,
    worker: Arc<dyn Worker>,
    room: Arc<Semaphore>,
    /// Who has a change in hand, so that nobody else of this process takes it.
    busy: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<()>>>>,
    /// When a change is to be looked at again, milliseconds.
    due: Mutex<BTreeMap<Key, u64>>,
    /// Changes that can't be read; that is on record.
    given_up: Mutex<BTreeSet<Key>>,
}

impl Desk {
    /// Listens to the roads of all tenants, also of those that come later.
    async fn run(self: Arc<Self>) {
        let mut listening = JoinSet::new();
        let mut known = BTreeSet::new();
        let stop = self.shop.stop.clone();
        loop {
            match self.shop.record.tenants().await {
                Ok(tenants) => {
                    for tenant in tenants {
                        if known.insert(tenant.clone()) {
                            listening.spawn(Arc::clone(&self).serve(tenant));
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(worker = self.worker.name(), %error, "which tenants there are can't be told");
                }
            }
            if !rest(&stop, LOOK).await {
                break;
            }
        }
        while listening.join_next().await.is_some() {}
    }

    /// One tenant: messages as they come, times as they fall due, and the look at all changes now and then.
    async fn serve(self: Arc<Self>, tenant: Tenant) {
        let stop = self.shop.stop.clone();
        let mut under_way = JoinSet::new();
        let mut messages = None;
        let mut round = tokio::time::interval(ROUND);
        let mut tick = tokio::time::interval(Duration::from_millis(250));
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while !stop.is_cancelled() {
            let Some(stream) = &mut messages else {
                match self.consumer(&tenant).await {
                    Ok(stream) => messages = Some(stream),
                    Err(error) => {
                        tracing::warn!(worker = self.worker.name(), %tenant, %error, "the road can't be read");
                        rest(&stop, LOOK).await;
                    }
                }
                continue;
            };
            tokio::select! {
                () = stop.cancelled() => break,
                // With no room, messages wait at the server, for whoever has some.
                (permit, message) = self.next(stream) => match message {
                    Some(Ok(message)) => drop(under_way.spawn(Arc::clone(&self).attend(tenant.clone(), message, permit))),
                    Some(Err(error)) => {
                        tracing::debug!(worker = self.worker.name(), %tenant, %error, "the consumer is asked for anew");
                        messages = None;
                        rest(&stop, RETRY).await;
                    }
                    None => messages = None,
                },
                _ = round.tick() => if !self.look_at_all(&tenant, &mut under_way).await {
                    round.reset_after(LOOK);
                },
                _ = tick.tick() => self.look_at_due(&tenant, &mut under_way),
                Some(_) = under_way.join_next() => {}
            }
        }
        // What is in hand is finished: whoever works long looks at `stop` itself.
        while under_way.join_next().await.is_some() {}
    }

    /// The next message, once there is room for it.
    async fn next(
        &self,
        stream: &mut pull::Stream,
    ) -> (Option<OwnedSemaphorePermit>, Option<Result<Message, pull::MessagesError>>) {
        let permit = Arc::clone(&self.room).acquire_owned().await.ok();
        (permit, stream.next().await)
    }

    /// The durable consumer, made where it is missing: from the oldest message on, since what was asked for before anybody worked is to be done too.
    async fn consumer(&self, tenant: &Tenant) -> Result<pull::Stream, async_nats::Error> {
        let phases = self.worker.listens_to().iter();
        let subjects = phases.flat_map(|phase| {
            let bare = format!("upm.events.{tenant}.{phase}");
            let of_producers = format!("{bare}.*");
            [bare, of_producers]
        });
        let config = pull::Config {
            durable_name: Some(format!("upm-work-{}", self.worker.name())),
            description: Some(format!("wakes the {} workers of UPM Ledger", self.worker.name())),
            deliver_policy: DeliverPolicy::All,
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            filter_subjects: subjects.collect(),
            // What is asked is in the log; here nobody needs to carry it.
            headers_only: true,
            ..pull::Config::default()
        };
        let stream = jetstream::new(self.client.clone()).get_stream_no_info(stream_name(tenant)).await?;
        let consumer = stream.create_consumer(config).await?;
        // A few at once: what this process holds and does not work on, nobody else does.
        let few = consumer.stream().max_messages_per_batch(AT_ONCE).heartbeat(HEARTBEAT).expires(EXPIRES);
        Ok(few.messages().await?)
    }

    /// Does what a message woke for, and acknowledges it.
    async fn attend(self: Arc<Self>, tenant: Tenant, message: Message, _room: Option<OwnedSemaphorePermit>) {
        let Ok((sequence, delivered)) = message.info().map(|info| (info.stream_sequence, info.delivered)) else {
            return;
        };
        // Not at once, for what is done in a moment. It may have waited here for a while, so soon.
        let soon = tokio::time::Instant::now() + Duration::from_secs(1);
        let mut alive = tokio::time::interval_at(soon, ACK_WAIT / 3);
        let work = self.woken(&tenant, sequence);
        tokio::pin!(work);
        let done = loop {
            tokio::select! {
                done = &mut work => break done,
                _ = alive.tick() => drop(message.ack_with(AckKind::Progress).await),
            }
        };
        let answered = match done {
            // Nobody waits for the server to confirm it: what is lost comes again, and there is nothing due then.
            Ok(()) => message.ack().await,
            Err(error) => {
                tracing::warn!(worker = self.worker.name(), %tenant, sequence, %error, "not done; it is tried again");
                message.ack_with(AckKind::Nak(Some(retry_after(delivered)))).await
            }
        };
        if let Err(error) = answered {
            tracing::debug!(worker = self.worker.name(), %tenant, sequence, %error, "the message will come again");
        }
    }

    async fn woken(&self, tenant: &Tenant, sequence: u64) -> Result<(), WorkError> {
        match self.shop.record.decided(tenant, sequence).await? {
            Some(change) => self.act_or_give_up(tenant, &change).await,
            None => Ok(()),
        }
    }

    /// Acts on a change. One that is too large to be read does not become smaller: that is recorded, once, and nobody is woken for it again and again.
    async fn act_or_give_up(&self, tenant: &Tenant, change: &ChangeId) -> Result<(), WorkError> {
        let why = match self.act(tenant, change).await {
            Err(WorkError::Record(RecordError::TooLarge(why))) => why,
            done => return done,
        };
        let key = (tenant.clone(), change.clone());
        // Before it is said: other messages of the change are in hand, too.
        if !lock(&self.given_up).insert(key.clone()) {
            return Ok(());
        }
        tracing::warn!(worker = self.worker.name(), %tenant, %change, %why, "nothing more is done about this change");
        let said = self.shop.give_up(tenant, change, &why).await;
        if said.is_err() {
            lock(&self.given_up).remove(&key);
        }
        said
    }

    /// Acts on a change as it stands, alone.
    async fn act(&self, tenant: &Tenant, change: &ChangeId) -> Result<(), WorkError> {
        let key = (tenant.clone(), change.clone());
        let turn = Arc::clone(lock(&self.busy).entry(key.clone()).or_default());
        let done = {
            let _alone = turn.lock().await;
            lock(&self.due).remove(&key);
            match Case::read(&*self.shop.record, tenant, change).await {
                Ok(case) if case.entries.is_empty() => Ok(Next::Nothing),
                Ok(case) => {
                    let began = tokio::time::Instant::now();
                    let done = self.worker.act(&self.shop, &case).await;
                    // What is given up because work is to end is no failure.
                    let succeeded = done.is_ok() || self.shop.stop.is_cancelled();
                    self.shop.tally.case(self.worker.name(), began.elapsed(), succeeded);
                    done
                }
                Err(error) => Err(error.into()),
            }
        };
        drop(turn);
        let mut busy = lock(&self.busy);
        if busy.get(&key).is_some_and(|turn| Arc::strong_count(turn) == 1) {
            busy.remove(&key);
        }
        drop(busy);
        if let Next::Again { at_ms } = done? {
            lock(&self.due).insert(key, at_ms);
        }
        Ok(())
    }

    /// The same where no message stands behind it: a failure comes back with a time.
    async fn look(self: Arc<Self>, tenant: Tenant, change: ChangeId) {
        let Ok(_room) = Arc::clone(&self.room).acquire_owned().await else { return };
        if let Err(error) = self.act_or_give_up(&tenant, &change).await {
            tracing::warn!(worker = self.worker.name(), %tenant, %change, %error, "not done; it is tried again");
            let at_ms = self.shop.now_ms().saturating_add(u64::try_from(RETRY_MOST.as_millis()).unwrap_or(u64::MAX));
            lock(&self.due).insert((tenant, change), at_ms);
        }
    }

    /// False where the ledger could not be asked, as when its views are being opened.
    async fn look_at_all(self: &Arc<Self>, tenant: &Tenant, under_way: &mut JoinSet<()>) -> bool {
        match self.shop.record.open(tenant).await {
            Ok(changes) => {
                let beside = self.worker.beside(&self.shop, tenant);
                for change in changes.into_iter().chain(beside).collect::<BTreeSet<_>>() {
                    under_way.spawn(Arc::clone(self).look(tenant.clone(), change));
                }
                true
            }
            Err(error) => {
                tracing::warn!(worker = self.worker.name(), %tenant, %error, "which changes are under way can't be told");
                false
            }
        }
    }

    fn look_at_due(self: &Arc<Self>, tenant: &Tenant, under_way: &mut JoinSet<()>) {
        let now_ms = self.shop.now_ms();
        let mut due = lock(&self.due);
        let is_due = |(key, at_ms): (&Key, &u64)| (key.0 == *tenant && *at_ms <= now_ms).then(|| key.clone());
        let now: Vec<Key> = due.iter().filter_map(is_due).collect();
        for key in now {
            due.remove(&key);
            under_way.spawn(Arc::clone(self).look(key.0, key.1));
        }
    }
}

/// Waits, unless work is to end. False if it is.
async fn rest(stop: &CancellationToken, time: Duration) -> bool {
    tokio::select! {
        () = stop.cancelled() => false,
        () = tokio::time::sleep(time) => true,
    }
}

fn retry_after(delivered: i64) -> Duration {
    // No more than it takes to reach the most.
    let doublings = u32::try_from(delivered.clamp(1, 17) - 1).unwrap_or_default();
    RETRY.saturating_mul(1 << doublings).min(RETRY_MOST)
}

/// A lock whose holder panicked still guards plain values.
fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_tried_again_ever_later() {
        for (delivered, seconds) in [(0, 2), (1, 2), (2, 4), (5, 32), (9, 300), (i64::MAX, 300)] {
            assert_eq!(retry_after(delivered), Duration::from_secs(seconds), "{delivered}");
        }
    }
}
