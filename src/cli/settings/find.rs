//! Which snapshots are meant: filters, selectors and groups.

use std::ffi::OsStr;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::cli::args::FilterArgs;
use crate::clock;
use crate::environment::Environment;
use crate::error::{Error, Result};
use crate::path::TreePath;
use crate::repo::{Selector, SnapshotFilter};

/// One snapshot, and what of it.
#[derive(Debug)]
pub(crate) struct Chosen {
    /// The snapshot.
    pub(crate) selector: Selector,
    /// Only what lies here; its path is not restored.
    pub(crate) subfolder: Option<TreePath>,
}

/// What narrows down `latest`.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Latest<'a> {
    /// Not newer than this time.
    pub(crate) as_of: Option<&'a str>,
    /// So many before it.
    pub(crate) previous: Option<u32>,
    /// Unfinished ones too.
    pub(crate) include_partial: bool,
}

/// Reads `ID[:FOLDER]`, where the id may be `latest` or `latest~N`.
///
/// # Errors
/// `Invalid` for what is no id and no folder, and for [`Latest`] beside an id.
pub(crate) fn choose(text: &str, latest: Latest<'_>) -> Result<Chosen> {
    let (id, folder) = text.split_once(':').map_or((text, None), |(id, folder)| (id, Some(folder)));
    Ok(Chosen { selector: selector(id.trim(), latest)?, subfolder: folder.map(subfolder).transpose()?.flatten() })
}

fn selector(id: &str, latest: Latest<'_>) -> Result<Selector> {
    let Some(rest) = id.strip_prefix("latest") else {
        if latest.as_of.is_some() || latest.previous.is_some() {
            return Err(Error::invalid(format!("--as-of and --previous choose a snapshot, and so does {id:?}"))
                .with_hint("give `latest` with them"));
        }
        let hex = !id.is_empty() && id.len() <= 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        return if hex {
            Ok(Selector::Id(id.to_ascii_lowercase()))
        } else {
            Err(Error::invalid(format!("{id:?} is no snapshot id: neither `latest` nor up to 32 hex digits")))
        };
    };
    let offset = match rest.strip_prefix('~') {
        None if rest.is_empty() => None,
        Some(count) => Some(count.parse().map_err(|_| Error::invalid(format!("{id:?} is not latest~N")))?),
        None => return Err(Error::invalid(format!("{id:?} is no snapshot id"))),
    };
    if offset.is_some() && latest.previous.is_some() {
        return Err(Error::invalid(format!("both {id} and --previous are given")));
    }
    Ok(Selector::Latest {
        previous: offset.or(latest.previous).unwrap_or(0),
        as_of: latest.as_of.map(clock::parse_time_to_its_end).transpose()?,
        include_partial: latest.include_partial,
    })
}

fn subfolder(text: &str) -> Result<Option<TreePath>> {
    let path =
        TreePath::parse(text.trim_matches('/')).map_err(|error| error.within("the folder after the snapshot's id"))?;
    Ok(Some(path).filter(|path| !path.is_root()))
}

/// The filter of a command; without `--host` the environment's host counts, and `--host ""` stands for all hosts.
///
/// # Errors
/// `Invalid` for a path that is not absolute.
pub(crate) fn filter(args: &FilterArgs, environment: &Environment) -> Result<SnapshotFilter> {
    let hosts = if args.host.is_empty() {
        environment.ours("HOST")?.map(|(_, host)| host.to_owned()).into_iter().collect()
    } else {
        args.host.iter().filter(|host| !host.is_empty()).cloned().collect()
    };
    let paths = args.path.iter().map(|path| absolute(path)).collect::<Result<_>>()?;
    let tags = args.tag.iter().map(|list| list.split(',').map(|tag| tag.trim().to_owned()).collect()).collect();
    Ok(SnapshotFilter { hosts, paths, tags })
}

fn absolute(path: &OsStr) -> Result<Vec<u8>> {
    let bytes = path.to_os_string().into_vec();
    if !path.as_bytes().starts_with(b"/") {
        let shown = crate::path::escape(path.as_bytes());
        return Err(Error::invalid(format!("--path {shown} is not absolute"))
            .with_hint("name the path as `snapshots` shows it"));
    }
    let end = bytes.iter().rposition(|byte| *byte != b'/').unwrap_or(0);
    Ok(bytes.into_iter().take(end + 1).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::OsString;

    #[test]
    fn one_snapshot_is_named_by_id_or_by_latest_and_a_folder() {
        let plain = |text: &str| choose(text, Latest::default());
        let chosen = plain("12AB:/srv/data/").unwrap();
        assert!(matches!(chosen.selector, Selector::Id(id) if id == "12ab"));
        assert_eq!(chosen.subfolder.unwrap().display(), "/srv/data");
        let chosen = plain("latest:/").unwrap();
        assert!(matches!(chosen.selector, Selector::Latest { previous: 0, as_of: None, include_partial: false }));
        assert!(chosen.subfolder.is_none());
        assert!(matches!(plain("latest~3").unwrap().selector, Selector::Latest { previous: 3, .. }));
        for wrong in ["", "xyz", "latest3", "latest~", "latest~x", "12ab:../x", ":a", &"a".repeat(33)] {
            assert!(plain(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn time_and_offset_go_with_latest_only() {
        let narrowed = Latest { as_of: Some("2024-03-01T00:00:00Z"), previous: Some(2), include_partial: true };
        let Selector::Latest { previous, as_of, include_partial } = choose("latest", narrowed).unwrap().selector else {
            panic!("latest");
        };
        assert_eq!(
            (previous, as_of.unwrap().to_rfc3339(), include_partial),
            (2, "2024-03-01T00:00:00.999999999+00:00".into(), true)
        );
        assert!(choose("12ab", narrowed).is_err());
        assert!(choose("latest~1", narrowed).is_err());
        assert!(choose("latest", Latest { as_of: Some("soon"), ..narrowed }).is_err());
    }

    #[test]
    fn filters_are_restics() {
        let environment: Environment = [("RESTIC_HOST", "there")].into_iter().collect();
        let args = |host: &[&str], tag: &[&str], path: &[&str]| FilterArgs {
            host: host.iter().map(|&text| text.to_owned()).collect(),
            tag: tag.iter().map(|&text| text.to_owned()).collect(),
            path: path.iter().map(OsString::from).collect(),
        };
        let made = filter(&args(&["a", "b"], &["x, y", ""], &["/data/", "/"]), &environment).unwrap();
        assert_eq!(made.hosts, ["a", "b"]);
        assert_eq!(made.tags, [vec!["x".to_owned(), "y".to_owned()], vec![String::new()]]);
        assert_eq!(made.paths, [b"/data".to_vec(), b"/".to_vec()]);
        assert_eq!(filter(&args(&[], &[], &[]), &environment).unwrap().hosts, ["there"]);
        assert!(filter(&args(&[""], &[], &[]), &environment).unwrap().hosts.is_empty());
        assert!(filter(&args(&[], &[], &["data"]), &environment).is_err());
    }
}
