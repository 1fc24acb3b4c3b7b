//! Certificates of a test's own authority, made by the command `openssl`.

use std::{fs, path::PathBuf, process::Command};

use anyhow::Result;
use tempfile::TempDir;

use crate::{process::run, reaper};

/// The names that the server's certificate is for.
const SERVER_EXTENSIONS: &str = "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\n\
    extendedKeyUsage=serverAuth\nsubjectAltName=IP:127.0.0.1,DNS:localhost\n";

/// An authority that no system trusts, and a certificate by it for a server on this machine.
pub struct Certificates {
    folder: TempDir,
}

impl Certificates {
    /// Makes both, valid for two days.
    pub fn generate() -> Result<Self> {
        let certificates = Self { folder: reaper::scratch_dir("certificates")? };
        let folder = certificates.folder.path();
        fs::write(folder.join("server.ext"), SERVER_EXTENSIONS)?;
        let commands = [
            "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=paddock-test-authority \
             -addext keyUsage=critical,keyCertSign -keyout authority.key -out authority.pem",
            "req -new -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj /CN=paddock-test-server \
             -keyout server.key -out server.csr",
            "x509 -req -days 2 -in server.csr -CA authority.pem -CAkey authority.key -CAcreateserial \
             -extfile server.ext -out server.pem",
        ];
        for arguments in commands {
            run(Command::new("openssl").args(arguments.split_whitespace()).current_dir(folder))?;
        }
        Ok(certificates)
    }

    /// The authority's certificate, in PEM form.
    #[must_use]
    pub fn authority(&self) -> PathBuf {
        self.file("authority.pem")
    }

    /// The server's certificate, in PEM form.
    #[must_use]
    pub fn server(&self) -> PathBuf {
        self.file("server.pem")
    }

    /// The private key of the server's certificate.
    #[must_use]
    pub fn server_key(&self) -> PathBuf {
        self.file("server.key")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}
