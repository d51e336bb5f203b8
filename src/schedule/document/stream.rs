//! A stream of YAML documents as trees of values, within bounds: no document can make much out of little.

use std::collections::HashMap;

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

use crate::error::{Error, Result};

/// Largest file: a Secret holds at most 1 MiB, and nobody keeps more than some in a file.
const TEXT_MAX: usize = 8 << 20;

/// Documents of one file.
const DOCUMENTS_MAX: usize = 4_096;

/// Levels of nesting: `VolSync`'s documents need about ten.
const DEPTH_MAX: usize = 64;

/// Values of one file; those that aliases repeat count each time.
const VALUES_MAX: usize = 100_000;

/// Bytes of the texts that aliases repeat.
const REPEATED_MAX: usize = TEXT_MAX;

/// The documents of a file; empty ones are left out. Scalars are read as Kubernetes reads them: by YAML 1.1, where `yes` is true.
pub(super) fn parse(text: &str) -> Result<Vec<Value>> {
    if text.len() > TEXT_MAX {
        return Err(Error::invalid(format!("the file is larger than {} MiB", TEXT_MAX >> 20)));
    }
    let mut builder = Builder::default();
    for event in Parser::new_from_str(text) {
        // The parser's sentences name places, and quote nothing but names of anchors.
        let (event, span) = event.map_err(|error| Error::invalid(format!("it is no YAML: {error}")))?;
        builder.take(event).map_err(|error| error.within(format!("line {}", span.start.line())))?;
    }
    Ok(builder.documents)
}

/// A collection that is being filled.
struct Open {
    anchor: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Value>),
    /// With the key whose value comes next.
    Mapping(Map<String, Value>, Option<String>),
}

#[derive(Default)]
struct Builder {
    documents: Vec<Value>,
    open: Vec<Open>,
    anchors: HashMap<usize, Value>,
    values: usize,
    repeated: usize,
}

impl Builder {
    fn take(&mut self, event: Event<'_>) -> Result<()> {
        match event {
            Event::DocumentStart(..) => {
                self.anchors.clear();
                Ok(())
            }
            Event::Scalar(text, style, anchor, tag) => {
                if let Some(tag) = tag {
                    return Err(Error::invalid(format!("tags such as {tag} are not known")));
                }
                let value = if style == ScalarStyle::Plain { plain(&text) } else { Value::String(text.into_owned()) };
                self.put(value, anchor)
            }
            Event::Alias(anchor) => {
                let value = self.anchors.get(&anchor).cloned();
                let value = value.ok_or_else(|| Error::invalid("an alias within its own anchor"))?;
                self.count(&value)?;
                self.put(value, 0)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(anchor, Kind::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => self.begin(anchor, Kind::Mapping(Map::new(), None)),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(open) = self.open.pop() else { return Err(Error::bug("a collection ends that never began")) };
                let value = match open.kind {
                    Kind::List(list) => Value::Array(list),
                    Kind::Mapping(map, _) => Value::Object(map),
                };
                self.put(value, open.anchor)
            }
            // The beginnings and ends of the stream, and what the parser only tells when it is asked to.
            _ => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, kind: Kind) -> Result<()> {
        if self.open.len() >= DEPTH_MAX {
            return Err(Error::invalid(format!("it is nested deeper than {DEPTH_MAX} levels")));
        }
        self.open.push(Open { anchor, kind });
        Ok(())
    }

    /// Puts a value where it belongs.
    fn put(&mut self, value: Value, anchor: usize) -> Result<()> {
        self.values += 1;
        if self.values > VALUES_MAX {
            return Err(too_much());
        }
        if anchor > 0 {
            // A copy of what is there already: no more than as much again.
            self.count(&value)?;
            self.anchors.insert(anchor, value.clone());
        }
        let Some(open) = self.open.last_mut() else { return self.document(value) };
        match &mut open.kind {
            Kind::List(list) => list.push(value),
            Kind::Mapping(map, key) => match key.take() {
                None => *key = Some(key_of(value)?),
                Some(name) if map.contains_key(&name) => return Err(Error::invalid("a key is there twice")),
                Some(name) => drop(map.insert(name, value)),
            },
        }
        Ok(())
    }

    fn document(&mut self, value: Value) -> Result<()> {
        if !value.is_null() {
            self.documents.push(value);
        }
        if self.documents.len() > DOCUMENTS_MAX { Err(too_much()) } else { Ok(()) }
    }

    /// Counts what is repeated.
    fn count(&mut self, value: &Value) -> Result<()> {
        match value {
            Value::Array(list) => list.iter().try_for_each(|value| self.count(value))?,
            Value::Object(map) => map.iter().try_for_each(|(key, value)| {
                self.repeated += key.len();
                self.count(value)
            })?,
            Value::String(text) => self.repeated += text.len(),
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
        self.values += 1;
        if self.values > VALUES_MAX || self.repeated > REPEATED_MAX { Err(too_much()) } else { Ok(()) }
    }
}

fn too_much() -> Error {
    Error::invalid("it is more than these documents can need")
}

fn key_of(value: Value) -> Result<String> {
    match value {
        Value::String(key) if key == "<<" => Err(Error::invalid("merge keys are not known")),
        Value::String(key) => Ok(key),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => Err(Error::invalid("a key is no text")),
    }
}

/// A scalar without quotes.
fn plain(text: &str) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Value::Null,
        "true" | "True" | "TRUE" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" | "y" | "Y" => return Value::Bool(true),
        "false" | "False" | "FALSE" | "no" | "No" | "NO" | "off" | "Off" | "OFF" | "n" | "N" => {
            return Value::Bool(false);
        }
        _ => {}
    }
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '+' | '-' | '.')) {
        return Value::String(text.to_owned());
    }
    let number = text.strip_prefix('+').unwrap_or(text);
    if let Ok(number) = number.parse::<i64>() {
        return Value::from(number);
    }
    let based = |prefix: &str, radix| u64::from_str_radix(text.strip_prefix(prefix)?, radix).ok();
    if let Some(number) = based("0x", 16).or_else(|| based("0o", 8)).or_else(|| based("0b", 2)) {
        return Value::from(number);
    }
    // What no number can hold is text, as is a version or a date.
    let number = number.parse::<f64>().ok().and_then(serde_json::Number::from_f64);
    number.map_or_else(|| Value::String(text.to_owned()), Value::Number)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn scalars_are_what_kubernetes_takes_them_for() {
        let text = "a: 7\nb: '7'\nc: yes\nd: \"yes\"\ne: ~\nf: 1.5\ng: 1Gi\nh: 0x10\ni: -3\nj: 2024-03-01\nk: |\n  two\n  lines\nl: [x, {w: z}]\n";
        let expected = json!({
            "a": 7, "b": "7", "c": true, "d": "yes", "e": null, "f": 1.5, "g": "1Gi", "h": 16, "i": -3, "j": "2024-03-01",
            "k": "two\nlines\n", "l": ["x", {"w": "z"}]
        });
        assert_eq!(parse(text).unwrap(), [expected]);
        assert_eq!(parse("---\n---\na: &x [1]\nb: *x\n---\n# nothing\n").unwrap(), [json!({"a": [1], "b": [1]})]);
        assert!(parse("").unwrap().is_empty());
    }
}
