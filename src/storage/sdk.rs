//! The HTTP client of the AWS SDK's own requests (a bucket to be made, STS, SSO, the metadata services): the one that
//! `object_store` uses, so that proxies, CA files and `--insecure-tls` mean the same for both.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_s3::config::{HttpClient as SdkClient, RuntimeComponents, SharedHttpClient};
use aws_sdk_s3::primitives::{ByteStream, SdkBody};
use aws_smithy_runtime_api::client::http::{
    HttpConnector as SdkConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest as SdkRequest, HttpResponse as SdkResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use bytes::Bytes;
use object_store::ClientOptions;
use object_store::client::{HttpClient, HttpError, HttpErrorKind, HttpRequest};

use super::failure::is_untrusted;
use super::wire::Late;

/// An answer is waited for so long where the SDK sets no limit. It sets seconds for metadata services, which on
/// machines without one do not answer at all.
pub(super) const ANSWER: Duration = Duration::from_mins(1);

/// A client for the SDK with the options of the store's own. Plain HTTP is allowed: metadata services have nothing else,
/// and any other endpoint was given by the user.
pub(super) fn client(options: &ClientOptions) -> SharedHttpClient {
    let options = options.clone().with_allow_http(true);
    // A proxy that is excluded for all hosts takes the place of those of the environment.
    let no_proxy = options.clone().with_proxy_url("http://0.0.0.0").with_proxy_excludes("*");
    SharedHttpClient::new(Lines(Arc::new((Late::new(options), Late::new(no_proxy)))))
}

/// One client for all hosts, and one for those that no proxy can reach.
#[derive(Debug, Clone)]
struct Lines(Arc<(Late, Late)>);

impl SdkClient for Lines {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let limit =
            settings.read_timeout().map_or(ANSWER, |read| read + settings.connect_timeout().unwrap_or_default());
        SharedHttpConnector::new(Line { lines: self.clone(), limit })
    }
}

#[derive(Debug)]
struct Line {
    lines: Lines,
    limit: Duration,
}

impl SdkConnector for Line {
    fn call(&self, request: SdkRequest) -> HttpConnectorFuture {
        let (any, direct) = &*self.lines.0;
        let client = if is_link_local(request.uri()) { direct.get() } else { any.get() };
        let (client, limit) = (client.cloned(), self.limit);
        HttpConnectorFuture::new(async move {
            let client = client.map_err(|error| ConnectorError::user(error.into()))?;
            match tokio::time::timeout(limit, send(&client, request)).await {
                Ok(answer) => answer,
                Err(elapsed) => Err(ConnectorError::timeout(elapsed.into())),
            }
        })
    }
}

async fn send(client: &HttpClient, request: SdkRequest) -> Result<SdkResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
    let (head, body) = request.into_parts();
    let body = whole(body).await?;
    let answer = client.execute(HttpRequest::from_parts(head, body.into())).await.map_err(failed)?;
    let (head, body) = answer.into_parts();
    let body = body.bytes().await.map_err(failed)?;
    let mut response = SdkResponse::new(head.status.into(), SdkBody::from(body));
    for (name, value) in &head.headers {
        // A header that is not text says nothing that is asked for here.
        if let Ok(value) = value.to_str() {
            response.headers_mut().append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(response)
}

/// A body that is in memory: its own bytes, and no copy of them, which for the parts of big files would be as much memory again.
async fn whole(body: SdkBody) -> Result<Bytes, ConnectorError> {
    if body.bytes().is_none() {
        return Err(ConnectorError::user("a body that comes in pieces".into()));
    }
    let bytes = ByteStream::new(body).next().await.transpose();
    Ok(bytes.map_err(|error| ConnectorError::user(error.into()))?.unwrap_or_default())
}

fn failed(error: HttpError) -> ConnectorError {
    match error.kind() {
        // The SDK repeats all but the user's errors.
        HttpErrorKind::Connect if is_untrusted(&error) => ConnectorError::user(error.into()),
        HttpErrorKind::Timeout => ConnectorError::timeout(error.into()),
        HttpErrorKind::Connect => ConnectorError::io(error.into()).never_connected(),
        _ => ConnectorError::io(error.into()),
    }
}

/// The addresses of metadata services (EC2's, ECS's and EKS's, by IPv4 and IPv6): the proxy's machine has others there.
fn is_link_local(uri: &str) -> bool {
    let host = uri.split_once("://").map_or(uri, |(_, rest)| rest);
    host.starts_with("169.254.") || host.starts_with("[fd00:ec2:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_not_copied() {
        let bytes = Bytes::from(vec![7; 100]);
        let taken = whole(SdkBody::from(bytes.clone())).await.unwrap();
        assert_eq!((taken.as_ptr(), taken.len()), (bytes.as_ptr(), 100));
        assert!(whole(SdkBody::empty()).await.unwrap().is_empty());
    }

    #[test]
    fn metadata_services_are_told_from_other_hosts() {
        for (uri, direct) in [
            ("http://169.254.169.254/latest/api/token", true),
            ("http://169.254.170.23/v1/credentials", true),
            ("http://[fd00:ec2::254]/latest", true),
            ("https://sts.eu-central-1.amazonaws.com/", false),
            ("http://127.0.0.1:8080/169.254.1.1", false),
        ] {
            assert_eq!(is_link_local(uri), direct, "{uri}");
        }
    }
}
