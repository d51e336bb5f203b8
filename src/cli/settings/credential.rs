//! Which password or key opens the repository. The secret itself is fetched later, by [`password`](crate::cli::password).

use std::path::PathBuf;

use crate::cli::args::GlobalArgs;
use crate::environment::{Environment, PREFIXES};
use crate::error::{Error, Result};
use crate::secret::Password;

/// Where the password or key comes from.
#[derive(Debug, Clone)]
pub(crate) enum CredentialSource {
    /// A file of 32 bytes, raw, hex or base64.
    KeyFile(PathBuf),
    /// The first line of a file.
    PasswordFile(PathBuf),
    /// The first line that a program prints.
    Command(String),
    /// A variable's value.
    Text(Password),
    /// Nothing is configured: the key of the default repository, if that is used, else a question.
    Unset,
}

impl CredentialSource {
    /// The source that counts: the first level that names one, of options, `VOLVAULT_*` and `RESTIC_*`.
    ///
    /// # Errors
    /// `Invalid` when one level names several.
    pub(crate) fn new(args: &GlobalArgs, environment: &Environment) -> Result<Self> {
        let files = (args.key_file.clone(), args.password_file.clone());
        Self::of(files, args.password_command.clone(), environment)
    }

    /// As [`CredentialSource::new`], from the options themselves.
    pub(super) fn of(
        (key_file, password_file): (Option<PathBuf>, Option<PathBuf>),
        command: Option<String>,
        environment: &Environment,
    ) -> Result<Self> {
        let options = Level { prefix: "", key_file, password_file, command, text: None };
        if let Some(source) = options.choose()? {
            return Ok(source);
        }
        for prefix in PREFIXES {
            let path = |suffix: &str| environment.raw(&format!("{prefix}{suffix}")).map(PathBuf::from);
            let text = |suffix: &str| environment.text(&format!("{prefix}{suffix}"));
            let level = Level {
                prefix,
                key_file: path("KEY_FILE"),
                password_file: path("PASSWORD_FILE"),
                command: text("PASSWORD_COMMAND")?.map(str::to_owned),
                text: text("PASSWORD")?.map(|text| Password::new(text.as_bytes().to_vec())),
            };
            if let Some(source) = level.choose()? {
                return Ok(source);
            }
        }
        Ok(Self::Unset)
    }
}

struct Level {
    prefix: &'static str,
    key_file: Option<PathBuf>,
    password_file: Option<PathBuf>,
    command: Option<String>,
    text: Option<Password>,
}

impl Level {
    fn choose(self) -> Result<Option<CredentialSource>> {
        let named = [
            self.key_file.map(CredentialSource::KeyFile),
            self.password_file.map(CredentialSource::PasswordFile),
            self.command.map(CredentialSource::Command),
        ];
        let mut named = named.into_iter().flatten();
        let first = named.next();
        if named.next().is_some() {
            let prefix = self.prefix;
            return Err(Error::invalid(format!(
                "more than one of {prefix}KEY_FILE, {prefix}PASSWORD_FILE and {prefix}PASSWORD_COMMAND is given"
            )));
        }
        // As restic has it, a password itself comes after a file or a command of the same level.
        Ok(first.or(self.text.map(CredentialSource::Text)))
    }
}
