//! Passwords from where no prompt is needed, and new ones.

use std::{io::Read as _, path::PathBuf};

use clap::Args;
use secrecy::{ExposeSecret as _, SecretString};

use crate::{config, failure::Failure};

/// Where a password comes from.
#[derive(Args, Clone, Debug)]
#[group(multiple = false)]
pub(crate) struct PasswordSettings {
    /// A file that holds the password; - reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) password_file: Option<PathBuf>,
    /// Make a password, and print it once
    #[arg(long)]
    pub(crate) generate_password: bool,
}

/// A password, and whether anybody but us knows it yet.
pub(crate) struct Password {
    pub(crate) text: SecretString,
    pub(crate) is_new: bool,
}

impl PasswordSettings {
    /// The password that was named, or a new one where that was asked for; `None`: neither.
    pub(crate) fn read(&self) -> Result<Option<Password>, Failure> {
        let text = match &self.password_file {
            None if self.generate_password => return generated().map(Some),
            None => return Ok(None),
            Some(path) if path.as_os_str() == "-" => {
                let mut text = String::new();
                std::io::stdin().read_to_string(&mut text)?;
                SecretString::from(text.trim_end_matches(['\r', '\n']))
            }
            Some(path) => std::fs::read_to_string(path)
                .map(|text| SecretString::from(text.trim_end_matches(['\r', '\n'])))
                .map_err(|error| {
                    Failure::config(format!("--password-file: cannot read {}: {error}", path.display()))
                })?,
        };
        if text.expose_secret().is_empty() {
            return Err(Failure::config("--password-file holds nothing; give it a password, or leave it out"));
        }
        Ok(Some(Password { text, is_new: false }))
    }

    /// The same; where nothing was named, a new one.
    pub(crate) fn read_or_make(&self) -> Result<Password, Failure> {
        self.read()?.map_or_else(generated, Ok)
    }
}

/// 256 random bits a person can copy.
fn generated() -> Result<Password, Failure> {
    Ok(Password { text: hex::encode(config::random()?).into(), is_new: true })
}
