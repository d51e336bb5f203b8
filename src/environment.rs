//! The environment: read once, here, and passed on as a value. Values may be secrets, so none of them is ever shown.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Our prefix, and the one of the program whose users we welcome. The first one that is set wins.
pub const PREFIXES: [&str; 2] = ["VOLVAULT_", "RESTIC_"];

/// Variables by name. An empty one counts as not set, as restic has it.
#[derive(Clone, Default)]
pub struct Environment(BTreeMap<String, OsString>);

impl Environment {
    /// The process's environment. Only `main` has a reason to call it.
    pub fn of_process() -> Self {
        std::env::vars_os().collect()
    }

    /// A variable as the system has it.
    pub fn raw(&self, name: &str) -> Option<&OsString> {
        self.0.get(name).filter(|value| !value.is_empty())
    }

    /// A variable that has to be text.
    ///
    /// # Errors
    /// `Invalid` when it is not UTF-8, without quoting it.
    pub fn text(&self, name: &str) -> Result<Option<&str>> {
        self.raw(name)
            .map(|value| value.to_str().ok_or_else(|| Error::invalid(format!("variable {name} is not UTF-8"))))
            .transpose()
    }

    /// The variable `suffix` by our prefix, else by restic's; with the full name for messages.
    ///
    /// # Errors
    /// `Invalid` when the one that counts is not UTF-8.
    pub fn ours(&self, suffix: &str) -> Result<Option<(String, &str)>> {
        for prefix in PREFIXES {
            let name = format!("{prefix}{suffix}");
            if let Some(value) = self.text(&name)? {
                return Ok(Some((name, value)));
            }
        }
        Ok(None)
    }

    /// The variable `suffix` of either prefix, read as a `T`.
    ///
    /// # Errors
    /// `Invalid` when it cannot be read so.
    pub fn parsed<T: FromStr>(&self, suffix: &str) -> Result<Option<T>> {
        let Some((name, text)) = self.ours(suffix)? else { return Ok(None) };
        text.trim().parse().map(Some).map_err(|_| Error::invalid(format!("variable {name} makes no sense: {text:?}")))
    }

    /// Whether the variable `suffix` of either prefix is set to something true.
    ///
    /// # Errors
    /// `Invalid` when it is neither true nor false.
    pub fn switch(&self, suffix: &str) -> Result<bool> {
        self.ours(suffix)?.map_or(Ok(false), |(name, text)| truth(&name, text))
    }

    /// The same for a variable by its whole name.
    ///
    /// # Errors
    /// `Invalid` when it is neither true nor false.
    pub fn switch_named(&self, name: &str) -> Result<bool> {
        self.text(name)?.map_or(Ok(false), |text| truth(name, text.trim()))
    }

    /// As the repository is described that `copy` reads: `VOLVAULT_FROM_PASSWORD` in the place of `VOLVAULT_PASSWORD`, and so on. What
    /// describes the repository itself is left out, what stores need stays.
    #[must_use]
    pub fn of_source(&self) -> Self {
        let mut variables = BTreeMap::new();
        for (name, value) in &self.0 {
            match PREFIXES.iter().find_map(|prefix| Some((*prefix, name.strip_prefix(prefix)?))) {
                None => drop(variables.insert(name.clone(), value.clone())),
                Some((prefix, rest)) => {
                    let name = rest.strip_prefix("FROM_").map(|rest| format!("{prefix}{rest}"));
                    variables.extend(name.map(|name| (name, value.clone())));
                }
            }
        }
        Self(variables)
    }

    /// What the store may want to know: every variable that is text.
    pub fn for_store(&self) -> BTreeMap<String, String> {
        let text = |(name, value): (&String, &OsString)| Some((name.clone(), value.to_str()?.to_owned()));
        self.0.iter().filter_map(text).collect()
    }
}

/// As Go reads a truth value.
fn truth(name: &str, text: &str) -> Result<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Error::invalid(format!("variable {name} is neither true nor false but {text:?}"))),
    }
}

/// The name of this machine, or of the pod.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

impl FromIterator<(OsString, OsString)> for Environment {
    /// Variables whose names are not UTF-8 are none of ours.
    fn from_iter<I: IntoIterator<Item = (OsString, OsString)>>(pairs: I) -> Self {
        Self(pairs.into_iter().filter_map(|(name, value)| Some((name.into_string().ok()?, value))).collect())
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Environment {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.to_owned(), OsString::from(value))).collect())
    }
}

impl fmt::Debug for Environment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    #[test]
    fn our_name_comes_before_restics_and_an_empty_one_is_not_set() {
        let both: Environment = [("VOLVAULT_HOST", "a"), ("RESTIC_HOST", "b")].into_iter().collect();
        assert_eq!(both.ours("HOST").unwrap(), Some(("VOLVAULT_HOST".to_owned(), "a")));
        let empty: Environment = [("VOLVAULT_HOST", ""), ("RESTIC_HOST", "b")].into_iter().collect();
        assert_eq!(empty.ours("HOST").unwrap(), Some(("RESTIC_HOST".to_owned(), "b")));
        assert_eq!(empty.ours("REPOSITORY").unwrap(), None);
    }

    #[test]
    fn values_are_neither_shown_nor_quoted() {
        let secret: Environment = [("RESTIC_PASSWORD", "hunter2")].into_iter().collect();
        assert_eq!(format!("{secret:?}"), "{\"RESTIC_PASSWORD\"}");
        let binary = (OsString::from("RESTIC_PASSWORD"), OsString::from_vec(b"hunter2\xff".to_vec()));
        let error = Environment::from_iter([binary]).ours("PASSWORD").unwrap_err();
        assert_eq!(error.chain(), "variable RESTIC_PASSWORD is not UTF-8");
    }
}
