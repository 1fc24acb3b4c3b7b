//! Secrets: given, or in a file; and those that sign, which in local are made and kept beside the SQLite file.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use paddock_store::OpenOptions;
use secrecy::{ExposeSecret, SecretString};

use crate::{failure::Failure, settings::Environment};

/// How long a signing secret must be: as long as what it signs with.
const SECRET_MIN_BYTES: usize = 32;
/// What the files beside a SQLite file are called in which keys are kept.
pub(crate) const AUDIT_KEY_SUFFIX: &str = "audit-key";
pub(crate) const JWT_SECRET_SUFFIX: &str = "jwt-secret";
const MAKE_ONE: &str = "make one with `openssl rand -hex 32`";
/// Values that stand in examples, and so are known to everyone.
const KNOWN_SECRETS: [&str; 8] =
    ["change", "secret", "example", "insecure", "placeholder", "your-", "default", "password"];

/// The value of a secret setting: given, or in a file whose trailing line end does not count. Both at once are refused: which
/// of them is meant nobody can tell.
pub(crate) fn secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretString>, Failure> {
    let secret = match (value, file) {
        (Some(_), Some(_)) => {
            return Err(Failure::config(format!("{name} and {name}_FILE are both set; leave one of them out")));
        }
        (Some(value), None) => value.clone(),
        (None, Some(file)) => {
            let text = fs::read_to_string(file)
                .map_err(|error| Failure::config(format!("{name}_FILE: cannot read {}: {error}", file.display())))?;
            text.trim_end_matches(['\r', '\n']).into()
        }
        (None, None) => return Ok(None),
    };
    if secret.expose_secret().is_empty() {
        return Err(Failure::config(format!("{name} is empty; set it to a value, or leave it out")));
    }
    Ok(Some(secret))
}

/// A secret that signs, and where it has to be kept if it was made just now.
#[derive(Clone, Debug)]
pub(crate) struct SigningSecret {
    pub(super) value: SecretString,
    new_in: Option<PathBuf>,
}

impl SigningSecret {
    /// One that is given: strong; or, in local on SQLite, kept beside the file, or made to be kept there.
    pub(super) fn find(
        name: &str,
        value: Option<&SecretString>,
        file: Option<&Path>,
        suffix: &str,
        options: &OpenOptions,
        environment: Environment,
    ) -> Result<Self, Failure> {
        if let Some(value) = strong_secret(name, value, file, environment)? {
            return Ok(Self { value, new_in: None });
        }
        let path = beside(&place_of_secrets(name, options, environment)?, suffix);
        match kept_secret(&path)? {
            Some(value) => Ok(Self { value, new_in: None }),
            None if options.read_only => Err(Failure::config(format!(
                "there is no {}: bring it from where the database was served, or set {name} to what it held",
                path.display()
            ))),
            None => Ok(Self { new_in: Some(path), ..Self::passing()? }),
        }
    }

    /// One that nobody needs again.
    pub(super) fn passing() -> Result<Self, Failure> {
        Ok(Self { value: hex::encode(random()?).into(), new_in: None })
    }

    /// Keeps one that was made just now. Not before the database is open, and so this process's alone: a key beside a
    /// database that is not there, or that was served under another, would be taken for its own later.
    pub(super) fn keep(&self) -> Result<(), Failure> {
        let Some(path) = &self.new_in else { return Ok(()) };
        write_whole(path, self.value.expose_secret()).map_err(|error| cannot_keep(path, error))
    }
}

/// What is known of a secret that signs, without making it.
pub(crate) enum Signing {
    /// It is set.
    Given,
    /// It is kept in this file, or will be.
    Kept(PathBuf),
}

/// Looks where a secret that signs is, and whether it is one. Makes and changes nothing.
pub(crate) fn look_for_signing_secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
    suffix: &str,
    options: &OpenOptions,
    environment: Environment,
) -> Result<Signing, Failure> {
    if strong_secret(name, value, file, environment)?.is_some() {
        return Ok(Signing::Given);
    }
    let path = beside(&place_of_secrets(name, options, environment)?, suffix);
    kept_secret(&path)?;
    Ok(Signing::Kept(path))
}

/// A secret that was given, if it is hard to guess.
fn strong_secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
    environment: Environment,
) -> Result<Option<SecretString>, Failure> {
    let Some(secret) = secret(name, value, file)? else { return Ok(None) };
    let text = secret.expose_secret();
    if text.len() < SECRET_MIN_BYTES {
        return Err(Failure::config(format!(
            "{name} is {} bytes long and must be at least {SECRET_MIN_BYTES}; {MAKE_ONE}",
            text.len()
        )));
    }
    let lower = text.to_lowercase();
    let mut kinds: Vec<char> = text.chars().collect();
    kinds.sort_unstable();
    kinds.dedup();
    if environment == Environment::Prod && (kinds.len() < 8 || KNOWN_SECRETS.iter().any(|word| lower.contains(word))) {
        return Err(Failure::config(format!(
            "{name} looks like an example or a pattern, not like random bytes; {MAKE_ONE}"
        )));
    }
    Ok(Some(secret))
}

/// The database file beside which secrets may be kept.
fn place_of_secrets(name: &str, options: &OpenOptions, environment: Environment) -> Result<PathBuf, Failure> {
    match (environment, options.sqlite_file()?) {
        (Environment::Local, Some(database)) => Ok(database),
        (Environment::Prod, _) => Err(Failure::config(format!("{name} is not set, and prod needs it; {MAKE_ONE}"))),
        (Environment::Local, None) => Err(Failure::config(format!(
            "{name} is not set, and with PostgreSQL there is no file to keep one beside; {MAKE_ONE}"
        ))),
    }
}

/// The secret in a file; `None`: there is no such file.
fn kept_secret(path: &Path) -> Result<Option<SecretString>, Failure> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim_end().len() >= SECRET_MIN_BYTES => Ok(Some(text.trim_end().into())),
        Ok(_) => Err(Failure::config(format!(
            "{} does not hold {SECRET_MIN_BYTES} bytes; restore it from a backup, or remove it to have a new one made",
            path.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(cannot_keep(path, error)),
    }
}

fn cannot_keep(path: &Path, error: io::Error) -> Failure {
    Failure::Other(anyhow::Error::new(error).context(format!("cannot keep a secret in {}", path.display())))
}

/// A new file that its owner alone can read, whole or not at all: half a secret would be refused at the next start.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&partial)?;
    writeln!(file, "{text}").and_then(|()| file.sync_all())?;
    // A link never takes the place of a file that is there.
    let linked = fs::hard_link(&partial, path);
    fs::remove_file(&partial)?;
    linked
}

/// `<database>.<suffix>`
pub(super) fn beside(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(format!(".{suffix}"));
    PathBuf::from(path)
}

/// Bytes for a secret.
pub(crate) fn random() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the operating system gives no random bytes"))?;
    Ok(bytes)
}
