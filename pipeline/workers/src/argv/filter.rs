//! What may stand behind a pipe: the model's eight programs, each with the options that are known, and nothing else.
//!
//! A list of what is allowed, not of what is dangerous: an option that somebody invents tomorrow, or an abbreviation that GNU's
//! `getopt_long` would complete, is refused without having been thought of. Options that are dangerous today are refused with their
//! reason. Files are read below the working directory only: no absolute path, no `..`.

use super::jq;

/// What is wrong with a command behind a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wrong {
    /// The program is none of the list.
    Program,
    /// An argument.
    Argument {
        /// Which word, the program being 0.
        place: usize,
        /// Why.
        reason: String,
    },
}

/// Checks program and arguments.
pub fn check(argv: &[&str]) -> Result<(), Wrong> {
    let program = PROGRAMS.iter().find(|program| argv.first() == Some(&program.name)).ok_or(Wrong::Program)?;
    let mut reading = Reading { program, argv, place: 1, operands: Vec::new(), pattern_given: false };
    reading.options()?;
    reading.check_operands()
}

/// What an option's value may be.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Value {
    /// Any text: a pattern, a delimiter, a key.
    Text,
    /// The pattern of grep.
    Pattern,
    /// A count, with a sign or a suffix as coreutils take them.
    Number,
    /// A file below the working directory that holds patterns.
    PatternFile,
    /// Name and value, of jq.
    Two,
}

/// What stands beside options.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Operands {
    /// Files to read.
    Files,
    /// One file to read: a second one would be written.
    OneFile,
    /// A pattern, unless an option gave it; then files.
    PatternAndFiles,
    /// A program of jq, and no files.
    Filter,
}

struct Program {
    name: &'static str,
    flags: &'static str,
    values: &'static [(char, Value)],
    long_flags: &'static [&'static str],
    long_values: &'static [(&'static str, Value)],
    /// `-5` as a count.
    numbers: bool,
    operands: Operands,
    refused: &'static [(&'static str, &'static str)],
}

const FILES0: (&str, &str) = ("--files0-from", "it reads names of files from a file");

const PROGRAMS: [Program; 8] = [
    Program {
        name: "jq",
        flags: "nrcsSejaMCR",
        values: &[],
        long_flags: &[
            "null-input",
            "raw-output",
            "compact-output",
            "slurp",
            "sort-keys",
            "exit-status",
            "join-output",
            "ascii-output",
            "monochrome-output",
            "color-output",
            "raw-input",
            "tab",
            "seq",
            "stream",
        ],
        long_values: &[("arg", Value::Two), ("argjson", Value::Two), ("indent", Value::Number)],
        numbers: false,
        operands: Operands::Filter,
        refused: &[
            ("-f", "it reads its program from a file that nobody has seen"),
            ("--from-file", "it reads its program from a file that nobody has seen"),
            ("-L", "it loads modules from files"),
            ("--library-path", "it loads modules from files"),
            ("--slurpfile", "it reads a file"),
            ("--rawfile", "it reads a file"),
            ("--argfile", "it reads a file"),
            ("--", "options end by themselves"),
        ],
    },
    Program {
        name: "grep",
        flags: "EFGivwxclLoqsnhHabzUIyr",
        values: &[
            ('e', Value::Pattern),
            ('f', Value::PatternFile),
            ('m', Value::Number),
            ('A', Value::Number),
            ('B', Value::Number),
            ('C', Value::Number),
        ],
        long_flags: &[
            "extended-regexp",
            "fixed-strings",
            "basic-regexp",
            "ignore-case",
            "no-ignore-case",
            "invert-match",
            "word-regexp",
            "line-regexp",
            "count",
            "files-with-matches",
            "files-without-match",
            "only-matching",
            "quiet",
            "silent",
            "no-messages",
            "line-number",
            "no-filename",
            "with-filename",
            "text",
            "byte-offset",
            "null-data",
            "recursive",
            "color=never",
            "colour=never",
        ],
        long_values: &[
            ("regexp", Value::Pattern),
            ("file", Value::PatternFile),
            ("max-count", Value::Number),
            ("after-context", Value::Number),
            ("before-context", Value::Number),
            ("context", Value::Number),
        ],
        numbers: true,
        operands: Operands::PatternAndFiles,
        refused: &[
            ("-R", "it follows links out of the working directory"),
            ("--dereference-recursive", "it follows links out of the working directory"),
            ("-P", "such patterns can take for ever"),
            ("--perl-regexp", "such patterns can take for ever"),
            ("-D", "it reads devices"),
            ("--devices", "it reads devices"),
            ("--exclude-from", "it reads a file"),
        ],
    },
    Program {
        name: "wc",
        flags: "cmlLw",
        values: &[],
        long_flags: &["bytes", "chars", "lines", "max-line-length", "words"],
        long_values: &[],
        numbers: false,
        operands: Operands::Files,
        refused: &[FILES0],
    },
    Program {
        name: "head",
        flags: "qvz",
        values: &[('n', Value::Number), ('c', Value::Number)],
        long_flags: &["quiet", "silent", "verbose", "zero-terminated"],
        long_values: &[("lines", Value::Number), ("bytes", Value::Number)],
        numbers: true,
        operands: Operands::Files,
        refused: &[],
    },
    Program {
        name: "tail",
        flags: "qvz",
        values: &[('n', Value::Number), ('c', Value::Number)],
        long_flags: &["quiet", "silent", "verbose", "zero-terminated"],
        long_values: &[("lines", Value::Number), ("bytes", Value::Number)],
        numbers: true,
        operands: Operands::Files,
        refused: &[
            ("-f", "it never ends"),
            ("-F", "it never ends"),
            ("--follow", "it never ends"),
            ("--retry", "it never ends"),
            ("-s", "it never ends"),
            ("--pid", "it watches another process"),
        ],
    },
    Program {
        name: "cut",
        flags: "nsz",
        values: &[('b', Value::Text), ('c', Value::Text), ('d', Value::Text), ('f', Value::Text)],
        long_flags: &["only-delimited", "complement", "zero-terminated"],
        long_values: &[
            ("bytes", Value::Text),
            ("characters", Value::Text),
            ("delimiter", Value::Text),
            ("fields", Value::Text),
            ("output-delimiter", Value::Text),
        ],
        numbers: false,
        operands: Operands::Files,
        refused: &[],
    },
    Program {
        name: "sort",
        flags: "bdfghiMnrVcCmsuz",
        values: &[('k', Value::Text), ('t', Value::Text)],
        long_flags: &[
            "ignore-leading-blanks",
            "dictionary-order",
            "ignore-case",
            "general-numeric-sort",
            "human-numeric-sort",
            "ignore-nonprinting",
            "month-sort",
            "numeric-sort",
            "reverse",
            "version-sort",
            "check",
            "merge",
            "stable",
            "unique",
            "zero-terminated",
        ],
        long_values: &[("key", Value::Text), ("field-separator", Value::Text)],
        numbers: false,
        operands: Operands::Files,
        refused: &[
            ("-o", "it writes a file"),
            ("--output", "it writes a file"),
            ("--compress-program", "it runs another program"),
            ("-T", "it writes elsewhere"),
            ("--temporary-directory", "it writes elsewhere"),
            ("-R", "its order is not the same twice"),
            ("--random-sort", "its order is not the same twice"),
            ("--random-source", "it reads a file"),
            ("-S", "memory is the executor's to limit"),
            ("--buffer-size", "memory is the executor's to limit"),
            ("--parallel", "processors are the executor's to limit"),
            FILES0,
        ],
    },
    Program {
        name: "uniq",
        flags: "cdDuiz",
        values: &[('f', Value::Number), ('s', Value::Number), ('w', Value::Number)],
        long_flags: &["count", "repeated", "unique", "ignore-case", "zero-terminated"],
        long_values: &[("skip-fields", Value::Number), ("skip-chars", Value::Number), ("check-chars", Value::Number)],
        numbers: false,
        operands: Operands::OneFile,
        refused: &[],
    },
];

struct Reading<'a> {
    program: &'static Program,
    argv: &'a [&'a str],
    place: usize,
    operands: Vec<usize>,
    pattern_given: bool,
}

fn wrong<T>(place: usize, reason: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong::Argument { place, reason: reason.into() })
}

impl Reading<'_> {
    /// Goes through the words: options, `--` that ends them, then operands, `-` being standard input. GNU's getopt also reads options behind operands, POSIX's does not,
    /// and takes them for files: what two readings are possible of is refused. jq has a reading of its own, the same everywhere.
    fn options(&mut self) -> Result<(), Wrong> {
        while let Some(word) = self.argv.get(self.place).copied() {
            let place = self.place;
            self.place += 1;
            if word == "--" && self.program.operands != Operands::Filter && self.operands.is_empty() {
                self.operands.extend(self.place..self.argv.len());
                return Ok(());
            }
            let is_option = word.len() > 1 && word.starts_with('-');
            if is_option && !self.operands.is_empty() && self.program.operands != Operands::Filter {
                return wrong(
                    place,
                    "options stand before files and patterns; behind them not every one reads it alike",
                );
            }
            if let Some(long) = word.strip_prefix("--") {
                self.long(place, long)?;
            } else if is_option {
                self.short(place, &word[1..])?;
            } else {
                self.operands.push(place);
            }
        }
        Ok(())
    }

    fn long(&mut self, place: usize, long: &str) -> Result<(), Wrong> {
        if self.program.long_flags.contains(&long) {
            return Ok(());
        }
        let (name, attached) = long.split_once('=').map_or((long, None), |(name, value)| (name, Some(value)));
        let Some((_, kind)) = self.program.long_values.iter().find(|(known, _)| *known == name) else {
            return self.unknown(place, &format!("--{name}"));
        };
        if attached.is_some() && self.program.operands == Operands::Filter {
            return wrong(place, "values of jq's options are words of their own");
        }
        self.value(place, *kind, attached)
    }

    /// One or more letters behind a dash.
    fn short(&mut self, place: usize, letters: &str) -> Result<(), Wrong> {
        if self.program.numbers && letters.len() <= 9 && letters.chars().all(|c| c.is_ascii_digit()) {
            return Ok(());
        }
        for (at, letter) in letters.char_indices() {
            if self.program.flags.contains(letter) {
                continue;
            }
            let Some((_, kind)) = self.program.values.iter().find(|(known, _)| *known == letter) else {
                return self.unknown(place, &format!("-{letter}"));
            };
            let attached = &letters[at + letter.len_utf8()..];
            return self.value(place, *kind, (!attached.is_empty()).then_some(attached));
        }
        Ok(())
    }

    fn unknown(&self, place: usize, option: &str) -> Result<(), Wrong> {
        let reason = self.program.refused.iter().find(|(refused, _)| *refused == option);
        let begins = |refused: &str| option.len() > 2 && refused.starts_with(option);
        let abbreviated = self.program.refused.iter().find(|(refused, _)| begins(refused));
        match (reason, abbreviated) {
            (Some((_, reason)), _) => wrong(place, format!("{option} is refused: {reason}")),
            (None, Some((whole, reason))) => {
                wrong(place, format!("{option} is refused as an abbreviation of {whole}: {reason}"))
            }
            (None, None) => {
                wrong(place, format!("{option} is none of the options that are known to be harmless, spelled out"))
            }
        }
    }

    fn value(&mut self, place: usize, kind: Value, attached: Option<&str>) -> Result<(), Wrong> {
        let words = if kind == Value::Two { 2 } else { usize::from(attached.is_none()) };
        let given = self.argv.get(self.place..self.place + words);
        let Some(given) = given else { return wrong(place, "its value is missing") };
        let (at, value) = match attached {
            Some(value) => (place, value),
            None => (self.place, given[0]),
        };
        self.place += words;
        match kind {
            Value::Text | Value::Two => Ok(()),
            Value::Pattern => {
                self.pattern_given = true;
                Ok(())
            }
            Value::PatternFile => {
                self.pattern_given = true;
                below_the_working_directory(at, value)
            }
            Value::Number if is_number(value) => Ok(()),
            Value::Number => wrong(at, "a number is expected"),
        }
    }

    fn check_operands(&self) -> Result<(), Wrong> {
        let mut places = self.operands.as_slice();
        match self.program.operands {
            Operands::Filter => return self.check_filter(),
            Operands::PatternAndFiles if !self.pattern_given => {
                let Some((_, files)) = places.split_first() else { return wrong(0, "its pattern is missing") };
                places = files;
            }
            Operands::OneFile if places.len() > 1 => return wrong(places[1], "a second file would be written"),
            _ => {}
        }
        places.iter().try_for_each(|place| below_the_working_directory(*place, self.argv[*place]))
    }

    fn check_filter(&self) -> Result<(), Wrong> {
        match self.operands.as_slice() {
            [] => wrong(0, "its program is missing"),
            [place] => jq::check(self.argv[*place]).or_else(|reason| wrong(*place, reason)),
            [_, place, ..] => wrong(*place, "it reads a file; behind a pipe it reads standard input alone"),
        }
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.trim_start_matches(['+', '-']);
    let digits = digits.strip_suffix(['b', 'k', 'K', 'M']).unwrap_or(digits);
    text.len() - text.trim_start_matches(['+', '-']).len() <= 1
        && (1..=12).contains(&digits.len())
        && digits.chars().all(|c| c.is_ascii_digit())
}

fn below_the_working_directory(place: usize, path: &str) -> Result<(), Wrong> {
    if path == "-" {
        return Ok(());
    }
    // Old ways of saying options without a dash begin with a plus.
    let outside = path.is_empty() || path.starts_with(['/', '-', '+']) || path.split('/').any(|part| part == "..");
    if outside {
        wrong(place, "files are read below the working directory only, by a plain relative path")
    } else {
        Ok(())
    }
}
