use std::fmt::Write as _;

use proptest::prelude::*;

use super::*;

fn files(files: &[(&str, &str)]) -> Files {
    Files::read(files.iter().map(|(path, text)| (*path, text.as_bytes()))).unwrap()
}

fn compiled(text: &str) -> Policies {
    Policies::compile(&files(&[("p.rego", text)]), &BTreeSet::new(), STEPS)
        .unwrap_or_else(|errors| panic!("{text}: {errors:?}"))
}

/// Id, whether it binds, decision and message of each result.
fn told(policies: &Policies, input: &Value) -> Vec<(String, bool, &'static str, String)> {
    let results = policies.evaluate(input, 0);
    results.into_iter().map(|one| (one.id, one.mandatory, one.decision.as_str(), one.message)).collect()
}

/// Workers share policies between threads.
const fn is_shared<T: Send + Sync>() {}
const _: () = is_shared::<Policies>();

#[test]
fn what_decides() {
    let check = |rules: &str, expected: &[(&str, bool, &str, &str)]| {
        let found = told(&compiled(&format!("package house.p\n{rules}\n")), &json!({"x": 3}));
        let found: Vec<_> = found.iter().map(|(id, binds, word, text)| (&**id, *binds, *word, &**text)).collect();
        assert_eq!(found, expected, "{rules}");
    };
    check("deny contains \"no\" if input.x > 3", &[("house.p", true, "allowed", "nothing against it")]);
    check(
        "deny contains msg if { input.x == 3; msg := sprintf(\"x is %d\", [input.x]) }\ndeny contains \"again\"",
        &[("house.p", true, "denied", "again"), ("house.p", true, "denied", "x is 3")],
    );
    check("deny contains {\"msg\": \"m\", \"more\": 1}", &[("house.p", true, "denied", "m")]);
    check("deny contains {\"more\": 1}", &[("house.p", true, "denied", "{\"more\":1}")]);
    check("deny := true", &[("house.p", true, "denied", "it says no without a reason")]);
    check("deny := false", &[("house.p", true, "allowed", "nothing against it")]);
    check("deny[key] := value if some key, value in {\"a\": \"b\"}", &[("house.p", true, "denied", "b")]);
    check("warn contains \"look\"", &[("house.p", false, "warned", "look")]);
    check("allow if input.x == 3", &[("house.p", true, "allowed", "nothing against it")]);
    check("allow if input.x == 4", &[("house.p", true, "denied", "allow is undefined")]);
    check("default allow := false\nallow if input.y", &[("house.p", true, "denied", "allow is false")]);
    check(
        "policy := {\"id\": \"HOUSE-7\", \"mandatory\": false}\ndeny contains \"no\"",
        &[("HOUSE-7", false, "denied", "no")],
    );
    // What fails is no, and says where.
    check(
        "deny contains \"no\" if to_number(\"x\") > 1",
        &[("house.p", true, "failed", "it could not be evaluated: p.rego, line 2: could not parse string as number")],
    );
    check("deny contains \"a\\nb\"", &[("house.p", true, "denied", "a b")]);
}

#[test]
fn advice_never_binds() {
    let files = files(&[("p.rego", "package a.b\npolicy := {\"mandatory\": true}\ndeny contains \"no\"\n")]);
    let advisory = BTreeSet::from(["a.b".to_owned()]);
    let policies = Policies::compile(&files, &advisory, STEPS).unwrap();
    let result = &policies.evaluate(&json!({}), 0)[0];
    assert!(!result.mandatory && !result.halts() && result.decision == Decision::Denied);
    let unknown = BTreeSet::from(["a.c".to_owned()]);
    let error = Policies::compile(&files, &unknown, STEPS).unwrap_err()[0].to_string();
    assert_eq!(error, "the policies: package a.c is called advisory, and no package that decides has this name");
}

/// Each mistake with file and line.
#[test]
fn mistakes_are_named() {
    let check = |text: &str, told: &str| {
        let read = Files::read([("dir/p.rego", text.as_bytes())]);
        let errors = read.and_then(|files| Policies::compile(&files, &BTreeSet::new(), STEPS)).unwrap_err();
        assert!(errors[0].to_string().contains(told), "{text}\n{errors:?}");
    };
    check("package p\n\ndeny contains \"x\" if {\n  input.x ==\n}\n", "dir/p.rego, line 5: ");
    check("deny contains \"x\"\n", "dir/p.rego, line 1: ");
    check("package p\ndeny { true }\n", "dir/p.rego, line 2: ");
    let deep = |depth: usize| format!("package p\ndeny contains {}1{}\n", "[".repeat(depth), "]".repeat(depth));
    check(&deep(13), "dir/p.rego, line 2: brackets more than 12 deep");
    assert!(compiled(&deep(12)).evaluate(&json!({}), 0)[0].halts());
    check("package p\nx := 1\n", "the policies: no package has one of the rules deny, warn, allow");
    let errors = Policies::compile(
        &files(&[("a.rego", "package a\ndeny contains"), ("b.rego", "package b\ndeny contains 1 if }")]),
        &BTreeSet::new(),
        STEPS,
    );
    let errors: Vec<String> = errors.unwrap_err().iter().map(|error| error.file.clone()).collect();
    assert_eq!(errors, ["a.rego", "b.rego"], "all of them");
}

/// What a policy must not reach is not there; what runs for ever ends, at the same step each time.
#[test]
fn evaluation_is_bounded() {
    let check = |rules: &str, told: &str| {
        let errors = match Policies::compile(
            &files(&[("p.rego", &format!("package p\n{rules}\n"))]),
            &BTreeSet::new(),
            10_000,
        ) {
            Ok(policies) => {
                let results = policies.evaluate(&json!({}), 0);
                assert_eq!(results, policies.evaluate(&json!({}), 0));
                assert!(results[0].halts(), "{rules}");
                results[0].message.clone()
            }
            Err(errors) => format!("{errors:?}"),
        };
        assert!(errors.contains(told), "{rules}\n{errors}");
    };
    check("deny contains x if { some x in numbers.range(1, 99999); x < 0 }", "it takes more steps than it may");
    check(
        "n := numbers.range(1, 1000)\ndeny contains x if { some x in n; some y in n; some z in n; x + y + z < 0 }",
        "it takes more steps than it may",
    );
    check("deny contains x if some x in numbers.range(1, 1000000000000)", "expected at most 100000");
    check("deny contains \"x\" if rand.intn(\"x\", 10) > 4", "a policy that leaves it to chance");
    for function in
        ["http.send({\"method\": \"get\", \"url\": \"http://127.0.0.1\"})", "opa.runtime()", "uuid.rfc4122(\"x\")"]
    {
        let name = function.split('(').next().unwrap_or_default();
        check(&format!("deny contains \"x\" if {function}"), name);
    }
    check("deny contains \"x\" if deny_again\ndeny_again if deny", "recursion");
    check("deny contains x", "");
}

#[test]
fn the_clock_is_a_fact() {
    let policies = compiled(
        "package p\nwarn contains time.weekday([time.now_ns(), \"Europe/Berlin\"])\nwarn contains x if {\n  \
         time.now_ns() > time.parse_rfc3339_ns(\"2026-11-30T00:00:00Z\")\n  x := \"later\"\n}\n",
    );
    let words = |now: &str| {
        let results = policies.evaluate(&json!({}), schemas::time::seconds(now).unwrap());
        results.into_iter().map(|one| one.message).collect::<Vec<_>>()
    };
    assert_eq!(words("2026-11-29T22:59:59Z"), ["Sunday"]);
    assert_eq!(words("2026-11-29T23:00:00Z"), ["Monday"]);
    assert_eq!(words("2026-11-30T01:00:00Z"), ["Monday", "later"]);
}

#[test]
fn data_has_its_place() {
    let read = files(&[
        ("a/p.rego", "package p\ndeny contains x if some x in data.a.b.list\ndeny contains data.top\n"),
        ("a/p_test.rego", "package p_test\nthis is no rego"),
        ("a/b/data.json", "{\"list\": [\"one\"]}"),
        ("data.json", "{\"top\": \"two\", \"a\": {\"b\": {}}}"),
        ("README.md", "# not looked at"),
    ]);
    let policies = Policies::compile(&read, &BTreeSet::new(), STEPS).unwrap();
    let words: Vec<_> = policies.evaluate(&json!({}), 0).into_iter().map(|one| one.message).collect();
    assert_eq!(words, ["one", "two"]);
    let wrong = |more: &[(&str, &[u8])]| Files::read(more.iter().copied()).unwrap_err()[0].to_string();
    assert!(wrong(&[("data.json", b"{\n,}")]).starts_with("data.json, line 2: no JSON"));
    assert!(wrong(&[("data.json", b"[]")]).starts_with("data.json: found no object"));
    assert!(wrong(&[("data.yaml", b"")]).contains("data.json"));
    assert!(wrong(&[("p.rego", b"\xff")]).contains("UTF-8"));
    assert!(wrong(&[("a/data.json", b"{\"x\":1}"), ("data.json", b"{\"a\":{\"x\":2}}")]).contains("another value"));
    assert!(wrong(&[("p.rego", b"x"), ("./p.rego", b"x")]).contains("twice"));
    assert!(wrong(&[("p.rego", &vec![b' '; (1 << 20) + 1])]).contains("expected at most"));
}

/// A `tar.gz` with these files.
fn packed(files: &[(&str, &[u8])]) -> Vec<u8> {
    let gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(gz);
    for (path, content) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        archive.append_data(&mut header, path, *content).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

#[test]
fn a_bundle_is_its_files() {
    let rego = b"package p\ndeny contains \"no\"\n";
    let long = format!("{}/p.rego", "folder-with-a-long-name/".repeat(9).trim_end_matches('/'));
    let bundle = packed(&[
        (".manifest", b"{\"roots\": [\"\"]}"),
        ("p.rego", rego),
        ("data.json", b"{\"x\": 1}"),
        (&long, b"package q"),
    ]);
    let read = bundle::read("b.tar.gz", &bundle).unwrap();
    let same =
        files(&[("p.rego", "package p\ndeny contains \"no\"\n"), ("data.json", "{\"x\": 1}"), (&long, "package q")]);
    assert_eq!(read, same);
    let policies = |files: &Files| Policies::compile(files, &BTreeSet::new(), STEPS).unwrap();
    assert_eq!(policies(&read).digest(), policies(&same).digest());
    let other = files(&[("p.rego", "package p\ndeny contains \"yes\"\n")]);
    assert_ne!(policies(&read).digest(), policies(&other).digest());
    let wrong = |bytes: &[u8]| bundle::read("b.tar.gz", bytes).unwrap_err()[0].to_string();
    assert!(wrong(b"no gzip").starts_with("b.tar.gz: found no tar.gz"));
    assert!(wrong(&bundle[..bundle.len() / 2]).starts_with("b.tar.gz: found no tar.gz"));
    assert!(
        wrong(&packed(&[("a.rego", &vec![b' '; 65 << 20])])).contains("expected at most"),
        "it unpacks to too much"
    );
    assert!(wrong(&vec![0; bundle::PACKED_BYTES + 1]).contains("expected at most"));
}

#[test]
fn an_opa_server_says_the_same() {
    let check = |document: Value, expected: &[(&str, bool)]| {
        let found = of_server("p", true, &document);
        let found: Vec<_> = found.iter().map(|one| (one.decision.as_str(), one.halts())).collect();
        assert_eq!(found, expected, "{document}");
    };
    check(json!({"deny": []}), &[("allowed", false)]);
    check(json!({"deny": ["a", "b"], "warn": ["c"]}), &[("denied", true), ("denied", true), ("warned", false)]);
    check(json!({"allow": false}), &[("denied", true)]);
    check(json!({}), &[("failed", true)]);
    check(json!({"deny": ["a"], "policy": {"mandatory": false}}), &[("denied", false)]);
    assert!(!of_server("p", false, &json!({"deny": ["a"]}))[0].halts());
}

#[test]
fn too_much_said_is_cut() {
    let mut rules = String::from("package p\n");
    for at in 0..150 {
        writeln!(rules, "deny contains \"{at:03}{}\"", "x".repeat(900)).unwrap();
    }
    // What stands in a body can be scheduled; in a head the evaluator gives up on it (docs/policies.md).
    let long = "concat(\" \", [x | some i in numbers.range(100, 500); x := format_int(i, 10)])";
    writeln!(rules, "warn contains msg if {{ msg := {long} }}").unwrap();
    let results = compiled(&rules).evaluate(&json!({}), 0);
    assert_eq!(results.len(), 102, "{:?}", results[0]);
    assert_eq!(results[100].message, "and 50 more");
    assert_eq!(results[101].message.chars().count(), 1001);
}

/// The documentation's policies over the documentation's document give the documentation's results.
#[test]
fn the_documented_policies() {
    let text = include_str!("../../../../docs/policies.md");
    let blocks = |kind: &str| -> Vec<String> {
        text.split(&format!("```{kind}\n")).skip(1).map(|rest| rest.split_once("```").unwrap().0.to_owned()).collect()
    };
    let rego = blocks("rego");
    let named: Vec<(String, &[u8])> =
        rego.iter().enumerate().map(|(at, text)| (format!("{at}.rego"), text.as_bytes())).collect();
    let files = Files::read(named.iter().map(|(name, text)| (name.as_str(), *text))).unwrap();
    let policies = Policies::compile(&files, &BTreeSet::new(), STEPS).unwrap_or_else(|errors| panic!("{errors:?}"));
    let json = blocks("json");
    let (input, expected): (Value, Value) =
        (serde_json::from_str(&json[0]).unwrap(), serde_json::from_str(&json[1]).unwrap());
    let now = input["facts"]["now"].as_str().unwrap();
    let results = policies.evaluate(&input, schemas::time::seconds(now).unwrap());
    assert_eq!(results.iter().map(PolicyResult::document).collect::<Value>(), expected);
}

/// One case of OPA's own test suite, as `testdata/opa/README.md` says.
#[derive(serde::Deserialize)]
struct Case {
    note: String,
    query: String,
    #[serde(default)]
    modules: Vec<String>,
    data: Option<Value>,
    input: Option<Value>,
    input_term: Option<String>,
    want_result: Option<Vec<Value>>,
    want_error_code: Option<String>,
    want_error: Option<String>,
    #[serde(default)]
    sort_bindings: bool,
    #[serde(default)]
    strict_error: bool,
}

/// OPA's order of values: by type, then by value.
fn in_order(a: &Value, b: &Value) -> std::cmp::Ordering {
    let rank = |value: &Value| match value {
        Value::Null => 0,
        Value::Bool(_) => 1,
        Value::Number(_) => 2,
        Value::String(_) => 3,
        Value::Array(_) => 4,
        Value::Object(_) => 5,
    };
    match (a, b) {
        (Value::Number(a), Value::Number(b)) => a.as_f64().partial_cmp(&b.as_f64()).unwrap(),
        (Value::Object(a), Value::Object(b)) => {
            let list = |members: &serde_json::Map<String, Value>| -> Vec<Value> {
                members.keys().map(|key| key.as_str().into()).chain(members.values().cloned()).collect()
            };
            in_order(&list(a).into(), &list(b).into())
        }
        (Value::Array(a), Value::Array(b)) => {
            let unequal = a.iter().zip(b).map(|(a, b)| in_order(a, b)).find(|order| order.is_ne());
            unequal.unwrap_or(a.len().cmp(&b.len()))
        }
        _ => rank(a).cmp(&rank(b)).then_with(|| a.to_string().cmp(&b.to_string())),
    }
}

fn run(case: &Case) -> Result<Vec<Value>, String> {
    fuel::install();
    let mut engine = Engine::new();
    engine.set_execution_timer_config(fuel::of(STEPS));
    engine.set_strict_builtin_errors(case.strict_error);
    builtins::add(&mut engine).and_then(|()| builtins::add_clock(&mut engine, 0)).map_err(|error| error.to_string())?;
    let text = |error: anyhow::Error| error.to_string();
    if let Some(data) = &case.data {
        engine.add_data_json(&data.to_string()).map_err(text)?;
    }
    for (at, module) in case.modules.iter().enumerate() {
        guarded(|| engine.add_policy(format!("{at}.rego"), module.clone()))?;
    }
    if let Some(term) = &case.input_term {
        let mut found = guarded(|| Engine::new().eval_query(term.clone(), false))?;
        engine.set_input(found.result.remove(0).expressions.remove(0).value);
    } else if let Some(input) = &case.input {
        engine.set_input_json(&input.to_string()).map_err(text)?;
    }
    let found = guarded(|| engine.eval_query(case.query.clone(), false))?;
    let value = |value: &regorus::Value| serde_json::to_value(value).map_err(|error| error.to_string());
    found
        .result
        .iter()
        .map(|result| {
            let mut bindings = value(&result.bindings)?;
            if case.sort_bindings {
                for list in bindings.as_object_mut().into_iter().flatten().filter_map(|(_, value)| value.as_array_mut())
                {
                    list.sort_by(in_order);
                }
            }
            Ok(bindings)
        })
        .collect()
}

/// Whether a case comes out as OPA says.
fn holds(case: &Case) -> Result<(), String> {
    let found = run(case);
    let wants_error = case.want_error_code.is_some() || case.want_error.is_some();
    match (found, &case.want_result) {
        (Err(_), _) if wants_error => Ok(()),
        (Err(error), _) => Err(error),
        (Ok(found), _) if wants_error => Err(format!("found {found:?}, expected an error")),
        (Ok(found), want) => {
            let want = want.clone().unwrap_or_default();
            let sorted = |list: Vec<Value>| {
                let mut texts: Vec<String> =
                    list.iter().map(|value| serde_json_canonicalizer::to_string(value).unwrap()).collect();
                texts.sort();
                texts
            };
            let (found, want) = (sorted(found), sorted(want));
            if found == want { Ok(()) } else { Err(format!("found {found:?}, expected {want:?}")) }
        }
    }
}

/// OPA's own cases for what policies here are written with. Those that come out otherwise are named, with what they are about.
#[test]
fn opas_own_cases() {
    let cases: Vec<Case> = serde_json::from_str(include_str!("../../testdata/opa/cases.json")).unwrap();
    let mut gaps: std::collections::BTreeMap<String, String> =
        serde_json::from_str(include_str!("../../testdata/opa/gaps.json")).unwrap();
    let mut wrong = String::new();
    for case in &cases {
        match (holds(case), gaps.remove(&case.note)) {
            (Ok(()), None) | (Err(_), Some(_)) => {}
            (Ok(()), Some(_)) => writeln!(wrong, "{}: it holds now", case.note).unwrap(),
            (Err(error), None) => writeln!(wrong, "{}: {error}", case.note).unwrap(),
        }
    }
    assert!(wrong.is_empty() && cases.len() > 300, "{wrong}");
    assert!(gaps.is_empty(), "no such case: {gaps:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// No text is more than a mistake.
    #[test]
    fn any_text_is_read_or_refused(text in "(package p\n)?(deny|warn|allow|contains|if|:=|input|data|some|every|in|\\{|\\}|\\[|\\]|\"|x|1|\n| |\\PC){0,40}") {
        let files = files(&[("p.rego", &text)]);
        if let Ok(policies) = Policies::compile(&files, &BTreeSet::new(), 1_000) {
            let results = policies.evaluate(&json!({"x": 1}), 0);
            prop_assert!(!results.is_empty());
        }
    }

    /// Nor any bundle.
    #[test]
    fn any_bytes_are_a_bundle_or_not(bytes in prop::collection::vec(any::<u8>(), 0..600), flip in any::<prop::sample::Index>()) {
        prop_assert!(bundle::read("b", &bytes).is_err());
        let mut good = packed(&[("p.rego", b"package p\ndeny contains \"no\"\n")]);
        let at = flip.index(good.len());
        good[at] ^= 0x55;
        // A flipped bit in the header of the archive may go unnoticed; gzip's sum sees the rest.
        let _ = bundle::read("b", &good);
    }
}
