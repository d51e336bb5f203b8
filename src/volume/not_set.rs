//! What the system refused to set, summed over a run: said once, and not for each file.

use super::apply::MetadataOutcome;

/// How many entries lack something that the system refused to set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NotSet {
    /// Owners or groups.
    pub ownership: u64,
    /// Set-id and sticky bits.
    pub special_bits: u64,
    /// Permissions.
    pub mode: u64,
    /// Extended attributes.
    pub xattrs: u64,
    /// Times.
    pub times: u64,
    /// Device nodes that were not made.
    pub nodes: u64,
}

impl NotSet {
    /// Adds what could not be set of one entry.
    pub fn add(&mut self, outcome: &MetadataOutcome) {
        self.ownership += outcome.ownership;
        self.special_bits += outcome.special_bits;
        self.mode += outcome.mode;
        self.xattrs += outcome.xattrs;
        self.times += outcome.times;
    }

    /// All of them.
    pub fn sum(&self) -> u64 {
        self.ownership + self.special_bits + self.mode + self.xattrs + self.times + self.nodes
    }

    /// The sentence for people; `None` when everything was set.
    pub fn sentence(&self) -> Option<String> {
        let counts = [
            (self.ownership, "owner or group"),
            (self.special_bits, "set-id or sticky bits"),
            (self.mode, "permissions"),
            (self.xattrs, "extended attributes"),
            (self.times, "times"),
        ];
        let mut parts: Vec<String> = counts
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{what} of {count} entries not set"))
            .collect();
        if self.nodes > 0 {
            parts.push(format!("{} device nodes not made", self.nodes));
        }
        (!parts.is_empty()).then(|| format!("not permitted here: {}", parts.join(", ")))
    }
}
