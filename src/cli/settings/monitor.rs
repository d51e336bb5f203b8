//! Where the status page is, and who may ask for what.

use std::io::Read;
use std::net::{Ipv4Addr, SocketAddr};

use crate::cli::args::ListenArgs;
use crate::environment::Environment;
use crate::error::{Attempt, Result};
use crate::monitor::{MonitorOptions, Token};

/// Where it listens if nothing is said; on loopback.
const PORT: u16 = 9731;
/// Most of a file with a token that is read: a wrong path must not fill the memory.
const TOKEN_FILE_MAX: u64 = 4 << 10;

/// What `args` and `environment` say; `None` when nothing is to be shown.
///
/// # Errors
/// `Invalid` for a token that is none; what reading its file gave rise to.
pub(crate) fn monitor(args: &ListenArgs, environment: &Environment) -> Result<Option<MonitorOptions>> {
    if args.no_listen {
        return Ok(None);
    }
    let token = match (&args.token_file, environment.text("VOLVAULT_TOKEN")?) {
        (Some(path), _) => {
            let said = || format!("read the token in {}", path.display());
            let mut bytes = Vec::new();
            let file = std::fs::File::open(path).attempt(said)?;
            file.take(TOKEN_FILE_MAX).read_to_end(&mut bytes).attempt(said)?;
            Some(Token::parse(&bytes).attempt(said)?)
        }
        (None, Some(text)) => Some(Token::parse(text.as_bytes()).attempt(|| "read VOLVAULT_TOKEN".to_owned())?),
        (None, None) => None,
    };
    let listen = args.listen.unwrap_or(SocketAddr::from((Ipv4Addr::LOCALHOST, PORT)));
    Ok(Some(MonitorOptions { listen, token, hosts: args.listen_name.clone() }))
}
