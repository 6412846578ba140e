//! What a step has in hand: its environment, and credentials that are fetched for it alone and gone when it is over.

use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use tokio::io::AsyncReadExt as _;
use tokio::process::Command;
use workers::execute::credentials::{self, Credentials};
use workers::execute::event::Handed;
use workers::execute::options::{Helper, Source};
use workers::preflight::Planned;

use super::scene::{Job, Variables};
use crate::work::Shop;
use crate::work::process::resolve;

/// What a helper may take and print.
const TIME: Duration = Duration::from_secs(30);
const BYTES: u64 = 1 << 20;

/// What a step has in hand. Dropped, its files are gone.
pub(in crate::work) struct Hand {
    pub(in crate::work) environment: Variables,
    pub(in crate::work) secrets: Vec<String>,
    pub(in crate::work) handed: Option<Handed>,
    files: Option<PathBuf>,
}

impl Hand {
    /// For a step that runs in `directory`; what is wrong is told without quoting a credential.
    pub(super) async fn of(job: &Job<'_>, program: &str, directory: &Path) -> Result<Self, String> {
        Self::for_plan(job.shop, &job.planned, program, directory).await
    }

    /// The same for whoever takes back what a plan did.
    pub(in crate::work) async fn for_plan(
        shop: &Shop,
        planned: &Planned,
        program: &str,
        directory: &Path,
    ) -> Result<Self, String> {
        let mut hand =
            Self { environment: shop.environment(directory), secrets: Vec::new(), handed: None, files: None };
        let Some(helper) = shop.config.execute.helper(program, planned.case()) else { return Ok(hand) };
        let told = |why: String| format!("credentials {:?}: {why}", helper.name);
        let given = given(shop, helper, directory).await.map_err(told)?;
        let credentials = credentials::read(helper, &given, shop.now_s()).map_err(told)?;
        let files = directory.with_extension("credentials");
        write(&credentials, &files).map_err(|error| told(format!("{}: {error}", files.display())))?;
        hand.environment.extend(credentials.variables(&files.display().to_string()));
        hand.secrets = credentials.secrets();
        hand.handed = Some(Handed { kind: helper.name.clone(), ttl_s: credentials.ttl_s, mtls: helper.mtls });
        hand.files = Some(files);
        Ok(hand)
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        if let Some(files) = &self.files
            && let Err(error) = std::fs::remove_dir_all(files)
        {
            tracing::warn!(path = %files.display(), %error, "files of credentials are left");
        }
    }
}

async fn given(shop: &Shop, helper: &Helper, directory: &Path) -> Result<String, String> {
    match &helper.source {
        Source::File(path) => {
            let path = shop.base.join(path);
            let length = std::fs::metadata(&path).map_err(|error| format!("{}: {error}", path.display()))?.len();
            if length > BYTES {
                return Err(format!("{} has {length} bytes, expected at most {BYTES}", path.display()));
            }
            std::fs::read_to_string(&path).map_err(|error| format!("{}: {error}", path.display()))
        }
        Source::Program(argv) => printed(shop, argv, directory).await,
    }
}

/// What a helper prints. It is no command of a plan: whoever configures the workers names it, and it gets the workers' whole environment, since it has to prove to
/// somebody who it is.
async fn printed(shop: &Shop, argv: &[String], directory: &Path) -> Result<String, String> {
    let path = shop.variables.get("PATH").map_or("", String::as_str);
    let (program, arguments) = argv.split_first().ok_or("no program")?;
    // A path starts where the options lie.
    let own = shop.base.join(program).canonicalize().ok();
    let name = if program.contains('/') { own.as_deref().and_then(Path::to_str) } else { Some(program.as_str()) };
    let program = name.and_then(|name| resolve(name, path)).ok_or_else(|| format!("{program} is not there"))?;
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env_clear()
        .envs(shop.variables.iter())
        .current_dir(directory)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        // What it says there could be anything.
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| format!("{}: {error}", argv[0]))?;
    let mut text = String::new();
    let read = async {
        if let Some(stdout) = child.stdout.take() {
            stdout.take(BYTES).read_to_string(&mut text).await.map_err(|_| "it prints no text".to_owned())?;
        }
        child.wait().await.map_err(|error| error.to_string())
    };
    let status =
        tokio::time::timeout(TIME, read).await.map_err(|_| format!("no answer within {} s", TIME.as_secs()))??;
    if status.success() { Ok(text) } else { Err(format!("{} ended with {status}", argv[0])) }
}

fn write(credentials: &Credentials, directory: &Path) -> std::io::Result<()> {
    // Of an earlier try that was killed.
    if directory.exists() {
        std::fs::remove_dir_all(directory)?;
    }
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    for (name, text) in &credentials.files {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(directory.join(name))?;
        file.write_all(text.replace("{files}", &directory.display().to_string()).as_bytes())?;
    }
    Ok(())
}
