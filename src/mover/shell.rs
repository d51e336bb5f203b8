//! As much of `/bin/bash -c COMMAND` as the operator needs: it starts one program.

use crate::error::{Error, Result};

/// What a shell would do something with.
const SPECIAL: [char; 25] = [
    '|', '&', ';', '<', '>', '(', ')', '$', '`', '\\', '"', '\'', '*', '?', '[', ']', '#', '~', '=', '%', '!', '{',
    '}', '\n', '\r',
];

/// The program and its arguments that `arguments`, those of `bash`, start.
///
/// # Errors
/// `Invalid` for anything but `-c` and plain words: this is no shell.
pub fn program_of(arguments: &[String]) -> Result<Vec<String>> {
    let refuse = |why: &str| {
        Err(Error::invalid(format!("this is not a shell, and {why}"))
            .with_hint("it only starts a program: bash -c '/path/of/program argument'"))
    };
    let [option, line, ..] = arguments else { return refuse("there is no command") };
    if option != "-c" {
        return refuse("it knows no option but -c");
    }
    if line.contains(SPECIAL) {
        return refuse("the command is more than words");
    }
    let words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if words.is_empty() { refuse("the command is empty") } else { Ok(words) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_program_is_started_and_nothing_else_is_understood() {
        let program = |words: &[&str]| program_of(&words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>());
        assert_eq!(program(&["-c", "/mover-rclone/active.sh"]).unwrap(), ["/mover-rclone/active.sh"]);
        assert_eq!(program(&["-c", " a  b c"]).unwrap(), ["a", "b", "c"]);
        for wrong in
            [&[][..], &["-c"], &["-c", ""], &["-x", "a"], &["a"], &["-c", "a; b"], &["-c", "$A"], &["-c", "a\nb"]]
        {
            assert!(program(wrong).is_err(), "{wrong:?}");
        }
    }
}
