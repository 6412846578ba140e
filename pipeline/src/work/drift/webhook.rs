//! Alarms, posted to the house's webhook.

use std::time::Duration;

use serde_json::{Value, json};
use workers::drift::Webhook;

use crate::work::Shop;

/// How long a webhook may take, and how often it is tried.
const PATIENCE: Duration = Duration::from_secs(10);
const TRIES: u32 = 3;
/// What an alarm's answer may say.
const ANSWER_BYTES: u64 = 64 * 1024;

/// Posts an alarm; what became of it is recorded.
pub(super) async fn post(shop: &Shop, webhook: &Webhook, id: &str, told: Value) -> Value {
    let authorization = match &webhook.authorization_file {
        None => Ok(None),
        Some(path) => std::fs::read_to_string(shop.base.join(path)).map(|text| Some(text.trim().to_owned())),
    };
    let authorization = match authorization {
        Ok(authorization) => authorization,
        Err(error) => {
            return json!({"ok": false, "message": format!("the file of its authorization can't be read: {error}")});
        }
    };
    let (url, id) = (webhook.url.clone(), id.to_owned());
    let sent = tokio::task::spawn_blocking(move || send(&url, authorization.as_deref(), &id, &told)).await;
    match sent {
        Ok(Ok(status)) => json!({"ok": true, "status": status}),
        Ok(Err(why)) => {
            tracing::warn!(worker = shop.worker, %why, "an alarm could not be delivered; it is recorded");
            json!({"ok": false, "message": why})
        }
        Err(error) => json!({"ok": false, "message": error.to_string()}),
    }
}

fn send(url: &str, authorization: Option<&str>, id: &str, told: &Value) -> Result<u16, String> {
    let config = ureq::Agent::config_builder().http_status_as_error(false).timeout_global(Some(PATIENCE));
    let agent: ureq::Agent = config.max_redirects(0).build().into();
    let mut why = String::new();
    for n in 0..TRIES {
        if n > 0 {
            std::thread::sleep(Duration::from_millis(500 << n));
        }
        let mut request = agent.post(url).header("Idempotency-Key", id);
        if let Some(authorization) = authorization {
            request = request.header("Authorization", authorization);
        }
        match request.send_json(told) {
            Ok(mut answer) if answer.status().is_success() => {
                // What it says is of no use; the connection is.
                let _ = answer.body_mut().with_config().limit(ANSWER_BYTES).read_to_vec();
                return Ok(answer.status().as_u16());
            }
            Ok(answer) => why = format!("the webhook answers {}", answer.status().as_u16()),
            Err(error) => why = format!("the webhook does not answer: {error}"),
        }
    }
    Err(why)
}
