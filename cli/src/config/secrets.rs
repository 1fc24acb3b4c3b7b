//! Secrets from settings or files. In local on SQLite, missing signing secrets are generated and
//! saved beside the database.

use std::{
    fs,
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use paddock_store::OpenOptions;
use secrecy::{ExposeSecret, SecretString};

use crate::{error::Error, settings::Environment};

/// Minimum length of a signing secret, the output size of SHA-256.
const MIN_SECRET_BYTES: usize = 32;
/// Suffixes of the secret files beside a SQLite file.
pub(crate) const AUDIT_KEY_SUFFIX: &str = "audit-key";
pub(crate) const JWT_SECRET_SUFFIX: &str = "jwt-secret";
const HOW_TO_GENERATE: &str = "generate one with `openssl rand -hex 32`";
/// Words from examples and manuals. A secret that contains one is public knowledge.
const WEAK_WORDS: [&str; 8] =
    ["change", "secret", "example", "insecure", "placeholder", "your-", "default", "password"];

/// The value of a secret setting, or the content of its file without the trailing line end. It is
/// an error to set both.
pub(crate) fn read_secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
) -> Result<Option<SecretString>, Error> {
    let secret = match (value, file) {
        (Some(_), Some(_)) => {
            return Err(Error::config(format!("{name} and {name}_FILE are both set; unset one of them")));
        }
        (Some(value), None) => value.clone(),
        (None, Some(file)) => {
            let text = fs::read_to_string(file)
                .map_err(|error| Error::config(format!("{name}_FILE: cannot read {}: {error}", file.display())))?;
            text.trim_end_matches(['\r', '\n']).into()
        }
        (None, None) => return Ok(None),
    };
    if secret.expose_secret().is_empty() {
        return Err(Error::config(format!("{name} is empty; set it to a value, or unset it")));
    }
    Ok(Some(secret))
}

/// A signing secret. A generated one knows the file to save it to.
#[derive(Clone, Debug)]
pub(crate) struct SigningSecret {
    pub(super) value: SecretString,
    save_to: Option<PathBuf>,
}

impl SigningSecret {
    /// Finds the secret: configured, or in local on SQLite in its file, or else generated.
    pub(super) fn resolve(
        name: &str,
        value: Option<&SecretString>,
        file: Option<&Path>,
        suffix: &str,
        options: &OpenOptions,
        environment: Environment,
    ) -> Result<Self, Error> {
        if let Some(value) = read_strong_secret(name, value, file, environment)? {
            return Ok(Self { value, save_to: None });
        }
        let path = sibling_file(&database_file(name, options, environment)?, suffix);
        match read_secret_file(&path)? {
            Some(value) => Ok(Self { value, save_to: None }),
            None if options.read_only => Err(Error::config(format!(
                "{} does not exist: copy it from the machine that served the database, or set {name} to its content",
                path.display()
            ))),
            None => Ok(Self { save_to: Some(path), ..Self::ephemeral()? }),
        }
    }

    /// A random secret that is never saved.
    pub(super) fn ephemeral() -> Result<Self, Error> {
        Ok(Self { value: hex::encode(random_bytes()?).into(), save_to: None })
    }

    /// Saves a generated secret. Call it after the database is open, which proves that this process
    /// owns the file: a secret saved beside a missing or foreign database would be taken for its
    /// own later.
    pub(super) fn save(&self) -> Result<(), Error> {
        let Some(path) = &self.save_to else { return Ok(()) };
        write_atomically(path, self.value.expose_secret()).map_err(|error| file_error(path, error))
    }
}

/// Where a signing secret comes from.
pub(crate) enum SecretSource {
    /// From a setting.
    Setting,
    /// From this file, which may not exist yet.
    File(PathBuf),
}

/// Finds and validates a signing secret. Generates nothing.
pub(crate) fn locate_signing_secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
    suffix: &str,
    options: &OpenOptions,
    environment: Environment,
) -> Result<SecretSource, Error> {
    if read_strong_secret(name, value, file, environment)?.is_some() {
        return Ok(SecretSource::Setting);
    }
    let path = sibling_file(&database_file(name, options, environment)?, suffix);
    read_secret_file(&path)?;
    Ok(SecretSource::File(path))
}

/// The configured secret. Fails if it is short or easy to guess.
fn read_strong_secret(
    name: &str,
    value: Option<&SecretString>,
    file: Option<&Path>,
    environment: Environment,
) -> Result<Option<SecretString>, Error> {
    let Some(secret) = read_secret(name, value, file)? else { return Ok(None) };
    let text = secret.expose_secret();
    if text.len() < MIN_SECRET_BYTES {
        return Err(Error::config(format!(
            "{name} is {} bytes long, but must have at least {MIN_SECRET_BYTES}; {HOW_TO_GENERATE}",
            text.len()
        )));
    }
    let lower = text.to_lowercase();
    let mut distinct: Vec<char> = text.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if environment == Environment::Prod && (distinct.len() < 8 || WEAK_WORDS.iter().any(|word| lower.contains(word))) {
        return Err(Error::config(format!(
            "{name} looks like an example or a pattern instead of random bytes; {HOW_TO_GENERATE}"
        )));
    }
    Ok(Some(secret))
}

/// The SQLite file to save generated secrets beside. Fails where secrets must be configured.
fn database_file(name: &str, options: &OpenOptions, environment: Environment) -> Result<PathBuf, Error> {
    match (environment, options.sqlite_file()?) {
        (Environment::Local, Some(database)) => Ok(database),
        (Environment::Prod, _) => {
            Err(Error::config(format!("{name} is not set, but prod needs it; {HOW_TO_GENERATE}")))
        }
        (Environment::Local, None) => Err(Error::config(format!(
            "{name} is not set, and with PostgreSQL there is no database file to save one beside; {HOW_TO_GENERATE}"
        ))),
    }
}

/// Reads a saved secret; `None` if the file does not exist.
fn read_secret_file(path: &Path) -> Result<Option<SecretString>, Error> {
    match fs::read_to_string(path) {
        Ok(text) if text.trim_end().len() >= MIN_SECRET_BYTES => Ok(Some(text.trim_end().into())),
        Ok(_) => Err(Error::config(format!(
            "{} has fewer than {MIN_SECRET_BYTES} bytes; restore it from a backup, or delete it to generate a new secret",
            path.display()
        ))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file_error(path, error)),
    }
}

fn file_error(path: &Path, error: io::Error) -> Error {
    Error::Other(anyhow::Error::new(error).context(format!("cannot read or write the secret in {}", path.display())))
}

/// Creates a file with mode 0600 atomically: a half-written secret would break the next start.
fn write_atomically(path: &Path, text: &str) -> io::Result<()> {
    let mut partial = path.as_os_str().to_owned();
    partial.push(format!(".{}", std::process::id()));
    let partial = PathBuf::from(partial);
    let mut file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&partial)?;
    writeln!(file, "{text}").and_then(|()| file.sync_all())?;
    // Unlike a rename, a hard link never replaces an existing file.
    let linked = fs::hard_link(&partial, path);
    fs::remove_file(&partial)?;
    linked
}

/// `<database>.<suffix>`
pub(super) fn sibling_file(database: &Path, suffix: &str) -> PathBuf {
    let mut path = database.as_os_str().to_owned();
    path.push(format!(".{suffix}"));
    PathBuf::from(path)
}

/// Random bytes for a secret.
pub(crate) fn random_bytes() -> anyhow::Result<[u8; 32]> {
    let mut bytes = [0_u8; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| anyhow::anyhow!("the operating system gives no random bytes"))?;
    Ok(bytes)
}
