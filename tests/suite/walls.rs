//! Dependencies point one way: schemas ← ledger ← projector ← pipeline ← service. What knows a database, the network
//! or a C++ library is a leaf, so that an auditor's verifier never compiles it.

use std::collections::{BTreeMap, BTreeSet};

use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, PackageId};

/// What each package of the project may name among the others. A package that is not listed fails the test.
const MAY_USE: &[(&str, &[&str])] = &[
    ("upm-schemas", &[]),
    ("upm-ledger", &["upm-schemas"]),
    ("upm-ledger-rocks", &["upm-ledger"]),
    ("upm-projector", &["upm-schemas", "upm-ledger"]),
    ("upm-projector-sqlite", &["upm-schemas", "upm-ledger", "upm-projector"]),
    ("upm-evidence", &["upm-schemas", "upm-ledger", "upm-projector"]),
    ("upm-workers", &["upm-schemas", "upm-projector"]),
    ("upm-adapters", &["upm-schemas"]),
    ("upm-pipeline", &["upm-schemas", "upm-ledger", "upm-projector", "upm-projector-sqlite", "upm-workers"]),
    (
        "upm",
        &[
            "upm-schemas",
            "upm-ledger",
            "upm-ledger-rocks",
            "upm-projector",
            "upm-projector-sqlite",
            "upm-evidence",
            "upm-workers",
            "upm-adapters",
            "upm-pipeline",
        ],
    ),
    ("upm-tests", &[]),
    (
        "upm-bench",
        &[
            "upm-schemas",
            "upm-ledger",
            "upm-ledger-rocks",
            "upm-pipeline",
            "upm-projector",
            "upm-projector-sqlite",
            "upm-evidence",
        ],
    ),
];

/// Who alone may reach each of these, at any depth. Everybody else stays free of it.
const ONLY_BELOW: &[(&str, &[&str])] = &[
    ("librocksdb-sys", &["upm-ledger-rocks", "upm", "upm-bench"]),
    ("rusqlite", &["upm-projector-sqlite", "upm-pipeline", "upm", "upm-bench"]),
    ("tokio", &["upm-pipeline", "upm", "upm-bench"]),
    ("async-nats", &["upm-pipeline", "upm", "upm-bench"]),
    ("axum", &["upm"]),
];

/// The platform whose dependencies are looked at.
const PLATFORM: &str = if cfg!(target_os = "macos") {
    "aarch64-apple-darwin"
} else if cfg!(target_arch = "aarch64") {
    "aarch64-unknown-linux-gnu"
} else {
    "x86_64-unknown-linux-gnu"
};

fn metadata() -> Metadata {
    MetadataCommand::new()
        .manifest_path(upm_tests::project().join("Cargo.toml"))
        // Offline, with what the build has fetched: crates of other platforms are not among it.
        .other_options(["--locked", "--offline", "--filter-platform", PLATFORM].map(str::to_owned).to_vec())
        .exec()
        .expect("cargo metadata of the project")
}

#[test]
fn packages_name_only_what_lies_left_of_them() {
    let metadata = metadata();
    let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
    let ours: BTreeSet<&str> = metadata.workspace_packages().iter().map(|package| package.name.as_str()).collect();
    assert_eq!(ours, allowed.keys().copied().collect(), "the table names every package of the workspace and no other");
    for package in metadata.workspace_packages() {
        for dependency in &package.dependencies {
            if ours.contains(dependency.name.as_str()) && dependency.kind != DependencyKind::Development {
                assert!(
                    allowed[package.name.as_str()].contains(&dependency.name.as_str()),
                    "{} must not use {}",
                    package.name,
                    dependency.name
                );
            }
        }
    }
}

#[test]
fn leaves_keep_the_outside_world_to_themselves() {
    let metadata = metadata();
    let names: BTreeMap<&PackageId, &str> =
        metadata.packages.iter().map(|package| (&package.id, package.name.as_str())).collect();
    for package in metadata.workspace_packages() {
        let reached = reached(&metadata, &package.id);
        for (outside, insiders) in ONLY_BELOW {
            let found = reached.iter().any(|id| names[id] == *outside);
            assert!(
                !found || insiders.contains(&package.name.as_str()),
                "{} reaches {outside}; only {insiders:?} may",
                package.name
            );
        }
    }
}

/// Every package that `from` is built with: normal and build dependencies, at any depth.
fn reached<'a>(metadata: &'a Metadata, from: &'a PackageId) -> BTreeSet<&'a PackageId> {
    let resolve = metadata.resolve.as_ref().expect("cargo metadata resolves");
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(id) = open.pop() {
        for dependency in &nodes[id].deps {
            let shipped = dependency.dep_kinds.iter().any(|kind| kind.kind != DependencyKind::Development);
            if shipped && reached.insert(&dependency.pkg) {
                open.push(&dependency.pkg);
            }
        }
    }
    reached
}
