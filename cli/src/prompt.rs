//! Questions at the terminal, and the same values from standard input.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use secrecy::{ExposeSecret as _, SecretString};

use crate::error::Error;

/// An address and its password.
pub(crate) struct SignIn {
    pub(crate) email: String,
    pub(crate) password: SecretString,
}

/// Asks for the address, unless it is given, and for the password. Without a terminal, or with
/// `from_stdin`, standard input has one line for each.
pub(crate) fn ask_sign_in(email: Option<String>, from_stdin: bool) -> Result<SignIn, Error> {
    let asks = !from_stdin && io::stdin().is_terminal();
    let email = match email {
        Some(email) => email,
        None if asks => ask("E-mail: ")?,
        None => read_line()?,
    };
    let password = if asks { ask_hidden("Password: ")? } else { read_line()?.into() };
    if email.is_empty() || password.expose_secret().is_empty() {
        let expected =
            "write the e-mail address and the password to it, one line each, or only the password with --email";
        return Err(Error::config(format!("standard input has no e-mail address or no password: {expected}")));
    }
    Ok(SignIn { email, password })
}

/// Asks for a key, or reads it from standard input.
pub(crate) fn ask_key() -> Result<SecretString, Error> {
    let key = if io::stdin().is_terminal() { ask_hidden("Key: ")? } else { read_line()?.into() };
    if key.expose_secret().trim().is_empty() {
        return Err(Error::config(
            "standard input has no key: write it there, as in `paddock login --with-key < FILE`",
        ));
    }
    Ok(key.expose_secret().trim().into())
}

fn ask(question: &str) -> Result<String, Error> {
    write_prompt(question)?;
    Ok(read_line()?.trim().to_owned())
}

/// Asks without showing what the user types.
fn ask_hidden(question: &str) -> Result<SecretString, Error> {
    let _hidden = HiddenInput::start()?;
    write_prompt(question)?;
    Ok(read_line()?.into())
}

/// Writes to standard error, because standard output may be redirected.
fn write_prompt(question: &str) -> io::Result<()> {
    let mut out = io::stderr();
    out.write_all(question.as_bytes())?;
    out.flush()
}

/// One line of standard input, without its end.
fn read_line() -> Result<String, Error> {
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    line.truncate(line.trim_end_matches(['\r', '\n']).len());
    Ok(line)
}

/// Whether the terminal echoes, as it was before a question.
static ECHO: std::sync::Mutex<Option<Termios>> = std::sync::Mutex::new(None);

/// Turns the echo of the terminal off until it is dropped.
struct HiddenInput;

impl HiddenInput {
    fn start() -> Result<Self, Error> {
        let before = tcgetattr(io::stdin()).map_err(io::Error::from)?;
        let mut hidden = before.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        // The end of the line stays visible.
        hidden.local_modes.insert(LocalModes::ECHONL);
        *ECHO.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(before);
        tcsetattr(io::stdin(), OptionalActions::Flush, &hidden).map_err(io::Error::from)?;
        Ok(Self)
    }
}

impl Drop for HiddenInput {
    fn drop(&mut self) {
        restore_echo();
    }
}

/// Turns the echo on again, if a question turned it off. A command that a signal ends calls it: the
/// terminal would stay silent.
pub(crate) fn restore_echo() {
    let before = ECHO.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
    if let Some(before) = before {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &before);
    }
}
