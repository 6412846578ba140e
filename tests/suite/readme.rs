//! The README's how-tos, run as they are written: each `sh` block by bash, in order, in one folder with a server on it.

use std::path::Path;
use std::process::Command;

use upm_tests::{Server, ok, program, project, run, tool};

/// A fenced block: the words behind the fence, and its text.
struct Block {
    section: String,
    info: String,
    text: String,
}

fn blocks() -> Vec<Block> {
    let readme = std::fs::read_to_string(project().join("README.md")).expect("README.md");
    let mut blocks: Vec<Block> = Vec::new();
    let mut section = String::new();
    let mut inside = false;
    for line in readme.lines() {
        match line.strip_prefix("```") {
            Some(_) if inside => inside = false,
            Some(info) => {
                inside = true;
                blocks.push(Block { section: section.clone(), info: info.to_owned(), text: String::new() });
            }
            None if inside => {
                let block = blocks.last_mut().expect("inside a block");
                block.text.push_str(line);
                block.text.push('\n');
            }
            None => {
                if let Some(title) = line.strip_prefix("### ") {
                    title.clone_into(&mut section);
                } else if line.starts_with("## ") {
                    section.clear();
                }
            }
        }
    }
    blocks
}

fn bash(text: &str, folder: &Path, server: &Server) -> Command {
    let release = program("upm").parent().expect("a folder").to_path_buf();
    let programs = folder.join("programs");
    std::fs::create_dir_all(&programs).expect("a folder");
    for (name, path) in [("nats-server", upm_tests::nats_server()), ("cosign", tool("COSIGN", "cosign-3.1.3"))] {
        if path.exists() && !programs.join(name).exists() {
            std::os::unix::fs::symlink(path, programs.join(name)).expect("linked");
        }
    }
    let path = format!("{}:{}:{}", release.display(), programs.display(), std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("bash");
    command
        // Job control, so that %1 and %2 mean what they mean to a person at a terminal.
        .args(["-e", "-u", "-m", "-o", "pipefail", "-c", text])
        .current_dir(folder)
        .env("PATH", path)
        .env("PYTHONPATH", tool("NATS_PY", "nats-py-2.16.0"))
        .env("UPM_SERVER", server.http());
    command
}

#[test]
fn how_tos_run_as_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("upm-data"), &["--tenant", "acme"]);
    let blocks = blocks();
    let sections: Vec<&str> =
        blocks.iter().filter(|block| block.info == "sh").map(|block| block.section.as_str()).collect();
    for section in [
        "Publish an event",
        "Approve a plan",
        "Ask what happened to a change",
        "Hand an auditor a pack",
        "Verify a pack without us",
        "Check, back up, restore",
        "Watch a log from outside",
        "Carry the log elsewhere",
        "Have it witnessed",
        "Replace a key, hold what must be kept",
        "Join an existing NATS",
    ] {
        assert!(sections.contains(&section), "the README has the how-to {section:?}");
    }
    for block in blocks.iter().filter(|block| !block.section.is_empty()) {
        if let Some(file) = block.info.strip_prefix("python file=") {
            std::fs::write(folder.path().join(file), &block.text).expect("written");
        } else if block.info == "sh" {
            if block.text.contains("cosign") && !tool("COSIGN", "cosign-3.1.3").exists() {
                eprintln!(
                    "left out: {:?} wants cosign (`scripts/setup interop` builds it where Go is there)",
                    block.section
                );
                continue;
            }
            ok(&mut bash(&block.text, folder.path(), &server));
        }
    }
    let (_, shown, _) = run(&mut bash("upm change show CHG-1042 --tenant acme", folder.path(), &server));
    assert!(shown.contains("Add a read replica"), "{shown}");
}
