//! From Go's dialect of regular expressions, which rclone's users write, to ours. The same text means the same but for:
//! `\d`, `\w`, `\s` and `\b` (ASCII in Go), classes (no set operations in Go: `[a[b]`, `[a&&b]` are plain characters), a brace
//! that repeats nothing, `\Q…\E`, octal escapes, and escaped punctuation.

use std::iter::Peekable;
use std::str::Chars;

use crate::error::{Error, Result};

/// What has a meaning outside of a class and stands for itself after a backslash; the other four are handled apart.
pub(super) const META: [char; 7] = ['.', '+', '(', ')', '|', '^', '$'];

/// The same expression in our dialect.
///
/// # Errors
/// `Invalid` for what Go refuses, where it would mean something else here.
pub(super) fn from_go(expression: &str) -> Result<String> {
    let mut reader = Reader { text: expression, out: String::new(), rest: expression.chars().peekable() };
    while let Some(c) = reader.rest.next() {
        match c {
            '\\' => reader.escape(Place::Outside)?,
            '[' => reader.class()?,
            '{' => reader.repeat(),
            '}' | ']' => reader.literal(c),
            c => reader.out.push(c),
        }
    }
    Ok(reader.out)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Outside,
    Class,
}

/// One item of a class.
enum Item {
    Char(char),
    /// Already written: a class in the class.
    Set,
}

struct Reader<'a> {
    text: &'a str,
    out: String,
    rest: Peekable<Chars<'a>>,
}

impl Reader<'_> {
    fn refuse(&self, why: &str) -> Error {
        Error::invalid(format!("{why} in the regular expression {:?}", self.text))
    }

    fn literal(&mut self, c: char) {
        // A code point has no meaning of its own, wherever it stands.
        self.out.extend(c.escape_unicode());
    }

    fn escape(&mut self, place: Place) -> Result<()> {
        match self.escaped(place)? {
            Item::Char(c) => self.literal(c),
            Item::Set => {}
        }
        Ok(())
    }

    /// What follows a backslash: a character, or something that is written at once.
    fn escaped(&mut self, place: Place) -> Result<Item> {
        let Some(c) = self.rest.next() else { return Err(self.refuse("trailing backslash")) };
        let set = match c {
            'd' => "[0-9]",
            'D' => "[^0-9]",
            's' => "[\\t\\n\\f\\r ]",
            'S' => "[^\\t\\n\\f\\r ]",
            'w' => "[0-9A-Za-z_]",
            'W' => "[^0-9A-Za-z_]",
            'b' if place == Place::Outside => "(?-u:\\b)",
            'B' if place == Place::Outside => "(?-u:\\B)",
            'A' if place == Place::Outside => "\\A",
            'z' if place == Place::Outside => "\\z",
            'p' => "\\p",
            'P' => "\\P",
            'Q' if place == Place::Outside => {
                self.quoted();
                ""
            }
            'a' => return Ok(Item::Char('\x07')),
            'f' => return Ok(Item::Char('\x0c')),
            't' => return Ok(Item::Char('\t')),
            'n' => return Ok(Item::Char('\n')),
            'r' => return Ok(Item::Char('\r')),
            'v' => return Ok(Item::Char('\x0b')),
            'x' => return self.hexadecimal().map(Item::Char),
            '0'..='7' => return self.octal(c).map(Item::Char),
            c if c.is_ascii_punctuation() || c == ' ' => return Ok(Item::Char(c)),
            c => return Err(self.refuse(&format!("invalid escape sequence \\{c}"))),
        };
        self.out.push_str(set);
        if matches!(c, 'p' | 'P') {
            self.category();
        }
        Ok(Item::Set)
    }

    /// The name after `\p`: one letter, or a word in braces.
    fn category(&mut self) {
        let Some(first) = self.rest.next() else { return };
        self.out.push(first);
        while first == '{' && !self.out.ends_with('}') {
            let Some(c) = self.rest.next() else { return };
            self.out.push(c);
        }
    }

    fn quoted(&mut self) {
        while let Some(c) = self.rest.next() {
            if c == '\\' && self.rest.next_if_eq(&'E').is_some() {
                break;
            }
            self.literal(c);
        }
    }

    fn hexadecimal(&mut self) -> Result<char> {
        let mut digits = String::new();
        if self.rest.next_if_eq(&'{').is_some() {
            digits.extend(std::iter::from_fn(|| self.rest.next_if(|c| *c != '}')));
            self.rest.next();
        } else {
            digits.extend(self.rest.by_ref().take(2));
        }
        let code = u32::from_str_radix(&digits, 16).ok().and_then(char::from_u32);
        code.ok_or_else(|| self.refuse(&format!("invalid escape sequence \\x{digits}")))
    }

    /// Up to three octal digits; one alone, but for 0, would refer back to a group, which neither dialect does.
    fn octal(&mut self, first: char) -> Result<char> {
        let mut digits = String::from(first);
        while digits.len() < 3 {
            let Some(digit) = self.rest.next_if(|c| c.is_digit(8)) else { break };
            digits.push(digit);
        }
        let code = u32::from_str_radix(&digits, 8).ok().and_then(char::from_u32);
        let is_octal = first == '0' || digits.len() > 1;
        code.filter(|_| is_octal).ok_or_else(|| self.refuse(&format!("invalid escape sequence \\{digits}")))
    }

    /// `{2}`, `{2,}` and `{2,3}` repeat; any other brace is a character.
    fn repeat(&mut self) {
        let ahead: String = self.rest.clone().take_while(|c| *c != '}').collect();
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
        let (least, most) = ahead.split_once(',').unwrap_or((&ahead, ""));
        let closed = self.rest.clone().any(|c| c == '}');
        if closed && is_number(least) && (most.is_empty() || is_number(most)) {
            self.out.extend(["{", &ahead, "}"]);
            self.rest.nth(ahead.chars().count());
        } else {
            self.literal('{');
        }
    }

    fn class(&mut self) -> Result<()> {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut first = true;
        loop {
            match self.rest.next() {
                None => return Err(self.refuse("missing closing ]")),
                Some(']') if !first => break,
                Some('[') if self.rest.peek() == Some(&':') => self.named_class()?,
                Some(c) => {
                    if let Item::Char(low) = self.item(c)? {
                        self.range(low)?;
                    }
                }
            }
            first = false;
        }
        self.out.push(']');
        Ok(())
    }

    fn item(&mut self, c: char) -> Result<Item> {
        if c == '\\' { self.escaped(Place::Class) } else { Ok(Item::Char(c)) }
    }

    /// `low`, or the range that begins with it. A hyphen before the closing bracket is a character.
    fn range(&mut self, low: char) -> Result<()> {
        self.literal(low);
        let mut ahead = self.rest.clone();
        if ahead.next() != Some('-') || ahead.next().is_none_or(|c| c == ']') {
            return Ok(());
        }
        self.rest.next();
        let Some(c) = self.rest.next() else { return Err(self.refuse("missing closing ]")) };
        self.out.push('-');
        match self.item(c)? {
            Item::Char(high) if low <= high => self.literal(high),
            _ => return Err(self.refuse(&format!("invalid character class range {low}-{c}"))),
        }
        Ok(())
    }

    /// `[:alpha:]`; what only begins like it is a plain bracket.
    fn named_class(&mut self) -> Result<()> {
        let ahead: String = self.rest.clone().skip(1).take_while(|c| c.is_ascii_alphabetic() || *c == '^').collect();
        let close: String = self.rest.clone().skip(1 + ahead.len()).take(2).collect();
        if close != ":]" {
            return self.range('[');
        }
        self.out.extend(["[:", &ahead, ":]"]);
        self.rest.nth(ahead.len() + 2);
        Ok(())
    }
}
