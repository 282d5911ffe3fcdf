//! The five roles of a database, each with what the catalogs say of it.

use crate::body::RoleNames;
use crate::catalog::{RoleRow, RoleRows};
use crate::quote::Identifier;

pub(super) fn roles<'a>(
    names: &'a RoleNames,
    rows: &'a RoleRows,
) -> [(&'static str, &'a Identifier, Option<&'a RoleRow>); 5] {
    [
        ("owner", &names.owner, rows.owner.as_ref()),
        ("migrator", &names.migrator, rows.migrator.as_ref()),
        ("app", &names.app, rows.app.as_ref()),
        ("keeper", &names.keeper, rows.keeper.as_ref()),
        ("dumper", &names.dumper, rows.dumper.as_ref()),
    ]
}

/// The roles that one of them should be a member of.
pub(super) fn expected_memberships(word: &str, names: &RoleNames) -> Vec<String> {
    if matches!(word, "owner" | "app") { Vec::new() } else { vec![names.owner.as_str().to_owned()] }
}
