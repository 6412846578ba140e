//! Writes the lists of `docs/maturity.md` and `docs/ratings.md` again from the data: `cargo run -p upm-projector --example maturity_docs`.

use std::path::Path;
use std::{fs, io};

use projector::maturity::document;

fn main() -> io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
    for name in ["maturity.md", "ratings.md"] {
        let path = docs.join(name);
        fs::write(&path, document::filled(&fs::read_to_string(&path)?))?;
    }
    Ok(())
}
