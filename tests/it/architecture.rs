//! Holds `docs/architecture.md` and the code together: the table of doors there, and every path in `src/` that leads
//! from one room into another. A path that the table does not allow, a room that it does not name, a row without a
//! room and a circle of imports are failures.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

type Doors = BTreeMap<String, BTreeSet<String>>;

/// A path that leads out of a room.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Step {
    file: PathBuf,
    line: usize,
    from: String,
    to: String,
}

#[test]
fn rooms_import_only_what_the_table_of_doors_allows() {
    let (table, steps) = (table_of_doors(), steps());
    let shut: Vec<String> = steps
        .iter()
        .filter(|step| !table.get(&step.from).is_some_and(|open| open.contains(&step.to)))
        .map(|step| format!("{}:{}: {} may not import {}", step.file.display(), step.line, step.from, step.to))
        .collect();
    assert!(shut.is_empty(), "docs/architecture.md has no such door:\n{}", shut.join("\n"));
}

#[test]
fn the_table_of_doors_names_every_room_and_no_other() {
    let table: BTreeSet<String> = table_of_doors().into_keys().collect();
    let rooms: BTreeSet<String> = sources().into_iter().map(|(room, _)| room).collect();
    let missing: Vec<_> = rooms.difference(&table).collect();
    let empty: Vec<_> = table.difference(&rooms).collect();
    assert!(missing.is_empty() && empty.is_empty(), "rooms without a row: {missing:?}; rows without a room: {empty:?}");
}

#[test]
fn no_circle_of_imports_joins_two_rooms() {
    let mut open: Doors = BTreeMap::new();
    for step in steps() {
        open.entry(step.from).or_default().insert(step.to);
    }
    // Whatever imports nothing that is left is taken away, until only circles remain.
    while let Some(done) =
        open.iter().find(|(_, to)| to.iter().all(|room| !open.contains_key(room))).map(|(r, _)| r.clone())
    {
        open.remove(&done);
    }
    assert!(open.is_empty(), "these rooms import each other, or what does: {open:?}");
}

#[test]
fn no_source_file_is_longer_than_600_lines() {
    let lines = |path: &Path| fs::read_to_string(path).expect("a source file can be read").lines().count();
    let long: Vec<_> =
        sources().into_iter().map(|(_, path)| (lines(&path), path)).filter(|file| file.0 > 600).collect();
    assert!(long.is_empty(), "longer than 600 lines: {long:?}");
}

/// Whoever reads a promise in `docs/` can run what shows it. Names of tests are the ones with two underscores or more.
#[test]
fn tests_that_the_docs_name_exist() {
    let mut code: String = ["trees.py", "generated.py", "durable.py", "rules.py", "s3.py"]
        .map(|file| fs::read_to_string(root().join("tests/peers").join(file)).expect("the comparisons can be read"))
        .concat();
    for path in files(root().join("tests/it")).into_iter().chain(files(root().join("src"))) {
        code.push_str(&fs::read_to_string(path).expect("a source file can be read"));
    }
    let page = |name: &str| fs::read_to_string(root().join("docs").join(name)).expect("the page can be read");
    let text = page("threat-model.md") + &page("durability.md");
    let named: Vec<String> = words(&text).into_iter().filter(|word| word.matches('_').count() > 1).collect();
    let missing: Vec<_> = named
        .iter()
        .filter(|name| ![format!("fn {name}("), format!("def {name}(")].iter().any(|test| code.contains(test)))
        .collect();
    assert!(
        named.len() > 20 && missing.is_empty(),
        "of {} tests that the docs name, these are missing: {missing:?}",
        named.len()
    );
}

#[test]
fn paths_out_of_a_room_are_seen_in_whatever_form_they_have() {
    let code = r#"
        //! crate::backup is only mentioned
        use crate::{storage::{Store, memory::Memory}, id::RepoId as Id, Error};
        use super::super::volume::walk; // two up from src/repo/pack.rs
        fn f<'a>(s: &'a str) -> crate::path::TreePath { "crate::restore"; 'c'; super::seal() }
        mod inner { use super::super::super::events::Event; use super::super::index; }
    "#;
    let found: BTreeSet<String> = targets(code, 2).into_iter().map(|(_, room)| room).collect();
    let expected = ["error", "events", "id", "path", "storage", "volume"].map(String::from);
    assert_eq!(found, BTreeSet::from(expected));
}

// ---------------------------------------------------------------- the page

/// Rows `| floor | rooms | may import |`; a floor's name in the last column stands for its rooms.
fn table_of_doors() -> Doors {
    let page = fs::read_to_string(root().join("docs/architecture.md")).expect("docs/architecture.md can be read");
    let mut rows: Vec<(String, Vec<String>, Vec<String>)> = Vec::new();
    for line in page.lines().skip_while(|line| !line.starts_with("| floor |")).skip(2) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let (Some(floor), Some(rooms), Some(imports)) = (cells.next(), cells.next(), cells.next()) else { break };
        rows.push((floor.to_owned(), words(rooms), words(imports)));
    }
    assert!(!rows.is_empty(), "docs/architecture.md has no table that begins with `| floor |`");
    let on_floor = |name: &str| -> Vec<String> {
        let rooms: Vec<String> = rows.iter().filter(|row| row.0 == name).flat_map(|row| row.1.clone()).collect();
        if rooms.is_empty() { vec![name.to_owned()] } else { rooms }
    };
    let mut doors = Doors::new();
    for (_, rooms, imports) in &rows {
        let open: BTreeSet<String> = imports.iter().flat_map(|name| on_floor(name)).collect();
        for room in rooms {
            let before = doors.insert(room.clone(), open.clone());
            assert!(before.is_none(), "{room} has two rows");
        }
    }
    doors
}

/// The words between backticks.
fn words(cell: &str) -> Vec<String> {
    cell.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

// ---------------------------------------------------------------- the code

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file but `lib.rs`, with its room: the first directory or the file's own name below `src/`.
fn sources() -> Vec<(String, PathBuf)> {
    let src = root().join("src");
    let room = |path: &PathBuf| {
        let below = path.strip_prefix(&src).expect("it was found below src/").with_extension("");
        below.iter().next().expect("a file has a name").to_string_lossy().into_owned()
    };
    files(src.clone()).into_iter().map(|path| (room(&path), path)).filter(|(room, _)| room != "lib").collect()
}

/// The Rust files below a directory.
fn files(directory: PathBuf) -> Vec<PathBuf> {
    let (mut found, mut left) = (Vec::new(), vec![directory]);
    while let Some(directory) = left.pop() {
        for entry in fs::read_dir(&directory).expect("a directory of the sources can be read") {
            let path = entry.expect("a directory of the sources can be read").path();
            if path.is_dir() {
                left.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}

fn steps() -> BTreeSet<Step> {
    let mut steps = BTreeSet::new();
    for (from, path) in sources() {
        let code = fs::read_to_string(&path).expect("a source file can be read");
        let file = path.strip_prefix(root()).expect("it was found below the root").to_owned();
        for (line, to) in targets(&code, depth(&file)) {
            if to != from {
                steps.insert(Step { file: file.clone(), line, from: from.clone(), to });
            }
        }
    }
    steps
}

/// How many modules deep a file is: `src/repo/pack.rs` is `crate::repo::pack`, so 2.
fn depth(file: &Path) -> usize {
    let parts = file.iter().count() - 1;
    if file.file_name().is_some_and(|name| name == "mod.rs") { parts - 1 } else { parts }
}

/// The rooms that paths in `code` lead to, with their lines: `crate::room`, `volvault::room`, and as many `super::` as reach the root.
fn targets(code: &str, depth: usize) -> Vec<(usize, String)> {
    let tokens = tokens(code);
    let (mut found, mut braces, mut inner) = (Vec::new(), 0_usize, Vec::new());
    for at in 0..tokens.len() {
        let word = |n: usize| tokens.get(at + n).map_or("", |token| token.1.as_str());
        match word(0) {
            "mod" if word(2) == "{" => inner.push(braces),
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                inner.pop_if(|open| *open == braces);
            }
            "crate" | "volvault" if word(1) == "::" => roots(&tokens, at + 2, &mut found),
            "super" if at < 2 || tokens.get(at - 2).is_none_or(|token| token.1 != "super") => {
                let ups = (0..64).take_while(|n| word(2 * n) == "super" && word(2 * n + 1) == "::").count();
                if ups >= depth + inner.len() {
                    roots(&tokens, at + 2 * ups, &mut found);
                }
            }
            _ => {}
        }
    }
    found
}

/// What stands after `crate::`: a name, or a group of paths. Names with a capital are those that `lib.rs` takes from `error`.
fn roots(tokens: &[(usize, String)], start: usize, found: &mut Vec<(usize, String)>) {
    let name = |token: &(usize, String)| {
        let room = if token.1.starts_with(char::is_uppercase) { "error".to_owned() } else { token.1.clone() };
        (token.0, room)
    };
    let rest = tokens.get(start..).unwrap_or_default();
    match rest.first() {
        Some(first) if first.1 == "{" => {
            let (mut open, mut begins) = (0_usize, false);
            for token in rest {
                match token.1.as_str() {
                    "{" => (open, begins) = (open + 1, open == 0),
                    "}" if open == 1 => break,
                    "}" => open -= 1,
                    "," => begins = open == 1,
                    _ if begins => {
                        found.push(name(token));
                        begins = false;
                    }
                    _ => {}
                }
            }
        }
        Some(first) => found.push(name(first)),
        None => {}
    }
}

/// Names, `::` and other single characters, each with its line; without comments, strings and character literals.
fn tokens(code: &str) -> Vec<(usize, String)> {
    let (mut found, mut line, mut rest) = (Vec::new(), 1, code);
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '/' if rest.starts_with("//") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |end| end + 2),
            '"' => string(rest),
            'r' if rest.starts_with("r\"") || rest.starts_with("r#") => raw_string(rest),
            '\'' => character(rest),
            c if c.is_alphanumeric() || c == '_' => {
                let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
                found.push((line, rest.get(..end).unwrap_or_default().to_owned()));
                end
            }
            ':' if rest.starts_with("::") => {
                found.push((line, "::".to_owned()));
                2
            }
            c => {
                if !c.is_whitespace() {
                    found.push((line, c.to_string()));
                }
                c.len_utf8()
            }
        };
        let (taken, left) = rest.split_at(length);
        line += taken.matches('\n').count();
        rest = left;
    }
    found
}

/// Length of the string literal that `rest` begins with.
fn string(rest: &str) -> usize {
    let mut escaped = true; // the opening quote does not close it
    for (at, c) in rest.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// Length of the raw string that `rest` begins with, or of `r` and what follows in a raw name.
fn raw_string(rest: &str) -> usize {
    let hashes = rest.chars().skip(1).take_while(|c| *c == '#').count();
    let open = 1 + hashes + 1;
    if rest.chars().nth(1 + hashes) != Some('"') {
        return 1 + hashes;
    }
    let close = format!("\"{}", "#".repeat(hashes));
    rest.get(open..).and_then(|body| body.find(&close)).map_or(rest.len(), |end| open + end + close.len())
}

/// Length of the character literal that `rest` begins with; 1 for a lifetime.
fn character(rest: &str) -> usize {
    let mut chars = rest.char_indices().skip(1);
    match (chars.next(), chars.next()) {
        (Some((_, '\\')), Some((at, _))) => {
            rest.get(at + 1..).and_then(|tail| tail.find('\'')).map_or(rest.len(), |end| at + 1 + end + 1)
        }
        (Some(_), Some((at, '\''))) => at + 1,
        _ => 1,
    }
}
