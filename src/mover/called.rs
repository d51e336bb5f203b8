//! What the name says by which the program was called.

use std::ffi::OsStr;
use std::path::Path;

/// A name that VolSync's operator calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Called {
    /// `/mover-restic/entry.sh`.
    Restic,
    /// `/mover-rclone/active.sh`.
    Rclone,
    /// `/bin/bash`, which the operator starts the rclone mover with.
    Shell,
}

impl Called {
    /// The name of the script.
    pub const fn script(self) -> &'static str {
        match self {
            Self::Restic => "entry.sh",
            Self::Rclone => "active.sh",
            Self::Shell => "bash",
        }
    }

    /// What `program`, the first of the arguments, stands for; none for the command itself.
    pub fn by(program: &OsStr) -> Option<Self> {
        match Path::new(program).file_name()?.to_str()? {
            "entry.sh" => Some(Self::Restic),
            "active.sh" => Some(Self::Rclone),
            "bash" | "sh" => Some(Self::Shell),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_scripts_are_known_wherever_they_lie() {
        for (name, called) in [
            ("/mover-restic/entry.sh", Some(Called::Restic)),
            ("entry.sh", Some(Called::Restic)),
            ("/tmp/entry.sh", Some(Called::Restic)),
            ("/mover-rclone/active.sh", Some(Called::Rclone)),
            ("/bin/bash", Some(Called::Shell)),
            ("volvault", None),
            ("/usr/bin/volvault", None),
            ("", None),
        ] {
            assert_eq!(Called::by(OsStr::new(name)), called, "{name}");
        }
    }
}
