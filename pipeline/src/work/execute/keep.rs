//! Long output, kept by reference (decision 150): put into the tenant's object store under its digest, named in the event.

use bytes::Bytes;
use schemas::ids::Tenant;
use schemas::object::ObjectRef;
use schemas::redact;
use sha2::{Digest as _, Sha256};

use crate::objects;
use crate::work::Shop;
use crate::work::process::{Captured, Ran};

/// Puts what the event can't hold. What can't be put is not named, and the event holds its beginning and end; the step is what it is.
///
/// References to standard output and standard error.
pub(in crate::work) async fn long(shop: &Shop, tenant: &Tenant, ran: &Ran) -> [Option<String>; 2] {
    [one(shop, tenant, &ran.stdout).await, one(shop, tenant, &ran.stderr).await]
}

async fn one(shop: &Shop, tenant: &Tenant, captured: &Captured) -> Option<String> {
    let path = captured.whole.clone()?;
    // It was masked line by line; once more as a whole, as a secret may stand on another line than its name. As large as a step may write.
    let read = tokio::task::spawn_blocking(move || {
        let content = std::fs::read(&path).map(|bytes| redact::mask_lexically(&bytes).0);
        content.map(|content| (<[u8; 32]>::from(Sha256::digest(&content)), Bytes::from(content)))
    });
    let (digest, content) = match read.await {
        Ok(Ok(read)) => read,
        Ok(Err(error)) => return not_kept(&error),
        Err(error) => return not_kept(&error),
    };
    let reference = ObjectRef::own(tenant, digest, content.len() as u64);
    match objects::put(&shop.client, &reference, &content).await {
        Ok(()) => Some(reference.to_string()),
        Err(error) => not_kept(&error),
    }
}

fn not_kept(error: &dyn std::error::Error) -> Option<String> {
    tracing::warn!(%error, "an output that is too long for an event is not kept; the event holds its beginning and end");
    None
}
