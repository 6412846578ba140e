//! How long admission takes: `cargo run --release -p upm-schemas --example timing`. Figures, no test.
//!
//! CPU time of this thread as Linux counts it, so that a busy machine does not make admission look slow.

use std::hint::black_box;

use schemas::admit::{Scratch, admit_unaddressed};

const MODEL: &str = include_str!("model.json");

/// The model's example on one line, about 1.7 KB.
fn compact() -> String {
    MODEL.replace('\n', "")
}

/// About 1.3 KB, nothing in it that looks like a secret.
fn clean() -> String {
    let value = compact().replace("--token=***", "--note=***").replace("Authorization: Bearer ***", "Header ***");
    let trace = value.find("\"audit_trace\"").unwrap_or(value.len());
    format!("{}\"x\":1}}}}", &value[..trace])
}

fn masked() -> String {
    compact().replace("--name rg-demo --location", "--password hunter2 --location")
}

fn cpu_ns() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|field| field.parse().ok()).unwrap_or(f64::NAN)
}

fn measure(name: &str, document: &str) {
    let mut scratch = Scratch::default();
    let mut best = f64::MAX;
    for _ in 0..10 {
        let rounds = 5_000;
        let start = cpu_ns();
        for _ in 0..rounds {
            black_box(admit_unaddressed(black_box(document.as_bytes()), &mut scratch).is_ok());
        }
        best = best.min((cpu_ns() - start) / f64::from(rounds));
    }
    let said = match admit_unaddressed(document.as_bytes(), &mut scratch) {
        Ok((_, admitted)) => format!("admitted, {} masked", admitted.masked),
        Err(rejection) => rejection.to_string(),
    };
    println!("{name:20} {:5} bytes  {:6.2} µs  {said}", document.len(), best / 1e3);
}

fn main() {
    if std::env::args().len() > 1 {
        return measure("model", MODEL);
    }
    measure("clean", &clean());
    measure("model, compact", &compact());
    measure("model, verbatim", MODEL);
    measure("model, one secret", &masked());
    measure("not JSON", &clean()[..1_200]);
}
