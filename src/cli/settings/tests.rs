//! Which of options, `VOLVAULT_*` and `RESTIC_*` counts, as tables.

use clap::Parser;

use super::*;
use crate::cli::args::Cli;

/// Options, variables, and what is to come of them.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a str);

fn settings(line: &str, environment: &[(&str, &str)]) -> Result<Settings> {
    let words = ["volvault"].into_iter().chain(line.split_whitespace()).chain(["version"]);
    let cli = Cli::try_parse_from(words).unwrap();
    let home = [("HOME", "/home/u")];
    Settings::new(&cli.global, &home.iter().chain(environment).copied().collect())
}

fn shown(place: &Place) -> String {
    match place {
        Place::Given(location) => location.to_string(),
        Place::File(path) => format!("in {}", path.display()),
        Place::Default(place) => format!("default {} {}", place.repository.display(), place.key.display()),
        Place::Nowhere => "nowhere".to_owned(),
    }
}

#[test]
fn the_repository_is_the_first_one_named() {
    let (ours, restics) = (("VOLVAULT_REPOSITORY", "/ours"), ("RESTIC_REPOSITORY", "/restics"));
    let (our_file, restics_file) = (("VOLVAULT_REPOSITORY_FILE", "/f"), ("RESTIC_REPOSITORY_FILE", "/g"));
    let cases: [Case<'_>; 9] = [
        ("-r /given", &[ours, restics], "/given"),
        ("-r /given", &[our_file, restics], "/given"),
        ("--repository-file h", &[ours], "in h"),
        ("", &[ours, restics], "/ours"),
        ("", &[our_file, restics], "in /f"),
        ("", &[restics], "/restics"),
        ("", &[restics_file], "in /g"),
        ("", &[], "default /home/u/.local/share/volvault/repository /home/u/.local/share/volvault/key"),
        ("", &[("XDG_DATA_HOME", "/x")], "default /x/volvault/repository /x/volvault/key"),
    ];
    for (line, environment, expected) in cases {
        assert_eq!(shown(&settings(line, environment).unwrap().place), expected, "{line} {environment:?}");
    }
    assert!(settings("", &[ours, our_file]).is_err());
    assert!(settings("", &[restics, restics_file]).is_err());
    assert!(settings("-r sftp:host:/x", &[]).is_err());
}

#[test]
fn without_a_home_there_is_no_default_repository() {
    let cli = Cli::try_parse_from(["volvault", "version"]).unwrap();
    let error = Settings::new(&cli.global, &Environment::default()).unwrap_err();
    assert!(error.hint().unwrap().contains("VOLVAULT_REPOSITORY"));
    let settings = Settings::without_repository(&cli.global, &Environment::default()).unwrap();
    assert_eq!(shown(&settings.place), "nowhere");
}

#[test]
fn the_credential_is_the_first_one_named() {
    let kind = |source: &CredentialSource| match source {
        CredentialSource::KeyFile(path) => format!("key {}", path.display()),
        CredentialSource::PasswordFile(path) => format!("file {}", path.display()),
        CredentialSource::Command(command) => format!("command {command}"),
        CredentialSource::Text(password) => format!("text {}", String::from_utf8_lossy(password.expose())),
        CredentialSource::Unset => "unset".to_owned(),
    };
    let password = ("RESTIC_PASSWORD", "s");
    let cases: [Case<'_>; 9] = [
        ("", &[], "unset"),
        ("-p f", &[password, ("VOLVAULT_KEY_FILE", "k")], "file f"),
        ("--key-file k", &[password], "key k"),
        ("--password-command pass", &[password], "command pass"),
        ("", &[password, ("VOLVAULT_KEY_FILE", "k")], "key k"),
        ("", &[password, ("VOLVAULT_PASSWORD", "v")], "text v"),
        ("", &[password, ("RESTIC_PASSWORD_FILE", "f")], "file f"),
        ("", &[password], "text s"),
        ("", &[("RESTIC_PASSWORD_COMMAND", "pass show x")], "command pass show x"),
    ];
    for (line, environment, expected) in cases {
        assert_eq!(kind(&settings(line, environment).unwrap().credential), expected, "{line}");
    }
    assert!(settings("", &[("RESTIC_PASSWORD_FILE", "f"), ("RESTIC_PASSWORD_COMMAND", "c")]).is_err());
}

#[test]
fn settings_show_no_secret() {
    let made =
        settings("-o s3.region=x", &[("RESTIC_PASSWORD", "hunter2"), ("AWS_SECRET_ACCESS_KEY", "hunter3")]).unwrap();
    assert!(!format!("{made:?}").contains("hunter"));
}

#[test]
fn compression_and_pack_size_come_from_options_first() {
    let environment = [("RESTIC_COMPRESSION", "max"), ("RESTIC_PACK_SIZE", "64")];
    let made = settings("", &environment).unwrap();
    assert_eq!((made.compression, made.pack_size), (Compression::Max, Some(ByteSize::mib(64))));
    let made = settings("--compression off --pack-size 32", &environment).unwrap();
    assert_eq!((made.compression, made.pack_size), (Compression::Off, Some(ByteSize::mib(32))));
    let made = settings("", &[]).unwrap();
    assert_eq!((made.compression, made.pack_size), (Compression::Auto, None));
}

#[test]
fn values_that_make_no_sense_are_errors_that_name_their_origin() {
    for (line, variable, word) in [
        ("--compression best", ("A", "b"), "--compression"),
        ("", ("RESTIC_COMPRESSION", "best"), "RESTIC_COMPRESSION"),
        ("", ("VOLVAULT_PACK_SIZE", "big"), "VOLVAULT_PACK_SIZE"),
        ("--pack-size 129", ("A", "b"), "129"),
        ("--pack-size 0", ("A", "b"), "pack size"),
        ("-o s3.region", ("A", "b"), "KEY=VALUE"),
        ("-o a=1 -o A=2", ("A", "b"), "twice"),
        ("", ("RESTIC_PROGRESS_FPS", "-1"), "PROGRESS_FPS"),
        ("", ("RESTIC_PROGRESS_FPS", "often"), "RESTIC_PROGRESS_FPS"),
        ("-r ftp:x", ("A", "b"), "--repo"),
    ] {
        let error = settings(line, &[variable]).unwrap_err();
        assert!(error.chain().contains(word), "{line} {variable:?}: {}", error.chain());
    }
}

#[test]
fn limits_are_kib_and_zero_is_no_limit() {
    let made = settings("--limit-upload 100 --limit-download 0", &[]).unwrap().store;
    assert_eq!((made.limit_upload, made.limit_download), (Some(ByteSize::kib(100)), None));
    assert!(settings(&format!("--limit-upload {}", u64::MAX), &[]).is_err());
}

#[test]
fn certificates_are_a_list_in_the_environment() {
    let environment = [("RESTIC_CACERT", "a.pem,b.pem")];
    assert_eq!(settings("", &environment).unwrap().store.ca_files, [PathBuf::from("a.pem"), PathBuf::from("b.pem")]);
    assert_eq!(settings("--cacert c.pem", &environment).unwrap().store.ca_files, [PathBuf::from("c.pem")]);
}

#[test]
fn zero_updates_a_second_stand_for_the_usual() {
    assert_eq!(settings("", &[("RESTIC_PROGRESS_FPS", "0")]).unwrap().output.updates_per_second, None);
    assert_eq!(settings("", &[("RESTIC_PROGRESS_FPS", "0.1")]).unwrap().output.updates_per_second, Some(0.1));
}
