//! Identifiers.

use uuid::{Builder, Uuid};

use crate::clock::Time;

/// A `UUIDv7`: 48 bits of milliseconds, 74 random bits.
pub(crate) fn uuid_v7(now: Time) -> Uuid {
    let mut random = [0_u8; 10];
    aws_lc_rs::rand::fill(&mut random).expect("the operating system gives random bytes");
    let millis = u64::try_from(now.micros() / 1000).unwrap_or(0);
    Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

/// Makes the integer identity of a row a type of its own.
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
pub(crate) use row_id;
