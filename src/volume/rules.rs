//! What a backup leaves out and what a restore brings back: decisions over paths and sizes. Whoever walks does the
//! reading; nothing here touches a file. The grammar of patterns is that of [`pattern`](super::pattern).

mod files_from;

pub use self::files_from::{expand_glob, parse_files_from, parse_files_from_raw, parse_files_from_verbatim};
use super::pattern::{CaseMode, MatchResult, PatternList};
use crate::error::{Error, Result};
use crate::path::TreePath;

/// Name and first bytes of the file that marks a directory as a cache (<https://bford.info/cachedir/>).
const CACHE_TAG: (&[u8], &[u8]) = (b"CACHEDIR.TAG", b"Signature: 8a477f597d28d172789f06886806bc55");

/// What a user asks a backup to leave out.
#[derive(Debug, Clone, Default)]
pub struct RuleOptions {
    /// Patterns over absolute paths.
    pub excludes: Vec<Vec<u8>>,
    /// Patterns for which case does not matter.
    pub iexcludes: Vec<Vec<u8>>,
    /// Files of more bytes than this.
    pub exclude_larger_than: Option<u64>,
    /// What lies in directories tagged as caches.
    pub exclude_caches: bool,
    /// What lies beside a file of this name that starts with this header, if one is given.
    pub exclude_if_present: Vec<TagFile>,
    /// What lies on another file system than the directory the walk started in.
    pub one_file_system: bool,
}

/// A file whose presence in a directory excludes all else in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TagFile {
    name: Vec<u8>,
    header: Option<Vec<u8>>,
}

/// What a backup leaves out. The default leaves out nothing.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    excludes: Vec<PatternList>,
    larger_than: Option<u64>,
    tag_files: Vec<TagFile>,
    one_file_system: bool,
}

impl TagFile {
    /// A tag file of this name; with a header, it counts only if it starts with that.
    ///
    /// # Errors
    /// `Invalid` when `name` is not the name of a file.
    pub fn new(name: &[u8], header: Option<&[u8]>) -> Result<Self> {
        // The name is joined to paths of the walk: it must not lead elsewhere.
        TreePath::root().join(name).map_err(|error| error.within("read the name of a tag file"))?;
        Ok(Self { name: name.to_vec(), header: header.map(<[u8]>::to_vec) })
    }

    /// Reads `NAME` or `NAME:HEADER`.
    ///
    /// # Errors
    /// As [`TagFile::new`].
    pub fn parse(text: &[u8]) -> Result<Self> {
        let mut halves = text.splitn(2, |byte| *byte == b':');
        Self::new(halves.next().unwrap_or_default(), halves.next())
    }

    /// Name of the file, in the directory that it tags.
    pub fn name(&self) -> &[u8] {
        &self.name
    }

    /// Number of bytes that [`TagFile::accepts`] has to see; for 0 the file need not be opened.
    pub fn header_len(&self) -> usize {
        self.header.as_ref().map_or(0, Vec::len)
    }

    /// Whether a file that starts with `head` is a tag.
    pub fn accepts(&self, head: &[u8]) -> bool {
        self.header.as_ref().is_none_or(|header| head.starts_with(header))
    }
}

impl Rules {
    /// Rules from what the user asked for.
    ///
    /// # Errors
    /// `Invalid`, naming every malformed pattern.
    pub fn new(options: RuleOptions) -> Result<Self> {
        let mut tag_files = options.exclude_if_present;
        if options.exclude_caches {
            let (name, header) = CACHE_TAG;
            tag_files.push(TagFile::new(name, Some(header))?);
        }
        Ok(Self {
            excludes: both_cases(&options.excludes, &options.iexcludes)?,
            larger_than: options.exclude_larger_than,
            tag_files,
            one_file_system: options.one_file_system,
        })
    }

    /// Whether patterns exclude this absolute path. A directory that is excluded is not entered, so that nothing below
    /// it can come back; a path that the user named as a source is not asked about.
    pub fn excludes_path(&self, absolute: &[u8]) -> bool {
        self.excludes.iter().any(|list| list.matches(absolute).matched)
    }

    /// Whether something other than a directory, of this many bytes, is too large.
    pub fn excludes_size(&self, size: u64) -> bool {
        self.larger_than.is_some_and(|limit| size > limit)
    }

    /// The tag files to look for in every directory. Where one is found, the directory and the tag file stay and
    /// everything else in it goes.
    pub fn tag_files(&self) -> &[TagFile] {
        &self.tag_files
    }

    /// Whether to stay on the file system of the source.
    pub fn one_file_system(&self) -> bool {
        self.one_file_system
    }
}

/// What a user asks to restore, or to leave out of a restore: one or the other.
#[derive(Debug, Clone, Default)]
pub struct SelectionOptions {
    /// Only what matches one of these.
    pub includes: Vec<Vec<u8>>,
    /// The same without regard to case.
    pub iincludes: Vec<Vec<u8>>,
    /// All but what matches one of these.
    pub excludes: Vec<Vec<u8>>,
    /// The same without regard to case.
    pub iexcludes: Vec<Vec<u8>>,
}

/// The part of a snapshot that a restore is about. Patterns see paths of the snapshot with `/` before them.
#[derive(Debug, Clone, Default)]
pub struct Selection(Choice);

#[derive(Debug, Clone, Default)]
enum Choice {
    #[default]
    All,
    Including(Vec<PatternList>),
    Excluding(Vec<PatternList>),
}

impl Selection {
    /// Everything.
    pub fn all() -> Self {
        Self::default()
    }

    /// The selection that the user asked for.
    ///
    /// # Errors
    /// `Invalid` when both kinds are given, and for malformed patterns, naming each.
    pub fn new(options: &SelectionOptions) -> Result<Self> {
        let including = both_cases(&options.includes, &options.iincludes)?;
        let excluding = both_cases(&options.excludes, &options.iexcludes)?;
        match (including.is_empty(), excluding.is_empty()) {
            (true, true) => Ok(Self(Choice::All)),
            (false, true) => Ok(Self(Choice::Including(including))),
            (true, false) => Ok(Self(Choice::Excluding(excluding))),
            (false, false) => Err(Error::invalid("include and exclude patterns exclude each other")
                .with_hint("give only one kind: an include list can take back with !PATTERN")),
        }
    }

    /// Whether it is everything.
    pub fn is_all(&self) -> bool {
        matches!(self.0, Choice::All)
    }

    /// Whether `path` itself is restored. Needs no memory of the directories above it: what lies below a directory
    /// that [`may_descend`](Self::may_descend) bars is not selected, as if the tree had been walked.
    pub fn selects(&self, path: &TreePath) -> bool {
        self.decide(path, |verdict| verdict.matched)
    }

    /// Whether anything below `path` can be selected.
    pub fn may_descend(&self, path: &TreePath) -> bool {
        path.is_root() || self.decide(path, |verdict| verdict.child_may_match)
    }

    /// Excluding, a path counts if it does not match, and the root always; including, if its verdict is `included`.
    fn decide(&self, path: &TreePath, included: fn(MatchResult) -> bool) -> bool {
        let absolute = [b"/", path.as_bytes()].concat();
        match &self.0 {
            Choice::All => true,
            Choice::Including(lists) => {
                included(ask(lists, &absolute)) && above(lists, &absolute).all(|verdict| verdict.child_may_match)
            }
            Choice::Excluding(_) if path.is_root() => true,
            Choice::Excluding(lists) => {
                !ask(lists, &absolute).matched && above(lists, &absolute).all(|verdict| !verdict.matched)
            }
        }
    }
}

/// What the lists say of the directories above `path`, without the root. Asked for only when a `!` pattern could
/// contradict them: otherwise the verdict on the path itself implies them.
fn above<'a>(lists: &'a [PatternList], path: &'a [u8]) -> impl Iterator<Item = MatchResult> + 'a {
    let needed = lists.iter().any(PatternList::has_negated);
    let ends = path.iter().enumerate().skip(1).filter(move |(_, byte)| needed && **byte == b'/');
    ends.filter_map(move |(end, _)| path.get(..end)).map(|directory| ask(lists, directory))
}

/// What any of the lists says; each list is complete in itself, `!` does not reach into another.
fn ask(lists: &[PatternList], path: &[u8]) -> MatchResult {
    lists.iter().fold(MatchResult::default(), |sum, list| {
        let one = list.matches(path);
        MatchResult { matched: sum.matched || one.matched, child_may_match: sum.child_may_match || one.child_may_match }
    })
}

fn both_cases(sensitive: &[Vec<u8>], insensitive: &[Vec<u8>]) -> Result<Vec<PatternList>> {
    let mut lists = vec![
        PatternList::parse(sensitive, CaseMode::Sensitive)?,
        PatternList::parse(insensitive, CaseMode::Insensitive)?,
    ];
    lists.retain(|list| !list.is_empty());
    Ok(lists)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(patterns: &[&str]) -> Vec<Vec<u8>> {
        patterns.iter().map(|text| text.as_bytes().to_vec()).collect()
    }

    fn path(text: &str) -> TreePath {
        TreePath::parse(text).expect("path")
    }

    #[test]
    fn rules_exclude_by_path_size_and_tag() {
        let rules = Rules::new(RuleOptions {
            excludes: texts(&["*.tmp", "!keep.tmp"]),
            iexcludes: texts(&["/Data/CACHE"]),
            exclude_larger_than: Some(100),
            exclude_caches: true,
            exclude_if_present: vec![TagFile::parse(b".nobackup").expect("tag")],
            one_file_system: true,
        })
        .expect("rules");
        for (path, excluded) in
            [("/a/x.tmp", true), ("/a/keep.tmp", false), ("/data/cache/x", true), ("/data/other", false)]
        {
            assert_eq!(rules.excludes_path(path.as_bytes()), excluded, "{path}");
        }
        assert!(!rules.excludes_size(100));
        assert!(rules.excludes_size(101));
        assert!(rules.one_file_system());
        let names: Vec<_> = rules.tag_files().iter().map(TagFile::name).collect();
        assert_eq!(names, [&b".nobackup"[..], b"CACHEDIR.TAG"]);
        assert!(!Rules::default().excludes_path(b"/any") && !Rules::default().excludes_size(u64::MAX));
    }

    #[test]
    fn a_tag_file_counts_only_with_its_header() {
        let tag = TagFile::parse(b"CACHEDIR.TAG:Signature: 8a").expect("tag");
        assert_eq!((tag.name(), tag.header_len()), (&b"CACHEDIR.TAG"[..], 13));
        assert!(tag.accepts(b"Signature: 8a477f"));
        assert!(!tag.accepts(b"Signature: 8"));
        assert!(TagFile::parse(b"x").expect("tag").accepts(b""));
        for wrong in [&b""[..], b":x", b"a/b", b".."] {
            assert!(TagFile::parse(wrong).is_err());
        }
    }

    #[test]
    fn an_include_list_selects_what_matches_and_descends_to_it() {
        let options =
            SelectionOptions { includes: texts(&["/etc/*.conf", "/srv/**/x"]), ..SelectionOptions::default() };
        let selection = Selection::new(&options).expect("selection");
        for (text, selects, descends) in [
            ("", false, true),
            ("etc", false, true),
            ("etc/a.conf", true, true),
            ("etc/a.conf/below", true, true),
            ("etc/a", false, false),
            ("var", false, false),
            ("srv/a/b", false, true),
            ("srv/a/b/x", true, true),
        ] {
            assert_eq!(selection.selects(&path(text)), selects, "{text}");
            assert_eq!(selection.may_descend(&path(text)), descends, "{text}");
        }
    }

    #[test]
    fn below_an_excluded_directory_nothing_comes_back() {
        let options = SelectionOptions {
            excludes: texts(&["/a", "!/a/keep", "/b/*", "!/b/keep"]),
            iexcludes: texts(&["*.TMP"]),
            ..SelectionOptions::default()
        };
        let selection = Selection::new(&options).expect("selection");
        for (text, selects) in [
            ("", true),
            ("a", false),
            ("a/keep", false),
            ("b", true),
            ("b/other", false),
            ("b/keep", true),
            ("b/keep/x", true),
            ("b/keep/x.tmp", false),
        ] {
            assert_eq!(selection.selects(&path(text)), selects, "{text}");
            assert_eq!(selection.may_descend(&path(text)), selects, "{text}");
        }
    }

    #[test]
    fn include_and_exclude_do_not_go_together() {
        let both =
            SelectionOptions { includes: texts(&["a"]), iexcludes: texts(&["b"]), ..SelectionOptions::default() };
        assert!(Selection::new(&both).is_err());
        let malformed = SelectionOptions { includes: texts(&["["]), ..SelectionOptions::default() };
        assert!(Selection::new(&malformed).is_err());
        let none = Selection::new(&SelectionOptions { includes: texts(&[""]), ..SelectionOptions::default() });
        assert!(none.expect("empty patterns are skipped").is_all());
        assert!(Selection::all().selects(&path("x")) && Selection::all().may_descend(&path("x")));
    }
}
