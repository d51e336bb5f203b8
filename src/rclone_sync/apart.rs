//! Whether places lie within each other: a mirror in its source would be pushed into itself, a target in its mirror would be deleted by it.

use std::path::{Path, PathBuf};

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
        (Location::Memory, _) | (_, Location::Memory) => false,
        (Location::Local(one), Location::Local(other)) => overlap(one, other),
        _ => {
            let (one, other) = (one.data.place(), other.data.place());
            let (one, other) = (one.trim_end_matches('/'), other.trim_end_matches('/'));
            let is_below = |below: &str, above: &str| {
                below.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            is_below(one, other) || is_below(other, one)
        }
    }
}

/// The path without links, as far as it exists, and the rest as it stands.
fn resolved(path: &Path) -> PathBuf {
    let full = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    for above in full.ancestors() {
        if let (Ok(real), Ok(rest)) = (above.canonicalize(), full.strip_prefix(above)) {
            // To join nothing would leave a slash at the end.
            return if rest.as_os_str().is_empty() { real } else { real.join(rest) };
        }
    }
    full
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(overlap(&at(one), &at(other)), expected, "{one} and {other}");
            assert_eq!(overlap(&at(other), &at(one)), expected, "{other} and {one}");
        }
    }
}
