//! Where things of a mirror lie: the names of its control objects, and the keys of its files. Spec: `docs/mirror.md` sections 1 and 2.

use std::path::PathBuf;

use tokio::runtime::Handle;

use crate::clock::SharedClock;
use crate::error::{Error, Result};
use crate::id::ObjectHash;
use crate::path::TreePath;
use crate::storage::{Location, Store, StoreOptions};

/// What the name of the control area ends with.
pub const CONTROL: &str = ".volvault";
/// The only object of the control area that changes in place, beside [`PUSH`].
pub const ROOT: &str = "root";
/// The claim of the push that is under way.
pub const PUSH: &str = "push";
/// What is not named any more, and since when.
pub const GARBAGE: &str = "garbage";
/// Ends the key of a symlink; rclone's `--links` writes and reads the same.
pub const LINK_END: &str = ".rclonelink";

/// The two halves of a mirror: the user's files, and what we keep beside them.
#[derive(Clone, Debug)]
pub struct Places {
    /// One plain object per file.
    pub data: Store,
    /// The control area.
    pub control: Store,
    runtime: Handle,
}

impl Places {
    /// Both stores of the mirror at `location`. Makes no request.
    pub async fn connect(location: &Location, options: &StoreOptions, clock: SharedClock) -> Result<Self> {
        let control = control_of(location)?;
        Ok(Self {
            data: Store::connect(location, options, clock.clone()).await?,
            control: Store::connect(&control, options, clock).await?,
            runtime: Handle::current(),
        })
    }

    /// A mirror of two stores that are open already.
    pub fn new(data: Store, control: Store, runtime: Handle) -> Self {
        Self { data, control, runtime }
    }

    /// The runtime that carries the requests.
    pub fn runtime(&self) -> &Handle {
        &self.runtime
    }

    /// Waits for `future` on a plain thread; not to be called from asynchronous code.
    pub fn block<T>(&self, future: impl Future<Output = T>) -> T {
        self.runtime.block_on(future)
    }

    /// Whether a file of this path would lie in the control area, which a mirror of a whole bucket has among its own keys.
    pub fn is_reserved(&self, path: &TreePath) -> bool {
        let whole = match self.data.location() {
            Location::S3 { prefix, .. } | Location::Gcs { prefix, .. } | Location::Azure { prefix, .. } => {
                prefix.is_empty()
            }
            Location::Local(_) | Location::Memory => false,
        };
        whole && path.components().next() == Some(CONTROL.as_bytes())
    }
}

/// The control area of the mirror at `location`: beside it, never in it, because other tools delete what they do not know below a prefix.
///
/// # Errors
/// `Invalid` for a directory without a name, such as `/` or `..`, and for a place in the control area of another mirror: that one would be destroyed.
pub fn control_of(location: &Location) -> Result<Location> {
    if is_in_control_area(location) {
        return Err(Error::invalid(format!("{location} lies in the control area of a mirror"))
            .with_hint("name the mirror without .volvault; no directory of a location may end with it"));
    }
    let beside = |prefix: &str| format!("{prefix}{CONTROL}");
    Ok(match location {
        Location::Local(path) => {
            let name = path.file_name().ok_or_else(|| {
                Error::invalid(format!("{} cannot hold a mirror: it has no name of its own", path.display()))
                    .with_hint("name the directory by its full path; its control area lies beside it")
            })?;
            let mut name = name.to_owned();
            name.push(CONTROL);
            Location::Local(path.parent().map_or_else(|| PathBuf::from(&name), |holder| holder.join(&name)))
        }
        Location::S3 { endpoint, bucket, prefix, region } => Location::S3 {
            endpoint: endpoint.clone(),
            bucket: bucket.clone(),
            prefix: beside(prefix),
            region: region.clone(),
        },
        Location::Gcs { bucket, prefix } => Location::Gcs { bucket: bucket.clone(), prefix: beside(prefix) },
        Location::Azure { container, prefix } => {
            Location::Azure { container: container.clone(), prefix: beside(prefix) }
        }
        Location::Memory => Location::Memory,
    })
}

fn is_in_control_area(location: &Location) -> bool {
    let is_control = |name: &[u8]| name.ends_with(CONTROL.as_bytes());
    match location {
        Location::Local(path) => path.iter().any(|name| is_control(name.as_encoded_bytes())),
        Location::S3 { prefix, .. } | Location::Gcs { prefix, .. } | Location::Azure { prefix, .. } => {
            prefix.split('/').any(|name| is_control(name.as_bytes()))
        }
        Location::Memory => false,
    }
}

/// Copies of roots have keys that begin so.
pub const ROOTS: &str = "roots/";

/// Key of the copy of the root of `generation`.
pub fn root_key(generation: u64) -> String {
    format!("{ROOTS}{generation:012}")
}

/// Key of a segment of the manifest.
pub fn segment_key(hash: &ObjectHash) -> String {
    named("segments", hash)
}

/// Key of the block list of the file whose content has this hash.
pub fn blocks_key(hash: &ObjectHash) -> String {
    named("blocks", hash)
}

/// Key of a pack of small files.
pub fn pack_key(hash: &ObjectHash) -> String {
    named("packs", hash)
}

/// Key of a file that waits in the control area.
pub fn staged_key(hash: &ObjectHash) -> String {
    named("stage", hash)
}

fn named(folder: &str, hash: &ObjectHash) -> String {
    let hex = hash.to_hex();
    let fan = hex.get(..2).unwrap_or_default();
    format!("{folder}/{fan}/{hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_area_lies_beside_the_prefix() {
        for (data, control) in [
            ("s3://bucket/a/b", "s3://bucket/a/b.volvault"),
            ("s3://bucket", "s3://bucket/.volvault"),
            ("gs:bucket:/x", "gs:bucket:/x.volvault"),
            ("azure:box:/x", "azure:box:/x.volvault"),
            ("/a/b", "/a/b.volvault"),
            ("/a/b/", "/a/b.volvault"),
            ("b", "b.volvault"),
            ("local:a/b", "a/b.volvault"),
        ] {
            let data: Location = data.parse().expect("a location");
            assert_eq!(control_of(&data).expect("has one").to_string(), control);
        }
        for unnamed in ["/", "..", "a/.."] {
            let error = control_of(&Location::Local(unnamed.into())).expect_err("no name");
            assert!(error.hint().is_some(), "{unnamed}");
        }
        for inside in [
            "s3://bucket/a/b.volvault",
            "s3://bucket/.volvault",
            "gs:box:/x.volvault/y",
            "/a/b.volvault",
            "/a/.volvault/c",
        ] {
            let error = control_of(&inside.parse().expect("a location")).expect_err("a control area");
            assert!(error.hint().is_some(), "{inside}");
        }
    }

    #[test]
    fn control_objects_have_the_names_of_the_page() {
        let hash = ObjectHash::new([0xab; 32]);
        assert_eq!(root_key(7), "roots/000000000007");
        assert_eq!(segment_key(&hash), format!("segments/ab/{}", "ab".repeat(32)));
        assert_eq!(blocks_key(&hash), format!("blocks/ab/{}", "ab".repeat(32)));
        assert_eq!(pack_key(&hash), format!("packs/ab/{}", "ab".repeat(32)));
        assert_eq!(staged_key(&hash), format!("stage/ab/{}", "ab".repeat(32)));
    }
}
