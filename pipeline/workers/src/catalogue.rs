//! The catalogue: what can be asked for, and which commands make, find, read back and remove it.
//!
//! A catalogue is made of TOML files (`docs/catalogue.md` has every key). Those for AWS, Azure, Kubernetes and `OpenTofu` come with the
//! program; users add their own, which may add types, give defaults, and replace what came before only where they say so. Everything
//! is checked when it is read: a template that names an unknown field or tool never becomes a plan.
//!
//! Left out: asking whether the tools are there (preflight), and what a request means (`request`).

mod document;
mod field;
mod read;
mod reading;
mod template;
mod tool;

use std::collections::BTreeMap;
use std::sync::LazyLock;

use sha2::{Digest, Sha256};

use crate::table::Mistake;

pub use field::{Field, Form};
pub(crate) use read::places;
pub use template::{Rendered, Template};
pub use tool::{Role, Tool};

/// The files that come with the program: name and text.
pub const SHIPPED: [(&str, &str); 4] = [
    ("aws.toml", include_str!("../catalogue/aws.toml")),
    ("azure.toml", include_str!("../catalogue/azure.toml")),
    ("kubernetes.toml", include_str!("../catalogue/kubernetes.toml")),
    ("opentofu.toml", include_str!("../catalogue/opentofu.toml")),
];

/// All files together.
#[derive(Debug, Clone)]
pub struct Catalogue {
    /// Command-line tools by the name that templates use.
    pub tools: BTreeMap<String, Tool>,
    /// What types may run on, without being one type: a Kubernetes cluster, whoever made it.
    pub roles: BTreeMap<String, Role>,
    /// Resource types by name.
    pub types: BTreeMap<String, Type>,
    digest: String,
}

/// One resource type.
#[derive(Debug, Clone)]
pub struct Type {
    /// As in `target.resources[].type`.
    pub name: String,
    /// The file that it stands in.
    pub file: String,
    /// For people.
    pub title: String,
    /// How requests call it, in lower case, without articles.
    pub words: Vec<String>,
    /// Prefixes that its names often have, left out of names derived from them (`aks-demo` gives `rg-demo`).
    pub prefixes: Vec<String>,
    /// For instance `azure`.
    pub cloud: Option<String>,
    /// Roles that such a resource plays for others.
    pub provides: Vec<String>,
    /// The role that it needs.
    pub runs_on: Option<String>,
    /// Makes it.
    pub create: Template,
    /// Says whether it is there.
    pub exists: Exists,
    /// Reads its state.
    pub read_back: Template,
    /// Removes it.
    pub delete: Template,
    /// What `create` would do, without doing it.
    pub dry_run: Option<Template>,
    /// Ends well when what was made or changed is rolled out: there is not yet at work.
    pub rollout: Option<Template>,
    /// Points those who use it at its twin (blue-green); `{twin}` is the twin's name.
    pub switch: Option<Template>,
    /// Why a rollback leaves it standing.
    pub keep: Option<String>,
    /// What can be said about it; `name` always.
    pub fields: BTreeMap<String, Field>,
    /// What can be done to one that is there.
    pub updates: BTreeMap<String, Update>,
    /// What it takes of a quota.
    pub quota: Option<Quota>,
    /// What it costs.
    pub cost: Option<Cost>,
    /// What making or removing it means for others.
    pub impact: Option<String>,
    /// What it means for security.
    pub security: Option<String>,
}

/// A command that says whether a resource is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exists {
    /// The command.
    pub command: Template,
    /// How its answer is read.
    pub when: When,
    /// How it says that there is none.
    pub absent: Absent,
}

/// What a failing check has to show to mean that a resource is not there. Without either, each failure means that; with one, any other
/// failure (no network, no right) means that nobody knows.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Absent {
    /// This exit code.
    pub code: Option<u64>,
    /// This text among its errors.
    pub says: Option<String>,
}

/// When a resource is there, after the command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum When {
    /// The exit code is 0.
    Success,
    /// The exit code is 0, and this is printed (without space around it).
    Prints(String),
    /// The exit code is 0, and something else than this is printed.
    PrintsOtherThan(String),
}

/// A change of a resource that is there.
#[derive(Debug, Clone)]
pub struct Update {
    /// How requests begin it, before type and name: `scale`, `set tag {tag} on`.
    pub says: Vec<String>,
    /// The fields that it sets; each must be given.
    pub sets: Vec<String>,
    /// The command; with earlier values, it is its own way back.
    pub command: Template,
    /// What it means for others.
    pub impact: Option<String>,
}

/// A hint at a quota.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quota {
    /// As its owner calls it.
    pub name: String,
    /// A whole number, or the field that holds it.
    pub units: String,
    /// Reads usage and limit.
    pub read: Template,
}

/// A hint at a cost, in hundredths of a currency for a month of thirty days.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cost {
    /// For each unit.
    pub monthly_cents: u64,
    /// The field that counts units; one without it.
    pub per: Option<String>,
    /// What it was taken from.
    pub note: String,
}

static OWN: LazyLock<Catalogue> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the files are compiled in, and a test reads them")]
    Catalogue::read(&[]).expect("the shipped files are a catalogue")
});

/// The catalogue that comes with the program.
pub fn shipped() -> &'static Catalogue {
    &OWN
}

impl Catalogue {
    /// The shipped files, and these (name and text) after them, in order.
    pub fn read(more: &[(String, String)]) -> Result<Self, Mistake> {
        let files: Vec<(&str, &str)> =
            SHIPPED.into_iter().chain(more.iter().map(|(name, text)| (name.as_str(), text.as_str()))).collect();
        let mut read = read::files(&files)?;
        // Names of files are where they lie on somebody's machine: only texts count.
        let mut digest = Sha256::new();
        for (_, text) in &files {
            digest.update(Sha256::digest(text.as_bytes()));
        }
        read.digest = format!("sha256:{}", hex::encode(digest.finalize()));
        Ok(read)
    }

    /// SHA-256 over the digests of the files' texts in order.
    pub fn digest(&self) -> &str {
        &self.digest
    }

    /// The program that a tool's name stands for.
    pub fn program(&self, tool: &str) -> String {
        self.tools.get(tool).map_or_else(|| tool.to_owned(), |tool| tool.program.clone())
    }

    /// The tool whose program this is.
    pub fn tool_of(&self, program: &str) -> Option<&Tool> {
        self.tools.values().find(|tool| tool.program == program)
    }
}

#[cfg(test)]
mod tests;
