//! Where a repository or a mirror lies, as restic users and URL users write it.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::error::{Error, Result};

/// Where objects lie. Holds no secret: a location with a user or a password in it is refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Location {
    /// A directory.
    Local(PathBuf),
    /// A prefix of an S3 bucket.
    S3 {
        /// `http://` or `https://` with host and port; none means what the environment says, else AWS.
        endpoint: Option<String>,
        /// The bucket.
        bucket: String,
        /// The prefix, without slashes around it; empty for the whole bucket.
        prefix: String,
        /// The region that the location names, if it names one.
        region: Option<String>,
    },
    /// A prefix of a Google Cloud Storage bucket.
    Gcs {
        /// The bucket.
        bucket: String,
        /// The prefix, without slashes around it.
        prefix: String,
    },
    /// A prefix of an Azure Blob Storage container.
    Azure {
        /// The container.
        container: String,
        /// The prefix, without slashes around it.
        prefix: String,
    },
    /// The memory of this process: each connection has its own, gone with it. For trials and tests.
    Memory,
}

/// restic's backends that are not spoken here, with the way out.
const FOREIGN: [(&str, &str); 5] = [
    ("sftp", "mount the host (sshfs, NFS) and give the directory, or use an S3 server such as MinIO there"),
    ("rest", "give the S3 bucket or the directory behind the REST server"),
    ("b2", "use the S3 endpoint of B2: s3:https://s3.REGION.backblazeb2.com/BUCKET/PREFIX"),
    ("swift", "use the S3 endpoint of Swift (s3api): s3:https://HOST/BUCKET/PREFIX"),
    ("rclone", "serve the remote with `rclone serve s3` and give s3:http://HOST:PORT/BUCKET/PREFIX"),
];

impl Location {
    /// Whether requests travel over a network.
    pub fn is_remote(&self) -> bool {
        match self {
            Self::S3 { .. } | Self::Gcs { .. } | Self::Azure { .. } => true,
            Self::Local(_) | Self::Memory => false,
        }
    }

    /// The whole bucket or container; a directory has no prefix.
    #[must_use]
    pub fn without_prefix(&self) -> Self {
        let mut whole = self.clone();
        match &mut whole {
            Self::S3 { prefix, .. } | Self::Gcs { prefix, .. } | Self::Azure { prefix, .. } => prefix.clear(),
            Self::Local(_) | Self::Memory => {}
        }
        whole
    }

    /// Whether listings come in the order of keys, so that one that broke can go on after its last key.
    pub fn lists_in_order(&self) -> bool {
        !matches!(self, Self::Local(_))
    }
}

impl FromStr for Location {
    type Err = Error;

    /// restic's forms (`/path`, `local:path`, `s3:host/bucket/prefix`, `s3:http://host:port/bucket/prefix`,
    /// `gs:bucket:/prefix`, `azure:container:/prefix`) and URLs (`s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `azure://container/prefix`, `file:///path`). `s3://` is read as every S3 tool but restic reads it: a bucket
    /// follows, not a host, unless what follows has a port or is an AWS host.
    fn from_str(text: &str) -> Result<Self> {
        let Some((scheme, rest)) = text.split_once(':').filter(|(scheme, _)| !scheme.contains('/')) else {
            return local(text);
        };
        if let Some((name, hint)) = FOREIGN.iter().find(|(name, _)| *name == scheme) {
            return Err(Error::invalid(format!("{name}: locations are not supported")).with_hint(*hint));
        }
        match scheme {
            "local" => local(rest),
            "file" => local(rest.strip_prefix("//").unwrap_or(rest)),
            "memory" => Ok(Self::Memory),
            "s3" => s3(rest),
            "gs" => bucket_and_prefix(rest, "gs:BUCKET:/PREFIX").map(|(bucket, prefix)| Self::Gcs { bucket, prefix }),
            "azure" => bucket_and_prefix(rest, "azure:CONTAINER:/PREFIX")
                .map(|(container, prefix)| Self::Azure { container, prefix }),
            "http" | "https" => Err(Error::invalid("a location does not begin with http: or https:")
                .with_hint("for an S3 server write s3:https://HOST/BUCKET/PREFIX")),
            // Not quoted in full: a mistyped URL may hold a password.
            _ => Err(Error::invalid(format!("{scheme:?} is not a kind of location")).with_hint(
                "known are local:, s3:, gs:, azure: and memory:; a path with a colon needs local: before it",
            )),
        }
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let slash = |prefix: &str| if prefix.is_empty() { "" } else { "/" };
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::S3 { endpoint: Some(endpoint), bucket, prefix, .. } => {
                write!(f, "s3:{endpoint}/{bucket}{}{prefix}", slash(prefix))
            }
            Self::S3 { endpoint: None, bucket, prefix, .. } => write!(f, "s3://{bucket}{}{prefix}", slash(prefix)),
            Self::Gcs { bucket, prefix } => write!(f, "gs:{bucket}:/{prefix}"),
            Self::Azure { container, prefix } => write!(f, "azure:{container}:/{prefix}"),
            Self::Memory => f.write_str("memory:"),
        }
    }
}

fn local(path: &str) -> Result<Location> {
    if path.is_empty() {
        return Err(Error::invalid("the location is empty").with_hint("give a directory, s3:, gs: or azure: location"));
    }
    Ok(Location::Local(PathBuf::from(path)))
}

fn s3(rest: &str) -> Result<Location> {
    if let Some(host_and_path) = rest.strip_prefix("https://") {
        return s3_at("https", host_and_path);
    }
    if let Some(host_and_path) = rest.strip_prefix("http://") {
        return s3_at("http", host_and_path);
    }
    let Some(path) = rest.strip_prefix("//") else { return s3_at("https", rest) };
    let first = path.split('/').next().unwrap_or_default();
    if first.contains([':', '@']) || aws_host(first).is_some() {
        return s3_at("https", path);
    }
    let (bucket, prefix) = split_bucket(path)?;
    Ok(Location::S3 { endpoint: None, bucket, prefix, region: None })
}

/// `host[:port]/bucket[/prefix]`; the host may be an AWS region.
fn s3_at(scheme: &str, host_and_path: &str) -> Result<Location> {
    let (host, path) = host_and_path.split_once('/').ok_or_else(|| {
        Error::invalid("the S3 location names no bucket").with_hint("write s3:HOST/BUCKET/PREFIX or s3://BUCKET/PREFIX")
    })?;
    if host.contains('@') {
        return Err(Error::invalid("a location must not hold a user or a password")
            .with_hint("set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"));
    }
    if host.is_empty() || host.contains(['?', '#', ' ', '\\']) {
        return Err(Error::invalid("the S3 location names no valid host"));
    }
    let (bucket, prefix) = split_bucket(path)?;
    if is_aws_region(host) {
        let suffix = if host.starts_with("cn-") { ".cn" } else { "" };
        let endpoint = Some(format!("https://s3.{host}.amazonaws.com{suffix}"));
        return Ok(Location::S3 { endpoint, bucket, prefix, region: Some(host.to_owned()) });
    }
    let region = aws_host(host).and_then(|aws| aws.region);
    Ok(Location::S3 { endpoint: Some(format!("{scheme}://{host}")), bucket, prefix, region })
}

/// What the name of one of AWS's S3 hosts says.
pub(super) struct AwsHost {
    pub(super) region: Option<String>,
}

/// Reads `s3.amazonaws.com`, `s3.<region>.amazonaws.com` and their kin; none for other hosts.
pub(super) fn aws_host(host: &str) -> Option<AwsHost> {
    let host = host.split(':').next().unwrap_or_default();
    let name = host.strip_suffix(".amazonaws.com").or_else(|| host.strip_suffix(".amazonaws.com.cn"))?;
    if name == "s3" {
        return Some(AwsHost { region: None });
    }
    let region = name.strip_prefix("s3.").or_else(|| name.strip_prefix("s3-"))?;
    Some(AwsHost { region: is_aws_region(region).then(|| region.to_owned()) })
}

/// `eu-central-1`, `us-gov-west-1`: letters in parts, then a number.
fn is_aws_region(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let Some((last, words)) = parts.split_last() else { return false };
    words.len() >= 2
        && words.iter().all(|word| word.len() >= 2 && word.bytes().all(|b| b.is_ascii_lowercase()))
        && (1..=2).contains(&last.len())
        && last.bytes().all(|b| b.is_ascii_digit())
}

/// `bucket:/prefix` or `//bucket/prefix`.
fn bucket_and_prefix(rest: &str, form: &str) -> Result<(String, String)> {
    if let Some(path) = rest.strip_prefix("//") {
        return split_bucket(path);
    }
    let (bucket, path) = rest
        .split_once(':')
        .ok_or_else(|| Error::invalid("the location names no bucket").with_hint(format!("write {form}")))?;
    split_bucket(&format!("{bucket}/{path}"))
}

fn split_bucket(path: &str) -> Result<(String, String)> {
    let (bucket, prefix) = path.split_once('/').unwrap_or((path, ""));
    if bucket.is_empty() || bucket.contains(['@', ':', '?', '#', ' ', '\\', '%']) {
        return Err(Error::invalid("the location names no valid bucket"));
    }
    let segments: Vec<&str> = prefix.split('/').filter(|segment| !segment.is_empty()).collect();
    if segments.iter().any(|segment| matches!(*segment, "." | "..") || segment.chars().any(char::is_control)) {
        return Err(Error::invalid(format!("the prefix {prefix:?} has a segment that no store can keep")));
    }
    Ok((bucket.to_owned(), segments.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn s3_location(endpoint: Option<&str>, bucket: &str, prefix: &str, region: Option<&str>) -> Location {
        Location::S3 {
            endpoint: endpoint.map(str::to_owned),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            region: region.map(str::to_owned),
        }
    }

    #[test]
    fn restic_and_url_forms_are_read_and_shown_again() {
        let aws = Some("https://s3.amazonaws.com");
        let frankfurt = Some("https://s3.eu-central-1.amazonaws.com");
        let region = Some("eu-central-1");
        for (text, location, shown) in [
            ("/srv/backup", Location::Local("/srv/backup".into()), "/srv/backup"),
            ("backup/here", Location::Local("backup/here".into()), "backup/here"),
            ("./a:b", Location::Local("./a:b".into()), "./a:b"),
            ("local:a:b", Location::Local("a:b".into()), "a:b"),
            ("file:///srv/x", Location::Local("/srv/x".into()), "/srv/x"),
            ("memory:", Location::Memory, "memory:"),
            ("s3://bucket", s3_location(None, "bucket", "", None), "s3://bucket"),
            ("s3://bucket/a/b/", s3_location(None, "bucket", "a/b", None), "s3://bucket/a/b"),
            ("s3:http://h:9000/b/p", s3_location(Some("http://h:9000"), "b", "p", None), "s3:http://h:9000/b/p"),
            ("s3:https://h/b", s3_location(Some("https://h"), "b", "", None), "s3:https://h/b"),
            ("s3:h:443/b//p/", s3_location(Some("https://h:443"), "b", "p", None), "s3:https://h:443/b/p"),
            (
                "s3://localhost:9000/b/p",
                s3_location(Some("https://localhost:9000"), "b", "p", None),
                "s3:https://localhost:9000/b/p",
            ),
            ("s3:s3.amazonaws.com/b/p", s3_location(aws, "b", "p", None), "s3:https://s3.amazonaws.com/b/p"),
            ("s3://s3.amazonaws.com/b", s3_location(aws, "b", "", None), "s3:https://s3.amazonaws.com/b"),
            (
                "s3:s3.eu-central-1.amazonaws.com/b",
                s3_location(frankfurt, "b", "", region),
                "s3:https://s3.eu-central-1.amazonaws.com/b",
            ),
            (
                "s3:eu-central-1/b/p",
                s3_location(frankfurt, "b", "p", region),
                "s3:https://s3.eu-central-1.amazonaws.com/b/p",
            ),
            ("gs:b:/p/q", Location::Gcs { bucket: "b".into(), prefix: "p/q".into() }, "gs:b:/p/q"),
            ("gs://b/p", Location::Gcs { bucket: "b".into(), prefix: "p".into() }, "gs:b:/p"),
            ("azure:c:/", Location::Azure { container: "c".into(), prefix: String::new() }, "azure:c:/"),
            ("azure://c/p", Location::Azure { container: "c".into(), prefix: "p".into() }, "azure:c:/p"),
        ] {
            assert_eq!(text.parse::<Location>().unwrap(), location, "{text}");
            assert_eq!(location.to_string(), shown);
            if !matches!(location, Location::Local(_)) {
                assert_eq!(shown.parse::<Location>().unwrap(), location, "{shown} read again");
            }
        }
    }

    #[test]
    fn a_secret_in_a_location_is_refused_and_not_repeated() {
        for text in [
            "s3:https://user:hunter2@host/bucket",
            "s3://user:hunter2@host/b",
            "s3:user:hunter2@host/b",
            "https://user:hunter2@host/b",
        ] {
            let error = text.parse::<Location>().unwrap_err();
            assert!(!error.chain().contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn foreign_and_broken_locations_are_refused_with_a_way_out() {
        for text in
            ["sftp:user@host:/dir", "rest:http://h/", "b2:bucket:p", "swift:c:/p", "rclone:r:p", "ftp:x", "https://h/b"]
        {
            assert!(text.parse::<Location>().unwrap_err().hint().is_some(), "{text}");
        }
        for text in [
            "",
            "local:",
            "s3:",
            "s3:host",
            "s3://",
            "s3:http:///b",
            "s3://b/../c",
            "gs:b",
            "gs::/p",
            "azure:",
            "s3:host/",
        ] {
            assert!(text.parse::<Location>().is_err(), "{text}");
        }
    }
}
