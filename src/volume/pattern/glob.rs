//! Wildcards within one path component, as Go's `filepath.Match` has them: `*`, `?`, `[a-z]`, `[^a-z]`, `\` before any
//! character. A character is one of UTF-8; a byte that is not UTF-8 is a character of its own and equals only itself.

use crate::error::{Error, Result};

/// Beyond Unicode: the byte `b` of a name that is not UTF-8 counts as character `NOT_UNICODE + b`.
const NOT_UNICODE: u32 = 0x11_0000;

/// A compiled component of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Glob(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// `*`: any characters, also none.
    Any,
    /// `?`: one character.
    One,
    Char(u32),
    /// `[…]`: one character in, or if negated in none of, the ranges (ends included).
    Class {
        negated: bool,
        ranges: Vec<(u32, u32)>,
    },
}

/// Whether `part` has a character that means more than itself.
pub(in super::super) fn has_wildcard(part: &[u8]) -> bool {
    part.iter().any(|byte| matches!(byte, b'*' | b'?' | b'[' | b']' | b'\\'))
}

impl Glob {
    /// Compiles one component.
    ///
    /// # Errors
    /// `Invalid` for a class that does not end, is empty or has an open range, and for a `\` at the end.
    pub(in super::super) fn parse(part: &[u8]) -> Result<Self> {
        let mut tokens = Vec::new();
        let mut rest = Chars(part);
        while let Some(char) = rest.take() {
            tokens.push(match char {
                STAR => Token::Any,
                QUESTION => Token::One,
                BACKSLASH => Token::Char(rest.take().ok_or_else(|| malformed("ends in a backslash"))?),
                OPEN => parse_class(&mut rest)?,
                char => Token::Char(char),
            });
        }
        // `**` inside a component is `*`.
        tokens.dedup_by(|right, left| *right == Token::Any && *left == Token::Any);
        Ok(Self(tokens))
    }

    /// Whether the whole of `name` matches. At most one step per pair of token and character.
    pub(in super::super) fn matches(&self, name: &[u8]) -> bool {
        let mut tokens = self.0.as_slice();
        let mut rest = Chars(name);
        // Where to go on when the tokens after the last `*` fail: it takes one more character.
        let mut retry: Option<(&[Token], Chars<'_>)> = None;
        loop {
            if let [Token::Any, after @ ..] = tokens {
                tokens = after;
                retry = Some((after, rest));
                continue;
            }
            match (tokens.split_first(), rest.take()) {
                (None, None) => return true,
                (Some((token, after)), Some(char)) if token.accepts(char) => tokens = after,
                _ => {
                    let Some((after, mut from)) = retry else { return false };
                    if from.take().is_none() {
                        return false;
                    }
                    retry = Some((after, from));
                    (tokens, rest) = (after, from);
                }
            }
        }
    }

    /// The same pattern in lower case.
    pub(super) fn lowered(&self) -> Self {
        let lower = |token: &Token| match token {
            Token::Any => Token::Any,
            Token::One => Token::One,
            Token::Char(char) => Token::Char(lower(*char)),
            Token::Class { negated, ranges } => {
                let ranges = ranges.iter().map(|(from, to)| (lower(*from), lower(*to))).collect();
                Token::Class { negated: *negated, ranges }
            }
        };
        Self(self.0.iter().map(lower).collect())
    }
}

const STAR: u32 = '*' as u32;
const QUESTION: u32 = '?' as u32;
const BACKSLASH: u32 = '\\' as u32;
const OPEN: u32 = '[' as u32;
const CLOSE: u32 = ']' as u32;
const CARET: u32 = '^' as u32;
const DASH: u32 = '-' as u32;

impl Token {
    fn accepts(&self, char: u32) -> bool {
        match self {
            Self::Any | Self::One => true,
            Self::Char(own) => *own == char,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(from, to)| (*from..=*to).contains(&char)) != *negated
            }
        }
    }
}

fn parse_class(rest: &mut Chars<'_>) -> Result<Token> {
    let negated = rest.skip_if(CARET);
    let mut ranges = Vec::new();
    while ranges.is_empty() || !rest.skip_if(CLOSE) {
        let from = class_char(rest)?;
        let to = if rest.skip_if(DASH) { class_char(rest)? } else { from };
        ranges.push((from, to));
    }
    Ok(Token::Class { negated, ranges })
}

fn class_char(rest: &mut Chars<'_>) -> Result<u32> {
    match rest.take() {
        Some(BACKSLASH) => rest.take(),
        Some(DASH | CLOSE) => None,
        char => char,
    }
    .ok_or_else(|| malformed("has a malformed character class"))
}

fn malformed(how: &str) -> Error {
    Error::invalid(format!("the pattern {how}"))
}

/// The characters of a name.
#[derive(Clone, Copy)]
struct Chars<'a>(&'a [u8]);

impl Chars<'_> {
    /// Takes the next character.
    fn take(&mut self) -> Option<u32> {
        let (first, tail) = self.0.split_first()?;
        if first.is_ascii() {
            self.0 = tail;
            return Some(u32::from(*first));
        }
        // No character has more than four bytes.
        let head = self.0.get(..4).unwrap_or(self.0);
        let valid = head.utf8_chunks().next().and_then(|chunk| chunk.valid().chars().next());
        let (char, len) = valid.map_or((NOT_UNICODE + u32::from(*first), 1), |char| (char as u32, char.len_utf8()));
        self.0 = self.0.get(len..).unwrap_or_default();
        Some(char)
    }

    fn skip_if(&mut self, char: u32) -> bool {
        let mut ahead = *self;
        let skip = ahead.take() == Some(char);
        if skip {
            *self = ahead;
        }
        skip
    }
}

fn lower(char: u32) -> u32 {
    char::from_u32(char).map_or(char, |char| lower_char(char) as u32)
}

/// One character for one, as Unicode's simple mapping has it: only `İ` has a longer form.
fn lower_char(char: char) -> char {
    char.to_lowercase().next().unwrap_or(char)
}

/// `text` in lower case; bytes that are not UTF-8 stay.
pub(super) fn lower_bytes(text: &[u8]) -> Vec<u8> {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    let mut out = Vec::with_capacity(text.len());
    for chunk in text.utf8_chunks() {
        let mut buffer = [0; 4];
        for char in chunk.valid().chars() {
            out.extend_from_slice(lower_char(char).encode_utf8(&mut buffer).as_bytes());
        }
        out.extend_from_slice(chunk.invalid());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcards_match_as_in_go() {
        for (pattern, name, expected) in [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("*c", "abcd", false),
            ("a*", "a", true),
            ("a*", "abc", true),
            ("a*b*c*d*e*", "axbxcxdxe", true),
            ("a*b*c*d*e*", "axbxcxdxexxx", true),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[e-g]", "abc", false),
            ("ab[^c]", "abc", false),
            ("ab[^b-d]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a☺b", true),
            ("a[^a]b", "a☺b", true),
            ("a???b", "a☺b", false),
            ("a[^a][^a][^a]b", "a☺b", false),
            ("[a-ζ]*", "α", true),
            ("*[a-ζ]", "A", false),
            ("[\\]a]", "]", true),
            ("[\\-]", "-", true),
            ("[x\\-]", "x", true),
            ("[x\\-]", "-", true),
            ("[x\\-]", "z", false),
            ("[\\-x]", "x", true),
            ("[\\-x]", "a", false),
            ("*x", "xxx", true),
            ("[*]", "*", true),
            ("[*]", "a", false),
            ("a]", "a]", true),
            ("", "", true),
            ("", "a", false),
            ("?", "", false),
        ] {
            let glob = Glob::parse(pattern.as_bytes()).expect(pattern);
            assert_eq!(glob.matches(name.as_bytes()), expected, "{pattern} on {name}");
        }
    }

    #[test]
    fn malformed_patterns_are_those_of_go() {
        for pattern in
            ["[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "a\\", "[a", "[a-", "*[._]log[.-][0-9]"]
        {
            assert!(Glob::parse(pattern.as_bytes()).is_err(), "{pattern}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_characters_of_their_own() {
        let matches = |pattern: &[u8], name: &[u8]| Glob::parse(pattern).expect("pattern").matches(name);
        assert!(matches(b"a?b", b"a\xffb"));
        assert!(matches(b"?\xff*", b"x\xff\xfe"));
        assert!(matches(b"[\xff]", b"\xff"));
        assert!(!matches(b"[\xff]", b"\xfe"));
        assert!(!matches(b"?", b"\xff\xff"));
        assert_eq!(lower_bytes(b"\xffABC\xc3\x84"), b"\xffabc\xc3\xa4");
    }

    #[test]
    fn many_stars_do_not_take_exponential_time() {
        let glob = Glob::parse(format!("{}b", "a*".repeat(60)).as_bytes()).expect("pattern");
        assert!(!glob.matches("a".repeat(250).as_bytes()));
    }
}
