//! Where programs reach databases and services, and how their URLs say it.
//!
//! A password stands encoded in a URL. Freehold derives passwords, whose characters mean nothing in any of the forms; of a database
//! that an operator of the cluster makes, only the cluster knows the password, and [`super::kubernetes`] puts it into its place.

use std::net::Ipv4Addr;

use freehold_spec::Name;
use freehold_spec::part::database::{Connection, Role};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use super::error::ExpandError;
use super::names;
use super::references::Resolver;
use crate::target::{Authority, PostgresServer, ServerTls, Target};
use crate::value::Value;

/// The port of a URL that names none.
pub(crate) const HTTP: u16 = 80;
/// PostgreSQL in a Pod of CloudNativePG.
pub(crate) const POSTGRES: u16 = 5432;

impl Resolver<'_> {
    /// The host and the port at which the services of the stack reach one of them.
    pub(crate) fn service_address(&mut self, name: &Name) -> (String, u16) {
        self.endpoints.insert(name.clone());
        match self.target {
            Target::Local(_) => {
                let endpoint = names::endpoint(self.request.id, name);
                (endpoint.ip().to_string(), endpoint.port())
            }
            // Its Service, in the same namespace.
            Target::Kubernetes(_) => (name.to_string(), self.service_port(name)),
        }
    }

    /// The host and the port at which the services of the stack reach a named port of one of them.
    pub(crate) fn port_address(&mut self, service: &Name, port: &Name, number: u16) -> (String, u16) {
        self.named_endpoints.insert((service.clone(), port.clone()));
        match self.target {
            Target::Local(_) => {
                let endpoint = names::port_endpoint(self.request.id, service, port);
                (endpoint.ip().to_string(), endpoint.port())
            }
            Target::Kubernetes(_) => (service.to_string(), number),
        }
    }

    /// The port of a service. One without is reported elsewhere.
    pub(crate) fn service_port(&self, name: &Name) -> u16 {
        let service = self.app.services.get(name);
        service.and_then(|service| service.port.as_ref()).map_or(HTTP, |port| port.value)
    }

    /// libpq's `sslmode` of a database's connections, and the file with the authority that its certificate is from.
    pub(crate) fn tls_to(&self, database: &Name) -> (&'static str, Option<String>) {
        let file = |authority: &Authority| {
            Some(match authority {
                Authority::Pem(_) => ca_file(database),
                Authority::File(file) => file.clone(),
            })
        };
        let Some(server) = self.server_of(database) else { return (VERIFY_FULL, Some(ca_file(database))) };
        match &server.tls {
            Some(ServerTls::Disable) => ("disable", None),
            Some(ServerTls::Require) => ("require", None),
            Some(ServerTls::VerifyCa(authority)) => ("verify-ca", file(authority)),
            Some(ServerTls::VerifyFull(authority)) => (VERIFY_FULL, file(authority)),
            None if server.is_socket() => ("disable", None),
            None => ("prefer", None),
        }
    }

    /// What URLs say of TLS. Nothing of a server of whose TLS nothing is known: a driver does what it does by default.
    pub(crate) fn tls_parameters(&self, database: &Name) -> Vec<(&'static str, String)> {
        if self.server_of(database).is_some_and(|server| server.tls.is_none()) {
            return Vec::new();
        }
        let (mode, file) = self.tls_to(database);
        let file = file.map(|file| ("sslrootcert", file));
        [("sslmode", mode.to_owned())].into_iter().chain(file).collect()
    }

    /// How a role connects to a database.
    pub(crate) fn connection(&mut self, from: &str, database: &Name, role: Role, what: Connection) -> Vec<Value> {
        let Some(server) = self.server_of(database) else {
            return self.operators_connection(from, database, role, what);
        };
        let text = |text: String| vec![Value::text(text)];
        match what {
            Connection::Host => text(server.host.clone()),
            Connection::Port => text(server.port.to_string()),
            Connection::User => text(self.login(database, role.as_str())),
            Connection::Password => vec![Value::secret(self.credential(database, role.as_str()))],
            Connection::Url => self.url(server, database, role),
            Connection::JdbcUrl => self.jdbc_url(from, server, database, role),
            Connection::KeywordUrl => self.keyword_url(server, database, role),
        }
    }

    /// What is known of a database that an operator of the cluster makes: all but its password.
    fn operators_connection(&mut self, from: &str, database: &Name, role: Role, what: Connection) -> Vec<Value> {
        match what {
            Connection::Host => vec![Value::text(self.operators_host(database, role))],
            Connection::Port => vec![Value::text(POSTGRES.to_string())],
            Connection::User => vec![Value::text(self.operators_role(database))],
            Connection::Password | Connection::Url | Connection::JdbcUrl | Connection::KeywordUrl => {
                let to = format!("the password of database.{database}");
                self.errors.push(ExpandError::OnlyInVariables { from: from.to_owned(), to });
                Vec::new()
            }
        }
    }

    /// The one role of a database that an operator makes.
    pub(crate) fn operators_role(&self, database: &Name) -> String {
        names::role(&self.request.key, database, Role::App.as_str())
    }

    /// Where it is reached: the app through its pooler, if it has one; migrations never.
    pub(crate) fn operators_host(&self, database: &Name, role: Role) -> String {
        let pooled = self.app.databases.get(database).is_some_and(|one| one.server.pooler.is_some());
        match role {
            Role::App if pooled => names::pooler(database),
            Role::App | Role::Migrator => writable_host(database),
        }
    }

    fn url(&self, server: &PostgresServer, database: &Name, role: Role) -> Vec<Value> {
        let user = self.login(database, role.as_str());
        let name = names::database(&self.request.key, database);
        let password = Value::secret(self.credential(database, role.as_str()));
        if server.is_socket() {
            let folder = in_query(&server.host);
            let before = format!("postgresql:///{name}?host={folder}&port={}&user={user}&password=", server.port);
            return vec![Value::text(before), password];
        }
        let query = query('?', self.tls_parameters(database));
        vec![
            Value::text(format!("postgresql://{user}:")),
            password,
            Value::text(format!("@{}:{}/{name}{query}", in_url(&server.host), server.port)),
        ]
    }

    /// JDBC knows no sockets.
    fn jdbc_url(&mut self, from: &str, server: &PostgresServer, database: &Name, role: Role) -> Vec<Value> {
        let host = match server.is_socket() {
            false => in_url(&server.host),
            true if server.loopback => Ipv4Addr::LOCALHOST.to_string(),
            true => {
                let (from, port) = (from.to_owned(), server.port);
                self.errors.push(ExpandError::NoLoopback { from, port });
                return Vec::new();
            }
        };
        let user = self.login(database, role.as_str());
        let name = names::database(&self.request.key, database);
        let before = format!("jdbc:postgresql://{host}:{}/{name}?user={user}&password=", server.port);
        let after = query('&', self.tls_parameters(database));
        vec![Value::text(before), Value::secret(self.credential(database, role.as_str())), Value::text(after)]
    }

    fn keyword_url(&self, server: &PostgresServer, database: &Name, role: Role) -> Vec<Value> {
        let user = self.login(database, role.as_str());
        let before = self.keywords(&server.host, server.port, database, &user);
        let after = keywords(self.tls_parameters(database));
        vec![
            Value::text(format!("{before} password=")),
            Value::secret(self.credential(database, role.as_str())),
            Value::text(after),
        ]
    }

    /// `host=db.example.org port=5432 dbname=acme__guestbook user=acme__guestbook__app`
    pub(crate) fn keywords(&self, host: &str, port: u16, database: &Name, user: &str) -> String {
        let name = names::database(&self.request.key, database);
        format!("host={} port={port} dbname={name} user={user}", quoted(host))
    }
}

const VERIFY_FULL: &str = "verify-full";

/// Where a container finds the authority that a database's certificate is from.
pub(crate) fn ca_file(database: &Name) -> String {
    format!("{}/ca.crt", ca_folder(database))
}

/// The folder of that file.
pub(crate) fn ca_folder(database: &Name) -> String {
    format!("/etc/freehold/database/{database}")
}

/// The Service at which a database that CloudNativePG makes can be written to. Its certificate is for this name, too.
pub(crate) fn writable_host(database: &Name) -> String {
    format!("{database}-rw")
}

/// `?sslmode=require&sslrootcert=/etc/ca.crt`, beginning as asked; empty if there is nothing to say.
pub(crate) fn query(begin: char, parameters: Vec<(&'static str, String)>) -> String {
    let pairs: Vec<String> =
        parameters.into_iter().map(|(name, value)| format!("{name}={}", in_query(&value))).collect();
    if pairs.is_empty() { String::new() } else { format!("{begin}{}", pairs.join("&")) }
}

/// The same as keywords of libpq, each with a space before it.
pub(crate) fn keywords(parameters: Vec<(&'static str, String)>) -> String {
    parameters.into_iter().map(|(name, value)| format!(" {name}={}", quoted(&value))).collect()
}

/// A host in a URL: addresses of IPv6 stand in brackets.
fn in_url(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() }
}

/// A value of libpq's keywords: in quotes if there is anything in it that would end it.
fn quoted(value: &str) -> String {
    let plain = |c: char| !c.is_whitespace() && !matches!(c, '\'' | '\\');
    if !value.is_empty() && value.chars().all(plain) {
        return value.to_owned();
    }
    format!("'{}'", value.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A path as a value in a URL's query. Of the forms of a URL that leads to a socket, the one with all in its query is what libpq
/// (psycopg, Ruby, PHP), sqlx, tokio-postgres, node-postgres, pgx and asyncpg take alike: an address without a host but with a user
/// before it is no URL to sqlx, and an encoded path in the host's place none to pgx.
fn in_query(path: &str) -> String {
    utf8_percent_encode(path, QUERY_VALUE).to_string()
}

/// What is encoded in the value of a query: all but RFC 3986's unreserved characters and slashes.
const QUERY_VALUE: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_means_something_in_a_query_is_encoded_in_a_path() {
        assert_eq!(in_query("/var/lib/freehold-1/postgres"), "/var/lib/freehold-1/postgres");
        assert_eq!(in_query("/a b/c+d&e=f%/ü"), "/a%20b/c%2Bd%26e%3Df%25/%C3%BC");
    }

    #[test]
    fn a_value_that_would_end_a_keyword_is_quoted() {
        assert_eq!(quoted("/var/lib/postgres"), "/var/lib/postgres");
        assert_eq!(quoted(""), "''");
        assert_eq!(quoted("/a b/c'd\\e"), "'/a b/c\\'d\\\\e'");
    }

    #[test]
    fn an_address_of_ipv6_stands_in_brackets() {
        assert_eq!(in_url("fd00::5"), "[fd00::5]");
        assert_eq!(in_url("db.example.org"), "db.example.org");
    }
}
