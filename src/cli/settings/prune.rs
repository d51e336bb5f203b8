//! What the options of `prune` mean.

use std::time::Duration;

use crate::cli::args::PruneOptionArgs;
use crate::error::{Error, Result};
use crate::maintenance::{MaxUnused, PruneOptions};
use crate::size::ByteSize;

/// How to prune.
///
/// # Errors
/// `Invalid` for sizes, percentages and times that are none.
pub(crate) fn prune_options(args: &PruneOptionArgs, dry_run: bool) -> Result<PruneOptions> {
    let default = PruneOptions::default();
    let time = |text: &Option<String>| text.as_deref().map(time).transpose();
    Ok(PruneOptions {
        max_unused: args.max_unused.as_deref().map_or(Ok(default.max_unused), max_unused)?,
        max_repack: args.max_repack_size.as_deref().map(str::parse).transpose()?,
        repack_small: args.repack_small,
        max_time: time(&args.max_time)?,
        wait: time(&args.wait)?.unwrap_or(default.wait),
        stale_after: time(&args.stale_after)?.unwrap_or(default.stale_after),
        orphan_age: default.orphan_age,
        force: args.force,
        dry_run,
    })
}

fn max_unused(text: &str) -> Result<MaxUnused> {
    let text = text.trim();
    if text == "unlimited" {
        return Ok(MaxUnused::Unlimited);
    }
    let refuse = || {
        Error::invalid(format!("{text:?} is not a limit for what may stay unused"))
            .with_hint("write a size like 10G, a percentage from 0% to 100%, or unlimited")
    };
    if let Some(number) = text.strip_suffix('%') {
        let percent: f64 = number.trim().parse().map_err(|_| refuse())?;
        return if (0.0..=100.0).contains(&percent) { Ok(MaxUnused::Percent(percent)) } else { Err(refuse()) };
    }
    text.parse::<ByteSize>().map(MaxUnused::Bytes).map_err(|_| refuse())
}

/// Reads `90s`, `5m`, `1h30m`, `2d`.
fn time(text: &str) -> Result<Duration> {
    let refuse =
        || Error::invalid(format!("{text:?} is not a length of time")).with_hint("write it like 90s, 5m, 1h30m or 2d");
    let mut seconds = 0u64;
    let mut rest = text.trim();
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refuse)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail.chars().next().ok_or_else(refuse)?;
        let length = match unit {
            's' => 1,
            'm' => 60,
            'h' => 3600,
            'd' => 86400,
            _ => return Err(refuse()),
        };
        let number: u64 = number.parse().map_err(|_| refuse())?;
        seconds = number.checked_mul(length).and_then(|more| seconds.checked_add(more)).ok_or_else(refuse)?;
        rest = tail.strip_prefix(unit).unwrap_or_default();
    }
    if text.trim().is_empty() { Err(refuse()) } else { Ok(Duration::from_secs(seconds)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_and_times_are_read() {
        assert_eq!(max_unused("unlimited").unwrap(), MaxUnused::Unlimited);
        assert_eq!(max_unused("0").unwrap(), MaxUnused::Bytes(ByteSize(0)));
        assert_eq!(max_unused("10G").unwrap(), MaxUnused::Bytes(ByteSize::mib(10 << 10)));
        assert_eq!(max_unused("2.5%").unwrap(), MaxUnused::Percent(2.5));
        for wrong in ["", "x", "-1%", "101%", "nan%", "5 percent"] {
            assert!(max_unused(wrong).is_err(), "{wrong}");
        }
        for (text, seconds) in [("0s", 0), ("90s", 90), ("5m", 300), ("1h30m", 5400), (" 2d ", 172_800)] {
            assert_eq!(time(text).unwrap(), Duration::from_secs(seconds), "{text}");
        }
        for wrong in ["", "5", "m", "5x", "1h30", "-1s", "99999999999999999999s", "9999999999999999999d"] {
            assert!(time(wrong).is_err(), "{wrong}");
        }
    }
}
