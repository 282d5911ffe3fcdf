//! How the systems of a target are reached, from what its operator has given.

use freehold_graph::SecretText;
use freehold_problem::{Code, Problem};
use freehold_provider_kubernetes::Access;
use sqlx::postgres::PgConnectOptions;

pub(super) type Result<T, E = Problem> = std::result::Result<T, E>;

/// How a cluster is reached: with its kubeconfig, else as a Pod of it.
pub(super) fn access(kubeconfig: Option<SecretText>) -> Access {
    kubeconfig.map_or(Access::InCluster, Access::Kubeconfig)
}

/// Reads a database server's URL. It isn't repeated, for it may hold a password.
pub(super) fn database_url(url: &SecretText) -> Result<PgConnectOptions> {
    let plain = ["postgres://", "postgresql://"].iter().any(|scheme| url.reveal().starts_with(scheme));
    let options = if plain { url.reveal().parse::<PgConnectOptions>().ok() } else { None };
    options.ok_or_else(|| {
        Problem::new(Code::TargetDatabase, "the database URL can't be read")
            .help("it looks like postgresql://user:password@host:5432/postgres")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_url_of_postgresql_is_one() {
        assert!(database_url(&SecretText::new("postgresql://ada:x@127.0.0.1:5432/postgres")).is_ok());
        for text in ["", "ada", "mysql://ada:x@h/d", "https://h"] {
            let refusal = database_url(&SecretText::new(text)).unwrap_err();
            assert_eq!(refusal.code, Code::TargetDatabase, "{text}");
            assert!(text.is_empty() || !refusal.message.contains(text));
        }
    }
}
