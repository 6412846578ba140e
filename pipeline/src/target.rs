//! Which NATS server to talk to, and how to be let in.
//!
//! Leaves out where the values come from (flags, key files): the caller reads those.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use async_nats::{Client, ConnectOptions};

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
    fn reconnecting_backs_off_and_stays_bounded() {
        for (attempts, expect_ms) in [(0, 50), (1, 50), (2, 100), (4, 400), (7, 2000), (usize::MAX, 2000)] {
            assert_eq!(reconnect_delay(attempts), Duration::from_millis(expect_ms), "{attempts}");
        }
    }
}
