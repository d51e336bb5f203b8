//! Who may ask, and what a browser may do with the answer.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::http::uri::Authority;

use crate::error::{Error, Result};

/// Bytes of a token at least: shorter ones can be tried out over the network.
const TOKEN_MIN: usize = 16;

/// What a request has to show before it changes something. Only its hash is kept.
#[derive(Clone)]
pub struct Token(blake3::Hash);

impl Token {
    /// The token in these bytes, without the white space around it.
    ///
    /// # Errors
    /// `Invalid` for one that is too short, or that no header can hold.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let token = bytes.trim_ascii();
        if token.len() < TOKEN_MIN || !token.iter().all(u8::is_ascii_graphic) {
            let error =
                Error::invalid(format!("a token is at least {TOKEN_MIN} printable ASCII characters without spaces"));
            return Err(error.with_hint("make one: head -c 24 /dev/urandom | base64"));
        }
        Ok(Self(blake3::hash(token)))
    }

    /// Whether the request shows it, as `Authorization: Bearer TOKEN`.
    pub(super) fn is_shown(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get(AUTHORIZATION).and_then(|value| {
            let (scheme, token) = value.as_bytes().split_at_checked(7)?;
            scheme.eq_ignore_ascii_case(b"bearer ").then_some(token.trim_ascii())
        });
        // Hashes are compared in constant time, so that the time tells nothing of how many bytes were right.
        shown.is_some_and(|token| blake3::hash(token) == self.0)
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Whether the request names us in a way that no page of somebody else can: by an address, `localhost`, or a name that we were told. A name of
/// somebody's own that leads to this address (DNS rebinding) would make his page and ours one site for the browser.
pub(super) fn is_ours(headers: &HeaderMap, names: &[String]) -> bool {
    let mut said = headers.get_all(HOST).iter();
    let (Some(host), None) = (said.next(), said.next()) else { return false };
    let Some(authority) = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok()) else { return false };
    let host = authority.host();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let ours = |name: &str| host.trim_end_matches('.').eq_ignore_ascii_case(name.trim_end_matches('.'));
    !authority.as_str().contains('@')
        && (address.parse::<IpAddr>().is_ok()
            || address.parse::<Ipv6Addr>().is_ok()
            || ours("localhost")
            || names.iter().any(|name| ours(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn with(name: &hyper::header::HeaderName, values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn hosts_are_addresses_localhost_and_names_we_were_told() {
        let names = ["backup.example".to_owned()];
        for host in [
            "127.0.0.1",
            "127.0.0.1:8080",
            "[::1]:8080",
            "10.1.2.3:80",
            "localhost:1",
            "LOCALHOST",
            "backup.example:80",
            "Backup.Example.",
        ] {
            assert!(is_ours(&with(&HOST, &[host]), &names), "{host}");
        }
        for host in ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "evil@127.0.0.1", "", "a b"] {
            assert!(!is_ours(&with(&HOST, &[host]), &names), "{host}");
        }
        assert!(!is_ours(&HeaderMap::new(), &names), "none at all");
        assert!(!is_ours(&with(&HOST, &["127.0.0.1", "evil.example"]), &names), "two");
    }

    #[test]
    fn a_token_is_shown_as_a_bearer_token_and_never_told() {
        let token = Token::parse(b" 0123456789abcdef\n").unwrap();
        for (header, shown) in [
            ("Bearer 0123456789abcdef", true),
            ("bearer 0123456789abcdef", true),
            ("Bearer 0123456789abcdeF", false),
            ("Bearer 0123456789abcde", false),
            ("Bearer ", false),
            ("Basic 0123456789abcdef", false),
            ("0123456789abcdef", false),
        ] {
            assert_eq!(token.is_shown(&with(&AUTHORIZATION, &[header])), shown, "{header}");
        }
        assert!(!token.is_shown(&HeaderMap::new()));
        assert_eq!(format!("{token:?}"), "Token(..)");
        for wrong in ["", "short", "with spaces in the middle of it", "ümläütümläütümläüt"] {
            assert!(Token::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
