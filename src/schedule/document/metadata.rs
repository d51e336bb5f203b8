//! `metadata`: names, and the annotations that mean something.

use super::fields::Fields;
use crate::error::{Error, Result};

/// Annotations under this name are ours: one that is not known is mistyped.
const OURS: &str = "volvault.dev/";
/// A source runs when its volume has changed and then been left alone for so long.
const ON_CHANGE: &str = "volvault.dev/on-change";
const PRIVILEGED_MOVERS: &str = "volsync.backube/privileged-movers";
const DEBUG_MOVER: &str = "volsync.backube/enable-debug-mover";

/// What the API server and `kubectl` write.
const WRITTEN: [&str; 10] = [
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "finalizers",
    "generateName",
    "generation",
    "managedFields",
    "ownerReferences",
    "resourceVersion",
    "selfLink",
];

/// Who a document is.
#[derive(Debug)]
pub(super) struct Metadata {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) on_change: Option<String>,
    pub(super) notes: Vec<String>,
    privileged: bool,
}

impl Metadata {
    pub(super) fn read(fields: &mut Fields<'_>) -> Result<Self> {
        let mut metadata = fields.section("metadata")?.ok_or_else(|| Error::invalid("metadata is missing"))?;
        let name = metadata.needed_text("name")?.to_owned();
        let namespace = match metadata.word("namespace")? {
            Some(namespace) => name_of("metadata.namespace", &namespace)?,
            None => "default".to_owned(),
        };
        let mut read = Self { namespace, name, on_change: None, notes: Vec::new(), privileged: false };
        for (key, value) in metadata.texts("annotations")? {
            match key {
                ON_CHANGE => read.on_change = Some(value.to_owned()),
                PRIVILEGED_MOVERS => read.privileged = value.eq_ignore_ascii_case("true"),
                DEBUG_MOVER => read
                    .notes
                    .push(format!("annotation {DEBUG_MOVER} has no effect here: there is no pod to look into")),
                key if key.starts_with(OURS) => {
                    return Err(Error::invalid(format!("annotation {key} is not known"))
                        .with_hint(format!("known is {ON_CHANGE}")));
                }
                // Anybody may note anything.
                _ => {}
            }
        }
        metadata.texts("labels")?;
        metadata.skip("uid");
        for name in WRITTEN {
            metadata.skip(name);
        }
        metadata.finish()?;
        read.name = name_of("metadata.name", &read.name)?;
        Ok(read)
    }

    /// Namespace and name.
    pub(super) fn key(&self) -> (String, String) {
        (self.namespace.clone(), self.name.clone())
    }

    pub(super) const fn privileged_movers(&self) -> bool {
        self.privileged
    }
}

/// Names of Kubernetes: they become names of files here.
fn name_of(path: &str, name: &str) -> Result<String> {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let end = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = name.as_bytes();
    if bytes.len() <= 253 && bytes.iter().all(|byte| letter(*byte)) && end(bytes.first()) && end(bytes.last()) {
        Ok(name.to_owned())
    } else {
        Err(Error::invalid(format!("{path} is no name")).with_hint(
            "names have up to 253 small letters, digits, dashes and dots, and begin and end with a letter or digit",
        ))
    }
}
