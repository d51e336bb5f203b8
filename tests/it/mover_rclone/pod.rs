//! A pod with a rclone mover as VolSync makes it, and the other side as its own movers leave it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;

use bytes::Bytes;
use tokio::runtime::Runtime;
use volvault::clock::SystemClock;
use volvault::error::ErrorKind;
use volvault::storage::{Attributes, Condition, Location, Store, StoreOptions};

use crate::command::write;
use crate::mover_restic::pod::Ran;
use crate::support::image::{self, DATA, InPod, Surroundings};
use crate::support::peer;
use crate::support::s3::{ACCESS_KEY, S3Server, S3ServerThread, SECRET_KEY};

/// What VolSync 0.16 keeps of the log of a rclone mover that succeeded (`internal/controller/mover/rclone/logfilter.go`).
const KEPT: [&str; 5] = [
    r"^\s*([tT]ransferred:)",
    r"^\s*([cC]hecks:)",
    r"^\s*([dD]eleted:)",
    r"^\s*([eE]lapsed time:)",
    r"^\s*(Rclone completed in)",
];

/// What the operator starts.
const SCRIPT: &str = "/mover-rclone/active.sh";

/// A volume, a mirror, and the variables of a pod.
pub(crate) struct Pod {
    dir: tempfile::TempDir,
    /// A volume of mirrors, which source and destination have in common.
    mirrors: PathBuf,
    variables: BTreeMap<String, String>,
    user: Option<u32>,
    /// A server of its own, if that has the mirror.
    own: Option<Arc<S3ServerThread>>,
}

impl InPod for Pod {
    fn surroundings(&self) -> Surroundings<'_> {
        let mounts = vec![
            (self.data(), DATA),
            (self.at("tmp"), "/tmp"),
            (self.mirrors.clone(), "/mnt/mirrors"),
            (self.dir.path().to_owned(), "/mnt/pod"),
        ];
        Surroundings { mounts, variables: &self.variables, user: self.user }
    }
}

impl Pod {
    /// With a mirror on a volume of its own, unless the suite has all of them on a server.
    pub(crate) fn new() -> Self {
        let mut pod = Self::with_volume();
        if let Some(own) = peer::in_place_of_a_directory("volumes") {
            pod.use_bucket(&own.server, "volumes/mirror");
            pod.own = Some(own);
        }
        pod
    }

    /// With a mirror on a volume of its own.
    pub(crate) fn with_volume() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for name in ["data", "mnt", "tmp"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let mirrors = dir.path().join("mnt");
        let mut pod = Self { dir, mirrors, variables: BTreeMap::new(), user: None, own: None };
        pod.configure("[volume]\ntype = local\n");
        let (data, config) = (pod.data().display().to_string(), pod.at("rclone.conf").display().to_string());
        let (place, tmp) = (pod.at("mnt/mirror").display().to_string(), pod.at("tmp").display().to_string());
        for (name, value) in [
            ("RCLONE_CONFIG", &*config),
            ("RCLONE_DEST_PATH", &place),
            ("DIRECTION", "source"),
            ("MOUNT_PATH", &data),
            ("RCLONE_CONFIG_SECTION", "volume"),
            ("PRIVILEGED_MOVER", "0"),
            ("HOSTNAME", "volsync-rclone-src-app-x7k2p"),
            ("KUBERNETES_SERVICE_HOST", "10.0.0.1"),
            ("TMPDIR", &tmp),
            ("AWS_EC2_METADATA_DISABLED", "true"),
        ] {
            pod.set(name, value);
        }
        pod
    }

    /// With a mirror in a bucket, by a section of a `rclone.conf`.
    pub(crate) fn on(s3: &S3Server, path: &str) -> Self {
        let mut pod = Self::with_volume();
        pod.use_bucket(s3, path);
        pod
    }

    fn use_bucket(&mut self, s3: &S3Server, path: &str) {
        self.configure(&format!(
            "[bucket]\ntype = s3\nprovider = Minio\nenv_auth = false\naccess_key_id = {ACCESS_KEY}\nsecret_access_key = {SECRET_KEY}\nendpoint = {}\nregion = us-east-1\n",
            s3.endpoint
        ));
        self.set("RCLONE_CONFIG_SECTION", "bucket");
        self.set("RCLONE_DEST_PATH", path);
    }

    /// What the mirror holds, as its owner sees it.
    pub(crate) fn mirror(&self) -> Script {
        let path = &self.variables["RCLONE_DEST_PATH"];
        match &self.own {
            Some(own) => Script::on(&own.server, path),
            None => Script::at(path, &BTreeMap::new()),
        }
    }

    /// What its `rclone.conf` says.
    pub(crate) fn configure(&self, text: &str) {
        write(&self.at("rclone.conf"), text.as_bytes());
    }

    /// A destination of the same mirror.
    pub(crate) fn destination(&self) -> Self {
        let (mirrors, own) = (self.mirrors.clone(), self.own.clone());
        let mut pod = Self { mirrors, own, ..Self::with_volume() };
        let own = ["RCLONE_CONFIG", "MOUNT_PATH", "TMPDIR"];
        for (name, value) in &self.variables {
            if !own.contains(&name.as_str()) {
                pod.set(name, value);
            }
        }
        std::fs::copy(self.at("rclone.conf"), pod.at("rclone.conf")).unwrap();
        pod.set("DIRECTION", "destination");
        pod.set("HOSTNAME", "volsync-rclone-dst-app-q9d4z");
        pod
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    pub(crate) fn unset(&mut self, name: &str) {
        self.variables.remove(name);
    }

    pub(crate) fn run_as(&mut self, user: u32) {
        self.user = Some(user);
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// The volume.
    pub(crate) fn data(&self) -> PathBuf {
        self.at("data")
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        write(&self.data().join(name), text.as_bytes());
    }

    pub(crate) fn read(&self, name: &str) -> Option<String> {
        std::fs::read_to_string(self.data().join(name)).ok()
    }

    pub(crate) fn empty(&self) {
        std::fs::remove_dir_all(self.data()).unwrap();
        std::fs::create_dir(self.data()).unwrap();
    }

    pub(crate) fn command(&self) -> Command {
        self.program(SCRIPT, &[])
    }

    /// Where something finds the script.
    pub(crate) fn script(&self) -> String {
        image::script(SCRIPT, self.dir.path())
    }

    pub(crate) fn start(&self, log: &Path) -> Child {
        let log = std::fs::File::create(log).unwrap();
        self.command().stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    pub(crate) fn run(&self) -> Ran {
        let ran = Ran::new(&self.command().output().unwrap(), &KEPT);
        let left: Vec<_> = std::fs::read_dir(self.at("tmp")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(left.is_empty(), "left in /tmp: {left:?}");
        ran
    }

    /// Runs what must succeed.
    pub(crate) fn done(&self) -> Ran {
        let ran = self.run();
        assert_eq!(ran.code, 0, "{}", ran.log);
        ran
    }
}

/// A prefix, in the hands of a mover that knows no generations.
pub(crate) struct Script {
    runtime: Runtime,
    store: Store,
}

impl Script {
    pub(crate) fn on(s3: &S3Server, path: &str) -> Self {
        let (bucket, prefix) = path.split_once('/').unwrap();
        Self::reach(&s3.location(bucket, prefix), &s3.options())
    }

    /// `location` as a user writes it.
    pub(crate) fn at(location: &str, variables: &BTreeMap<String, String>) -> Self {
        let options = StoreOptions { variables: variables.clone(), ..StoreOptions::default() };
        Self::reach(&location.parse().unwrap(), &options)
    }

    fn reach(location: &Location, options: &StoreOptions) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let store = runtime.block_on(Store::connect(location, options, SystemClock::new())).unwrap();
        Self { runtime, store }
    }

    /// Stores an object as rclone does.
    pub(crate) fn put(&self, key: &str, bytes: &[u8]) {
        let attributes = Attributes { mtime: Some("1700000000.123456789".to_owned()), ..Attributes::default() };
        let put = self.store.put_with(key, Bytes::copy_from_slice(bytes), &attributes, Condition::Any);
        self.runtime.block_on(put).unwrap();
    }

    /// `permissions.facl` for these paths: see [`facl`].
    pub(crate) fn put_facl(&self, modes: &[(&str, &str)]) {
        self.put("permissions.facl", facl(modes).as_bytes());
    }

    pub(crate) fn delete(&self, key: &str) {
        self.runtime.block_on(self.store.delete(key)).unwrap();
    }

    pub(crate) fn get(&self, key: &str) -> Option<String> {
        let bytes = self.runtime.block_on(self.store.get(key, 1 << 20)).ok()?;
        Some(String::from_utf8(bytes.to_vec()).unwrap())
    }

    pub(crate) fn keys(&self) -> Vec<String> {
        // A directory, or a bucket, that nobody has made yet.
        let listed = match self.runtime.block_on(self.store.list("")) {
            Err(error) if error.kind() == ErrorKind::NotFound => Vec::new(),
            listed => listed.unwrap(),
        };
        let mut keys: Vec<String> = listed.into_iter().map(|listed| listed.key).collect();
        keys.sort();
        keys
    }
}

/// What `getfacl` writes of these paths, all of the user of the pods, with these modes.
pub(crate) fn facl(modes: &[(&str, &str)]) -> String {
    use std::fmt::Write as _;
    let (uid, gid) = image::user();
    let mut text = String::new();
    for (path, mode) in modes {
        let [user, group, other] = mode.split(',').collect::<Vec<_>>()[..] else { panic!("{mode}") };
        write!(
            text,
            "# file: {path}\n# owner: {uid}\n# group: {gid}\nuser::{user}\ngroup::{group}\nother::{other}\n\n"
        )
        .unwrap();
    }
    text
}
