//! Who asks. The first argument of everything that callers can ask for: it decides whose rows are seen and what may be done, and the audit
//! log is told of it. Ways in make it from what a caller shows; nothing in here makes one for a caller.

use std::collections::BTreeSet;
use std::fmt;

use crate::Result;
use freehold_problem::{Code, Problem};
use freehold_store::{Access, PLATFORM, TenantId};
use uuid::Uuid;

/// Who asks, what they may do, for whom, and in which request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    who: Who,
    scopes: BTreeSet<Scope>,
    request: Uuid,
    on_behalf_of: Option<String>,
}

/// On whose authority something is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Who {
    /// Whoever holds the installation's token.
    Operator,
    /// Somebody who may know of one tenant's stacks.
    Tenant {
        /// The tenant whose stacks those are.
        tenant: TenantId,
        /// The key that was shown, by its name.
        key: String,
    },
    /// A part of the platform itself.
    System(&'static str),
}

/// What may be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Scope {
    /// Look at stacks, operations and logs.
    Read,
    /// Plan, apply, destroy, cancel.
    Deploy,
    /// Set and rotate secrets, and be lent a database.
    Secrets,
    /// Add, change and remove targets, and look over the whole platform. Only operators have it.
    Targets,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Read, Self::Deploy, Self::Secrets, Self::Targets];
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Read => "read",
            Self::Deploy => "deploy",
            Self::Secrets => "secrets",
            Self::Targets => "targets",
        })
    }
}

impl Actor {
    fn new(who: Who, scopes: impl IntoIterator<Item = Scope>) -> Self {
        Self { who, scopes: scopes.into_iter().collect(), request: Uuid::new_v4(), on_behalf_of: None }
    }

    /// Whoever holds the installation's token: may do everything.
    pub fn operator() -> Self {
        Self::new(Who::Operator, Scope::ALL)
    }

    /// Somebody with a key to one tenant's stacks. [`Scope::Targets`] is of the whole platform: no tenant has it.
    pub fn tenant(tenant: TenantId, key: impl Into<String>, scopes: impl IntoIterator<Item = Scope>) -> Self {
        let scopes = scopes.into_iter().filter(|scope| *scope != Scope::Targets);
        Self::new(Who::Tenant { tenant, key: key.into() }, scopes)
    }

    /// A part of the platform, where nobody has asked.
    pub(crate) fn system(part: &'static str) -> Self {
        Self::new(Who::System(part), Scope::ALL)
    }

    /// For somebody else: a person, by whatever name the one who asks knows them.
    #[must_use]
    pub fn on_behalf_of(self, whom: impl Into<String>) -> Self {
        Self { on_behalf_of: Some(whom.into()), ..self }
    }

    /// In which request, for logs.
    pub fn request(&self) -> Uuid {
        self.request
    }

    /// Whose rows are seen.
    pub(crate) fn access(&self) -> Access {
        match &self.who {
            Who::Operator | Who::System(_) => Access::AllTenants,
            Who::Tenant { tenant, .. } => Access::Tenant(*tenant),
        }
    }

    /// Whether the actor may learn that this tenant exists.
    pub(crate) fn can_see(&self, tenant: TenantId) -> bool {
        match &self.who {
            Who::Operator | Who::System(_) => true,
            Who::Tenant { tenant: own, .. } => *own == tenant,
        }
    }

    /// Whether a tenant comes into being where one is named that there isn't yet.
    pub(crate) fn may_make_tenants(&self) -> bool {
        matches!(self.who, Who::Operator)
    }

    /// Whose idempotency keys: two tenants' keys of the same text are two keys.
    pub(crate) fn key_space(&self) -> TenantId {
        match &self.who {
            Who::Operator | Who::System(_) => PLATFORM,
            Who::Tenant { tenant, .. } => *tenant,
        }
    }

    /// An idempotency key as it is kept with an operation: nobody's key is another's, though their texts be the same.
    pub(crate) fn key(&self, given: &str) -> String {
        match &self.who {
            // What could be somebody else's is marked as an operator's. All others stay as earlier releases have kept them: a request that
            // is made again while replicas are replaced is still known.
            Who::Operator | Who::System(_) if ["tenant:", "operator:"].iter().any(|of| given.starts_with(of)) => {
                format!("operator:{given}")
            }
            Who::Operator | Who::System(_) => given.to_owned(),
            Who::Tenant { tenant, .. } => format!("tenant:{tenant}:{given}"),
        }
    }

    /// What the audit log is told: `operator`, `tenant 3f…/ci for ada`.
    pub fn audited(&self) -> String {
        let who = match &self.who {
            Who::Operator => "operator".to_owned(),
            Who::Tenant { tenant, key } => format!("tenant {tenant}/{key}"),
            Who::System(part) => format!("platform/{part}"),
        };
        self.on_behalf_of.iter().fold(who, |who, whom| format!("{who} for {whom}"))
    }

    /// # Errors
    /// FH1021 if the actor lacks the scope.
    pub(crate) fn require(&self, scope: Scope) -> Result<()> {
        if self.scopes.contains(&scope) {
            return Ok(());
        }
        Err(Problem::new(Code::Forbidden, format!("{} lacks the scope {scope}", self.audited())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operator_may_do_everything_and_a_key_what_it_was_given_for_one_tenant() {
        let (own, other) = (TenantId(Uuid::new_v4()), TenantId(Uuid::new_v4()));
        let operator = Actor::operator();
        assert!(Scope::ALL.iter().all(|scope| operator.require(*scope).is_ok()));
        assert!(operator.can_see(own) && operator.can_see(other));
        let key = Actor::tenant(own, "ci", [Scope::Read]).on_behalf_of("ada");
        assert!(key.require(Scope::Read).is_ok() && key.can_see(own) && !key.can_see(other));
        assert_eq!(key.require(Scope::Deploy).unwrap_err().code, Code::Forbidden);
        assert_eq!(key.audited(), format!("tenant {own}/ci for ada"));
        assert_eq!((key.key_space(), operator.key_space()), (own, PLATFORM));
    }

    #[test]
    fn no_idempotency_key_of_an_operator_is_a_tenants() {
        let (own, other) = (TenantId(Uuid::new_v4()), TenantId(Uuid::new_v4()));
        let [operator, one, another] =
            [Actor::operator(), Actor::tenant(own, "ci", []), Actor::tenant(other, "ci", [])];
        let given = ["x", &format!("tenant:{own}:x"), &format!("operator:tenant:{own}:x"), "operator:x"];
        let kept: BTreeSet<String> =
            [&operator, &one, &another].iter().flat_map(|actor| given.map(|given| actor.key(given))).collect();
        assert_eq!(kept.len(), 12, "{kept:?}");
        assert_eq!(operator.key("x"), "x", "as earlier releases keep it");
    }
}
