//! Watching what everything stands on: the disk, and the child server's own health.
//!
//! The store can't be written to again after a write has failed, until it is opened again, and a `JetStream` that failed to
//! write stays frozen until it is started again (nats-server 2.14 and newer; older ones go on as if nothing had been). So the intake
//! stops while there is still some room, goes on by itself when there is more again, and a child whose streams are frozen is started
//! again once the disk takes writes. What is wrong is said in health, with its cause, as long as it lasts.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_nats::connection::State;
use async_nats::{Client, ConnectErrorKind};
use nix::sys::statvfs::{FsFlags, statvfs};
use serde::Deserialize;

use crate::config::Disk;
use crate::server::ChildHandle;
use crate::shared::Common;
use crate::target::ConnectError;

/// How often the disk is looked at: a fast producer fills a few ten MiB in this time.
const DISK_ROUND: Duration = Duration::from_millis(200);
/// How often the child is asked.
const CHILD_ROUND: Duration = Duration::from_secs(1);
/// How long it may take to answer, and how long a child that does not is left to itself.
const CHILD_PATIENCE: Duration = Duration::from_secs(5);
const HUNG: Duration = Duration::from_secs(30);
/// Between two starts of a frozen child.
const RESTART_PAUSE: Duration = Duration::from_secs(5);
/// Where a server with a system account tells its health.
const HEALTH: &str = "$SYS.REQ.SERVER.PING.HEALTHZ";
/// Under these names their troubles are kept.
pub(crate) const DISK: &str = "disk";
pub(crate) const CHILD: &str = "nats-server";

/// What is wrong with a disk.
#[derive(Debug, PartialEq, Eq)]
enum Shortage {
    Full,
    ReadOnly,
    Unknown(String),
}

/// What was seen of a disk.
struct Seen {
    free: u64,
    read_only: bool,
}

/// Watches the disk until it is dropped.
pub(crate) async fn disk(disk: Disk, common: Arc<Common>) {
    let mut open = true;
    loop {
        let dir = disk.dir.clone();
        // A disk that hangs must not hang the intake's runtime with it.
        let seen = tokio::task::spawn_blocking(move || look(&dir)).await;
        let seen = seen.unwrap_or_else(|error| Err(error.to_string()));
        if let Ok(Seen { free, .. }) = &seen {
            common.disk_free.store(*free, Ordering::Relaxed);
        }
        match shortage(seen, disk.reserve_bytes, open) {
            None => {
                common.troubles.clear(DISK);
                open = true;
            }
            Some(shortage) => {
                common.troubles.set(DISK, reason(&shortage, &disk, "taken in"));
                open = false;
            }
        }
        common.open.send_if_modified(|was| std::mem::replace(was, open) != open);
        tokio::time::sleep(DISK_ROUND).await;
    }
}

/// A disk that is looked at by whoever writes to it, before it does.
pub(crate) struct Gauge {
    disk: Disk,
    open: bool,
}

impl Gauge {
    pub(crate) fn new(disk: Disk) -> Self {
        Self { disk, open: true }
    }

    /// Why nothing is to be written now, if so; `what` would be written. Blocking.
    pub(crate) fn shortage(&mut self, what: &str) -> Option<String> {
        let shortage = shortage(look(&self.disk.dir), self.disk.reserve_bytes, self.open);
        self.open = shortage.is_none();
        shortage.map(|shortage| reason(&shortage, &self.disk, what))
    }
}

fn look(dir: &Path) -> Result<Seen, String> {
    let found = statvfs(dir).map_err(|errno| errno.to_string())?;
    let free = found.blocks_available().saturating_mul(found.fragment_size());
    Ok(Seen { free, read_only: found.flags().contains(FsFlags::ST_RDONLY) })
}

/// Closed below the reserve, opened again above a quarter more, so that it does not flutter.
fn shortage(seen: Result<Seen, String>, reserve: u64, open: bool) -> Option<Shortage> {
    let needed = if open { reserve } else { reserve.saturating_add(reserve / 4) };
    match seen {
        Err(error) => Some(Shortage::Unknown(error)),
        Ok(Seen { read_only: true, .. }) => Some(Shortage::ReadOnly),
        Ok(Seen { free, .. }) if free < needed => Some(Shortage::Full),
        Ok(_) => None,
    }
}

fn reason(shortage: &Shortage, disk: &Disk, what: &str) -> String {
    let (dir, reserve) = (disk.dir.display(), disk.reserve_bytes >> 20);
    match shortage {
        Shortage::Full => format!(
            "the disk of {dir} is full (less than {reserve} MiB free): nothing is {what} until there is room; free some, it goes on by itself"
        ),
        Shortage::ReadOnly => {
            format!("the disk of {dir} is read-only: nothing is {what}; mount it for writing again, then restart")
        }
        Shortage::Unknown(error) => format!("the disk of {dir} can't be looked at: {error}; nothing is {what}"),
    }
}

/// Watches the child until it is dropped.
pub(crate) async fn child(child: ChildHandle, common: Arc<Common>) {
    let mut ailing = Ailing::default();
    let mut client = None;
    loop {
        tokio::time::sleep(CHILD_ROUND).await;
        let health = match &client {
            Some(client) => ask(client).await,
            None => match child.system_target().connect("upm watch").await {
                Ok(connected) => {
                    client = Some(connected);
                    continue;
                }
                // It took the connection, and said nothing.
                Err(ConnectError::Connect { source, .. }) if source.kind() == ConnectErrorKind::TimedOut => {
                    Health::Silent
                }
                Err(_) => Health::Away,
            },
        };
        match &health {
            Health::Well => common.troubles.clear(CHILD),
            Health::Ill(said) => drop(common.troubles.set(CHILD, format!("nats-server: {said}"))),
            Health::Silent => drop(common.troubles.set(CHILD, "nats-server does not answer")),
            Health::Away => drop(common.troubles.set(CHILD, "nats-server can't be reached")),
        }
        let now = (common.stopwatch)();
        match ailing.judge(&health, *common.open.borrow(), now) {
            Cure::Wait => {}
            Cure::Restart => {
                tracing::warn!("nats-server has stopped writing and stays so: starting it again");
                child.restart();
            }
            Cure::Kill => {
                tracing::warn!("nats-server has not answered for {} s: killing it, to start it again", HUNG.as_secs());
                child.kill();
            }
        }
    }
}

/// How the child is.
#[derive(Debug, PartialEq, Eq)]
enum Health {
    Well,
    Ill(String),
    /// It holds the connection, and says nothing.
    Silent,
    /// There is no connection: it is starting, or gone, which is its keeper's to mend.
    Away,
}

/// What to do about it.
#[derive(Debug, PartialEq, Eq)]
enum Cure {
    Wait,
    Restart,
    Kill,
}

/// Since when the child ails, and when something was last done about it.
#[derive(Default)]
struct Ailing {
    silent_since: Option<Duration>,
    cured: Option<Duration>,
}

impl Ailing {
    /// A child that can't write is started again as soon as the disk has room, one that is silent after a long while.
    fn judge(&mut self, health: &Health, disk_has_room: bool, now: Duration) -> Cure {
        let silent_since = *self.silent_since.get_or_insert(now);
        if *health != Health::Silent {
            self.silent_since = None;
        }
        let rested = self.cured.is_none_or(|cured| now.saturating_sub(cured) >= RESTART_PAUSE);
        let cure = match health {
            Health::Ill(said) if disk_has_room && rested && said.contains("write error") => Cure::Restart,
            Health::Silent if now.saturating_sub(silent_since) >= HUNG => Cure::Kill,
            Health::Well | Health::Ill(_) | Health::Silent | Health::Away => Cure::Wait,
        };
        if cure != Cure::Wait {
            (self.cured, self.silent_since) = (Some(now), None);
        }
        cure
    }
}

async fn ask(client: &Client) -> Health {
    let asking = client.request(HEALTH, r#"{"details":true}"#.into());
    match tokio::time::timeout(CHILD_PATIENCE, asking).await {
        Ok(Ok(answer)) => read_health(&answer.payload),
        Ok(Err(_)) | Err(_) if client.connection_state() == State::Connected => Health::Silent,
        Ok(Err(_)) | Err(_) => Health::Away,
    }
}

/// The server's answer: `{"data": {"status": "ok"}}`, or errors with a text each.
fn read_health(answer: &[u8]) -> Health {
    #[derive(Deserialize)]
    struct Answer {
        data: Data,
    }
    #[derive(Deserialize)]
    struct Data {
        status: String,
        #[serde(default)]
        error: String,
        #[serde(default)]
        errors: Vec<Detail>,
    }
    #[derive(Deserialize)]
    struct Detail {
        #[serde(default)]
        error: String,
    }
    match serde_json::from_slice(answer) {
        Ok(Answer { data }) if data.status == "ok" => Health::Well,
        Ok(Answer { data }) => {
            let first = data.errors.into_iter().map(|detail| detail.error).find(|error| !error.is_empty());
            Health::Ill(first.unwrap_or(if data.error.is_empty() { data.status } else { data.error }))
        }
        Err(error) => Health::Ill(format!("it tells its health in words that can't be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_intake_closes_below_the_reserve_and_opens_above_more() {
        let seen = |free, read_only| Ok(Seen { free, read_only });
        let cases = [
            (seen(100, false), true, None),
            (seen(99, false), true, Some(Shortage::Full)),
            (seen(100, false), false, Some(Shortage::Full)),
            (seen(125, false), false, None),
            (seen(1_000, true), true, Some(Shortage::ReadOnly)),
            (Err("EIO".into()), true, Some(Shortage::Unknown("EIO".into()))),
        ];
        for (seen, open, expect) in cases {
            assert_eq!(shortage(seen, 100, open), expect);
        }
        assert!(look(Path::new("/")).is_ok_and(|seen| seen.free > 0));
        assert!(look(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn a_health_answer_names_its_first_cause() {
        let cases = [
            (r#"{"server":{},"data":{"status":"ok","status_code":200}}"#, Health::Well),
            (
                r#"{"data":{"status":"error","errors":[{"type":"STREAM","stream":"UPM_a","error":"JetStream stream write error: no space left on device"}]}}"#,
                Health::Ill("JetStream stream write error: no space left on device".into()),
            ),
            (
                r#"{"data":{"status":"unavailable","error":"JetStream is down"}}"#,
                Health::Ill("JetStream is down".into()),
            ),
        ];
        for (answer, expect) in cases {
            assert_eq!(read_health(answer.as_bytes()), expect);
        }
        assert!(matches!(read_health(b"?"), Health::Ill(_)));
    }

    #[test]
    fn a_child_is_started_again_when_that_can_help() {
        let at = Duration::from_secs;
        let frozen = || Health::Ill("stream write error: no space left".into());
        let mut ailing = Ailing::default();
        assert_eq!(ailing.judge(&frozen(), false, at(0)), Cure::Wait, "the disk is still full");
        assert_eq!(ailing.judge(&frozen(), true, at(10)), Cure::Restart);
        assert_eq!(ailing.judge(&frozen(), true, at(12)), Cure::Wait, "it was started a moment ago");
        assert_eq!(ailing.judge(&frozen(), true, at(15)), Cure::Restart);
        assert_eq!(ailing.judge(&Health::Ill("recovering".into()), true, at(99)), Cure::Wait);
        assert_eq!(ailing.judge(&Health::Silent, true, at(100)), Cure::Wait);
        assert_eq!(ailing.judge(&Health::Silent, true, at(129)), Cure::Wait);
        assert_eq!(ailing.judge(&Health::Silent, true, at(130)), Cure::Kill);
        assert_eq!(ailing.judge(&Health::Silent, true, at(131)), Cure::Wait, "it has its time again");
        assert_eq!(ailing.judge(&Health::Well, true, at(132)), Cure::Wait);
        assert_eq!(ailing.judge(&Health::Silent, true, at(200)), Cure::Wait);
        assert_eq!(ailing.judge(&Health::Away, true, at(210)), Cure::Wait, "a server that starts is not hung");
        assert_eq!(ailing.judge(&Health::Silent, true, at(240)), Cure::Wait, "it was only starting until now");
    }
}
