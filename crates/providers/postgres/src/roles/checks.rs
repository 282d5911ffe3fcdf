//! What has to hold of roles before, and after, anything is done to them.

use freehold_engine::ProviderError;
use freehold_graph::StackId;
use freehold_plan::observation::Ownership;
use freehold_problem::{Code, Problem};

use super::list::{expected_memberships, roles};
use crate::body::{self, RoleNames};
use crate::catalog::RoleRows;

/// # Errors
/// One of them exists and isn't ours.
pub(crate) fn check_ownership(rows: &RoleRows, stack: StackId, adopt: bool) -> Result<(), ProviderError> {
    let who = match rows.ownership(stack) {
        Ownership::Ours => return Ok(()),
        Ownership::Foreign(_) if adopt => return check_harmless(rows),
        owner @ (Ownership::Foreign(_) | Ownership::OtherStack(_)) => owner,
    };
    let names: Vec<&str> = rows.existing().map(|row| row.rolname.as_str()).collect();
    Err(ProviderError::from(
        Problem::new(Code::NotOwned, format!("roles {} are not managed by this stack: {who}", names.join(", ")))
            .help("choose another name, or have a superuser rename or drop them"),
    ))
}

/// # Errors
/// A role that is to be adopted can do what none of ours may.
fn check_harmless(rows: &RoleRows) -> Result<(), ProviderError> {
    match rows.existing().find(|row| row.rolbypassrls || !row.powers.is_empty()) {
        None => Ok(()),
        Some(row) => Err(ProviderError::from(
            Problem::new(
                Code::NotAdoptableAsIs,
                format!(
                    "role {} can't be adopted: it is {}",
                    row.rolname,
                    row.powers.first().map_or("bypassrls", String::as_str)
                ),
            )
            .help("take these attributes from it first"),
        )),
    }
}

/// # Errors
/// A role is still a member of one that it shouldn't be a member of: since PostgreSQL 16 only who granted it, or a
/// superuser, can revoke it, and the server leaves it at a warning.
pub(super) fn check_memberships(names: &RoleNames, rows: &RoleRows) -> Result<(), ProviderError> {
    for (word, name, row) in roles(names, rows) {
        let Some(row) = row else { continue };
        let expected = expected_memberships(word, names);
        if let Some(group) = row.memberships.iter().find(|group| !expected.contains(group)) {
            return Err(ProviderError::from(
                Problem::new(
                    Code::ChangedExternally,
                    format!("role {} is a member of {group}, and Freehold can't change that", name.as_str()),
                )
                .help(format!("let a superuser run: REVOKE {} FROM {name}", body::identifier(group)?)),
            ));
        }
    }
    Ok(())
}

/// # Errors
/// A role is another one than was recorded.
pub(super) fn check_identity(rows: &RoleRows, object: Option<&str>) -> Result<(), ProviderError> {
    let Some(recorded) = object else { return Ok(()) };
    let now = rows.object();
    let differs = recorded.split('/').zip(now.split('/')).any(|(then, now)| then != now && then != "0" && now != "0");
    if differs {
        return Err(ProviderError::from(
            Problem::new(
                Code::ChangedExternally,
                format!("the roles were recreated outside Freehold (oids {recorded}, now {now})"),
            )
            .help("deploy again to see what is there now, then destroy"),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::RoleRow;

    #[test]
    fn a_role_made_anew_by_somebody_else_is_noticed_and_a_missing_one_is_not_held_against_us() {
        let rows = |object: &str| {
            let oids: Vec<i64> = object.split('/').map(|oid| oid.parse().unwrap()).collect();
            let row = |oid: i64| {
                (oid != 0).then(|| RoleRow {
                    oid,
                    rolname: "r".to_owned(),
                    rolcanlogin: false,
                    rolconnlimit: -1,
                    rolbypassrls: false,
                    powers: Vec::new(),
                    comment: None,
                    memberships: Vec::new(),
                    settings: Vec::new(),
                    usable: true,
                })
            };
            RoleRows { owner: row(oids[0]), migrator: row(oids[1]), app: row(oids[2]), keeper: row(4), dumper: None }
        };
        assert!(check_identity(&rows("1/2/3"), Some("1/2/3")).is_ok());
        assert!(check_identity(&rows("1/2/0"), Some("1/2/3")).is_ok());
        assert!(check_identity(&rows("1/2/4"), Some("1/2/3")).is_err());
        assert!(check_identity(&rows("1/2/4"), None).is_ok());
    }
}
