//! Flags that say what an event says, shared by `emit`, `run` and `adapt`, with defaults from CI variables where nothing was said.

use schemas::ids::{ChangeId, Environment, Phase, Tenant};
use workers::build::{self, Fields, Said};
use workers::ci::Defaults;

use crate::cli::CliError;
use crate::clock;

/// Who changes what, why and where.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct Intent {
    /// Change that the event belongs to
    #[arg(long, value_name = "ID", help_heading = "Event")]
    pub change: Option<ChangeId>,
    /// What was asked for, in words
    #[arg(long, value_name = "TEXT", help_heading = "Event")]
    pub request: Option<String>,
    /// Who asked for it
    #[arg(long, value_name = "NAME", help_heading = "Event")]
    pub initiator: Option<String>,
    /// Where it happens, for instance production
    #[arg(long = "env", visible_alias = "environment", value_name = "NAME", help_heading = "Event")]
    pub environment: Option<Environment>,
    /// How it was asked for
    #[arg(long, value_parser = ["chatops", "api", "ticket"], help_heading = "Event")]
    pub source: Option<String>,
    /// Why
    #[arg(long, value_name = "TEXT", help_heading = "Event")]
    pub reason: Option<String>,
    /// Ticket, for instance OPS-123
    #[arg(long, value_name = "ID", help_heading = "Event")]
    pub ticket: Option<String>,
    /// Class of the change
    #[arg(long, value_parser = ["standard", "normal", "emergency"], help_heading = "Event")]
    pub class: Option<String>,
    /// Which attempt of the change, from 1
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..), help_heading = "Event")]
    pub attempt: Option<u32>,
    /// Team that owns what is changed
    #[arg(long, value_name = "TEAM", help_heading = "Event")]
    pub owner: Option<String>,
    /// Who may see it
    #[arg(long, value_parser = ["team", "org", "private"], help_heading = "Event")]
    pub visibility: Option<String>,
    /// Cloud, for instance aws
    #[arg(long, value_name = "NAME", help_heading = "Event")]
    pub cloud: Option<String>,
    /// Cluster or endpoint that is changed
    #[arg(long, value_name = "ID", help_heading = "Event")]
    pub endpoint: Option<String>,
}

impl Intent {
    /// The fields of an event made now, with a new id. `attempt` is only taken from CI together with the change.
    pub fn fields(&self, ci: &Defaults, tenant: &Tenant, phase: Phase) -> Result<Fields, CliError> {
        let now = clock::unix_ms();
        let initiator = self.initiator.clone().or_else(|| ci.initiator.clone()).ok_or_else(|| {
            CliError::could_not("nobody is named who asked for it: add --initiator NAME")
                .with_detail("in GitHub Actions and GitLab CI it is the one who started the run; elsewhere $USER")
        })?;
        let change = self.change.as_ref().map(|change| change.as_str().to_owned());
        let attempt = if change.is_some() { self.attempt } else { self.attempt.or(ci.attempt) };
        Ok(Fields {
            id: new_id(now)?,
            timestamp: build::rfc3339(i64::try_from(now).unwrap_or(i64::MAX)),
            phase,
            change: change.or_else(|| ci.change.clone()),
            environment: self
                .environment
                .as_ref()
                .map(|name| name.as_str().to_owned())
                .or_else(|| ci.environment.clone()),
            class: self.class.clone(),
            attempt,
            probe: false,
            request: self.request.clone().or_else(|| ci.request.clone()),
            source: self.source.clone().unwrap_or_else(|| ci.source.unwrap_or("api").to_owned()),
            initiator,
            tenant: tenant.as_str().to_owned(),
            reason: self.reason.clone().or_else(|| ci.reason.clone()),
            ticket: self.ticket.clone().or_else(|| ci.ticket.clone()),
        })
    }

    /// What the flags say beyond intent.
    pub fn said(&self) -> Said {
        Said {
            cloud: self.cloud.clone(),
            endpoint: self.endpoint.clone(),
            owner: self.owner.clone(),
            visibility: self.visibility.clone(),
            ..Said::default()
        }
    }
}

/// A UUID version 7: unique without a central place, and sorted by time in a listing.
pub fn new_id(unix_ms: u64) -> Result<String, CliError> {
    let mut random = [0; 10];
    clock::fill(&mut random).map_err(|error| CliError::because("can't make an event id", &error))?;
    Ok(build::uuid_v7(unix_ms, random))
}
