//! Passwords from a file or standard input, and generated passwords.

use std::{io::Read as _, path::PathBuf};

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{config, error::Error};

/// Where the password comes from.
#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub(crate) struct PasswordSettings {
    /// File with the password; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Generate a password and print it once
    #[arg(long)]
    pub(crate) generate_password: bool,
}

/// A password, and whether it was generated just now.
pub(crate) struct Password {
    pub(crate) text: SecretString,
    pub(crate) is_new: bool,
}

impl PasswordSettings {
    /// The given password, or a generated one with `--generate-password`, or `None`.
    pub(crate) fn read(&self) -> Result<Option<Password>, Error> {
        let text = match &self.password_file {
            None if self.generate_password => return generate().map(Some),
            None => return Ok(None),
            Some(path) if path.as_os_str() == "-" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                SecretString::from(text.trim_end_matches(['\r', '\n']))
            }
            Some(path) => std::fs::read_to_string(path)
                .map(|text| SecretString::from(text.trim_end_matches(['\r', '\n'])))
                .map_err(|error| Error::config(format!("--password-file: cannot read {}: {error}", path.display())))?,
        };
        if text.expose_secret().is_empty() {
            return Err(Error::config("--password-file is empty; write a password to it, or omit the flag"));
        }
        Ok(Some(Password { text, is_new: false }))
    }

    /// The given password, or a generated one.
    pub(crate) fn read_or_generate(&self) -> Result<Password, Error> {
        self.read()?.map_or_else(generate, Ok)
    }
}

/// 256 random bits as hexadecimal digits.
fn generate() -> Result<Password, Error> {
    Ok(Password { text: hex::encode(config::random_bytes()?).into(), is_new: true })
}
