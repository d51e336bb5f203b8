//! Stores and links that are slow, as a command meets them. How single requests are repeated is in `governor`.

use std::time::Duration;

use tokio::time::Instant;

use crate::command::{Home, write};
use crate::support::s3::S3ServerThread;
use crate::support::vault::noise;

fn user(s3: &S3ServerThread) -> Home {
    let mut home = Home::new();
    for (name, value) in s3.server.variables() {
        home.set(name, value);
    }
    home.set("VOLVAULT_REPOSITORY", format!("s3:{}/bucket/p", s3.server.endpoint));
    home.set_key();
    home.text(&["init"]);
    home
}

#[test]
fn limits_of_bandwidth_hold_for_whole_commands() {
    let s3 = S3ServerThread::start();
    let home = user(&s3);
    write(&home.at("data/file"), &noise(3 << 20, 7));
    let start = Instant::now();
    home.text(&["--limit-upload", "1024", "--pack-size", "1", "backup", "data"]);
    // The first pack goes at once, and each further one when its turn at 1 MiB a second has come.
    assert!(start.elapsed() >= Duration::from_millis(1900), "3 MiB were sent in {:?}", start.elapsed());
    let start = Instant::now();
    home.text(&["--limit-download", "2048", "restore", "latest", "--target", "back"]);
    assert!(start.elapsed() >= Duration::from_millis(1300), "3 MiB were received in {:?}", start.elapsed());
    assert_eq!(std::fs::read(home.at("back/data/file")).unwrap(), noise(3 << 20, 7));
}

#[test]
fn a_store_that_turns_every_third_request_away_gets_the_whole_backup_and_gives_it_back() {
    let s3 = S3ServerThread::start();
    let home = user(&s3);
    for n in 0..20 {
        write(&home.at(&format!("data/{n}")), &noise(300_000, n));
    }
    s3.server.slow_down_each(3);
    let output = home.run(&["--stats", "--pack-size", "1", "backup", "data"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    assert!(said.contains(" repeated"), "{said}");
    home.text(&["restore", "latest", "--target", "back"]);
    s3.server.slow_down_each(0);
    home.text(&["check", "--read-data"]);
    for n in 0..20 {
        assert_eq!(std::fs::read(home.at(&format!("back/data/{n}"))).unwrap(), noise(300_000, n));
    }
}
