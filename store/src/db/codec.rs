//! How Paddock's own types are stored by each engine.

use sqlx::{
    Decode, Encode, Postgres, Row, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgRow, PgTypeInfo, PgValueRef, types::Oid},
    sqlite::{SqliteArgumentsBuffer, SqliteRow, SqliteTypeInfo, SqliteValueRef},
};

use crate::clock::Timestamp;

/// PostgreSQL counts microseconds from 2000-01-01.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;
/// TIMESTAMPTZ in `pg_type`.
const TIMESTAMPTZ: Oid = Oid(1184);

impl Type<Postgres> for Timestamp {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl Encode<'_, Postgres> for Timestamp {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode(self.micros() - POSTGRES_EPOCH_MICROS, buf)
    }
}

impl<'r> Decode<'r, Postgres> for Timestamp {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let bytes: [u8; 8] = value.as_bytes()?.try_into()?;
        Ok(Self::from_micros(i64::from_be_bytes(bytes) + POSTGRES_EPOCH_MICROS))
    }
}

impl Type<Sqlite> for Timestamp {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(ty: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(ty)
    }
}

impl Encode<'_, Sqlite> for Timestamp {
    fn encode_by_ref(&self, buf: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(self.micros(), buf)
    }
}

impl<'r> Decode<'r, Sqlite> for Timestamp {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self::from_micros(Decode::<Sqlite>::decode(value)?))
    }
}

/// A row that is read by the positions of its columns: a lookup by name is slow in long lists.
pub trait PositionalRow: Row {
    /// The value of the column at this position, from 0.
    fn value_at<'r, T>(&'r self, index: usize) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Self::Database> + Type<Self::Database>;
}

/// PostgreSQL columns have one type, so the type is not checked for each value.
impl PositionalRow for PgRow {
    fn value_at<'r, T>(&'r self, index: usize) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Postgres> + Type<Postgres>,
    {
        self.try_get_unchecked(index)
    }
}

/// A SQLite column may hold values of any type.
impl PositionalRow for SqliteRow {
    fn value_at<'r, T>(&'r self, index: usize) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite>,
    {
        self.try_get(index)
    }
}

/// Implements the codecs of a type that both engines store as TEXT: how to write it, and how to read it.
#[macro_export]
macro_rules! stored_as_text {
    ([$($generics:tt)*] $type:ty, $write:expr, $read:expr) => {
        $crate::stored_as_text!(@engine [$($generics)*] $type, ::sqlx::Postgres, ::sqlx::postgres::PgTypeInfo, ::sqlx::postgres::PgArgumentBuffer, ::sqlx::postgres::PgValueRef<'r>, $write, $read);
        $crate::stored_as_text!(@engine [$($generics)*] $type, ::sqlx::Sqlite, ::sqlx::sqlite::SqliteTypeInfo, ::sqlx::sqlite::SqliteArgumentsBuffer, ::sqlx::sqlite::SqliteValueRef<'r>, $write, $read);
    };
    (@engine [$($generics:tt)*] $type:ty, $db:ty, $info:ty, $buf:ty, $value:ty, $write:expr, $read:expr) => {
        impl<$($generics)*> ::sqlx::Type<$db> for $type {
            fn type_info() -> $info {
                <String as ::sqlx::Type<$db>>::type_info()
            }

            fn compatible(ty: &$info) -> bool {
                <String as ::sqlx::Type<$db>>::compatible(ty)
            }
        }

        impl<$($generics)*> ::sqlx::Encode<'_, $db> for $type {
            fn encode_by_ref(&self, buf: &mut $buf) -> Result<::sqlx::encode::IsNull, ::sqlx::error::BoxDynError> {
                let write: fn(&Self) -> String = $write;
                ::sqlx::Encode::<$db>::encode(write(self), buf)
            }
        }

        impl<'r, $($generics)*> ::sqlx::Decode<'r, $db> for $type {
            fn decode(value: $value) -> Result<Self, ::sqlx::error::BoxDynError> {
                let read: fn(&str) -> Result<Self, ::sqlx::error::BoxDynError> = $read;
                read(<&str as ::sqlx::Decode<$db>>::decode(value)?)
            }
        }
    };
}
