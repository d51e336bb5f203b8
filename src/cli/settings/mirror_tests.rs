//! What counts: the option, else rclone's variable.

use clap::Parser;

use super::*;
use crate::cli::args::{Cli, Command, MirrorCommand};

fn settings(line: &str, environment: &[(&str, &str)]) -> Result<TransferSettings> {
    let words = ["volvault", "mirror", "pull", "/from", "/to"].into_iter().chain(line.split_whitespace());
    let cli = Cli::try_parse_from(words).unwrap();
    let Command::Mirror(mirror) = cli.command else { panic!("mirror") };
    let MirrorCommand::Pull(args) = mirror.command else { panic!("pull") };
    TransferSettings::new(&args.transfer, &environment.iter().copied().collect())
}

#[test]
fn an_option_comes_before_rclones_variable() {
    let made = settings("", &[]).unwrap();
    assert!(!made.checksum && !made.size_only && !made.dry_run && made.transfers.is_none() && made.bwlimit.is_none());
    let variables =
        [("RCLONE_CHECKSUM", "1"), ("RCLONE_TRANSFERS", "10"), ("RCLONE_BWLIMIT", "10M"), ("RCLONE_DRY_RUN", "false")];
    let made = settings("", &variables).unwrap();
    assert!(made.checksum && !made.dry_run);
    assert_eq!((made.transfers, made.bwlimit.as_deref()), (Some(10), Some("10M")));
    let made = settings("--transfers 3 --bwlimit 1M:off --size-only", &variables).unwrap();
    assert_eq!((made.transfers, made.bwlimit.as_deref()), (Some(3), Some("1M:off")));
    assert!(made.size_only && !made.checksum, "the option, although the variable says otherwise");
    for wrong in [("RCLONE_CHECKSUM", "yes"), ("RCLONE_TRANSFERS", "many"), ("RCLONE_CHECKERS", "0")] {
        let error = settings("", &[wrong]).unwrap_err();
        assert!(error.chain().contains(wrong.0), "{error:?}");
    }
    assert!(settings("--transfers 0", &[]).is_err());
}

#[test]
fn a_limit_for_deletions_may_be_none_at_all() {
    assert_eq!(settings("", &[]).unwrap().max_delete, None);
    assert_eq!(settings("--max-delete 0", &[("RCLONE_MAX_DELETE", "7")]).unwrap().max_delete, Some(0));
    assert_eq!(settings("", &[("RCLONE_MAX_DELETE", "7")]).unwrap().max_delete, Some(7));
    assert_eq!(settings("--max-delete -1", &[("RCLONE_MAX_DELETE", "7")]).unwrap().max_delete, None);
}

#[test]
fn rules_come_from_options_or_from_lists_with_commas() {
    let variables = [("RCLONE_EXCLUDE", "*.tmp,\"a,b\",\"say \"\"x\"\"\""), ("RCLONE_FILTER_FROM", "/rules")];
    let made = settings("", &variables).unwrap().files;
    assert_eq!(made.exclude, ["*.tmp", "a,b", "say \"x\""]);
    assert_eq!(made.filter_from, [PathBuf::from("/rules")]);
    let made = settings("--exclude *.log --filter -x --max-size 1M --min-age 2d", &variables).unwrap().files;
    assert_eq!((made.exclude.as_slice(), made.filter.as_slice()), (&["*.log".to_owned()][..], &["-x".to_owned()][..]));
    assert!(made.max_size == Some(ByteSize::mib(1)) && made.min_age.as_deref() == Some("2d"));
    assert!(settings("", &[("RCLONE_EXCLUDE", "\"open")]).is_err());
    assert!(settings("", &[("RCLONE_MIN_SIZE", "large")]).unwrap_err().chain().contains("RCLONE_MIN_SIZE"));
}

#[test]
fn times_are_read_as_rclone_reads_them() {
    for (text, millis) in
        [("0", 0), ("off", 0), ("500ms", 500), ("90", 90_000), ("1h30m", 5_400_000), (" 2d ", 172_800_000)]
    {
        assert_eq!(duration(text, "--stats").unwrap(), Duration::from_millis(millis), "{text}");
    }
    for wrong in ["", "x", "1x", "-1s"] {
        assert!(duration(wrong, "--stats").unwrap_err().chain().contains("--stats"), "{wrong}");
    }
    assert_eq!(settings("", &[]).unwrap().stats_interval, Some(Duration::from_mins(1)));
    assert_eq!(settings("--stats 0", &[("RCLONE_STATS", "5s")]).unwrap().stats_interval, None);
    assert_eq!(settings("", &[("RCLONE_STATS", "5s")]).unwrap().stats_interval, Some(Duration::from_secs(5)));
}

#[test]
fn the_state_lies_where_the_system_keeps_such_things() {
    let state = |line: &str, environment: &[(&str, &str)]| settings(line, environment).unwrap().remote.state;
    let path = |text: &str| Some(PathBuf::from(text));
    assert_eq!(state("", &[]), None);
    assert_eq!(state("", &[("HOME", "/home/nobody")]), path("/home/nobody/.local/state/volvault/mirror"));
    assert_eq!(state("", &[("HOME", "/h"), ("XDG_STATE_HOME", "/s")]), path("/s/volvault/mirror"));
    assert_eq!(state("", &[("HOME", "/h"), ("XDG_STATE_HOME", "relative")]), path("/h/.local/state/volvault/mirror"));
    assert_eq!(state("--state-dir y", &[("HOME", "/h")]), path("y"));
}
