//! Reading rows: columns, documents and words, each with an error that says what couldn't be read.

use serde::Serialize;
use serde::de::{DeserializeOwned, IntoDeserializer};
use sqlx::postgres::{PgRow, Postgres};
use sqlx::{ColumnIndex, Decode, Row, Type};

use crate::error::StoreError;

pub(crate) fn read<'r, T, I>(row: &'r PgRow, column: I) -> Result<T, StoreError>
where
    T: Decode<'r, Postgres> + Type<Postgres>,
    I: ColumnIndex<PgRow>,
{
    row.try_get(column).map_err(StoreError::from_sqlx("read a row"))
}

/// A number that is never negative.
pub(crate) fn number(row: &PgRow, column: &str) -> Result<u64, StoreError> {
    let number: i64 = read(row, column)?;
    u64::try_from(number).map_err(|error| StoreError::Unreadable { what: "a number", message: error.to_string() })
}

/// A number that is never negative, as PostgreSQL keeps it. Above 2⁶³ it is a defect, and the schema refuses it.
pub(crate) fn bigint(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(-1)
}

/// What a JSON document says.
pub(crate) fn document<T: DeserializeOwned>(what: &'static str, json: String) -> Result<T, StoreError> {
    serde_json::from_str(&json).map_err(|error| StoreError::Unreadable { what, message: error.to_string() })
}

/// The JSON of something.
pub(crate) fn json<T: Serialize + ?Sized>(what: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::Unreadable { what, message: error.to_string() })
}

/// One word of an enumeration, or a name.
pub(crate) fn word<T: DeserializeOwned>(what: &'static str, text: String) -> Result<T, StoreError> {
    let text: serde::de::value::StringDeserializer<serde::de::value::Error> = text.into_deserializer();
    T::deserialize(text).map_err(|error| StoreError::Unreadable { what, message: error.to_string() })
}

/// A row of a list: one that can't be read is told of by `unreadable`, and hides no other. Any other failure is the whole list's.
pub(crate) fn listed<T, U>(
    row: Result<T, StoreError>,
    unreadable: impl FnOnce(StoreError) -> Result<U, StoreError>,
) -> Result<Result<T, U>, StoreError> {
    match row {
        Ok(found) => Ok(Ok(found)),
        Err(error @ StoreError::Unreadable { .. }) => unreadable(error).map(Err),
        Err(error) => Err(error),
    }
}

/// Text without NUL, which PostgreSQL's text doesn't have.
pub(crate) fn plain(text: &str) -> String {
    text.replace('\0', "")
}
