//! A real control plane: etcd, kube-apiserver, and the controllers that the operator relies on
//! (garbage collection, deletion of namespaces).

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::{Context as _, Result};
use aws_lc_rs::{
    encoding::{AsDer as _, PublicKeyX509Der},
    signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use k8s_openapi::{
    api::{
        authentication::v1::{TokenRequest, TokenRequestSpec},
        core::v1::{Namespace, ServiceAccount},
    },
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{ObjectMeta, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
};
use serde_json::json;
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

use crate::{
    eventually::eventually,
    process::{Log, Process, Signal, free_port},
    reaper,
    shared_servers::{self, SharedServer},
    testbed::Part,
};

/// The name of the context and the cluster in the kubeconfigs.
pub const CONTEXT: &str = "paddock-tests";

const START_TIMEOUT: Duration = Duration::from_mins(1);
const CRD_TIMEOUT: Duration = Duration::from_secs(20);
const CONTROLLERS: &str =
    "namespace,garbagecollector,serviceaccount-token,serviceaccount,clusterrole-aggregation,resourcequota";

/// Records the requests of service accounts, without their bodies.
const AUDIT_POLICY: &str = r#"{
  "apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
  "rules": [{"level": "Metadata", "userGroups": ["system:serviceaccounts"]}, {"level": "None"}]
}"#;

/// A running control plane, started by this process or inherited from `paddock-tests exec`.
#[derive(Debug)]
pub struct Kubernetes {
    kubeconfig: PathBuf,
    log: Log,
    // Dropped in this order: the controllers first, etcd last.
    servers: Option<(Process, Process, Process, TempDir)>,
}

impl Kubernetes {
    /// The control plane that all tests share, with Paddock's CRDs.
    pub async fn shared() -> Result<&'static Self> {
        static SHARED: OnceCell<Kubernetes> = OnceCell::const_new();
        let kubernetes = SHARED
            .get_or_try_init(async || match shared_servers::inherited(SharedServer::Kubernetes) {
                Some((kubeconfig, log)) => Ok(Self { kubeconfig: kubeconfig.into(), log, servers: None }),
                None => Self::start().await,
            })
            .await?;
        crate::story::attach_log(&kubernetes.log);
        Ok(kubernetes)
    }

    /// Starts a control plane for one test, with Paddock's CRDs.
    pub async fn start() -> Result<Self> {
        let bin = Part::Kubernetes.locate()?;
        let folder = reaper::scratch_dir("kubernetes")?;
        let etcd_url = format!("http://127.0.0.1:{}", free_port()?);
        let etcd = start_etcd(&bin, folder.path(), &etcd_url)?;

        let port = free_port()?;
        let (token, kubeconfig) = write_credentials(folder.path())?;
        let apiserver = start_apiserver(&bin, folder.path(), &etcd_url, port)?;
        let certificate = folder.path().join("certificates/apiserver.crt");
        apiserver
            .wait_until_ready(START_TIMEOUT, async || {
                // The server creates its certificate at startup. The certificate is self-signed, so
                // it is also the certificate authority.
                let certificate = fs::read(&certificate).context("no certificate yet")?;
                let document = kubeconfig_document(port, &certificate, &token);
                fs::write(&kubeconfig, serde_yaml_ng::to_string(&document)?)?;
                let client = client(&kubeconfig).await?;
                client.request_text(http::Request::get("/readyz").body(Vec::new())?).await?;
                Ok(())
            })
            .await?;
        let controllers = start_controllers(&bin, folder.path(), &kubeconfig)?;

        let kubernetes =
            Self { kubeconfig, log: apiserver.log().clone(), servers: Some((controllers, apiserver, etcd, folder)) };
        kubernetes.apply_crds().await?;
        Ok(kubernetes)
    }

    /// The path of an administrator's kubeconfig.
    #[must_use]
    pub fn kubeconfig(&self) -> &Path {
        &self.kubeconfig
    }

    /// The API server's log.
    #[must_use]
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// The API server's process, for tests that suspend or kill it; `None` when it is inherited.
    #[must_use]
    pub fn apiserver(&self) -> Option<&Process> {
        self.servers.as_ref().map(|(_, apiserver, _, _)| apiserver)
    }

    /// Creates a client with an administrator's rights. Each test needs its own, because a client
    /// is bound to its runtime.
    pub async fn client(&self) -> Result<Client> {
        client(&self.kubeconfig).await
    }

    /// Creates a namespace and returns its name.
    pub async fn namespace(&self) -> Result<String> {
        let name = format!("test-{}", Uuid::now_v7().simple());
        let namespace = Namespace {
            metadata: ObjectMeta { name: Some(name.clone()), ..ObjectMeta::default() },
            ..Namespace::default()
        };
        let namespaces: Api<Namespace> = Api::all(self.client().await?);
        namespaces.create(&PostParams::default(), &namespace).await?;
        Ok(name)
    }

    /// Creates a service account without rights and returns the path of its kubeconfig, whose
    /// default namespace is `namespace`.
    pub async fn service_account(&self, namespace: &str, name: &str) -> Result<PathBuf> {
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client().await?, namespace);
        let account = ServiceAccount {
            metadata: ObjectMeta { name: Some(name.to_owned()), ..ObjectMeta::default() },
            ..ServiceAccount::default()
        };
        accounts.create(&PostParams::default(), &account).await?;
        let request = TokenRequest {
            spec: TokenRequestSpec { expiration_seconds: Some(3600), ..TokenRequestSpec::default() },
            ..TokenRequest::default()
        };
        let token = accounts
            .create_token_request(name, &PostParams::default(), &request)
            .await?
            .status
            .context("a token")?
            .token;
        let mut document: serde_json::Value = serde_yaml_ng::from_slice(&fs::read(&self.kubeconfig)?)?;
        document["users"][0]["user"]["token"] = token.into();
        document["contexts"][0]["context"]["namespace"] = namespace.into();
        let path = reaper::root_dir().join(format!("{namespace}-{name}.kubeconfig"));
        fs::write(&path, serde_yaml_ng::to_string(&document)?)?;
        Ok(path)
    }

    /// The port of the API server.
    pub fn port(&self) -> Result<u16> {
        let document: serde_json::Value = serde_yaml_ng::from_slice(&fs::read(&self.kubeconfig)?)?;
        let server = document["clusters"][0]["cluster"]["server"].as_str().context("no server")?;
        Ok(server.rsplit_once(':').context("no port")?.1.parse()?)
    }

    /// Writes a copy of a kubeconfig that reaches the API server through this port of 127.0.0.1, and
    /// returns its path.
    pub fn through_port(&self, kubeconfig: &Path, port: u16) -> Result<PathBuf> {
        through_url(kubeconfig, port, "https")
    }

    /// The same through a port that is served without TLS.
    pub fn through_plain_port(&self, kubeconfig: &Path, port: u16) -> Result<PathBuf> {
        through_url(kubeconfig, port, "http")
    }

    /// The requests of service accounts that the API server has answered, oldest first, as audit
    /// events.
    pub fn audit_events(&self) -> Result<Vec<serde_json::Value>> {
        let path = self.kubeconfig.with_file_name("audit.log");
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        // The API server may be writing the last line.
        Ok(text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect())
    }

    /// `kubectl` as administrator in `namespace`.
    pub fn kubectl(&self, namespace: &str) -> Result<Command> {
        let mut command = Command::new(Part::Kubernetes.locate()?.join("kubectl"));
        command
            .arg("--namespace")
            .arg(namespace)
            .env("KUBECONFIG", &self.kubeconfig)
            // Avoids the cache in the home folder.
            .env("KUBECACHEDIR", reaper::root_dir().join("kubectl"));
        Ok(command)
    }

    async fn apply_crds(&self) -> Result<()> {
        let crds: Api<CustomResourceDefinition> = Api::all(self.client().await?);
        for crd in paddock_crds::definitions() {
            let name = crd.name_any();
            crds.patch(&name, &PatchParams::apply(CONTEXT).force(), &Patch::Apply(&crd))
                .await
                .with_context(|| format!("applying {name}"))?;
            eventually(&format!("{name} to be established"), CRD_TIMEOUT, async || {
                let status = crds.get(&name).await?.status.unwrap_or_default();
                let conditions = status.conditions.unwrap_or_default();
                let established = conditions.iter().any(|c| c.type_ == "Established" && c.status == "True");
                established.then_some(()).with_context(|| format!("{conditions:?}"))
            })
            .await?;
        }
        Ok(())
    }
}

fn through_url(kubeconfig: &Path, port: u16, scheme: &str) -> Result<PathBuf> {
    let mut document: serde_json::Value = serde_yaml_ng::from_slice(&fs::read(kubeconfig)?)?;
    document["clusters"][0]["cluster"]["server"] = format!("{scheme}://127.0.0.1:{port}").into();
    let path = reaper::root_dir().join(format!("through-{port}.kubeconfig"));
    fs::write(&path, serde_yaml_ng::to_string(&document)?)?;
    Ok(path)
}

/// Creates a client with the credentials of a kubeconfig.
pub(crate) async fn client(kubeconfig: &Path) -> Result<Client> {
    let kubeconfig = Kubeconfig::read_from(kubeconfig)?;
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

fn start_etcd(bin: &Path, folder: &Path, url: &str) -> Result<Process> {
    let peer_url = format!("http://127.0.0.1:{}", free_port()?);
    let mut command = Command::new(bin.join("etcd"));
    command
        .arg("--data-dir")
        .arg(folder.join("etcd"))
        .args(["--listen-client-urls", url, "--advertise-client-urls", url])
        .args(["--listen-peer-urls", &peer_url, "--initial-advertise-peer-urls", &peer_url])
        .args(["--initial-cluster", &format!("default={peer_url}")])
        .args(["--unsafe-no-fsync", "--log-level=warn"]);
    Process::start("etcd", command, Signal::Kill)
}

fn start_apiserver(bin: &Path, folder: &Path, etcd_url: &str, port: u16) -> Result<Process> {
    fs::write(folder.join("audit-policy.yaml"), AUDIT_POLICY)?;
    let flag = |name: &str, file: &str| format!("--{name}={}", folder.join(file).display());
    let mut command = Command::new(bin.join("kube-apiserver"));
    command
        .args([format!("--etcd-servers={etcd_url}"), format!("--secure-port={port}")])
        .args(["--bind-address=127.0.0.1", "--advertise-address=127.0.0.1"])
        .arg(flag("cert-dir", "certificates"))
        .arg(flag("audit-policy-file", "audit-policy.yaml"))
        .arg(flag("audit-log-path", "audit.log"))
        .arg(flag("token-auth-file", "tokens.csv"))
        .arg(flag("service-account-key-file", "service-account.pub"))
        .arg(flag("service-account-signing-key-file", "service-account.key"))
        .args(["--service-account-issuer=https://kubernetes.default.svc", "--service-cluster-ip-range=10.0.0.0/24"])
        .args([
            "--authorization-mode=RBAC",
            "--disable-admission-plugins=ServiceAccount",
            "--endpoint-reconciler-type=none",
        ]);
    Process::start("kube-apiserver", command, Signal::Term)
}

fn start_controllers(bin: &Path, folder: &Path, kubeconfig: &Path) -> Result<Process> {
    let mut command = Command::new(bin.join("kube-controller-manager"));
    command
        .arg(format!("--kubeconfig={}", kubeconfig.display()))
        .arg(format!("--cert-dir={}", folder.join("controller-certificates").display()))
        .arg(format!("--service-account-private-key-file={}", folder.join("service-account.key").display()))
        .arg(format!("--controllers={CONTROLLERS}"))
        .args(["--leader-elect=false", "--bind-address=127.0.0.1", "--secure-port=0"]);
    Process::start("kube-controller-manager", command, Signal::Term)
}

/// Writes the credentials that the API server is started with. Returns an administrator's token and
/// the path for a kubeconfig.
fn write_credentials(folder: &Path) -> Result<(String, PathBuf)> {
    let mut token = [0; 16];
    aws_lc_rs::rand::fill(&mut token).context("a token")?;
    let token = hex::encode(token);
    fs::write(folder.join("tokens.csv"), format!("{token},admin,admin,system:masters\n"))?;
    let key = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).context("a key for service accounts")?;
    let public: PublicKeyX509Der<'_> = key.public_key().as_der().context("its public half")?;
    let private = key.to_pkcs8v1().context("its private half")?;
    fs::write(folder.join("service-account.key"), pem("PRIVATE KEY", private.as_ref()))?;
    fs::write(folder.join("service-account.pub"), pem("PUBLIC KEY", public.as_ref()))?;
    Ok((token, folder.join("kubeconfig")))
}

fn pem(label: &str, der: &[u8]) -> String {
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", BASE64_STANDARD.encode(der))
}

fn kubeconfig_document(port: u16, certificate: &[u8], token: &str) -> serde_json::Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": CONTEXT,
        "clusters": [{"name": CONTEXT, "cluster": {
            "server": format!("https://127.0.0.1:{port}"),
            "certificate-authority-data": BASE64_STANDARD.encode(certificate),
        }}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": CONTEXT, "context": {"cluster": CONTEXT, "user": "admin", "namespace": "default"}}],
    })
}
