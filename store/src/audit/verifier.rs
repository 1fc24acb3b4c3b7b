//! Verification of the chain in the background, row by row as the log grows.
//!
//! A whole verification reads the whole log. This one remembers how far it came, so that the state of
//! the chain is known at any moment. Once a day it begins again, to find rows that were changed after
//! they had been verified.

use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{
    anchor,
    chain_status::{ChainStatus, VerifiedRow},
    handle::AuditLog,
    head::Head,
    verify::load_head,
    verify_error::VerifyError,
};
use crate::{error::Error, error_chain};

/// The time after which the verifier checks the new rows, unless a request for the state wakes it
/// earlier.
const VERIFY_INTERVAL: Duration = Duration::from_secs(30);
/// How often the log is verified from its beginning.
const FULL_INTERVAL: Duration = Duration::from_hours(24);
/// The pause between two pages, so that the verification of a long log takes a small part of the
/// database's time.
const PAGE_PAUSE: Duration = Duration::from_millis(50);

impl AuditLog {
    /// Returns the head of the log, and how far this process has verified the chain. Also wakes the
    /// verification, so that the next call knows more.
    pub async fn chain_status(&self) -> Result<(Head, ChainStatus), Error> {
        let head = load_head(self.store().reader().await?.conn()).await?.unwrap_or_default();
        self.verifier().requested.notify_one();
        Ok((head, self.verifier().status.lock().clone()))
    }

    /// Verifies the chain as it grows. Never returns.
    pub(super) async fn verify_continuously(&self) {
        loop {
            if let Err(error) = self.verify_new_rows().await {
                tracing::warn!(error = error_chain(&error), "audit log not verified");
            }
            // The timer ends the wait, too.
            let _ = timeout(VERIFY_INTERVAL, self.verifier().requested.notified()).await;
        }
    }

    /// Verifies the rows after the last verified one.
    async fn verify_new_rows(&self) -> Result<(), Error> {
        let begin = anchor::load(self.store().reader().await?.conn()).await?;
        let defect = match begin.as_ref().and_then(|begin| begin.verify(self.store().chain())) {
            Some(begin) => self.verify_after(begin).await?,
            None => Some(VerifyError::Anchor),
        };
        let Some(defect) = defect else { return Ok(()) };
        // If the checkpoint moved, retention may have removed the missing rows meanwhile.
        if anchor::load(self.store().reader().await?.conn()).await? == begin {
            let mut status = self.verifier().status.lock();
            if status.defect.as_ref() != Some(&defect) {
                tracing::error!(error = %defect, "audit log is not what was written");
            }
            *status = ChainStatus { defect: Some(defect), ..status.clone() };
        }
        Ok(())
    }

    /// Continues behind the last verified row, or behind the checkpoint `begin`. Returns the first
    /// defect.
    async fn verify_after(&self, begin: &Head) -> Result<Option<VerifyError>, Error> {
        let mut end = self.next_start(begin);
        // From the smallest id: a row may have been inserted before the first one.
        let mut after = if end == *begin { i64::MIN } else { end.position };
        loop {
            // Read before the rows, so that the rows cannot be behind it.
            let Some(head) = load_head(self.store().reader().await?.conn()).await? else {
                return Ok(Some(VerifyError::Headless));
            };
            let page = match self.chain_page(after).await? {
                Ok(page) => page,
                Err(defect) => return Ok(Some(defect)),
            };
            for row in &page {
                match self.store().chain().follow(row, &end) {
                    Ok(next) => end = next,
                    Err(defect) => return Ok(Some(defect)),
                }
                after = row.id;
            }
            if page.is_empty() && end.position < head.position {
                return Ok(Some(VerifyError::Cut { found: end.position, expected: head.position }));
            }
            if end.position == head.position && end.hash != head.hash {
                return Ok(Some(VerifyError::Changed(end.position)));
            }
            self.note(&end, page.is_empty());
            if page.is_empty() {
                return Ok(None);
            }
            sleep(PAGE_PAUSE).await;
        }
    }

    /// Returns the row behind which to continue: the checkpoint after a defect, after a day, and if
    /// retention has removed the last verified row.
    fn next_start(&self, begin: &Head) -> Head {
        let mut status = self.verifier().status.lock();
        let is_due = status.complete_at.is_some_and(|at| self.store().now().since(at) >= FULL_INTERVAL);
        let verified = status.verified.as_ref().map(|verified| verified.head.clone());
        match verified.filter(|head| head.position >= begin.position) {
            Some(head) if !is_due && status.defect.is_none() => head,
            _ => {
                status.complete_at = None;
                begin.clone()
            }
        }
    }

    /// Notes the last verified row, and whether it is the last of the log.
    fn note(&self, end: &Head, is_last: bool) {
        let now = self.store().now();
        let mut status = self.verifier().status.lock();
        status.verified = Some(VerifiedRow { head: end.clone(), at: now });
        if is_last {
            status.complete_at = status.complete_at.or(Some(now));
            status.defect = None;
        }
    }
}
