//! What users write: `name:path`, `name,key=value:path`, `:type,key=value:path`.

use super::ini::Section;
use crate::error::{Error, Result};

/// A remote and the path in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Spec<'a> {
    pub(super) target: Target<'a>,
    /// Settings beside the name.
    pub(super) settings: Section,
    pub(super) path: &'a str,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Target<'a> {
    /// A remote of the configuration or of the environment.
    Named(&'a str),
    /// A remote made on the spot, of this type.
    OfType(&'a str),
}

impl<'a> Spec<'a> {
    /// Reads a remote; `None` for what is a plain path.
    ///
    /// # Errors
    /// `Invalid` for settings that do not end.
    pub(super) fn parse(text: &'a str) -> Result<Option<Self>> {
        let (of_type, rest) = text.strip_prefix(':').map_or((false, text), |rest| (true, rest));
        let Some(end) = rest.find([':', ',', '/']) else { return Ok(None) };
        let (name, tail) = rest.split_at(end);
        if tail.starts_with('/') || (!of_type && !is_name(name)) {
            return Ok(None);
        }
        let (settings, path) = if tail.starts_with(',') {
            settings(tail)?
        } else {
            (Section::new(), tail.strip_prefix(':').unwrap_or_default())
        };
        let target = if of_type { Target::OfType(name) } else { Target::Named(name) };
        Ok(Some(Self { target, settings, path }))
    }
}

/// As rclone allows names of remotes.
fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(['-', ' '])
        && !name.ends_with(' ')
        && name.chars().all(|c| c.is_alphanumeric() || "_-.+@ ".contains(c))
}

/// `,key=value,key,key='a,b'` up to the colon, and what stands after it. A key alone is `true`; a quote is doubled to stand for itself.
fn settings(mut rest: &str) -> Result<(Section, &str)> {
    // Not quoted: values may be secrets.
    let refuse =
        || Error::invalid("the settings beside the remote's name do not end").with_hint("write name,key=value:path");
    let mut settings = Section::new();
    while let Some(tail) = rest.strip_prefix(',') {
        let end = tail.find([',', '=', ':']).ok_or_else(refuse)?;
        let (key, tail) = tail.split_at(end);
        let value;
        (value, rest) = match tail.strip_prefix('=') {
            Some(tail) => value_of(tail).ok_or_else(refuse)?,
            None => ("true".to_owned(), tail),
        };
        settings.insert(key.trim().replace('-', "_"), value);
    }
    let path = rest.strip_prefix(':').ok_or_else(refuse)?;
    Ok((settings, path))
}

fn value_of(text: &str) -> Option<(String, &str)> {
    let Some(quote) = text.chars().next().filter(|c| matches!(c, '\'' | '"')) else {
        let end = text.find([',', ':'])?;
        let (value, rest) = text.split_at(end);
        return Some((value.to_owned(), rest));
    };
    let mut value = String::new();
    let mut rest = text.get(1..)?;
    loop {
        let (part, tail) = rest.split_once(quote)?;
        value.push_str(part);
        match tail.strip_prefix(quote) {
            Some(after) => {
                value.push(quote);
                rest = after;
            }
            None => return Some((value, tail)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(text: &str) -> Option<Spec<'_>> {
        Spec::parse(text).unwrap()
    }

    fn made<'a>(target: Target<'a>, settings: &[(&str, &str)], path: &'a str) -> Spec<'a> {
        let settings = settings.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Spec { target, settings, path }
    }

    #[test]
    fn remotes_are_told_from_paths() {
        for path in ["/a/b", "a/b:c", "./x:y", "plain", "", "a b/c", "-x:y", " x:y", ":", ":/x", "é*:x"] {
            assert!(spec(path).is_none(), "{path}");
        }
        assert_eq!(spec("s3-bucket:b/p"), Some(made(Target::Named("s3-bucket"), &[], "b/p")));
        assert_eq!(spec("a.b+c@d e:"), Some(made(Target::Named("a.b+c@d e"), &[], "")));
        let settings = [("endpoint", "http://h:9000"), ("env_auth", "true"), ("x", "a\"b,c")];
        assert_eq!(
            spec(":s3,env_auth,endpoint='http://h:9000',x=\"a\"\"b,c\":b/p:q"),
            Some(made(Target::OfType("s3"), &settings, "b/p:q"))
        );
        assert_eq!(spec("r,no-head=false:x"), Some(made(Target::Named("r"), &[("no_head", "false")], "x")));
        for broken in ["r,a=b", "r,a='b:c", "r,a"] {
            assert!(Spec::parse(broken).is_err(), "{broken}");
        }
    }
}
