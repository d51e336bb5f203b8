//! Everything that is done with S3, on whatever server `VOLVAULT_TEST_S3_ENDPOINT` names (see [`Endpoint`]): the promises of stores, those that mirrors
//! need beside them, and the lives of a repository, a mirror and a volume in the cluster. Without it, on a server inside the process.
//!
//!     VOLVAULT_TEST_S3_ENDPOINT=http://127.0.0.1:9000 AWS_ACCESS_KEY_ID=… AWS_SECRET_ACCESS_KEY=… cargo test --test it endpoint

use crate::command::{Home, fill, write};
use crate::mirror_store;
use crate::mover_restic::pod::Pod;
use crate::storage::{self, Abilities};
use crate::support::endpoint::Endpoint;
use crate::support::vault::{assert_same, noise, on_disk};

fn block_on<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(work)
}

/// A home that may reach the server.
fn home(endpoint: &Endpoint) -> Home {
    let mut home = Home::new();
    for (name, value) in &endpoint.variables {
        home.set(name.clone(), value.clone());
    }
    home
}

#[test]
fn it_keeps_the_promises_of_stores() {
    let endpoint = Endpoint::new("promises");
    block_on(async {
        let store = endpoint.store("a prefix/of two").await;
        storage::keeps_its_promises(&store, Abilities { create_only: endpoint.can("conditional") }).await;
    });
}

#[test]
fn it_keeps_the_promises_of_pins() {
    let endpoint = Endpoint::new("pins");
    block_on(async {
        let store = endpoint.store("p").await;
        mirror_store::keeps_what_it_is_known_for(&store, &|what| endpoint.can(what)).await;
    });
}

#[test]
fn a_repository_lives_on_it() {
    let endpoint = Endpoint::new("repository");
    block_on(endpoint.store(""));
    let mut home = home(&endpoint);
    home.set("VOLVAULT_REPOSITORY", endpoint.at("repository"));
    home.set_key();
    fill(&home.at("data"), 150, 2000);
    write(&home.at("data/large"), &noise(70 << 20, 7));
    home.text(&["repo", "probe"]);
    home.text(&["init"]);
    home.text(&["backup", "data"]);
    let kept = on_disk(&home.at("data"));
    home.text(&["backup", "data"]);
    write(&home.at("data/large"), &noise(3 << 20, 8));
    home.text(&["backup", "data"]);
    home.text(&["check", "--read-data"]);
    home.text(&["restore", "latest", "--previous", "1", "--target", "before"]);
    assert_same(&on_disk(&home.at("before/data")), &kept);
    home.text(&["forget", "--keep-last", "1"]);
    home.text(&["prune", "--max-unused", "0", "--force", "--wait", "0s"]);
    home.text(&["restore", "latest", "--target", "back"]);
    assert_same(&on_disk(&home.at("back/data")), &on_disk(&home.at("data")));
    home.text(&["check", "--read-data"]);
    block_on(endpoint.sweep());
}

/// Packs are compared by what the server lists; one that is overwritten with as many other bytes is found by a check that is not asked to read.
#[test]
fn a_check_compares_what_it_lists_and_finds_an_overwritten_pack() {
    let endpoint = Endpoint::new("checksums");
    let store = block_on(endpoint.store("repository"));
    let mut home = home(&endpoint);
    home.set("VOLVAULT_REPOSITORY", endpoint.at("repository"));
    home.set_key();
    write(&home.at("data/large"), &noise(40 << 20, 7));
    home.text(&["init"]);
    home.text(&["backup", "data"]);
    let summary = || -> serde_json::Value {
        serde_json::from_str(home.text(&["check", "--json"]).lines().last().unwrap()).unwrap()
    };
    let packs = block_on(store.list("packs/")).unwrap();
    if endpoint.can("checksums") {
        let found = &summary()["checksums"];
        assert_eq!((&found["compared"], &found["rewritten"]), (&packs.len().into(), &0.into()), "{found}");
        let pack = packs.iter().max_by_key(|pack| pack.size).unwrap();
        let bytes = block_on(store.get(&pack.key, 32 << 20)).unwrap();
        let mut other = bytes.to_vec();
        other[5000] ^= 1;
        block_on(store.put(&pack.key, other.into())).unwrap();
        let output = home.run(&["check"]);
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        let name = pack.key.rsplit('/').next().unwrap();
        assert!(said.contains(&format!("broken pack: {name}")) && said.contains("1 differs"), "{said}");
        assert!(said.contains("read 1 packs"), "{said}");
        block_on(store.put(&pack.key, bytes)).unwrap();
    }
    let said = home.text(&["check", "--read-data"]);
    assert!(said.contains("checksums at the store: ") && said.contains("no errors were found"), "{said}");
    block_on(endpoint.sweep());
}

#[test]
fn a_mirror_lives_on_it() {
    let endpoint = Endpoint::new("mirror");
    block_on(endpoint.store(""));
    let home = home(&endpoint);
    fill(&home.at("data"), 150, 2000);
    write(&home.at("data/large"), &noise(70 << 20, 7));
    std::os::unix::fs::symlink("large", home.at("data/link")).unwrap();
    let place = endpoint.at("site/p");
    let same = || assert_same(&on_disk(&home.at("edge")), &on_disk(&home.at("data")));
    home.text(&["mirror", "push", "data", &place]);
    home.text(&["mirror", "pull", &place, "edge"]);
    same();
    write(&home.at("data/large"), &noise(9 << 20, 8));
    rustix::fs::rename(home.at("data/00/00001"), home.at("data/renamed")).unwrap();
    std::fs::remove_file(home.at("data/00/00002")).unwrap();
    home.text(&["mirror", "push", "data", &place]);
    home.text(&["mirror", "pull", &place, "edge"]);
    same();
    home.text(&["mirror", "verify", &place, "--read"]);
    block_on(endpoint.sweep());
}

#[test]
fn a_volume_in_the_cluster_is_saved_to_it_and_restored() {
    let endpoint = Endpoint::new("mover");
    block_on(endpoint.store(""));
    let mut pod = Pod::new();
    for (name, value) in &endpoint.variables {
        pod.set(if name == "VOLVAULT_CACERT" { "CUSTOM_CA" } else { name }, value);
    }
    pod.set("RESTIC_REPOSITORY", &endpoint.at("app"));
    pod.write("a", "first");
    pod.done(&["backup"]);
    pod.write("a", "second");
    pod.done(&["unlock", "backup", "prune"]);
    pod.empty();
    pod.done(&["restore"]);
    assert_eq!(pod.read("a").as_deref(), Some("second"));
    block_on(endpoint.sweep());
}
