//! Hostile lines, each refused where and for what it says, or read as exactly these arguments.

use proptest::prelude::*;

use super::*;
use crate::catalogue::shipped;

mod table;
use table::Gives::{Argv, No};
use table::table;

#[test]
fn hostile_lines() {
    let table = table();
    let refused = table.iter().filter(|(_, gives)| matches!(gives, No(..))).count();
    assert!(refused >= 150, "{refused} of {} lines are hostile", table.len());
    for (line, gives) in table {
        let read = parse(line, shipped());
        match gives {
            Argv(commands) => {
                let pipeline = read.unwrap_or_else(|refusal| panic!("{line:?}: {refusal}"));
                assert_eq!(pipeline.commands, commands, "{line:?}");
                let again = pipeline.render();
                assert_eq!(parse(&again, shipped()).as_ref(), Ok(&pipeline), "{line:?}, rendered {again:?}");
            }
            No(found, at, reason) => {
                let refusal = match read {
                    Ok(read) => panic!("{line:?} was read as {read:?}"),
                    Err(refusal) => refusal,
                };
                assert_eq!((refusal.found.as_str(), refusal.at), (found, at), "{line:?}: {refusal}");
                assert!(refusal.to_string().contains(reason), "{line:?}: {refusal}");
            }
        }
    }
}

/// What is accepted means to real shells what it means here: the line as it was written, and each command as it is shown.
#[test]
fn real_shells_read_the_same_words() {
    let read_by = |shell: &str, words: &str| -> Vec<String> {
        let script = format!("for w in {words}; do printf '%s\\0' \"$w\"; done");
        let output = std::process::Command::new(shell).args(["-c", &script]).output().unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        text.split_terminator('\0').map(str::to_owned).collect()
    };
    for (line, gives) in table() {
        let Argv(commands) = gives else { continue };
        for shell in ["sh", "bash"] {
            if let [only] = commands {
                assert_eq!(read_by(shell, line), *only, "{shell}: {line}");
            }
            for argv in commands {
                let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
                assert_eq!(read_by(shell, &render(&argv)), argv, "{shell}: {line}");
            }
        }
    }
}

#[test]
fn long_lines_are_refused() {
    let line = format!("az {}", "x".repeat(LINE_BYTES));
    assert!(parse(&line, shipped()).unwrap_err().to_string().contains("at most 16384 bytes"));
    assert!(parse(&line[..LINE_BYTES], shipped()).is_ok());
}

#[test]
fn a_refusal_points_at_its_place() {
    let line = "az “x” a";
    let refusal = parse(line, shipped()).unwrap_err();
    assert!(
        pointed_at(line, &refusal).starts_with("az “x” a\n   ^ \"“\" at byte 3:"),
        "{}",
        pointed_at(line, &refusal)
    );
}

/// The model's guard of stored plans refuses no line that a shipped template gives, and this one refuses whatever that one does outside
/// quotes.
#[test]
fn it_is_no_weaker_than_the_models_guard() {
    for line in ["a; b", "a && b", "a || b", "a \\ b", "a $(b)", "a < b", "a > b", "a\nb", "a `b`", "a | sh", "a |"] {
        let line = line.replacen('a', "az", 1);
        assert!(!schemas::guard::of_line(&line).is_empty() && parse(&line, shipped()).is_err(), "{line}");
    }
}

/// Text that is likely to be something.
fn hostile() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just("az".to_owned()),
        Just("kubectl-1.29".to_owned()),
        Just(" | ".to_owned()),
        Just(" jq ".to_owned()),
        Just(" sort ".to_owned()),
        Just(" grep ".to_owned()),
        Just(" ".to_owned()),
        Just("\"".to_owned()),
        Just("'".to_owned()),
        Just("'\"'\"'".to_owned()),
        "[ -~]{0,6}",
        "-{0,2}[a-z]{0,6}=?",
        "\\PC{0,3}",
        "[\t\n;&|$`\\\\]{0,2}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is accepted is the same when rendered and read again, and nothing that a shell would act on is left bare.
    #[test]
    fn what_is_accepted_is_what_was_shown(line in hostile()) {
        if let Ok(pipeline) = parse(&line, shipped()) {
            let shown = pipeline.render();
            prop_assert_eq!(parse(&shown, shipped()), Ok(pipeline.clone()));
            prop_assert_eq!(pipeline.render(), shown);
        }
    }

    /// Any arguments that can be seen come through as they are.
    #[test]
    fn arguments_come_through(words in prop::collection::vec("[ -~éß日\n\t]{0,12}", 0..6)) {
        let argv: Vec<String> = std::iter::once("tofu".to_owned()).chain(words).collect();
        let line = render(&argv);
        prop_assert_eq!(parse(&line, shipped()), Ok(Pipeline { commands: vec![argv] }));
    }
}
