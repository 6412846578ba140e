//! Births: what a ledger and its logs begin with, asked for twice, with other keys, in a store of another version.

use ledger::append::{LoadError, LogId, load_head};
use ledger::birth::{self, BirthError, LedgerBirth};
use ledger::checkpoint;
use ledger::control::{self, ControlOp, Keys};
use ledger::dedupe::DedupeKey;
use ledger::entry::{Header, Salt, commitment};
use ledger::hash::leaf;
use ledger::kv::{Batch, Kv, MemKv, Space};
use ledger::layout::{FORMAT_VERSION, Key};
use ledger::read::Log;
use ledger::signing::Signer;
use schemas::ids::Tenant;

use crate::world::{LEDGER, Rng, World, origin};

fn founded(world: &World) -> MemKv {
    let kv = MemKv::new();
    world.found(&kv, &mut Rng(1)).unwrap();
    kv
}

fn rows(kv: &MemKv) -> Vec<(Space, Vec<u8>, Vec<u8>)> {
    let all = |space| kv.range(space, &[0], &[255], usize::MAX).unwrap().into_iter().map(move |(k, v)| (space, k, v));
    Space::ALL.into_iter().flat_map(all).collect()
}

#[test]
fn a_ledger_is_born_with_its_own_log_and_lists_every_tenant_there() {
    let world = World::new(1, 3, 10);
    let kv = founded(&world);
    assert_eq!(birth::ledger_name(&kv).unwrap().as_deref(), Some(LEDGER));
    let names: Vec<_> = birth::list_tenants(&kv).unwrap();
    let wanted: Vec<_> = (0..3)
        .map(|n| (Tenant::parse(&format!("tenant-{n}")).unwrap(), LogId(n + 1), origin(&format!("tenant-{n}"))))
        .collect();
    assert_eq!(names, wanted);

    let ledger = Log::open(&kv, LogId::LEDGER).unwrap();
    let head = ledger.head().unwrap();
    assert_eq!((head.size, head.control_counter), (4, 3));
    let signed = checkpoint::open(&ledger.newest_checkpoint().unwrap(), &world.ledger_signer.verifier()).unwrap();
    assert_eq!((signed.size, signed.root), (4, head.edge.root()));
    assert_eq!(head.control_prev, leaf(&ledger.entry(3).unwrap().unwrap()));
}

#[test]
fn listings_are_signed_chained_and_open_to_the_logs_they_list() {
    let world = World::new(1, 3, 10);
    let kv = founded(&world);
    let ledger = Log::open(&kv, LogId::LEDGER).unwrap();
    let keys = Keys::of(&ledger.first().unwrap());
    let mut prev = leaf(&ledger.entry(0).unwrap().unwrap());
    for (counter, (tenant, log, log_origin)) in (1..).zip(birth::list_tenants(&kv).unwrap()) {
        let entry = ledger.entry(counter).unwrap().unwrap();
        let Header::Control(header) = Header::decode(&entry).unwrap() else { panic!("entry {counter} lists a tenant") };
        let envelope = ledger.stored(counter).unwrap().unwrap();
        assert_eq!((header.op, header.counter), (ControlOp::Tenant, counter));
        assert_eq!(header.commit, commitment(&envelope.salt, &envelope.payload));
        // The envelope is what the door would admit: signed by an admin key, next in the chain.
        let message = control::open(&envelope.payload, &origin("_ledger"), &keys).unwrap();
        assert_eq!((message.op, message.counter, message.prev), (ControlOp::Tenant, counter, prev));
        prev = leaf(&entry);

        let (salt, opening) = birth::opening(&kv, counter).unwrap().unwrap();
        assert_eq!(message.body, serde_json::json!({ "commit": commitment(&salt, &opening).to_string() }));
        let opened: serde_json::Value = serde_json::from_slice(&opening).unwrap();
        let log = Log::open(&kv, log).unwrap();
        assert_eq!(opened["tenant"], tenant.as_str());
        assert_eq!(opened["origin"], log_origin.as_str());
        assert_eq!(opened["log_key"], log.first().unwrap().log_key.typed_base64());
        assert_eq!(opened["first"], leaf(&log.entry(0).unwrap().unwrap()).to_string());
        // Nothing in the tree or in the envelope names the tenant.
        let clear = [entry, envelope.payload].concat();
        assert!(!clear.windows(tenant.as_str().len()).any(|window| window == tenant.as_str().as_bytes()));
    }
}

#[test]
fn born_twice_is_born_once() {
    let world = World::new(1, 2, 10);
    let kv = founded(&world);
    let before = rows(&kv);
    // Other salts, another time: what is there stays.
    world.found(&kv, &mut Rng(77)).unwrap();
    assert_eq!(rows(&kv), before);
}

#[test]
fn other_keys_than_those_of_the_birth_are_refused() {
    let world = World::new(1, 1, 10);
    let kv = founded(&world);
    let tenant = &world.tenants[0];
    let other_key = Signer::from_seed(&origin("tenant-0"), [99; 32]);
    let other_name = Signer::from_seed(&origin("tenant-1"), [10; 32]);
    let other_dedupe = DedupeKey::new([99; 32]);
    let what = |result: Result<_, BirthError>| match result {
        Err(BirthError::Other { what, .. }) => what,
        other => panic!("{other:?}"),
    };
    assert!(birth::check_log(&kv, &tenant.tenant, &tenant.signer, &tenant.dedupe).is_ok());
    assert_eq!(what(birth::check_log(&kv, &tenant.tenant, &other_key, &tenant.dedupe)), "log key");
    assert_eq!(what(birth::check_log(&kv, &tenant.tenant, &other_name, &tenant.dedupe)), "key name");
    assert_eq!(what(birth::check_log(&kv, &tenant.tenant, &tenant.signer, &other_dedupe)), "dedupe key");
    assert_eq!(what(birth::check_ledger(&kv, "other-name", &world.ledger_signer)), "ledger name");
    assert_eq!(what(birth::check_ledger(&kv, LEDGER, &Signer::from_seed(&origin("_ledger"), [98; 32]))), "log key");
    let unknown = Tenant::parse("nobody").unwrap();
    let found = birth::check_log(&kv, &unknown, &tenant.signer, &tenant.dedupe);
    assert!(matches!(found, Err(BirthError::NoTenant(tenant)) if tenant == unknown));
}

#[test]
fn only_an_admin_of_the_ledger_adds_a_tenant() {
    let mut world = World::new(1, 2, 10);
    let second = world.tenants.pop().unwrap();
    let kv = founded(&world);
    let stranger = Signer::from_seed(&origin("_ledger"), [97; 32]);
    let before = rows(&kv);
    let birth = birth::LogBirth { admin: &stranger, ..world.log_birth(&second, 1, &mut Rng(5)) };
    assert!(matches!(birth::found_log(&kv, &birth), Err(BirthError::NotAdmin { .. })));
    assert_eq!(rows(&kv), before);
}

#[test]
fn no_tenant_without_a_ledger() {
    let world = World::new(1, 1, 10);
    let kv = MemKv::new();
    let birth = world.log_birth(&world.tenants[0], 1, &mut Rng(5));
    assert!(matches!(birth::found_log(&kv, &birth), Err(BirthError::NoLedger)));
    assert!(matches!(birth::list_tenants(&kv), Err(BirthError::NoLedger)));
    assert!(matches!(load_head(&kv, LogId::LEDGER), Err(LoadError::NoLog { log: LogId::LEDGER })));
    assert_eq!(birth::ledger_name(&kv).unwrap(), None);
}

#[test]
fn another_format_is_refused_everywhere() {
    let world = World::new(1, 1, 10);
    let kv = founded(&world);
    let mut batch = Batch::default();
    batch.put(Space::Meta, &Key::Format.bytes(), &[&(FORMAT_VERSION + 1).to_be_bytes()]);
    kv.write(batch).unwrap();
    let newer = |result: Result<(), BirthError>| matches!(result, Err(BirthError::OtherFormat { found }) if found == FORMAT_VERSION + 1);
    assert!(newer(birth::ledger_name(&kv).map(drop)));
    assert!(newer(birth::list_tenants(&kv).map(drop)));
    assert!(newer(birth::check_ledger(&kv, LEDGER, &world.ledger_signer).map(drop)));
    assert!(newer(birth::found_log(&kv, &world.log_birth(&world.tenants[0], 1, &mut Rng(5))).map(drop)));
    let keys = [world.admin.public_key()];
    let birth = LedgerBirth {
        name: LEDGER,
        signer: &world.ledger_signer,
        admin_keys: &keys,
        recovery_key: world.admin.public_key(),
        rules: crate::world::RULES,
        at_ms: 0,
    };
    assert!(newer(birth::found_ledger(&kv, &birth).map(drop)));
}

#[test]
fn an_opening_can_be_deleted_and_proves_nothing_without_its_salt() {
    let world = World::new(1, 1, 10);
    let kv = founded(&world);
    let (salt, opening) = birth::opening(&kv, 1).unwrap().unwrap();
    assert_ne!(commitment(&Salt([0; 16]), &opening), commitment(&salt, &opening));
    let mut batch = Batch::default();
    batch.delete(Space::Tree, &Key::Opening(LogId::LEDGER, 1).bytes());
    kv.write(batch).unwrap();
    assert_eq!(birth::opening(&kv, 1).unwrap(), None);
    assert!(birth::check_ledger(&kv, LEDGER, &world.ledger_signer).is_ok());
}
