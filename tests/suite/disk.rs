//! Disks that end. Real ones: a tmpfs of a few hundred MiB that is filled to the last byte, a block device whose writes fail
//! with EIO, a directory that is mounted read-only. Each time: nothing is acknowledged that is not safe, `/readyz`, `/metrics`
//! and standard error say what is wrong, and when the cause is gone it goes on, by itself or after a restart.
//!
//! Mounting needs root, as a container or CI has. Where it is not to be had these tests fail, unless `UPM_WITHOUT_ROOT=1` says
//! that they are to be left out.

use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Instant;

use ledger::kv::{Batch, Kv, KvError, Space};
use ledger_rocks::Rocks;
use serde_json::Value;
use upm_tests::{Server, python, run, upm, wait_for};

const MIB: usize = 1 << 20;

/// A mounted file system, taken away with the value.
struct Mount {
    dir: PathBuf,
}

impl Mount {
    fn new(dir: &Path, arguments: &[&str]) -> Self {
        std::fs::create_dir_all(dir).expect("a directory");
        command("mount", arguments, dir);
        Self { dir: dir.to_owned() }
    }

    fn tmpfs(dir: &Path, mib: usize) -> Self {
        Self::new(dir, &["-t", "tmpfs", "-o", &format!("size={mib}m,mode=700"), "tmpfs"])
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Lazily: whatever is still open in a test that failed goes with its process.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}

/// Name of the loop device over a file, such as `loop0`.
fn loop_device(image: &Path) -> Option<String> {
    let listed = Command::new("losetup").arg("-j").arg(image).output().expect("losetup starts");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    Some(listed.split(':').next()?.strip_prefix("/dev/")?.to_owned())
}

fn command(program: &str, arguments: &[&str], last: &Path) {
    let done = Command::new(program).args(arguments).arg(last).output().expect("it starts");
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "{program} {arguments:?} {}: {said}", last.display());
}

/// Whether to run at all.
fn may_mount() -> bool {
    if std::env::var_os("UPM_WITHOUT_ROOT").is_some() {
        eprintln!("left out: full and failing disks have to be mounted");
        return false;
    }
    let root = std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0);
    assert!(root, "full disks are mounted, which needs root; UPM_WITHOUT_ROOT=1 leaves these tests out");
    true
}

/// Takes all the room there is, or all but `spare` bytes.
fn fill(path: &Path, spare: usize) {
    let mut file = std::fs::File::create(path).expect("a file");
    let chunk = vec![0xa5; 64 << 10];
    while file.write_all(&chunk).is_ok() {}
    while file.write_all(&chunk[..512]).is_ok() {}
    let full = file.metadata().expect("its size").len();
    file.set_len(full.saturating_sub(spare as u64)).expect("shorter");
}

fn events(range: std::ops::Range<u32>) -> String {
    range
        .map(|number| {
            format!(
                r#"{{"provisioning_event":{{"id":"disk-{number}","change_id":"disk-{}","timestamp":"2026-05-04T11:00:00Z","phase":"plan","intent":{{"source":"api","initiator":"disk","tenant":"acme"}}}}}}"#,
                number / 5
            ) + "\n"
        })
        .collect()
}

/// Posts events, and gives status and the line of each.
fn post(server: &Server, range: std::ops::Range<u32>) -> (u16, Vec<Value>) {
    let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", events(range).as_bytes());
    let lines = body.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {body}")));
    (status, lines.collect())
}

fn accepted(server: &Server, range: std::ops::Range<u32>) -> Vec<Value> {
    let (status, lines) = post(server, range);
    assert_eq!(status, 200, "{lines:?}");
    lines
}

/// The very same answers again: each entry is where it was.
fn still_there(server: &Server, range: std::ops::Range<u32>, answers: &[Value]) {
    for (before, now) in answers.iter().zip(&accepted(server, range)) {
        assert_eq!((&now["status"], &now["index"]), (&Value::from("duplicate"), &before["index"]), "{now}");
    }
}

/// None while the log is not open yet.
fn size(server: &Server) -> Option<u64> {
    server.get("/logs/acme/checkpoint").1.lines().nth(1)?.parse().ok()
}

/// Waits until `/readyz` names all of `words`, and gives what it says.
fn not_ready(server: &Server, words: &[&str]) -> String {
    wait_for(&format!("readiness to say {words:?}"), || {
        let (status, body) = server.get("/readyz");
        (status == 503 && words.iter().all(|word| body.contains(word))).then_some(body)
    })
}

/// Waits until all three places say that it is the disk: readiness, metrics, standard error.
fn told_of_the_disk(server: &Server) {
    const CAUSES: [&str; 4] = ["input/output error", "read-only file system", "is read-only", "can't be looked at"];
    let names_it = |text: &str| CAUSES.iter().any(|cause| text.to_lowercase().contains(cause));
    wait_for("readiness to name the disk", || {
        let (status, body) = server.get("/readyz");
        (status == 503 && names_it(&body)).then_some(())
    });
    assert_eq!(metric(server, "upm_ready"), 0);
    let (_, page) = server.get("/metrics");
    assert!(page.lines().any(|line| line.starts_with("upm_not_ready{") && names_it(line)), "{page}");
    let log = std::fs::read_to_string(server.data().with_extension("log")).expect("a log");
    assert!(log.lines().any(|line| line.contains("not ready") && names_it(line)), "{log}");
}

fn ready(server: &Server) {
    wait_for("readiness", || (server.get("/readyz").0 == 200).then_some(()));
}

/// A figure of `/metrics`.
fn metric(server: &Server, name: &str) -> u64 {
    let (_, page) = server.get("/metrics");
    let line = page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
    line.and_then(|line| line.rsplit(' ').next()?.parse().ok()).unwrap_or_else(|| panic!("{name} is not in {page}"))
}

/// A producer that is not ours, straight to NATS, for as long as it takes to hear nothing.
fn publish_in_vain(server: &Server, folder: &Path) -> String {
    let out = folder.join("in-vain");
    let mut producer = python("burst.py")
        .args([server.nats(), "acme", "vain", "400"])
        .arg(&out)
        .stderr(Stdio::null())
        .spawn()
        .expect("python starts");
    std::thread::sleep(std::time::Duration::from_secs(3));
    let _ = producer.kill();
    let _ = producer.wait();
    std::fs::read_to_string(out).unwrap_or_default()
}

/// Everything lies on one disk: the store, the views, and the road of the child nats-server. It is filled to the last byte.
#[test]
fn a_full_disk_stops_the_intake_and_says_so_until_there_is_room() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Mount::tmpfs(&folder.path().join("disk"), 320);
    let server = Server::start(&disk.dir, &["--tenant", "acme", "--disk-reserve", "32M"]);
    let before = accepted(&server, 0..40);
    assert_eq!(metric(&server, "upm_intake_open"), 1);

    let ballast = disk.dir.join("ballast");
    fill(&ballast, 0);
    not_ready(&server, &["the disk of", "is full", "nothing is taken in"]);
    assert_eq!((metric(&server, "upm_intake_open"), metric(&server, "upm_ready")), (0, 0));
    let (_, page) = server.get("/metrics");
    assert!(page.lines().any(|line| line.starts_with("upm_not_ready{") && line.contains("is full")), "{page}");
    let asked = Instant::now();
    let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", events(40..41).as_bytes());
    assert!(status == 503 && body.contains("is full"), "{status} {body}");
    assert!(asked.elapsed().as_secs() < 2, "a producer is told at once");
    let event = folder.path().join("event.json");
    std::fs::write(&event, events(40..41)).expect("written");
    let (code, _, err) = run(server.upm(&["emit", "--wait"]).arg(&event));
    assert!(code == 2 && err.contains("takes nothing in now") && err.contains("is full"), "{code} {err}");
    let told = publish_in_vain(&server, folder.path());
    assert_eq!(told, "", "nothing is acknowledged");
    not_ready(&server, &["nats-server", "no space left on device"]);
    assert_eq!(size(&server), Some(41));
    let log = std::fs::read_to_string(disk.dir.with_extension("log")).expect("a log");
    assert!(log.contains("is full"), "standard error says so: {log}");

    std::fs::remove_file(ballast).expect("removed");
    ready(&server);
    assert!(metric(&server, "upm_nats_restarts_total") >= 1, "a server that stopped writing was started again");
    still_there(&server, 0..40, &before);
    let after = accepted(&server, 40..60);
    assert!(after.iter().all(|answer| answer["status"] == "accepted"), "{after:?}");
    ready(&server);
    assert_eq!(server.stop(), 0);
}

/// No half pack under the final name, nor under any other.
#[test]
fn a_pack_that_finds_no_room_leaves_nothing_and_says_what_to_do() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().expect("a directory");
    let disk = Mount::tmpfs(&folder.path().join("small"), 1);
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
    accepted(&server, 0..1);
    std::fs::write(disk.dir.join("filler"), vec![0; (1 << 20) - 8_192]).expect("almost full");
    let pack = disk.dir.join("pack.zip");
    let (code, out, err) = run(server.upm(&["pack", "disk-0", "--tenant", "acme", "-o"]).arg(&pack));
    assert_eq!((code, out.as_str()), (2, ""), "{err}");
    assert!(err.contains("the disk is full and nothing was kept: make room, or name another place with -o"), "{err}");
    let left: Vec<_> =
        std::fs::read_dir(&disk.dir).expect("readable").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(left, ["filler"]);
    std::fs::remove_file(disk.dir.join("filler")).expect("gone");
    let (code, _, err) = run(server.upm(&["pack", "disk-0", "--tenant", "acme", "-o"]).arg(&pack));
    assert_eq!(code, 0, "{err}");
}

/// The story: the writes of a block device fail with EIO in the middle of a load, and the kernel mounts its file system read-only.
/// The store's write fails: nothing of that round is confirmed, and nothing is written any more. After the repair, a restart goes on,
/// with everything that was confirmed, in the batch that failed too.
#[test]
fn writes_that_fail_with_eio_confirm_nothing_and_a_restart_goes_on() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    // A sparse file that is larger than the tmpfs below it: where that is full, the block device fails.
    let below = Mount::tmpfs(&folder.path().join("below"), 384);
    let image = below.dir.join("image");
    std::fs::File::create(&image).and_then(|file| file.set_len(4 << 30)).expect("a sparse file");
    command("mkfs.ext4", &["-q", "-F", "-E", "lazy_itable_init=1,nodiscard", "-O", "^metadata_csum_seed"], &image);
    let data = folder.path().join("data");
    let mount = || Mount::new(&data, &["-o", "loop,errors=remount-ro", image.to_str().expect("text")]);
    let disk = mount();
    // The road lies on a sound disk: what is tried here is the store.
    let road = folder.path().join("road");
    std::fs::create_dir(&road).and_then(|()| std::os::unix::fs::symlink(&road, data.join("nats"))).expect("a link");
    let server = Server::start(&data, &["--tenant", "acme", "--disk-reserve", "0"]);
    let before = accepted(&server, 0..40);
    let ballast = below.dir.join("ballast");
    fill(&ballast, 0);
    // Until the device is written to at a place that is not there.
    let mut answers = before;
    let mut posted = 40;
    let refused = wait_for("a write that fails", || {
        let (status, body) =
            server.post("/v1/tenants/acme/events", "application/x-ndjson", events(posted..posted + 500).as_bytes());
        if status == 200 {
            answers.extend(body.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON")));
            posted += 500;
            return None;
        }
        Some(body)
    });
    let failing = posted..posted + 500;
    // Told before the batch began, or line by line.
    let told: Vec<Value> = refused.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert!(told.len() < 500 || told.iter().any(|line| line["status"] == "failed"), "{refused}");
    told_of_the_disk(&server);
    server.crash();
    drop(disk);
    std::fs::remove_file(ballast).expect("removed");
    // The repair: e2fsck exits with 1 when it mended something.
    let mended = Command::new("e2fsck").args(["-f", "-y"]).arg(&image).output().expect("e2fsck starts");
    assert!(mended.status.code().is_some_and(|code| code <= 2), "{mended:?}");
    let _disk = mount();
    let server = Server::start(&data, &["--tenant", "acme", "--disk-reserve", "0"]);
    still_there(&server, 0..40, &answers);
    for (first, chunk) in (40..posted).step_by(500).zip(answers[40..].chunks(500)) {
        still_there(&server, first..first + 500, chunk);
    }
    // Of the batch that failed each line has its answer now; those that had one then have the same.
    let now = accepted(&server, failing);
    for before in told.iter().filter(|line| line["status"] == "accepted") {
        let now = now.iter().find(|now| now["line"] == before["line"]).expect("the same line");
        assert_eq!((&now["status"], &now["index"]), (&Value::from("duplicate"), &before["index"]), "{before}");
    }
    accepted(&server, posted + 500..posted + 520);
    assert_eq!(server.stop(), 0);
}

#[test]
fn a_directory_that_is_read_only_is_refused_with_its_name() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Mount::tmpfs(&folder.path().join("disk"), 320);
    let server = Server::start(&disk.dir, &["--tenant", "acme"]);
    let before = accepted(&server, 0..5);
    assert_eq!(server.stop(), 0);
    command("mount", &["-o", "remount,ro"], &disk.dir);
    let (code, _, err) = run(upm(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(&disk.dir));
    assert_eq!(code, 2, "{err}");
    assert!(err.to_lowercase().contains("read-only file system"), "{err}");
    command("mount", &["-o", "remount,rw"], &disk.dir);
    let server = Server::start(&disk.dir, &["--tenant", "acme"]);
    still_there(&server, 0..5, &before);
    assert_eq!(server.stop(), 0);
}

/// The story: the file system turns read-only under a server that works (an administrator, or a kernel that saw an error). Nothing is
/// confirmed any more, it says so everywhere, reads go on; mounted for writing again it goes on, by itself or after a restart.
#[test]
fn a_directory_that_turns_read_only_while_serving_confirms_nothing() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let below = Mount::tmpfs(&folder.path().join("below"), 512);
    let image = below.dir.join("image");
    std::fs::File::create(&image).and_then(|file| file.set_len(320 << 20)).expect("a file");
    command("mkfs.ext4", &["-q", "-F"], &image);
    let data = folder.path().join("data");
    let disk = Mount::new(&data, &["-o", "loop,errors=remount-ro", image.to_str().expect("text")]);
    // The road lies on a sound disk: a nats-server may lose its store to such an error, and then there is a new road.
    let road = folder.path().join("road");
    std::fs::create_dir(&road).and_then(|()| std::os::unix::fs::symlink(&road, data.join("nats"))).expect("a link");
    let server = Server::start(&disk.dir, &["--tenant", "acme", "--disk-reserve", "1M"]);
    let before = accepted(&server, 0..40);
    // As the kernel does it after an error: whatever is open for writing fails from then on, what is open for reading does not.
    let device = loop_device(&image).expect("a loop device");
    std::fs::write(format!("/sys/fs/ext4/{device}/trigger_fs_error"), "a test").expect("an error that is none");
    let (status, body) = server.post("/v1/tenants/acme/events", "application/x-ndjson", events(40..60).as_bytes());
    assert!(status != 200 && !body.contains("\"accepted\""), "{status} {body}");
    told_of_the_disk(&server);
    assert_eq!(size(&server), Some(41), "what is there is served");
    server.crash();
    drop(disk);
    wait_for("the file system to be let go", || loop_device(&image).is_none().then_some(()));
    let mended = Command::new("e2fsck").args(["-f", "-y"]).arg(&image).output().expect("e2fsck starts");
    assert!(mended.status.code().is_some_and(|code| code <= 2), "{mended:?}");
    let disk = Mount::new(&data, &["-o", "loop", image.to_str().expect("text")]);
    let server = Server::start(&disk.dir, &["--tenant", "acme", "--disk-reserve", "1M"]);
    still_there(&server, 0..40, &before);
    accepted(&server, 40..60);
    assert_eq!(server.stop(), 0);
}

/// A copy on a disk of its own that fills up. With a reserve it stops before, says so, and goes on by itself; without one a write fails, and
/// a restart goes on. Either way what it has is served.
#[test]
fn a_follower_on_a_full_disk_says_so_and_goes_on() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let leader = Server::start(&folder.path().join("leader"), &["--tenant", "acme"]);
    accepted(&leader, 0..40);
    let disk = Mount::tmpfs(&folder.path().join("disk"), 160);
    let follow = |reserve: &str| Server::start(&disk.dir, &["--follow", leader.http(), "--disk-reserve", reserve]);
    let has = |follower: &Server, entries: u64| {
        wait_for("the follower to have it all", || {
            (size(follower) == Some(entries) && follower.get("/readyz").0 == 200).then_some(())
        });
    };
    let ballast = disk.dir.join("ballast");
    let log = || std::fs::read_to_string(disk.dir.with_extension("log")).expect("a log");
    let follower = follow("32M");
    has(&follower, 41);
    fill(&ballast, 16 << 20);
    not_ready(&follower, &["the disk of", "is full", "nothing is copied until there is room"]);
    assert!(log().contains("nothing is copied until there is room"), "standard error says so: {}", log());
    accepted(&leader, 40..80);
    assert_eq!(size(&follower), Some(41), "nothing is copied, and what is there is served");
    std::fs::remove_file(&ballast).expect("removed");
    has(&follower, 81);
    assert_eq!(follower.stop(), 0);

    let follower = follow("0");
    has(&follower, 81);
    fill(&ballast, 0);
    let mut posted = 80;
    let said = wait_for("a write that fails", || {
        accepted(&leader, posted..posted + 400);
        posted += 400;
        let (status, body) = follower.get("/readyz");
        (status == 503 && body.contains("nothing is copied any more")).then_some(body)
    });
    assert!(said.contains("restart to go on") && said.contains("No space left on device"), "{said}");
    assert!(log().contains("nothing is copied any more, restart to go on"), "standard error says so: {}", log());
    assert_eq!(follower.get("/v1/tenants/acme/events/1").0, 200, "what is there is served");
    let _ = follower.stop();
    std::fs::remove_file(&ballast).expect("removed");
    let follower = follow("0");
    has(&follower, u64::from(posted) + 1);
    assert_eq!((follower.stop(), leader.stop()), (0, 0));
}

/// The same of a backup: what it had stays good, and with room it goes on.
#[test]
fn a_backup_that_finds_no_room_says_what_to_do() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let server = Server::start(&folder.path().join("data"), &["--tenant", "acme"]);
    accepted(&server, 0..40);
    let disk = Mount::tmpfs(&folder.path().join("disk"), 160);
    let (dir, ballast) = (disk.dir.join("backup"), disk.dir.join("ballast"));
    let backup = || run(server.upm(&["backup"]).arg(&dir));
    let (code, out, err) = backup();
    assert_eq!(code, 0, "{out}{err}");
    for first in (40..8_040).step_by(500) {
        accepted(&server, first..first + 500);
    }
    // No room to open it, and room for the beginning of what is new.
    for spare in [0, 512 << 10] {
        fill(&ballast, spare);
        let (code, out, err) = backup();
        assert!(code == 2 && err.contains("No space left on device"), "{spare} bytes left: {code} {out}{err}");
        assert!(err.contains("make room on its disk") && err.contains("it goes on where it stood"), "{err}");
        std::fs::remove_file(&ballast).expect("removed");
    }
    let (code, out, err) = backup();
    assert_eq!(code, 0, "{out}{err}");
    let (code, out, err) = run(upm(["restore"]).arg(&dir).arg("--data").arg(folder.path().join("restored")));
    assert_eq!(code, 0, "{out}{err}");
    assert_eq!(server.stop(), 0);
}

/// The store itself, with nobody to stop it in time: the write that found no room is the last one, and everything before it is there.
#[test]
fn a_store_that_finds_no_room_keeps_what_it_confirmed_and_writes_no_more() {
    if !may_mount() {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let disk = Mount::tmpfs(&folder.path().join("disk"), 160);
    let ballast = disk.dir.join("ballast");
    fill(&ballast, 96 * MIB);
    let path = disk.dir.join("ledger");
    let kv = Rocks::open(&path).expect("it opens");
    let put = |kv: &Rocks, number: u32| {
        // What can't be compressed: numbers that follow from another.
        let mut state = u64::from(number) + 1;
        let value: Vec<u8> = std::iter::repeat_with(|| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 56) as u8
        })
        .take(MIB)
        .collect();
        let mut batch = Batch::default();
        batch.put(Space::Payloads, &number.to_be_bytes(), &[&value]);
        batch.put(Space::Meta, b"newest", &[&number.to_be_bytes()]);
        kv.write(batch)
    };
    let (failed, error) =
        (0..400).find_map(|number| Some((number, put(&kv, number).err()?))).expect("the disk is small");
    assert!(matches!(error, KvError::Write { .. }), "{error:?}");
    assert!(format!("{error:?}").contains("No space left"), "{error:?}");
    assert!(failed > 10, "only {failed} MiB were written");
    std::fs::remove_file(ballast).expect("removed");
    assert!(matches!(put(&kv, failed), Err(KvError::WriteAfterFailure)), "room alone does not make it sound");
    drop(kv);
    let kv = Rocks::open(&path).expect("it opens again");
    let newest = kv.get(Space::Meta, b"newest").expect("readable").expect("there");
    let newest = u32::from_be_bytes(newest.try_into().expect("a number"));
    assert!(newest + 1 == failed || newest == failed, "confirmed up to {failed}, found {newest}");
    for number in 0..=newest {
        assert_eq!(kv.get(Space::Payloads, &number.to_be_bytes()).expect("readable").map(|row| row.len()), Some(MIB));
    }
    put(&kv, newest + 1).expect("it goes on");
}
