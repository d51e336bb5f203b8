//! Whether places lie within each other: a mirror in its source would be pushed into itself, a target in its mirror would be deleted by it.

use std::path::{Component, Path, PathBuf};

use crate::error::{Error, Result};
use crate::storage::Location;

use super::destination::Destination;
use super::layout::Places;

/// Whether one directory is the other or lies within it, whatever links lead to them, and whether they exist yet or not.
pub(super) fn overlap(one: &Path, other: &Path) -> bool {
    let (one, other) = (resolved(one), resolved(other));
    one.starts_with(&other) || other.starts_with(&one)
}

/// Whether a directory overlaps with a mirror in a directory, or with its control area.
pub(super) fn overlaps_mirror(path: &Path, places: &Places) -> bool {
    [&places.data, &places.control].into_iter().any(|store| match store.location() {
        Location::Local(mirror) => overlap(path, mirror),
        Location::S3 { .. } | Location::Gcs { .. } | Location::Azure { .. } | Location::Memory => false,
    })
}

/// # Errors
/// `Invalid` for two destinations that are the same, or one within the other: each would delete what the other has stored.
pub(super) fn check_destinations(destinations: &[Destination]) -> Result<()> {
    for (number, one) in destinations.iter().enumerate() {
        for other in destinations.iter().skip(number + 1) {
            if is_within_another(&one.places, &other.places) {
                let text = format!("the destinations {} and {} lie in each other", one.name, other.name);
                return Err(Error::invalid(text).with_hint("name each destination once, and none below another one"));
            }
        }
    }
    Ok(())
}

fn is_within_another(one: &Places, other: &Places) -> bool {
    match (one.data.location(), other.data.location()) {
        (Location::Local(one), Location::Local(other)) => overlap(one, other),
        (Location::S3 { prefix: below, .. }, Location::S3 { prefix: above, .. })
        | (Location::Gcs { prefix: below, .. }, Location::Gcs { prefix: above, .. })
        | (Location::Azure { prefix: below, .. }, Location::Azure { prefix: above, .. }) => {
            one.data.holder() == other.data.holder() && (is_below(below, above) || is_below(above, below))
        }
        (
            Location::Local(_) | Location::S3 { .. } | Location::Gcs { .. } | Location::Azure { .. } | Location::Memory,
            _,
        ) => false,
    }
}

/// Whether a prefix is the other or lies below it. The empty one is the whole bucket.
fn is_below(below: &str, above: &str) -> bool {
    let (below, above) = (below.trim_matches('/'), above.trim_matches('/'));
    let rest = below.strip_prefix(above);
    above.is_empty() || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The path without links, as far as it exists, and the rest as it stands.
fn resolved(path: &Path) -> PathBuf {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for above in full.ancestors() {
        let (Ok(real), Ok(rest)) = (above.canonicalize(), full.strip_prefix(above)) else { continue };
        // To join nothing would leave a slash at the end.
        if rest.as_os_str().is_empty() {
            return real;
        }
        if rest.components().any(|part| part == Component::ParentDir) {
            // What is not there will be directories, and not links, once it is made. What comes behind may be there, and a link.
            return resolved(&without_parents(real, rest));
        }
        return real.join(rest);
    }
    full
}

/// `rest` below `real`, each `..` taken back with what is before it: none is left, so this is done once.
fn without_parents(real: PathBuf, rest: &Path) -> PathBuf {
    rest.components().fold(real, |mut path, part| {
        if part == Component::ParentDir {
            path.pop();
        } else {
            path.push(part);
        }
        path
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;
    use crate::storage::StoreOptions;

    #[test]
    fn directories_overlap_through_links_even_if_the_last_part_is_not_there_yet() {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(at("source/deep")).expect("made");
        std::os::unix::fs::symlink(at("source"), at("link")).expect("linked");
        for (one, other, expected) in [
            ("source", "source", true),
            ("source", "source/new/sub", true),
            ("source", "link/new/sub", true),
            ("source/deep", "link", true),
            ("source", "sourc", false),
            ("source", "source.volvault", false),
            ("link/new", "source/old", false),
            ("nowhere/a", "nowhere", true),
            ("new/../source", "source", true),
            ("new/sub/../../link/deep", "source/deep", true),
            ("new/../source", "new", false),
            ("link/../source", "source", true),
        ] {
            assert_eq!(overlap(&at(one), &at(other)), expected, "{one} and {other}");
            assert_eq!(overlap(&at(other), &at(one)), expected, "{other} and {one}");
        }
    }

    #[test]
    fn prefixes_within_each_other_are_found_in_every_kind_of_store() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let variables = [
            ("AWS_ACCESS_KEY_ID", "id"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("GOOGLE_ACCESS_TOKEN", "token"),
            ("AZURE_ACCOUNT_NAME", "account"),
            ("AZURE_ACCOUNT_KEY", "a2V5"),
        ];
        let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let options = StoreOptions { variables, ..StoreOptions::default() };
        let destination = |name: &str| {
            let location = name.parse().expect("a location");
            let places = runtime.block_on(Places::connect(&location, &options, SystemClock::new()));
            Destination { name: name.to_owned(), places: places.expect("connected"), state: None }
        };
        for (store, other) in [
            ("/nowhere/b", "/nowhere/c"),
            ("s3:http://127.0.0.1:1/b", "s3:http://127.0.0.1:2/b"),
            ("s3://b", "s3://c"),
            ("gs:b:", "gs:c:"),
            ("azure:b:", "azure:c:"),
        ] {
            for (one, two, is_refused) in [
                (format!("{store}/p"), format!("{store}/p"), true),
                (format!("{store}/p"), format!("{store}/p/x"), true),
                (format!("{store}/p"), format!("{store}/px"), false),
                (format!("{store}/p/x"), format!("{store}/p/y"), false),
                (format!("{store}/p"), format!("{other}/p/x"), false),
                (format!("{store}/"), format!("{store}/p"), true),
                (format!("{store}/p"), "s3:http://127.0.0.1:3/b/p".to_owned(), false),
            ] {
                for pair in [[&one, &two], [&two, &one]] {
                    let checked = check_destinations(&pair.map(|name| destination(name)));
                    assert_eq!(checked.is_err(), is_refused, "{pair:?}");
                }
            }
        }
    }
}
