//! Rules in order, of which the first that matches decides; and the lines of the files that hold them.

use regex::{RegexSet, RegexSetBuilder};

use super::dialect::from_go;
use super::glob::to_expression;
use crate::error::{Error, Result};

/// Rules that are compiled into one set, and the memory of its program: a few kilobytes a rule would do. A list of any
/// length is compiled in sets of this size.
const SET_MAX: usize = 100;
const PROGRAM_MAX: usize = 32 << 20;

/// What a rule does with what it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sign {
    Include,
    Exclude,
}

/// Rules that are still being read.
#[derive(Debug, Default)]
pub(super) struct Draft(Vec<(Sign, String)>);

impl Draft {
    /// Adds a glob at the end.
    pub(super) fn add(&mut self, sign: Sign, glob: &str) -> Result<()> {
        let rule = (sign, to_expression(glob)?);
        // Refused here, where the glob can be named.
        from_go(&rule.1).map_err(|error| error.within(format!("bad glob pattern {glob:?}")))?;
        self.0.push(rule);
        Ok(())
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// As rclone's `--dump filters` shows them.
    #[cfg(test)]
    pub(super) fn dump(&self) -> Vec<String> {
        let sign = |sign: &Sign| if *sign == Sign::Include { '+' } else { '-' };
        self.0.iter().map(|(s, expression)| format!("{} {expression}", sign(s))).collect()
    }

    /// Compiles them. Neighbours of the same sign need no order among themselves and become one set.
    pub(super) fn finish(self, ignore_case: bool) -> Result<Rules> {
        let mut runs = Vec::new();
        for run in self.0.chunk_by(|left, right| left.0 == right.0).flat_map(|run| run.chunks(SET_MAX)) {
            let sign = run.first().map_or(Sign::Include, |(sign, _)| *sign);
            let expressions = run.iter().map(|(_, expression)| from_go(expression)).collect::<Result<Vec<_>>>()?;
            let set = RegexSetBuilder::new(&expressions).case_insensitive(ignore_case).size_limit(PROGRAM_MAX).build();
            let set = set.map_err(|cause| Error::invalid("read the filter rules").with_source(cause))?;
            runs.push((sign, set));
        }
        Ok(Rules(runs))
    }
}

/// Compiled rules.
#[derive(Debug, Clone, Default)]
pub(super) struct Rules(Vec<(Sign, RegexSet)>);

impl Rules {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What the first rule that matches says; what none matches is included.
    pub(super) fn include(&self, name: &str) -> bool {
        self.0.iter().find(|(_, set)| set.is_match(name)).is_none_or(|(sign, _)| *sign == Sign::Include)
    }
}

/// The lines of a file of rules or names: trimmed, without blank ones and comments (`#` and `;`).
pub(super) fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    raw_lines(file).map(<[u8]>::trim_ascii).filter(|line| !matches!(line, [] | [b'#' | b';', ..]))
}

/// The lines as they are, without their ends (`\n` or `\r\n`).
pub(super) fn raw_lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let file = file.strip_suffix(b"\n").unwrap_or(file);
    file.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}
