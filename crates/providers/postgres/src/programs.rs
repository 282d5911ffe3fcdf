//! PostgreSQL's programs, as dumps need them.

use freehold_engine::ProviderError;
use freehold_problem::Code;

use crate::failure::Doing;
use crate::options::PostgresOptions;
use crate::server::Binaries;
use crate::session::Session;

/// The programs, if they are there and as new as the server: an older `pg_dump` refuses.
pub(crate) async fn programs<'a>(
    options: &'a PostgresOptions,
    session: &mut Session,
    doing: &Doing,
) -> Result<&'a Binaries, ProviderError> {
    let Some(binaries) = &options.binaries else {
        return Err(without(ProviderError::rejected(
            Code::PostgresNotFound,
            format!("{}: there is no pg_dump on this machine", doing.0),
        )));
    };
    let number: i32 = sqlx::query_scalar("SELECT current_setting('server_version_num')::int")
        .fetch_one(session.connection())
        .await
        .map_err(|error| doing.failed(error))?;
    let (server, version) = (u32::try_from(number / 10_000).unwrap_or_default(), binaries.version());
    if server > version.major {
        let message = format!("{}: the server is PostgreSQL {server}, and pg_dump is only {version}", doing.0);
        return Err(without(ProviderError::rejected(Code::PostgresTooOld, message)));
    }
    Ok(binaries)
}

/// There is a way without dumps, if somebody wants it.
fn without(error: ProviderError) -> ProviderError {
    match error {
        ProviderError::Rejected(problem) => {
            let help = "install PostgreSQL's programs where Freehold runs; or, if the data isn't needed: --no-dump";
            problem.help(help).into()
        }
        other => other,
    }
}
