//! Where `paddock seed` writes the new secrets.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use anyhow::Context as _;
use k8s_openapi::api::core::v1::Secret;
use kube::{
    Api,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
};
use paddock_operator::Cluster;
use serde_json::json;

use crate::{error::Error, server};

/// Label of the Secrets that `paddock seed` may overwrite.
const LABEL: &str = "paddock.dev/bootstrap";
const FIELD_MANAGER: &str = "paddock-seed";

/// A destination that was checked to be writable.
pub(super) enum Destination {
    Stdout,
    File(PendingFile),
    Secret(Box<PendingSecret>),
}

/// A temporary file beside the output file. It is written, then renamed.
pub(super) struct PendingFile {
    path: PathBuf,
    partial: PathBuf,
    file: fs::File,
}

pub(super) struct PendingSecret {
    secrets: Api<Secret>,
    namespace: String,
    name: String,
    /// The resource version at the check; `None`: the Secret does not exist.
    version: Option<String>,
}

type Pairs = [(String, String)];

impl Destination {
    /// Creates the temporary file with mode 0600.
    pub(super) fn file(path: &Path) -> Result<Self, Error> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}", std::process::id()));
        let partial = PathBuf::from(partial);
        if path.is_dir() {
            return Err(Error::config(format!("--output-file {} is a folder; set it to a file", path.display())));
        }
        let file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&partial);
        let file =
            file.map_err(|error| Error::config(format!("--output-file: cannot write {}: {error}", partial.display())))?;
        Ok(Self::File(PendingFile { path: path.to_owned(), partial, file }))
    }

    /// Checks, by a dry run, that the Secret `namespace/name` can be written.
    pub(super) async fn secret(text: &str, context: Option<&str>) -> Result<Self, Error> {
        let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
        let Some((namespace, name)) = parts else {
            return Err(Error::config(format!(
                "--secret `{text}` is not namespace/name, such as paddock/bootstrap-admin"
            )));
        };
        let cluster = server::cluster(context);
        if cluster == Cluster::Context(None) {
            return Err(Error::config(
                "--secret needs --context NAME outside of a pod, so that it never writes to a cluster by accident; `kubectl \
                 config get-contexts` lists them",
            ));
        }
        let access = paddock_operator::load_kube_config(&cluster).await.map_err(anyhow::Error::from)?;
        let client = kube::Client::try_from(access).map_err(anyhow::Error::from)?;
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        let found = secrets.get_opt(name).await.with_context(|| format!("the Secret {text} cannot be read"))?;
        if found.as_ref().is_some_and(|secret| !has_label(secret)) {
            return Err(Error::config(format!(
                "the Secret {text} was not made by `paddock seed`: name another Secret, or label this one {LABEL}=true if it may be overwritten"
            )));
        }
        let version = found.and_then(|secret| secret.metadata.resource_version);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let pending = PendingSecret { secrets, namespace, name, version };
        pending.put(&[], true).await.with_context(|| format!("the Secret {text} cannot be written"))?;
        Ok(Self::Secret(Box::new(pending)))
    }

    /// Writes all pairs, or none of them.
    pub(super) async fn write(&self, pairs: &Pairs) -> Result<(), Error> {
        match self {
            Self::Stdout => super::write_to_stdout(pairs),
            Self::File(pending) => {
                Ok(pending.write(pairs).with_context(|| format!("cannot write {}", pending.path.display()))?)
            }
            Self::Secret(pending) => {
                let place = || format!("cannot write the Secret {}/{}", pending.namespace, pending.name);
                Ok(pending.put(pairs, false).await.with_context(place)?)
            }
        }
    }
}

impl PendingFile {
    /// Keeps the lines of other names: a password from an earlier run may be among them.
    fn write(&self, pairs: &Pairs) -> anyhow::Result<()> {
        let present = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        let kept = present.lines().filter(|line| !pairs.iter().any(|(name, _)| line.starts_with(&format!("{name}="))));
        let new = pairs.iter().map(|(name, value)| format!("{name}={value}"));
        let text: String = kept.map(str::to_owned).chain(new).flat_map(|line| [line, "\n".to_owned()]).collect();
        let mut file = &self.file;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        // Makes the rename durable.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()?;
        Ok(())
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        // Fails if the file was renamed, which is fine.
        let _ = fs::remove_file(&self.partial);
    }
}

impl PendingSecret {
    /// Creates the Secret, or patches the version that was seen. Other entries stay.
    async fn put(&self, pairs: &Pairs, dry_run: bool) -> Result<(), kube::Error> {
        let entries: BTreeMap<String, String> = pairs.iter().cloned().collect();
        let Some(version) = &self.version else {
            let secret = Secret {
                metadata: ObjectMeta {
                    name: Some(self.name.clone()),
                    labels: Some(BTreeMap::from([(LABEL.to_owned(), "true".to_owned())])),
                    ..ObjectMeta::default()
                },
                string_data: Some(entries),
                type_: Some("Opaque".to_owned()),
                ..Secret::default()
            };
            let params = PostParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()) };
            return self.secrets.create(&params, &secret).await.map(|_| ());
        };
        let patch = json!({"metadata": {"resourceVersion": version}, "stringData": entries});
        let params = PatchParams { dry_run, field_manager: Some(FIELD_MANAGER.to_owned()), ..PatchParams::default() };
        self.secrets.patch(&self.name, &params, &Patch::Merge(patch)).await.map(|_| ())
    }
}

fn has_label(secret: &Secret) -> bool {
    let labels = secret.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(LABEL)).is_some_and(|value| value == "true")
}
