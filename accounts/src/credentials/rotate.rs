//! Rotating a key: a new secret under the same identity.

use std::time::Duration;

use paddock_store::{
    audit::{Change, Event, EventType},
    context::AuditContext,
    ids::CredentialId,
    retry_lost_race,
};

use super::{
    Credentials,
    credential::locked,
    issue::Issued,
    secrets::{self, SecretState},
};
use crate::{access::delegation::DelegationLimits, error::Error, types::ApiKeyToken, users::user};

/// How long the old secret is accepted after a rotation, by default.
pub const DEFAULT_GRACE: Duration = Duration::from_hours(24);

impl Credentials<'_> {
    /// Gives a key a new secret. The old secret is accepted for `grace`. A caller with the limits
    /// `within` may not rotate a key that exceeds them, because the caller receives the new secret.
    pub async fn rotate(
        self,
        context: &AuditContext,
        id: CredentialId,
        grace: Duration,
        within: Option<DelegationLimits<'_>>,
    ) -> Result<Issued, Error> {
        let token = ApiKeyToken::generate();
        let hash = self.accounts.hasher().hash_key(token.plaintext().clone()).await?;
        let (credential, owner) = retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let mut credential = locked(&mut tx, id).await?;
            if let Some(owner) = credential.managed_by {
                return Err(Error::Managed { kind: "ApiKey", owner });
            }
            if let Some(limits) = &within {
                credential.check_within(limits)?;
            }
            if credential.revoked_at.is_some() {
                return Err(Error::Revoked(id));
            }
            let now = self.accounts.now();
            if credential.expires_at.is_some_and(|end| end <= now) {
                return Err(Error::Expired(id));
            }
            let owner = user::by_id(tx.conn(), credential.user_id).await?.ok_or(Error::NoUser(credential.user_id))?;
            let retire_at = now + grace;
            secrets::retire_active(&mut tx, id, retire_at).await?;
            secrets::insert(&mut tx, id, &token, &hash, SecretState::Active, credential.expires_at, now).await?;
            let mut change = Change::default();
            change.field("key_id", credential.key_id.as_deref().as_ref(), Some(&token.key_id()));
            change.field("retire_at", None, Some(&retire_at));
            credential.key_id = Some(token.key_id().to_owned());
            let event = Event::new(EventType::ApiKeyRotated).user(credential.user_id).credential(id).change(change);
            tx.commit(event).await?;
            Ok((credential, owner))
        })
        .await?;
        Ok(Issued { credential, owner, token })
    }
}
