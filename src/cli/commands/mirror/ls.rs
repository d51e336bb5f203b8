//! `mirror ls`.

use std::os::unix::ffi::OsStrExt;

use crate::cli::App;
use crate::cli::args::MirrorLsArgs;
use crate::cli::commands::ls::{long, node};
use crate::cli::exit::Outcome;
use crate::cli::output::json;
use crate::cli::settings::RemoteSettings;
use crate::error::{Error, ErrorKind, Result};
use crate::path::TreePath;
use crate::rclone_sync::look::root;
use crate::rclone_sync::manifest::entries;

use super::reach::Reach;

/// Lists the files of a generation.
pub(super) fn run(app: &App<'_>, args: &MirrorLsArgs) -> Result<Outcome> {
    let remote = RemoteSettings::new(&args.remote, app.environment);
    let below = args.path.as_ref().map_or(Ok(TreePath::root()), |path| relative(path.as_bytes()))?;
    let places = Reach::new(app, &remote)?.places(&args.location)?;
    let root = root(&places, args.generation)?;
    let mut found = below.is_root();
    for entry in entries(&places, &root) {
        let entry = entry?;
        if !entry.path.starts_with(&below) || entry.path.is_root() {
            continue;
        }
        found = true;
        let line = if app.console.settings().json {
            json::line(&node(&entry, &entry.path))
        } else if args.long {
            long(&entry, &entry.path, false)
        } else {
            entry.path.display()
        };
        app.console.row(&line);
        if !app.console.is_heard() {
            break;
        }
    }
    if found {
        return Ok(Outcome::Complete);
    }
    Err(Error::new(ErrorKind::NotFound, format!("generation {} does not hold {}", root.generation, below.display())))
}

/// A path below the root of the mirror, with or without slashes around it.
fn relative(path: &[u8]) -> Result<TreePath> {
    let start = path.iter().position(|byte| *byte != b'/').unwrap_or(path.len());
    let end = path.iter().rposition(|byte| *byte != b'/').map_or(start, |last| last + 1);
    TreePath::parse(path.get(start..end).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slashes_around_a_path_mean_nothing() {
        for (path, shown) in [("", "/"), ("/", "/"), ("a/b", "/a/b"), ("/a/b/", "/a/b"), ("//a", "/a")] {
            assert_eq!(relative(path.as_bytes()).unwrap().display(), shown);
        }
        assert!(relative(b"a/../b").is_err());
    }
}
