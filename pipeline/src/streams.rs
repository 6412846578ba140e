//! Roads: one `JetStream` stream per tenant, with exactly the subjects and limits of FORMATS "Subjects and streams".
//!
//! A stream that exists with another configuration is refused with the difference, never changed: what somebody set up may lose
//! messages in ways that we would then sign for.

use std::time::Duration;

use async_nats::Client;
use async_nats::jetstream::context::CreateStreamErrorKind;
use async_nats::jetstream::stream::{Config, DiscardPolicy, Info, RetentionPolicy, StorageType};
use async_nats::jetstream::{self, ErrorCode};
use schemas::ids::{self, Tenant};

/// How often, and how far apart, to try to make a stream whose predecessor was deleted a moment ago.
const MAKE_ATTEMPTS: u32 = 20;
const MAKE_DELAY: Duration = Duration::from_millis(100);

/// What one road may hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamLimits {
    /// Bytes after which publishers get an error (never: after which old events are dropped). Used when the stream is
    /// made, and free to be another one on a stream that exists.
    pub max_bytes: u64,
    /// Largest message, headers included.
    pub max_message_bytes: usize,
    /// Copies in a cluster; 1 on the child server. Like `max_bytes`, only used when the stream is made.
    pub replicas: usize,
    /// Give streams that exist `max_bytes` too. Only for a server that is ours.
    pub adjust: bool,
}

impl Default for StreamLimits {
    fn default() -> Self {
        Self { max_bytes: 16 << 30, max_message_bytes: crate::server::MAX_PAYLOAD_BYTES, replicas: 1, adjust: false }
    }
}

/// A road that is there as it should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamFacts {
    /// When it was made, nanoseconds since 1970: half of its identity.
    pub created_ns: u64,
    /// The oldest sequence it still holds (0 or 1 when it never held any).
    pub first_sequence: u64,
    /// The newest sequence it ever gave out.
    pub last_sequence: u64,
    /// Whether this call made it.
    pub made: bool,
}

/// Why there is no usable road.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// It exists, and is not what we need.
    #[error(
        "stream {stream} exists with another configuration: {difference}; remove or mend it (we change no stream that we did not make)"
    )]
    Different {
        /// The stream.
        stream: String,
        /// `member: found …, expected …`, separated by commas.
        difference: String,
    },
    /// Another stream already takes one of its subjects.
    #[error("stream {stream} can't be made: another stream has one of its subjects")]
    SubjectsTaken {
        /// The stream.
        stream: String,
    },
    /// The server says no, or nothing.
    #[error("stream {stream}: {reason}")]
    Refused {
        /// The stream.
        stream: String,
        /// The server's words.
        reason: String,
    },
    /// It is not there.
    #[error("stream {stream} is not there")]
    Missing {
        /// The stream.
        stream: String,
    },
}

/// Makes the tenant's stream if it is missing, else checks it. Call it before the log is born: its first entry names the time.
pub async fn ensure(client: &Client, tenant: &Tenant, limits: &StreamLimits) -> Result<StreamFacts, StreamError> {
    match look(client, tenant, limits).await {
        Err(StreamError::Missing { .. }) => make(client, tenant, limits).await,
        found => found,
    }
}

/// Checks the tenant's stream without making it.
pub(crate) async fn look(client: &Client, tenant: &Tenant, limits: &StreamLimits) -> Result<StreamFacts, StreamError> {
    let name = ids::stream_name(tenant);
    let stream = context(client).get_stream(&name).await.map_err(|error| match error.kind() {
        jetstream::context::GetStreamErrorKind::JetStream(api) if api.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            StreamError::Missing { stream: name.clone() }
        }
        _ => StreamError::Refused { stream: name.clone(), reason: error.to_string() },
    })?;
    let info = stream.cached_info();
    let wanted = wanted(tenant, limits);
    let difference = differences(&info.config, &wanted);
    if !difference.is_empty() {
        return Err(StreamError::Different { stream: name, difference });
    }
    if limits.adjust && info.config.max_bytes != wanted.max_bytes {
        // Lowered below what it holds it keeps all, and refuses more: new messages are discarded, never old ones.
        let config = Config { max_bytes: wanted.max_bytes, ..info.config.clone() };
        let changed = context(client).update_stream(config).await;
        changed.map_err(|error| StreamError::Refused { stream: name.clone(), reason: error.to_string() })?;
    }
    facts(&name, info, false)
}

async fn make(client: &Client, tenant: &Tenant, limits: &StreamLimits) -> Result<StreamFacts, StreamError> {
    let name = ids::stream_name(tenant);
    let mut attempts = 0;
    loop {
        attempts += 1;
        let error = match context(client).create_stream(wanted(tenant, limits)).await {
            Ok(stream) => return facts(&name, stream.cached_info(), true),
            Err(error) => error,
        };
        match error.kind() {
            CreateStreamErrorKind::JetStream(api) if api.error_code() == ErrorCode::STREAM_SUBJECT_OVERLAP => {
                return Err(StreamError::SubjectsTaken { stream: name });
            }
            // The server is still clearing away an earlier stream of this name.
            CreateStreamErrorKind::JetStream(api)
                if api.error_code() == ErrorCode::STREAM_CREATE && attempts < MAKE_ATTEMPTS =>
            {
                tokio::time::sleep(MAKE_DELAY).await;
            }
            _ => return Err(StreamError::Refused { stream: name, reason: error.to_string() }),
        }
    }
}

/// The stream as FORMATS wants it.
fn wanted(tenant: &Tenant, limits: &StreamLimits) -> Config {
    Config {
        name: ids::stream_name(tenant),
        subjects: ids::stream_subjects(tenant),
        retention: RetentionPolicy::Limits,
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        max_bytes: i64::try_from(limits.max_bytes).unwrap_or(i64::MAX),
        max_message_size: i32::try_from(limits.max_message_bytes).unwrap_or(i32::MAX),
        max_messages: -1,
        max_messages_per_subject: -1,
        max_consumers: -1,
        num_replicas: limits.replicas,
        duplicate_window: Duration::from_mins(2),
        ..Config::default()
    }
}

/// What of a found stream would lose, change or reorder events, or let others do so. Sizes and copies are the operator's to choose.
fn differences(found: &Config, wanted: &Config) -> String {
    let mut all = Vec::new();
    let mut check = |member: &str, found: String, expected: String| {
        if found != expected {
            all.push(format!("{member}: found {found}, expected {expected}"));
        }
    };
    let sorted = |subjects: &[String]| {
        let mut subjects = subjects.to_vec();
        subjects.sort();
        subjects.join(" ")
    };
    check("subjects", sorted(&found.subjects), sorted(&wanted.subjects));
    check("retention", format!("{:?}", found.retention), format!("{:?}", wanted.retention));
    check("discard", format!("{:?}", found.discard), format!("{:?}", wanted.discard));
    check("storage", format!("{:?}", found.storage), format!("{:?}", wanted.storage));
    check("max_age", format!("{} s", found.max_age.as_secs()), "0 s".to_owned());
    check("max_msgs", found.max_messages.to_string(), (-1).to_string());
    check("max_msgs_per_subject", found.max_messages_per_subject.to_string(), (-1).to_string());
    let flags = |config: &Config| {
        [
            ("no_ack", config.no_ack),
            ("sealed", config.sealed),
            ("rollups", config.allow_rollup),
            ("message TTLs", config.allow_message_ttl),
            ("message schedules", config.allow_message_schedules),
            ("message counters", config.allow_message_counter),
            ("a mirror", config.mirror.is_some()),
            ("sources", config.sources.is_some()),
            ("a subject transform", config.subject_transform.is_some()),
            ("republishing", config.republish.is_some()),
        ]
    };
    for ((what, found), (_, expected)) in flags(found).into_iter().zip(flags(wanted)) {
        check(what, found.to_string(), expected.to_string());
    }
    if found.max_message_size != -1 {
        let enough = found.max_message_size >= i32::try_from(ids::MAX_EVENT_BYTES).unwrap_or(i32::MAX);
        check(
            "max_msg_size",
            if enough { "enough".into() } else { found.max_message_size.to_string() },
            "enough".to_owned(),
        );
    }
    all.join(", ")
}

fn facts(name: &str, info: &Info, made: bool) -> Result<StreamFacts, StreamError> {
    let created_ns = u64::try_from(info.created.unix_timestamp_nanos());
    let created_ns = created_ns.map_err(|_| StreamError::Refused {
        stream: name.to_owned(),
        reason: format!("it says it was made at {}", info.created),
    })?;
    let (first_sequence, last_sequence) = (info.state.first_sequence, info.state.last_sequence);
    Ok(StreamFacts { created_ns, first_sequence, last_sequence, made })
}

fn context(client: &Client) -> jetstream::Context {
    jetstream::new(client.clone())
}
