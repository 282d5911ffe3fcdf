//! What can be written about secrets.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::OneStack;

#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    /// Set a secret; its value is read from stdin. The stack need not exist yet.
    Set(SetSecret),
    /// Set the secrets that a file has, all of them or none.
    Import(ImportSecrets),
    /// List the secrets, without their values.
    List(OneStack),
    /// Give a generated secret, or a database's credentials (database.main), a new value.
    Rotate(SecretName),
}

#[derive(Debug, Args)]
pub(crate) struct SetSecret {
    #[command(flatten)]
    pub secret: SecretName,
    /// Also if the definition has no such secret, or the value is a placeholder, or a key for tests where production runs.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ImportSecrets {
    /// A file with NAME=VALUE lines (dotenv), or a JSON object; - for stdin.
    pub file: PathBuf,
    #[command(flatten)]
    pub stack: OneStack,
    /// Leave out what the definition has no secret for.
    #[arg(long)]
    pub known_only: bool,
    /// Also placeholders, and keys for tests where production runs.
    #[arg(long)]
    pub force: bool,
}

#[derive(Debug, Args)]
pub(crate) struct SecretName {
    /// The secret's name.
    pub name: String,
    #[command(flatten)]
    pub stack: OneStack,
}
