//! URLs of PostgreSQL servers: from where nobody else on the machine reads them, and what can be told of them without a connection.

use std::collections::BTreeMap;
use std::path::Path;

use freehold_problem::Code;
use freehold_spec::Name;

use crate::arguments::UpArguments;
use crate::report::{CommandError, CommandResult};
use crate::terminal::Terminal;

/// Where the URL of the platform's own server may be given, since an argument can be read by everybody on the machine.
pub(crate) const VARIABLE: &str = "FREEHOLD_DATABASE_URL";

/// The URL in a file, else in the environment; `None` if neither has one.
pub(crate) fn given(file: Option<&Path>) -> CommandResult<Option<String>> {
    let url = match file {
        Some(file) => std::fs::read_to_string(file).map_err(|error| {
            let detail = format!("the database's URL can't be read from {}: {error}", file.display());
            CommandError::new(Code::BadRequest, detail)
                .help("the file holds one line: postgresql://user:password@host:5432/postgres")
        })?,
        None => std::env::var(VARIABLE).unwrap_or_default(),
    };
    let url = url.trim();
    match file.filter(|_| url.is_empty()) {
        Some(file) => {
            Err(CommandError::new(Code::BadRequest, format!("{} is empty, not the database's URL", file.display())))
        }
        None => Ok(Some(url.to_owned()).filter(|url| !url.is_empty())),
    }
}

/// The server that the platform is to use instead of a private one: by its option, else by [`given`].
pub(crate) fn of_platform(arguments: &UpArguments) -> CommandResult<Option<String>> {
    match arguments.database_url.clone().filter(|url| !url.is_empty()) {
        None => given(arguments.database_url_file.as_deref()),
        url => Ok(url),
    }
}

/// The other servers for databases, with the URL of each.
pub(crate) fn of_others(arguments: &UpArguments) -> CommandResult<BTreeMap<Name, String>> {
    let mut servers = BTreeMap::new();
    for server in &arguments.database_server {
        let url = given(Some(&server.file))?.unwrap_or_default();
        if servers.insert(server.name.clone(), url).is_some() {
            let detail = format!("--database-server names {} twice", server.name);
            return Err(CommandError::new(Code::BadRequest, detail).help("give each server a name of its own"));
        }
    }
    Ok(servers)
}

/// Arguments can be read by everybody on the machine for as long as the process lives.
pub(crate) fn warn_of_password(terminal: Terminal, arguments: &UpArguments) {
    if arguments.database_url.as_deref().is_some_and(has_password) {
        terminal.say(
            "warning: everybody on this machine can read the password in --database-url. FREEHOLD_DATABASE_URL or \
             --database-url-file keep it to yourself.",
        );
    }
}

/// Whether there is a password in it.
pub(crate) fn has_password(url: &str) -> bool {
    authority(url).and_then(|authority| authority.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':'))
        || url.contains("password=")
}

/// A host in it that is another one for every machine, so that Pods don't reach the server there.
pub(crate) fn loopback(url: &str) -> Option<String> {
    let authority = authority(url)?;
    let hosts = authority.rsplit_once('@').map_or(authority, |(_, hosts)| hosts);
    let query = url.split_once('?').map_or("", |(_, query)| query);
    // What is named in the query is used instead of what stands before it.
    let named = query.split('&').filter_map(|part| part.strip_prefix("host=").or(part.strip_prefix("hostaddr=")));
    let named: Vec<&str> = named.filter(|host| !host.is_empty()).collect();
    let hosts = if named.is_empty() { hosts.split(',').map(without_port).collect() } else { named };
    let mut hosts = hosts.into_iter().filter(|host| !host.is_empty()).peekable();
    if hosts.peek().is_none() {
        return Some("a socket of its own machine".to_owned());
    }
    hosts.find(|host| is_loopback(host)).map(str::to_owned)
}

/// What stands between `//` and the path.
fn authority(url: &str) -> Option<&str> {
    url.split_once("://")?.1.split(['/', '?']).next()
}

fn without_port(host: &str) -> &str {
    match host.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    }
}

fn is_loopback(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let address = host.parse::<std::net::IpAddr>();
    let is_socket = host.starts_with('/') || host.starts_with("%2f");
    is_socket
        || host == "localhost"
        || host.ends_with(".localhost")
        || address.is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_pods_would_look_for_in_themselves_is_known_by_its_url() {
        for url in [
            "postgres://localhost/freehold",
            "postgresql://ada:love@127.0.0.1:5432/freehold",
            "postgresql://ada@[::1]:5432/freehold",
            "postgresql://db.example.org,localhost/freehold",
            "postgresql:///freehold",
            "postgresql:///freehold?host=/run/postgresql",
            "postgresql://ada@%2Frun%2Fpostgresql/freehold",
        ] {
            assert!(loopback(url).is_some(), "{url}");
        }
        for url in [
            "postgresql://ada:love@db.example.org:5432/freehold",
            "postgresql://10.0.0.5/freehold?sslmode=require",
            "postgresql://postgres.databases.svc/localhost",
            "postgresql:///freehold?host=db.example.org",
        ] {
            assert_eq!(loopback(url), None, "{url}");
        }
    }

    #[test]
    fn a_password_is_seen_wherever_it_stands() {
        assert!(has_password("postgresql://ada:love@db/freehold"));
        assert!(has_password("postgresql://ada@db/freehold?password=love"));
        assert!(!has_password("postgresql://ada@db:5432/freehold"));
    }
}
