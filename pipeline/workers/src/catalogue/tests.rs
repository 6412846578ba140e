use super::*;
use crate::argv;

#[test]
fn the_shipped_files_are_a_catalogue() {
    let catalogue = Catalogue::read(&[]).unwrap_or_else(|error| panic!("{error}"));
    for cloud in ["aws", "azure"] {
        assert!(catalogue.types.values().any(|kind| kind.cloud.as_deref() == Some(cloud)), "{cloud}");
    }
    assert!(catalogue.types.contains_key("k8s_namespace") && catalogue.types.contains_key("tofu_stack"));
    assert_eq!(catalogue.program("kubectl"), "kubectl-1.29");
}

/// With a value in every field, each command of each type is one that the guard reads as it was meant.
#[test]
fn every_template_passes_the_guard() {
    let catalogue = shipped();
    for kind in catalogue.types.values() {
        let value = |field: &Field| match &field.form {
            Form::OneOf(words) => words[0].clone(),
            Form::Number(least, _) => least.to_string(),
            Form::Pattern(pattern) => {
                let tried = [
                    "web",
                    "x=y",
                    "1.29",
                    "i-0123456789abcdef0",
                    "ami-0123456789abcdef0",
                    "us-east-1",
                    "012345678901",
                    "8080",
                    "10.0.0.0/8",
                    "ssh-rsa AAAA",
                    "a.tfvars",
                    "a.b",
                    "/srv/stacks",
                ];
                tried.into_iter().find(|text| pattern.is_match(text)).unwrap_or_else(|| panic!("{pattern}")).to_owned()
            }
        };
        let mut values: BTreeMap<String, String> =
            kind.fields.iter().map(|(name, field)| (name.clone(), value(field))).collect();
        values.insert("twin".into(), "web-green".into());
        let commands = [
            Some(&kind.create),
            Some(&kind.exists.command),
            Some(&kind.read_back),
            Some(&kind.delete),
            kind.dry_run.as_ref(),
            kind.rollout.as_ref(),
            kind.switch.as_ref(),
            kind.quota.as_ref().map(|quota| &quota.read),
        ];
        for template in commands.into_iter().flatten().chain(kind.updates.values().map(|update| &update.command)) {
            let command = template.render(&catalogue.program(&template.tool), &values).unwrap();
            let line = argv::render(&command);
            let read =
                argv::parse(&line, catalogue).unwrap_or_else(|refusal| panic!("{}: {line}: {refusal}", kind.name));
            assert_eq!(read.commands, [command], "{}", kind.name);
            assert!(schemas::guard::of_line(&line).is_empty(), "{}: {line}", kind.name);
        }
    }
}

/// The smallest type.
const WHOLE: &str = r#"[types.gcp_bucket]
title = "Bucket"
words = ["gcs bucket"]
create = ["tofu", "{name}"]
exists = { command = ["tofu", "{name}"] }
read_back = ["tofu", "{name}"]
delete = ["tofu", "{name}"]
"#;

#[test]
fn users_add_files() {
    let read = |text: &str| Catalogue::read(&[("own.toml".to_owned(), text.to_owned())]);
    let catalogue = read(WHOLE).unwrap();
    assert!(catalogue.types.contains_key("gcp_bucket") && catalogue.types.contains_key("az_aks"));
    assert_ne!(catalogue.digest(), shipped().digest());
    let pinned = read("[tools.kubectl]\nreplaces = true\nprogram = \"kubectl-1.31\"\nversion = \"1.31\"\n").unwrap();
    assert_eq!(pinned.program("kubectl"), "kubectl-1.31");
    assert!(pinned.tools["kubectl"].refuses("--token=x").is_some(), "another version allows no more");
    let own = read("[defaults.az_aks]\nnode_count = 3\nssh_key = \"ssh-rsa AAAAB3Nz\"\n").unwrap();
    assert_eq!(own.types["az_aks"].fields["ssh_key"].default.as_deref(), Some("ssh-rsa AAAAB3Nz"));
}

/// Each mistake is told with file, entry, field, what was found and what was expected.
#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn mistakes_are_named() {
    let check = |text: &str, told: &str| {
        let error = Catalogue::read(&[("own.toml".to_owned(), text.to_owned())]).unwrap_err().to_string();
        assert!(error.starts_with("own.toml: ") && error.contains(told), "{error}\nexpected: {told}");
        assert!(error.contains(": found ") && error.contains(", expected "), "{error}");
    };
    let changed = |from: &str, to: &str| WHOLE.replace(from, to);
    for (text, told) in [
        ("[types".to_owned(), "the file, line 1: found "),
        ("\n\nx = ".to_owned(), "the file, line 3: found "),
        ("kinds = 1".to_owned(), "the file, kinds: found a key that means nothing here"),
        ("types = 1".to_owned(), "the file, types: found a number: 1, expected a table of tables"),
        ("[types]\nx = 1".to_owned(), "type x, x: found a number: 1, expected a table"),
        (changed("gcp_bucket", "Bucket"), "type Bucket, name: found \"Bucket\""),
        (changed("title = \"Bucket\"\n", ""), "type gcp_bucket, title: found nothing, expected text"),
        (changed("\"Bucket\"", "7"), "type gcp_bucket, title: found a number: 7"),
        (changed("\"Bucket\"", "\"a\\nb\""), "title: found \"a\\nb\", expected text on one line"),
        (changed("title", "tilte"), "type gcp_bucket, tilte: found a key that means nothing here"),
        (changed("[\"gcs bucket\"]", "[]"), "type gcp_bucket, words: found nothing"),
        (changed("gcs bucket", "GCS bucket"), "words: found \"GCS bucket\", expected words in lower case"),
        (changed("gcs bucket", "bucket"), "words: found \"bucket\", which type aws_s3_bucket has"),
        (changed("create = [\"tofu\", \"{name}\"]", ""), "type gcp_bucket, create: found nothing"),
        (changed("create = [\"tofu\", \"{name}\"]", "create = []"), "create: found no words"),
        (changed("create = [\"tofu\"", "create = [\"tofuu\""), "create: found \"tofuu\", expected the name of a tool"),
        (changed("create = [\"tofu\", \"{name}\"]", "create = \"tofu x\""), "create: found text \"tofu x\""),
        (changed("create = [\"tofu\", \"{name}\"]", "create = [\"tofu\", 1]"), "create[1]: found a number: 1"),
        (changed("create = [\"tofu\", \"{name}\"]", "create = [\"tofu\", []]"), "create[1]: found a list []"),
        (
            changed("create = [\"tofu\", \"{name}\"]", "create = [\"tofu\", \"{nam}\"]"),
            "create: found \"nam\", expected a field",
        ),
        (changed("create = [\"tofu\", \"{name}\"]", "create = [\"tofu\", \"{name\"]"), "create: found \"{name\""),
        (changed("create = [\"tofu\", \"{name}\"]", "create = [\"tofu\", \"a}\"]"), "create: found \"a}\""),
        (
            changed("exists = {", "exists = { prints = \"a\", prints_other_than = \"b\","),
            "exists, prints: found this and",
        ),
        (format!("{WHOLE}runs_on = \"cloud\"\n"), "runs_on: found \"cloud\", expected a role"),
        (format!("{WHOLE}[types.gcp_bucket.fields.x]\nphrases = [\"in\"]\n"), "field x, phrases: found \"in\""),
        (format!("{WHOLE}[types.gcp_bucket.fields.x]\npattern = \"(\"\n"), "field x, pattern: found \"(\""),
        (format!("{WHOLE}[types.gcp_bucket.fields.x]\nleast = -1\n"), "field x, least: found -1"),
        (format!("{WHOLE}[types.gcp_bucket.fields.x]\nleast = 1\none_of = [\"a\"]\n"), "found several of pattern"),
        (
            format!("{WHOLE}[types.gcp_bucket.fields.x]\nleast = 3\ndefault = \"2\"\n"),
            "default: found \"2\", expected a whole number from 3",
        ),
        (
            format!("{WHOLE}[types.gcp_bucket.fields.x]\ndefault = \"--all\"\n"),
            "expected a value that does not begin with a dash",
        ),
        (
            format!("{WHOLE}[types.gcp_bucket.fields.x]\nrefers_to = \"y\"\n"),
            "fields.x.refers_to: found \"y\", expected a type or role",
        ),
        (
            format!("{WHOLE}[types.gcp_bucket.fields.x]\nimplied = \"y\"\n"),
            "fields.x.implied: found \"y\", expected refers_to",
        ),
        (format!("{WHOLE}[types.gcp_bucket.fields.x]\nhand_over = \"name\"\n"), "fields.x.hand_over: found \"name\""),
        (
            format!(
                "{WHOLE}[types.gcp_bucket.fields]\nx = {{ phrases = [\"in {{}}\"] }}\ny = {{ phrases = [\"in {{}}\"] }}\n"
            ),
            "fields.y.phrases: found \"in {}\", expected a phrase that field x does not have",
        ),
        (
            format!("{WHOLE}[types.gcp_bucket.updates.x]\nsays = [\"x\"]\ncommand = [\"tofu\"]\n"),
            "update x, sets: found nothing",
        ),
        (
            format!(
                "{WHOLE}[types.gcp_bucket.updates.x]\nsays = [\"x {{y}}\"]\nsets = [\"name\"]\ncommand = [\"tofu\"]\n"
            ),
            "updates.x.says: found \"y\"",
        ),
        (format!("{WHOLE}[types.gcp_bucket.cost]\nnote = \"x\"\n"), "cost, monthly_cents: found nothing"),
        (
            format!("{WHOLE}[types.gcp_bucket.cost]\nmonthly_cents = 1\nper = \"y\"\nnote = \"x\"\n"),
            "cost.per: found \"y\"",
        ),
        (WHOLE.replace("gcp_bucket", "az_aks"), "type az_aks, name: found a second definition"),
        (format!("{WHOLE}replaces = true\n"), "replaces: found true, with nothing to replace"),
        ("[tools.x]\nprogram = \"/bin/x\"\nversion = \"1\"\n".to_owned(), "tool x, program: found \"/bin/x\""),
        ("[tools.x]\nprogram = \"x\"\nversion = \"latest\"\n".to_owned(), "tool x, version: found \"latest\""),
        ("[tools.x]\nprogram = \"x\"\nversion = \"1\"\nsha256 = \"AB\"\n".to_owned(), "tool x, sha256: found \"AB\""),
        (
            "[tools.x]\nprogram = \"az\"\nversion = \"1\"\n".to_owned(),
            "tool x, program: found \"az\", which tool az has",
        ),
        ("[tools.x]\nprogram = \"jq\"\nversion = \"1\"\n".to_owned(), "tool x, program: found \"jq\", expected"),
        (
            "[tools.x]\nprogram = \"jq-1.7\"\nversion = \"1.7\"\n".to_owned(),
            "tool x, program: found \"jq-1.7\", expected",
        ),
        (
            "[tools.x]\nprogram = \"bash\"\nversion = \"5\"\n".to_owned(),
            "tool x, program: found \"bash\", expected a tool",
        ),
        ("[tools.x]\nprogram = \"python3.11\"\nversion = \"3\"\n".to_owned(), "tool x, program: found \"python3.11\""),
        ("[roles.x]\ntitle = \"x\"\nhow = \"x\"\ncheck = [\"y\"]\n".to_owned(), "role x, check: found \"y\""),
        ("[defaults.nothing]\nx = 1\n".to_owned(), "defaults of nothing, name: found \"nothing\""),
        ("[defaults.az_aks]\nnodes = 1\n".to_owned(), "defaults of az_aks, nodes: found a key"),
        ("[defaults.az_aks]\nnode_count = 0\n".to_owned(), "defaults of az_aks, node_count: found \"0\""),
        (
            "[defaults.az_aks]\nnode_count = true\n".to_owned(),
            "defaults of az_aks, node_count: found true or false: true",
        ),
    ] {
        check(&text, told);
    }
}

#[test]
fn values_are_checked_whatever_the_pattern_says() {
    let field = Field { form: Form::pattern(".*").unwrap(), ..Field::plain() };
    for value in ["-rf", "--all", "a\nb", "a\0b", "a\u{202e}b", "a\u{a0}b", &"x".repeat(5000)] {
        assert!(field.check(value).is_err(), "{value:?}");
    }
    assert!(field.check("a b; c").is_ok());
    let number = Field { form: Form::Number(1, 10), ..Field::plain() };
    for (value, fits) in [
        ("1", true),
        ("10", true),
        ("0", false),
        ("11", false),
        ("01", false),
        ("+1", false),
        ("1 ", false),
        ("", false),
    ] {
        assert_eq!(number.check(value).is_ok(), fits, "{value:?}");
    }
}

/// The documentation's own examples.
#[test]
fn the_documented_file_and_request_are_read() {
    let text = include_str!("../../../../docs/catalogue.md");
    let block = |kind: &str| {
        let (_, rest) = text.split_once(&format!("```{kind}\n")).unwrap();
        rest.split_once("```").unwrap().0.to_owned()
    };
    let catalogue = Catalogue::read(&[("docs".to_owned(), block("toml"))]).unwrap_or_else(|error| panic!("{error}"));
    let plan = |bytes: &[u8]| {
        let request = crate::request::json::read(bytes).unwrap();
        crate::plan::plan(&catalogue, &request, None).unwrap_or_else(|error| panic!("{error}"))
    };
    let made = plan(block("json").as_bytes());
    assert!(made.is_executable() && made.steps.len() == 3, "{:?}", made.commands());
    for words in block("text").lines().filter_map(|line| line.strip_prefix("upm plan ")) {
        plan(format!("{{\"request\": {words}}}").as_bytes());
    }
    let bucket = plan(br#"{"request": "create gcs bucket logs-1 in europe"}"#);
    assert_eq!(bucket.commands(), ["gcloud storage buckets create gs://logs-1 --location europe"]);
}
