//! `run` and `validate`: `VolSync`'s documents without a cluster.

mod run;
mod validate;

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::cli::App;
use crate::cli::args::DocumentArgs;
use crate::error::{Attempt, Error, Result};
use crate::schedule::{Documents, SecretSource, Setup};

pub(in crate::cli) use run::run;
pub(in crate::cli) use validate::validate;

/// Most of standard input that is read.
const STDIN_MAX: u64 = 8 << 20;

/// Reads all documents, and where what they name is.
fn read(app: &App<'_>, args: &DocumentArgs, files: PathBuf) -> Result<(Documents, Setup)> {
    let mut documents = Documents::default();
    for path in &args.files {
        let (name, text) = text_of(path)?;
        documents.read(&name, &text)?;
    }
    if documents.resources.is_empty() {
        return Err(Error::invalid("there is no ReplicationSource and no ReplicationDestination in the documents"));
    }
    let mut volumes = BTreeMap::new();
    for word in &args.volumes {
        let (claim, directory) = pair("--volume", word)?;
        volumes.insert(claim.to_owned(), PathBuf::from(directory));
    }
    let mut secrets = BTreeMap::new();
    for word in &args.secrets {
        let (name, source) = pair("--secret", word)?;
        let keys = source.parse::<SecretSource>().and_then(|source| source.read(app.environment));
        secrets.insert(name.to_owned(), keys.attempt(|| format!("read Secret {name}"))?);
    }
    Ok((documents, Setup { volumes, secrets, files }))
}

fn text_of(path: &Path) -> Result<(String, String)> {
    if path.as_os_str() == "-" {
        let mut text = String::new();
        std::io::stdin().take(STDIN_MAX).read_to_string(&mut text).attempt(|| "read standard input".to_owned())?;
        return Ok(("standard input".to_owned(), text));
    }
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).attempt(|| format!("read {name}"))?;
    Ok((name, text))
}

fn pair<'w>(option: &str, word: &'w str) -> Result<(&'w str, &'w str)> {
    match word.split_once('=') {
        Some((name, value)) if !name.is_empty() && !value.is_empty() => Ok((name, value)),
        Some(_) | None => Err(Error::invalid(format!("{option} {word} is not NAME=DIRECTORY"))),
    }
}
