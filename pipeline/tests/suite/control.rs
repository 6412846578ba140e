//! Acts on the road, as the appender decides about them: accepted with their listing or rejected with a reason; keys that take
//! each other's place in mid-stream; signs of life by an injected clock.

use std::sync::atomic::Ordering;
use std::time::Duration;

use ledger::append::LogId;
use ledger::checkpoint::Origin;
use ledger::entry::{Header, Salt};
use ledger::governance::{Act, Governance, Hold, KeyChange, KeyStatus, Scope, message};
use ledger::hash::Hash;
use ledger::read::Log;
use ledger::receipt::Receipt;
use ledger::signing::Signer;
use pipeline::answer::{Answer, Status};

use crate::house::{House, NEXT_KEY, admin_key, next_answer, outgoing, signer, tenant, until};

const SUBJECT: &str = "upm.control.acme";

fn hold(id: &str) -> Act {
    Act::Hold(Hold { id: id.to_owned(), scope: Scope::All, reason: "litigation".to_owned() })
}

/// A key of the ledger under the name of acme's log.
fn for_acme(seed: u8) -> Signer {
    signer("acme", seed)
}

impl House {
    fn governance(&self, log: LogId) -> Governance {
        Log::open(self.kv.clone(), log).expect("a log").governance().expect("it holds")
    }

    fn acme(&self) -> Governance {
        self.governance(self.log("acme").id())
    }

    /// The next act, signed by the keys of these seeds.
    fn act(act: &Act, seeds: &[u8], on: &Governance, ledger: &Governance) -> Vec<u8> {
        let signers: Vec<Signer> = seeds.iter().map(|seed| for_acme(*seed)).collect();
        let signers: Vec<&Signer> = signers.iter().collect();
        let message = message(act, &on.place(), &signers, &ledger.place(), &admin_key(), Salt([5; 16]));
        message.expect("a message").print()
    }

    fn next(&self, act: &Act, seeds: &[u8]) -> Vec<u8> {
        Self::act(act, seeds, &self.acme(), &self.governance(LogId::LEDGER))
    }

    async fn tell(&self, message: &[u8]) -> Answer {
        let reply = self.plain.new_inbox();
        let mut answers = self.ask(SUBJECT, message, &reply).await;
        next_answer(&mut answers).await
    }

    fn rotation(&self, from: u64) -> Act {
        let log = self.log("acme");
        let size = log.head().expect("a head").size;
        Act::Key(KeyChange {
            new: for_acme(NEXT_KEY).public_key(),
            old: *self.acme().log_keys().current(),
            status: KeyStatus::Retired,
            from: size.max(from),
            size,
            root: log.root(size).expect("a root"),
        })
    }

    /// Size of `_ledger`.
    fn ledger_size(&self) -> u64 {
        Log::open(self.kv.clone(), LogId::LEDGER).expect("a log").head().expect("a head").size
    }
}

fn reason(answer: &Answer) -> String {
    assert_eq!(answer.status, Status::Rejected, "{answer:?}");
    answer.problem().expect("a problem").reason
}

/// The seed of the admin key of every log here, and of its recovery key.
const ADMIN: u8 = 2;
const RECOVERY: u8 = 3;

fn acme_key() -> u8 {
    "acme".bytes().fold(100_u8, u8::wrapping_add)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_is_an_entry_with_its_listing_and_again_a_duplicate() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let listed = house.ledger_size();
    let message = house.next(&hold("case-1"), &[ADMIN]);
    let answer = house.tell(&message).await;
    assert_eq!(answer.status, Status::Accepted);
    let receipt = Receipt::parse(answer.receipt().expect("a receipt")).expect("a receipt");
    assert_eq!(receipt.index, answer.index);
    assert!(matches!(house.header("acme", answer.index), Header::Control(_)));
    assert!(house.acme().holds().contains_key("case-1"));
    assert_eq!(house.ledger_size(), listed + 1, "listed in the same round");
    let again = house.tell(&message).await;
    assert_eq!((again.status, again.index), (Status::Duplicate, answer.index));
    assert_eq!(house.ledger_size(), listed + 1);
    // Views pass over it.
    let producer = house.producer().await;
    producer.send(&outgoing("acme", "plan", "e-1")).await.expect("an event");
    until("the views follow", || {
        let progress = running.progress(&tenant("acme")).expect("followed");
        let progress = *progress.borrow();
        progress.core == progress.committed && progress.committed > answer.index + 1
    })
    .await;
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_next_act_is_a_rejection_with_its_reason() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let (before, ledger) = (house.acme(), house.governance(LogId::LEDGER));
    let first = house.next(&hold("a"), &[ADMIN]);
    assert_eq!(house.tell(&first).await.status, Status::Accepted);
    let check = async |message: Vec<u8>, expect: &str| {
        assert_eq!(reason(&house.tell(&message).await), expect);
    };
    // Old counter, other bytes; then the listing's turn, not the act's.
    check(House::act(&hold("b"), &[ADMIN], &before, &ledger), "control_stale_counter").await;
    check(House::act(&hold("b"), &[ADMIN], &house.acme(), &ledger), "control_stale_counter").await;
    check(house.next(&hold("a"), &[ADMIN]), "control_conflict").await;
    check(house.next(&Act::Release { id: "none".into(), reason: "over".into() }, &[ADMIN]), "control_conflict").await;
    check(house.next(&hold("b"), &[]), "control_unsigned").await;
    check(house.next(&hold("b"), &[RECOVERY]), "control_unsigned").await;
    check(house.next(&hold("b"), &[99]), "control_bad_signature").await;
    check(b"rubbish".to_vec(), "control_bad_envelope").await;
    // A message for another log, under the same admin key.
    let first = ledger::entry::First {
        at: 1,
        origin: Origin::parse("other-ledger/acme").expect("an origin"),
        log_key: for_acme(9).public_key(),
        admin_keys: vec![for_acme(ADMIN).public_key()],
        recovery_key: for_acme(RECOVERY).public_key(),
        rules: Hash([0; 32]),
        stream_created_ms: None,
    };
    let foreign = Governance::new(&first, *house.acme().prev());
    check(House::act(&hold("b"), &[ADMIN], &foreign, &house.governance(LogId::LEDGER)), "control_bad_signature").await;
    let envelope = ledger::governance::Message::parse(&house.next(&hold("b"), &[ADMIN])).expect("a message").act;
    check(envelope.print(), "control_unlisted").await;
    assert_eq!(house.acme().counter(), 1, "none of these changed anything");
    assert_eq!(house.ledger_size(), 3, "and none was listed: first, tenant, one act");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_act_changes_who_may_do_the_next_one() {
    let house = House::new().await;
    house.found("acme").await;
    // Both on the road before anybody reads it, so that one round decides about both: the second is not the next one any more.
    let (first, second) = (house.next(&hold("a"), &[ADMIN]), house.next(&hold("b"), &[ADMIN]));
    let (one, two) = (house.plain.new_inbox(), house.plain.new_inbox());
    let mut first = house.ask(SUBJECT, &first, &one).await;
    let mut second = house.ask(SUBJECT, &second, &two).await;
    let running = house.run(&["acme"]).await;
    assert_eq!(next_answer(&mut first).await.status, Status::Accepted);
    assert_eq!(reason(&next_answer(&mut second).await), "control_stale_counter");
    let admins = Act::Admin(vec![for_acme(40).public_key()]);
    assert_eq!(house.tell(&house.next(&admins, &[RECOVERY])).await.status, Status::Accepted);
    assert_eq!(reason(&house.tell(&house.next(&hold("b"), &[ADMIN])).await), "control_bad_signature");
    assert_eq!(house.tell(&house.next(&hold("b"), &[40])).await.status, Status::Accepted);
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_key_signs_with_the_old_one_and_then_alone() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let producer = house.producer().await;
    let before = producer.send(&outgoing("acme", "plan", "e-0")).await.expect("an event");
    // Entry 2 changes the key; both sign up to size 4.
    let thief = house.next(&house.rotation(4), &[acme_key()]);
    assert_eq!(reason(&house.tell(&thief).await), "control_unsigned", "the log key alone cannot rotate");
    let rotated = house.tell(&house.next(&house.rotation(5), &[acme_key(), RECOVERY])).await;
    assert_eq!(rotated.status, Status::Accepted, "{}", String::from_utf8_lossy(&rotated.body));
    let mut answers = vec![before, rotated];
    for number in 1..4 {
        answers.push(producer.send(&outgoing("acme", "plan", &format!("e-{number}"))).await.expect("an event"));
    }
    let keys = house.acme().log_keys().clone();
    assert_eq!(keys.history().len(), 2);
    let signers = |text: &str| text.lines().filter(|line| line.starts_with('\u{2014}')).count();
    for (answer, expect) in answers.iter().zip([1, 2, 2, 1, 1]) {
        let receipt = Receipt::parse(answer.receipt().expect("a receipt")).expect("a receipt");
        keys.open(&receipt.checkpoint).expect("signed by whom it has to be");
        assert_eq!(signers(&receipt.checkpoint), expect, "{}", receipt.checkpoint);
    }
    running.shutdown().await;
    // A start finds the key that counts now.
    let running = house.run(&["acme"]).await;
    producer.send(&outgoing("acme", "plan", "e-9")).await.expect("an event");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_whose_secret_is_nowhere_is_refused() {
    let house = House::new().await;
    let running = house.run(&["acme"]).await;
    let Act::Key(change) = house.rotation(4) else { unreachable!() };
    let elsewhere = Act::Key(KeyChange { new: for_acme(200).public_key(), ..change });
    assert_eq!(reason(&house.tell(&house.next(&elsewhere, &[acme_key(), RECOVERY])).await), "control_conflict");
    running.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn silent_logs_beat_by_the_clock() {
    const HOUR_MS: i64 = 3_600_000;
    let mut house = House::new().await;
    house.heartbeat = Some(Duration::from_hours(1));
    let running = house.run(&["acme", "beta"]).await;
    let beats = |name: &str| house.kinds(name).split(' ').filter(|kind| *kind == "heartbeat").count();
    let before = (beats("acme"), beats("beta"), house.ledger_size());
    house.clock_off.fetch_add(HOUR_MS, Ordering::Relaxed);
    until("every log beats", || beats("acme") == before.0 + 1 && beats("beta") == before.1 + 1).await;
    until("the ledger's own too", || house.ledger_size() == before.2 + 1).await;
    let size = house.log("acme").head().expect("a head").size;
    let Header::Heartbeat(beat) = house.header("acme", size - 1) else { panic!("a heartbeat") };
    assert_eq!(beat.cosigned, None, "without a witness it names none");
    // One a slot, whatever comes in between.
    let answer = house.producer().await.send(&outgoing("acme", "plan", "e")).await;
    assert_eq!(answer.expect("an event").status, Status::Accepted);
    assert_eq!(beats("acme"), before.0 + 1);
    house.clock_off.fetch_add(HOUR_MS, Ordering::Relaxed);
    until("and again an hour later", || beats("acme") == before.0 + 2).await;
    running.shutdown().await;
}
