//! One pattern: rclone's glob, turned into a regular expression of Go's dialect as rclone itself does it, so that what
//! rclone leaves to its regular expressions (`\d`, `[[:alpha:]]`, what a class may hold) means the same here.

use std::iter::Peekable;
use std::str::Chars;

use super::dialect::META;
use crate::error::{Error, Result};

/// The expression for a pattern: anchored at the root after a leading `/`, else at any component; always up to the end.
///
/// # Errors
/// `Invalid` for three stars in a row and for brackets that do not match.
pub(super) fn to_expression(glob: &str) -> Result<String> {
    let (start, body) = glob.strip_prefix('/').map_or(("(^|/)", glob), |body| ("^", body));
    let mut parser = Parser { glob, out: start.to_owned(), rest: body.chars().peekable(), depth: 0, last: '\0' };
    while let Some(c) = parser.rest.next() {
        parser.take(c)?;
        parser.last = c;
    }
    if parser.depth != 0 {
        return Err(parser.refuse("mismatched '{' and '}'"));
    }
    parser.out.push('$');
    Ok(parser.out)
}

struct Parser<'a> {
    glob: &'a str,
    out: String,
    rest: Peekable<Chars<'a>>,
    /// Groups in braces that are open.
    depth: usize,
    /// The character before: two braces in a row open a regular expression.
    last: char,
}

impl Parser<'_> {
    fn take(&mut self, c: char) -> Result<()> {
        match c {
            '\\' => {
                self.out.push('\\');
                self.out.extend(self.rest.next());
            }
            '*' => self.stars()?,
            '?' => self.out.push_str("[^/]"),
            '[' => self.class()?,
            ']' => return Err(self.refuse("mismatched ']'")),
            '{' if self.depth > 0 && self.last == '{' => self.expression()?,
            '{' => {
                self.depth += 1;
                self.out.push('(');
            }
            '}' => {
                self.depth = self.depth.checked_sub(1).ok_or_else(|| self.refuse("mismatched '{' and '}'"))?;
                self.out.push(')');
            }
            ',' if self.depth > 0 => self.out.push('|'),
            c => {
                if META.contains(&c) {
                    self.out.push('\\');
                }
                self.out.push(c);
            }
        }
        Ok(())
    }

    fn stars(&mut self) -> Result<()> {
        let more = std::iter::from_fn(|| self.rest.next_if_eq(&'*')).count();
        self.out.push_str(match more {
            0 => "[^/]*",
            1 => ".*",
            _ => return Err(self.refuse("too many stars")),
        });
        Ok(())
    }

    /// A class, up to the bracket that balances the first: backslashes do not count, as in rclone.
    fn class(&mut self) -> Result<()> {
        self.out.push('[');
        let mut open = 1_usize;
        while open > 0 {
            let Some(c) = self.rest.next() else { return Err(self.refuse("mismatched '[' and ']'")) };
            self.out.push(c);
            match c {
                '[' => open += 1,
                ']' => open -= 1,
                _ => {}
            }
        }
        Ok(())
    }

    /// What stands between `{{` and the last of the braces that close it. The first brace was taken for a group.
    fn expression(&mut self) -> Result<()> {
        self.depth -= 1;
        loop {
            match self.rest.next() {
                None => return Err(self.refuse("mismatched '{{' and '}}'")),
                Some('}') if self.rest.next_if_eq(&'}').is_some() => break,
                Some(c) => self.out.push(c),
            }
        }
        while self.rest.next_if_eq(&'}').is_some() {
            self.out.push('}');
        }
        self.out.push(')');
        Ok(())
    }

    fn refuse(&self, why: &str) -> Error {
        Error::invalid(format!("{why} in glob {:?}", self.glob))
    }
}

/// The globs of the directories in which files that match `glob` may lie, the deepest first; each ends in `/`, and `/`
/// alone is the root. `/**` when that cannot be told: then every directory has to be looked at.
pub(super) fn directories_of(glob: &str) -> Vec<String> {
    let anywhere = || vec!["/**".to_owned()];
    if is_opaque(glob) {
        return anywhere();
    }
    let mut rest = squash_slashes(glob);
    let mut found: Vec<String> = Vec::new();
    loop {
        let (slash, stars) = (rest.rfind('/'), rest.rfind("**"));
        let (Some(cut), tail) = (slash.max(stars), if stars > slash { "**/" } else { "/" }) else { break };
        rest.truncate(cut);
        let directory = format!("{rest}{tail}");
        if found.last() != Some(&directory) {
            found.push(directory);
        }
    }
    if found.is_empty() { anywhere() } else { found }
}

/// Whether the pattern cannot be cut at its slashes: it holds a regular expression, groups in groups, or a group with a
/// slash or `**` in it.
fn is_opaque(glob: &str) -> bool {
    if glob.contains("{{") || glob.contains("}}") {
        return true;
    }
    let mut group = None;
    let mut last = '\0';
    for c in glob.chars() {
        match (c, group) {
            ('{', Some(_)) | ('}', Some(true)) => return true,
            ('{', None) => group = Some(false),
            ('}', _) => group = None,
            ('/', Some(_)) => group = Some(true),
            ('*', Some(_)) if last == '*' => group = Some(true),
            _ => {}
        }
        last = c;
    }
    false
}

fn squash_slashes(glob: &str) -> String {
    let mut out = String::with_capacity(glob.len());
    for c in glob.chars() {
        if c != '/' || !out.ends_with('/') {
            out.push(c);
        }
    }
    out
}
