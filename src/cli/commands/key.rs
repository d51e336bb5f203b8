//! `key`.

use chrono::DateTime;

use crate::cli::App;
use crate::cli::args::{KeyArgs, KeyCommand, NewKeyArgs};
use crate::cli::exit::Outcome;
use crate::cli::output::json::{self, KeyChange, KeyInfo};
use crate::cli::output::table::Table;
use crate::cli::output::text;
use crate::cli::password::{self, Terminal};
use crate::cli::settings::{CredentialSource, Place};
use crate::error::Result;
use crate::repo::{Slot, SlotKind};
use crate::secret::Credential;

/// Manages the passwords and keys that open the repository.
pub(in crate::cli) fn run(app: &App<'_>, args: &KeyArgs) -> Result<Outcome> {
    match &args.command {
        KeyCommand::List => list(app)?,
        KeyCommand::Add(new) => {
            let repository = app.open()?;
            let id = repository.add_slot(&new_credential(new)?, None, &label(new))?;
            tell(app, "added", &id, &format!("saved new key with ID {id}"));
        }
        KeyCommand::Remove { id } => {
            let id = app.open()?.remove_slot(&id.to_ascii_lowercase())?;
            tell(app, "removed", &id, &format!("removed key {}", text::name(&id)));
        }
        KeyCommand::Passwd(new) => passwd(app, new)?,
    }
    Ok(Outcome::Complete)
}

/// Says what became of a key, in words or as JSON.
fn tell(app: &App<'_>, action: &'static str, id: &str, sentence: &str) {
    if app.console.settings().json {
        app.console.json(&KeyChange { message_type: "key", action, id });
    }
    app.console.say(sentence);
}

fn list(app: &App<'_>) -> Result<()> {
    let repository = app.open()?;
    let mut keys = Vec::new();
    for (name, slot) in repository.slots()? {
        match slot {
            Ok(slot) => keys.push(info(&name, &slot, name == repository.current_slot())),
            Err(error) => {
                let hint = format!("`volvault key remove {}` removes it", text::name(&name));
                app.console.warn(&format!("{}: {hint}", error.chain()));
            }
        }
    }
    if app.console.settings().json {
        app.console.line(&json::line(&keys));
        return Ok(());
    }
    for line in table(&keys).lines() {
        app.console.row(&line);
    }
    Ok(())
}

fn table(keys: &[KeyInfo]) -> Table {
    let mut table = Table::new(&[" ID", "User", "Host", "Created", "Kind", "Label"]);
    for key in keys {
        let mark = if key.current { '*' } else { ' ' };
        let short: String = key.id.chars().take(8).collect();
        let cells = [
            format!("{mark}{short}"),
            text::name(&key.user_name),
            text::name(&key.host_name),
            key.created.clone(),
            key.kind.to_owned(),
            text::name(&key.label),
        ];
        table.row(cells.into_iter().map(|cell| vec![cell]).collect());
    }
    table
}

/// What a slot says of itself. Anybody who may write to the store can have written it: it is for people, not for decisions.
pub(super) fn info(name: &str, slot: &Slot, current: bool) -> KeyInfo {
    let label = slot.label();
    let created =
        DateTime::parse_from_rfc3339(&label.created).map_or_else(|_| text::name(&label.created), |at| text::time(&at));
    KeyInfo {
        current,
        id: name.to_owned(),
        user_name: label.user,
        host_name: label.host,
        created,
        kind: match slot.kind() {
            SlotKind::Argon2id => "argon2id",
            SlotKind::Key32 => "key32",
        },
        label: label.label,
    }
}

fn new_credential(new: &NewKeyArgs) -> Result<Credential> {
    let source = match (&new.new_password_file, &new.new_key_file) {
        (Some(file), _) => CredentialSource::PasswordFile(file.clone()),
        (None, Some(file)) => CredentialSource::KeyFile(file.clone()),
        (None, None) => CredentialSource::Unset,
    };
    password::fetch_new(&source, &Terminal)
}

fn label(new: &NewKeyArgs) -> String {
    match (&new.label, &new.user, &new.host) {
        (Some(label), _, _) => label.clone(),
        (None, None, None) => String::new(),
        (None, user, host) => format!("{}@{}", user.as_deref().unwrap_or(""), host.as_deref().unwrap_or("")),
    }
}

fn passwd(app: &App<'_>, new: &NewKeyArgs) -> Result<()> {
    let repository = app.open()?;
    let Some(id) = repository.replace_slot(&new_credential(new)?, None, &label(new))? else {
        let sentence = "the new password is the old one; nothing was changed";
        tell(app, "unchanged", repository.current_slot(), sentence);
        return Ok(());
    };
    if let (Place::Default(place), CredentialSource::Unset) = (&app.settings.place, &app.settings.credential) {
        let path = text::name(&place.key.to_string_lossy());
        app.console.warn(&format!("the key in {path} opens nothing any more; give the new one, or put it there"));
    }
    tell(app, "changed", &id, &format!("saved new key as {id}"));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_listed_with_the_one_in_use_marked() {
        let key = |current, id: &str, label: &str| KeyInfo {
            current,
            id: id.repeat(4),
            user_name: "root".into(),
            host_name: "pod".into(),
            created: "2024-03-01 10:00:00".into(),
            kind: "key32",
            label: label.into(),
        };
        assert_eq!(
            table(&[key(true, "12ab34cd", "x\n"), key(false, "ffffffff", "")]).lines(),
            [
                " ID        User  Host  Created              Kind   Label",
                "--------------------------------------------------------",
                "*12ab34cd  root  pod   2024-03-01 10:00:00  key32  x\\n",
                " ffffffff  root  pod   2024-03-01 10:00:00  key32",
                "--------------------------------------------------------",
            ]
        );
    }
}
