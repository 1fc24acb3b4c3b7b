//! Where seeding tells what it made.

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

use crate::{failure::Failure, server};

/// What marks a Secret as one that seeding may write to.
const LABEL: &str = "paddock.dev/bootstrap";
const MANAGER: &str = "paddock-seed";

/// A place that was seen to take what will be told.
pub(super) enum Destination {
    Stdout,
    File(PendingFile),
    Secret(Box<PendingSecret>),
}

/// A file beside the one that is wanted, ready to be written and renamed.
pub(super) struct PendingFile {
    path: PathBuf,
    partial: PathBuf,
    file: fs::File,
}

pub(super) struct PendingSecret {
    secrets: Api<Secret>,
    namespace: String,
    name: String,
    /// The version that was seen; `None`: it is not there.
    version: Option<String>,
}

type Pairs = [(String, String)];

impl Destination {
    /// A file that only its owner can read.
    pub(super) fn file(path: &Path) -> Result<Self, Failure> {
        let mut partial = path.as_os_str().to_owned();
        partial.push(format!(".{}", std::process::id()));
        let partial = PathBuf::from(partial);
        if path.is_dir() {
            return Err(Failure::config(format!("--output-file {} is a folder; name a file", path.display())));
        }
        let file = fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&partial);
        let file = file
            .map_err(|error| Failure::config(format!("--output-file: cannot write {}: {error}", partial.display())))?;
        Ok(Self::File(PendingFile { path: path.to_owned(), partial, file }))
    }

    /// A Kubernetes Secret, `namespace/name`. That it may be written is tried without writing.
    pub(super) async fn secret(text: &str, context: Option<&str>) -> Result<Self, Failure> {
        let parts = text.split_once('/').filter(|(namespace, name)| !namespace.is_empty() && !name.is_empty());
        let Some((namespace, name)) = parts else {
            return Err(Failure::config(format!(
                "--secret `{text}` is not namespace/name, as paddock/bootstrap-admin"
            )));
        };
        let cluster = server::cluster(context);
        if cluster == Cluster::Context(None) {
            return Err(Failure::config(
                "--secret needs --context NAME outside of a pod, so that it never writes to a cluster by accident; `kubectl \
                 config get-contexts` lists them",
            ));
        }
        let access = paddock_operator::load_kube_config(&cluster).await.map_err(anyhow::Error::from)?;
        let client = kube::Client::try_from(access).map_err(anyhow::Error::from)?;
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        let there = secrets.get_opt(name).await.with_context(|| format!("the Secret {text} cannot be looked for"))?;
        if there.as_ref().is_some_and(|secret| !is_ours(secret)) {
            return Err(Failure::config(format!(
                "the Secret {text} was not made by `paddock seed`: name another, or label it {LABEL}=true if it may be written to"
            )));
        }
        let version = there.and_then(|secret| secret.metadata.resource_version);
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        let pending = PendingSecret { secrets, namespace, name, version };
        pending.put(&[], true).await.with_context(|| format!("the Secret {text} cannot be written"))?;
        Ok(Self::Secret(Box::new(pending)))
    }

    /// Tells it, or nothing of it.
    pub(super) async fn write(&self, pairs: &Pairs) -> Result<(), Failure> {
        match self {
            Self::Stdout => super::show(pairs),
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
    /// What the file held of other names stays: a password that is not told again may be in it.
    fn write(&self, pairs: &Pairs) -> anyhow::Result<()> {
        let before = match fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error.into()),
        };
        let kept = before.lines().filter(|line| !pairs.iter().any(|(name, _)| line.starts_with(&format!("{name}="))));
        let told = pairs.iter().map(|(name, value)| format!("{name}={value}"));
        let text: String = kept.map(str::to_owned).chain(told).flat_map(|line| [line, "\n".to_owned()]).collect();
        let mut file = &self.file;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&self.partial, &self.path)?;
        // The name is durable with its folder.
        let folder = self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        fs::File::open(folder)?.sync_all()?;
        Ok(())
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        // Renamed, or never needed.
        let _ = fs::remove_file(&self.partial);
    }
}

impl PendingSecret {
    /// Creates it, or changes what was seen. Other entries stay.
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
            let how = PostParams { dry_run, field_manager: Some(MANAGER.to_owned()) };
            return self.secrets.create(&how, &secret).await.map(|_| ());
        };
        let patch = json!({"metadata": {"resourceVersion": version}, "stringData": entries});
        let how = PatchParams { dry_run, field_manager: Some(MANAGER.to_owned()), ..PatchParams::default() };
        self.secrets.patch(&self.name, &how, &Patch::Merge(patch)).await.map(|_| ())
    }
}

fn is_ours(secret: &Secret) -> bool {
    let labels = secret.metadata.labels.as_ref();
    labels.and_then(|labels| labels.get(LABEL)).is_some_and(|value| value == "true")
}
