//! A store that shows an older state of a repository than was seen before (R23): what is refused, what is none, and the way on.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use serde_json::Value;
use volvault::ErrorKind;
use volvault::id::{ObjectHash, SessionId};
use volvault::repo::{Gone, Listing, Memory, Pins, Repository, Stance};
use volvault::storage::{Location, Store};

use crate::command::{Home, fill, write};
use crate::support::faults::{Fault, FaultPlan, FaultStore, Op};
use crate::support::hasty;
use crate::support::repo::{Bench, Layout, write_tree};
use crate::support::s3::S3ServerThread;
use crate::support::vault::{noise, options_for};

/// The exit code of a command that is shown an older state.
const ROLLED_BACK: i32 = 13;

/// Paths of all files, and what is in them.
fn files(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                found.insert(path.strip_prefix(root).unwrap().to_owned(), std::fs::read(&path).unwrap());
            }
        }
    }
    found
}

/// Makes `to` what `from` is.
pub(crate) fn put_in_place(from: &Path, to: &Path) {
    if to.exists() {
        std::fs::remove_dir_all(to).unwrap();
    }
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn text(output: &Output) -> String {
    String::from_utf8([output.stdout.as_slice(), &output.stderr].concat()).unwrap()
}

fn newest(home: &Home) -> String {
    let all: Value = serde_json::from_str(&home.text(&["snapshots", "--json"])).unwrap();
    all.as_array().unwrap().last().unwrap()["id"].as_str().unwrap().to_owned()
}

/// The files in which something is remembered.
fn pin_files(home: &Home) -> Vec<PathBuf> {
    let folder = std::fs::read_dir(home.at(".local/state/volvault/pins")).unwrap();
    let paths = folder.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|name| name == "json")).collect()
}

/// A repository with two snapshots that were seen here, which stands as it was after the first. Returns the id of the second; `newer` is the repository as it
/// was with it.
fn rolled_back() -> (Home, String) {
    let home = Home::with_repository();
    fill(&home.at("data"), 20, 3000);
    home.text(&["backup", "data"]);
    put_in_place(&home.at("repository"), &home.at("older"));
    write(&home.at("data/new"), &noise(50_000, 77));
    home.text(&["backup", "data"]);
    let id = newest(&home);
    put_in_place(&home.at("repository"), &home.at("newer"));
    put_in_place(&home.at("older"), &home.at("repository"));
    (home, id)
}

#[test]
fn a_repository_that_was_put_back_is_refused_by_every_command_and_nothing_is_written() {
    let (home, id) = rolled_back();
    write(&home.at("other-key"), &noise(32, 5));
    home.text(&["-r", "other", "--key-file", "other-key", "init"]);
    let before = files(&home.at("repository"));
    let pins = pin_files(&home).pop().unwrap();
    let remembered = std::fs::read(&pins).unwrap();
    let first = {
        let all = home.command(&["snapshots", "--json"]).env("VOLVAULT_STATE_DIR", home.at("elsewhere")).output();
        serde_json::from_slice::<Value>(&all.unwrap().stdout).unwrap()[0]["id"].as_str().unwrap().to_owned()
    };
    let commands: [&[&str]; 24] = [
        &["backup", "data"],
        &["backup", "--dry-run", "data"],
        &["backup", "--stdin-from-command", "--", "echo", "x"],
        &["restore", "latest", "--target", "back"],
        &["snapshots"],
        &["ls", "latest"],
        &["forget", "--keep-last", "1"],
        &["forget", "--keep-last", "1", "--prune"],
        &["forget", &first],
        &["prune"],
        &["prune", "--dry-run"],
        &["prune", "--force"],
        &["check"],
        &["check", "--read-data"],
        &["stats"],
        &["stats", "--mode", "raw-data"],
        &["tag", "--add", "x", "latest"],
        &["repair", "index", "--apply"],
        &["repair", "packs", "--apply"],
        &["repair", "snapshots", "--forget", "--apply"],
        &["cat", "snapshot", "latest"],
        &["copy", "--from-repo", "other", "--from-key-file", "other-key"],
        &["-r", "other", "--key-file", "other-key", "copy", "--from-repo", "repository", "--from-key-file", "key"],
        &["restore", &first, "--target", "back"],
    ];
    for command in commands {
        let output = home.run(command);
        let said = text(&output);
        assert_eq!(output.status.code(), Some(ROLLED_BACK), "{command:?}: {said}");
        assert!(said.contains("shows an older state") && said.contains(&id[..8]), "{command:?}: {said}");
        assert!(said.contains("volvault repo accept") && said.contains(&first[..8]), "{command:?}: {said}");
        assert_eq!(files(&home.at("repository")), before, "{command:?} wrote something");
        assert_eq!(std::fs::read(&pins).unwrap(), remembered, "{command:?}");
        assert!(!home.at("back").exists());
    }
    let output = home.run(&["--json", "snapshots"]);
    let line: Value = serde_json::from_str(text(&output).trim()).unwrap();
    assert_eq!((&line["message_type"], &line["code"]), (&"exit_error".into(), &ROLLED_BACK.into()), "{line}");
    assert!(line["message"].as_str().unwrap().contains(&id[..8]), "{line}");
    // Who asks for no snapshot is told nothing of them.
    assert_eq!((home.code(&["cat", "config"]), home.code(&["key", "list"]), home.code(&["init"])), (0, 0, 1));
    // The newest state again: all is well, and nobody has to say so.
    put_in_place(&home.at("newer"), &home.at("repository"));
    home.text(&["check"]);
    home.text(&["backup", "data"]);
}

#[test]
fn a_repository_that_was_emptied_is_an_older_state_too() {
    let home = Home::with_repository();
    put_in_place(&home.at("repository"), &home.at("older"));
    fill(&home.at("data"), 3, 300);
    home.text(&["backup", "data"]);
    put_in_place(&home.at("older"), &home.at("repository"));
    let output = home.run(&["backup", "data"]);
    let said = text(&output);
    assert!(output.status.code() == Some(ROLLED_BACK) && said.contains("of this source none is shown"), "{said}");
}

#[test]
fn each_source_counts_for_itself() {
    let home = Home::with_repository();
    fill(&home.at("one"), 3, 300);
    fill(&home.at("two"), 3, 300);
    home.text(&["backup", "one"]);
    put_in_place(&home.at("repository"), &home.at("older"));
    home.text(&["backup", "two"]);
    // As if somebody had taken the snapshot of the one and left a newer one of the other.
    home.text(&["backup", "one"]);
    let two = std::fs::read_dir(home.at("repository/state/snapshots")).unwrap().map(|entry| entry.unwrap().path());
    let two = two.into_iter().find(|path| std::fs::read_dir(path).unwrap().count() == 1).unwrap();
    std::fs::remove_dir_all(two).unwrap();
    let output = home.run(&["backup", "one"]);
    assert_eq!(output.status.code(), Some(ROLLED_BACK), "{}", text(&output));
}

#[test]
fn what_was_forgotten_is_no_older_state_also_when_only_a_dropped_record_names_it() {
    let home = Home::with_repository();
    let elsewhere = |arguments: &[&str]| {
        let output = home.command(arguments).env("VOLVAULT_STATE_DIR", home.at("elsewhere")).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", text(&output));
    };
    let backup = |seed: u64| {
        write(&home.at("data/changing"), &noise(300_000, seed));
        home.text(&["backup", "data"]);
        newest(&home)
    };
    backup(1);
    let id = backup(2);
    // On another machine.
    elsewhere(&["forget", &id]);
    home.text(&["snapshots"]);
    let remembered = std::fs::read_to_string(&pin_files(&home)[0]).unwrap();
    assert!(!remembered.contains(&id), "{remembered}");

    let id = backup(3);
    elsewhere(&["forget", &id]);
    // The first one drops the packs and names the snapshot, the second one takes the name out of the forgotten records.
    elsewhere(&["prune"]);
    write(&home.at("data/changing"), &noise(300_000, 4));
    elsewhere(&["backup", "data"]);
    elsewhere(&["prune"]);
    assert_eq!(files(&home.at("repository/state")).keys().filter(|key| key.starts_with("forgotten")).count(), 0);
    let remembered = std::fs::read_to_string(&pin_files(&home)[0]).unwrap();
    assert!(remembered.contains(&id), "{remembered}");
    home.text(&["backup", "data"]);
    let remembered = std::fs::read_to_string(&pin_files(&home)[0]).unwrap();
    assert!(!remembered.contains(&id), "{remembered}");
    // And what one command itself has forgotten is not missed by the next.
    home.text(&["forget", "--keep-last", "1", "--prune"]);
    home.text(&["forget", "latest"]);
    home.text(&["tag", "--add", "x"]);
    home.text(&["backup", "data"]);
    home.text(&["tag", "--add", "x", "latest"]);
    home.text(&["check"]);
}

#[test]
fn other_repositories_and_copies_at_other_places_are_remembered_apart() {
    let (home, _) = rolled_back();
    write(&home.at("other-key"), &noise(32, 5));
    let other = ["-r", "other", "--key-file", "other-key"];
    let at_other = |command: &[&str]| home.text(&[&other, command].concat());
    at_other(&["init"]);
    at_other(&["backup", "data"]);
    at_other(&["snapshots"]);
    // The same repository, of an earlier day and in another place: whoever asks for that is given it, and told how old it is.
    home.text(&["-r", "older", "snapshots"]);
    assert_eq!(pin_files(&home).len(), 3);
    assert_eq!(home.code(&["snapshots"]), ROLLED_BACK);
    // Another way to write the place is no other place.
    let home_path = home.at("").display().to_string();
    assert_eq!(home.code(&["-r", &format!("{home_path}/./data/../repository"), "snapshots"]), ROLLED_BACK);
    put_in_place(&home.at("newer"), &home.at("older"));
    home.text(&["-r", "older", "snapshots"]);
}

#[test]
fn who_has_seen_nothing_is_told_how_old_the_newest_snapshot_is() {
    let (home, _) = rolled_back();
    let restore = |state: &str, options: &[&str]| {
        let mut command = home.command(&[options, &["restore", "latest", "--target", "back"]].concat());
        let output = command.env("VOLVAULT_STATE_DIR", home.at(state)).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        String::from_utf8(output.stderr).unwrap()
    };
    let first = restore("fresh", &[]);
    assert!(first.contains("nothing was remembered here of this repository") && first.contains(" of 20"), "{first}");
    assert_eq!(restore("fresh", &[]), "", "from now on it is remembered");
    assert_eq!(restore("other", &["--json"]), "");
    // In a pod, say.
    let mut command = home.command(&["restore", "latest", "--target", "back"]);
    let output = command.env_remove("HOME").output().unwrap();
    assert!(output.status.success() && text(&output).contains("nothing was remembered here"), "{}", text(&output));
}

#[test]
fn an_older_state_is_accepted_by_one_command_and_counts_from_then_on() {
    let (home, id) = rolled_back();
    let said = home.text(&["repo", "accept"]);
    assert!(said.contains("1 snapshots that were seen from here are not expected any more"), "{said}");
    assert!(said.contains(&id[..8]) && said.contains("counts from now on: 1 snapshots"), "{said}");
    home.text(&["check"]);
    home.text(&["backup", "data"]);
    put_in_place(&home.at("older"), &home.at("repository"));
    assert_eq!(home.code(&["backup", "data"]), ROLLED_BACK, "from what was accepted it goes on");
    let json: Value = serde_json::from_str(&home.text(&["--json", "repo", "accept"])).unwrap();
    assert_eq!((&json["message_type"], &json["missing"]), (&"accepted".into(), &1.into()), "{json}");
    let again: Value = serde_json::from_str(&home.text(&["--json", "repo", "accept"])).unwrap();
    assert_eq!((&again["missing"], &again["snapshots"]), (&0.into(), &1.into()), "{again}");
    assert_eq!(home.code(&["-r", "nowhere", "repo", "accept"]), 10);
    // Where nothing can be written, nothing was accepted, and that is said.
    let output = home.command(&["repo", "accept"]).env("VOLVAULT_STATE_DIR", "/dev/null").output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
}

#[test]
fn runs_at_once_remember_what_each_of_them_saw() {
    let home = Home::with_repository();
    let names: Vec<String> = (0..6).map(|n| format!("source{n}")).collect();
    for name in &names {
        fill(&home.at(name), 3, 300);
    }
    for round in 0..3 {
        let mut all: Vec<_> = names.iter().map(|name| home.start(&["backup", name])).collect();
        // One that is killed on its way out leaves the file whole, wherever it is.
        let mut killed = home.start(&["snapshots"]);
        killed.kill().unwrap();
        killed.wait().unwrap();
        assert!(all.iter_mut().all(|child| child.wait().unwrap().success()));
        let files = pin_files(&home);
        let file: Value = serde_json::from_slice(&std::fs::read(&files[0]).unwrap()).unwrap();
        let sources = file["sources"].as_array().unwrap();
        assert_eq!((files.len(), sources.len()), (1, names.len()), "{file:#}");
        let listed: Value = serde_json::from_str(&home.text(&["snapshots", "--json", "--latest", "1"])).unwrap();
        let newest: BTreeSet<&str> =
            listed.as_array().unwrap().iter().map(|snapshot| snapshot["id"].as_str().unwrap()).collect();
        for slot in ["listed", "read"] {
            let remembered: BTreeSet<&str> =
                sources.iter().map(|source| source[slot]["id"].as_str().unwrap()).collect();
            assert_eq!(remembered, newest, "round {round}: {slot}");
        }
    }
    let path = &pin_files(&home)[0];
    let mode = |path: &Path| std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(path).unwrap().permissions());
    assert_eq!((mode(path) & 0o777, mode(path.parent().unwrap()) & 0o777), (0o600, 0o700));
}

#[test]
fn a_damaged_file_is_said_and_replaced_and_where_there_is_no_place_nothing_is_remembered() {
    let (home, _) = rolled_back();
    let path = pin_files(&home).pop().unwrap();
    let whole = std::fs::read(&path).unwrap();
    for damaged in [&whole[..whole.len() / 2], b"", b"{\"repository\":1}"] {
        write(&path, damaged);
        let output = home.run(&["snapshots"]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && said.starts_with("warning: read what is remembered"), "{said}");
        assert_eq!(String::from_utf8(home.run(&["snapshots"]).stderr).unwrap(), "", "a new one was made");
    }
    for place in ["/dev/null", "/proc/nothing/here"] {
        let run = |arguments: &[&str]| home.command(arguments).env("VOLVAULT_STATE_DIR", place).output().unwrap();
        let output = run(&["snapshots"]);
        assert!(output.status.success() && output.stderr.is_empty(), "{}", text(&output));
        let said = text(&run(&["-v", "snapshots"]));
        assert_eq!(said.matches("remember what was seen of the repository").count(), 1, "{said}");
    }
    let output = home.command(&["-v", "snapshots"]).env_remove("HOME").output().unwrap();
    assert!(output.status.success() && text(&output).contains("nothing is remembered"), "{}", text(&output));
}

#[test]
fn to_remember_costs_no_request_as_long_as_all_is_there() {
    let server = S3ServerThread::start();
    let mut home = Home::new();
    for (name, value) in server.server.variables() {
        home.set(name, value);
    }
    home.set("VOLVAULT_REPOSITORY", format!("s3:{}/fresh/prefix", server.server.endpoint));
    home.set_key();
    home.text(&["init"]);
    fill(&home.at("data"), 10, 300);
    home.text(&["backup", "data"]);
    home.text(&["backup", "data"]);
    let requests = |arguments: &[&str], state: &Path| {
        let before = server.server.requests();
        let output = home.command(arguments).env("VOLVAULT_STATE_DIR", state).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        let asked = server.server.requests() - before;
        // What is there already is not restored again.
        let _ = std::fs::remove_dir_all(home.at("back"));
        asked
    };
    let here = home.at(".local/state/volvault");
    for command in [&["backup", "data"][..], &["snapshots"], &["restore", "latest", "--target", "back"], &["check"]] {
        let (nowhere, here) = (requests(command, Path::new("/dev/null")), requests(command, &here));
        assert_eq!(nowhere, here, "{command:?}");
    }
    // When something is missing, it is looked for once: a LIST and a GET of each record.
    let elsewhere = home.at("elsewhere");
    let usual = requests(&["snapshots"], &elsewhere);
    home.text(&["snapshots"]);
    requests(&["forget", "latest"], &elsewhere);
    assert_eq!(requests(&["snapshots"], &here), usual - 1 + 2);
    assert_eq!(requests(&["snapshots"], &here), usual - 1);
}

/// What a run that began with `before` makes of this repository.
fn look(bench: &Bench, before: &Pins) -> (Repository, Arc<Memory>) {
    let memory = Arc::new(Memory::new(Some(before.clone()), Stance::Refuse("ask".to_owned())));
    (bench.open().remembered_by(Arc::clone(&memory)), memory)
}

/// Names snapshots in a dropped record, as a prune does that has removed packs of theirs.
fn name_as_forgotten(bench: &Bench, forgotten: HashSet<SessionId>) {
    let repo = bench.open();
    let session = repo.maintain_session().unwrap();
    let packs = HashSet::from([ObjectHash::new([1; 32])]);
    session.drop_packs(&Gone { packs, forgotten }, &Listing::default()).unwrap();
    session.end("done");
}

fn tree(content: u8) -> crate::support::repo::Tree {
    BTreeMap::from([("a".to_owned(), Some(vec![content; 100]))])
}

#[test]
fn a_refused_run_leaves_no_record_and_one_that_read_only_is_refused_alike() {
    let bench = Bench::new();
    write_tree(&bench.open(), &tree(1), Layout::Bundle);
    let second = write_tree(&bench.open(), &tree(2), Layout::Bundle);
    let (repo, memory) = look(&bench, &Pins::default());
    drop(repo.observe().unwrap());
    let before = memory.after(Pins::default());
    bench.delete(&second.key());
    let keys = bench.keys("");
    let (repo, memory) = look(&bench, &before);
    for start in
        [Repository::observe, Repository::read_session, Repository::write_session, Repository::maintain_session]
    {
        let error = start(&repo).unwrap_err();
        assert_eq!((error.kind(), error.hint()), (ErrorKind::RolledBack, Some("ask")), "{}", error.chain());
        assert!(error.chain().contains(&second.id.short()), "{}", error.chain());
        assert_eq!(bench.keys(""), keys);
    }
    assert!(!memory.has_seen(), "what is refused is not remembered");
}

/// A store makes a name that sorts as the newest, and takes the real newest away. The name alone does not stand for it.
#[test]
fn a_planted_name_does_not_hide_that_the_newest_snapshot_is_gone() {
    let bench = Bench::new();
    let first = write_tree(&bench.open(), &tree(1), Layout::Bundle);
    let second = write_tree(&bench.open(), &tree(2), Layout::Bundle);
    let planted = format!(
        "state/snapshots/{}/21000101T000000.000000000Z-{}-{}",
        first.source,
        SessionId::new([9; 16]),
        "ab".repeat(16)
    );
    let (repo, memory) = look(&bench, &Pins::default());
    repo.observe().unwrap().load(&second).unwrap();
    let before = memory.after(Pins::default());
    bench.put(&planted, b"x".to_vec());
    let (repo, memory) = look(&bench, &before);
    drop(repo.observe().unwrap());
    let before = memory.after(before);
    bench.delete(&second.key());
    let error = look(&bench, &before).0.observe().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::RolledBack, "{}", error.chain());
    assert!(error.chain().contains(&second.id.short()), "{}", error.chain());
}

/// A laptop comes back after years. Dropped records name so many forgotten snapshots and no more.
#[test]
fn where_more_was_forgotten_than_is_named_a_newer_snapshot_shows_that_the_state_is_no_older_one() {
    let bench = Bench::new();
    let dir = tempfile::tempdir().unwrap();
    let options = options_for(dir.path());
    write(&dir.path().join("a"), b"1");
    let backup = || crate::support::vault::backup(&bench.open(), &options).unwrap().snapshot.unwrap();
    backup();
    backup();
    let (repo, memory) = look(&bench, &Pins::default());
    let names = repo.observe().unwrap().snapshots().to_vec();
    let before = memory.after(Pins::default());
    bench.delete(&names[0].key());
    let refused = |why: &str| {
        let error = look(&bench, &before).0.observe().unwrap_err();
        assert_eq!(error.kind(), ErrorKind::RolledBack, "{why}: {}", error.chain());
    };
    let id = |n: u16| SessionId::new([n.to_be_bytes(); 8].concat().try_into().unwrap());
    let forget = |count: u16| name_as_forgotten(&bench, (0..count).map(id).collect());
    forget(4999);
    backup();
    refused("all that was forgotten is named");
    forget(5000);
    let (repo, memory) = look(&bench, &before);
    repo.observe().unwrap();
    assert!(!memory.after(before.clone()).is_empty());
    // Only an older one is left.
    let newer = repo.observe().unwrap().snapshots()[0].clone();
    let bytes = bench.get(&newer.key());
    bench.delete(&newer.key());
    refused("an older state is one all the same");
    let mut damaged = bytes.to_vec();
    damaged[30] ^= 1;
    bench.put(&newer.key(), damaged);
    refused("a name proves nothing");
}

/// What a first look misses may stand where the second one finds it: a store's listing left it out, or a prune moved a name meanwhile.
#[test]
fn before_a_state_is_called_an_older_one_it_is_looked_at_again() {
    let bench = Bench::new();
    let name = write_tree(&bench.open(), &tree(1), Layout::Bundle);
    let (repo, memory) = look(&bench, &Pins::default());
    drop(repo.observe().unwrap());
    let before = memory.after(Pins::default());
    let hiding = |prefix: &'static str| {
        // The first listing is that of the keys, the second what the session sees.
        let plan = FaultPlan::some(Op::List, "state", 2, Fault::HideBelow(prefix));
        let faults = FaultStore::new(bench.objects.clone(), plan);
        let repo = bench.open_store(Store::from_object_store_with(faults, Location::Memory, hasty())).unwrap();
        let memory = Arc::new(Memory::new(Some(before.clone()), Stance::Refuse("ask".to_owned())));
        (repo.remembered_by(Arc::clone(&memory)), memory)
    };
    let (repo, _) = hiding("state/snapshots/");
    let error = repo.observe().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable, "{}", error.chain());
    drop(repo.observe().unwrap());
    bench.delete(&name.key());
    let (repo, _) = hiding("state/dropped/");
    assert_eq!(repo.observe().unwrap_err().kind(), ErrorKind::RolledBack);
    name_as_forgotten(&bench, HashSet::from([name.id]));
    let (repo, memory) = hiding("state/dropped/");
    drop(repo.observe().unwrap());
    assert!(memory.after(before.clone()).is_empty());
}
