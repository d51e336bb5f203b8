//! The scheduler's HTTP side, asked over a socket.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::runtime::Runtime;
use volvault::clock::SystemClock;
use volvault::monitor::{MonitorOptions, Serving, Token, serve};
use volvault::mover::Numbers;
use volvault::schedule::{Board, Method, MoverResult, MoverStatus, ResourceId, ResourceView, Role, Runs, Status, View};
use volvault::storage::RequestCounts;

const TOKEN: &str = "0123456789abcdef-token";
const HOSTILE: &str = "\"><script>alert('x')</script>";

struct Site {
    board: Board,
    serving: Serving,
    _runtime: Runtime,
}

fn now() -> DateTime<Utc> {
    SystemClock::new().now().to_utc()
}

fn resource(name: &str) -> ResourceView {
    ResourceView {
        id: ResourceId { namespace: "shop".to_owned(), name: name.to_owned(), role: Role::Source },
        method: Method::Restic,
        volume: "data".to_owned(),
        trigger: "schedule @daily".to_owned(),
        paused: false,
        running: None,
        running_for: None,
        waiting: false,
        next: None,
        status: Status::default(),
        missed_intervals: 2,
        out_of_sync: true,
        runs: Runs { succeeded: 3, failed: 1, seconds: 4.5 },
        history: Vec::new(),
        requests: RequestCounts { put: 7, bytes_up: 99, ..RequestCounts::default() },
        latest: None,
    }
}

fn view(resources: Vec<ResourceView>) -> View {
    View { program: "volvault test".to_owned(), started: now(), ready: true, beat: now(), resources }
}

fn site(view: View, token: Option<&str>) -> Site {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let board = Board::new(view);
    let options = MonitorOptions {
        listen: "127.0.0.1:0".parse().unwrap(),
        token: token.map(|token| Token::parse(token.as_bytes()).unwrap()),
        hosts: vec!["backup.example".to_owned()],
    };
    let serving = serve(&options, board.clone(), SystemClock::new(), runtime.handle()).unwrap();
    Site { board, serving, _runtime: runtime }
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).unwrap();
    socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    socket
}

/// Sends these bytes and returns everything that comes.
fn exchange(address: SocketAddr, request: &str) -> String {
    let mut socket = connect(address);
    socket.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    String::from_utf8(answer).unwrap()
}

impl Site {
    fn get(&self, path: &str) -> (u16, String) {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: {}\r\n\r\n", self.serving.address()))
    }

    fn post(&self, path: &str, headers: &str, body: &str) -> u16 {
        let length = body.len();
        self.ask(&format!("POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {length}\r\n\r\n{body}"))
            .0
    }

    fn ask(&self, request: &str) -> (u16, String) {
        let answer = exchange(self.serving.address(), request);
        let status = answer.split(' ').nth(1).unwrap_or_else(|| panic!("{request:?}: {answer:?}")).parse().unwrap();
        (status, answer)
    }
}

#[test]
fn the_page_the_status_and_the_metrics_are_there() {
    let latest = Some(Numbers { prune_refused: Some(true), ..Numbers::default() });
    let site = site(view(vec![ResourceView { latest, ..resource("app") }]), None);
    let (status, page) = site.get("/");
    assert_eq!(status, 200);
    assert!(page.contains("shop/<wbr>app") && page.contains("schedule @daily"), "{page}");
    for header in [
        "content-security-policy: default-src 'none'; style-src 'self'",
        "x-content-type-options: nosniff",
        "cache-control: no-store",
    ] {
        assert!(page.contains(header), "{header}: {page}");
    }
    assert!(!page.contains("<script") && !page.contains("style=\""), "the policy would refuse it");
    let (_, status) = site.get("/status");
    let body: serde_json::Value = serde_json::from_str(status.split_once("\r\n\r\n").unwrap().1).unwrap();
    assert_eq!((&body["kind"], &body["items"][0]["metadata"]["name"]), (&"List".into(), &"app".into()));
    let (_, metrics) = site.get("/metrics");
    let labels = r#"obj_name="app",obj_namespace="shop",role="source",method="restic""#;
    for line in [
        format!("volsync_missed_intervals_total{{{labels}}} 2\n"),
        format!("volsync_volume_out_of_sync{{{labels}}} 1\n"),
        format!("volsync_sync_duration_seconds{{{labels},quantile=\"0.99\"}} NaN\n"),
        format!("volsync_sync_duration_seconds_sum{{{labels}}} 4.5\n"),
        format!("volsync_sync_duration_seconds_count{{{labels}}} 3\n"),
        format!("volvault_runs_total{{{labels},result=\"failed\"}} 1\n"),
        format!("volvault_requests_total{{{labels},kind=\"put\"}} 7\n"),
        format!("volvault_store_bytes_total{{{labels},direction=\"up\"}} 99\n"),
        format!("volvault_prune_refused{{{labels}}} 1\n"),
    ] {
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
    for (path, code) in [
        ("/style.css", 200),
        ("/icon.svg", 200),
        ("/?refresh", 200),
        ("/nothing", 404),
        ("/../etc/passwd", 404),
        ("//", 404),
    ] {
        assert_eq!(site.get(path).0, code, "{path}");
    }
}

#[test]
fn what_documents_say_is_text_and_nothing_else() {
    let mut resource = resource(HOSTILE);
    resource.id.namespace = HOSTILE.to_owned();
    (resource.volume, resource.trigger) = (HOSTILE.to_owned(), HOSTILE.to_owned());
    resource.status.latest_mover_status = Some(MoverStatus { result: MoverResult::Failed, logs: HOSTILE.to_owned() });
    let site = site(View { program: HOSTILE.to_owned(), ..view(vec![resource]) }, None);
    let (_, page) = site.get("/");
    assert_eq!(page.matches("&lt;script&gt;alert(&#39;x&#39;)").count(), 6, "{page}");
    assert!(!page.contains("<script") && !page.contains("\"><s"), "{page}");
    assert!(site.get("/metrics").1.contains(r#"obj_name="\"><script>alert('x')</script>","#));
}

#[test]
fn health_follows_the_scheduler() {
    let site = site(view(Vec::new()), None);
    assert_eq!((site.get("/healthz").0, site.get("/readyz").0), (200, 200));
    site.board.publish(View { ready: false, ..view(Vec::new()) });
    assert_eq!((site.get("/healthz").0, site.get("/readyz").0), (200, 503));
    site.board.publish(View { beat: now() - TimeDelta::minutes(2), ..view(Vec::new()) });
    assert_eq!((site.get("/healthz").0, site.get("/readyz").0), (503, 503));
}

#[test]
fn nothing_is_changed_without_the_token() {
    let shown = format!("Authorization: Bearer {TOKEN}\r\n");
    let without = site(view(vec![resource("app")]), None);
    assert_eq!(without.post("/sync/source/shop/app", &shown, "now"), 403, "no token was given to the program");
    // The tag of the last run would start none, nor would that of the one at work.
    let status = Status { last_manual_sync: Some("before".to_owned()), ..Status::default() };
    let (running, running_for) = (Some(now()), Some("at work".to_owned()));
    let app = ResourceView { status, running, running_for, ..resource("app") };
    let site = site(view(vec![app, ResourceView { paused: true, ..resource("paused") }]), Some(TOKEN));
    for wrong in [
        "",
        "Authorization: Bearer wrong\r\n",
        "Authorization: Basic 0123456789abcdef-token\r\n",
        "Cookie: token=0123456789abcdef-token\r\n",
    ] {
        assert_eq!(site.post("/sync/source/shop/app", wrong, "now"), 401, "{wrong}");
        assert_eq!(site.post("/sync/source/shop/nothing", wrong, "now"), 401, "{wrong}: what there is, is not told");
    }
    for (path, body, code) in [
        ("/sync/source/shop/nothing", "now", 404),
        ("/sync/source/shop/paused", "now", 409),
        ("/sync/source/shop/app", "a\u{7}b", 400),
        ("/sync/source/shop/app", "before", 409),
        ("/sync/source/shop/app", "at work", 409),
        ("/sync/source/shop/app", "now", 202),
        ("/sync/source/shop/app", "", 409),
        ("/sync/source/shop", "now", 404),
        ("/sync/source/shop/app/more", "now", 404),
        ("/sync/other/shop/app", "now", 404),
        ("/status", "now", 405),
    ] {
        assert_eq!(site.post(path, &shown, body), code, "{path} {body:?}");
    }
    assert_eq!(site.get("/sync/source/shop/app").0, 404, "a link does not start anything");
    assert_eq!(site.ask("DELETE /status HTTP/1.1\r\nHost: localhost\r\n\r\n").0, 405);
}

#[test]
fn names_of_somebody_elses_that_lead_here_are_refused() {
    let site = site(view(Vec::new()), None);
    for (host, code) in
        [("localhost:9731", 200), ("[::1]", 200), ("192.0.2.7:80", 200), ("backup.example", 200), ("evil.example", 421)]
    {
        assert_eq!(site.ask(&format!("GET /status HTTP/1.1\r\nHost: {host}\r\n\r\n")).0, code, "{host}");
    }
    assert_eq!(site.ask("GET /status HTTP/1.1\r\n\r\n").0, 421);
    assert_eq!(site.ask("GET http://evil.example/status HTTP/1.1\r\nHost: evil.example\r\n\r\n").0, 421);
}

#[test]
fn requests_are_bounded() {
    let site = site(view(vec![resource("app")]), Some(TOKEN));
    let shown = format!("Authorization: Bearer {TOKEN}\r\n");
    assert_eq!(site.post("/sync/source/shop/app", &shown, &"x".repeat(2000)), 413);
    let long =
        exchange_loosely(&site, &format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(40_000)));
    assert!(long.is_empty() || long.starts_with("HTTP/1.1 4"), "{long}");
    let many = "X: y\r\n".repeat(400);
    assert!(
        exchange_loosely(&site, &format!("GET / HTTP/1.1\r\nHost: localhost\r\n{many}\r\n")).starts_with("HTTP/1.1 4")
    );
    let both = "POST /sync/source/shop/app HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(!exchange_loosely(&site, both).starts_with("HTTP/1.1 2"));
    assert_eq!(site.get("/healthz").0, 200, "it is still there");
}

/// As [`exchange`], for a server that may close before it has read everything.
fn exchange_loosely(site: &Site, request: &str) -> String {
    let mut socket = connect(site.serving.address());
    let _ = socket.write_all(request.as_bytes());
    let mut answer = Vec::new();
    let _ = socket.read_to_end(&mut answer);
    String::from_utf8_lossy(&answer).into_owned()
}

/// A browser that asks for a byte now and then holds no place for ever, and whoever comes meanwhile is answered in the end.
#[test]
fn slow_clients_are_cut_off_and_hold_nobody_up() {
    let site = site(view(Vec::new()), None);
    let mut slow: Vec<TcpStream> = (0..100).map(|_| connect(site.serving.address())).collect();
    for socket in &mut slow {
        socket.write_all(b"GET / HTTP/1.1\r\nHost: local").unwrap();
    }
    assert_eq!(site.get("/healthz").0, 200);
    let mut rest = Vec::new();
    // Reset or closed, with or without a word: nothing of it is an answer to the request.
    let _ = slow[0].read_to_end(&mut rest);
    assert!(!rest.starts_with(b"HTTP/1.1 2"), "{rest:?}");
}
