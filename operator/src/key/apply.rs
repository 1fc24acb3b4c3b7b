//! The protocol that issues and rotates a key: stage a version, write the Secret, activate the
//! version.
//!
//! The process may crash after any of the three writes, and another leader may write between any
//! two of them. [`crate::key::plan`] derives the next step from the present state.

use paddock_accounts::{
    Error as AccountsError, UserId,
    credentials::{Credential, SecretVersion},
    managed_resources::{Activation, DesiredKey},
    types::{ApiKeyToken, ManagedBy},
    users::User,
};
use paddock_crds::ApiKey;
use paddock_store::context::AuditContext;

use crate::{
    context::{Context, audit_context},
    error::ReconcileError,
    key::{
        pending_secrets::PendingSecrets,
        plan::{self, Inputs, Step},
        secret_content::{self, ObservedSecret, SecretContent, SecretOwnership},
        secret_writer::SecretWriter,
        usability,
        validate::KeySpec,
    },
    object::takeover::with_uid_check,
    status::conditions::{Blocked, Reason},
};

/// The protocol needs at most three steps. A fourth step means that another operator works on the
/// same key.
const MAX_STEPS: usize = 4;
/// Attempts after conflicts, before the object is requeued.
const MAX_ATTEMPTS: usize = 4;

/// The result of [`deliver`].
pub(crate) enum Applied {
    Delivered(Box<Delivered>),
    /// The key is not delivered, or the gateway refuses it for good. `key` is the credential of the
    /// object, if there is one.
    Blocked {
        blocked: Blocked,
        key: Option<Box<KeyState>>,
    },
}

/// A credential and its versions.
pub(crate) struct KeyState {
    pub(crate) credential: Credential,
    pub(crate) versions: Vec<SecretVersion>,
}

/// A key whose active version is in its Secret. Only this module can build one, so that a status
/// cannot report a key that was not delivered.
pub(crate) struct Delivered {
    pub(crate) credential: Credential,
    pub(crate) versions: Vec<SecretVersion>,
    pub(crate) spec: KeySpec,
    /// The rotation request that the active version fulfils.
    pub(crate) handled_request: Option<String>,
    /// Why the gateway refuses the key although it is in its Secret.
    pub(crate) refusal: Option<Blocked>,
    _sealed: (),
}

impl From<Blocked> for Applied {
    fn from(blocked: Blocked) -> Self {
        Self::Blocked { blocked, key: None }
    }
}

/// The delivery of one key.
pub(super) struct Delivery<'a> {
    pub(super) context: &'a Context,
    pub(super) pending_secrets: &'a PendingSecrets,
    pub(super) object: &'a ApiKey,
    pub(super) spec: &'a KeySpec,
    pub(super) audit: AuditContext,
    pub(super) owner: ManagedBy,
    pub(super) secret: SecretWriter<'a>,
}

/// Applies the spec to the credential, and delivers the active version into the Secret. After a
/// conflict, this starts again immediately, because a requeue could leave a staged version that is
/// never delivered.
pub(crate) async fn deliver(
    context: &Context,
    pending_secrets: &PendingSecrets,
    object: &ApiKey,
    spec: &KeySpec,
    user: &User,
) -> Result<Applied, ReconcileError> {
    let delivery = Delivery {
        context,
        pending_secrets,
        object,
        spec,
        audit: audit_context(object),
        owner: context.owner(object),
        secret: SecretWriter::new(&context.client, object, spec.secret_name.clone()),
    };
    let mut result = delivery.attempt(user).await;
    for _ in 1..MAX_ATTEMPTS {
        let Err(ReconcileError::Conflict(with)) = &result else { break };
        tracing::debug!(with, "delivery conflicted with another writer; retrying");
        result = delivery.attempt(user).await;
    }
    result
}

/// Returns why a revoked key stays revoked, and how to get a new one.
pub(crate) fn revoked(credential: Option<&Credential>) -> Blocked {
    let message = match credential.filter(|credential| credential.overridden_at.is_some()) {
        Some(Credential { id, .. }) => format!(
            "an admin revoked the key through the API; an admin gives this object another one by POST \
             /credentials/{id}/clear-override"
        ),
        None => "the key is revoked for good; delete this object, and create another one for a new key".to_owned(),
    };
    Blocked::new(Reason::Revoked, message)
}

impl Delivery<'_> {
    async fn attempt(&self, user: &User) -> Result<Applied, ReconcileError> {
        // The Secret must be read before the versions, as the plan requires.
        let observed = match self.claim(self.secret.observe().await?).await? {
            Ok(observed) => observed,
            Err(blocked) => return Ok(blocked.into()),
        };
        let credential = match self.apply_credential(user.id).await {
            Ok(credential) => credential,
            Err(ReconcileError::Accounts(error)) => return blocked_by(error).map(Applied::from),
            Err(error) => return Err(error),
        };
        if credential.revoked_at.is_some() {
            let blocked = revoked(Some(&credential));
            return Ok(Applied::Blocked {
                blocked,
                key: Some(Box::new(KeyState { credential, versions: Vec::new() })),
            });
        }
        match self.run_steps(credential, observed, user).await {
            Err(ReconcileError::Kube(error)) => match self.blocked_by_api_server(&error) {
                Some(blocked) => Ok(blocked.into()),
                None => Err(error.into()),
            },
            result => result,
        }
    }

    /// Returns the reason if the API server refuses the Secret for a reason that a retry cannot
    /// resolve.
    fn blocked_by_api_server(&self, error: &kube::Error) -> Option<Blocked> {
        let kube::Error::Api(status) = error else { return None };
        matches!(status.code, 400 | 403 | 413 | 422).then(|| {
            let message = format!(
                "the API server refuses Secret {}; change spec.secret, or what forbids it: {}",
                self.spec.secret_name, status.message
            );
            Blocked::new(Reason::SecretRefused, message)
        })
    }

    /// Returns the Secret if the key may use it; `None` if the Secret does not exist yet.
    async fn claim(
        &self,
        ownership: SecretOwnership,
    ) -> Result<Result<Option<ObservedSecret>, Blocked>, ReconcileError> {
        let obstacle = match ownership {
            SecretOwnership::Missing => return Ok(Ok(None)),
            SecretOwnership::Own(observed) => return Ok(Ok(Some(*observed))),
            SecretOwnership::Orphan(observed) if self.holds_own_version(&observed).await? => {
                return Ok(Ok(Some(*observed)));
            }
            SecretOwnership::Orphan(_) => "it holds another key",
            SecretOwnership::Foreign(obstacle) => obstacle,
        };
        let message = format!(
            "there is a Secret {} already, and {obstacle}; it is left alone: remove it, or create an ApiKey with another \
             spec.secret.name",
            self.spec.secret_name
        );
        Ok(Err(Blocked::new(Reason::SecretConflict, message)))
    }

    /// Whether a Secret without an owner holds a version of this object's credential.
    async fn holds_own_version(&self, observed: &ObservedSecret) -> Result<bool, ReconcileError> {
        let accounts = &self.context.accounts;
        let Some(credential) = accounts.managed().find_key(&self.owner).await? else { return Ok(false) };
        let versions = accounts.credentials().secrets(credential.id).await?;
        let key_id = observed.token.as_ref().map(ApiKeyToken::key_id);
        Ok(versions.iter().any(|version| Some(version.key_id.as_str()) == key_id))
    }

    /// Creates or changes the credential.
    async fn apply_credential(&self, user_id: UserId) -> Result<Credential, ReconcileError> {
        let Self { context, spec, audit, owner, .. } = self;
        let desired = DesiredKey {
            user_id,
            label: spec.label.clone(),
            scopes: spec.scopes.clone(),
            models: spec.models.clone(),
            limits: spec.limits,
            priority: spec.priority,
            expires_at: spec.expires_at,
        };
        with_uid_check(&context.client, self.object, |on_uid_mismatch| {
            context.accounts.managed().apply_key(audit, owner, &desired, on_uid_mismatch)
        })
        .await
    }

    /// Runs the steps of the plan until the Secret holds the active version.
    async fn run_steps(
        &self,
        credential: Credential,
        mut observed: Option<ObservedSecret>,
        user: &User,
    ) -> Result<Applied, ReconcileError> {
        for _ in 0..MAX_STEPS {
            let versions = self.context.accounts.credentials().secrets(credential.id).await?;
            let handled_request =
                self.object.status.as_ref().and_then(|status| status.last_handled_rotate_at.as_deref());
            let step = plan::next_step(&Inputs {
                spec: self.spec,
                secret: observed.as_ref().map(ObservedSecret::facts),
                versions: &versions,
                expires_at: credential.expires_at,
                handled_request,
                now: self.context.now(),
            });
            match (step, observed.take()) {
                (Step::Activate { version, grace }, secret) => {
                    let issued_at = versions.iter().find(|staged| staged.id == version).map(|staged| staged.issued_at);
                    let expires_at =
                        issued_at.zip(self.spec.valid_for).map(|(issued_at, valid_for)| issued_at + valid_for);
                    self.activate(&credential, Activation { secret: version, expires_at, grace }).await?;
                    self.pending_secrets.remove(credential.id);
                    observed = secret;
                }
                (Step::Issue { reason, grace }, secret) => {
                    observed = Some(self.issue(&credential, &versions, secret, reason, grace).await?);
                }
                (Step::Keep { .. }, Some(secret)) => {
                    let secret = self.repair(&credential, &versions, secret, handled_request).await?;
                    let (spec, handled_request) = (self.spec.clone(), secret.handled_request);
                    let refusal = usability::refusal(user, &credential);
                    let delivered = Delivered { credential, versions, spec, handled_request, refusal, _sealed: () };
                    return Ok(Applied::Delivered(Box::new(delivered)));
                }
                (Step::Keep { .. }, None) => {
                    return Err(ReconcileError::Conflict("another writer deleted the Secret"));
                }
                (Step::Expired, _) => {
                    let message = "the key has ended; create another ApiKey, or ask for a new version with the annotation \
                                   paddock.dev/rotate-requested-at if spec.expiresAt does not forbid it";
                    let blocked = Blocked::new(Reason::Expired, message);
                    let key = KeyState { credential, versions: Vec::new() };
                    return Ok(Applied::Blocked { blocked, key: Some(Box::new(key)) });
                }
            }
        }
        Err(ReconcileError::Conflict("another operator works on the same key"))
    }

    /// Repairs the other entries, labels and annotations of a Secret that holds the active version.
    async fn repair(
        &self,
        credential: &Credential,
        versions: &[SecretVersion],
        observed: ObservedSecret,
        handled_request: Option<&str>,
    ) -> Result<ObservedSecret, ReconcileError> {
        let (Some(active), Some(token)) = (plan::active_version(versions), observed.token.as_ref()) else {
            return Ok(observed);
        };
        let desired = secret_content::desired_secret(
            self.object,
            &self.spec.secret_name,
            &SecretContent {
                token,
                version: active.id,
                expires_at: Self::end(credential, active.expires_at),
                handled_request: observed.handled_request.as_deref().or(handled_request),
                public_url: &self.context.settings.public_url,
                template: &self.spec.template,
            },
        );
        if secret_content::merge_patch(&observed, &desired).is_none() {
            return Ok(observed);
        }
        self.secret.read_own(self.secret.write(Some(&observed), &desired).await?)
    }
}

/// Turns an error that the object's author can resolve into a [`Blocked`]. Returns any other error.
fn blocked_by(error: AccountsError) -> Result<Blocked, ReconcileError> {
    match error {
        AccountsError::Invalid(_) => Ok(Blocked::new(Reason::InvalidSpec, error.to_string())),
        AccountsError::NoUser(_) => Ok(Blocked::new(Reason::UserNotReady, "the user of this key is gone")),
        other => Err(other.into()),
    }
}
