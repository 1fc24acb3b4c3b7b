//! Issues a version of a key: stages it, writes the Secret, activates it. What the API server refuses
//! or loses is discarded at once.

use std::time::Duration;

use paddock_accounts::{
    Error as AccountsError, SecretId,
    credentials::{Credential, SecretState, SecretVersion},
    managed_resources::{Activation, Staged},
    types::ApiKeyToken,
};
use paddock_store::{clock::Timestamp, error_chain};

use crate::{
    error::ReconcileError,
    failpoint::{Point, pass},
    key::{
        apply::Delivery,
        plan::IssueReason,
        secret_content::{self, ObservedSecret, SecretContent},
    },
    status::conditions::{Reason, condition_type},
};
use paddock_crds::HasConditions;

impl Delivery<'_> {
    /// Stages a version, writes the Secret and activates the version.
    pub(super) async fn issue(
        &self,
        credential: &Credential,
        versions: &[SecretVersion],
        observed: Option<ObservedSecret>,
        reason: IssueReason,
        grace: Duration,
    ) -> Result<ObservedSecret, ReconcileError> {
        if self.was_refused(credential) {
            self.check_writable(credential, observed.as_ref()).await?;
        }
        pass(Point::BeforeStage).await;
        let staged = match self.take_pending(credential, versions) {
            Some(staged) => staged,
            None => self.stage(credential).await?,
        };
        self.pending_secrets.insert(credential.id, staged.clone());
        pass(Point::AfterStage).await;
        let desired = self.desired_secret(&staged.token, staged.id, Self::end(credential, staged.expires_at));
        pass(Point::BeforeSecret).await;
        let written = match self.secret.write(observed.as_ref(), &desired).await {
            Ok(written) => written,
            Err(error) => {
                self.discard_undelivered(credential, staged.id, &error).await;
                return Err(error);
            }
        };
        pass(Point::AfterSecret).await;
        pass(Point::BeforeActivate).await;
        self.activate(credential, Activation { secret: staged.id, expires_at: staged.expires_at, grace }).await?;
        pass(Point::AfterActivate).await;
        self.pending_secrets.remove(credential.id);
        self.pending_secrets.set_unwritable(credential.id, false);
        self.publish_issued(reason).await;
        self.secret.read_own(written)
    }

    /// Activates a staged version.
    pub(super) async fn activate(&self, credential: &Credential, activation: Activation) -> Result<(), ReconcileError> {
        let accounts = &self.context.accounts;
        match accounts.managed().activate_secret(&self.audit, &self.owner, credential.id, activation).await {
            Err(AccountsError::NotStaged) => {
                Err(ReconcileError::Conflict("another operator activated its own version"))
            }
            result => Ok(result?),
        }
    }

    /// Returns when a version that expires at `version` ends.
    pub(super) fn end(credential: &Credential, version: Option<Timestamp>) -> Option<Timestamp> {
        [version, credential.expires_at].into_iter().flatten().min()
    }

    /// Whether the last attempt to write the Secret failed, so that another one probably fails too.
    fn was_refused(&self, credential: &Credential) -> bool {
        let ready = self.object.status.as_ref().and_then(|status| status.condition(condition_type::READY));
        self.pending_secrets.is_unwritable(credential.id)
            || ready.is_some_and(|ready| ready.reason == Reason::SecretRefused.as_str())
    }

    /// Asks the API server whether it accepts the Secret, with a key that does not exist. Otherwise
    /// every attempt would mint a key.
    async fn check_writable(
        &self,
        credential: &Credential,
        observed: Option<&ObservedSecret>,
    ) -> Result<(), ReconcileError> {
        let expires_at = self.spec.valid_for.map(|valid_for| self.context.now() + valid_for);
        let desired = self.desired_secret(&ApiKeyToken::generate(), SecretId(0), Self::end(credential, expires_at));
        self.secret.check_write(observed, &desired).await
    }

    /// Takes the pending version of the credential, if it is still staged and has not ended.
    fn take_pending(&self, credential: &Credential, versions: &[SecretVersion]) -> Option<Staged> {
        let staged = self.pending_secrets.remove(credential.id)?;
        let now = self.context.now();
        let is_staged = |version: &SecretVersion| {
            version.id == staged.id
                && version.state == SecretState::Staged
                && version.not_after().is_none_or(|end| end > now)
        };
        versions.iter().any(is_staged).then_some(staged)
    }

    async fn stage(&self, credential: &Credential) -> Result<Staged, ReconcileError> {
        let managed = self.context.accounts.managed();
        Ok(managed.stage_secret(&self.audit, &self.owner, credential.id, self.spec.valid_for).await?)
    }

    /// Discards a staged version if the failed write did not deliver it. If that is unknown, the
    /// version stays for the next attempt, and ends by itself.
    async fn discard_undelivered(&self, credential: &Credential, version: SecretId, error: &ReconcileError) {
        let ReconcileError::Kube(error) = error else { return };
        let is_refused = matches!(error, kube::Error::Api(status) if (400..500).contains(&status.code));
        let is_delivered = if is_refused { Ok(false) } else { self.secret.holds_version(version).await };
        if !matches!(is_delivered, Ok(false)) {
            return;
        }
        self.pending_secrets.remove(credential.id);
        self.pending_secrets.set_unwritable(credential.id, true);
        let managed = self.context.accounts.managed();
        if let Err(error) = managed.discard_undelivered(&self.audit, &self.owner, credential.id, version).await {
            tracing::warn!(error = error_chain(&error), "cannot discard an undelivered version; it ends by itself");
        }
    }

    /// Publishes an event for every version but the first.
    async fn publish_issued(&self, reason: IssueReason) {
        let events = &self.context.events;
        let name = &self.spec.secret_name;
        let (event, cause) = match reason {
            IssueReason::First => return,
            IssueReason::SecretDeleted => ("SecretDeleted", format!("Secret {name} was deleted")),
            IssueReason::SecretChanged => ("SecretChanged", format!("Secret {name} was changed")),
            IssueReason::DatabaseRestored => {
                ("DatabaseReplaced", format!("the database does not know the key in Secret {name}"))
            }
            IssueReason::Requested | IssueReason::Due | IssueReason::Undelivered => {
                let note = format!("a new version of the key is in Secret {name}");
                return events.publish_normal(self.object, "Rotated", &note).await;
            }
        };
        let note = format!(
            "{cause}; a new version of the key is in it now. The earlier version is accepted for its grace period; if it \
             leaked, end it at once: kubectl annotate apikey {} --overwrite paddock.dev/rotate-grace=0s \
             paddock.dev/rotate-requested-at=\"$(date)\"",
            self.object.metadata.name.as_deref().unwrap_or_default()
        );
        events.publish_warning(self.object, event, &note).await;
    }

    /// Builds the Secret for a version that is not delivered yet.
    fn desired_secret(
        &self,
        token: &ApiKeyToken,
        version: SecretId,
        expires_at: Option<Timestamp>,
    ) -> k8s_openapi::api::core::v1::Secret {
        let content = SecretContent {
            token,
            version,
            expires_at,
            handled_request: self.spec.request.as_ref().map(|request| request.value.as_str()),
            public_url: &self.context.settings.public_url,
            template: &self.spec.template,
        };
        secret_content::desired_secret(self.object, &self.spec.secret_name, &content)
    }
}
