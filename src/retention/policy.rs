//! What is to be kept.

use std::fmt;
use std::str::FromStr;

use crate::error::Error;

use super::span::Span;

/// How many snapshots of a kind are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// At most so many; 0 for no rule.
    UpTo(u64),
    /// All.
    Unlimited,
}

impl Default for Count {
    fn default() -> Self {
        Self::UpTo(0)
    }
}

impl FromStr for Count {
    type Err = Error;

    /// A number or `unlimited`.
    fn from_str(text: &str) -> Result<Self, Error> {
        if text == "unlimited" {
            return Ok(Self::Unlimited);
        }
        text.parse().map(Self::UpTo).map_err(|_| {
            Error::invalid(format!("{text:?} is not a number of snapshots"))
                .with_hint("give a number from 0, or `unlimited`")
        })
    }
}

/// What is to be kept of each group. Every rule is applied by itself; a snapshot stays if one of them keeps it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// The newest ones.
    pub last: Count,
    /// The newest of each of the newest hours that have one.
    pub hourly: Count,
    /// The same for days.
    pub daily: Count,
    /// The same for ISO weeks.
    pub weekly: Count,
    /// The same for months.
    pub monthly: Count,
    /// The same for years.
    pub yearly: Count,
    /// All that are newer than this before the latest.
    pub within: Span,
    /// Of these the newest of each hour.
    pub within_hourly: Span,
    /// The same for days.
    pub within_daily: Span,
    /// The same for ISO weeks.
    pub within_weekly: Span,
    /// The same for months.
    pub within_monthly: Span,
    /// The same for years.
    pub within_yearly: Span,
    /// All that have all tags of one of these lists.
    pub tags: Vec<Vec<String>>,
}

impl Policy {
    /// Sets the rule that the option `option` of `forget` makes. Whether there is such an option.
    ///
    /// # Errors
    /// `Invalid` for a value that makes no sense.
    pub fn set(&mut self, option: &str, value: &str) -> Result<bool, Error> {
        match option {
            "--keep-last" => self.last = rule(option, value)?,
            "--keep-hourly" => self.hourly = rule(option, value)?,
            "--keep-daily" => self.daily = rule(option, value)?,
            "--keep-weekly" => self.weekly = rule(option, value)?,
            "--keep-monthly" => self.monthly = rule(option, value)?,
            "--keep-yearly" => self.yearly = rule(option, value)?,
            "--keep-within" => self.within = rule(option, value)?,
            "--keep-within-hourly" => self.within_hourly = rule(option, value)?,
            "--keep-within-daily" => self.within_daily = rule(option, value)?,
            "--keep-within-weekly" => self.within_weekly = rule(option, value)?,
            "--keep-within-monthly" => self.within_monthly = rule(option, value)?,
            "--keep-within-yearly" => self.within_yearly = rule(option, value)?,
            "--keep-tag" => self.tags.push(value.split(',').map(|tag| tag.trim().to_owned()).collect()),
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// The policy of a line of options with white space between them, as VolSync writes it: `--keep-daily 7 --keep-within=3w`.
    ///
    /// # Errors
    /// `Invalid` for other options, for a missing value, and for a value that makes no sense.
    pub fn from_options(line: &str) -> Result<Self, Error> {
        let mut policy = Self::default();
        let mut words = line.split_whitespace();
        while let Some(word) = words.next() {
            let (option, value) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (word, words.next()),
            };
            let value = value.ok_or_else(|| Error::invalid(format!("option {option} has no value")))?;
            if !policy.set(option, value)? {
                return Err(Error::invalid(format!("option {option} does not say what to keep")).with_hint(
                    "the options are --keep-last N, --keep-daily N, --keep-within 1y5m7d2h and their like",
                ));
            }
        }
        Ok(policy)
    }

    /// Whether it has no rule at all, and so would keep nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

fn rule<T: FromStr<Err = Error>>(option: &str, value: &str) -> Result<T, Error> {
    value.parse().map_err(|error: Error| error.within(format!("option {option}")))
}

/// `[a, b]`, as restic prints a list of tags.
pub(super) fn tag_list(tags: &[String]) -> String {
    format!("[{}]", tags.join(", "))
}

impl fmt::Display for Policy {
    /// In restic's words: `keep 3 latest, 7 daily snapshots and all snapshots within 1m of the newest`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counted = [
            (self.last, "latest"),
            (self.hourly, "hourly"),
            (self.daily, "daily"),
            (self.weekly, "weekly"),
            (self.monthly, "monthly"),
            (self.yearly, "yearly"),
        ];
        let counts: Vec<String> = counted
            .iter()
            .filter_map(|(count, kind)| match count {
                Count::UpTo(0) => None,
                Count::UpTo(count) => Some(format!("{count} {kind}")),
                Count::Unlimited => Some(format!("all {kind}")),
            })
            .collect();
        let windows = [
            (self.within_hourly, "hourly"),
            (self.within_daily, "daily"),
            (self.within_weekly, "weekly"),
            (self.within_monthly, "monthly"),
            (self.within_yearly, "yearly"),
        ];
        let windows = windows.iter().filter(|(span, _)| !span.is_zero());
        let mut rules: Vec<String> = windows.map(|(span, kind)| format!("{kind} snapshots within {span}")).collect();
        if !counts.is_empty() {
            rules.insert(0, format!("{} snapshots", counts.join(", ")));
        }
        let mut parts = Vec::new();
        if !rules.is_empty() {
            parts.push(rules.join(", "));
        }
        if !self.tags.is_empty() {
            let lists: Vec<String> = self.tags.iter().map(|list| tag_list(list)).collect();
            parts.push(format!("all snapshots with tags [{}]", lists.join(" ")));
        }
        if !self.within.is_zero() {
            parts.push(format!("all snapshots within {} of the newest", self.within));
        }
        if parts.is_empty() { f.write_str("remove") } else { write!(f, "keep {}", parts.join(" and ")) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_a_number_or_unlimited() {
        assert_eq!("7".parse::<Count>().unwrap(), Count::UpTo(7));
        assert_eq!("unlimited".parse::<Count>().unwrap(), Count::Unlimited);
        for text in ["-1", "", "x", "1.5", "Unlimited"] {
            assert!(text.parse::<Count>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_policy_is_read_from_the_options_that_volsync_writes() {
        let line = " --keep-hourly 3 --keep-daily 2 --keep-weekly 4 --keep-monthly 1 --keep-yearly 5 --keep-within 3w15h --keep-last 6";
        let policy = Policy::from_options(line).unwrap();
        let shown = "keep 6 latest, 3 hourly, 2 daily, 4 weekly, 1 monthly, 5 yearly snapshots and all snapshots within 3w15h of the newest";
        assert_eq!(policy.to_string(), shown);
        assert_eq!(Policy::from_options("  --keep-last=1\n").unwrap().to_string(), "keep 1 latest snapshots");
        assert!(Policy::from_options("").unwrap().is_empty());
        for wrong in
            ["--keep-last", "--keep-last x", "--prune", "--keep-last 1 --group-by host", "7", "--keep-within 7"]
        {
            assert!(Policy::from_options(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_policy_reads_as_restic_writes_it() {
        let span = |text: &str| text.parse::<Span>().unwrap();
        let tags = |list: &[&str]| list.iter().map(|&tag| tag.to_owned()).collect::<Vec<_>>();
        let mut policy = Policy::default();
        assert!(policy.is_empty());
        assert_eq!(policy.to_string(), "remove");
        policy.within = span("1y");
        assert_eq!(policy.to_string(), "keep all snapshots within 1y of the newest");
        policy.within_daily = span("7d");
        policy.tags = vec![tags(&["x", "y"]), tags(&["z"])];
        assert_eq!(
            policy.to_string(),
            "keep daily snapshots within 7d and all snapshots with tags [[x, y] [z]] and all snapshots within 1y of the newest"
        );
        policy =
            Policy { last: Count::UpTo(3), weekly: Count::Unlimited, within_yearly: span("9y"), ..Policy::default() };
        assert_eq!(policy.to_string(), "keep 3 latest, all weekly snapshots, yearly snapshots within 9y");
        assert!(!Policy { tags: vec![tags(&[""])], ..Policy::default() }.is_empty());
    }
}
