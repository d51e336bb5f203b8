//! Fetches the password or key that opens a repository: from a file, a program, a variable or, on a terminal, a person.
//!
//! Secrets leave this module as [`Credential`] only; no message quotes one.

use std::io::{self, IsTerminal, Read};
use std::path::Path;
use std::process::{Command, Stdio};

use zeroize::Zeroizing;

use super::settings::CredentialSource;
use crate::error::{Attempt, Error, ErrorKind, Result};
use crate::path::escape;
use crate::secret::{Credential, Key32};

/// Longest password and largest key file; a wrong path (a device, a disk image) must not fill the memory.
const SECRET_MAX: u64 = 64 << 10;

/// Asks a person.
pub(crate) trait Prompt {
    /// A line that is not shown while it is typed.
    ///
    /// # Errors
    /// `Invalid` when there is no terminal.
    fn ask(&self, question: &str) -> Result<Zeroizing<String>>;
}

/// Asks on the process's terminal.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Terminal;

impl Prompt for Terminal {
    fn ask(&self, question: &str) -> Result<Zeroizing<String>> {
        if !io::stdin().is_terminal() {
            return Err(Error::invalid("no password or key is given, and there is no terminal to ask on")
                .with_hint("set VOLVAULT_PASSWORD, or use --password-file, --password-command or --key-file"));
        }
        let saved = super::signals::hide_typing();
        let answer = rpassword::prompt_password(question).attempt(|| "read the password from the terminal".to_owned());
        drop(saved);
        answer.map(Zeroizing::new)
    }
}

/// The credential that `source` names.
///
/// # Errors
/// `Invalid` for an empty password and for a key that is none; what the file or the program gave rise to otherwise.
pub(crate) fn fetch(source: &CredentialSource, prompt: &dyn Prompt) -> Result<Credential> {
    match source {
        CredentialSource::KeyFile(path) => key_file(path),
        CredentialSource::PasswordFile(path) => {
            let said = || format!("read the password from {}", shown(path));
            let bytes = read(path).attempt(said)?;
            Credential::from_line(&bytes).map_err(|error| error.within(said()))
        }
        CredentialSource::Command(line) => command(line),
        CredentialSource::Text(password) => Credential::from_line(password.expose()),
        CredentialSource::Unset => Credential::from_line(prompt.ask("enter password for repository: ")?.as_bytes()),
    }
}

/// A new credential: from `source`, or asked for twice.
///
/// # Errors
/// As [`fetch`]; `Invalid` when the two answers differ.
pub(crate) fn fetch_new(source: &CredentialSource, prompt: &dyn Prompt) -> Result<Credential> {
    if !matches!(source, CredentialSource::Unset) {
        return fetch(source, prompt);
    }
    let first = prompt.ask("enter new password: ")?;
    let again = prompt.ask("enter password again: ")?;
    if *first != *again {
        return Err(Error::invalid("the passwords do not match"));
    }
    Credential::from_line(first.as_bytes())
}

/// The key in a file.
///
/// # Errors
/// As [`fetch`].
pub(crate) fn key_file(path: &Path) -> Result<Credential> {
    let said = || format!("read the key from {}", shown(path));
    let bytes = read(path).attempt(said)?;
    Key32::parse(&bytes).map(Credential::Key).map_err(|error| error.within(said()))
}

fn read(path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
    read_all(std::fs::File::open(path)?)
}

fn read_all(from: impl Read) -> io::Result<Zeroizing<Vec<u8>>> {
    // Of full size from the start: a growing buffer would leave copies behind that nobody wipes.
    let capacity = usize::try_from(SECRET_MAX).unwrap_or(1 << 16) + 1;
    let mut bytes = Zeroizing::new(Vec::with_capacity(capacity));
    from.take(SECRET_MAX + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > SECRET_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "too long for a password or a key"));
    }
    Ok(bytes)
}

/// Runs the program without a shell. Its standard error is ours; its arguments are never shown.
fn command(line: &str) -> Result<Credential> {
    let words = split_words(line).map_err(|error| error.within("read --password-command"))?;
    let [program, arguments @ ..] = words.as_slice() else {
        return Err(Error::invalid("the password command is empty"));
    };
    let said = || format!("run the password command {}", escape(program.as_bytes()));
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .attempt(said)?;
    let output = child.stdout.take().map_or_else(|| Ok(Zeroizing::default()), read_all);
    let status = child.wait().attempt(said)?;
    if !status.success() {
        return Err(Error::new(ErrorKind::Local, format!("{}: {status}", said())));
    }
    Credential::from_line(&output.attempt(said)?).map_err(|error| error.within(said()))
}

/// Cuts a line into words as a shell does, with quotes and backslashes, but expands nothing.
///
/// # Errors
/// `Invalid` for an open quote or a backslash at the end.
fn split_words(line: &str) -> Result<Vec<String>> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match (quote, letter) {
            (Some(open), _) if letter == open => quote = None,
            (Some('\''), _) => word.get_or_insert_default().push(letter),
            (_, '\\') => {
                let next = letters.next().ok_or_else(|| Error::invalid("a backslash at the end stands for nothing"))?;
                word.get_or_insert_default().push(next);
            }
            (None, '\'' | '"') => {
                quote = Some(letter);
                word.get_or_insert_default();
            }
            (None, _) if letter.is_whitespace() => words.extend(word.take()),
            (Some(_) | None, _) => word.get_or_insert_default().push(letter),
        }
    }
    if quote.is_some() {
        return Err(Error::invalid("a quote is not closed"));
    }
    words.extend(word);
    Ok(words)
}

fn shown(path: &Path) -> String {
    escape(path.as_os_str().as_encoded_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::RefCell;

    /// Answers in order.
    struct Script(RefCell<Vec<&'static str>>);

    impl Prompt for Script {
        fn ask(&self, _question: &str) -> Result<Zeroizing<String>> {
            Ok(Zeroizing::new(self.0.borrow_mut().remove(0).to_owned()))
        }
    }

    fn script(answers: &[&'static str]) -> Script {
        Script(RefCell::new(answers.to_vec()))
    }

    fn text(credential: &Credential) -> String {
        match credential {
            Credential::Password(password) => String::from_utf8(password.expose().to_vec()).unwrap(),
            Credential::Key(key) => hex::encode(key.expose()),
        }
    }

    #[test]
    fn a_password_is_the_first_line_without_space_around_it() {
        for (bytes, expected) in [
            (b"secret".as_slice(), "secret"),
            (b"secret\n", "secret"),
            (b" a secret \r\nand a comment\n", "a secret"),
            (b"\xef\xbb\xbfsecret", "secret"),
        ] {
            assert_eq!(text(&Credential::from_line(bytes).unwrap()), expected);
        }
        assert!(Credential::from_line(b"").is_err() && Credential::from_line(b"\nsecret").is_err());
    }

    #[test]
    fn a_prefix_marks_a_key_and_a_wrong_key_is_not_quoted() {
        let line = format!("key32:{}\n", "ab".repeat(32));
        assert_eq!(text(&Credential::from_line(line.as_bytes()).unwrap()), "ab".repeat(32));
        let error = Credential::from_line(b"key32:hunter2").unwrap_err();
        assert!(!error.chain().contains("hunter2"), "{}", error.chain());
    }

    #[test]
    fn files_are_read_and_missing_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secret");
        std::io::Write::write_all(&mut std::fs::File::create(&path).unwrap(), b"secret\n").unwrap();
        let prompt = script(&[]);
        assert_eq!(text(&fetch(&CredentialSource::PasswordFile(path.clone()), &prompt).unwrap()), "secret");
        let error = fetch(&CredentialSource::KeyFile(path), &prompt).unwrap_err();
        assert!(error.chain().contains("read the key from"), "{}", error.chain());
        let error = fetch(&CredentialSource::PasswordFile("/no/such".into()), &prompt).unwrap_err();
        assert!(error.chain().contains("/no/such"), "{}", error.chain());
        let error = fetch(&CredentialSource::PasswordFile("/dev/zero".into()), &prompt).unwrap_err();
        assert!(error.chain().contains("too long"), "{}", error.chain());
    }

    #[test]
    fn a_program_is_run_without_a_shell_and_its_failure_is_one() {
        let prompt = script(&[]);
        let run = |line: &str| fetch(&CredentialSource::Command(line.to_owned()), &prompt);
        assert_eq!(text(&run("echo 'my  secret' \"$HOME\"").unwrap()), "my  secret $HOME");
        for wrong in ["false", "true", "", "/no/such hunter2", "sh -c 'echo hunter2; exit 3'", "echo 'x"] {
            let error = run(wrong).unwrap_err();
            assert!(!error.chain().contains("hunter2"), "{}", error.chain());
        }
    }

    #[test]
    fn words_are_cut_as_a_shell_cuts_them() {
        for (line, words) in [
            ("a  b\tc", vec!["a", "b", "c"]),
            (r#"a 'b "c' "d 'e""#, vec!["a", "b \"c", "d 'e"]),
            (r#"a\ b "c\"d" '\e'"#, vec!["a b", "c\"d", "\\e"]),
            ("a'b'\"c\"", vec!["abc"]),
            ("'' x", vec!["", "x"]),
            ("  ", vec![]),
        ] {
            assert_eq!(split_words(line).unwrap(), words, "{line}");
        }
        assert!(split_words("'a").is_err() && split_words("a\\").is_err());
    }

    #[test]
    fn a_new_password_is_asked_for_twice() {
        assert_eq!(text(&fetch_new(&CredentialSource::Unset, &script(&["a", "a"])).unwrap()), "a");
        assert!(fetch_new(&CredentialSource::Unset, &script(&["a", "b"])).is_err());
        assert!(fetch_new(&CredentialSource::Unset, &script(&["", ""])).is_err());
        assert_eq!(text(&fetch(&CredentialSource::Unset, &script(&["a"])).unwrap()), "a");
    }
}
