//! Hostile lines, each refused where and for what it says, or read as exactly these arguments.

use proptest::prelude::*;

use super::*;
use crate::catalogue::shipped;

/// What a line gives.
enum Gives {
    /// These commands.
    Argv(&'static [&'static [&'static str]]),
    /// A refusal of this text at this byte, whose reason has these words.
    No(&'static str, usize, &'static str),
}
use Gives::{Argv, No};

const META: &str = "a shell meta";

#[expect(clippy::too_many_lines, reason = "a table")]
fn table() -> Vec<(&'static str, Gives)> {
    vec![
        // What is meant to run.
        ("az group list", Argv(&[&["az", "group", "list"]])),
        ("az  group\tlist ", Argv(&[&["az", "group", "list"]])),
        ("  az group list", Argv(&[&["az", "group", "list"]])),
        ("kubectl-1.29 create namespace team-alpha", Argv(&[&["kubectl-1.29", "create", "namespace", "team-alpha"]])),
        (
            "az aks create --ssh-key-value \"ssh-rsa AAAA...\"",
            Argv(&[&["az", "aks", "create", "--ssh-key-value", "ssh-rsa AAAA..."]]),
        ),
        ("az group show --query 'tags.owner'", Argv(&[&["az", "group", "show", "--query", "tags.owner"]])),
        ("az group list | jq .", Argv(&[&["az", "group", "list"], &["jq", "."]])),
        ("az group list|wc -l", Argv(&[&["az", "group", "list"], &["wc", "-l"]])),
        (
            "aws s3api list-buckets | jq -r '.Buckets[].Name' | sort -u | head -n 5",
            Argv(&[
                &["aws", "s3api", "list-buckets"],
                &["jq", "-r", ".Buckets[].Name"],
                &["sort", "-u"],
                &["head", "-n", "5"],
            ]),
        ),
        // Quotes: joined, empty, nested, around metas.
        ("az \"\"", Argv(&[&["az", ""]])),
        ("az ''", Argv(&[&["az", ""]])),
        ("az a\"b\"'c'd", Argv(&[&["az", "abcd"]])),
        ("\"az\" group", Argv(&[&["az", "group"]])),
        ("a'z' group", Argv(&[&["az", "group"]])),
        ("az \"it's\"", Argv(&[&["az", "it's"]])),
        ("az 'say \"hi\"'", Argv(&[&["az", "say \"hi\""]])),
        ("az 'a; b && c || d > e < f | g'", Argv(&[&["az", "a; b && c || d > e < f | g"]])),
        ("az 'a\nb'", Argv(&[&["az", "a\nb"]])),
        ("az \"a\tb\"", Argv(&[&["az", "a\tb"]])),
        ("az '$(id)' '`id`' '\\n' '*' '~' '{a,b}'", Argv(&[&["az", "$(id)", "`id`", "\\n", "*", "~", "{a,b}"]])),
        ("az \"*\" \"?\" \"~/x\" \"a;b\"", Argv(&[&["az", "*", "?", "~/x", "a;b"]])),
        ("az 'é' \"日本\"", Argv(&[&["az", "é", "日本"]])),
        ("az a#b", Argv(&[&["az", "a#b"]])),
        ("az '#x'", Argv(&[&["az", "#x"]])),
        ("az a=b --x=y", Argv(&[&["az", "a=b", "--x=y"]])),
        ("az \"unclosed", No("\"", 3, "not closed")),
        ("az 'unclosed", No("'", 3, "not closed")),
        ("az 'a'b'", No("'", 7, "not closed")),
        ("az \"a\\\"b\"", No("\\", 5, "do not agree")),
        ("az \"$HOME\"", No("$", 4, "even between double quotes")),
        ("az \"`id`\"", No("`", 4, "even between double quotes")),
        ("az \"\\$x\"", No("\\", 4, "even between double quotes")),
        ("az $'\\x41'", No("$'", 3, META)),
        ("az $\"hello\"", No("$\"", 3, META)),
        // The model's metas, with and without space.
        ("az group list; id", No(";", 13, META)),
        ("az group list ;id", No(";", 14, META)),
        ("az group list && id", No("&&", 14, META)),
        ("az group list&&id", No("&&", 13, META)),
        ("az group list || id", No("||", 14, META)),
        ("az a\\;b", No("\\", 4, META)),
        ("az a\\ b", No("\\", 4, META)),
        ("az \\\nb", No("\\", 3, META)),
        ("az $(id)", No("$(", 3, META)),
        ("az --name=$(id)", No("$(", 10, META)),
        ("az $((1+1))", No("$((", 3, META)),
        ("az < /etc/passwd", No("<", 3, META)),
        ("az <<EOF", No("<<", 3, META)),
        ("az <<<x", No("<<<", 3, META)),
        ("az > out", No(">", 3, META)),
        ("az >> out", No(">>", 3, META)),
        ("az >| out", No(">|", 3, META)),
        ("az 2>&1", No(">&", 4, META)),
        ("az &> out", No("&>", 3, META)),
        ("az <(id)", No("<(", 3, META)),
        ("az >(id)", No(">(", 3, META)),
        ("az group list\nid", No("\n", 13, META)),
        ("az group list\n", No("\n", 13, META)),
        ("az group list\r\nid", No("\r\n", 13, META)),
        ("az group list\rid", No("\r", 13, META)),
        ("\naz group list", No("\n", 0, META)),
        ("az `id`", No("`", 3, META)),
        ("az group list & id", No("&", 14, META)),
        ("az group list &", No("&", 14, META)),
        ("az |& jq .", No("|&", 3, META)),
        ("az a&b", No("&", 4, META)),
        // Expansions.
        ("az $HOME", No("$", 3, META)),
        ("az ${HOME}", No("${", 3, META)),
        ("az $1 $@", No("$", 3, META)),
        ("az a$", No("$", 4, META)),
        ("az *", No("*", 3, META)),
        ("az a*b", No("*", 4, META)),
        ("az a?", No("?", 4, META)),
        ("az [ab]", No("[", 3, META)),
        ("az ~", No("~", 3, META)),
        ("az ~root/x", No("~", 3, META)),
        ("az --x=~", No("~", 7, META)),
        ("az {a,b}", No("{", 3, META)),
        ("az a{1..9}", No("{", 4, META)),
        ("az }", No("}", 3, META)),
        ("(az group list)", No("(", 0, META)),
        ("{ az group list; }", No("{", 0, META)),
        ("az !!", No("!", 3, META)),
        ("! az group list", No("!", 0, META)),
        ("az # comment", No("#", 3, META)),
        ("# az", No("#", 0, META)),
        // What can't be seen, or looks like something else.
        ("az a\0b", No("\0", 4, "can't be seen")),
        ("az 'a\0b'", No("\0", 5, "can't be seen")),
        ("\0", No("\0", 0, "can't be seen")),
        ("az 'a\u{1b}[2Jb'", No("\u{1b}", 5, "can't be seen")),
        ("az \u{7}", No("\u{7}", 3, "can't be seen")),
        ("az a\u{8}b", No("\u{8}", 4, "can't be seen")),
        ("az 'a\rb'", No("\r", 5, "can't be seen")),
        ("az a\u{b}b", No("\u{b}", 4, "can't be seen")),
        ("az a\u{c}b", No("\u{c}", 4, "can't be seen")),
        ("az a\u{7f}", No("\u{7f}", 4, "can't be seen")),
        ("az \u{9b}31m", No("\u{9b}", 3, "can't be seen")),
        ("az\u{a0}group", No("\u{a0}", 2, "can't be seen")),
        ("az 'a\u{a0}b'", No("\u{a0}", 5, "can't be seen")),
        ("az\u{3000}group", No("\u{3000}", 2, "can't be seen")),
        ("az a\u{2028}id", No("\u{2028}", 4, "can't be seen")),
        ("az a\u{85}id", No("\u{85}", 4, "can't be seen")),
        ("az 'a\u{202e}b'", No("\u{202e}", 5, "can't be seen")),
        ("az a\u{200b}b", No("\u{200b}", 4, "can't be seen")),
        ("az 'a\u{2066}b'", No("\u{2066}", 5, "can't be seen")),
        ("az \u{feff}", No("\u{feff}", 3, "can't be seen")),
        ("\u{feff}az group", No("\u{feff}", 0, "can't be seen")),
        ("az 'a\u{ad}b'", No("\u{ad}", 5, "can't be seen")),
        ("az '\u{e0041}'", No("\u{e0041}", 4, "can't be seen")),
        ("az '\u{3164}'", No("\u{3164}", 4, "can't be seen")),
        ("az group list； id", No("；", 13, "printable ASCII")),
        ("az group list ｜ sh", No("｜", 14, "printable ASCII")),
        ("az ＆＆ id", No("＆", 3, "printable ASCII")),
        ("az ＞ x", No("＞", 3, "printable ASCII")),
        ("az ＄(id)", No("＄", 3, "printable ASCII")),
        ("az “a b”", No("“", 3, "printable ASCII")),
        ("az ‘a’", No("‘", 3, "printable ASCII")),
        ("az \u{37e} id", No("\u{37e}", 3, "printable ASCII")),
        ("az –-yes", No("–", 3, "printable ASCII")),
        ("az −−yes", No("−", 3, "printable ASCII")),
        ("аz group list", No("а", 0, "printable ASCII")),
        ("\"аz\" group list", No("аz", 0, "not a pinned tool")),
        ("az | ϳq .", No("ϳ", 5, "printable ASCII")),
        ("az | \"ϳq\" .", No("ϳq", 5, "bare names")),
        ("az é", No("é", 3, "printable ASCII")),
        // Programs: only pinned tools, by their names.
        ("", No("", 0, "missing")),
        ("   ", No("", 3, "missing")),
        ("\"\"", No("", 0, "not a pinned tool")),
        ("sh -c id", No("sh", 0, "not a pinned tool")),
        ("bash -c 'az group list'", No("bash", 0, "not a pinned tool")),
        ("/usr/bin/az group list", No("/usr/bin/az", 0, "not a pinned tool")),
        ("./az group list", No("./az", 0, "not a pinned tool")),
        ("../az group list", No("../az", 0, "not a pinned tool")),
        ("kubectl get ns", No("kubectl", 0, "not a pinned tool")),
        ("kubectl-1.30 get ns", No("kubectl-1.30", 0, "not a pinned tool")),
        ("KUBECTL-1.29 get ns", No("KUBECTL-1.29", 0, "not a pinned tool")),
        ("AZ group list", No("AZ", 0, "not a pinned tool")),
        ("az.exe group", No("az.exe", 0, "not a pinned tool")),
        ("jq . file.json", No("jq", 0, "not a pinned tool")),
        ("env az group list", No("env", 0, "not a pinned tool")),
        ("sudo az group list", No("sudo", 0, "not a pinned tool")),
        ("xargs az", No("xargs", 0, "not a pinned tool")),
        ("nohup az group list", No("nohup", 0, "not a pinned tool")),
        ("exec az", No("exec", 0, "not a pinned tool")),
        ("eval az", No("eval", 0, "not a pinned tool")),
        ("-az group", No("-az", 0, "not a pinned tool")),
        ("'az group' list", No("az group", 0, "not a pinned tool")),
        ("PATH=/tmp az group list", No("PATH=/tmp", 0, "variables are not set")),
        ("LD_PRELOAD=/tmp/x.so az", No("LD_PRELOAD=/tmp/x.so", 0, "variables are not set")),
        ("X+=1 az", No("X+=1", 0, "variables are not set")),
        ("A='b c' az", No("A=b c", 0, "variables are not set")),
        // What the catalogue refuses for a tool, abbreviated and with values attached.
        ("kubectl-1.29 get ns --insecure-skip-tls-verify", No("--insecure-skip-tls-verify", 20, "catalogue refuses")),
        (
            "kubectl-1.29 get ns --insecure-skip-tls-verify=true",
            No("--insecure-skip-tls-verify=true", 20, "catalogue refuses"),
        ),
        ("kubectl-1.29 get ns '--insecure-skip-tls-verify'", No("--insecure-skip-tls-verify", 20, "catalogue refuses")),
        ("kubectl-1.29 get ns -shttp://evil", No("-shttp://evil", 20, "catalogue refuses")),
        ("kubectl-1.29 get ns --kubeconfig=/tmp/x", No("--kubeconfig=/tmp/x", 20, "catalogue refuses")),
        ("kubectl-1.29 get ns --as system:admin", No("--as", 20, "catalogue refuses")),
        ("aws s3 ls --no-verify-ssl", No("--no-verify-ssl", 10, "catalogue refuses")),
        ("aws s3 ls --no-verify-s", No("--no-verify-s", 10, "catalogue refuses")),
        ("aws s3 ls --endpoint-url http://evil", No("--endpoint-url", 10, "catalogue refuses")),
        ("aws s3 ls --endpoint-u=http://evil", No("--endpoint-u=http://evil", 10, "catalogue refuses")),
        ("aws sqs x --cli-input-json file:///etc/shadow", No("file:///etc/shadow", 27, "catalogue refuses")),
        ("aws sqs x --body=fileb://secret", No("--body=fileb://secret", 10, "catalogue refuses")),
        ("az x --parameters @/etc/passwd", No("@/etc/passwd", 18, "catalogue refuses")),
        ("az x --tags=@f", No("--tags=@f", 5, "catalogue refuses")),
        ("az login --debug", No("--debug", 9, "catalogue refuses")),
        // Pipes into others, under other names, and pipes without ends.
        ("az | sh", No("sh", 5, "bare names")),
        ("az | tee out", No("tee", 5, "bare names")),
        ("az | xargs id", No("xargs", 5, "bare names")),
        ("az | jq . | bash", No("bash", 12, "bare names")),
        ("az | /tmp/jq .", No("/tmp/jq", 5, "bare names")),
        ("az | ./jq .", No("./jq", 5, "bare names")),
        ("az | jq/../sh", No("jq/../sh", 5, "bare names")),
        ("az | JQ .", No("JQ", 5, "bare names")),
        ("az | 'jq ' .", No("jq ", 5, "bare names")),
        ("az | awk '{print}'", No("awk", 5, "bare names")),
        ("az | az group list", No("az", 5, "bare names")),
        ("az | LC_ALL=C sort", No("LC_ALL=C", 5, "bare names")),
        ("az |", No("", 4, "missing")),
        ("| jq .", No("|", 0, "missing")),
        ("az | | jq .", No("|", 5, "missing")),
        ("az ||", No("||", 3, META)),
        ("az '|' sh", Argv(&[&["az", "|", "sh"]])),
        ("az|wc|wc|wc|wc|wc|wc|wc|wc", No("|", 23, "at most 8 commands")),
        // jq: files, the environment, modules.
        ("az | jq -r .name", Argv(&[&["az"], &["jq", "-r", ".name"]])),
        ("az | jq --arg n x '.[$n]'", Argv(&[&["az"], &["jq", "--arg", "n", "x", ".[$n]"]])),
        ("az | jq '.env, .spec.env[0], \"env\"'", Argv(&[&["az"], &["jq", ".env, .spec.env[0], \"env\""]])),
        ("az | jq '\"\\(.a)-\\(.b|ascii_upcase)\"'", Argv(&[&["az"], &["jq", "\"\\(.a)-\\(.b|ascii_upcase)\""]])),
        ("az | jq env", No("env", 8, "reads the environment")),
        ("az | jq '. , env.PATH'", No(". , env.PATH", 8, "reads the environment")),
        ("az | jq '$ENV'", No("$ENV", 8, "reads the environment")),
        ("az | jq '$ ENV.X'", No("$ ENV.X", 8, "reads the environment")),
        ("az | jq '\"\\(env)\"'", No("\"\\(env)\"", 8, "reads the environment")),
        ("az | jq '\"a\\(\"b\\($ENV)\")\"'", No("\"a\\(\"b\\($ENV)\")\"", 8, "reads the environment")),
        ("az | jq '..env'", No("..env", 8, "reads the environment")),
        ("az | jq '1.env'", No("1.env", 8, "reads the environment")),
        ("az | jq '.[0:env]'", No(".[0:env]", 8, "reads the environment")),
        ("az | jq '{a:env}'", No("{a:env}", 8, "reads the environment")),
        ("az | jq '.a#\nenv'", No(".a#\nenv", 8, "comments")),
        ("az | jq 'import \"a\" as a; a::f'", No("import \"a\" as a; a::f", 8, "module")),
        ("az | jq 'include \"a\"; f'", No("include \"a\"; f", 8, "module")),
        ("az | jq input_filename", No("input_filename", 8, "names of files")),
        ("az | jq '\"open'", No("\"open", 8, "not closed")),
        ("az | jq", No("jq", 5, "missing")),
        ("az | jq . /etc/passwd", No("/etc/passwd", 10, "reads a file")),
        ("az | jq . x.json", No("x.json", 10, "reads a file")),
        ("az | jq -f prog", No("-f", 8, "nobody has seen")),
        ("az | jq -rf prog", No("-rf", 8, "nobody has seen")),
        ("az | jq --from-file prog", No("--from-file", 8, "nobody has seen")),
        ("az | jq -L /tmp .", No("-L", 8, "modules")),
        ("az | jq -L/tmp .", No("-L/tmp", 8, "modules")),
        ("az | jq --slurpfile a /etc/passwd .", No("--slurpfile", 8, "reads a file")),
        ("az | jq --rawfile a f .", No("--rawfile", 8, "reads a file")),
        ("az | jq --args . a", No("--args", 8, "none of the options")),
        ("az | jq -- .", No("--", 8, "options end")),
        ("az | jq --indent=3 .", No("--indent=3", 8, "words of their own")),
        // grep: files, recursion, patterns that take for ever.
        ("az | grep -i -e foo -e '^bar'", Argv(&[&["az"], &["grep", "-i", "-e", "foo", "-e", "^bar"]])),
        ("az | grep -A3 foo", Argv(&[&["az"], &["grep", "-A3", "foo"]])),
        ("az | grep -e -r", Argv(&[&["az"], &["grep", "-e", "-r"]])),
        ("az | grep -- -v", Argv(&[&["az"], &["grep", "--", "-v"]])),
        ("az | grep -f patterns.txt", Argv(&[&["az"], &["grep", "-f", "patterns.txt"]])),
        ("az | grep -r foo logs", Argv(&[&["az"], &["grep", "-r", "foo", "logs"]])),
        ("az | grep", No("grep", 5, "pattern is missing")),
        ("az | grep foo /etc/passwd", No("/etc/passwd", 14, "below the working directory")),
        ("az | grep -r foo ..", No("..", 17, "below the working directory")),
        ("az | grep -rn foo /", No("/", 18, "below the working directory")),
        ("az | grep -r foo a/../../b", No("a/../../b", 17, "below the working directory")),
        ("az | grep -f /etc/shadow", No("/etc/shadow", 13, "below the working directory")),
        ("az | grep -f../x", No("-f../x", 10, "below the working directory")),
        ("az | grep -if/etc/shadow", No("-if/etc/shadow", 10, "below the working directory")),
        ("az | grep --file=/etc/shadow", No("--file=/etc/shadow", 10, "below the working directory")),
        ("az | grep --fil=/etc/shadow x", No("--fil=/etc/shadow", 10, "none of the options")),
        ("az | grep -R foo", No("-R", 10, "follows links")),
        ("az | grep --deref foo", No("--deref", 10, "abbreviation of --dereference-recursive")),
        ("az | grep -P '(a+)+$'", No("-P", 10, "for ever")),
        ("az | grep --exclude-from=x y", No("--exclude-from=x", 10, "reads a file")),
        // sort: writes files, runs programs.
        ("az | sort -t, -k2,2n", Argv(&[&["az"], &["sort", "-t,", "-k2,2n"]])),
        ("az | sort -nrk2 -", Argv(&[&["az"], &["sort", "-nrk2", "-"]])),
        ("az | sort -to", Argv(&[&["az"], &["sort", "-to"]])),
        ("az | sort -o out", No("-o", 10, "writes a file")),
        ("az | sort -oout", No("-oout", 10, "writes a file")),
        ("az | sort -no out", No("-no", 10, "writes a file")),
        ("az | sort --output=out", No("--output=out", 10, "writes a file")),
        ("az | sort --outp out", No("--outp", 10, "abbreviation of --output")),
        ("az | sort --o out", No("--o", 10, "abbreviation of --output")),
        ("az | sort --compress-program=sh", No("--compress-program=sh", 10, "runs another program")),
        ("az | sort --comp sh", No("--comp", 10, "abbreviation of --compress-program")),
        ("az | sort -T /tmp", No("-T", 10, "writes elsewhere")),
        ("az | sort -S 99G", No("-S", 10, "memory")),
        ("az | sort -R", No("-R", 10, "not the same twice")),
        ("az | sort --files0-from=x", No("--files0-from=x", 10, "names of files")),
        ("az | sort -- -o", No("-o", 13, "below the working directory")),
        ("az | sort /etc/passwd", No("/etc/passwd", 10, "below the working directory")),
        ("az | sort +1 -2", No("-2", 13, "none of the options")),
        ("az | sort -k", No("-k", 10, "value is missing")),
        // The others.
        ("az | tail -n +5", Argv(&[&["az"], &["tail", "-n", "+5"]])),
        ("az | tail -5", Argv(&[&["az"], &["tail", "-5"]])),
        ("az | tail -f", No("-f", 10, "never ends")),
        ("az | tail -F x", No("-F", 10, "never ends")),
        ("az | tail -5f", No("-5f", 10, "none of the options")),
        ("az | tail -qf", No("-qf", 10, "never ends")),
        ("az | tail --follow=name x", No("--follow=name", 10, "never ends")),
        ("az | tail --fol", No("--fol", 10, "abbreviation of --follow")),
        ("az | tail --pid=1", No("--pid=1", 10, "another process")),
        ("az | tail +5", No("+5", 10, "below the working directory")),
        ("az | head -c 10M", Argv(&[&["az"], &["head", "-c", "10M"]])),
        ("az | head -n x", No("x", 13, "a number")),
        ("az | head /dev/zero", No("/dev/zero", 10, "below the working directory")),
        ("az | wc --files0-from=-", No("--files0-from=-", 8, "names of files")),
        ("az | wc ../x", No("../x", 8, "below the working directory")),
        ("az | cut -d: -f1", Argv(&[&["az"], &["cut", "-d:", "-f1"]])),
        ("az | cut -d' ' -f 1,3", Argv(&[&["az"], &["cut", "-d ", "-f", "1,3"]])),
        ("az | cut -f1 /etc/passwd", No("/etc/passwd", 13, "below the working directory")),
        ("az | uniq -c", Argv(&[&["az"], &["uniq", "-c"]])),
        ("az | uniq - out", No("out", 12, "would be written")),
        ("az | uniq in out", No("out", 13, "would be written")),
        ("az | uniq -- - out", No("out", 15, "would be written")),
    ]
}

#[test]
fn hostile_lines() {
    let table = table();
    assert!(table.len() >= 150, "{}", table.len());
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
