//! Signing with a person's own SSH key. The private key is never read here: the real `ssh-keygen -Y sign` uses it, from a file (which may have a
//! passphrase, or be a FIDO token's) or out of an agent.

use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use ledger::ssh::SshKey;

use super::input;
use crate::bounded::NOTE_MAX;
use crate::cli::CliError;
use crate::clock;

/// What signs.
#[derive(Debug)]
pub struct Signing {
    /// The key that others see.
    pub public: SshKey,
    /// What `ssh-keygen -f` gets: a private key, or the public one of a key that an agent holds.
    file: PathBuf,
    /// Of an agent's key, whose public half is written down as long as we need it.
    written: bool,
}

impl Drop for Signing {
    fn drop(&mut self) {
        if self.written {
            // Public, and in the folder for what may go at any time.
            let _ = fs::remove_file(&self.file);
        }
    }
}

impl Signing {
    /// A key in a file: private, or public where an agent holds the other half.
    pub fn with_file(file: &Path) -> Result<Self, CliError> {
        let public = if file.extension().is_some_and(|end| end == "pub") {
            file.to_owned()
        } else {
            let mut name = file.as_os_str().to_owned();
            name.push(".pub");
            name.into()
        };
        let public = if public.exists() { public_key(&public)? } else { derived(file)? };
        Ok(Self { public, file: file.to_owned(), written: false })
    }

    /// A key that an agent holds.
    pub fn with_agent(public: SshKey) -> Result<Self, CliError> {
        let mut name = [0; 8];
        clock::fill(&mut name).map_err(|error| CliError::because("the system gives no randomness", &error))?;
        let file = std::env::temp_dir().join(format!("upm-signing-{}.pub", hex::encode(name)));
        let failed = |error: &std::io::Error| CliError::because(format!("can't write {}", file.display()), error);
        let open = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&file);
        let mut out = open.map_err(|error| failed(&error))?;
        let signing = Self { public, file: file.clone(), written: true };
        writeln!(out, "{}", signing.public.line()).map_err(|error| failed(&error))?;
        Ok(signing)
    }

    /// Has `ssh-keygen` sign these bytes, as an armoured text.
    pub fn sign(&self, namespace: &str, said: &[u8]) -> Result<String, CliError> {
        sign(&self.file, namespace, said)
    }
}

/// Has `ssh-keygen` sign these bytes with the key in a file.
pub fn sign(file: &Path, namespace: &str, said: &[u8]) -> Result<String, CliError> {
    let failed = |error: &std::io::Error| CliError::because("ssh-keygen, which signs", error);
    let mut signing = Command::new("ssh-keygen");
    signing.args(["-Y", "sign", "-q", "-n", namespace, "-f"]).arg(file);
    // A passphrase is asked for on the terminal, a token wants to be touched, and errors belong there too.
    let child = signing.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = child.map_err(|error| failed(&error))?;
    // Where it ends at once, its own words on standard error say more than a broken pipe.
    let sent = child.stdin.take().map_or(Ok(()), |mut stdin| stdin.write_all(said));
    let ended = child.wait_with_output().map_err(|error| failed(&error))?;
    if !ended.status.success() {
        return Err(CliError::could_not(format!("ssh-keygen did not sign with {}", file.display())));
    }
    sent.map_err(|error| failed(&error))?;
    String::from_utf8(ended.stdout).map_err(|error| CliError::because("the signature", &error))
}

/// The keys that the agent holds, as far as they are of a kind that is known here.
pub fn agent_keys() -> Result<Vec<SshKey>, CliError> {
    let listed = Command::new("ssh-add").arg("-L").stdin(Stdio::null()).stderr(Stdio::null()).output();
    let listed = listed.map_err(|error| CliError::because("ssh-add, which asks the agent", &error))?;
    // 1: it holds none; 2: there is no agent.
    if listed.status.code() == Some(2) {
        return Err(CliError::could_not("no ssh-agent answers (SSH_AUTH_SOCK)")
            .with_detail("start one and ssh-add your key, or name the key's file with --key FILE"));
    }
    let lines = String::from_utf8_lossy(&listed.stdout).into_owned();
    Ok(lines.lines().filter_map(|line| SshKey::parse(line).ok()).collect())
}

/// The public key in a file: its first line that is no comment.
pub fn public_key(file: &Path) -> Result<SshKey, CliError> {
    let text = input::text(file, NOTE_MAX)?;
    let line = text.lines().find(|line| !line.trim().is_empty() && !line.starts_with('#')).unwrap_or_default();
    SshKey::parse(line).map_err(|error| CliError::because(file.display().to_string(), &error))
}

/// The public half of a private key that has no `.pub` beside it.
fn derived(file: &Path) -> Result<SshKey, CliError> {
    let printed = Command::new("ssh-keygen").args(["-y", "-f"]).arg(file).stdin(Stdio::inherit()).output();
    let printed = printed.map_err(|error| CliError::because("ssh-keygen", &error))?;
    if !printed.status.success() {
        return Err(CliError::could_not(format!("{} is no key that ssh-keygen can read", file.display()))
            .with_detail(String::from_utf8_lossy(&printed.stderr).trim()));
    }
    let line = String::from_utf8_lossy(&printed.stdout).into_owned();
    SshKey::parse(&line).map_err(|error| CliError::because(file.display().to_string(), &error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(program: &str, arguments: &[&str], file: &Path) {
        assert!(Command::new(program).args(arguments).arg(file).status().unwrap().success());
    }

    #[test]
    fn a_key_signs_with_and_without_its_public_half() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("bob");
        run("ssh-keygen", &["-q", "-t", "ed25519", "-N", "", "-f"], &file);
        let signing = Signing::with_file(&file).unwrap();
        let signature = signing.sign("upm-approval", b"hello").unwrap();
        assert_eq!(ledger::ssh::verify(&signature, "upm-approval", b"hello").as_ref(), Ok(&signing.public));
        fs::remove_file(folder.path().join("bob.pub")).unwrap();
        assert_eq!(Signing::with_file(&file).unwrap().public, signing.public);
        fs::write(&file, "nonsense").unwrap();
        assert!(Signing::with_file(&file).unwrap_err().to_string().contains("no key that ssh-keygen can read"));
    }
}
