//! The file itself: sections of `key = value`, comments, nothing nested. What rclone encrypted is refused by name.

use std::collections::BTreeMap;

use crate::error::{Error, ErrorKind, Result};

/// A configuration that is larger is no configuration.
const FILE_MAX: usize = 16 << 20;

/// Settings of a remote by key.
pub(super) type Section = BTreeMap<String, String>;

/// Reads the sections by their names. Of a key that comes twice, the last counts.
///
/// # Errors
/// `Unsupported` for an encrypted file, `Invalid` for what is no such file.
pub(super) fn parse(file: &[u8]) -> Result<BTreeMap<String, Section>> {
    let refuse = |why: &str| Error::invalid(format!("read the rclone configuration: {why}"));
    if file.len() > FILE_MAX {
        return Err(refuse("it has more than 16 MiB"));
    }
    let text = std::str::from_utf8(file).map_err(|cause| refuse("it is not text").with_source(cause))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let lines = || text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with(['#', ';']));
    if lines().next().is_some_and(|line| line.starts_with("RCLONE_ENCRYPT_V")) {
        return Err(Error::new(ErrorKind::Unsupported, "the rclone configuration is encrypted").with_hint(
            "write it out with `rclone config show REMOTE` into a file of its own, or set RCLONE_CONFIG_<NAME>_TYPE and so on",
        ));
    }
    let (mut sections, mut current) = (BTreeMap::new(), None);
    for line in lines() {
        if let Some(name) = line.strip_prefix('[') {
            let name = name.strip_suffix(']').ok_or_else(|| refuse(&format!("{line:?} does not end with ]")))?.trim();
            sections.entry(name.to_owned()).or_insert_with(Section::new);
            current = Some(name.to_owned());
            continue;
        }
        let section = current.as_ref().and_then(|name| sections.get_mut(name));
        // Not quoted: it may hold a secret.
        let (key, value) =
            line.split_once(['=', ':']).ok_or_else(|| refuse("a line is neither [name] nor key = value"))?;
        let section: &mut Section = section.ok_or_else(|| refuse("a key stands before the first [name]"))?;
        section.insert(key.trim().to_owned(), unquoted(value.trim()).to_owned());
    }
    Ok(sections)
}

fn unquoted(value: &str) -> &str {
    ["\"\"\"", "`"].iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_keys_and_comments_are_told_apart() {
        let file = b"\xef\xbb\xbf# comment\n; another\n\n[s3-bucket]\ntype = s3\n  access_key_id=user1\nsecret_access_key = a=b#c;d\nendpoint = http://h:9000\r\nregion: eu\n\
            empty =\n[ two ]\ntype = alias\nremote = `x y`\n[s3-bucket]\nregion = us\n";
        let sections = parse(file).unwrap();
        let one = &sections["s3-bucket"];
        for (key, value) in [
            ("type", "s3"),
            ("access_key_id", "user1"),
            ("secret_access_key", "a=b#c;d"),
            ("endpoint", "http://h:9000"),
            ("region", "us"),
            ("empty", ""),
        ] {
            assert_eq!(one[key], value);
        }
        assert_eq!(sections["two"]["remote"], "x y");
        assert!(parse(b"").unwrap().is_empty());
    }

    #[test]
    fn encrypted_and_broken_files_are_refused_without_a_secret_in_the_message() {
        let error = parse(b"# Encrypted rclone configuration File\n\nRCLONE_ENCRYPT_V0:\nabc\n").unwrap_err();
        assert!(error.kind() == ErrorKind::Unsupported && error.hint().is_some());
        for file in [&b"[a\nx = y\n"[..], b"x = hunter2\n", b"[a]\nhunter2\n", b"[a]\nx = \xff\n"] {
            assert!(!parse(file).unwrap_err().chain().contains("hunter2"));
        }
    }
}
