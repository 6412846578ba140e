//! Which NATS server to talk to, and how to be let in.
//!
//! Leaves out where the values come from (flags, key files): the caller reads those.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event, ServerError};
use tokio::sync::watch;

/// How long one attempt to reach a server may take.
const CONNECT_SECONDS: u64 = 5;

/// A NATS server and the credentials for it.
#[derive(Clone, Debug)]
pub struct NatsTarget {
    /// `nats://host:port` or `tls://host:port`.
    pub url: String,
    /// How we identify ourselves.
    pub auth: NatsAuth,
    /// PEM file of the authority that signed the server's certificate, beside the system's own.
    pub ca: Option<PathBuf>,
    /// Prefix of the inboxes of our own requests, where it is not `_INBOX`: on the child server nobody else may listen there.
    pub inbox_prefix: Option<String>,
}

/// How a client identifies itself.
#[derive(Clone)]
pub enum NatsAuth {
    /// Not at all: what any local producer does.
    None,
    /// User and password.
    Password {
        /// User name.
        user: String,
        /// Password.
        password: String,
    },
    /// A credentials file as `nsc` makes it.
    Creds(PathBuf),
}

impl fmt::Debug for NatsAuth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "None"),
            Self::Password { user, .. } => write!(f, "Password({user}, ***)"),
            Self::Creds(path) => write!(f, "Creds({})", path.display()),
        }
    }
}

/// Why a server can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The credentials file can't be used.
    #[error("credentials file {path}: {source}")]
    Creds {
        /// The file.
        path: PathBuf,
        /// What went wrong.
        source: std::io::Error,
    },
    /// The server does not answer, or does not let us in.
    #[error("NATS at {url}: {source}")]
    Connect {
        /// The address.
        url: String,
        /// What went wrong.
        source: async_nats::ConnectError,
    },
}

impl NatsTarget {
    /// A server that asks for no credentials.
    pub fn plain(url: impl Into<String>) -> Self {
        Self { url: url.into(), auth: NatsAuth::None, ca: None, inbox_prefix: None }
    }

    /// Connects under `name` (what the server shows in its list of connections). The connection lives on the runtime that
    /// this is called from and mends itself after a break.
    pub async fn connect(&self, name: &str) -> Result<Client, ConnectError> {
        self.connect_with(name, |options| options).await
    }

    /// Like [`NatsTarget::connect`], and tells beside the connection what the server refuses to carry.
    pub async fn connect_hearing(&self, name: &str) -> Result<(Client, Refusals), ConnectError> {
        let refusals = Refusals::default();
        let heard = refusals.clone();
        let hear = move |event: Event| {
            if let Event::ServerError(ServerError::Other(said)) = &event {
                heard.take(said);
            }
            std::future::ready(())
        };
        let client = self.connect_with(name, |options| options.event_callback(hear)).await?;
        Ok((client, refusals))
    }

    /// Like [`NatsTarget::connect`], with options of the caller's on top.
    pub(crate) async fn connect_with(
        &self,
        name: &str,
        adjust: impl FnOnce(ConnectOptions) -> ConnectOptions,
    ) -> Result<Client, ConnectError> {
        let options = self.options(name).await?;
        let connected = adjust(options).connect(self.url.as_str()).await;
        connected.map_err(|source| ConnectError::Connect { url: self.url.clone(), source })
    }

    async fn options(&self, name: &str) -> Result<ConnectOptions, ConnectError> {
        let mut options = ConnectOptions::new()
            .name(name)
            .connection_timeout(Duration::from_secs(CONNECT_SECONDS))
            .reconnect_delay_callback(reconnect_delay);
        if let Some(prefix) = &self.inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        if let Some(ca) = &self.ca {
            options = options.add_root_certificates(ca.clone()).require_tls(true);
        }
        match &self.auth {
            NatsAuth::None => Ok(options),
            NatsAuth::Password { user, password } => Ok(options.user_and_password(user.clone(), password.clone())),
            NatsAuth::Creds(path) => {
                let with_file = options.credentials_file(path).await;
                with_file.map_err(|source| ConnectError::Creds { path: path.clone(), source })
            }
        }
    }
}

/// Subjects that are remembered as refused, of one connection.
const REFUSED_MAX: usize = 64;

/// What a server refused to carry: it says so on the connection, not in an answer. Clones hear the same.
#[derive(Clone, Debug)]
pub struct Refusals(watch::Sender<Vec<String>>);

impl Default for Refusals {
    fn default() -> Self {
        Self(watch::Sender::new(Vec::new()))
    }
}

impl Refusals {
    fn take(&self, said: &str) {
        let Some(subject) = refused(said) else { return };
        self.0.send_if_modified(|subjects| {
            let is_new = subjects.len() < REFUSED_MAX && !subjects.iter().any(|known| known == subject);
            if is_new {
                subjects.push(subject.to_owned());
            }
            is_new
        });
    }

    /// Returns when the server has refused to carry what is published to `subject`; never where it does not.
    pub(crate) async fn of(&self, subject: &str) {
        let mut subjects = self.0.subscribe();
        let refused = subjects.wait_for(|subjects| subjects.iter().any(|known| known == subject)).await.is_ok();
        if !refused {
            std::future::pending::<()>().await;
        }
    }
}

/// The subject in `Permissions Violation for Publish to "SUBJECT"`.
fn refused(said: &str) -> Option<&str> {
    let (_, rest) = said.split_once("Permissions Violation for Publish to \"")?;
    rest.split_once('"').map(|(subject, _)| subject)
}

/// 50 ms, doubling to 2 s: a child that is restarted is found again at once, a cluster that is away is not hammered.
fn reconnect_delay(attempts: usize) -> Duration {
    let doublings = u32::try_from(attempts.saturating_sub(1)).unwrap_or(u32::MAX).min(6);
    Duration::from_millis(50 << doublings).min(Duration::from_secs(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_printed() {
        let mut target = NatsTarget::plain("nats://127.0.0.1:4222");
        target.auth = NatsAuth::Password { user: "upm".into(), password: "hunter2".into() };
        let printed = format!("{target:?}");
        assert!(printed.contains("upm") && !printed.contains("hunter2"), "{printed}");
    }

    #[test]
    fn what_a_server_refuses_is_heard_by_its_subject() {
        use futures::FutureExt as _;
        let refusals = Refusals::default();
        let heard = refusals.clone();
        refusals.take("Permissions Violation for Publish to \"upm.events.acme.execute.execute\"");
        refusals.take("Permissions Violation for Subscription to \"upm.events.acme.plan\"");
        assert!(heard.of("upm.events.acme.execute.execute").now_or_never().is_some());
        assert!(heard.of("upm.events.acme.plan").now_or_never().is_none());
    }

    #[test]
    fn reconnecting_backs_off_and_stays_bounded() {
        for (attempts, expect_ms) in [(0, 50), (1, 50), (2, 100), (4, 400), (7, 2000), (usize::MAX, 2000)] {
            assert_eq!(reconnect_delay(attempts), Duration::from_millis(expect_ms), "{attempts}");
        }
    }
}
