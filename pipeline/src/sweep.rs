//! Sweeping: messages that are in the log leave the road.
//!
//! What may go is decided in one pure function: only what is committed and answered, what every known follower has, and what is
//! old enough; never the message at the cursor, by which the road is recognised after every connect. A road that is nearly full does
//! not wait for the age. Each sweep first makes sure that the road is still the one that the cursor speaks of. A road that stays
//! full says so: its producers are refused until somebody acts. DESIGN §4 ("On the road") and §5.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::stream::{Info, PurgeErrorKind, Stream};
use ledger::layout::LogId;
use schemas::ids;
use tokio::sync::watch;

use crate::config::Sweep;
use crate::road::{found_message, holds};
use crate::shared::{Common, Position, TenantState};
use crate::stats::StreamStats;

/// Between two rounds over all roads; more of them are looked at less often.
const ROUND: Duration = Duration::from_secs(1);
const ROUND_PER_ROAD: Duration = Duration::from_millis(5);
/// How often the ages of messages are looked at, as a part of how old they must be.
const AGE_PARTS: u32 = 200;
const AGE_ROUND_MAX: Duration = Duration::from_mins(5);
/// Of a hundred parts of its limit: above the first a road is swept whatever the age, above the second it is called full.
const NEARLY_FULL: u64 = 80;
const FULL: u64 = 97;

/// All that decides up to where a road may be swept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Standing {
    /// The cursor: everything up to here is durable.
    committed: u64,
    /// Everything up to here was answered.
    answered: u64,
    /// Everything up to here every known follower has; none where nobody follows.
    followed: Option<u64>,
    /// The first message that is too young to go; none where age does not count.
    young: Option<u64>,
}

/// The oldest sequence that has to stay.
fn keep_from(standing: Standing) -> u64 {
    let Standing { committed, answered, followed, young } = standing;
    let unheard = answered.saturating_add(1);
    let unfollowed = followed.map_or(u64::MAX, |sequence| sequence.saturating_add(1));
    committed.min(unheard).min(unfollowed).min(young.unwrap_or(u64::MAX))
}

/// Sweeps all roads, one after the other.
pub(crate) struct Sweeper {
    pub(crate) client: async_nats::Client,
    pub(crate) policy: Sweep,
    pub(crate) common: Arc<Common>,
    pub(crate) roads: watch::Receiver<Vec<Arc<TenantState>>>,
}

impl Sweeper {
    /// Sweeps until it is dropped.
    pub(crate) async fn run(mut self) {
        let mut aged: BTreeMap<LogId, Duration> = BTreeMap::new();
        loop {
            let roads = self.roads.borrow_and_update().clone();
            for road in &roads {
                if let Err(reason) = self.look_after(road, &mut aged).await {
                    tracing::debug!(tenant = %road.tenant, %reason, "the road was not swept");
                }
            }
            let pause = ROUND + ROUND_PER_ROAD * u32::try_from(roads.len()).unwrap_or(u32::MAX).min(10_000);
            tokio::time::sleep(pause).await;
        }
    }

    async fn look_after(&self, road: &TenantState, aged: &mut BTreeMap<LogId, Duration>) -> Result<(), String> {
        // Nobody follows it now: whether it is still the same one is not known.
        let Some(place) = road.followed() else { return Ok(()) };
        let Some(stream) = self.same_stream(place).await? else { return Ok(()) };
        Self::note(road, stream.cached_info());
        let info = stream.cached_info();
        let pressed = used_percent(info) >= NEARLY_FULL;
        let now = (self.common.stopwatch)();
        let age_round = (self.policy.after / AGE_PARTS).min(AGE_ROUND_MAX);
        let due = aged.get(&road.log).is_none_or(|last| now.saturating_sub(*last) >= age_round);
        if !pressed && !due {
            return Ok(());
        }
        aged.insert(road.log, now);
        let from = self.sweep(road, &stream, pressed).await?;
        if used_percent(info) >= FULL {
            let info = stream.get_info().await.map_err(|error| error.to_string())?;
            Self::note(road, &info);
            self.say_if_full(road, &info, from);
        } else {
            self.common.troubles.clear(&who(road));
        }
        Ok(())
    }

    /// The stream, if it is the one that the road's follower reads.
    async fn same_stream(&self, place: Place) -> Result<Option<Stream>, String> {
        let context = jetstream::new(self.client.clone());
        let stream = context.get_stream(&place.stream).await.map_err(|error| error.to_string())?;
        let created_ns = stream.cached_info().created.unix_timestamp_nanos();
        Ok((created_ns == i128::from(place.created_ns)).then_some(stream))
    }

    /// Removes what may go, and gives the oldest sequence that had to stay.
    async fn sweep(&self, road: &TenantState, stream: &Stream, pressed: bool) -> Result<u64, String> {
        let Position { cuts, cursor } = road.committed();
        let answered = road.answered(cuts);
        let followed = (self.policy.followers)(&road.tenant);
        let standing = Standing { committed: cursor.sequence, answered, followed, young: None };
        let state = &stream.cached_info().state;
        let most = keep_from(standing);
        if most <= state.first_sequence.max(1) {
            return Ok(most);
        }
        // What the follower reads and what was committed may be of two roads for a moment.
        let same =
            road.followed().is_some_and(|place| place.cuts == cuts && place.created_ns == cursor.stream_created_ns);
        if !same || !holds(stream, &road.dedupe, &cursor).await? {
            return Err("the cursor's message is not on it".to_owned());
        }
        let young = if pressed { None } else { self.first_young(stream, most).await? };
        let from = keep_from(Standing { young, ..standing });
        if from > state.first_sequence.max(1) {
            self.purge(road, stream, from).await?;
        }
        Ok(from)
    }

    async fn purge(&self, road: &TenantState, stream: &Stream, from: u64) -> Result<(), String> {
        let who = format!("sweep {}", road.tenant);
        match stream.purge().sequence(from).await {
            Ok(purged) => {
                self.common.troubles.clear(&who);
                road.counters.swept(purged.purged);
                tracing::debug!(tenant = %road.tenant, from, messages = purged.purged, "the road was swept");
                Ok(())
            }
            // The server writes when it removes, so this is where a disk that takes nothing shows.
            Err(error) => {
                if let PurgeErrorKind::JetStream(api) = error.kind() {
                    self.common.troubles.set(&who, format!("tenant {}: the road can't be swept: {api}", road.tenant));
                }
                Err(error.to_string())
            }
        }
    }

    /// The first message before `end` that is too young to be swept: none if all are old enough. Found by halving, because a road
    /// is ordered by time.
    async fn first_young(&self, stream: &Stream, end: u64) -> Result<Option<u64>, String> {
        if self.policy.after.is_zero() {
            return Ok(None);
        }
        let after_ms = u64::try_from(self.policy.after.as_millis()).unwrap_or(u64::MAX);
        let old_ms = i128::from((self.common.clock)().saturating_sub(after_ms));
        let state = &stream.cached_info().state;
        if state.first_timestamp.unix_timestamp_nanos() / 1_000_000 > old_ms {
            return Ok(Some(state.first_sequence));
        }
        // All before `old` are old enough; `young` is too young, or the end.
        let (mut old, mut young) = (state.first_sequence, end);
        while old < young {
            let middle = old + (young - old) / 2;
            let found = stream.get_first_raw_message_by_subject(">", middle).await;
            match found_message(found)? {
                Some(message) if message.sequence < young => {
                    if message.time.unix_timestamp_nanos() / 1_000_000 > old_ms {
                        young = middle;
                    } else {
                        old = message.sequence + 1;
                    }
                }
                // Nothing between the two.
                _ => young = middle,
            }
        }
        Ok(Some(young))
    }

    fn note(road: &TenantState, info: &Info) {
        road.set_stream(StreamStats {
            first: info.state.first_sequence,
            last: info.state.last_sequence,
            bytes: info.state.bytes,
            max_bytes: u64::try_from(info.config.max_bytes).ok().filter(|bytes| *bytes > 0),
        });
    }

    fn say_if_full(&self, road: &TenantState, info: &Info, from: u64) {
        if used_percent(info) < FULL {
            return self.common.troubles.clear(&who(road));
        }
        let committed = road.committed().cursor.sequence;
        let last = info.state.last_sequence;
        let why = if committed < last {
            "what is on it is not in the log yet; it drains as the log takes it in".to_owned()
        } else if from < committed {
            format!("a follower or an answer is at sequence {}; it drains when that goes on", from.saturating_sub(1))
        } else {
            "it holds no more than the newest message: its limit is too small, raise it (--road-bytes)".to_owned()
        };
        let reason = format!(
            "tenant {}: the road is full ({} MiB), producers are refused: {why}",
            road.tenant,
            info.config.max_bytes >> 20
        );
        self.common.troubles.set(&who(road), reason);
    }
}

/// A road that is being followed now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) stream: String,
    pub(crate) cuts: u32,
    pub(crate) created_ns: u64,
}

impl Place {
    pub(crate) fn of(road: &TenantState, cuts: u32, created_ns: u64) -> Self {
        Self { stream: ids::stream_name(&road.tenant), cuts, created_ns }
    }
}

fn who(road: &TenantState) -> String {
    format!("full {}", road.tenant)
}

/// How much of its limit a road holds; 0 without one.
fn used_percent(info: &Info) -> u64 {
    match u64::try_from(info.config.max_bytes) {
        Ok(limit) if limit > 0 => info.state.bytes.saturating_mul(100) / limit,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_leaves_that_somebody_needs() {
        let all = Standing { committed: 100, answered: 100, followed: None, young: None };
        let cases = [
            (all, 100, "the cursor's message stays"),
            (Standing { answered: 40, ..all }, 41, "an answer is owed"),
            (Standing { followed: Some(70), ..all }, 71, "a follower has not read further"),
            (Standing { followed: Some(0), ..all }, 1, "a follower is on an earlier road"),
            (Standing { followed: Some(u64::MAX), ..all }, 100, "a follower that claims too much"),
            (Standing { young: Some(12), ..all }, 12, "too young"),
            (Standing { committed: 0, answered: 0, followed: None, young: None }, 0, "nothing was read yet"),
            (Standing { answered: 40, followed: Some(30), young: Some(35), ..all }, 31, "the slowest counts"),
        ];
        for (standing, expect, why) in cases {
            assert_eq!(keep_from(standing), expect, "{why}");
        }
    }
}
