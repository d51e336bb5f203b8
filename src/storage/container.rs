//! What holds the objects: a directory or a bucket, made when it is missing, and left as it was found.

use object_store::client::{HttpClient, HttpRequest, HttpRequestBody};

use super::bucket;
use super::connect::Access;
use super::counts::{Counters, Kind};
use super::failure::{explain, generic};
use super::local::make;
use super::location::Location;
use super::store::Store;
use crate::error::{Attempt, Error, ErrorKind, Result};

impl Store {
    /// Removes what killed writers left of files that they had not finished, where the store is a directory; how many there were. Only for whoever
    /// knows that nobody else is writing.
    pub async fn remove_unfinished(&self) -> Result<u64> {
        match &self.files {
            Some(files) => {
                let attempt = format!("remove unfinished files from {}", self.location);
                files.remove_drafts().await.map_err(|error| Error::new(ErrorKind::Local, attempt).with_source(error))
            }
            None => Ok(0),
        }
    }

    /// Makes the directory (for its owner only), the bucket or the container, if it is missing; says whether it was made.
    /// In Google's storage it takes `GOOGLE_PROJECT_ID`. Users who may not make one are told by their first request.
    pub async fn ensure_container(&self) -> Result<bool> {
        match (&*self.location, &self.access) {
            (Location::Local(path), _) => {
                let root = path.clone();
                let made = tokio::task::spawn_blocking(move || make(&root)).await;
                made.map_err(|error| Error::bug("make the directory").with_source(error))?
                    .attempt(|| format!("make the directory {}", path.display()))
            }
            (_, None) => Ok(false),
            (_, Some(access)) => {
                let counters = &self.governor.shared.counters;
                match &**access {
                    Access::S3(access) => bucket::ensure(access, counters).await,
                    Access::Google(access) => access.ensure(counters).await,
                    Access::Azure(access) => access.ensure(counters).await,
                }
            }
        }
    }

    /// Uploads in parts below a folder that were neither finished nor given up; none where that cannot be asked.
    pub(super) async fn unfinished_uploads(&self, folder: &str) -> Result<Option<usize>> {
        let (Location::S3 { prefix, .. }, Some(Access::S3(access))) = (&*self.location, self.access.as_deref()) else {
            return Ok(None);
        };
        let slash = if prefix.is_empty() { "" } else { "/" };
        bucket::unfinished_uploads(access, &self.governor.shared.counters, &format!("{prefix}{slash}{folder}/")).await
    }
}

/// A request without a body.
pub(super) fn request(method: &str, url: &str, headers: &[(&'static str, &str)]) -> Result<HttpRequest> {
    let refuse = || Error::invalid(format!("{method} {url}: not a request"));
    let mut request = HttpRequest::new(HttpRequestBody::empty());
    *request.method_mut() = method.parse().map_err(|_| refuse())?;
    *request.uri_mut() = url.parse().map_err(|_| refuse())?;
    for (name, value) in headers {
        // Not quoted: it may be a secret.
        request.headers_mut().insert(*name, value.parse().map_err(|_| refuse())?);
    }
    Ok(request)
}

/// Looks for what holds the objects, and makes it if it is not there; says whether it was made. Credentials that may do
/// neither are no error: many are limited to the objects.
pub(super) async fn ensure(
    http: &HttpClient,
    (look, make): (HttpRequest, HttpRequest),
    counters: &Counters,
    said: impl Fn() -> String,
) -> Result<bool> {
    counters.sent(Kind::Head, 0);
    match http.execute(look).await {
        Ok(answer) if answer.status().as_u16() == 404 => {}
        Ok(_) => return Ok(false),
        Err(error) => return Err(explain(said(), generic(error))),
    }
    counters.sent(Kind::Put, 0);
    let status = http.execute(make).await.map_err(|error| explain(said(), generic(error)))?.status().as_u16();
    match status {
        200..=299 => Ok(true),
        401 | 403 | 409 => Ok(false),
        _ => Err(Error::invalid(said()).with_source(format!("the store answered {status}"))),
    }
}
