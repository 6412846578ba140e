//! Events that look like real ones: distinct, of varied words, about 1.4 KB, five to a change, which has one target through all its phases.
//!
//! One change of five makes new resources; the others touch some that one of [`SITES`] has: some 20,000 in all.

use std::fmt::Write;

use schemas::ids::Phase;

const CLOUDS: [&str; 4] = ["azure", "aws", "gcp", "openstack"];
const REGIONS: [&str; 6] = ["eastus", "westeurope", "eu-west-1", "us-east-2", "europe-north1", "ap-southeast-2"];
const TEAMS: [&str; 8] = ["payments", "identity", "search", "ledger", "platform", "media", "logistics", "growth"];
const VERBS: [&str; 5] = ["create", "update", "scale", "rotate", "delete"];
const KINDS: [&str; 6] =
    ["az_aks", "aws_lambda_permission", "k8s_namespace", "gcp_sql_instance", "aws_s3_bucket", "az_key_vault"];

/// Places where a tenant has resources: of one team, kind and cloud each.
const SITES: u64 = 2_000;
/// Resources of a site that changes touch.
const RESOURCES: u64 = 10;

/// A small generator (xorshift64*): the same seed gives the same events everywhere.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    fn pick<'a>(&mut self, words: &[&'a str]) -> &'a str {
        let count = words.len() as u64;
        words[usize::try_from(self.next() % count).unwrap_or_default()]
    }
}

/// Event `number` of a backlog: its phase and its bytes.
pub(crate) fn event(random: &mut Random, tenant: &str, number: u64) -> (Phase, String) {
    let phase = Phase::ALL[usize::try_from(number % 5).unwrap_or_default()];
    let change = number / 5;
    // What stays the same through a change's events, and what through all changes of a site.
    let mut of_change = Random::new((change + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let site = of_change.next() % SITES;
    let mut of_site = of_site(site);
    let (team, region, kind) = (of_site.pick(&TEAMS), of_site.pick(&REGIONS), of_site.pick(&KINDS));
    let (cloud, endpoint) = (of_site.pick(&CLOUDS), of_site.next() % 16);
    let (verb, production) = (of_change.pick(&VERBS), of_change.next().is_multiple_of(3));
    let (a, b) = (random.next(), random.next());
    let mut text = format!(
        r#"{{"provisioning_event":{{"id":"{a:016x}-{number}","change_id":"CHG-{change:08}","timestamp":"2026-04-{:02}T{:02}:{:02}:{:02}Z","phase":"{phase}","environment":"{}","intent":{{"request":"{verb} {kind} {team}-{:x} in {region}","source":"api","initiator":"{team}-pipeline","tenant":"{tenant}","ticket":"OPS-{}"}},"target":{{"cloud":"{cloud}","cluster_endpoint_id":"{region}-{endpoint}","resources":["#,
        1 + a % 28,
        b % 24,
        a % 60,
        b % 60,
        if production { "production" } else { "staging" },
        b >> 40,
        b % 100_000,
    );
    let first = of_change.next();
    for resource in 0..3 {
        let comma = if resource == 0 { "" } else { "," };
        let name = match verb {
            "create" => first.wrapping_add(resource),
            _ => name_at(site, first % RESOURCES + resource),
        };
        let _ = write!(
            text,
            r#"{comma}{{"type":"{kind}","name":"{team}-{name:016x}","location":"{region}","action":"{verb}"}}"#
        );
    }
    text.push_str("]}");
    sections(random, phase, (team, region, kind, verb), &mut text);
    let _ = write!(
        text,
        r#","governance":{{"visibility":"team","owner":"{team}"}},"audit_trace":[{{"ts":"2026-04-02T10:00:01Z","msg":"{phase} {} on {region}"}}]}}}}"#,
        random.next()
    );
    (phase, text)
}

fn of_site(site: u64) -> Random {
    Random::new((site + 1).wrapping_mul(0xD1B5_4A32_D192_ED03))
}

fn name_at(site: u64, number: u64) -> u64 {
    (site * RESOURCES + number % RESOURCES).wrapping_mul(0x9FB2_1C65_1E98_DF25)
}

/// The name of some resource that changes touch.
pub(crate) fn resource(number: u64) -> String {
    let site = number % SITES;
    format!("{}-{:016x}", of_site(site).pick(&TEAMS), name_at(site, number / SITES))
}

fn sections(
    random: &mut Random,
    phase: Phase,
    (team, region, kind, verb): (&str, &str, &str, &str),
    text: &mut String,
) {
    match phase {
        Phase::Plan => {
            text.push_str(r#","plan":{"commands":["#);
            for step in 0..4 {
                let comma = if step == 0 { "" } else { "," };
                let name = random.next();
                let _ = write!(
                    text,
                    r#"{comma}"{kind} {verb} --name {team}-{name:016x} --region {region} --node-count {} --tag owner={team}""#,
                    name % 9
                );
            }
            text.push_str(r#"],"resources_needed":[],"approvals":["platform-owners"]}"#);
        }
        Phase::Preflight => {
            text.push_str(r#","preflight":{"checks":["#);
            for check in 0..5 {
                let comma = if check == 0 { "" } else { "," };
                let used = random.next();
                let _ = write!(
                    text,
                    r#"{comma}{{"type":"quota","target":"{kind}/{region}/{used:x}","used":{},"limit":500,"ok":true}}"#,
                    used % 400
                );
            }
            let _ = write!(
                text,
                r#"],"approvals":[{{"approver":"{team}-lead","role":"platform-owners","decision":"approved","at":"2026-04-02T09:58:00Z"}}]}}"#
            );
        }
        Phase::Execute | Phase::Audit => {
            text.push_str(r#","execution":{"agent":"agent-session","mTLS":true,"steps":["#);
            for step in 0..3 {
                let comma = if step == 0 { "" } else { "," };
                let id = random.next();
                let _ = write!(
                    text,
                    r#"{comma}{{"cmd":"{kind} {verb} --name {team}-{id:x}","rc":0,"duration_ms":{},"stdout":"{kind}/{id:016x} {verb}d in {region}, revision {}"}}"#,
                    id % 90_000,
                    id % 1000
                );
            }
            text.push_str("]}");
        }
        Phase::Verify => {
            text.push_str(r#","verification":{"checks":["#);
            for check in 0..5 {
                let comma = if check == 0 { "" } else { "," };
                let _ = write!(
                    text,
                    r#"{comma}{{"type":"read_back","target":"{kind}/{team}-{:x}","namespace":"{team}","ok":true}}"#,
                    random.next()
                );
            }
            let (baseline, current) = (random.next(), random.next());
            let _ = write!(
                text,
                r#"],"drift":{{"baseline_hash":"sha256:{baseline:016x}","current_hash":"sha256:{current:016x}","diff":[]}}}}"#
            );
        }
    }
}
