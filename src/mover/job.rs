//! What the environment asks for: VolSync's variables, and ours, which VolSync hands on because they begin with `RCLONE_`.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use chrono::{DateTime, FixedOffset};

use super::failure::Failure;
use super::{Demands, identity, remembering};
use crate::clock;
use crate::environment::{Environment, host_name};
use crate::error::{Attempt, Error, Result};
use crate::limits::Limits;
use crate::repo::Compression;
use crate::retention::Policy;
use crate::secret::Credential;
use crate::size::ByteSize;
use crate::storage::{Location, StoreOptions};
use crate::volume::pattern::read_patterns;

/// A file of certificates to trust beside the system's.
pub(super) const CUSTOM_CA: &str = "CUSTOM_CA";
/// A volume that stays from one pod to the next, if it is there.
pub(super) const CACHE_DIR: &str = "RESTIC_CACHE_DIR";
const DATA_DIR: &str = "DATA_DIR";
pub(super) const FORGET_OPTIONS: &str = "FORGET_OPTIONS";
const RESTORE_AS_OF: &str = "RESTORE_AS_OF";
const RESTORE_OPTIONS: &str = "RESTORE_OPTIONS";
const SELECT_PREVIOUS: &str = "SELECT_PREVIOUS";
/// Fails what is otherwise passed over: an empty source, a restore of nothing.
pub(super) const STRICT: &str = "RCLONE_VOLVAULT_STRICT";
const SHARED: &str = "RCLONE_VOLVAULT_SHARED";
/// The namespace that is part of the name of a source.
pub(super) const NAMESPACE: &str = "RCLONE_VOLVAULT_NAMESPACE";
/// Where a pod with an account finds its namespace.
const NAMESPACE_FILE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";
pub(super) const SOURCE_ID: &str = "RCLONE_VOLVAULT_SOURCE_ID";
pub(super) const EXCLUDE: &str = "RCLONE_VOLVAULT_EXCLUDE";
pub(super) const READ_RATE: &str = "RCLONE_VOLVAULT_READ_RATE";
const IGNORE_INODE: &str = "RCLONE_VOLVAULT_IGNORE_INODE";
const IGNORE_CTIME: &str = "RCLONE_VOLVAULT_IGNORE_CTIME";

/// All of ours, so that a mistyped one is an error and not a switch that does nothing: those of every mover, and those of the restic mover.
const COMMON: [&str; 3] = [STRICT, EXCLUDE, READ_RATE];
const OURS: [&str; 5] = [SHARED, NAMESPACE, SOURCE_ID, IGNORE_INODE, IGNORE_CTIME];
const OUR_PREFIX: &str = "RCLONE_VOLVAULT_";

/// The host of all snapshots that VolSync's own mover makes.
const HOST: &str = "volsync";

/// Longest name of a source.
const SOURCE_ID_MAX: usize = 200;

/// What VolSync's script wants to see, in its order, and what only a command of ours needs.
const DEMANDED: [&str; 5] = ["PRIVILEGED_MOVER", CACHE_DIR, "RESTIC_PASSWORD", "RESTIC_REPOSITORY", DATA_DIR];

/// One step of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Unlock,
    Backup,
    Prune,
    Restore,
}

impl Action {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Unlock => "unlock",
            Self::Backup => "backup",
            Self::Prune => "prune",
            Self::Restore => "restore",
        }
    }

    pub(super) fn parse(word: &str) -> Result<Self, Failure> {
        match word {
            "unlock" => Ok(Self::Unlock),
            "backup" => Ok(Self::Backup),
            "prune" => Ok(Self::Prune),
            "restore" => Ok(Self::Restore),
            _ => Err(Failure::new(2, format!("unknown operation: {word}"))
                .with_hint("the operations are unlock, backup, prune and restore")),
        }
    }
}

/// What is to be done with what.
#[derive(Debug)]
pub(super) struct Job {
    /// The path that snapshots are of.
    pub(super) data: PathBuf,
    /// Where the volume lies.
    pub(super) volume: PathBuf,
    /// Where the repository is.
    pub(super) location: Location,
    /// What opens it.
    pub(super) credential: Credential,
    /// How its store is reached.
    pub(super) store: StoreOptions,
    /// How new data is compressed.
    pub(super) compression: Compression,
    /// Bounds.
    pub(super) limits: Limits,
    /// Where it is kept what was seen of the repository; none where nothing stays.
    pub(super) memory: Option<PathBuf>,
    /// Host of the snapshots: VolSync's, or the name of the source in a shared repository.
    pub(super) host: String,
    /// Whether the host is the name of a resource, and another namespace may have one of that name.
    pub(super) is_ambiguous: bool,
    /// Whether nothing to save and nothing to restore are failures.
    pub(super) strict: bool,
    /// What `backup` does beside saving.
    pub(super) saving: Saving,
    /// What `restore` does.
    pub(super) restoring: Restoring,
}

/// How a volume is saved.
#[derive(Debug)]
pub(super) struct Saving {
    /// Which snapshots stay afterwards; none for all. One that keeps nothing fails the job after the volume was saved.
    pub(super) policy: Option<Policy>,
    /// Patterns of what is left out, beside `lost+found`.
    pub(super) excludes: Vec<Vec<u8>>,
    /// Bytes read per second at most.
    pub(super) read_rate: Option<ByteSize>,
    /// Whether a new inode number alone is no change.
    pub(super) ignore_inode: bool,
    /// Whether a new ctime alone is no change.
    pub(super) ignore_ctime: bool,
}

/// What is restored and how.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Restoring {
    /// The newest snapshot that is not newer.
    pub(super) as_of: Option<DateTime<FixedOffset>>,
    /// So many before it.
    pub(super) previous: usize,
    /// Whether what the snapshot does not hold is deleted.
    pub(super) delete: bool,
    /// Whether runs of zeros become holes.
    pub(super) sparse: bool,
    /// Whether everything is read back.
    pub(super) verify: bool,
    /// The options as they were given.
    pub(super) options: String,
}

/// Whether the variables are there that a job cannot do without.
pub(super) fn demand(demands: Demands, environment: &Environment) -> Result<(), Failure> {
    let missing = DEMANDED.iter().find(|name| {
        let needed = demands == Demands::Script || !matches!(**name, "PRIVILEGED_MOVER" | CACHE_DIR);
        needed && environment.raw(name).is_none()
    });
    missing.map_or(Ok(()), |name| Err(Failure::new(1, format!("{name} must be defined"))))
}

impl Job {
    /// Reads everything, so that what is wrong shows before anything is done.
    pub(super) fn new(environment: &Environment, volume: Option<&Path>) -> Result<Self> {
        refuse_unknown(environment, Known::Restic)?;
        let compression = environment.text("RESTIC_COMPRESSION")?.map(str::parse::<Compression>).transpose();
        let password = environment.text("RESTIC_PASSWORD")?.unwrap_or_default();
        let data = PathBuf::from(environment.raw(DATA_DIR).cloned().unwrap_or_default());
        let data = std::path::absolute(data).attempt(|| "find the directory that DATA_DIR names".to_owned())?;
        let (host, is_ambiguous) = host(environment, Path::new(NAMESPACE_FILE))?;
        Ok(Self {
            volume: volume.map_or_else(|| data.clone(), Path::to_owned),
            data,
            // A Secret made from a file often ends with a line end.
            location: parsed(environment, "RESTIC_REPOSITORY")?
                .ok_or_else(|| Error::invalid("RESTIC_REPOSITORY is empty"))?,
            credential: Credential::from_line(password.as_bytes()).attempt(|| "read RESTIC_PASSWORD".to_owned())?,
            store: store(environment)?,
            compression: compression.attempt(|| "read RESTIC_COMPRESSION".to_owned())?.unwrap_or(Compression::Auto),
            limits: limits(environment)?,
            memory: remembering::holder(environment),
            host,
            is_ambiguous,
            strict: environment.switch_named(STRICT)?,
            saving: Saving::new(environment)?,
            restoring: Restoring::new(environment)?,
        })
    }
}

impl Job {
    /// A pattern speaks of the volume where its pod has it; it is matched where the volume lies.
    pub(super) fn pattern_on_disk(&self, pattern: &[u8]) -> Vec<u8> {
        let (named, volume) = (self.data.as_os_str().as_bytes(), self.volume.as_os_str().as_bytes());
        match pattern.strip_prefix(named) {
            Some(rest) if self.volume != self.data && (rest.is_empty() || rest.starts_with(b"/")) => {
                [volume, rest].concat()
            }
            Some(_) | None => pattern.to_vec(),
        }
    }
}

impl Saving {
    fn new(environment: &Environment) -> Result<Self> {
        let policy = environment.text(FORGET_OPTIONS)?.filter(|line| !line.trim().is_empty());
        let policy = policy.map(Policy::from_options).transpose().attempt(|| format!("read {FORGET_OPTIONS}"))?;
        // A new inode number comes with a new ctime.
        let ignore_inode = environment.switch_named(IGNORE_INODE)?;
        Ok(Self {
            policy,
            excludes: read_patterns(environment.text(EXCLUDE)?.unwrap_or_default().as_bytes(), &|_| None),
            read_rate: parsed(environment, READ_RATE)?,
            ignore_inode,
            ignore_ctime: ignore_inode || environment.switch_named(IGNORE_CTIME)?,
        })
    }
}

impl Restoring {
    fn new(environment: &Environment) -> Result<Self> {
        let as_of = environment.text(RESTORE_AS_OF)?.filter(|text| !text.trim().is_empty());
        let mut restoring = Self {
            as_of: as_of.map(clock::parse_time_to_its_end).transpose().attempt(|| format!("read {RESTORE_AS_OF}"))?,
            previous: parsed(environment, SELECT_PREVIOUS)?.unwrap_or(0),
            ..Self::default()
        };
        environment.text(RESTORE_OPTIONS)?.unwrap_or_default().trim().clone_into(&mut restoring.options);
        for word in restoring.options.split_whitespace() {
            match word {
                "--delete" => restoring.delete = true,
                "--sparse" => restoring.sparse = true,
                "--verify" => restoring.verify = true,
                _ => {
                    return Err(Error::invalid(format!("{RESTORE_OPTIONS} has an unknown option: {word}"))
                        .with_hint("the options are --delete, --sparse and --verify"));
                }
            }
        }
        Ok(restoring)
    }
}

/// A variable, without white space around it, read as a `T`; none when it is not set.
pub(super) fn parsed<T: FromStr<Err: std::error::Error + Send + Sync + 'static>>(
    environment: &Environment,
    name: &str,
) -> Result<Option<T>> {
    let text = environment.text(name)?.map(str::trim).filter(|text| !text.is_empty());
    let refuse = |cause: T::Err| Error::invalid(format!("read {name}")).with_source(cause);
    text.map(|text| text.parse::<T>().map_err(refuse)).transpose()
}

/// How stores are reached.
pub(super) fn store(environment: &Environment) -> Result<StoreOptions> {
    let list = environment.ours("CACERT")?.map(|(_, list)| list.split(',').map(PathBuf::from).collect::<Vec<_>>());
    let mut ca_files = list.unwrap_or_default();
    ca_files.extend(environment.raw(CUSTOM_CA).map(PathBuf::from));
    Ok(StoreOptions { variables: environment.for_store(), ca_files, ..StoreOptions::default() })
}

fn limits(environment: &Environment) -> Result<Limits> {
    let limits = Limits::default();
    let pack_size = environment.parsed::<u32>("PACK_SIZE")?.filter(|mib| *mib > 0).map(Limits::pack_size_of);
    let readers = environment.parsed::<u32>("READ_CONCURRENCY")?.and_then(Limits::readers_of);
    Ok(Limits {
        pack_size: pack_size.transpose()?.unwrap_or(limits.pack_size),
        readers: readers.unwrap_or(limits.readers),
        ..limits
    })
}

/// The host of the snapshots, and whether it may be that of another namespace, too. Without a word about sharing it is VolSync's, so that a repository of
/// one volume is found whatever the pod is called.
fn host(environment: &Environment, namespace_file: &Path) -> Result<(String, bool)> {
    if let Some(id) = environment.text(SOURCE_ID)?.map(str::trim).filter(|id| !id.is_empty()) {
        if id.len() > SOURCE_ID_MAX || id.chars().any(char::is_control) {
            return Err(Error::invalid(format!(
                "{SOURCE_ID} is longer than {SOURCE_ID_MAX} bytes or has control characters"
            )));
        }
        return Ok((id.to_owned(), false));
    }
    if !environment.switch_named(SHARED)? {
        return Ok((HOST.to_owned(), false));
    }
    let pod = environment.text("HOSTNAME")?.map_or_else(host_name, str::to_owned);
    if identity::may_be_cut(&pod) {
        return Err(Error::invalid(format!(
            "{SHARED} is set, and the name of this pod is as long as names may be: the end may be missing of what it is called after"
        ))
        .with_hint(format!("set {SOURCE_ID} to a name for this volume; another source may be called the same up to there")));
    }
    match identity::of_pod(&pod) {
        id if id.is_empty() => Err(Error::invalid(format!("{SHARED} is set, and this pod has no name"))
            .with_hint(format!("set {SOURCE_ID} to a name for this volume"))),
        id => Ok(match namespace(environment, namespace_file)? {
            Some(namespace) => (format!("{namespace}/{id}"), false),
            None => (id, true),
        }),
    }
}

/// The namespace of this pod: as it is said, or as the account of the pod has it.
fn namespace(environment: &Environment, file: &Path) -> Result<Option<String>> {
    for name in [NAMESPACE, "POD_NAMESPACE"] {
        if let Some(namespace) = environment.text(name)?.map(str::trim).filter(|namespace| !namespace.is_empty()) {
            return Ok(Some(namespace.to_owned()));
        }
    }
    // No pod needs an account; one that has none does not know where it is.
    let read = std::fs::read_to_string(file).unwrap_or_default();
    let name = read.trim();
    let is_name =
        !name.is_empty() && name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    Ok(is_name.then(|| name.to_owned()))
}

/// A mover whose switches are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    Restic,
    Rclone,
}

impl Known {
    fn switches(self) -> Vec<&'static str> {
        let own: &[&str] = match self {
            Self::Restic => &OURS,
            Self::Rclone => &super::rclone::OURS,
        };
        COMMON.iter().chain(own).copied().collect()
    }
}

/// # Errors
/// `Invalid` for a variable that would do nothing.
pub(super) fn refuse_unknown(environment: &Environment, known: Known) -> Result<()> {
    let (variables, switches) = (environment.for_store(), known.switches());
    match variables.keys().find(|name| name.starts_with(OUR_PREFIX) && !switches.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let short: Vec<&str> = switches.iter().map(|switch| switch.trim_start_matches(OUR_PREFIX)).collect();
            Err(Error::invalid(format!("variable {name} is not known"))
                .with_hint(format!("known are {}", short.join(", "))))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BASE: [(&str, &str); 5] = [
        ("PRIVILEGED_MOVER", "0"),
        ("RESTIC_CACHE_DIR", "/cache"),
        ("RESTIC_PASSWORD", "secret"),
        ("RESTIC_REPOSITORY", "s3:http://minio:9000/bucket/app\n"),
        ("DATA_DIR", "/data"),
    ];

    fn job(more: &[(&str, &str)]) -> Result<Job> {
        Job::new(&BASE.iter().chain(more).copied().collect(), None)
    }

    #[test]
    fn every_mandatory_variable_is_missed_by_name() {
        for (missing, _) in BASE {
            let environment: Environment = BASE.iter().filter(|(name, _)| *name != missing).copied().collect();
            assert_eq!(demand(Demands::Script, &environment).unwrap_err().code(), 1, "{missing}");
            let means_nothing = matches!(missing, "PRIVILEGED_MOVER" | "RESTIC_CACHE_DIR");
            assert_eq!(demand(Demands::Needed, &environment).is_ok(), means_nothing, "{missing}");
        }
        demand(Demands::Script, &BASE.into_iter().collect()).unwrap();
    }

    #[test]
    fn the_environment_of_volsync_makes_a_job() {
        let made = job(&[
            ("FORGET_OPTIONS", " --keep-daily 7 --keep-within 3w"),
            ("RESTORE_AS_OF", "2024-03-01T12:00:00Z"),
            ("SELECT_PREVIOUS", "2"),
            ("RESTORE_OPTIONS", "--delete"),
            ("CUSTOM_CA", "/customCA/ca.crt"),
            ("RESTIC_PACK_SIZE", "32"),
            ("RCLONE_VOLVAULT_EXCLUDE", "*.tmp\n# caches\n/data/cache\n"),
            ("RCLONE_VOLVAULT_READ_RATE", "20M"),
        ])
        .unwrap();
        assert_eq!((made.host.as_str(), made.data.to_str()), ("volsync", Some("/data")));
        assert_eq!(made.location.to_string(), "s3:http://minio:9000/bucket/app");
        assert_eq!(made.store.ca_files, [PathBuf::from("/customCA/ca.crt")]);
        assert_eq!(made.limits.pack_size, ByteSize::mib(32));
        let policy = made.saving.policy.unwrap().to_string();
        assert_eq!(policy, "keep 7 daily snapshots and all snapshots within 3w of the newest");
        assert_eq!(made.saving.excludes, [b"*.tmp".to_vec(), b"/data/cache".to_vec()]);
        assert_eq!(made.saving.read_rate, Some(ByteSize::mib(20)));
        assert_eq!((made.restoring.previous, made.restoring.delete), (2, true));
        assert_eq!(made.restoring.as_of.unwrap().to_rfc3339(), "2024-03-01T12:00:00.999999999+00:00");
    }

    #[test]
    fn what_is_empty_counts_as_not_set() {
        let empty = ["FORGET_OPTIONS", "RESTORE_AS_OF", "SELECT_PREVIOUS", "RESTORE_OPTIONS", "RCLONE_VOLVAULT_STRICT"];
        let made = job(&empty.map(|name| (name, ""))).unwrap();
        assert_eq!((made.restoring, made.strict), (Restoring::default(), false));
        assert!(made.saving.policy.is_none());
    }

    #[test]
    fn a_source_of_a_shared_repository_is_named_or_known_by_its_pod() {
        let pod = ("HOSTNAME", "volsync-dst-app-q9d4z");
        assert_eq!(job(&[pod]).unwrap().host, "volsync");
        assert_eq!(job(&[pod, ("RCLONE_VOLVAULT_SHARED", "true")]).unwrap().host, "app");
        let named = ("RCLONE_VOLVAULT_SOURCE_ID", " team/app \n");
        assert_eq!(job(&[pod, named]).unwrap().host, "team/app");
    }

    #[test]
    fn a_pod_that_knows_its_namespace_says_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("namespace");
        let shared = [("HOSTNAME", "volsync-src-app-x7k2p"), ("RCLONE_VOLVAULT_SHARED", "true")];
        let named = |more: &[(&str, &str)]| host(&shared.iter().chain(more).copied().collect(), &file).unwrap();
        assert_eq!(named(&[]), ("app".to_owned(), true));
        for (content, host, is_ambiguous) in [("prod\n", "prod/app", false), ("", "app", true), ("../x", "app", true)] {
            crate::volume::durable::publish(&file, content.as_bytes(), crate::volume::durable::Publish::Replace)
                .unwrap();
            assert_eq!(named(&[]), (host.to_owned(), is_ambiguous), "{content:?}");
        }
        assert_eq!(named(&[("POD_NAMESPACE", "a")]).0, "a/app");
        assert_eq!(named(&[("POD_NAMESPACE", "a"), ("RCLONE_VOLVAULT_NAMESPACE", "b")]).0, "b/app");
    }

    #[test]
    fn what_makes_no_sense_is_refused_and_named() {
        for (name, value) in [
            ("FORGET_OPTIONS", "--prune"),
            ("RESTORE_AS_OF", "yesterday"),
            ("SELECT_PREVIOUS", "-1"),
            ("RESTORE_OPTIONS", "--include x"),
            ("RESTIC_REPOSITORY", "ftp:x"),
            ("RESTIC_COMPRESSION", "best"),
            ("RCLONE_VOLVAULT_STRICT", "perhaps"),
            ("RCLONE_VOLVAULT_READ_RATE", "fast"),
            ("RCLONE_VOLVAULT_SOURCE_ID", "a\u{7}"),
            ("RCLONE_VOLVAULT_STRIKT", "1"),
        ] {
            let error = job(&[(name, value)]).unwrap_err();
            assert!(error.chain().contains(name), "{name}={value}: {}", error.chain());
        }
        let error = job(&[("RESTIC_PASSWORD", "key32:hunter2")]).unwrap_err();
        assert!(!error.chain().contains("hunter2"), "{}", error.chain());
    }
}
