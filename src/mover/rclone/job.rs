//! What the environment asks a rclone mover for.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::runtime::Handle;

use super::super::failure::Failure;
use super::super::job::{self, EXCLUDE, Known, READ_RATE, STRICT};
use super::super::{Demands, identity};
use super::followed;
use crate::clock::SharedClock;
use crate::environment::{Environment, host_name};
use crate::error::{Attempt, Error, Result};
use crate::path::escape;
use crate::rclone_sync::filter::{Filter, FilterOptions, from_variables, number};
use crate::rclone_sync::rclone_conf::Remotes;
use crate::rclone_sync::{Includes, Means, bwlimit};
use crate::size::ByteSize;
use crate::storage::{Bandwidth, Location, StoreOptions};

const MOUNT_PATH: &str = "MOUNT_PATH";
const SECTION: &str = "RCLONE_CONFIG_SECTION";
const DEST_PATH: &str = "RCLONE_DEST_PATH";
const DIRECTION: &str = "DIRECTION";
/// Lets what is empty empty the other side, as the script does.
pub(super) const ALLOW_EMPTY: &str = "RCLONE_VOLVAULT_ALLOW_EMPTY";
/// A directory to remember in what was seen of mirrors.
pub(super) const STATE: &str = "RCLONE_VOLVAULT_STATE";

/// Ours, beside those that every mover knows.
pub(in super::super) const OURS: [&str; 2] = [ALLOW_EMPTY, STATE];

/// What VolSync's script wants to see, in its order, and what only a command of ours needs.
const DEMANDED: [&str; 5] = [DEST_PATH, DIRECTION, "PRIVILEGED_MOVER", MOUNT_PATH, SECTION];

/// What the script excludes at any depth.
const LOST_AND_FOUND: &str = "lost+found/**";

/// Files on their way at once, as the script has it.
const TRANSFERS: usize = 10;

/// What a run calls itself in the mirrors that it writes.
const PROGRAM: &str = concat!("volvault ", env!("CARGO_PKG_VERSION"));

/// Which way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    /// From the volume to the mirror.
    Source,
    /// From the mirror to the volume.
    Destination,
}

/// What is to be done with what.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "independent switches, as rclone has them")]
pub(super) struct Job {
    pub(super) direction: Direction,
    /// The volume.
    pub(super) data: PathBuf,
    /// What the mirror is called: section and path.
    pub(super) name: String,
    pub(super) location: Location,
    pub(super) store: StoreOptions,
    /// Sentences on variables and settings of the remote that are not followed.
    pub(super) ignored: Vec<String>,
    /// Whether nothing to push and nothing to pull are failures.
    pub(super) strict: bool,
    /// Whether an empty side may empty the other one.
    pub(super) allow_empty: bool,
    pub(super) filter: Arc<dyn Includes>,
    pub(super) checksum: bool,
    pub(super) size_only: bool,
    pub(super) update: bool,
    pub(super) ignore_existing: bool,
    pub(super) delete_excluded: bool,
    pub(super) dry_run: bool,
    pub(super) max_delete: Option<u64>,
    pub(super) transfers: usize,
    pub(super) checkers: Option<usize>,
    /// Bytes read from the volume per second at most.
    pub(super) read_rate: Option<ByteSize>,
    pub(super) means: Means,
    /// Where something may be remembered.
    pub(super) state: Option<PathBuf>,
}

/// Whether the variables are there that a job cannot do without.
pub(super) fn demand(demands: Demands, environment: &Environment) -> Result<(), Failure> {
    let missing = DEMANDED.iter().find(|name| {
        let needed = demands == Demands::Script || **name != "PRIVILEGED_MOVER";
        needed && environment.raw(name).is_none()
    });
    missing.map_or(Ok(()), |name| Err(Failure::new(1, format!("{name} must be defined"))))
}

impl Direction {
    pub(super) fn of(environment: &Environment) -> Result<Self, Failure> {
        match environment.text(DIRECTION)?.unwrap_or_default() {
            "source" => Ok(Self::Source),
            "destination" => Ok(Self::Destination),
            other => Err(Failure::new(1, format!("unknown value for {DIRECTION}: {other}"))
                .with_hint("it is source or destination")),
        }
    }
}

impl Job {
    /// Reads everything, so that what is wrong shows before anything is done.
    pub(super) fn new(
        direction: Direction,
        (environment, volume): (&Environment, Option<&Path>),
        (clock, runtime): (&SharedClock, &Handle),
    ) -> Result<Self> {
        job::refuse_unknown(environment, Known::Rclone)?;
        let text = |name: &str| Ok::<_, Error>(environment.text(name)?.unwrap_or_default().trim());
        let switch = |name: &str| environment.switch_named(name);
        let number_of = |name: &str| environment.text(name)?.map(|text| number::<i64>(text, name)).transpose();
        let count = |name: &str| -> Result<Option<usize>> {
            let count = number_of(name)?.map(usize::try_from).transpose().ok().flatten().filter(|count| *count > 0);
            Ok(count)
        };
        let name = format!("{}:{}", text(SECTION)?, text(DEST_PATH)?);
        let mut ignored = followed::check(&environment.for_store())?;
        let (location, store, of_remote) = place(environment, &name, (clock, runtime))?;
        ignored.extend(of_remote);
        let named = || PathBuf::from(environment.raw(MOUNT_PATH).cloned().unwrap_or_default());
        let data = volume.map_or_else(named, Path::to_owned);
        let (checksum, size_only) = (switch("RCLONE_CHECKSUM")?, switch("RCLONE_SIZE_ONLY")?);
        let means = means(environment, &location, clock)?;
        Ok(Self {
            direction,
            data: std::path::absolute(data).attempt(|| format!("find the directory that {MOUNT_PATH} names"))?,
            name,
            location,
            store,
            ignored,
            strict: switch(STRICT)?,
            allow_empty: switch(ALLOW_EMPTY)?,
            filter: filter(environment, clock)?,
            checksum,
            size_only: size_only && !checksum,
            update: switch("RCLONE_UPDATE")?,
            ignore_existing: switch("RCLONE_IGNORE_EXISTING")?,
            delete_excluded: switch("RCLONE_DELETE_EXCLUDED")?,
            dry_run: switch("RCLONE_DRY_RUN")?,
            // As with rclone: -1 is no limit.
            max_delete: number_of("RCLONE_MAX_DELETE")?.and_then(|count| u64::try_from(count).ok()),
            transfers: count("RCLONE_TRANSFERS")?.unwrap_or(TRANSFERS),
            checkers: count("RCLONE_CHECKERS")?,
            read_rate: job::parsed(environment, READ_RATE)?,
            means,
            state: environment.raw(STATE).map(PathBuf::from),
        })
    }
}

/// The place that section and path mean, and how it is reached.
fn place(
    environment: &Environment,
    name: &str,
    (clock, runtime): (&SharedClock, &Handle),
) -> Result<(Location, StoreOptions, Vec<String>)> {
    let path = environment.raw("RCLONE_CONFIG").map(PathBuf::from);
    let config = match &path {
        None => Vec::new(),
        Some(path) => std::fs::read(path)
            .attempt(|| format!("read the rclone configuration {}", escape(path.as_os_str().as_encoded_bytes())))?,
    };
    let mut store = job::store(environment)?;
    let list = environment.text("RCLONE_CA_CERT")?.into_iter().flat_map(|list| list.split(','));
    store.ca_files.extend(list.map(PathBuf::from));
    store.bandwidth = bandwidth(environment, (clock, runtime))?;
    let remotes = Remotes::read(&config, &environment.for_store())?;
    let Some(remote) = remotes.resolve(name, &store)? else {
        let section = name.split(':').next().unwrap_or_default();
        return Err(Error::invalid(format!("didn't find section {section:?} in the rclone configuration"))
            .with_hint(format!("{SECTION} names a section of the file rclone.conf in the Secret")));
    };
    Ok((remote.location, remote.options, remote.ignored))
}

/// rclone's limit on what is sent and received.
fn bandwidth(environment: &Environment, (clock, runtime): (&SharedClock, &Handle)) -> Result<Option<Bandwidth>> {
    let text = environment.text("RCLONE_BWLIMIT")?;
    text.map(|text| bwlimit::follow(text, clock.clone(), runtime)).transpose()
}

fn filter(environment: &Environment, clock: &SharedClock) -> Result<Arc<dyn Includes>> {
    let rules = from_variables(environment, clock.now())?;
    let ours = environment.text(EXCLUDE)?.unwrap_or_default().lines().map(str::trim);
    let ours = ours.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned);
    let names = [&rules.files_from, &rules.files_from_raw, &rules.files_from0];
    let excludes: Vec<String> = if names.iter().all(|names| names.is_empty()) {
        [LOST_AND_FOUND.to_owned()].into_iter().chain(ours).chain(rules.exclude).collect()
    } else {
        rules.exclude.into_iter().chain(ours).collect()
    };
    let filter = Filter::new(FilterOptions { exclude: excludes, ..rules });
    filter.attempt(|| format!("read {EXCLUDE} and the rules of rclone")).map(|filter| Arc::new(filter) as _)
}

/// Pods of one resource are one pusher: none of them remembers anything that another one could make untrue.
fn means(environment: &Environment, location: &Location, clock: &SharedClock) -> Result<Means> {
    let pod = environment.text("HOSTNAME")?.map_or_else(host_name, str::to_owned);
    let text = format!("volvault mover\n{}\n{location}", identity::of_pod(&pod));
    Ok(Means {
        clock: clock.clone(),
        host: pod,
        program: PROGRAM.to_owned(),
        id: blake3::hash(text.as_bytes()).to_hex().chars().take(32).collect(),
        scratch: environment.raw("TMPDIR").map_or_else(|| PathBuf::from("/tmp"), PathBuf::from),
    })
}
