//! Ending the grace of earlier secrets.

use paddock_store::{
    audit::{Change, Event, EventType},
    context::AuditContext,
    ids::CredentialId,
    retry_lost_race,
};

use super::{Credentials, credential::locked, secrets};
use crate::error::Error;

impl Credentials<'_> {
    /// Ends the grace of the earlier secrets of a key now. Returns whether there were any. This is
    /// allowed on a key that a Kubernetes object owns, too: nothing that the object declares changes.
    pub async fn end_grace(self, context: &AuditContext, id: CredentialId) -> Result<bool, Error> {
        retry_lost_race(|| async {
            let mut tx = self.accounts.begin(context).await?;
            let credential = locked(&mut tx, id).await?;
            let ended = secrets::end_retiring(&mut tx, id, self.accounts.now()).await?;
            if ended.is_empty() {
                tx.end_unchanged().await?;
                return Ok(false);
            }
            let mut change = Change::default();
            change.field("retiring", Some(&ended), None);
            let event = Event::new(EventType::ApiKeyGraceEnded).user(credential.user_id).credential(id).change(change);
            tx.commit(event).await?;
            Ok(true)
        })
        .await
    }
}
