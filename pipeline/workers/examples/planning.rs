//! How long planning takes: `cargo run --release -p upm-workers --example planning`. Figures, and a failure where the 95th percentile of
//! 200 resources is over 50 ms.

use std::hint::black_box;
use std::process::ExitCode;
use std::time::Instant;

use serde_json::{Value, json};
use workers::catalogue::shipped;
use workers::plan::plan;
use workers::request::json::read;

/// What 200 resources may take.
const LIMIT_MS: f64 = 50.0;

/// `count` resources in groups of four that depend on each other.
fn request(count: usize) -> Vec<u8> {
    let group = |n: usize| -> [Value; 4] {
        let (namespace, account) = (format!("n{n}"), format!("s{n}"));
        [
            json!({"type": "k8s_role_binding", "name": format!("r{n}"), "namespace": namespace, "role": "view", "service_account": account}),
            json!({"type": "k8s_service_account", "name": account, "namespace": namespace}),
            json!({"type": "k8s_deployment", "name": format!("d{n}"), "namespace": namespace, "image": "nginx:1.27"}),
            json!({"type": "k8s_namespace", "name": namespace}),
        ]
    };
    let resources: Vec<Value> = (0..count / 4).flat_map(group).collect();
    json!({ "resources": resources }).to_string().into_bytes()
}

fn words(count: usize) -> Vec<u8> {
    let names: Vec<String> = (0..count).map(|n| format!("n{n}")).collect();
    json!({ "request": format!("create namespaces {}", names.join(", ")) }).to_string().into_bytes()
}

/// From the document's bytes to those of the plan: median and 95th percentile, in ms.
#[expect(clippy::disallowed_methods, reason = "a measurement, not a decision")]
fn measure(name: &str, document: &[u8]) -> f64 {
    let mut times: Vec<f64> = (0..100)
        .map(|_| {
            let start = Instant::now();
            let request = read(black_box(document)).expect("a request");
            let plan = plan(shipped(), &request, None).expect("a plan");
            black_box(plan.document().to_string().len());
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:24} median {:6.2} ms  95 % {:6.2} ms", times[50], times[95]);
    times[95]
}

fn main() -> ExitCode {
    measure("4 resources", &request(4));
    let (resources, words) = (measure("200 resources", &request(200)), measure("200 in words", &words(200)));
    if resources.max(words) <= LIMIT_MS { ExitCode::SUCCESS } else { ExitCode::from(1) }
}
