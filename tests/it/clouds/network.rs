//! The way to a store: an authority of one's own, no trust at all, and proxies, for the requests of both libraries.

use crate::command::{Home, fill};
use crate::support::s3::{ACCESS_KEY, CA_FILE, S3Server, S3ServerThread, SECRET_KEY};
use crate::support::scripted::Reply;
use crate::support::web::{Proxy, Service};

/// A user of the server at `endpoint`, by its keys.
fn user(endpoint: &str) -> Home {
    let mut home = Home::new();
    home.set("VOLVAULT_REPOSITORY", format!("s3:{endpoint}/bucket/p"));
    home.set("AWS_ACCESS_KEY_ID", ACCESS_KEY.to_owned());
    home.set("AWS_SECRET_ACCESS_KEY", SECRET_KEY.to_owned());
    home.set_key();
    fill(&home.at("data"), 3, 100);
    home
}

/// A whole life, which begins with a bucket that `aws-sdk-s3` makes.
fn lives(home: &Home, options: &[&str]) {
    for command in [&["init"][..], &["backup", "data"], &["check"]] {
        home.text(&[options, command].concat());
    }
}

fn errors(home: &Home, arguments: &[&str]) -> String {
    let output = home.run(arguments);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{errors}");
    errors
}

#[test]
fn a_server_whose_authority_is_given_is_trusted() {
    let s3 = S3ServerThread::serving(S3Server::start_tls());
    lives(&user(&s3.server.endpoint), &["--cacert", CA_FILE]);
    let mut by_variable = user(&s3.server.endpoint);
    by_variable.set("RESTIC_CACERT", CA_FILE.to_owned());
    by_variable.text(&["snapshots"]);
}

#[test]
fn a_server_of_an_unknown_authority_is_refused_at_once_and_the_way_out_is_said() {
    let s3 = S3ServerThread::serving(S3Server::start_tls());
    let home = user(&s3.server.endpoint);
    for command in ["init", "snapshots"] {
        let start = tokio::time::Instant::now();
        let said = errors(&home, &[command]);
        assert!(said.contains("certificate") && said.contains("--cacert"), "{command}: {said}");
        assert!(start.elapsed().as_secs() < 5, "{command} was tried again and again");
    }
    assert_eq!(s3.server.requests(), 0);
}

#[test]
fn a_server_is_trusted_without_reason_if_the_user_says_so() {
    let s3 = S3ServerThread::serving(S3Server::start_tls());
    lives(&user(&s3.server.endpoint), &["--insecure-tls"]);
}

#[test]
fn a_ca_file_that_holds_no_certificate_is_refused() {
    let home = user("https://127.0.0.1:1");
    for (file, said) in [("data/00/00000", "no certificates"), ("missing.pem", "missing.pem")] {
        assert!(errors(&home, &["--cacert", file, "snapshots"]).contains(said), "{file}");
    }
}

#[test]
fn a_proxy_takes_the_requests_of_both_libraries() {
    let s3 = S3ServerThread::start();
    let address = s3.server.endpoint.trim_start_matches("http://").to_owned();
    for (bucket, name) in [("first", "HTTP_PROXY"), ("second", "http_proxy")] {
        let proxy = Proxy::start([("s3.volvault.test:80", &*address), ("s3.volvault.test", &*address)]);
        let mut home = user("http://s3.volvault.test");
        home.set("VOLVAULT_REPOSITORY", format!("s3:http://s3.volvault.test/{bucket}/p"));
        home.set(name, proxy.endpoint.clone());
        lives(&home, &[]);
        let passed = proxy.passed();
        assert!(
            passed.iter().any(|line| line.starts_with("HEAD ")),
            "the bucket was looked for through it: {passed:?}"
        );
        assert!(passed.iter().any(|line| line.starts_with("GET ")), "{passed:?}");
    }
}

#[test]
fn a_tunnel_through_a_proxy_keeps_tls_with_the_server() {
    let s3 = S3ServerThread::serving(S3Server::start_tls());
    let proxy = Proxy::start([("s3.volvault.test:443", s3.server.endpoint.trim_start_matches("https://"))]);
    let mut home = user("https://s3.volvault.test");
    home.set("HTTPS_PROXY", proxy.endpoint.clone());
    lives(&home, &["--cacert", CA_FILE]);
    let passed = proxy.passed();
    assert!(passed.len() >= 3 && passed.iter().all(|line| line == "CONNECT s3.volvault.test:443"), "{passed:?}");
}

#[test]
fn hosts_that_are_excluded_are_reached_without_the_proxy() {
    let s3 = S3ServerThread::start();
    let proxy = Proxy::start([]);
    let mut home = user(&s3.server.endpoint);
    home.set("HTTP_PROXY", proxy.endpoint.clone());
    home.set("NO_PROXY", "example.org,127.0.0.1".to_owned());
    lives(&home, &[]);
    assert_eq!(proxy.passed(), [""; 0]);
}

#[test]
fn services_that_give_out_roles_are_asked_through_the_proxy_too() {
    let s3 = S3ServerThread::start();
    let sts = Service::start(|_| Reply::answer("403 Forbidden", &[], b""));
    let proxy = Proxy::start([("sts.volvault.test", sts.endpoint.trim_start_matches("http://"))]);
    let mut home = user(&s3.server.endpoint);
    for (name, value) in [
        ("HTTP_PROXY", proxy.endpoint.as_str()),
        ("NO_PROXY", "127.0.0.1"),
        ("RESTIC_AWS_ASSUME_ROLE_ARN", "arn:aws:iam::123456789012:role/backup"),
        ("RESTIC_AWS_ASSUME_ROLE_STS_ENDPOINT", "http://sts.volvault.test"),
    ] {
        home.set(name, value.to_owned());
    }
    errors(&home, &["snapshots"]);
    assert!(sts.asked().first().is_some_and(|seen| seen.body.contains("Action=AssumeRole")), "{:?}", proxy.passed());
}
