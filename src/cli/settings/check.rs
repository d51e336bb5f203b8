//! How much data `check` reads.

use std::time::Duration;

use crate::cli::args::CheckArgs;
use crate::error::{Error, Result};
use crate::maintenance::ReadData;
use crate::size::ByteSize;

/// What `--read-data` and `--read-data-subset` ask for.
///
/// # Errors
/// `Invalid` for a subset that is neither `n/t`, a percentage nor a size.
pub(crate) fn read_data(args: &CheckArgs) -> Result<ReadData> {
    if let Some(text) = &args.read_data_budget {
        return budget(text.trim()).map(ReadData::Budget);
    }
    match &args.read_data_subset {
        None if args.read_data => Ok(ReadData::All),
        None => Ok(ReadData::None),
        Some(text) => subset(text.trim()),
    }
}

fn budget(text: &str) -> Result<Duration> {
    let refuse = || {
        Error::invalid(format!("{text:?} is no time to read everything in")).with_hint("write it like 30d, 4w or 12h")
    };
    let (number, hours) = [('h', 1), ('d', 24), ('w', 24 * 7)]
        .into_iter()
        .find_map(|(unit, hours)| Some((text.strip_suffix(unit)?, hours)))
        .ok_or_else(refuse)?;
    let count = number.trim().parse::<u64>().ok().filter(|count| (1..=100_000).contains(count)).ok_or_else(refuse)?;
    Ok(Duration::from_hours(count * hours))
}

fn subset(text: &str) -> Result<ReadData> {
    let refuse = || {
        Error::invalid(format!("{text:?} is not a part of the data")).with_hint(
            "write n/t with 1 <= n <= t <= 256, a percentage above 0 and up to 100 like 2.5%, or a size like 10G",
        )
    };
    if let Some((n, t)) = text.split_once('/') {
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| refuse());
        let (n, t) = (number(n)?, number(t)?);
        // Packs are told apart by the first byte of their names, so there are no more than 256 parts.
        return if n >= 1 && n <= t && t <= 256 { Ok(ReadData::Subset { n, t }) } else { Err(refuse()) };
    }
    if let Some(percent) = text.strip_suffix('%') {
        let percent: f64 = percent.trim().parse().map_err(|_| refuse())?;
        return if percent > 0.0 && percent <= 100.0 { Ok(ReadData::Percent(percent)) } else { Err(refuse()) };
    }
    match text.parse::<ByteSize>() {
        Ok(size) if size.bytes() > 0 => Ok(ReadData::Size(size)),
        Ok(_) | Err(_) => Err(refuse()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn budgets_are_hours_days_or_weeks() {
        assert_eq!(budget("30d").unwrap(), Duration::from_hours(720));
        assert_eq!(budget("2w").unwrap(), budget("14d").unwrap());
        assert_eq!(budget("12h").unwrap(), Duration::from_hours(12));
        for text in ["", "30", "0d", "d", "-1d", "3m", "1d2h", "99999999d"] {
            assert!(budget(text).is_err(), "{text}");
        }
    }

    #[test]
    fn subsets_are_read_as_restic_reads_them() {
        assert!(matches!(subset("2/7").unwrap(), ReadData::Subset { n: 2, t: 7 }));
        assert!(matches!(subset("256/256").unwrap(), ReadData::Subset { n: 256, t: 256 }));
        assert!(matches!(subset("2.5%").unwrap(), ReadData::Percent(percent) if (percent - 2.5).abs() < 1e-9));
        assert!(matches!(subset("10G").unwrap(), ReadData::Size(size) if size.bytes() == 10 << 30));
        for text in ["", "0/3", "4/3", "1/257", "a/b", "1/2/3", "0%", "101%", "-1%", "NaN%", "0", "x"] {
            assert!(subset(text).is_err(), "{text}");
        }
    }
}
