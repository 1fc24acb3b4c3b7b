//! The protocol that issues and rotates a key: stage, write the Secret, activate.
//!
//! Each of the three writes may be the last one that this process makes, and another leader may make its own between any
//! two: [`crate::key::plan`] finds from what is there what is to be done next.

use std::time::Duration;

use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};
use paddock_accounts::{
    Error as AccountsError, UserId,
    credentials::{Credential, SecretState, SecretVersion},
    managed_resources::{DesiredKey, OnUidMismatch, Staged},
    types::ManagedBy,
};
use paddock_crds::ApiKey;
use paddock_store::context::AuditContext;
use serde_json::json;

use crate::conditions::{Reason, Refusal};
use crate::error::{Failure, is_conflict, is_not_found};
use crate::failpoint::{Point, pass};
use crate::fence;
use crate::key::KeyController;
use crate::key::plan::{self, Facts, Step, Why};
use crate::key::secret::{self, Content, Held, Observed};
use crate::key::validate::Wanted;
use crate::object::{Object, namespace_of};
use crate::shared::{Shared, context};

/// More steps than this mean that someone else writes all the time.
const MOST_STEPS: usize = 4;
/// So often it begins anew at once; after that, in a while.
const MOST_ATTEMPTS: usize = 4;

/// What came of it; only this module makes a `Delivered`.
pub(crate) enum Outcome {
    Delivered(Box<Delivered>),
    Refused { refusal: Refusal, credential: Option<Box<Credential>> },
}

/// A key whose active version is in its Secret.
pub(crate) struct Delivered {
    pub(crate) credential: Credential,
    pub(crate) versions: Vec<SecretVersion>,
    pub(crate) wanted: Wanted,
    /// The request for rotation that the version has answered.
    pub(crate) answered: Option<String>,
    _sealed: (),
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused { refusal, credential: None }
    }
}

/// One object's key while it is worked on.
struct Delivery<'a> {
    controller: &'a KeyController,
    object: &'a ApiKey,
    wanted: &'a Wanted,
    context: AuditContext,
    owner: ManagedBy,
    secrets: Api<Secret>,
}

/// Brings the key into its Secret. Where another writer was faster, begins anew with what that one wrote; not to leave a
/// version behind that was staged and cannot be delivered any more.
pub(crate) async fn deliver(
    controller: &KeyController,
    object: &ApiKey,
    wanted: &Wanted,
    user: UserId,
) -> Result<Outcome, Failure> {
    let delivery = Delivery {
        controller,
        object,
        wanted,
        context: context(ApiKey::KIND, object),
        owner: controller.shared.owner(object.meta()),
        secrets: secrets_of(&controller.shared, object),
    };
    let mut result = delivery.attempt(user).await;
    for _ in 1..MOST_ATTEMPTS {
        let Err(Failure::Overtaken(by)) = &result else { break };
        tracing::debug!(by, "overtaken, beginning anew");
        result = delivery.attempt(user).await;
    }
    result
}

/// What to say of a key that was revoked, and what gives the object another one.
pub(crate) fn revoked(credential: Option<&Credential>) -> Refusal {
    let message = match credential.filter(|credential| credential.overridden_at.is_some()) {
        Some(Credential { id, .. }) => format!(
            "an admin revoked the key through the API; an admin gives this object another one by POST \
             /credentials/{id}/clear-override"
        ),
        None => "the key is revoked for good; delete this object, and create another one for a new key".to_owned(),
    };
    Refusal::new(Reason::Revoked, message)
}

impl Delivery<'_> {
    async fn attempt(&self, user: UserId) -> Result<Outcome, Failure> {
        // Before the versions: see the plan.
        let found = self.secrets.get_opt(&self.wanted.secret_name).await?;
        let held = match self.claim(secret::observe(self.object, found)).await? {
            Ok(held) => held,
            Err(refusal) => return Ok(refusal.into()),
        };
        let credential = match self.credential(user).await {
            Ok(credential) => credential,
            Err(error) => return refusal(error).map(Outcome::from),
        };
        if credential.revoked_at.is_some() {
            return Ok(Outcome::Refused {
                refusal: revoked(Some(&credential)),
                credential: Some(Box::new(credential)),
            });
        }
        let ended = Box::new(credential.clone());
        match self.run(credential, held).await {
            Err(Failure::Kube(error)) => match self.refused(&error) {
                Some(refusal) => Ok(Outcome::Refused { refusal, credential: Some(ended) }),
                None => Err(error.into()),
            },
            other => other,
        }
    }

    /// What to say of a Secret that the API server will not take as it is, however often it is sent.
    fn refused(&self, error: &kube::Error) -> Option<Refusal> {
        let kube::Error::Api(status) = error else { return None };
        matches!(status.code, 400 | 403 | 422).then(|| {
            let message = format!(
                "the API server refuses Secret {}; change spec.secret, or what forbids it: {}",
                self.wanted.secret_name, status.message
            );
            Refusal::new(Reason::SecretRefused, message)
        })
    }

    /// The Secret, if the key may use it.
    async fn claim(&self, observed: Observed) -> Result<Result<Option<Held>, Refusal>, Failure> {
        let what = match observed {
            Observed::Missing => return Ok(Ok(None)),
            Observed::Own(held) => return Ok(Ok(Some(*held))),
            Observed::Orphan(held) if self.proves(&held).await? => return Ok(Ok(Some(*held))),
            Observed::Orphan(_) => "it holds another key",
            Observed::Foreign(what) => what,
        };
        let message = format!(
            "there is a Secret {} already, and {what}; it is left alone: remove it, or create an ApiKey with another \
             spec.secret.name",
            self.wanted.secret_name
        );
        Ok(Err(Refusal::new(Reason::SecretConflict, message)))
    }

    /// Whether a Secret that nobody owns holds a version of this very credential.
    async fn proves(&self, held: &Held) -> Result<bool, Failure> {
        let accounts = &self.controller.shared.accounts;
        let Some(credential) = accounts.managed().find_key(&self.owner).await? else { return Ok(false) };
        let versions = accounts.credentials().secrets(credential.id).await?;
        let holds = held.token.as_ref().map(paddock_accounts::types::ApiKeyToken::key_id);
        Ok(versions.iter().any(|version| Some(version.key_id.as_str()) == holds))
    }

    async fn credential(&self, user_id: UserId) -> Result<Credential, AccountsError> {
        let Self { wanted, context, owner, .. } = self;
        let shared = &self.controller.shared;
        let desired = DesiredKey {
            user_id,
            label: wanted.label.clone(),
            scopes: wanted.scopes.clone(),
            models: wanted.models.clone(),
            limits: wanted.limits,
            expires_at: wanted.expires_at,
        };
        let result = shared.accounts.managed().apply_key(context, owner, &desired, OnUidMismatch::Reject).await;
        match result {
            Err(AccountsError::UidMismatch(_))
                if fence::is_present(&shared.client, self.object).await.unwrap_or(false) =>
            {
                shared.accounts.managed().apply_key(context, owner, &desired, OnUidMismatch::TakeOver).await
            }
            other => other,
        }
    }

    /// Goes through the steps until the Secret bears the active version.
    async fn run(&self, credential: Credential, mut held: Option<Held>) -> Result<Outcome, Failure> {
        let shared = &self.controller.shared;
        for _ in 0..MOST_STEPS {
            let versions = shared.accounts.credentials().secrets(credential.id).await?;
            let answered = self.object.status.as_ref().and_then(|status| status.last_handled_rotate_at.as_deref());
            let step = plan::next(&Facts {
                wanted: self.wanted,
                held: held.as_ref().map(Held::bearing),
                versions: &versions,
                expires_at: credential.expires_at,
                answered,
                now: shared.now(),
            });
            match (step, held.take()) {
                (Step::Activate { version, grace }, secret) => {
                    self.activate(&credential, version, grace).await?;
                    self.controller.undelivered(|undelivered| undelivered.remove(&credential.id));
                    held = secret;
                }
                (Step::Issue { why, grace }, secret) => {
                    held = Some(self.issue(&credential, &versions, secret, why, grace).await?);
                }
                (Step::Keep { .. }, Some(secret)) => {
                    let secret = self.repair(&credential, &versions, secret, answered).await?;
                    let (wanted, answered) = (self.wanted.clone(), secret.answered);
                    let delivered = Delivered { credential, versions, wanted, answered, _sealed: () };
                    return Ok(Outcome::Delivered(Box::new(delivered)));
                }
                (Step::Keep { .. }, None) => return Err(Failure::Overtaken("the Secret is gone again")),
                (Step::Ended, _) => {
                    let message = "the key has ended; create another ApiKey, or ask for a new version with the annotation \
                                   paddock.dev/rotate-requested-at if spec.expiresAt does not forbid it";
                    let refusal = Refusal::new(Reason::Expired, message);
                    return Ok(Outcome::Refused { refusal, credential: Some(Box::new(credential)) });
                }
            }
        }
        Err(Failure::Overtaken("another operator that works on the same key"))
    }

    /// The three writes.
    async fn issue(
        &self,
        credential: &Credential,
        versions: &[SecretVersion],
        held: Option<Held>,
        why: Why,
        grace: Duration,
    ) -> Result<Held, Failure> {
        let shared = &self.controller.shared;
        pass(Point::BeforeStage).await;
        let staged = match self.undelivered(credential, versions) {
            Some(staged) => staged,
            None => self.stage(credential).await?,
        };
        self.controller.undelivered(|undelivered| undelivered.insert(credential.id, staged.clone()));
        pass(Point::AfterStage).await;
        let expires_at = [staged.expires_at, credential.expires_at].into_iter().flatten().min();
        let desired = secret::desired(
            self.object,
            &self.wanted.secret_name,
            &Content {
                token: &staged.token,
                version: staged.id,
                expires_at,
                answered: self.wanted.request.as_ref().map(|request| request.value.as_str()),
                public_url: &shared.settings.public_url,
                template: &self.wanted.template,
            },
        );
        pass(Point::BeforeSecret).await;
        let written = self.write(held.as_ref(), &desired).await?;
        pass(Point::AfterSecret).await;
        pass(Point::BeforeActivate).await;
        self.activate(credential, staged.id, grace).await?;
        pass(Point::AfterActivate).await;
        self.controller.undelivered(|undelivered| undelivered.remove(&credential.id));
        self.tell(why).await;
        match secret::observe(self.object, Some(written)) {
            Observed::Own(held) => Ok(*held),
            _ => Err(Failure::Overtaken("someone who changed the Secret's owner")),
        }
    }

    /// A version that this process staged and could not deliver, if it is still staged: else each attempt at a Secret that
    /// cannot be written would leave another one.
    fn undelivered(&self, credential: &Credential, versions: &[SecretVersion]) -> Option<Staged> {
        let staged = self.controller.undelivered(|undelivered| undelivered.remove(&credential.id))?;
        let now = self.controller.shared.now();
        let is_staged = |version: &SecretVersion| {
            version.id == staged.id
                && version.state == SecretState::Staged
                && version.not_after().is_none_or(|end| end > now)
        };
        versions.iter().any(is_staged).then_some(staged)
    }

    async fn stage(&self, credential: &Credential) -> Result<Staged, Failure> {
        let shared = &self.controller.shared;
        let expires_at = self.wanted.valid_for.map(|valid_for| shared.now() + valid_for);
        Ok(shared.accounts.managed().stage_secret(&self.context, &self.owner, credential.id, expires_at).await?)
    }

    async fn activate(
        &self,
        credential: &Credential,
        version: paddock_accounts::SecretId,
        grace: Duration,
    ) -> Result<(), Failure> {
        let accounts = &self.controller.shared.accounts;
        match accounts.managed().activate_secret(&self.context, &self.owner, credential.id, version, grace).await {
            Err(AccountsError::NotStaged) => Err(Failure::Overtaken("another operator that made its version active")),
            other => Ok(other?),
        }
    }

    /// Writes the Secret, unless anyone has since it was read.
    async fn write(&self, held: Option<&Held>, desired: &Secret) -> Result<Secret, Failure> {
        let manager = Some(ApiKey::MANAGER.to_owned());
        let answer = match held.map(|held| secret::difference(held, desired)) {
            None => {
                let params = PostParams { field_manager: manager, ..PostParams::default() };
                self.secrets.create(&params, desired).await
            }
            Some(patch) => {
                let params = PatchParams { field_manager: manager, ..PatchParams::default() };
                let patch = Patch::Merge(patch.unwrap_or_else(|| json!({})));
                self.secrets.patch(&self.wanted.secret_name, &params, &patch).await
            }
        };
        match answer {
            Err(error) if is_conflict(&error) || is_not_found(&error) => {
                Err(Failure::Overtaken("someone who changed the Secret"))
            }
            other => Ok(other?),
        }
    }

    /// Puts right what else the Secret should say of the version that it holds.
    async fn repair(
        &self,
        credential: &Credential,
        versions: &[SecretVersion],
        held: Held,
        answered: Option<&str>,
    ) -> Result<Held, Failure> {
        let (Some(active), Some(token)) = (plan::active(versions), held.token.as_ref()) else { return Ok(held) };
        let desired = secret::desired(
            self.object,
            &self.wanted.secret_name,
            &Content {
                token,
                version: active.id,
                expires_at: [active.expires_at, credential.expires_at].into_iter().flatten().min(),
                answered: held.answered.as_deref().or(answered),
                public_url: &self.controller.shared.settings.public_url,
                template: &self.wanted.template,
            },
        );
        if secret::difference(&held, &desired).is_none() {
            return Ok(held);
        }
        match secret::observe(self.object, Some(self.write(Some(&held), &desired).await?)) {
            Observed::Own(held) => Ok(*held),
            _ => Err(Failure::Overtaken("someone who changed the Secret's owner")),
        }
    }

    async fn tell(&self, why: Why) {
        let events = &self.controller.shared.events;
        let name = &self.wanted.secret_name;
        match why {
            Why::First => {}
            _ if why.is_loss() => {
                let (reason, what) = match why {
                    Why::SecretDeleted => ("SecretDeleted", "deleted"),
                    _ => ("SecretChanged", "changed"),
                };
                let note = format!("Secret {name} was {what}; a new version of the key is in it now");
                events.warning(self.object, reason, &note).await;
            }
            _ => events.normal(self.object, "Rotated", &format!("a new version of the key is in Secret {name}")).await,
        }
    }
}

/// What an error means for the object; what is not the object's fault stays an error.
fn refusal(error: AccountsError) -> Result<Refusal, Failure> {
    match error {
        AccountsError::Invalid(_) => Ok(Refusal::new(Reason::InvalidSpec, error.to_string())),
        AccountsError::NoUser(_) => Ok(Refusal::new(Reason::UserNotReady, "the user of this key is gone")),
        AccountsError::UidMismatch(_) => Err(Failure::Overtaken("a younger object of the same name")),
        other => Err(other.into()),
    }
}

fn secrets_of(shared: &Shared, object: &ApiKey) -> Api<Secret> {
    Api::namespaced(shared.client.clone(), &namespace_of(object))
}

/// Removes the object's own Secret. Gone already, or not ours: nothing to do.
pub(crate) async fn remove_secret(shared: &Shared, object: &ApiKey, name: &str) -> Result<(), Failure> {
    let secrets = secrets_of(shared, object);
    let Observed::Own(held) = secret::observe(object, secrets.get_opt(name).await?) else { return Ok(()) };
    let same = Preconditions { uid: held.uid(), resource_version: None };
    match secrets.delete(name, &DeleteParams::default().preconditions(same)).await {
        Err(error) if !is_not_found(&error) && !is_conflict(&error) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Takes the object's name off its Secret, so that garbage collection leaves it.
pub(crate) async fn orphan_secret(shared: &Shared, object: &ApiKey, name: &str) -> Result<(), Failure> {
    let secrets = secrets_of(shared, object);
    let found = secrets.get_opt(name).await?;
    let owners: Vec<_> = found.iter().flat_map(ResourceExt::owner_references).cloned().collect();
    let Observed::Own(held) = secret::observe(object, found) else { return Ok(()) };
    let others: Vec<_> = owners.into_iter().filter(|owner| Some(&owner.uid) != object.meta().uid.as_ref()).collect();
    let patch = json!({"metadata": {"resourceVersion": held.resource_version, "ownerReferences": others}});
    let params = PatchParams { field_manager: Some(ApiKey::MANAGER.to_owned()), ..PatchParams::default() };
    match secrets.patch(name, &params, &Patch::Merge(&patch)).await {
        Err(error) if is_conflict(&error) => Err(Failure::Overtaken("someone who changed the Secret")),
        Err(error) if !is_not_found(&error) => Err(error.into()),
        _ => Ok(()),
    }
}
