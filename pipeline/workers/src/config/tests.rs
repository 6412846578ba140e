use schemas::ids::ChangeClass;

use super::*;
use crate::scope::Case;

fn read(text: &str) -> Config {
    Config::read("work.toml", text).unwrap_or_else(|mistakes| panic!("{mistakes:?}"))
}

#[test]
fn the_defaults_are_the_models() {
    let config = read("");
    assert_eq!(config, Config::default());
    let list: Vec<&str> = config.guard.pipe_allow_list.iter().map(String::as_str).collect();
    assert_eq!(list, ["cut", "grep", "head", "jq", "sort", "tail", "uniq", "wc"]);
    assert!(config.preflight.dry_run);
    let asked = config.requirements(Case::default(), &crate::risk::Score::default());
    assert_eq!(asked[0].sentence(), "one other person, bound");
}

#[test]
fn a_list_may_only_be_shorter() {
    let config = read("[guard]\npipe_allow_list = [\"jq\"]\n");
    let line = |text: &str| crate::argv::parse(text, crate::catalogue::shipped()).unwrap();
    assert_eq!(config.guard.refuses(&line("kubectl-1.29 get ns | grep a")), Some("grep"));
    assert_eq!(config.guard.refuses(&line("kubectl-1.29 get ns | jq .items")), None);
    assert_eq!(read("[guard]\npipe_allow_list = []\n").guard.refuses(&line("kubectl-1.29 get ns | jq .")), Some("jq"));
}

#[test]
fn requirements_are_asked_where_they_are_about_a_change() {
    let config = read(
        "[[approvals]]\nname = \"all\"\nexcept_classes = [\"emergency\"]\n\n[[approvals]]\nname = \"prod\"\n\
         environments = [\"production\"]\ntwo_person = true\n\n[[approvals]]\nname = \"risky\"\nfrom_risk = 60\ncount = 3\n",
    );
    let asked = |environment: Option<&str>, class: Option<ChangeClass>, points: u64| {
        let score = crate::risk::Score { points, ..Default::default() };
        let asked = config.requirements(Case { environment, class }, &score);
        asked.iter().map(|one| one.name.clone()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(asked(Some("test"), None, 0), "all");
    assert_eq!(asked(Some("production"), None, 59), "all prod");
    assert_eq!(asked(Some("production"), None, 60), "all prod risky");
    assert_eq!(asked(None, None, 0), "all prod", "who names no environment is bound by all");
    assert_eq!(asked(Some("test"), Some(ChangeClass::Emergency), 0), "default");
}

/// Each mistake is told with file, entry, field, what was found and what was expected.
#[test]
fn mistakes_are_named() {
    let check = |text: &str, told: &str| {
        let mistakes = Config::read("work.toml", text).unwrap_err();
        let error = mistakes[0].to_string();
        assert!(error.starts_with("work.toml: ") && error.contains(told), "{error}\nexpected: {told}");
        assert!(error.contains(": found ") && error.contains(", expected "), "{error}");
        assert_eq!(mistakes.len(), 1, "{mistakes:?}");
    };
    let window =
        |more: &str| format!("[[windows]]\nname = \"w\"\nzone = \"UTC\"\nfrom = \"20:00\"\nto = \"22:00\"\n{more}\n");
    let changed = |from: &str, to: &str| window("").replace(from, to);
    let freeze = |from: &str, to: &str| {
        format!("[[freezes]]\nname = \"f\"\nzone = \"Europe/Berlin\"\nfrom = \"{from}\"\nto = \"{to}\"\n")
    };
    for (text, told) in [
        ("x = 1".to_owned(), "the file, x: found a key that means nothing here"),
        ("\nplan = [".to_owned(), "the file, line 2: found "),
        ("plan = 1".to_owned(), "the file, plan: found a number: 1, expected a table, [plan]"),
        ("windows = 1".to_owned(), "the file, windows: found a number: 1, expected a list of tables, [[windows]]"),
        ("[shell]\n".to_owned(), "the file, shell: found a key that means nothing here"),
        ("[plan]\ncompiler = []".to_owned(), "[plan], compiler: found no program"),
        ("[plan]\ncompiler = \"x\"".to_owned(), "[plan], compiler: found text \"x\", expected a list of texts"),
        (
            "[guard]\npipe_allow_list = [\"tee\"]".to_owned(),
            "pipe_allow_list: found \"tee\", expected some of the model's",
        ),
        ("[guard]\nmeta_blocking = false".to_owned(), "[guard], meta_blocking: found a key that means nothing here"),
        ("[preflight]\ndry_run = \"no\"".to_owned(), "[preflight], dry_run: found text \"no\", expected true or false"),
        ("[preflight]\ntime_limit_s = 0".to_owned(), "time_limit_s: found 0, expected a whole number from 1 to 3600"),
        ("[policy]\n".to_owned(), "[policy], directory: found nothing, expected one of directory, bundle and server"),
        ("[policy]\ndirectory = \"a\"\nbundle = \"b\"".to_owned(), "directory: found several of"),
        (
            "[policy]\nserver = \"opa:8181\"\npackages = [\"a\"]".to_owned(),
            "server: found \"opa:8181\", expected a URL",
        ),
        ("[policy]\nserver = \"http://opa:8181\"".to_owned(), "packages: found nothing"),
        ("[policy]\nbundle = \"b\"\nsha256 = \"AB\"".to_owned(), "sha256: found \"AB\", expected 64"),
        (
            format!("[policy]\ndirectory = \"a\"\nsha256 = \"{}\"", "a".repeat(64)),
            "sha256: found this without a bundle",
        ),
        ("[policy]\ndirectory = \"a\"\nsteps = 1".to_owned(), "steps: found 1, expected a whole number from 1000"),
        (changed("zone = \"UTC\"\n", ""), "window w, zone: found nothing, expected text"),
        (changed("UTC", "Berlin"), "window w, zone: found \"Berlin\", expected a name of the time zone database"),
        (changed("20:00", "8 pm"), "window w, from: found \"8 pm\", expected a time of day"),
        (changed("20:00", "24:00"), "window w, from: found 24:00, expected 00:00 to 23:59"),
        (changed("20:00", "20:60"), "window w, from: found \"20:60\""),
        (changed("22:00", "24:01"), "window w, to: found \"24:01\""),
        (changed("22:00", "20:00"), "window w, to: found the same as from"),
        (changed("name = \"w\"\n", ""), "window 1, name: found nothing"),
        (window("days = [\"monday\"]"), "window w, days: found \"monday\", expected mon, tue"),
        (window("days = []"), "window w, days: found nothing, or an empty name"),
        (window("environments = [\"a\", \"a\"]"), "window w, environments: found a name twice"),
        (window("environments = [\"a b\"]"), "window w, environments: found \"a b\""),
        (
            window("except_classes = [\"urgent\"]"),
            "except_classes: found \"urgent\", expected standard, normal or emergency",
        ),
        (window("recurs = true"), "window w, recurs: found a key that means nothing here"),
        (format!("{}{}", window(""), window("")), "window w, name: found a name twice"),
        (freeze("2026-12-18", "2027-01-04T06:00"), "freeze f, from: found \"2026-12-18\", expected a local time"),
        (freeze("2026-12-18T18:00Z", "2027-01-04T06:00"), "freeze f, from: found \"2026-12-18T18:00Z\""),
        (freeze("2026-12-18T18:00", "2026-12-18T18:00"), "freeze f, to: found an end that is not after from"),
        (freeze("2026-02-30T18:00", "2027-01-04T06:00"), "freeze f, from: found \"2026-02-30T18:00\""),
        ("[[approvals]]\ncount = 1".to_owned(), "approval 1, name: found nothing"),
        ("[[approvals]]\nname = \"a\"\ncount = 0".to_owned(), "approval a, count: found 0"),
        (
            "[[approvals]]\nname = \"a\"\ncount = 1\ntwo_person = true".to_owned(),
            "approval a, count: found 1, expected 2",
        ),
        (
            "[[approvals]]\nname = \"a\"\ngrade = \"recorded\"".to_owned(),
            "grade: found \"recorded\", expected bound or signed",
        ),
        (
            "[[approvals]]\nname = \"a\"\nroles = [\"x\"]\nonly_roles = [\"y\"]".to_owned(),
            "approval a, roles: found \"x\", expected roles of only_roles: y",
        ),
        ("[[lanes]]\nname = \"a\"".to_owned(), "lane a, max_risk: found nothing"),
        ("[[lanes]]\nname = \"a b\"\nmax_risk = 1".to_owned(), "lane a b, name: found \"a b\""),
        ("[[lanes]]\nname = \"a\"\nmax_risk = 1\nactions = [\"scale\"]".to_owned(), "lane a, actions: found \"scale\""),
        ("[[budgets]]\nname = \"a\"".to_owned(), "budget a, monthly_usd: found nothing"),
        (
            "[[budgets]]\nname = \"a\"\nmonthly_usd = 1\nunknown = \"ask\"".to_owned(),
            "unknown: found \"ask\", expected halt or note",
        ),
        ("[risk]\ndelete = 101".to_owned(), "[risk], delete: found 101, expected a whole number from 0 to 100"),
        ("[risk]\nmedium = 70".to_owned(), "[risk], medium: found 70, expected at most high, 60"),
        ("[risk.environments]\n\"a b\" = 1".to_owned(), "environments, a b: found \"a b\""),
    ] {
        check(&text, told);
    }
}

#[test]
fn all_mistakes_are_told() {
    let text = "x = 1\n[guard]\npipe_allow_list = [\"tee\"]\n[[windows]]\nname = \"a\"\n[[windows]]\nname = \"b\"\n";
    let mistakes = Config::read("work.toml", text).unwrap_err();
    let places: Vec<String> = mistakes.iter().map(|mistake| format!("{} {}", mistake.entry, mistake.field)).collect();
    assert_eq!(places, ["the file x", "[guard] pipe_allow_list", "window a from", "window b from"]);
}

/// The documentation's own file is one, and says what the documentation says of it.
#[test]
fn the_documented_file_is_read() {
    let text = include_str!("../../../../docs/workers.md");
    let (_, rest) = text.split_once("```toml\n").unwrap();
    let config = read(rest.split_once("```").unwrap().0);
    assert_eq!(config.calendar.windows.len(), 2);
    assert_eq!(config.approvals[1].sentence(), "2 other persons, signed, as platform-owners, security, within 24 h");
    assert!(matches!(config.policy.source, Some(PolicySource::Directory(_))));
    assert_eq!((config.lanes.len(), config.budgets.len(), config.calendar.freezes.len()), (1, 1, 1));
}

/// Each option that is read is in the tables of the documentation, and each that is there is read.
#[test]
fn every_option_is_documented() {
    let documented = documented();
    let mut known = BTreeSet::new();
    for place in [
        "",
        "[plan]",
        "[guard]",
        "[preflight]",
        "[policy]",
        "[execute]",
        "[execute.retries]",
        "[[execute.retries.classes]]",
        "[execute.waves]",
        "[[execute.credentials]]",
        "[[windows]]",
        "[[freezes]]",
        "[[approvals]]",
        "[risk]",
        "[[lanes]]",
        "[[budgets]]",
        "[[blast_radius]]",
        "[verify]",
        "[[verify.expect]]",
        "[[verify.probes]]",
        "[[verify.slo]]",
        "[rollback]",
        "[drift]",
        "[[drift.monitors]]",
    ] {
        let mistakes = Config::read("work.toml", &format!("{place}\nno_such_key = 1\n")).unwrap_err();
        let told = mistakes[0].to_string();
        let (_, keys) = told.split_once("expected one of ").unwrap_or_else(|| panic!("{place}: {told}"));
        let list = if place.starts_with("[[") { "[]" } else { "" };
        let prefix = place.trim_matches(['[', ']']);
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}{list}.") };
        known.extend(keys.split(", ").map(|key| format!("{prefix}{key}")));
    }
    // Everywhere in lists, and said once: names and scopes. What a factor is called has a table of its own.
    let factors = ["delete", "update", "create", "lasting", "unchecked", "affected", "security", "emergency", "asked"];
    let is_common = |key: &str| {
        let last = key.rsplit('.').next().unwrap_or(key);
        ["name", "environments", "except_classes"].contains(&last)
            || key.strip_prefix("risk.").is_some_and(|factor| factors.contains(&factor))
    };
    let has_more = |key: &str| {
        documented.iter().any(|found| found.starts_with(&format!("{key}.")) || found.starts_with(&format!("{key}[]")))
    };
    let missing: Vec<&String> =
        known.iter().filter(|key| !documented.contains(*key) && !is_common(key) && !has_more(key)).collect();
    assert!(missing.is_empty(), "not documented: {missing:?}");
    let is_pattern = |key: &str| ["risk.FACTOR", "risk.environments.NAME"].contains(&key);
    let stale: Vec<&String> = documented.iter().filter(|key| !known.contains(*key) && !is_pattern(key)).collect();
    assert!(stale.is_empty(), "documented, and not read: {stale:?}");
    assert!(documented.len() > 60, "{}", documented.len());
}

/// Options by the first column of their tables: `execute.retries.first_ms`, `.most_ms` are two of one prefix.
fn documented() -> BTreeSet<String> {
    let texts = [include_str!("../../../../docs/workers.md"), include_str!("../../../../docs/aftermath.md")];
    let mut all = BTreeSet::new();
    for text in texts {
        let mut is_options = false;
        for line in text.lines() {
            is_options = line.starts_with("| key | default | meaning |") || (is_options && line.starts_with('|'));
            let Some(cell) = line.strip_prefix("| ").filter(|_| is_options) else { continue };
            let mut prefix = String::new();
            for name in cell.split(" | ").next().unwrap_or_default().split('`').skip(1).step_by(2) {
                let whole = match name.strip_prefix('.') {
                    Some(rest) => format!("{prefix}{rest}"),
                    None => name.to_owned(),
                };
                prefix = whole.rfind('.').map_or(String::new(), |at| whole[..=at].to_owned());
                all.insert(whole.trim_end_matches("[]").to_owned());
            }
        }
    }
    all
}
