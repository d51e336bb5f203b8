//! Which snapshots `forget` removes.

use crate::cli::args::ForgetArgs;
use crate::environment::Environment;
use crate::error::Result;
use crate::maintenance::ForgetOptions;
use crate::retention::Policy;

use super::filter;

/// What `forget` does by policy.
///
/// # Errors
/// `Invalid` for a count, duration or group that makes no sense, and without a policy.
pub(crate) fn forget_options(args: &ForgetArgs, environment: &Environment) -> Result<ForgetOptions> {
    let options = ForgetOptions {
        policy: policy(args)?,
        grouping: args.group_by.parse()?,
        filter: filter(&args.filter(), environment)?,
        allow_remove_all: args.unsafe_allow_remove_all,
    };
    options.check()?;
    Ok(options)
}

fn policy(args: &ForgetArgs) -> Result<Policy> {
    let rules = [
        ("--keep-last", &args.keep_last),
        ("--keep-hourly", &args.keep_hourly),
        ("--keep-daily", &args.keep_daily),
        ("--keep-weekly", &args.keep_weekly),
        ("--keep-monthly", &args.keep_monthly),
        ("--keep-yearly", &args.keep_yearly),
        ("--keep-within", &args.keep_within),
        ("--keep-within-hourly", &args.keep_within_hourly),
        ("--keep-within-daily", &args.keep_within_daily),
        ("--keep-within-weekly", &args.keep_within_weekly),
        ("--keep-within-monthly", &args.keep_within_monthly),
        ("--keep-within-yearly", &args.keep_within_yearly),
    ];
    let given = rules.into_iter().filter_map(|(option, value)| Some((option, value.as_deref()?)));
    let mut policy = Policy::default();
    for (option, value) in given.chain(args.keep_tag.iter().map(|tags| ("--keep-tag", tags.as_str()))) {
        policy.set(option, value)?;
    }
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::args::{Cli, Command};
    use crate::retention::Grouping;
    use clap::Parser;

    fn options(line: &str) -> Result<ForgetOptions> {
        let words = ["volvault", "forget"].into_iter().chain(line.split(' ').filter(|word| !word.is_empty()));
        let Command::Forget(args) = Cli::try_parse_from(words).unwrap().command else { panic!("forget") };
        forget_options(&args, &std::iter::empty::<(&str, &str)>().collect())
    }

    #[test]
    fn a_policy_is_made_of_restics_and_volsyncs_options() {
        let line = "-l 1 -H 2 -d 3 -w 4 -m 5 -y unlimited --keep-within 3w15h --keep-within-daily 1y5m --keep-tag a,b --keep-tag c";
        let made = options(line).unwrap();
        assert_eq!(
            made.policy.to_string(),
            "keep 1 latest, 2 hourly, 3 daily, 4 weekly, 5 monthly, all yearly snapshots, daily snapshots within 1y5m \
             and all snapshots with tags [[a, b] [c]] and all snapshots within 3w15h of the newest"
        );
        assert_eq!(made.grouping, Grouping::BY_SOURCE);
        assert!(made.filter.is_empty());
        let made = options("--keep-last 1 --host volsync --path /data --tag x -g tags").unwrap();
        assert_eq!((made.filter.hosts.len(), made.filter.paths.len(), made.filter.tags.len()), (1, 1, 1));
        assert_eq!(made.grouping, Grouping { tags: true, ..Grouping::default() });
    }

    #[test]
    fn what_keeps_nothing_or_makes_no_sense_is_refused() {
        for line in ["", "-l 0", "--keep-within 0d", "--host h", "--unsafe-allow-remove-all"] {
            assert!(options(line).is_err(), "{line}");
        }
        for line in ["-l -1", "-l x", "--keep-within -1d", "--keep-within 1", "-l 1 -g user", "-l 1 --path data"] {
            assert!(options(line).is_err(), "{line}");
        }
        assert!(options("--unsafe-allow-remove-all --host h").unwrap().policy.is_empty());
    }
}
