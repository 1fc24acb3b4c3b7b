//! Repeats an operation that lost a race against another transaction.

use crate::error::Error;

/// The maximum number of runs of an operation.
const MAX_TRIES: u32 = 3;

/// The error of an operation that may lose a race.
pub trait LostRace {
    /// Whether another transaction came first, so that a second run may succeed.
    fn is_lost_race(&self) -> bool;
}

impl LostRace for Error {
    fn is_lost_race(&self) -> bool {
        self.is_race()
    }
}

/// Runs an operation, and runs it again after a lost race. Runs it at most three times in all.
///
/// An operation loses a race if another transaction inserted the same unique value first, or if the
/// two transactions cannot be serialized. The next run sees the result of the other transaction.
/// For example, the creation of a second user with the same address then fails, because the first
/// user exists.
///
/// The operation must begin its own transaction, and must have no effect outside the transaction.
pub async fn retry_lost_race<T, E: LostRace, F: Future<Output = Result<T, E>> + Send>(
    operation: impl Fn() -> F,
) -> Result<T, E> {
    for _ in 1..MAX_TRIES {
        match operation().await {
            Err(error) if error.is_lost_race() => {}
            settled => return settled,
        }
    }
    operation().await
}

#[cfg(test)]
mod tests {
    use std::{
        future::ready,
        sync::atomic::{AtomicU32, Ordering},
    };

    use super::*;

    #[derive(Debug, PartialEq)]
    enum TestError {
        Race,
        Other,
    }

    impl LostRace for TestError {
        fn is_lost_race(&self) -> bool {
            *self == Self::Race
        }
    }

    /// Fails with `error` in the first `failures` runs. Returns the result and the number of runs.
    async fn run(failures: u32, error: fn() -> TestError) -> (Result<(), TestError>, u32) {
        let runs = AtomicU32::new(0);
        let operation = || ready(if runs.fetch_add(1, Ordering::Relaxed) < failures { Err(error()) } else { Ok(()) });
        (retry_lost_race(operation).await, runs.load(Ordering::Relaxed))
    }

    #[tokio::test]
    async fn an_operation_that_lost_two_races_runs_a_third_time() {
        assert_eq!(run(2, || TestError::Race).await, (Ok(()), 3));
    }

    #[tokio::test]
    async fn a_third_lost_race_is_an_error() {
        assert_eq!(run(9, || TestError::Race).await, (Err(TestError::Race), 3));
    }

    #[tokio::test]
    async fn another_error_is_not_retried() {
        assert_eq!(run(1, || TestError::Other).await, (Err(TestError::Other), 1));
    }
}
