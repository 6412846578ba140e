//! Logs that are kept beside events, in NATS: an object store for each tenant, by `JetStream`'s own layout (ADR-20), so that any NATS client can
//! put something there and name it in an event ([`ObjectRef`]).
//!
//! An object store is a stream `OBJ_<bucket>`: the object's pieces on `$O.<bucket>.C.<id>`, and what it is on `$O.<bucket>.M.<name in base64>`.
//! It is a road, not a place to stay: the ledger takes objects out of it and removes them, and what nobody takes goes by age. Pieces are
//! asked for one by one, so that no more than one of them is ever in memory. Left out: where the ledger keeps what it took, and whether
//! the bytes are those of the digest; the caller sees all of them.

use std::time::Duration;

use async_nats::Client;
use async_nats::HeaderMap;
use async_nats::jetstream::context::{CreateStreamErrorKind, GetStreamErrorKind, PublishErrorKind};
use async_nats::jetstream::stream::{Config, DirectGetError, DirectGetErrorKind, DiscardPolicy, StorageType, Stream};
use async_nats::jetstream::{self, ErrorCode};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bytes::Bytes;
use futures::stream::{FuturesOrdered, StreamExt as _};
use schemas::ids::Tenant;
use schemas::object::{self, ObjectRef};
use serde::{Deserialize, Serialize};

/// Bytes of one piece: what NATS' own clients use.
const PIECE_BYTES: usize = 128 * 1024;
/// Pieces that wait for their acknowledgement at once.
const WINDOW: usize = 16;
/// How often the first piece is tried again while there is no object store: that of a new tenant is made in the background.
const PUT_ATTEMPTS: u32 = 50;
const PUT_DELAY: Duration = Duration::from_millis(200);

/// How much a tenant's object store may hold, and for how long.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketLimits {
    /// Bytes after which whoever puts something gets an error.
    pub max_bytes: u64,
    /// How long an object that nobody takes stays there.
    pub max_age: Duration,
    /// Copies in a cluster.
    pub replicas: usize,
}

impl Default for BucketLimits {
    fn default() -> Self {
        Self { max_bytes: 16 << 30, max_age: Duration::from_hours(72), replicas: 1 }
    }
}

/// Why an object was not put.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// There is no such object store.
    #[error(
        "there is no object store {0} here: the tenant is unknown (`upm tenant add` makes one), or its ledger takes no objects (`--object-bytes 0`)"
    )]
    NoBucket(String),
    /// It does not take the object.
    #[error("the object store {bucket} does not take it: {said}")]
    Refused {
        /// The object store.
        bucket: String,
        /// The server's words.
        said: String,
    },
}

/// Why an object was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// Not there, or not whole.
    #[error("not found in {bucket}: {what}")]
    Absent {
        /// The object store.
        bucket: String,
        /// What is not there.
        what: String,
    },
    /// It has another length.
    #[error("it has {found} bytes, expected {expected}")]
    Length {
        /// Bytes found.
        found: u64,
        /// Bytes that the reference names.
        expected: u64,
    },
    /// Nobody answers, or with something else.
    #[error("the object store {bucket} could not be asked: {said}")]
    Unanswered {
        /// The object store.
        bucket: String,
        /// What was said instead.
        said: String,
    },
    /// The caller's sink.
    #[error(transparent)]
    Sink(#[from] std::io::Error),
}

/// What is known of an object, as far as it is of use here. Members of ADR-20.
#[derive(Debug, Serialize, Deserialize)]
struct Info {
    name: String,
    bucket: String,
    /// The token under which its pieces stand.
    nuid: String,
    size: u64,
    chunks: u64,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    digest: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    deleted: bool,
}

fn stream_name(bucket: &str) -> String {
    format!("OBJ_{bucket}")
}

fn info_subject(reference: &ObjectRef) -> String {
    format!("$O.{}.M.{}", reference.bucket, URL_SAFE.encode(&reference.name))
}

fn pieces_subject(bucket: &str, nuid: &str) -> String {
    format!("$O.{bucket}.C.{nuid}")
}

/// Makes the tenant's object store where it is missing. One that is there stays as it is, whatever its limits.
pub async fn ensure(client: &Client, tenant: &Tenant, limits: &BucketLimits) -> Result<(), String> {
    let bucket = object::bucket(tenant);
    let (name, context) = (stream_name(&bucket), jetstream::new(client.clone()));
    match context.get_stream(&name).await {
        Ok(stream) if stream.cached_info().config.allow_direct => return Ok(()),
        Ok(_) => return Err(format!("stream {name} is no object store: it does not let messages be asked for")),
        Err(error) => match error.kind() {
            GetStreamErrorKind::JetStream(api) if api.error_code() == ErrorCode::STREAM_NOT_FOUND => {}
            _ => return Err(format!("stream {name}: {error}")),
        },
    }
    let config = Config {
        subjects: vec![format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
        description: Some("logs that events refer to, until the ledger has taken them".to_owned()),
        name: name.clone(),
        discard: DiscardPolicy::New,
        storage: StorageType::File,
        max_bytes: i64::try_from(limits.max_bytes).unwrap_or(i64::MAX),
        max_age: limits.max_age,
        num_replicas: limits.replicas,
        allow_rollup: true,
        allow_direct: true,
        ..Config::default()
    };
    match context.create_stream(config).await {
        Ok(_) => Ok(()),
        // Somebody else was quicker.
        Err(error) if matches!(error.kind(), CreateStreamErrorKind::JetStream(api) if api.error_code() == ErrorCode::STREAM_NAME_EXIST) => {
            Ok(())
        }
        Err(error) => Err(format!("stream {name}: {error}")),
    }
}

/// Puts an object where `reference` says. It is there, whole, when this returns; its bytes are the caller's to have hashed.
pub async fn put(client: &Client, reference: &ObjectRef, content: &Bytes) -> Result<(), PutError> {
    let road = jetstream::new(client.clone());
    let inbox = client.new_inbox();
    let nuid = inbox.rsplit('.').next().unwrap_or_default();
    let subject = pieces_subject(&reference.bucket, nuid);
    let mut waiting = FuturesOrdered::new();
    for start in (0..content.len()).step_by(PIECE_BYTES) {
        let piece = content.slice(start..content.len().min(start + PIECE_BYTES));
        if start == 0 {
            // Alone, because there may be no object store yet.
            first(&road, reference, &subject, piece).await?;
            continue;
        }
        let sent = road.publish(subject.clone(), piece).await.map_err(|error| refused(reference, &error))?;
        waiting.push_back(sent.into_future());
        if waiting.len() >= WINDOW {
            acknowledged(reference, waiting.next().await)?;
        }
    }
    while let Some(answer) = waiting.next().await {
        acknowledged(reference, Some(answer))?;
    }
    let info = Info {
        name: reference.name.clone(),
        bucket: reference.bucket.clone(),
        nuid: nuid.to_owned(),
        size: reference.size,
        chunks: content.len().div_ceil(PIECE_BYTES) as u64,
        digest: format!("SHA-256={}", URL_SAFE.encode(reference.sha256)),
        deleted: false,
    };
    let info = serde_json::to_vec(&info).map_err(|error| refused(reference, &error))?;
    let mut headers = HeaderMap::new();
    // Of one name only the last is kept.
    headers.insert("Nats-Rollup", "sub");
    let sent = road.publish_with_headers(info_subject(reference), headers, info.into()).await;
    let sent = sent.map_err(|error| refused(reference, &error))?;
    acknowledged(reference, Some(sent.await))
}

async fn first(
    context: &jetstream::Context,
    reference: &ObjectRef,
    subject: &str,
    piece: Bytes,
) -> Result<(), PutError> {
    for _ in 0..PUT_ATTEMPTS {
        let sent = context.publish(subject.to_owned(), piece.clone()).await;
        match sent.map_err(|error| refused(reference, &error))?.await {
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == PublishErrorKind::StreamNotFound => tokio::time::sleep(PUT_DELAY).await,
            Err(error) => return Err(refused(reference, &error)),
        }
    }
    Err(PutError::NoBucket(reference.bucket.clone()))
}

fn acknowledged<T, E: std::error::Error>(reference: &ObjectRef, answer: Option<Result<T, E>>) -> Result<(), PutError> {
    match answer {
        Some(Err(error)) => Err(refused(reference, &error)),
        _ => Ok(()),
    }
}

fn refused(reference: &ObjectRef, error: &dyn std::error::Error) -> PutError {
    PutError::Refused { bucket: reference.bucket.clone(), said: error.to_string() }
}

/// Fetches an object and hands its bytes to `sink`, piece by piece; never more of them than the reference names.
pub async fn fetch(
    client: &Client,
    reference: &ObjectRef,
    mut sink: impl FnMut(&[u8]) -> std::io::Result<()>,
) -> Result<(), FetchError> {
    let Some((stream, info)) = look(client, reference).await? else {
        return Err(absent(reference, format!("no object {}", reference.name)));
    };
    let length = |found| FetchError::Length { found, expected: reference.size };
    if info.size != reference.size {
        return Err(length(info.size));
    }
    let subject = pieces_subject(&reference.bucket, &info.nuid);
    let (mut sequence, mut fetched) = (1, 0);
    while fetched < reference.size {
        let piece = match stream.direct_get_next_for_subject(subject.as_str(), Some(sequence)).await {
            Ok(piece) => piece,
            Err(error) if is_absent(&error) => {
                return Err(absent(reference, format!("{} ends after {fetched} bytes", reference.name)));
            }
            Err(error) => return Err(unanswered(reference, &error)),
        };
        fetched += piece.payload.len() as u64;
        if fetched > reference.size || piece.payload.is_empty() {
            return Err(length(fetched));
        }
        sink(&piece.payload)?;
        sequence = piece.sequence + 1;
    }
    Ok(())
}

/// Removes an object that was taken; nothing where it is gone already.
pub async fn remove(client: &Client, reference: &ObjectRef) -> Result<(), FetchError> {
    let Some((stream, info)) = look(client, reference).await? else { return Ok(()) };
    for subject in [info_subject(reference), pieces_subject(&reference.bucket, &info.nuid)] {
        stream.purge().filter(subject).await.map_err(|error| unanswered(reference, &error))?;
    }
    Ok(())
}

/// What is known of an object, and the stream that it is on.
async fn look(client: &Client, reference: &ObjectRef) -> Result<Option<(Stream<()>, Info)>, FetchError> {
    let context = jetstream::new(client.clone());
    let stream = context.get_stream_no_info(stream_name(&reference.bucket)).await;
    let stream = stream.map_err(|error| unanswered(reference, &error))?;
    let message = match stream.direct_get_last_for_subject(info_subject(reference)).await {
        Ok(message) => message,
        Err(error) if is_absent(&error) => return Ok(None),
        Err(error) => return Err(unanswered(reference, &error)),
    };
    let info: Info = serde_json::from_slice(&message.payload).map_err(|error| unanswered(reference, &error))?;
    // It becomes part of a subject.
    let plain = !info.nuid.is_empty() && info.nuid.bytes().all(|c| c.is_ascii_alphanumeric() || b"-_".contains(&c));
    Ok((plain && !info.deleted).then_some((stream, info)))
}

fn is_absent(error: &DirectGetError) -> bool {
    matches!(error.kind(), DirectGetErrorKind::NotFound)
}

fn absent(reference: &ObjectRef, what: String) -> FetchError {
    FetchError::Absent { bucket: reference.bucket.clone(), what }
}

fn unanswered(reference: &ObjectRef, error: &dyn std::error::Error) -> FetchError {
    FetchError::Unanswered { bucket: reference.bucket.clone(), said: error.to_string() }
}
