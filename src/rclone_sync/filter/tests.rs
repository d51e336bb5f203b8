use super::*;

fn strings(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

fn path(text: &str) -> TreePath {
    TreePath::parse(text).unwrap()
}

/// A filter of `--filter` rules.
fn rules(texts: &[&str]) -> Result<Filter> {
    Filter::new(FilterOptions { filter: strings(texts), ..FilterOptions::default() })
}

fn included(filter: &Filter, name: &str) -> bool {
    filter.includes(&path(name), EntryKind::File, 100, Timestamp::default())
}

/// Whether a glob matches a file by its name alone, whatever the rules for directories say.
fn matches(glob: &str, name: &str, ignore_case: bool) -> bool {
    let filter = strings(&[&format!("+ {glob}"), "- *"]);
    let filter = Filter::new(FilterOptions { filter, ignore_case, ..FilterOptions::default() }).unwrap();
    filter.files.include(&name_of(name.as_bytes()))
}

/// glob, names that it matches, names that it does not.
type Vector<'a> = (&'a str, &'a [&'a str], &'a [&'a str]);

#[test]
fn globs_match_what_rclones_page_says() {
    let table: &[Vector<'_>] = &[
        ("file.jpg", &["file.jpg", "directory/file.jpg"], &["afile.jpg", "directory/afile.jpg"]),
        ("/file.jpg", &["file.jpg"], &["afile.jpg", "directory/file.jpg"]),
        ("*.jpg", &["file.jpg", "directory/file.jpg"], &["file.jpg/anotherfile.png", "file.png"]),
        ("/*.jpg", &["file.jpg", "file2.jpg"], &["dir/file.jpg"]),
        ("*.{jpg,png}", &["a.jpg", "d/a.png"], &["a.gif", "d/a.gif"]),
        ("dir/**", &["dir/x", "s/dir/t/x", "dir/d1/d2/f.jpg"], &["dir", "directory/f", "adir/f", "s/f.png"]),
        ("/dir/**", &["dir/x", "dir/s/x"], &["s/dir/x"]),
        ("*.t?t", &["file.txt", "d/file.tzt"], &["file.qxt", "file.tt", "file.t/t"]),
        ("l?ss", &["less", "lass"], &["floss"]),
        ("*.[a-z]", &["file.a", "d/file.b"], &["file.0"]),
        ("h[ae]llo", &["hello", "hallo"], &["hullo"]),
        ("*.[^a]", &["a.b", "a.!"], &["a.a"]),
        // As rclone does, not as its page says: the exclamation mark is a member of the class.
        ("*.[!a]", &["a.a", "a.!"], &["a.b"]),
        (r"*.\?\?\?", &["file.???", "d/file.???"], &["file.abc"]),
        (r"*.\d\d\d", &["file.012", "d/file.345"], &["file.abc"]),
        ("*.{{jpe?g}}", &["f.jpeg", "d/f.jpg"], &["f.png", "d/f.jpeeg"]),
        (r"/{{.*\.jpe?g}}", &["f.jpeg", "f.jpg", "d/f.jpg"], &["f.png"]),
        (r"{{.*\.jpe?g}}", &["d/a.jpeg"], &["a.jpeeg"]),
        (r"{{start[^/]*end\.jpg}}", &["start-end.jpg", "d/startend.jpg"], &["start/end.jpg"]),
        ("{{start.*end\\.jpg}}", &["start/end.jpg"], &["end.jpg"]),
        ("*.{{(?i)jpg}}", &["f.jpg", "d/f.JPG"], &["F.gif"]),
        ("a{b,{c,d}}", &["ab", "ac", "ad"], &["a", "abc", "a{b"]),
        ("{one,two}_potato", &["one_potato", "two_potato"], &["three_potato", "_potato"]),
        ("{dir1/**,dir2/**}", &["dir1/x", "dir2/s/x"], &["dir3/x"]),
        ("lost+found/**", &["lost+found/x", "s/lost+found/x"], &["lost+found", "lostfound/x", "losttfound/x"]),
        (r"\*.jpg", &["*.jpg"], &["a.jpg"]),
        (r"\\.jpg", &[r"\.jpg"], &["a.jpg"]),
        (r"\[one\].jpg", &["[one].jpg"], &["o.jpg"]),
        ("a.(b)|^$+c", &["a.(b)|^$+c"], &["aXc"]),
        ("x,y", &["x,y"], &["x", "y"]),
        ("{{a{2}}}", &["aa"], &["a{2}", "a"]),
        ("**", &["a", "a/b"], &[]),
        ("a**b", &["ab", "a/b", "axx/yb", "d/ab"], &["ba"]),
        ("größe", &["größe", "d/größe"], &["grösse"]),
    ];
    for (glob, yes, no) in table {
        for name in *yes {
            assert!(matches(glob, name, false), "{glob} matches {name}");
        }
        for name in *no {
            assert!(!matches(glob, name, false), "{glob} does not match {name}");
        }
    }
    assert!(!matches("potato", "POTATO", false) && matches("potato", "POTATO", true) && matches("Ä*", "äb", true));
}

#[test]
fn what_rclone_refuses_is_refused() {
    for glob in
        ["***", "***a", "a***b", "ab]c", "ab[c", "a{b", "a}b", "ab{}}cd", "{{a", "a{{b}", "[]", "[]a]", "[a--b]", r"\y"]
    {
        let error = rules(&[&format!("+ {glob}")]).unwrap_err();
        assert!(error.chain().contains(&format!("{glob:?}")) || error.chain().contains(glob), "{glob}: {error:?}");
    }
    for rule in ["potato", "+potato", "-x", "! x", ""] {
        assert!(rules(&[rule]).unwrap_err().chain().contains("malformed rule"), "{rule}");
    }
    for expression in [r"{{a(?=b)}}", r"{{(a}}", r"{{\C}}", r"{{a\1}}", r"{{a\}}"] {
        assert!(rules(&[&format!("- {expression}")]).is_err(), "{expression}");
    }
}

#[test]
fn regular_expressions_mean_what_they_mean_in_go() {
    let table: &[Vector<'_>] = &[
        (r"/{{\d+}}", &["1", "42"], &["٣", "x"]),
        (r"/{{\w+}}", &["a_1"], &["ä", "a-b"]),
        (r"/{{[\w.]+}}", &["a.b"], &["ä.b"]),
        (r"/{{[^\d]}}", &["a", "ä"], &["1"]),
        (r"/{{[[a]}}", &["[", "a"], &["b"]),
        (r"/{{[a&&b]+}}", &["a", "&", "ba&"], &["c"]),
        (r"/{{[]a]+}}", &["]", "a]"], &["b"]),
        (r"/{{[a-]}}", &["a", "-"], &["b"]),
        (r"/{{[[:alpha:]_]+}}", &["ab_"], &["a1"]),
        (r"/{{[[:^alpha:]]}}", &["1"], &["a"]),
        (r"/{{a{,2}}}", &["a{,2}"], &["aa"]),
        (r"/{{a{1,2}b}}", &["ab", "aab"], &["aaab"]),
        (r"/{{\Qa.b*\E+}}", &["a.b*", "a.b**"], &["axb"]),
        (r"/{{\<a\>}}", &["<a>"], &["a"]),
        (r"/{{\x41\x{42}\103}}", &["ABC"], &["abc"]),
        (r"/{{a\b.b}}", &["a-b"], &["aab"]),
        (r"/{{\pL+}}", &["äb"], &["1"]),
        (r"/{{\p{Greek}}}", &["α"], &["a"]),
        (r"/{{(?i:A)b}}", &["ab", "Ab"], &["aB"]),
        ("[[:digit:]]", &["1"], &["a"]),
        (r"a[\-x]b", &["a-b", "axb"], &[r"a\b"]),
    ];
    for (glob, yes, no) in table {
        for name in *yes {
            assert!(matches(glob, name, false), "{glob} matches {name}");
        }
        for name in *no {
            assert!(!matches(glob, name, false), "{glob} does not match {name}");
        }
    }
}

#[test]
fn globs_become_rclones_expressions() {
    for (glob, expression) in [
        ("", "(^|/)$"),
        ("potato,sausage", "(^|/)potato,sausage$"),
        ("/potato", "^potato$"),
        ("potat[[:alpha:]]or", "(^|/)potat[[:alpha:]]or$"),
        (r"[\[\]]", r"(^|/)[\[\]]$"),
        ("a{b,c,d}e", "(^|/)a(b|c|d)e$"),
        ("potato**sausage", "(^|/)potato.*sausage$"),
        ("{{a{2}}}", "(^|/)(a{2})$"),
        (r"a\*b", r"(^|/)a\*b$"),
        ("{a,{{b}}c}", "(^|/)(a|(b)c)$"),
    ] {
        assert_eq!(glob::to_expression(glob).unwrap(), expression, "{glob}");
    }
}

#[test]
fn directories_are_derived_from_the_globs_of_files() {
    let table: &[(&str, &[&str])] = &[
        ("*", &["/**"]),
        ("/*", &["/"]),
        ("*.jpg", &["/**"]),
        ("///*.jpg", &["/"]),
        ("/a///*.jpg", &["/a/", "/"]),
        ("/a/b/*.jpg", &["/a/b/", "/a/", "/"]),
        ("a/*.jpg", &["a/"]),
        ("*/*/*.jpg", &["*/*/", "*/"]),
        ("a/b/", &["a/b/", "a/"]),
        ("/a/{jpg,png}/*.{jpg,png}", &["/a/{jpg,png}/", "/a/", "/"]),
        ("a/{a,a*b,a**c}/d/", &["/**"]),
        ("/a/{a,a/c,d}/d/", &["/**"]),
        ("a/{b,{c,d}}/e", &["/**"]),
        ("a/{{b}}/c", &["/**"]),
        ("**", &["**/"]),
        ("a**b**c**d", &["a**b**c**/", "a**b**/", "a**/"]),
        ("/A/a**b/B", &["/A/a**b/", "/A/a**/", "/A/", "/"]),
        ("/var/spool/**/ncw", &["/var/spool/**/", "/var/spool/", "/var/", "/"]),
        ("var/spool/**/ncw/", &["var/spool/**/ncw/", "var/spool/**/", "var/spool/", "var/"]),
    ];
    for (glob, directories) in table {
        assert_eq!(glob::directories_of(glob), strings(directories), "{glob}");
    }
    let dump = |rule: &str| {
        let mut drafts = Drafts::default();
        drafts.add_rule(rule).unwrap();
        (drafts.files.dump(), drafts.directories.dump())
    };
    for (rule, files, directories) in [
        ("- potato", &["- (^|/)potato$"][..], &[][..]),
        ("+ potato", &["+ (^|/)potato$"], &["+ ^.*$"]),
        ("- potato/", &["- (^|/)potato/.*$"], &["- (^|/)potato/.*$"]),
        ("+ potato/", &[], &["+ (^|/)potato/$"]),
        ("- *", &["- (^|/)[^/]*$"], &["- ^.*$"]),
        ("- .*{,/**}", &[r"- (^|/)\.[^/]*(|/.*)$"], &[r"- (^|/)\.[^/]*(|/.*)$"]),
        ("+ a/b/c", &["+ (^|/)a/b/c$"], &["+ (^|/)a/b/$", "+ (^|/)a/$"]),
    ] {
        assert_eq!(dump(rule), (strings(files), strings(directories)), "{rule}");
    }
}

#[test]
fn the_first_rule_that_matches_decides_for_files_and_directories() {
    let filter = rules(&[
        "+ cleared",
        "!",
        "- /file1.jpg",
        "+ /file2.png",
        "+ /*.jpg",
        "- /*.png",
        "- /potato",
        "+ /sausage1",
        "+ /sausage2*",
        "+ /sausage3**",
        "+ /a/*.jpg",
        "- *",
    ])
    .unwrap();
    for name in ["file2.png", "file3.jpg", "sausage1", "sausage2potato", "sausage3/potato", "a/one.jpg"] {
        assert!(included(&filter, name), "{name}");
    }
    for name in
        ["cleared", "file1.jpg", "FILE2.png", "afile2.png", "file4.png", "potato", "sausage1/potato", "sausage2/potato"]
    {
        assert!(!included(&filter, name), "{name}");
    }
    for (name, looked_into) in
        [("sausage1", false), ("sausage2", false), ("sausage3", true), ("SAUSAGE3", false), ("sausage3/sub/dir", true)]
    {
        assert_eq!(filter.may_descend(&path(name)), looked_into, "{name}");
    }
    assert!(filter.may_descend(&path("a")) && filter.may_descend(&TreePath::root()) && !filter.is_empty());
}

#[test]
fn a_directory_that_is_excluded_takes_all_below_it_along() {
    let filter = rules(&["- /dir1/", "- lost+found/**", "+ *.pdf", "- **"]).unwrap();
    assert!(included(&filter, "a.pdf") && included(&filter, "s/t/a.pdf") && !included(&filter, "a.txt"));
    assert!(!included(&filter, "dir1/a.pdf") && included(&filter, "s/dir1/a.pdf"));
    assert!(!filter.may_descend(&path("lost+found")) && !filter.may_descend(&path("s/lost+found")));
    let nested = rules(&["+ dir/**", "- *"]).unwrap();
    assert!(included(&nested, "dir/s/x") && !included(&nested, "s/dir/x"), "`- *` shuts every other directory");
    let below = rules(&["- /a/*/", "+ /a/b/c.txt"]).unwrap();
    assert!(!included(&below, "a/b/c.txt"), "its directory is not looked into");
    assert!(included(&below, "a/x"));
}

#[test]
fn flags_are_read_in_rclones_order_and_an_include_excludes_the_rest() {
    let filter = Filter::new(FilterOptions {
        filter_from: vec![b"# comment\n; comment\n\n  - f1  \r\n+ *.txt\n".to_vec()],
        filter: strings(&["- g1"]),
        exclude_from: vec![b"e2\n".to_vec()],
        exclude: strings(&["e1", "i1"]),
        include_from: vec![b"i2\ne2".to_vec()],
        include: strings(&["i1", "e1"]),
        ..FilterOptions::default()
    })
    .unwrap();
    for (name, wanted) in
        [("i1", true), ("e1", true), ("e2", true), ("i2", true), ("g1", false), ("f1", false), ("a.txt", true)]
    {
        assert_eq!(included(&filter, name), wanted, "{name}");
    }
    assert!(!included(&filter, "other"));
    let only = Filter::new(FilterOptions { include: strings(&["a"]), ..FilterOptions::default() }).unwrap();
    assert!(included(&only, "a") && included(&only, "d/a") && !included(&only, "b"));
}

#[test]
fn lists_of_files_stand_alone_and_name_their_directories() {
    let options = FilterOptions {
        files_from: vec![b"# no\n  path/to/f1.png \n/path/to/dir/f2\n".to_vec()],
        files_from_raw: vec![b"#raw\n two  \n".to_vec()],
        files_from0: vec![b"new\nline\0last".to_vec()],
        ..FilterOptions::default()
    };
    let filter = Filter::new(options.clone()).unwrap();
    for name in ["path/to/f1.png", "path/to/dir/f2", "#raw", " two  ", "new\nline", "last"] {
        assert!(included(&filter, name), "{name}");
    }
    assert!(!included(&filter, "f1.png") && !included(&filter, "path/to"));
    for (name, wanted) in
        [("path", true), ("path/to", true), ("path/to/dir", true), ("path/too", false), ("four", false)]
    {
        assert_eq!(filter.may_descend(&path(name)), wanted, "{name}");
    }
    for other in [
        FilterOptions { exclude: strings(&["x"]), ..options.clone() },
        FilterOptions { min_size: Some(ByteSize(1)), ..options.clone() },
    ] {
        assert!(Filter::new(other).is_err());
    }
}

#[test]
fn sizes_times_depth_and_links_are_asked_for() {
    let at = |seconds| Timestamp { seconds, nanos: 0 };
    let filter = Filter::new(FilterOptions {
        exclude: strings(&["*.rclonelink"]),
        min_size: Some(ByteSize(10)),
        max_size: Some(ByteSize(20)),
        modified_from: Some(at(5)),
        modified_until: Some(at(7)),
        max_depth: Some(2),
        ..FilterOptions::default()
    })
    .unwrap();
    for (size, seconds, wanted) in
        [(10, 5, true), (19, 7, true), (9, 6, false), (20, 6, false), (15, 4, false), (15, 8, false)]
    {
        assert_eq!(filter.includes(&path("d/f"), EntryKind::File, size, at(seconds)), wanted, "{size} {seconds}");
    }
    assert!(!filter.includes(&path("d/e/f"), EntryKind::File, 15, at(6)) && filter.may_descend(&path("d")));
    assert!(!filter.may_descend(&path("d/e")) && !filter.includes(&path("link"), EntryKind::Symlink, 15, at(6)));
    for (name, kind, is_reached) in [
        ("d/f", EntryKind::File, true),
        ("d/e/f", EntryKind::File, false),
        ("d/e", EntryKind::Directory, false),
        ("d", EntryKind::Directory, true),
    ] {
        assert_eq!(filter.reaches(&path(name), kind), is_reached, "{name}");
    }
    let top = Filter::new(FilterOptions { max_depth: Some(0), ..FilterOptions::default() }).unwrap();
    assert!(included(&top, "f") && !included(&top, "d/f"), "0 is the files at the top, too");
    assert!(
        Filter::new(FilterOptions { modified_from: Some(at(7)), modified_until: Some(at(5)), ..Default::default() })
            .is_err()
    );
}

#[test]
fn names_that_are_not_text_are_matched_character_by_character() {
    let filter = rules(&["+ a?b", "- *"]).unwrap();
    for (name, wanted) in [(&b"a\xffb"[..], true), (b"a\xff\xfeb", false), (b"a\nb", true), ("aäb".as_bytes(), true)] {
        assert_eq!(
            filter.includes(&TreePath::parse(name).unwrap(), EntryKind::File, 0, Timestamp::default()),
            wanted,
            "{name:?}"
        );
    }
    assert!(matches("x**y", "x\ny", false), "rclone shows the line end as a symbol");
}

#[test]
fn long_lists_of_rules_keep_their_order() {
    let mut texts: Vec<String> = (0..500).map(|n| format!("- f{n}")).collect();
    texts.push("+ f*".into());
    texts.push("- *".into());
    let filter = Filter::new(FilterOptions { filter: texts, ..FilterOptions::default() }).unwrap();
    assert!(!included(&filter, "f499") && included(&filter, "f500") && !included(&filter, "g"));
}
