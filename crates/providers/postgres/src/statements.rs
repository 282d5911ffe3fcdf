//! The statements that make a stack's database, open it and drop it.

use crate::body::RoleNames;
use crate::catalog::DatabaseRow;
use crate::mark::Mark;
use crate::origin::Origin;
use crate::quote::{Identifier, Literal};

pub(crate) fn create_statement(name: &Identifier, owner: &Identifier, origin: &Origin) -> String {
    format!("CREATE DATABASE {name} OWNER {owner} {} CONNECTION LIMIT 0", origin.options())
}

pub(crate) fn drop_statement(name: &Identifier) -> String {
    format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")
}

/// Creates a database that belongs to the owner and that nobody but Freehold's own logins can use.
pub(crate) fn private_statements(name: &Identifier, names: &RoleNames, origin: &Origin) -> [String; 2] {
    let open = format!("REVOKE ALL ON DATABASE {name} FROM PUBLIC;\n{}", admit_statements(name, names));
    [create_statement(name, &names.owner, origin), open]
}

/// Lets Freehold's own logins in, whatever the owner has done to the database.
pub(crate) fn admit_statements(name: &Identifier, names: &RoleNames) -> String {
    format!(
        "GRANT CONNECT ON DATABASE {name} TO {}, {};\n\
         ALTER DATABASE {name} CONNECTION LIMIT -1 ALLOW_CONNECTIONS true;\n",
        names.keeper, names.dumper
    )
}

/// One transaction that sets the rights, marks the database and opens it.
pub(crate) fn open_statements(
    name: &Identifier,
    names: &RoleNames,
    before: Option<&DatabaseRow>,
    mark: &Mark,
) -> String {
    let RoleNames { owner, migrator, app, .. } = names;
    let given_away = before.is_some_and(|row| row.owner != owner.as_str());
    let take_back = if given_away { format!("ALTER DATABASE {name} OWNER TO {owner};\n") } else { String::new() };
    format!(
        "{take_back}REVOKE ALL ON DATABASE {name} FROM PUBLIC;\n\
         GRANT CONNECT, TEMPORARY ON DATABASE {name} TO {migrator}, {app};\n\
         COMMENT ON DATABASE {name} IS {};\n{}",
        Literal(&mark.to_string()),
        admit_statements(name, names)
    )
}
