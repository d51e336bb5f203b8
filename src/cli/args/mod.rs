//! The words of the command line, exactly as they are typed. What they mean is decided in `settings`.
//!
//! Option names, short forms and placeholders are restic's, so that scripts go on working. Nothing here reads the environment
//! or a file, and no option takes a secret.

mod backup;
mod copy;
mod forget;
mod global;
mod listen;
mod look;
mod mirror;
mod mover;
mod prune;
mod repair;
mod restore;
mod schedule;
mod upkeep;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use backup::BackupArgs;
pub use copy::CopyArgs;
pub use forget::ForgetArgs;
pub use global::GlobalArgs;
pub use listen::ListenArgs;
pub use look::{FilterArgs, LsArgs, SnapshotsArgs};
pub use mirror::{
    AcceptedArgs, AdoptArgs, GenerationsArgs, MirrorArgs, MirrorCommand, MirrorDiffArgs, MirrorFilterArgs,
    MirrorLsArgs, PullArgs, PushArgs, RemoteArgs, StatusArgs, TransferArgs, VerifyArgs,
};
pub use mover::{MoverArgs, MoverKind};
pub use prune::{PruneArgs, PruneOptionArgs};
pub use repair::{ApplyArgs, RepairArgs, RepairCommand};
pub use restore::{OverwriteArg, RestoreArgs};
pub use schedule::{DocumentArgs, RunArgs, ValidateArgs};
pub use upkeep::{CacheArgs, CountArg, StatsArgs, TagArgs, UnlockArgs};

/// The text below the help of the whole command.
const AFTER_HELP: &str = "\
Exit status: 0 success; 1 failure; 3 backup: some files could not be read, the snapshot was made without them; forget: some snapshots were not removed; \
10 there is no repository; 12 wrong password or key; 13 the repository shows an older state than was seen before; 130 interrupted. `mirror` has rclone's, see there.

Every option NAME that restic reads from RESTIC_NAME is also read from VOLVAULT_NAME; options come first, then VOLVAULT_*, \
then RESTIC_*. Without -r a repository below $XDG_DATA_HOME/volvault is used and, for init and backup, made.";

/// The whole command line.
#[derive(Debug, Parser)]
#[command(
    name = "volvault",
    bin_name = "volvault",
    version,
    about = "Back up volumes to object storage and get them back: deduplicating, encrypted, without locks",
    after_help = AFTER_HELP,
    max_term_width = 120,
    propagate_version = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub struct Cli {
    /// Options that every command takes.
    #[command(flatten)]
    pub global: GlobalArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Make a new repository
    Init(InitArgs),
    /// Save files and directories in a new snapshot
    Backup(Box<BackupArgs>),
    /// List snapshots
    Snapshots(SnapshotsArgs),
    /// List the files of a snapshot
    Ls(LsArgs),
    /// Bring the files of a snapshot back to disk
    Restore(Box<RestoreArgs>),
    /// Remove snapshots: by a policy that says what to keep, or by id
    Forget(Box<ForgetArgs>),
    /// Remove the data that no snapshot needs any more, while others go on working
    Prune(PruneArgs),
    /// Check that the repository is whole, with --read-data all its data
    Check(CheckArgs),
    /// Mend a damaged repository: from another copy of it, or from what is left
    Repair(RepairArgs),
    /// Copy snapshots from another repository into this one
    Copy(Box<CopyArgs>),
    /// Change the tags of snapshots
    Tag(TagArgs),
    /// Count what snapshots hold
    Stats(StatsArgs),
    /// Manage the passwords and keys that open the repository
    Key(KeyArgs),
    /// Print an internal record of the repository as JSON
    Cat(CatArgs),
    /// Look at the place where a repository lies, or is to lie
    Repo(RepoArgs),
    /// Publish a directory as plain files in many stores, and pull it to many machines
    Mirror(Box<MirrorArgs>),
    /// Do one unattended job that the environment describes, as in a pod of Kubernetes
    Mover(MoverArgs),
    /// Run VolSync's documents without a cluster: by the clock, by hand and when files change
    Run(Box<RunArgs>),
    /// Check VolSync's documents, and reach the repositories that they name
    Validate(ValidateArgs),
    /// Accepted for restic's sake: there are no locks
    Unlock(UnlockArgs),
    /// Accepted for restic's sake: there is no cache
    Cache(CacheArgs),
    /// Print the version
    Version,
}

/// Options of `repo`.
#[derive(Debug, Args)]
pub struct RepoArgs {
    /// What to do with the place.
    #[command(subcommand)]
    pub command: RepoCommand,
}

/// What to do with the place of a repository.
#[derive(Debug, Subcommand)]
pub enum RepoCommand {
    /// Show what the store can do by trying it: about 300 small requests, of which nothing stays
    Probe(ProbeArgs),
    /// Accept the state that the repository shows, although snapshots are gone that were seen from here and that nobody forgot
    Accept,
}

/// Options of `repo probe`.
#[derive(Debug, Args)]
pub struct ProbeArgs {
    /// Show what was found last from this machine, without a request
    #[arg(long)]
    pub last: bool,
}

/// Options of `init`.
#[derive(Debug, Args)]
pub struct InitArgs {
    /// Average size of chunks in KiB: a power of two from 4 to 1024. Smaller finds more duplicates, and costs more index
    #[arg(long, value_name = "KIB", help_heading = "Repository")]
    pub chunk_size: Option<u32>,
}

/// Options of `check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Read and verify all data
    #[arg(long, conflicts_with = "read_data_subset")]
    pub read_data: bool,
    /// Read and verify a part: n/t (the n-th of t parts, t up to 256), a percentage like 2.5%, or a size like 10G
    #[arg(long, value_name = "SUBSET")]
    pub read_data_subset: Option<String>,
    /// Read and verify so much that runs like this one, however often, read everything once in this time, such as 30d
    #[arg(long, value_name = "DURATION", conflicts_with_all = ["read_data", "read_data_subset"])]
    pub read_data_budget: Option<String>,
    /// Accepted for restic's sake; there is no cache
    #[arg(long, hide = true)]
    pub with_cache: bool,
}

/// Options of `key`.
#[derive(Debug, Args)]
pub struct KeyArgs {
    /// What to do with keys.
    #[command(subcommand)]
    pub command: KeyCommand,
}

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub enum KeyCommand {
    /// Add a password or key
    Add(NewKeyArgs),
    /// List the passwords and keys
    List,
    /// Remove a password or key; not the one in use
    Remove {
        /// Its id, or the first digits of it
        id: String,
    },
    /// Change the password or key in use
    Passwd(NewKeyArgs),
}

/// The password or key that is to open the repository.
#[derive(Debug, Args)]
pub struct NewKeyArgs {
    /// Read the new password from the first line of this file
    #[arg(long, value_name = "FILE", conflicts_with = "new_key_file")]
    pub new_password_file: Option<PathBuf>,
    /// Read a new 32-byte key from this file; it opens the repository without a password hash
    #[arg(long, value_name = "FILE")]
    pub new_key_file: Option<PathBuf>,
    /// Name to show in the list of keys
    #[arg(long, value_name = "TEXT")]
    pub label: Option<String>,
    /// User to show in the list of keys
    #[arg(long, value_name = "NAME", hide = true)]
    pub user: Option<String>,
    /// Host to show in the list of keys
    #[arg(long, value_name = "NAME", hide = true)]
    pub host: Option<String>,
}

/// Options of `cat`.
#[derive(Debug, Args)]
pub struct CatArgs {
    /// Which record; none of them holds a secret
    #[command(subcommand)]
    pub what: CatWhat,
}

/// A record that `cat` prints.
#[derive(Debug, Subcommand)]
pub enum CatWhat {
    /// The repository's configuration
    Config,
    /// A snapshot
    Snapshot {
        /// Its id, the first digits of it, or `latest`
        id: String,
    },
    /// A key slot: who made it and what its password hash costs
    Key {
        /// Its id, or the first digits of it
        id: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    fn parse(words: &[&str]) -> Result<Cli, clap::Error> {
        Cli::try_parse_from(std::iter::once("volvault").chain(words.iter().copied()))
    }

    #[test]
    fn the_definition_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_commands_are_these() {
        let names: Vec<_> = Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect();
        assert_eq!(
            names,
            [
                "init",
                "backup",
                "snapshots",
                "ls",
                "restore",
                "forget",
                "prune",
                "check",
                "repair",
                "copy",
                "tag",
                "stats",
                "key",
                "cat",
                "repo",
                "mirror",
                "mover",
                "run",
                "validate",
                "unlock",
                "cache",
                "version"
            ]
        );
        let help = Cli::command().render_help().to_string();
        let from = help.find("Commands:").unwrap();
        let list: Vec<&str> = help[from..].lines().skip(1).take_while(|line| !line.is_empty()).collect();
        assert_eq!(
            list,
            [
                "  init       Make a new repository",
                "  backup     Save files and directories in a new snapshot",
                "  snapshots  List snapshots",
                "  ls         List the files of a snapshot",
                "  restore    Bring the files of a snapshot back to disk",
                "  forget     Remove snapshots: by a policy that says what to keep, or by id",
                "  prune      Remove the data that no snapshot needs any more, while others go on working",
                "  check      Check that the repository is whole, with --read-data all its data",
                "  repair     Mend a damaged repository: from another copy of it, or from what is left",
                "  copy       Copy snapshots from another repository into this one",
                "  tag        Change the tags of snapshots",
                "  stats      Count what snapshots hold",
                "  key        Manage the passwords and keys that open the repository",
                "  cat        Print an internal record of the repository as JSON",
                "  repo       Look at the place where a repository lies, or is to lie",
                "  mirror     Publish a directory as plain files in many stores, and pull it to many machines",
                "  mover      Do one unattended job that the environment describes, as in a pod of Kubernetes",
                "  run        Run VolSync's documents without a cluster: by the clock, by hand and when files change",
                "  validate   Check VolSync's documents, and reach the repositories that they name",
                "  unlock     Accepted for restic's sake: there are no locks",
                "  cache      Accepted for restic's sake: there is no cache",
                "  version    Print the version",
                "  help       Print this message or the help of the given subcommand(s)",
            ]
        );
    }

    #[test]
    fn the_lines_of_wrappers_and_of_restics_manual_are_understood() {
        for line in [
            "cat config",
            "-r /srv/repo --json snapshots",
            "snapshots --json -r s3:http://minio:9000/bucket --latest 1 --group-by host,paths --tag a,b --path /data",
            "backup --host volsync --exclude=lost+found .",
            "backup -e *.o --iexclude x --exclude-file f -x --exclude-larger-than 10M --exclude-caches --exclude-if-present .nobackup:head /home",
            "backup --stdin-from-command --stdin-filename db.sql -- pg_dump --all",
            "backup --stdin --stdin-filename a --tag x --time 2024-01-02T03:04:05Z -f -n -vv",
            "backup --files-from a --files-from-verbatim b --files-from-raw - --parent 12ab --skip-if-unchanged --read-concurrency 4",
            "restore 12ab -t . --host volsync --include-xattr user.* --delete",
            "restore latest:/srv/data --target /mnt -i a --iinclude b --overwrite if-newer --sparse --verify",
            "restore latest --as-of 2024-01-02T03:04:05Z --previous 2 -t /mnt",
            "forget --host volsync --keep-hourly 1 --keep-daily 2 --keep-within 3w15h --keep-last unlimited",
            "forget -l 1 -H 2 -d 3 -w 4 -m 5 -y 6 -c -g host,tags -n --keep-tag a,b --tag c --path /data",
            "forget 12ab latest --dry-run",
            "forget --keep-last 1 --prune --max-unused 10% --max-repack-size 5G",
            "prune --max-unused 10% --max-repack-size 10G --repack-cacheable-only --repack-uncompressed --repack-small -n",
            "prune --max-time 1h --wait 0s --stale-after 2d --force --json",
            "check --read-data-subset=2.5%",
            "check --read-data-budget 30d",
            "repair index --read-all-packs",
            "repair packs 12ab 34cd --apply",
            "repair --from /copy --apply",
            "tag --set a,b --tag c 12ab",
            "tag --add a --remove b --host h",
            "stats --mode raw-data latest",
            "copy --from-repo /old --from-password-file f --host h latest",
            "unlock --remove-all",
            "cache --cleanup --max-age 3",
            "repair snapshots 12ab --host h --forget -n",
            "key add --new-password-file f",
            "key remove 12ab",
            "ls latest /etc --recursive -l",
            "--no-lock --retry-lock 5m --no-cache --cache-dir /cache --cacert ca.pem --insecure-tls -o s3.region=x cat config",
            "--limit-upload 100 --limit-download 200 --pack-size 32 --compression max --no-extra-verify --key-hint x -p f init",
            "mirror push /data s3:http://minio:9000/b/p remote:b/p /mnt/nas --checksum --max-delete 10 --transfers 10 -n",
            "mirror push /data d --quorum 1 -x --filter -*.tmp -f +*.c --exclude-from f --bwlimit 10M:off --stats 1m -v",
            "mirror push --facl --relist --links -M --create-empty-src-dirs --fast-list --retries 5 /data d",
            "mirror pull s3://b/p /data --generation 7 --backup-dir /old --stats=10s --wait 2m --state-dir s --config c",
            "mirror pull s3://b/p /data --trust-target --strict --allow-empty --max-delete -1 -u -c --delete-excluded",
            "mirror status a b --json",
            "mirror verify a --read",
            "mirror ls a dir --generation 3 -l",
            "mirror diff a /data --include *.c",
            "mirror diff a --from 3 --to 4",
            "mirror generations a",
            "backup --stats site",
            "run -f a.yaml -f - --volume data=/srv --secret r=env:APP_ --jitter 10m --time-zone UTC --state-dir s --jobs 4 --rest 1m",
            "validate --file a.yaml --volume team/data=/srv --offline --json",
            "version --json",
            "-r /srv/repo repo accept",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(parse(&words).is_ok(), "{line}: {}", parse(&words).err().unwrap());
        }
    }

    #[test]
    fn contradictions_are_refused() {
        for line in [
            "check --read-data --read-data-subset 1/2",
            "restore latest -t x -i a -e b",
            "restore latest -t x --dry-run --verify",
            "restore latest -t x --include-xattr a --exclude-xattr b",
            "backup --stdin --files-from x",
            "backup --stdin --stdin-from-command x",
            "-r a --repository-file b init",
            "-p a --key-file b init",
            "key add --new-password-file f --new-key-file g",
            "repair index --apply --dry-run",
            "repair --from x index",
            "tag --set a --add b",
            "backup --frobnicate x",
            "backup --stats=1m x",
            "mirror push /data",
            "run",
            "validate",
            "run -f a --jobs 0",
            "mirror pull a b --checksum --size-only",
            "mirror diff a /data --from 3",
        ] {
            let words: Vec<&str> = line.split(' ').collect();
            assert!(parse(&words).is_err(), "{line}");
        }
    }
}
