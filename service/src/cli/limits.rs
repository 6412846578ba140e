//! How much a ledger may hold and for how long: options of `upm serve` on roads, disk, signs of life, requests and objects.

use std::path::PathBuf;
use std::time::Duration;

use pipeline::Disk;
use pipeline::streams::StreamLimits;

use crate::taking::TakingLimits;

/// Options on what roads hold, when they are swept, how often every log says that we live, how long whoever asks may take, and what is taken in of what
/// events refer to.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LimitArgs {
    /// How long messages stay on the road once they are in the log (such as 72h, 30m, 0: as short as possible); a road that is
    /// nearly full does not wait for it, and nothing is swept that a follower has not read
    #[arg(long, value_name = "TIME", default_value = "72h", value_parser = time)]
    pub sweep_after: Duration,
    /// How much a tenant's road may hold before producers are refused (such as 500M, 16G) [default: 16G]; without --nats also
    /// roads that exist are changed
    #[arg(long, value_name = "BYTES", value_parser = bytes)]
    road_bytes: Option<u64>,
    /// With less free on the data directory's disk nothing is taken in, or copied by a follower
    #[arg(long, value_name = "BYTES", default_value = "128M", value_parser = bytes)]
    disk_reserve: u64,
    /// How far signs of life are apart in every log (such as 1h, 15m); there is one at midnight UTC too. 0 writes none
    #[arg(long, value_name = "TIME", default_value = "1h", env = "UPM_HEARTBEAT", value_parser = time)]
    heartbeat: Duration,
    /// How long the headers of a request, and then its body, may take to arrive (such as 60s, 5m); whoever takes longer is left, or gets 408
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = some_time)]
    pub body_time: Duration,
    /// How many may watch changes at once, half of them those of one tenant; whoever comes then gets 503
    #[arg(long, value_name = "N", default_value_t = 512)]
    pub watchers: usize,
    /// The largest log that is taken in where an event refers to one (such as 256M); 0 takes none, and makes no object stores
    #[arg(long, value_name = "BYTES", default_value = "256M", value_parser = bytes)]
    object_bytes: u64,
    /// How long a log is looked for that an event refers to, before it counts as missing (such as 10m, 1h)
    #[arg(long, value_name = "TIME", default_value = "10m", value_parser = time)]
    object_patience: Duration,
}

impl LimitArgs {
    /// The limits of roads; those of a child's are ours to change.
    pub fn streams(&self, child: bool) -> StreamLimits {
        let default = StreamLimits::default();
        StreamLimits {
            max_bytes: self.road_bytes.unwrap_or(default.max_bytes),
            adjust: child && self.road_bytes.is_some(),
            ..default
        }
    }

    /// How far signs of life are apart, if there are any.
    pub fn heartbeat(&self) -> Option<Duration> {
        Some(self.heartbeat).filter(|every| !every.is_zero())
    }

    /// What is taken in of what events refer to, if anything.
    pub fn objects(&self) -> Option<TakingLimits> {
        let (object_bytes, patience) = (self.object_bytes, self.object_patience);
        (object_bytes > 0).then_some(TakingLimits { object_bytes, patience, reserve_bytes: self.disk_reserve })
    }

    /// The disk to watch.
    pub fn disk(&self, dir: PathBuf) -> Disk {
        Disk { dir, reserve_bytes: self.disk_reserve }
    }
}

/// `72h`, `30m`, `90s`, `3d`, `0`.
pub(super) fn time(text: &str) -> Result<Duration, String> {
    let seconds = [("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)];
    let parsed = if text == "0" {
        Some(0)
    } else {
        let unit = seconds.iter().find_map(|(unit, seconds)| Some((text.strip_suffix(unit)?, *seconds)));
        unit.and_then(|(number, seconds)| number.parse::<u64>().ok()?.checked_mul(seconds))
    };
    parsed.map(Duration::from_secs).ok_or_else(|| "expected a number with d, h, m or s, or 0".to_owned())
}

/// The same, but not none.
pub(super) fn some_time(text: &str) -> Result<Duration, String> {
    match time(text)? {
        none if none.is_zero() => Err("expected more than 0".to_owned()),
        some => Ok(some),
    }
}

/// `4096`, `500M`, `16G`: powers of 1024.
fn bytes(text: &str) -> Result<u64, String> {
    let units = [("K", 10_u32), ("M", 20), ("G", 30), ("T", 40)];
    let unit = units.iter().find_map(|(unit, shift)| Some((text.strip_suffix(unit)?, *shift)));
    let (number, shift) = unit.unwrap_or((text, 0));
    let parsed = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    parsed.ok_or_else(|| "expected a number of bytes, or with K, M, G or T".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_with_their_units() {
        for (text, expect) in
            [("72h", Some(259_200)), ("0", Some(0)), ("90s", Some(90)), ("3d", Some(259_200)), ("30m", Some(1_800))]
        {
            assert_eq!(time(text).ok().map(|time| time.as_secs()), expect, "{text}");
        }
        assert!(some_time("0").is_err() && some_time("0s").is_err() && some_time("1s").is_ok());
        for text in ["", "h", "72", "-1s", "1w", "1.5h", "99999999999999999999d", "9999999999999999d"] {
            assert!(time(text).is_err(), "{text}");
        }
        for (text, expect) in [("4096", 4_096), ("1K", 1_024), ("500M", 500 << 20), ("16G", 16 << 30), ("1T", 1 << 40)]
        {
            assert_eq!(bytes(text), Ok(expect), "{text}");
        }
        for text in ["", "M", "1X", "-1", "16777216T", "1.5G"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }
}
