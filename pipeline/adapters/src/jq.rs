//! Runs one jq program over documents with jaq (<https://docs.rs/jaq-core>).
//!
//! jaq's standard library can read the clock, the time zone and the environment, write to stderr and stop the process; here those
//! filters are replaced by ones that fail, so a program's output depends on nothing but its inputs.

use crate::{AdaptError, Given, MAX_EVENTS_A_DOCUMENT, Program};
use jaq_core::load::{self, Arena, File, Loader};
use jaq_core::native::{Fun, bome, run as native, v};
use jaq_core::{Compiler, Ctx, Error, Vars, data, unwrap_valr};
use jaq_json::{Val, read};

type Data = data::JustLut<Val>;

const PRELUDE: &str = include_str!("../programs/prelude.jq");

/// Name and number of arguments of what a function of its inputs cannot have.
const BANNED: &[(&str, usize)] = &[
    ("now", 0),
    ("env", 0),
    ("localtime", 0),
    ("strflocaltime", 1),
    ("halt", 1),
    ("stderr_empty", 0),
    ("debug_empty", 0),
];

/// Runs `program` over each of `documents` (strict JSON) with `ids` as `$id`, and hands on each event with its document's number.
///
/// Errors carry the document's number where they will carry its line.
pub(crate) fn run(
    program: &Program,
    given: &Given,
    documents: &[&[u8]],
    ids: &[String],
    mut take: impl FnMut(usize, Vec<u8>) -> Result<(), AdaptError>,
) -> Result<(), AdaptError> {
    let arena = Arena::default();
    let filter = compile(program, &arena)?;
    for (n, (document, id)) in documents.iter().zip(ids).enumerate() {
        let input = read::parse_single(document).map_err(|error| failed(program, n, &error.to_string()))?;
        let ctx = Ctx::<Data>::new(&filter.lut, Vars::new(variables(given, id).map(|(_, value)| value)));
        let mut count = 0;
        for output in filter.id.run((ctx, input)).map(unwrap_valr) {
            count += 1;
            if count > MAX_EVENTS_A_DOCUMENT {
                return Err(AdaptError::TooMany { program: program.name().to_owned(), line: n });
            }
            take(n, output.map_err(|error| explained(program, n, error))?.to_string().into_bytes())?;
        }
        if count == 0 {
            return Err(AdaptError::Nothing { program: program.name().to_owned(), line: n });
        }
    }
    Ok(())
}

fn compile<'s>(program: &'s Program, arena: &'s Arena) -> Result<jaq_core::Filter<Data>, AdaptError> {
    let prelude = load::parse(PRELUDE, |parser| parser.defs()).unwrap_or_default();
    let defs = jaq_core::defs().chain(jaq_std::defs()).chain(jaq_json::defs()).chain(prelude);
    let file = File { code: program.source(), path: () };
    let modules = Loader::new(defs).load(arena, file).map_err(|errors| uncompiled(program, load_error(&errors)))?;
    let names = variables(&Given::default(), "").map(|(name, _)| name);
    Compiler::default().with_funs(functions()).with_global_vars(names).compile(modules).map_err(|errors| {
        let first = errors.into_iter().flat_map(|(_, errors)| errors).next();
        uncompiled(program, first.map(|(part, undefined)| (part, format!("undefined {} {part}", undefined.as_str()))))
    })
}

fn functions() -> impl Iterator<Item = Fun<Data>> {
    let banned = |name: &str| BANNED.iter().any(|(ban, _)| *ban == name);
    jaq_core::funs().chain(jaq_std::funs()).chain(jaq_json::funs()).filter(move |(name, ..)| !banned(name)).chain(
        BANNED.iter().map(|&(name, arity)| {
            native((name, v(arity), |_| {
                bome(Err(Error::str(
                    "an adapter is a function of document and flags: no clock, time zone, environment, halt or stderr",
                )))
            }))
        }),
    )
}

/// The variables in scope, in one order for names and values. Documented in `programs/prelude.jq`.
fn variables(given: &Given, id: &str) -> impl Iterator<Item = (&'static str, Val)> + use<> {
    let text = |value: &Option<String>| value.clone().map_or(Val::Null, Val::from);
    [
        ("$id", Val::from(id.to_owned())),
        ("$timestamp", text(&given.timestamp)),
        ("$change", text(&given.change)),
        ("$attempt", given.attempt.map_or(Val::Null, |n| Val::from(n as usize))),
        ("$environment", text(&given.environment)),
        ("$class", text(&given.class)),
        ("$request", text(&given.request)),
        ("$source", text(&given.source)),
        ("$initiator", text(&given.initiator)),
        ("$tenant", text(&given.tenant)),
        ("$reason", text(&given.reason)),
        ("$ticket", text(&given.ticket)),
        ("$owner", text(&given.owner)),
        ("$visibility", text(&given.visibility)),
        ("$cloud", text(&given.cloud)),
        ("$endpoint", text(&given.endpoint)),
        ("$commands", given.commands.iter().cloned().map(Val::from).collect()),
    ]
    .into_iter()
}

/// What a program said with `unexpected` or `missing` of the prelude, else its own words.
fn explained(program: &Program, n: usize, error: Error<Val>) -> AdaptError {
    let value = error.into_val();
    let parsed: Option<serde_json::Value> = serde_json::from_str(&value.to_string()).ok();
    let parsed = parsed.unwrap_or_default();
    if let Some(flag) = parsed.get("missing").and_then(|flag| flag.as_str()) {
        return AdaptError::Missing { line: n, flag: flag.to_owned() };
    }
    let part = |name: &str| parsed["unexpected"][name].as_str().map(str::to_owned);
    if let (Some(path), Some(found), Some(expected)) = (part("path"), part("found"), part("expected")) {
        return AdaptError::Unexpected { program: program.name().to_owned(), line: n, path, found, expected };
    }
    failed(program, n, &parsed.as_str().map_or_else(|| value.to_string(), str::to_owned))
}

fn failed(program: &Program, n: usize, what: &str) -> AdaptError {
    AdaptError::Failed { program: program.name().to_owned(), line: n, what: what.chars().take(400).collect() }
}

fn uncompiled(program: &Program, first: Option<(&str, String)>) -> AdaptError {
    let (part, what) = first.unwrap_or(("", "it can't be read as a jq program".to_owned()));
    let source = program.source();
    // jaq reports slices of the source; one that is not (of the prelude, say) has no line here.
    let offset =
        (part.as_ptr() as usize).checked_sub(source.as_ptr() as usize).filter(|offset| *offset <= source.len());
    let line = 1 + offset.and_then(|offset| source.get(..offset)).map_or(0, |before| before.matches('\n').count());
    AdaptError::Program { program: program.name().to_owned(), line, what }
}

/// The first thing that loading complains of: the part of the source and the words.
fn load_error<'s>(errors: &load::Errors<&'s str, ()>) -> Option<(&'s str, String)> {
    let (_, error) = errors.first()?;
    match error {
        load::Error::Io(errors) => {
            errors.first().map(|(part, what)| (*part, format!("{what}: an adapter is one file, without imports")))
        }
        load::Error::Lex(errors) => {
            errors.first().map(|(expect, part)| (*part, format!("expected {}, found {}", expect.as_str(), near(part))))
        }
        load::Error::Parse(errors) => {
            errors.first().map(|(expect, part)| (*part, format!("expected {}, found {}", expect.as_str(), near(part))))
        }
    }
}

fn near(part: &str) -> String {
    match part.split_whitespace().next() {
        Some(word) => word.chars().take(40).collect(),
        None => "the end".to_owned(),
    }
}
