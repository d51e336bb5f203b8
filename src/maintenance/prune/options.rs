//! How to prune.

use std::time::Duration;

use crate::size::ByteSize;

/// How much of what the packs hold may be unused afterwards.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MaxUnused {
    /// So many bytes.
    Bytes(ByteSize),
    /// So many hundredths of what the repository holds afterwards.
    Percent(f64),
    /// Any: only packs without used blobs are removed.
    Unlimited,
}

/// How to prune.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PruneOptions {
    /// How much may stay unused. More of it means less copying.
    pub max_unused: MaxUnused,
    /// Most bytes of packs that are rewritten; `None`: no limit.
    pub max_repack: Option<ByteSize>,
    /// Rewrite packs that are much smaller than a full one, too.
    pub repack_small: bool,
    /// When to stop rewriting packs; the next prune goes on.
    pub max_time: Option<Duration>,
    /// How long to wait for runs that may not know which packs are condemned. The next prune removes what could not be removed now.
    pub wait: Duration,
    /// A run that gave no sign of life for so long, by the store's clock, is not waited for; it notices, should it live.
    pub stale_after: Duration,
    /// Packs that no index names are removed when they are older than this: a run that is under way has some.
    pub orphan_age: Duration,
    /// Go on although snapshots vanished that nobody forgot, or more than half of the packs would be removed.
    pub force: bool,
    /// Only make the plan.
    pub dry_run: bool,
}

impl Default for PruneOptions {
    fn default() -> Self {
        Self {
            max_unused: MaxUnused::Percent(5.0),
            max_repack: None,
            repack_small: false,
            max_time: None,
            wait: Duration::from_secs(30),
            stale_after: Duration::from_hours(24),
            orphan_age: Duration::from_hours(24),
            force: false,
            dry_run: false,
        }
    }
}

impl MaxUnused {
    /// The bytes that may stay unused beside `used` ones, as restic counts them: a percentage is of the sum of both.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss,
        reason = "a percentage needs no more, and it is between 0 and 100"
    )]
    pub(super) fn bytes(self, used: u64) -> u64 {
        match self {
            Self::Bytes(size) => size.bytes(),
            Self::Unlimited => u64::MAX,
            Self::Percent(percent) if percent >= 100.0 => u64::MAX,
            Self::Percent(percent) => (percent.max(0.0) / (100.0 - percent.max(0.0)) * used as f64) as u64,
        }
    }
}
