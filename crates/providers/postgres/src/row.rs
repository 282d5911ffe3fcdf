//! From a row's columns to a struct's fields.

/// Implements [`sqlx::FromRow`] by columns of the fields' names. Names all fields, or it doesn't compile. sqlx has a derive for it, which
/// alone would have sqlx's crates built twice, for the compiler and for the program.
macro_rules! from_row {
    ($name:ty { $($field:ident),+ }) => {
        impl<'r> sqlx::FromRow<'r, sqlx::postgres::PgRow> for $name {
            fn from_row(row: &'r sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
                use sqlx::Row as _;
                Ok(Self { $($field: row.try_get(stringify!($field))?),+ })
            }
        }
    };
}
pub(crate) use from_row;
