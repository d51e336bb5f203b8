//! A mapping whose fields are taken out one by one; what is left over at the end is not known, and refused with its path.

use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Fields at a path.
#[derive(Debug)]
pub(super) struct Fields<'v> {
    path: String,
    map: &'v Map<String, Value>,
    taken: Vec<&'v str>,
    /// The first field that has to be there and is not. Told at the end: a name that is mistyped is the better thing to say.
    missing: Option<String>,
    notes: Vec<String>,
}

impl<'v> Fields<'v> {
    /// The fields of `value`, which is at `path`.
    pub(super) fn of(value: &'v Value, path: &str) -> Result<Self> {
        let map = value.as_object().ok_or_else(|| {
            let place = if path.is_empty() { "the document" } else { path };
            Error::invalid(format!("{place} is not a mapping"))
        })?;
        Ok(Self { path: path.to_owned(), map, taken: Vec::new(), missing: None, notes: Vec::new() })
    }

    /// The path of a field.
    pub(super) fn at(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// A field; null is as good as absent, as in Kubernetes.
    fn take(&mut self, name: &str) -> Option<&'v Value> {
        let (name, value) = self.map.get_key_value(name)?;
        self.taken.push(name);
        Some(value).filter(|value| !value.is_null())
    }

    fn wrong(&self, name: &str, what: &str) -> Error {
        Error::invalid(format!("{} is not {what}", self.at(name)))
    }

    pub(super) fn text(&mut self, name: &str) -> Result<Option<&'v str>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value
            .as_str()
            .map(Some)
            .ok_or_else(|| self.wrong(name, "text").with_hint("numbers and words like yes are text in quotes only"))
    }

    /// Text that is not empty.
    pub(super) fn word(&mut self, name: &str) -> Result<Option<String>> {
        Ok(self.text(name)?.filter(|text| !text.is_empty()).map(str::to_owned))
    }

    pub(super) fn required_text(&mut self, name: &str) -> Result<&'v str> {
        match self.text(name)? {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) | None => Err(Error::invalid(format!("{} is missing", self.at(name)))),
        }
    }

    /// Text that has to be there; empty when it is not, which [`Fields::finish`] says.
    pub(super) fn needed_text(&mut self, name: &str) -> Result<&'v str> {
        let text = self.text(name)?.unwrap_or_default();
        if text.is_empty() && self.missing.is_none() {
            self.missing = Some(self.at(name));
        }
        Ok(text)
    }

    pub(super) fn truth(&mut self, name: &str) -> Result<bool> {
        let Some(value) = self.take(name) else { return Ok(false) };
        value.as_bool().ok_or_else(|| self.wrong(name, "true or false"))
    }

    /// A number from 0 to that of an `int32`.
    pub(super) fn count(&mut self, name: &str) -> Result<Option<u32>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        let number = value
            .as_u64()
            .and_then(|number| u32::try_from(number).ok())
            .filter(|number| *number <= i32::MAX.unsigned_abs());
        number.map(Some).ok_or_else(|| self.wrong(name, "a whole number from 0 on"))
    }

    pub(super) fn section(&mut self, name: &str) -> Result<Option<Fields<'v>>> {
        let path = self.at(name);
        self.take(name).map(|value| Fields::of(value, &path)).transpose()
    }

    pub(super) fn list(&mut self, name: &str) -> Result<Option<&'v Vec<Value>>> {
        let Some(value) = self.take(name) else { return Ok(None) };
        value.as_array().map(Some).ok_or_else(|| self.wrong(name, "a list"))
    }

    /// The pairs of a mapping of text.
    pub(super) fn texts(&mut self, name: &str) -> Result<Vec<(&'v str, &'v str)>> {
        let Some(section) = self.section(name)? else { return Ok(Vec::new()) };
        let pair = |(key, value): (&'v String, &'v Value)| match value {
            Value::Null => Some(Ok((key.as_str(), ""))),
            value => Some(value.as_str().map(|text| (key.as_str(), text)).ok_or_else(|| {
                section.wrong(key, "text").with_hint("numbers and words like yes are text in quotes only")
            })),
        };
        section.map.iter().filter_map(pair).collect()
    }

    /// A field that has no effect here and no need to be mentioned.
    pub(super) fn skip(&mut self, name: &str) {
        self.take(name);
    }

    /// A field that has no effect here, with the reason.
    pub(super) fn ignore(&mut self, name: &str, why: &str) {
        if self.take(name).is_some() {
            self.notes.push(format!("{} has no effect here: {why}", self.at(name)));
        }
    }

    pub(super) fn note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// Whether a field is there that is not to be taken.
    pub(super) fn has(&self, name: &str) -> bool {
        self.map.get(name).is_some_and(|value| !value.is_null())
    }

    /// That nothing is left.
    ///
    /// # Errors
    /// `Invalid` with the path of a field that is not known.
    pub(super) fn all_known(&self) -> Result<()> {
        let Some(name) = self.map.keys().find(|name| !self.taken.contains(&name.as_str())) else { return Ok(()) };
        // The name of a key may be anything, also long.
        let name: String = name.chars().take(80).flat_map(char::escape_debug).collect();
        Err(Error::invalid(format!("{} is not known", self.at(&name))))
    }

    /// What there is to say, when nothing is left and all is there.
    ///
    /// # Errors
    /// `Invalid` with the path of a field that is not known, else of one that is missing.
    pub(super) fn finish(self) -> Result<Vec<String>> {
        self.all_known()?;
        self.missing.map_or(Ok(self.notes), |path| Err(Error::invalid(format!("{path} is missing"))))
    }
}
