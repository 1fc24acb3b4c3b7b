//! How the crate's own types are stored by each engine.

use sqlx::{
    Decode, Encode, Postgres, Row, Sqlite, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgRow, PgTypeInfo, PgValueRef, types::Oid},
    sqlite::{SqliteArgumentsBuffer, SqliteRow, SqliteTypeInfo, SqliteValueRef},
};

use crate::{
    clock::Time,
    email::Email,
    sets::{Word, Words},
};

/// PostgreSQL counts microseconds from 2000-01-01.
const POSTGRES_EPOCH_MICROS: i64 = 946_684_800_000_000;
/// TIMESTAMPTZ in `pg_type`.
const TIMESTAMPTZ: Oid = Oid(1184);

impl Type<Postgres> for Time {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIMESTAMPTZ)
    }
}

impl Encode<'_, Postgres> for Time {
    fn encode_by_ref(&self, buf: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Postgres>::encode(self.micros() - POSTGRES_EPOCH_MICROS, buf)
    }
}

impl<'r> Decode<'r, Postgres> for Time {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        let bytes: [u8; 8] = value.as_bytes()?.try_into()?;
        Ok(Self::from_micros(i64::from_be_bytes(bytes) + POSTGRES_EPOCH_MICROS))
    }
}

impl Type<Sqlite> for Time {
    fn type_info() -> SqliteTypeInfo {
        <i64 as Type<Sqlite>>::type_info()
    }

    fn compatible(ty: &SqliteTypeInfo) -> bool {
        <i64 as Type<Sqlite>>::compatible(ty)
    }
}

impl Encode<'_, Sqlite> for Time {
    fn encode_by_ref(&self, buf: &mut SqliteArgumentsBuffer) -> Result<IsNull, BoxDynError> {
        Encode::<Sqlite>::encode(self.micros(), buf)
    }
}

impl<'r> Decode<'r, Sqlite> for Time {
    fn decode(value: SqliteValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self::from_micros(Decode::<Sqlite>::decode(value)?))
    }
}

/// A row that is read by the places of its columns, not by their names, which long lists would look up for each value.
pub(crate) trait Columns: Row {
    fn value_at<'r, T>(&'r self, place: usize) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Self::Database> + Type<Self::Database>;
}

/// All values of a column are of its type, and that does not change while a row is read: it is not looked at for each value.
impl Columns for PgRow {
    fn value_at<'r, T>(&'r self, place: usize) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Postgres> + Type<Postgres>,
    {
        self.try_get_unchecked(place)
    }
}

/// A column holds whatever was put into it.
impl Columns for SqliteRow {
    fn value_at<'r, T>(&'r self, place: usize) -> Result<T, sqlx::Error>
    where
        T: Decode<'r, Sqlite> + Type<Sqlite>,
    {
        self.try_get(place)
    }
}

/// A type that is stored as TEXT on both engines: how it is written, and how it is read back.
macro_rules! stored_as_text {
    ([$($generics:tt)*] $type:ty, $write:expr, $read:expr) => {
        stored_as_text!(@engine [$($generics)*] $type, Postgres, PgTypeInfo, PgArgumentBuffer, PgValueRef<'r>, $write, $read);
        stored_as_text!(@engine [$($generics)*] $type, Sqlite, SqliteTypeInfo, SqliteArgumentsBuffer, SqliteValueRef<'r>, $write, $read);
    };
    (@engine [$($generics:tt)*] $type:ty, $db:ty, $info:ty, $buf:ty, $value:ty, $write:expr, $read:expr) => {
        impl<$($generics)*> Type<$db> for $type {
            fn type_info() -> $info {
                <String as Type<$db>>::type_info()
            }

            fn compatible(ty: &$info) -> bool {
                <String as Type<$db>>::compatible(ty)
            }
        }

        impl<$($generics)*> Encode<'_, $db> for $type {
            fn encode_by_ref(&self, buf: &mut $buf) -> Result<IsNull, BoxDynError> {
                let write: fn(&Self) -> String = $write;
                Encode::<$db>::encode(write(self), buf)
            }
        }

        impl<'r, $($generics)*> Decode<'r, $db> for $type {
            fn decode(value: $value) -> Result<Self, BoxDynError> {
                let read: fn(&str) -> Result<Self, BoxDynError> = $read;
                read(<&str as Decode<$db>>::decode(value)?)
            }
        }
    };
}

stored_as_text!([W: Word] Words<W>, |words| words.to_string(), |text| Ok(Words::from_stored(text)));
stored_as_text!([] Email, |email| email.to_string(), |text| Ok(Email::parse(text)?));
stored_as_text!([] crate::models::Origin, |origin| origin.text().to_owned(), |text| Ok(text.parse()?));
stored_as_text!([] crate::credentials::SecretState, |state| state.text().to_owned(), |text| Ok(text.parse()?));
stored_as_text!([] crate::patterns::ModelPatterns, |patterns| patterns.to_string(), |text| Ok(
    crate::patterns::ModelPatterns::from_stored(text)
));
