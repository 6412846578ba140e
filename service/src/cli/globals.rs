//! The options that every command has.

use std::path::PathBuf;

use schemas::ids::Tenant;

use super::CliError;
use crate::data_dir::ServeFile;

/// Where a server listens unless it is told otherwise.
pub const DEFAULT_SERVER: &str = "http://127.0.0.1:8080";

/// The global options as clap reads them.
#[derive(Debug, clap::Args)]
pub struct GlobalArgs {
    /// Tenant to speak of [default: `default`, where an event doesn't say it]; `serve`, `rebuild` and `fsck` take several
    #[arg(
        long = "tenant",
        value_name = "NAME",
        global = true,
        env = "UPM_TENANT",
        value_delimiter = ',',
        help_heading = "Global options"
    )]
    tenants: Vec<Tenant>,
    /// URL of a running server [default: the one that runs on the data directory, else `http://127.0.0.1:8080`]
    #[arg(
        long,
        value_name = "URL",
        global = true,
        env = "UPM_SERVER",
        hide_env_values = true,
        help_heading = "Global options"
    )]
    server: Option<String>,
    /// Data directory
    #[arg(
        long,
        value_name = "DIR",
        global = true,
        env = "UPM_DATA",
        default_value = "./upm-data",
        help_heading = "Global options"
    )]
    data: PathBuf,
    /// Print JSON
    #[arg(long, global = true, help_heading = "Global options")]
    pub json: bool,
}

/// The global options, checked.
#[derive(Debug, Clone)]
pub struct Globals {
    /// The tenants named; at most one, but for commands that take several.
    pub tenants: Vec<Tenant>,
    /// The server's URL as given by option or environment, without a trailing slash.
    pub server: Option<String>,
    /// The data directory; it may not exist.
    pub data: PathBuf,
    /// Results as JSON on standard output, errors as JSON on standard error.
    pub json: bool,
}

impl Globals {
    /// Checks the options. `several` says that the command takes more than one tenant.
    pub fn new(args: GlobalArgs, several: bool) -> Result<Self, CliError> {
        if args.tenants.len() > 1 && !several {
            return Err(CliError::could_not(format!(
                "--tenant was given {} times; this command takes one",
                args.tenants.len()
            )));
        }
        Ok(Self {
            tenants: args.tenants,
            server: args.server.map(|url| url.trim_end_matches('/').to_owned()),
            data: args.data,
            json: args.json,
        })
    }

    /// The tenant that was named, if one was.
    pub fn tenant(&self) -> Option<&Tenant> {
        self.tenants.first()
    }

    /// The tenant that was named, else `default`.
    pub fn tenant_or_default(&self) -> Result<Tenant, CliError> {
        match self.tenant() {
            Some(tenant) => Ok(tenant.clone()),
            None => Tenant::parse("default").map_err(|error| CliError::because("default tenant", &error)),
        }
    }

    /// The server to talk to: the one given, else the one that runs on the data directory, else the default.
    pub fn server_url(&self) -> String {
        self.server
            .clone()
            .or_else(|| self.serve_file().map(|file| file.http))
            .unwrap_or_else(|| DEFAULT_SERVER.to_owned())
    }

    /// What the server that runs on the data directory says of itself; none if none runs there.
    pub fn serve_file(&self) -> Option<ServeFile> {
        ServeFile::of_running(&self.data)
    }
}
