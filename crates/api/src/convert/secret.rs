//! Secrets and credentials.

use freehold::wire;
use freehold_platform::view::{DatabaseCredentials, SecretState, SecretView};

use super::IntoWire;

impl IntoWire for SecretView {
    type Wire = wire::SecretStatus;

    fn into_wire(self) -> wire::SecretStatus {
        let Self { name, version, state, set_at, readers } = self;
        let state = match state {
            SecretState::Generated => wire::SecretState::Generated,
            SecretState::Set => wire::SecretState::Set,
            SecretState::Missing => wire::SecretState::Missing,
        };
        wire::SecretStatus { name, version, state, set_at, readers }
    }
}

impl IntoWire for DatabaseCredentials {
    type Wire = wire::DatabaseAccess;

    fn into_wire(self) -> wire::DatabaseAccess {
        let Self { host, port, database, user, password } = self;
        wire::DatabaseAccess { host, port, database, user, password: password.reveal().to_owned() }
    }
}
