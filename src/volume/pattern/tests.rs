//! What restic's documentation and its own tests say of patterns, as tables.

use super::*;

fn pattern(text: &str) -> Pattern {
    Pattern::parse(text.as_bytes()).expect(text)
}

fn list(patterns: &[&str], case: CaseMode) -> PatternList {
    PatternList::parse(patterns, case).expect("patterns")
}

/// The rows of restic's own test: pattern, path, whether it matches.
const MATCHES: &[(&str, &str, bool)] = &[
    ("*.go", "/foo/bar/test.go", true),
    ("*.c", "/foo/bar/test.go", false),
    ("*", "/foo/bar/test.go", true),
    ("**", "/foo/bar/test.go", true),
    ("foo*", "/foo/bar/test.go", true),
    ("bar*", "/foo/bar/test.go", true),
    ("/bar*", "/foo/bar/test.go", false),
    ("bar/*", "/foo/bar/test.go", true),
    ("baz/*", "/foo/bar/test.go", false),
    ("bar/test.go", "/foo/bar/test.go", true),
    ("bar/*.go", "/foo/bar/test.go", true),
    ("ba*/*.go", "/foo/bar/test.go", true),
    ("bb*/*.go", "/foo/bar/test.go", false),
    ("test.*", "/foo/bar/test.go", true),
    ("tesT.*", "/foo/bar/test.go", false),
    ("bar/*", "/foo/bar/baz", true),
    ("bar", "/foo/bar", true),
    ("/foo/bar", "/foo/bar", true),
    ("/foo/bar/", "/foo/bar", true),
    ("/foo/bar", "/foo/baz", false),
    ("/foo/bar", "/foo/baz/", false),
    ("/foo///bar", "/foo/bar", true),
    ("/foo/../bar", "/foo/bar", false),
    ("/foo/../bar", "/bar", true),
    ("/foo", "/foo/baz", true),
    ("/foo/", "/foo/baz", true),
    ("/foo/*", "/foo", false),
    ("/foo/*", "/foo/baz", true),
    ("bar", "/foo/bar/baz", true),
    ("/foo/*test.*", "/foo/bar/test.go", false),
    ("/foo/*/test.*", "/foo/bar/test.go", true),
    ("/foo/*/bar/test.*", "/foo/bar/test.go", false),
    ("/*/*/bar/test.*", "/foo/bar/baz/test.go", false),
    ("/*/*/baz/test.*", "/foo/bar/baz/test.go", true),
    ("/*/foo/bar/test.*", "/foo/bar/baz/test.go", false),
    ("/foo/bar/test.*", "bar/baz/test.go", false),
    ("/x/y/bar/baz/test.*", "bar/baz/test.go", false),
    ("baz/test.*", "bar/baz/test.go", true),
    ("baz/tesT.*", "bar/baz/test.go", false),
    ("test.go", "bar/baz/test.go", true),
    ("*.c", "bar/baz/test.go", false),
    ("sdk", "/foo/bar/sdk", true),
    ("sdk", "/foo/bar/sdk/test/sdk_foo.go", true),
    ("sdk/*/cpp/*/*vars*.html", "/usr/share/doc/libreoffice/sdk/docs/cpp/ref/a00517.html", false),
    ("foo/**/bar/*.go", "/home/user/foo/work/special/project/bar/test.go", true),
    ("foo/**/bar/*.go", "/home/user/foo/bar/test.go", true),
    ("foo/**/bar/*.go", "foo/bar/test.go", true),
    ("foo/**/bar/*.go", "foo/bar/baz/bar/test.go", true),
    ("foo/**/bar/*.go", "/home/user/foo/test.c", false),
    ("foo/**/bar/*.go", "bar/foo/main.go", false),
    ("foo/**/bar/*.go", "bar/main.go", false),
    ("foo/**/bar", "/home/user/foo/x/y/bar", true),
    ("foo/**/bar", "/home/user/foo/x/y/bar/main.go", true),
    ("foo/**/bar/**/x", "/home/user/foo/bar/x", true),
    ("foo/**/bar/**/x", "/home/user/foo/blaaa/blaz/bar/shared/work/x", true),
    ("user/**/important*", "/home/user/work/x/y/hidden/x", false),
    ("user/**/hidden*/**/c", "/home/user/work/x/y/hidden/z/a/b/c", true),
    ("c:/foo/*test.*", "c:/foo/bar/test.go", false),
    ("c:/foo/", "c:/foo/bar", true),
    ("c:/foo/*/test.*", "c:/foo/bar/test.go", true),
    ("/home/[uU]ser/?.go", "/home/user/F.go", true),
    // Our own: nothing matches a root but a pattern for the root.
    ("/foo/**", "/foo", true),
    ("/**", "/", true),
    ("/", "/any", true),
    ("*", "/", false),
    ("/foo/**/bar/**/x", "/foo/bar/x", true),
    (".", "/foo", false),
];

#[test]
fn patterns_match_as_in_restic() {
    for (text, path, expected) in MATCHES {
        assert_eq!(pattern(text).matches(&SplitPath::new(path.as_bytes())), *expected, "{text} on {path}");
    }
}

#[test]
fn children_may_match_as_in_restic() {
    for (text, path, expected) in [
        ("foo/bar", "/foo", true),
        ("baz/bar", "/foo", true),
        ("foo", "/foo/bar", true),
        ("*", "/foo/bar", true),
        ("/foo/bar", "/foo", true),
        ("/foo/bar/baz", "/foo", true),
        ("/foo/bar/baz", "/foo/bar", true),
        ("/foo/bar/baz", "/foo/baz", false),
        ("/foo/**/baz", "/foo/bar/baz", true),
        ("/foo/**/baz", "/foo/bar/baz/blah", true),
        ("/foo/**/qux", "/foo/bar/baz", true),
        ("/foo/**/qux", "/foo/bar/baz/boo", true),
        ("/foo/**", "/foo/bar", true),
        ("foo/**/bar/**/x", "/home/user/foo", true),
        ("/foo/*/qux", "/foo/bar", true),
        ("/foo/*/qux", "/foo/bar/boo", false),
        ("/foo/*/qux", "/foo/bar/boo/xx", false),
        ("/baz/bar", "/foo", false),
        ("/foo", "/foo/bar", true),
        ("/*", "/foo/bar", true),
        ("/**", "/foo", true),
        ("/*/**", "/foo", true),
        ("/*/**", "/foo/bar", true),
        ("/*/bar", "/foo", true),
        ("/bar/*", "/foo", false),
        ("/foo/*/baz", "/foo/baz", true),
        ("/foo/*/baz", "/bar/baz", false),
        ("/**/*", "/foo", true),
        ("/**/bar", "/foo/bar", true),
        ("/foo/bar", "/", true),
    ] {
        assert_eq!(pattern(text).child_may_match(&SplitPath::new(path.as_bytes())), expected, "{text} on {path}");
    }
}

#[test]
fn lists_decide_as_in_restic() {
    for (patterns, path, matched, child_may_match) in [
        (&[][..], "/foo/bar/test.go", false, false),
        (&["*.go"], "/foo/bar/test.go", true, true),
        (&["*.go"], "/foo/bar", false, true),
        (&["*.c"], "/foo/bar/test.go", false, true),
        (&["*.go", "*.c"], "/foo/bar/test.go", true, true),
        (&["?", "x"], "/foo/bar/x", true, true),
        (&["/*/*/bar/test.*"], "/foo/bar/test.go", false, false),
        (&["/*/*/bar/test.*"], "/foo/bar/bar", false, true),
        (&["/*/*/bar/test.*", "*.go"], "/foo/bar/test.go", true, true),
        (&["", "*.c"], "/foo/bar/test.go", false, true),
        (&["/foo/bar/*"], "/foo", false, true),
        (&["/foo/**/test.c"], "/foo/bar/foo/bar/test.c", true, true),
        (&["/foo/*/test.c"], "/foo/bar/foo/bar/test.c", false, false),
        (&["/foo/*", "!/foo/bar"], "/foo/baz", true, true),
        (&["/foo/*", "!/foo/bar"], "/foo/bar", false, false),
        (&["!/foo/bar", "/foo/*"], "/foo/bar", true, true),
        (&["*", "!test.*", "test.go"], "/test.go", true, true),
        (&["*", "!test.*", "test.go"], "/test.c", false, true),
        (&["*.bak", "!important/**/*.bak"], "/x/important/y/z.bak", false, false),
    ] {
        let expected = MatchResult { matched, child_may_match };
        assert_eq!(list(patterns, CaseMode::Sensitive).matches(path.as_bytes()), expected, "{patterns:?} on {path}");
    }
}

#[test]
fn malformed_patterns_are_all_named_up_front() {
    let texts = ["*.foo", "*[._]log[.-][0-9]", "!*[._]log[.-][0-9]", "test/**/["];
    let message = PatternList::parse(&texts, CaseMode::Sensitive).expect_err("malformed").chain();
    assert!(!message.contains("*.foo"));
    for wrong in &texts[1..] {
        assert!(message.contains(&format!("\"{wrong}\"")), "{message}");
    }
    assert!(Pattern::parse(b"").is_err());
}

#[test]
fn case_can_be_ignored_on_both_sides() {
    let list = list(&["*.JPG", "/HoMe/[A-C]x", "Größe", "\u{130}x"], CaseMode::Insensitive);
    for path in ["/a/b.jpg", "/home/BX/y", "/GRÖSSE", "/grÖße", "/IX"] {
        assert_eq!(list.matches(path.as_bytes()).matched, path != "/GRÖSSE", "{path}");
    }
    assert!(list.matches(b"/\xff.Jpg").matched);
}

#[test]
fn names_need_not_be_utf8() {
    let list = PatternList::parse(&[&b"caf\xe9"[..], b"\xfe*"], CaseMode::Sensitive).expect("patterns");
    assert!(list.matches(b"/x/caf\xe9/y").matched);
    assert!(list.matches(b"/\xfe\xff").matched);
    assert!(!list.matches(b"/caf\xe8").matched);
}

#[test]
fn pattern_files_are_trimmed_and_expanded() {
    let lookup = |name: &[u8]| match name {
        b"HOME" => Some(b"/home/me".to_vec()),
        b"1" => Some(b"one".to_vec()),
        _ => None,
    };
    let file =
        b"\xef\xbb\xbf# comment\r\n\n  *.o \t\r\n$HOME/x\n${HOME}y\n$$HOME\na$NONE-b\n  # also a comment\n!$1\n\\#x";
    let expected: &[&[u8]] = &[b"*.o", b"/home/me/x", b"/home/mey", b"$HOME", b"a-b", b"!one", b"\\#x"];
    assert_eq!(read_patterns(file, &lookup), expected);
    for (text, expected) in [
        ("a$", "a$"),
        ("$/", "$/"),
        ("${}x", "x"),
        ("${HOME", "HOME"),
        ("$HOMEx", ""),
        ("${$}", "$"),
        ("$1x", "onex"),
        ("$$$$", "$$"),
    ] {
        assert_eq!(expand(text.as_bytes(), &lookup), expected.as_bytes(), "{text}");
    }
}

proptest::proptest! {
    /// Against a matcher that tries every way to expand `**`.
    #[test]
    fn runs_agree_with_trying_everything(
        parts in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "*", "**", "a*"]), 1..6),
        names in proptest::collection::vec(proptest::sample::select(vec!["a", "b", "ab"]), 1..7),
        rooted: bool,
    ) {
        fn tries(parts: &[&str], names: &[&str]) -> bool {
            match parts {
                [] => true,
                ["**", rest @ ..] => (0..=names.len()).any(|at| tries(rest, &names[at..])),
                [part, rest @ ..] => {
                    let fits = |name: &&str| match *part {
                        "*" => true,
                        "a*" => name.starts_with('a'),
                        part => *name == part,
                    };
                    names.first().is_some_and(fits) && tries(rest, &names[1..])
                }
            }
        }
        let start = if rooted { "/" } else { "" };
        let expected = if rooted {
            tries(&parts, &names)
        } else {
            (0..=names.len()).any(|at| tries(&parts, &names[at..]))
        };
        let path = format!("/{}", names.join("/"));
        let pattern = pattern(&format!("{start}{}", parts.join("/")));
        proptest::prop_assert_eq!(pattern.matches(&SplitPath::new(path.as_bytes())), expected);
    }
}
