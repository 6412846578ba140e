//! The argv guard: whatever is accepted is the same when it is shown and read again, and real shells read what is shown as these words.
//!
//! Shells are not asked here; their reading of what the guard may leave bare and of its two quotes is short enough to stand below.
#![no_main]

use libfuzzer_sys::fuzz_target;
use workers::argv::{is_invisible, parse};
use workers::catalogue::shipped;

const FILTERS: [&str; 8] = ["jq", "grep", "wc", "head", "tail", "cut", "sort", "uniq"];

fuzz_target!(|bytes: &[u8]| {
    let Ok(line) = std::str::from_utf8(bytes) else { return };
    let Ok(pipeline) = parse(line, shipped()) else { return };
    let shown = pipeline.render();
    assert_eq!(parse(&shown, shipped()).as_ref(), Ok(&pipeline), "{shown:?}");
    assert_eq!(as_a_shell(line), pipeline.commands, "{line:?}");
    assert_eq!(as_a_shell(&shown), pipeline.commands, "{shown:?}");
    for (place, argv) in pipeline.commands.iter().enumerate() {
        let program = argv[0].as_str();
        assert!(if place == 0 { shipped().tool_of(program).is_some() } else { FILTERS.contains(&program) }, "{program:?}");
        assert!(argv.iter().flat_map(|word| word.chars()).all(|c| c != '\0' && !is_invisible(c)), "{argv:?}");
        // Behind one of these a word is its value, whatever it looks like.
        let takes = |word: &str| ["-t", "-k", "--field-separator", "--key"].contains(&word);
        let writes = |pair: &[String]| !takes(&pair[0]) && (pair[1].starts_with("-o") || pair[1].starts_with("--o"));
        assert!(program != "sort" || !argv.windows(2).any(writes), "{argv:?}");
    }
});

/// POSIX's token recognition, for lines in which nothing but quotes and pipes acts.
fn as_a_shell(line: &str) -> Vec<Vec<String>> {
    let mut commands: Vec<Vec<String>> = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut quote = None;
    for c in line.chars() {
        match (quote, c) {
            (Some(open), _) if c == open => quote = None,
            (Some('"'), '$' | '`' | '\\') => panic!("live between double quotes"),
            (Some(_), _) => word.get_or_insert_default().push(c),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\t' | '|') => {
                commands.last_mut().expect("one").extend(word.take());
                if c == '|' {
                    commands.push(Vec::new());
                }
            }
            (None, ';' | '&' | '<' | '>' | '(' | ')' | '$' | '`' | '\\' | '*' | '?' | '[' | '{' | '}' | '~' | '!' | '\n' | '\r') => {
                panic!("live outside quotes")
            }
            (None, _) => word.get_or_insert_default().push(c),
        }
    }
    commands.last_mut().expect("one").extend(word);
    commands
}
