//! Patterns for excluding and including, in restic's grammar.
//!
//! A pattern is split at `/`. Each part is matched by Go's `filepath.Match` rules; `**` as a whole part stands for any
//! number of directories, also none. A pattern that starts with `/` is anchored at the root of the path, any other
//! matches at every depth; both match everything below what they match. `!` before a pattern takes back what earlier
//! ones matched: the last match decides. Pure: files of patterns come in as bytes, variables through a closure.

mod glob;
#[cfg(test)]
mod tests;

use self::glob::lower_bytes;
pub(super) use self::glob::{Glob, has_wildcard};
use crate::error::{Error, Result};
use crate::path::escape;

/// Whether upper and lower case differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CaseMode {
    /// They do.
    Sensitive,
    /// Both sides are compared in lower case.
    Insensitive,
}

/// One pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pattern {
    negated: bool,
    rooted: bool,
    /// The runs of parts between `**`. Only the first of a rooted pattern stands at a fixed place.
    runs: Vec<Vec<Part>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Matches itself. Nearly all parts are of this kind.
    Literal(Vec<u8>),
    Glob(Glob),
}

/// What a list says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MatchResult {
    /// The path itself, or a directory above it, matches.
    pub matched: bool,
    /// Something below the path may match: an include list has to look there.
    pub child_may_match: bool,
}

/// Patterns in order; the last that matches decides.
#[derive(Debug, Clone)]
pub struct PatternList {
    patterns: Vec<Pattern>,
    case: CaseMode,
}

impl Pattern {
    /// Reads one pattern.
    ///
    /// # Errors
    /// `Invalid` for an empty pattern and for a malformed part: see Go's `filepath.Match`.
    pub fn parse(text: &[u8]) -> Result<Self> {
        if text.is_empty() {
            return Err(Error::invalid("the pattern is empty"));
        }
        let (negated, body) = text.strip_prefix(b"!").map_or((false, text), |body| (true, body));
        let mut runs = vec![Vec::new()];
        for part in clean(body) {
            match (part, runs.last_mut()) {
                (b"**", _) | (_, None) => runs.push(Vec::new()),
                (part, Some(run)) => run.push(Part::parse(part)?),
            }
        }
        Ok(Self { negated, rooted: body.starts_with(b"/"), runs })
    }

    /// Whether it starts with `!`.
    pub fn is_negated(&self) -> bool {
        self.negated
    }

    fn lowered(&self) -> Self {
        let part = |part: &Part| match part {
            Part::Literal(text) => Part::Literal(lower_bytes(text)),
            Part::Glob(glob) => Part::Glob(glob.lowered()),
        };
        let runs = self.runs.iter().map(|run| run.iter().map(part).collect()).collect();
        Self { runs, ..*self }
    }

    /// Whether the path or something above it matches. Each run is looked for as far up as possible: that leaves the
    /// most to the runs after it, so no other choice can do better.
    fn matches(&self, path: &SplitPath<'_>) -> bool {
        let mut rest = path.names.as_slice();
        for (number, run) in self.runs.iter().enumerate() {
            let found = if number == 0 && self.rooted {
                (path.rooted && starts_with(rest, run)).then_some(0)
            } else {
                (0..=rest.len()).find(|at| rest.get(*at..).is_some_and(|rest| starts_with(rest, run)))
            };
            match found.and_then(|at| rest.get(at + run.len()..)) {
                Some(after) => rest = after,
                None => return false,
            }
        }
        // `**` alone matches every name, but a root has none.
        self.rooted || !path.names.is_empty()
    }

    fn child_may_match(&self, path: &SplitPath<'_>) -> bool {
        if !self.rooted {
            return true;
        }
        let run = self.runs.first().map(Vec::as_slice).unwrap_or_default();
        path.rooted && run.iter().zip(&path.names).all(|(part, name)| part.matches(name))
    }
}

impl Part {
    fn parse(text: &[u8]) -> Result<Self> {
        Ok(if has_wildcard(text) { Self::Glob(Glob::parse(text)?) } else { Self::Literal(text.to_vec()) })
    }

    fn matches(&self, name: &[u8]) -> bool {
        match self {
            Self::Literal(text) => text == name,
            Self::Glob(glob) => glob.matches(name),
        }
    }
}

fn starts_with(names: &[&[u8]], run: &[Part]) -> bool {
    run.len() <= names.len() && run.iter().zip(names).all(|(part, name)| part.matches(name))
}

impl PatternList {
    /// A list of these patterns.
    pub fn new(patterns: Vec<Pattern>, case: CaseMode) -> Self {
        let patterns = match case {
            CaseMode::Sensitive => patterns,
            CaseMode::Insensitive => patterns.iter().map(Pattern::lowered).collect(),
        };
        Self { patterns, case }
    }

    /// Reads a list; empty patterns are skipped.
    ///
    /// # Errors
    /// `Invalid`, naming every malformed pattern: nothing is matched by half a list.
    pub fn parse<T: AsRef<[u8]>>(texts: &[T], case: CaseMode) -> Result<Self> {
        let (mut patterns, mut wrong, mut first) = (Vec::new(), Vec::new(), None);
        for text in texts.iter().map(AsRef::as_ref).filter(|text| !text.is_empty()) {
            match Pattern::parse(text) {
                Ok(pattern) => patterns.push(pattern),
                Err(error) => {
                    wrong.push(format!("\"{}\"", escape(text)));
                    first = first.or(Some(error));
                }
            }
        }
        match first {
            None => Ok(Self::new(patterns, case)),
            Some(error) => Err(error.within(format!("read the patterns {}", wrong.join(", ")))),
        }
    }

    /// Whether there is nothing in it: such a list matches nothing.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a pattern takes back what others match.
    pub fn has_negated(&self) -> bool {
        self.patterns.iter().any(Pattern::is_negated)
    }

    /// What the list says of `path`, absolute or relative, without `.` and `..`.
    pub fn matches(&self, path: &[u8]) -> MatchResult {
        let lowered;
        let path = match self.case {
            CaseMode::Sensitive => path,
            CaseMode::Insensitive => {
                lowered = lower_bytes(path);
                &lowered
            }
        };
        let path = SplitPath::new(path);
        let mut result = MatchResult::default();
        for pattern in &self.patterns {
            if pattern.negated {
                if pattern.matches(&path) {
                    result = MatchResult::default();
                }
            } else {
                result.matched = result.matched || pattern.matches(&path);
                result.child_may_match = result.child_may_match || pattern.child_may_match(&path);
            }
        }
        result
    }
}

struct SplitPath<'a> {
    rooted: bool,
    names: Vec<&'a [u8]>,
}

impl<'a> SplitPath<'a> {
    fn new(path: &'a [u8]) -> Self {
        let names = path.split(|byte| *byte == b'/').filter(|name| !name.is_empty()).collect();
        Self { rooted: path.starts_with(b"/"), names }
    }
}

/// The parts of a pattern after Go's `filepath.Clean`: no empty ones, `.` and `..` worked out as far as that goes.
fn clean(pattern: &[u8]) -> Vec<&[u8]> {
    let rooted = pattern.starts_with(b"/");
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in pattern.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if parts.last().is_some_and(|last| *last != b"..") => drop(parts.pop()),
            b".." if rooted => {}
            part => parts.push(part),
        }
    }
    if parts.is_empty() {
        // The root with all below it; without a root, the current directory, which no path names.
        parts.push(if rooted { b"**" } else { b"." });
    }
    parts
}

/// The patterns in a file: trimmed lines without blank ones and comments (`#`), variables expanded as [`expand`] does.
pub fn read_patterns(file: &[u8], lookup: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<Vec<u8>> {
    trimmed_lines(file).map(|line| expand(line, lookup)).collect()
}

/// The lines of a file, trimmed, without blank ones and comments. A byte-order mark is not content.
pub(super) fn trimmed_lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines(file).map(trim).filter(|line| !line.is_empty() && !line.starts_with(b"#"))
}

/// The lines of a file without their ends (`\n` or `\r\n`).
pub(super) fn lines(file: &[u8]) -> impl Iterator<Item = &[u8]> {
    let file = file.strip_prefix(b"\xef\xbb\xbf").unwrap_or(file);
    file.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

fn trim(line: &[u8]) -> &[u8] {
    // Unlike `trim_ascii`, a vertical tab is white space.
    let is_space = |byte: &u8| matches!(byte, b'\t'..=b'\r' | b' ');
    let start = line.iter().position(|byte| !is_space(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    line.get(start..end).unwrap_or_default()
}

/// Replaces `$NAME` and `${NAME}` by what `lookup` says (nothing for an unknown name) and `$$` by `$`, as Go's
/// `os.Expand` does: a `$` before anything else stays, `${}` and an open `${` vanish.
pub fn expand(text: &[u8], lookup: &dyn Fn(&[u8]) -> Option<Vec<u8>>) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        let (before, after) = (rest.get(..at).unwrap_or_default(), rest.get(at + 1..).unwrap_or_default());
        out.extend_from_slice(before);
        let (name, len) = variable(after);
        match name {
            b"" if len == 0 => out.push(b'$'),
            b"" => {}
            b"$" => out.push(b'$'),
            name => out.extend(lookup(name).unwrap_or_default()),
        }
        rest = after.get(len..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

/// The name after a `$`, and the number of bytes that it and its braces take.
fn variable(text: &[u8]) -> (&[u8], usize) {
    let is_special = |byte: u8| matches!(byte, b'*' | b'#' | b'$' | b'@' | b'!' | b'?' | b'-' | b'0'..=b'9');
    match text {
        [b'{', inner @ ..] => match inner.iter().position(|byte| *byte == b'}') {
            Some(len) => (inner.get(..len).unwrap_or_default(), len + 2),
            None => (b"", 1),
        },
        [first, ..] if is_special(*first) => (text.get(..1).unwrap_or_default(), 1),
        _ => {
            let len = text.iter().take_while(|byte| byte.is_ascii_alphanumeric() || **byte == b'_').count();
            (text.get(..len).unwrap_or_default(), len)
        }
    }
}
