//! What the server's catalogs say about roles and databases. Reads only.

use freehold_engine::ProviderError;
use freehold_graph::StackId;
use freehold_plan::observation::Ownership;

use crate::body::RoleNames;
use crate::failure::Doing;
use crate::mark::{Mark, PREFIX};
use crate::quote::Identifier;
use crate::row::from_row;
use crate::session::Session;

/// `datconnlimit` of a database whose `DROP DATABASE` was interrupted: only another one can follow.
pub(crate) const HALF_DROPPED: i32 = -2;

#[derive(Debug, Clone)]
pub(crate) struct RoleRow {
    pub(crate) oid: i64,
    pub(crate) rolname: String,
    pub(crate) rolcanlogin: bool,
    pub(crate) rolconnlimit: i32,
    pub(crate) rolbypassrls: bool,
    /// Attributes that none of our roles has.
    pub(crate) powers: Vec<String>,
    pub(crate) comment: Option<String>,
    /// The roles that it is a member of.
    pub(crate) memberships: Vec<String>,
    /// Its settings: `statement_timeout=30000`.
    pub(crate) settings: Vec<String>,
    /// Whether the provisioner may alter it and take its rights.
    pub(crate) usable: bool,
}

from_row!(RoleRow {
    oid,
    rolname,
    rolcanlogin,
    rolconnlimit,
    rolbypassrls,
    powers,
    comment,
    memberships,
    settings,
    usable
});

impl RoleRow {
    /// The roles of these names, as far as they exist.
    pub(crate) async fn named(
        session: &mut Session,
        names: &[&str],
        doing: &Doing,
    ) -> Result<Vec<Self>, ProviderError> {
        const SQL: &str = "
            SELECT r.oid::int8 AS oid, r.rolname::text AS rolname, r.rolcanlogin, r.rolconnlimit, r.rolbypassrls,
                array_remove(ARRAY[
                    CASE WHEN r.rolsuper THEN 'superuser' END, CASE WHEN r.rolcreaterole THEN 'createrole' END,
                    CASE WHEN r.rolcreatedb THEN 'createdb' END, CASE WHEN r.rolreplication THEN 'replication' END,
                    CASE WHEN r.rolvaliduntil < 'infinity' THEN 'valid until ' || r.rolvaliduntil END
                ], NULL) AS powers,
                shobj_description(r.oid, 'pg_authid') AS comment,
                ARRAY(SELECT DISTINCT g.rolname::text FROM pg_auth_members m JOIN pg_roles g ON g.oid = m.roleid
                      WHERE m.member = r.oid ORDER BY 1) AS memberships,
                -- A role makes its own, as many and as long as it likes.
                COALESCE((SELECT ARRAY(SELECT left(c, 200) FROM unnest(s.setconfig) c
                              ORDER BY split_part(c, '=', 1) <> ALL ('{role,statement_timeout,lock_timeout}') LIMIT 50)
                          FROM pg_db_role_setting s WHERE s.setrole = r.oid AND s.setdatabase = 0), '{}') AS settings,
                -- Up to 15, CREATEROLE is enough.
                pg_has_role(r.oid, 'MEMBER WITH ADMIN OPTION') OR (
                    current_setting('server_version_num')::int < 160000 AND me.rolcreaterole) AS usable
            FROM pg_roles r, pg_roles me WHERE r.rolname = ANY($1) AND me.rolname = CURRENT_USER";
        let rows = sqlx::query_as(SQL).bind(names.to_vec()).fetch_all(session.connection()).await;
        rows.map_err(|error| doing.failed(error))
    }

    pub(crate) fn mark(&self) -> Option<Mark> {
        Mark::parse(self.comment.as_deref()?)
    }

    pub(crate) fn setting(&self, name: &str) -> Option<&str> {
        self.settings.iter().find_map(|setting| setting.strip_prefix(name)?.strip_prefix('='))
    }

    fn ownership(&self, stack: StackId) -> Ownership {
        match self.mark() {
            Some(mark) if mark.stack == stack => Ownership::Ours,
            Some(mark) => Ownership::OtherStack(mark.stack),
            None => Ownership::Foreign(format!("role {} is unmanaged", self.rolname)),
        }
    }
}

/// The roles of a database, as far as they exist.
#[derive(Debug, Clone)]
pub(crate) struct RoleRows {
    pub(crate) owner: Option<RoleRow>,
    pub(crate) migrator: Option<RoleRow>,
    pub(crate) app: Option<RoleRow>,
    pub(crate) keeper: Option<RoleRow>,
    pub(crate) dumper: Option<RoleRow>,
}

impl RoleRows {
    pub(crate) async fn read(session: &mut Session, names: &RoleNames, doing: &Doing) -> Result<Self, ProviderError> {
        let rows = RoleRow::named(session, &names.all().map(Identifier::as_str), doing).await?;
        let find = |name: &Identifier| rows.iter().find(|row| row.rolname == name.as_str()).cloned();
        Ok(Self {
            owner: find(&names.owner),
            migrator: find(&names.migrator),
            app: find(&names.app),
            keeper: find(&names.keeper),
            dumper: find(&names.dumper),
        })
    }

    /// Those that exist.
    pub(crate) fn existing(&self) -> impl Iterator<Item = &RoleRow> {
        [&self.owner, &self.migrator, &self.app, &self.keeper, &self.dumper].into_iter().flatten()
    }

    /// The identity of the app's three together: their oids, 0 for one that doesn't exist. Those for Freehold's own use may be
    /// made anew at any time.
    pub(crate) fn object(&self) -> String {
        let oid = |row: &Option<RoleRow>| row.as_ref().map_or(0, |row| row.oid);
        format!("{}/{}/{}", oid(&self.owner), oid(&self.migrator), oid(&self.app))
    }

    /// Ours only if each of them is.
    pub(crate) fn ownership(&self, stack: StackId) -> Ownership {
        let mut all = Ownership::Ours;
        for row in self.existing() {
            match row.ownership(stack) {
                foreign @ Ownership::Foreign(_) => return foreign,
                other @ Ownership::OtherStack(_) => all = other,
                Ownership::Ours => {}
            }
        }
        all
    }
}

#[derive(Debug, Clone)]
pub(crate) struct DatabaseRow {
    pub(crate) oid: i64,
    pub(crate) connection_limit: i32,
    pub(crate) allows_connections: bool,
    pub(crate) owner: String,
    owner_comment: Option<String>,
    /// Who may connect by a grant, PUBLIC apart.
    pub(crate) connect: Vec<String>,
    /// Who may make temporary tables, in the same way.
    pub(crate) temporary: Vec<String>,
    /// What PUBLIC may: `CONNECT`, `TEMPORARY`.
    pub(crate) public: Vec<String>,
    /// `UTF8`
    pub(crate) encoding: String,
    /// As bodies say it: `en_US.UTF-8`, `icu:de-AT`.
    pub(crate) collation: String,
}

from_row!(DatabaseRow {
    oid,
    connection_limit,
    allows_connections,
    owner,
    owner_comment,
    connect,
    temporary,
    public,
    encoding,
    collation
});

impl DatabaseRow {
    pub(crate) async fn read(
        session: &mut Session,
        name: &Identifier,
        doing: &Doing,
    ) -> Result<Option<Self>, ProviderError> {
        const SQL: &str = "
            SELECT d.oid::int8 AS oid, d.datconnlimit AS connection_limit, d.datallowconn AS allows_connections, o.rolname::text AS owner,
                shobj_description(d.datdba, 'pg_authid') AS owner_comment,
                ARRAY(SELECT DISTINCT g.rolname::text
                      FROM aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) a JOIN pg_roles g ON g.oid = a.grantee
                      WHERE a.privilege_type = 'CONNECT' ORDER BY 1) AS connect,
                ARRAY(SELECT DISTINCT g.rolname::text
                      FROM aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) a JOIN pg_roles g ON g.oid = a.grantee
                      WHERE a.privilege_type = 'TEMPORARY' ORDER BY 1) AS temporary,
                ARRAY(SELECT a.privilege_type FROM aclexplode(COALESCE(d.datacl, acldefault('d', d.datdba))) a
                      WHERE a.grantee = 0 ORDER BY 1) AS public,
                pg_encoding_to_char(d.encoding)::text AS encoding,
                -- `daticulocale` up to 16, `datlocale` since 17.
                CASE d.datlocprovider
                    WHEN 'c' THEN d.datcollate::text
                    WHEN 'i' THEN 'icu:' || COALESCE(to_jsonb(d) ->> 'datlocale', to_jsonb(d) ->> 'daticulocale', '')
                    ELSE 'builtin:' || COALESCE(to_jsonb(d) ->> 'datlocale', '')
                END AS collation
            FROM pg_database d JOIN pg_roles o ON o.oid = d.datdba WHERE d.datname = $1";
        let row = sqlx::query_as(SQL).bind(name.as_str()).fetch_optional(session.connection()).await;
        row.map_err(|error| doing.failed(error))
    }

    /// The mark of the owner's role, which nobody but a role with CREATEROLE can write. The database's own comment says
    /// nothing: its owner may write there what they like.
    pub(crate) fn mark(&self) -> Option<Mark> {
        Mark::parse(self.owner_comment.as_deref()?)
    }

    pub(crate) fn ownership(&self, stack: StackId) -> Ownership {
        match self.mark() {
            Some(mark) if mark.stack == stack => Ownership::Ours,
            Some(mark) => Ownership::OtherStack(mark.stack),
            None => Ownership::Foreign(format!("owned by role {}, without an ownership label of Freehold", self.owner)),
        }
    }

    pub(crate) fn is_half_dropped(&self) -> bool {
        self.connection_limit == HALF_DROPPED
    }
}

/// Something with a mark: what kind of thing, its name, its comment.
#[derive(Debug)]
pub(crate) struct MarkedRow {
    pub(crate) kind: String,
    pub(crate) name: String,
    pub(crate) comment: String,
    /// The limit of connections, for roles that log in.
    pub(crate) connections: Option<i32>,
}

from_row!(MarkedRow { kind, name, comment, connections });

/// All roles of the server that bear a mark of any stack, and the databases that such a role owns.
pub(crate) async fn marked(session: &mut Session, doing: &Doing) -> Result<Vec<MarkedRow>, ProviderError> {
    const SQL: &str = "
        WITH roles AS (
            SELECT r.oid, r.rolname::text AS name, c.description AS comment,
                CASE WHEN r.rolcanlogin THEN r.rolconnlimit END AS connections
            -- Instead of shobj_description(), which is a query for each role.
            FROM pg_roles r JOIN pg_shdescription c ON c.objoid = r.oid AND c.classoid = 'pg_authid'::regclass
            WHERE c.description LIKE $1
        )
        SELECT 'role' AS kind, name, comment, connections FROM roles
        UNION ALL
        SELECT 'database', d.datname::text, r.comment, NULL
        FROM pg_database d JOIN roles r ON r.oid = d.datdba";
    let rows = sqlx::query_as(SQL).bind(format!("{PREFIX}%")).fetch_all(session.connection()).await;
    rows.map_err(|error| doing.failed(error))
}
