//! Lists of sources, as `--files-from` and its two stricter variants read them.

use crate::error::{Error, Result};
use crate::path::escape;
use crate::volume::pattern::{Glob, has_wildcard, lines, trimmed_lines};

/// The lines of a `--files-from` file: trimmed, without blank ones and comments. Each is a pattern for [`expand_glob`].
pub fn parse_files_from(file: &[u8]) -> Vec<Vec<u8>> {
    trimmed_lines(file).map(<[u8]>::to_vec).collect()
}

/// The lines of a `--files-from-verbatim` file: names as they are; empty lines are skipped.
pub fn parse_files_from_verbatim(file: &[u8]) -> Vec<Vec<u8>> {
    lines(file).filter(|line| !line.is_empty()).map(<[u8]>::to_vec).collect()
}

/// The names of a `--files-from-raw` file, each ended by NUL.
///
/// # Errors
/// `Invalid` for an empty name and when the last NUL is missing: the list was cut off.
pub fn parse_files_from_raw(file: &[u8]) -> Result<Vec<Vec<u8>>> {
    let Some(body) = file.strip_suffix(b"\0") else {
        return if file.is_empty() {
            Ok(Vec::new())
        } else {
            Err(Error::invalid("the list of files does not end with a zero byte"))
        };
    };
    body.split(|byte| *byte == 0)
        .map(|name| match name {
            [] => Err(Error::invalid("the list of files has an empty name")),
            name => Ok(name.to_vec()),
        })
        .collect()
}

/// The paths that a line of [`parse_files_from`] stands for, sorted: itself if it has no wildcards and `exists`, else
/// what matches it, part by part, among the names that `names_in` finds in a directory (none where it cannot look;
/// `.` for the directory the program runs in). No match is an empty list, for the caller to report.
///
/// # Errors
/// `Invalid` for a malformed pattern.
pub fn expand_glob(
    pattern: &[u8],
    exists: &dyn Fn(&[u8]) -> bool,
    names_in: &dyn Fn(&[u8]) -> Vec<Vec<u8>>,
) -> Result<Vec<Vec<u8>>> {
    if !has_wildcard(pattern) {
        return Ok(if exists(pattern) { vec![pattern.to_vec()] } else { Vec::new() });
    }
    let (start, rest): (&[u8], _) = match pattern.strip_prefix(b"/") {
        Some(rest) => (b"/", rest),
        None => (b"", pattern),
    };
    let mut found = vec![start.to_vec()];
    let parts = || rest.split(|byte| *byte == b'/').filter(|part| !part.is_empty());
    let mut wild_left = parts().filter(|part| has_wildcard(part)).count();
    for part in parts() {
        if has_wildcard(part) {
            let glob = Glob::parse(part).map_err(|error| error.within(format!("read pattern {}", escape(pattern))))?;
            wild_left -= 1;
            found = found.iter().flat_map(|dir| matches_in(dir, &glob, names_in)).collect();
        } else {
            found = found.iter().map(|dir| join(dir, part)).collect();
            // Names after the last wildcard were not seen in any directory.
            if wild_left == 0 {
                found.retain(|path| exists(path));
            }
        }
    }
    Ok(found)
}

fn matches_in(dir: &[u8], glob: &Glob, names_in: &dyn Fn(&[u8]) -> Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let mut names = names_in(if dir.is_empty() { b"." } else { dir });
    names.retain(|name| glob.matches(name));
    names.sort();
    names.iter().map(|name| join(dir, name)).collect()
}

fn join(dir: &[u8], name: &[u8]) -> Vec<u8> {
    match dir {
        b"" => name.to_vec(),
        b"/" => [b"/", name].concat(),
        dir => [dir, b"/", name].concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_three_ways() {
        let file = b"# comment\n /a b \r\n\n*.x\n";
        assert_eq!(parse_files_from(file), [&b"/a b"[..], b"*.x"]);
        assert_eq!(parse_files_from_verbatim(file), [&b"# comment"[..], b" /a b ", b"*.x"]);
        assert_eq!(parse_files_from_raw(b"a\n\0 b\0").expect("raw"), [&b"a\n"[..], b" b"]);
        assert_eq!(parse_files_from_raw(b"").expect("empty"), Vec::<Vec<u8>>::new());
        for wrong in [&b"a"[..], b"a\0b", b"\0", b"a\0\0"] {
            assert!(parse_files_from_raw(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn globs_expand_part_by_part() {
        let tree = ["/d", "/d/a", "/d/a/x.c", "/d/a/y.h", "/d/b", "/d/b/x.c", "/d/z*", "r1", "r2"];
        let exists = |path: &[u8]| tree.iter().any(|known| known.as_bytes() == path);
        let names_in = |dir: &[u8]| -> Vec<Vec<u8>> {
            let prefix = match dir {
                b"." => Vec::new(),
                b"/" => b"/".to_vec(),
                dir => [dir, b"/"].concat(),
            };
            let below = |path: &&str| path.as_bytes().strip_prefix(prefix.as_slice()).map(<[u8]>::to_vec);
            tree.iter().rev().filter_map(below).filter(|name| !name.contains(&b'/')).collect()
        };
        for (pattern, expected) in [
            ("/d/a", &["/d/a"][..]),
            ("/none", &[]),
            ("/d/*/x.c", &["/d/a/x.c", "/d/b/x.c"]),
            ("/d/*/y.h", &["/d/a/y.h"]),
            ("/d/?/*.[ch]", &["/d/a/x.c", "/d/a/y.h", "/d/b/x.c"]),
            ("/*/a", &["/d/a"]),
            ("r*", &["r1", "r2"]),
            ("/d/z\\*", &["/d/z*"]),
            ("/none/*", &[]),
        ] {
            let found = expand_glob(pattern.as_bytes(), &exists, &names_in).expect(pattern);
            let expected: Vec<_> = expected.iter().map(|path| path.as_bytes().to_vec()).collect();
            assert_eq!(found, expected, "{pattern}");
        }
        assert!(expand_glob(b"/d/[", &exists, &names_in).is_err());
    }
}
