//! "Pipe allow-list — only `grep|jq|wc|head|tail|cut|sort|uniq` permitted post-pipe; others rejected."

use upm_tests::ok;

use crate::house::{Worker, approve};
use crate::workshop::{planned_elsewhere, step_over, verdict_on_own_plan, workshop};

/// A pipeline of each program on the list, and what it prints. Left of the pipe stands a pinned tool.
const LISTED: [(&str, &str); 8] = [
    ("seq 1 12 | grep 1", "1\n10\n11\n12\n"),
    ("seq 1 3 | jq -c '. * 2'", "2\n4\n6\n"),
    ("seq 1 3 | wc -l", "3\n"),
    ("seq 1 9 | head -n 2", "1\n2\n"),
    ("seq 1 9 | tail -n 1", "9\n"),
    ("seq 10 12 | cut -c2", "0\n1\n2\n"),
    ("seq 8 11 | sort -n -r | head -n 1", "11\n"),
    ("seq 1 1 | uniq -c | grep -o 1 | head -n 1", "1\n"),
];

#[test]
fn pipe_allow_list() {
    let house = workshop("");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    planned_elsewhere(&server, "c-1", &LISTED.map(|(line, _)| line));
    verdict_on_own_plan(&server, "c-1", "wait");
    approve(&server, "c-1", "olga", "owner");
    for (number, (line, printed)) in (1..).zip(LISTED) {
        let step = step_over(&server, "c-1", &format!("command {number}"));
        assert_eq!((&step["stdout"], &step["rc"]), (&printed.into(), &0.into()), "{line}: {step}");
    }

    // Others, the same programs under other names, and options of theirs that read, write or run something else.
    let evil = house.path().join("evil").display().to_string();
    let refused = [
        format!("seq 1 3 | tee {evil}"),
        "seq 1 3 | sh".to_owned(),
        "seq 1 3 | xargs mkdir".to_owned(),
        "seq 1 3 | /usr/bin/jq .".to_owned(),
        "seq 1 3 | awk 1".to_owned(),
        format!("seq 1 3 | sort -o {evil}"),
        "seq 1 3 | sort --compress-program=sh".to_owned(),
        "seq 1 3 | grep -f /etc/passwd".to_owned(),
        "seq 1 3 | jq env".to_owned(),
        "seq 1 3 | tail -f".to_owned(),
        format!("seq 1 3 | uniq - {evil}"),
        "jq . x".to_owned(),
    ];
    planned_elsewhere(&server, "c-2", &refused.each_ref().map(String::as_str));
    let halts = verdict_on_own_plan(&server, "c-2", "halt");
    for number in 1..=refused.len() {
        let name = format!("command {number}");
        let checks = halts["preflight"]["checks"].as_array().expect("checks");
        let told = checks
            .iter()
            .any(|check| check["type"] == "guard" && check["name"] == name.as_str() && check["ok"] == false);
        assert!(told, "{}: {halts}", refused[number - 1]);
    }
    let told = halts["preflight"]["checks"].to_string();
    assert!(told.contains("a pipe may only lead into") && told.contains("writes a file"), "{told}");
    approve(&server, "c-2", "olga", "owner");
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert!(!house.path().join("evil").exists());

    let pack = house.path().join("c-1.zip").display().to_string();
    ok(&mut server.upm(&["pack", "c-1", "--tenant", "acme", "-o", &pack]));
    ok(&mut server.upm(&["verify", &pack, "--key", server.vkey("acme")]));
}

/// A house may have a shorter list.
#[test]
fn a_house_may_take_programs_off_the_list() {
    let house = workshop("[guard]\npipe_allow_list = [\"grep\"]\n");
    let server = house.idle();
    let _worker = Worker::start(&house, &server, "all");
    planned_elsewhere(&server, "c-1", &["seq 1 3 | grep 1", "seq 1 3 | wc -l"]);
    let halts = verdict_on_own_plan(&server, "c-1", "halt");
    let told = halts["preflight"]["checks"].to_string();
    assert!(
        told.contains("pipes into wc, which is not on this house's list") && !told.contains("pipes into grep"),
        "{told}"
    );
}
