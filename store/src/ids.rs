//! The identifiers of rows.

use std::cell::RefCell;

use uuid::{Builder, Uuid};

use crate::clock::Timestamp;

/// The number of random bytes of a `UUIDv7`.
const RANDOM_BYTES: usize = 10;

/// Random bytes for the next ids of a thread. The generator costs the same for one id and for many.
struct RandomBytes {
    bytes: [[u8; RANDOM_BYTES]; 64],
    used: usize,
}

thread_local! {
    static RANDOM: RefCell<RandomBytes> = const { RefCell::new(RandomBytes { bytes: [[0; RANDOM_BYTES]; 64], used: 64 }) };
}

impl RandomBytes {
    fn next(&mut self) -> [u8; RANDOM_BYTES] {
        if self.used == self.bytes.len() {
            aws_lc_rs::rand::fill(self.bytes.as_flattened_mut()).expect("the operating system gives random bytes");
            self.used = 0;
        }
        self.used += 1;
        self.bytes[self.used - 1]
    }
}

/// Returns a new `UUIDv7`, with 48 bits of milliseconds and 74 random bits. It is unique, and no
/// secret.
#[must_use]
pub fn uuid_v7(now: Timestamp) -> Uuid {
    let random = RANDOM.with_borrow_mut(RandomBytes::next);
    let millis = u64::try_from(now.micros() / 1000).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// Defines a newtype for the integer id of a row.
macro_rules! row_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize, sqlx::Type,
        )]
        #[serde(transparent)]
        #[sqlx(transparent)]
        pub struct $name(pub i64);

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$name> for i64 {
            fn from(id: $name) -> Self {
                id.0
            }
        }
    };
}

row_id! {
    /// The id of a user. It is never reused after a deletion.
    UserId
}

row_id! {
    /// The id of a credential. A rotation keeps it.
    CredentialId
}

row_id! {
    /// The id of one secret version of a credential.
    SecretId
}

row_id! {
    /// The id of a pull of a model.
    PullJobId
}

/// The id of a session, which is the claim `sid` of its access tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct SessionId(pub Uuid);
