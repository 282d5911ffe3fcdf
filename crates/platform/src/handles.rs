//! What a request names besides its stack: objects to adopt, data that may be deleted. A name that fits nothing is a mistake to hear of.

use std::collections::BTreeSet;

use crate::Result;
use freehold_check::Diagnostic;
use freehold_graph::{Graph, Resource, StackKey};
use freehold_problem::{Code, Problem};

/// Refuses objects to adopt that the definition doesn't ask for. Of data that may be deleted and isn't there it only warns: with the same
/// request it may have been deleted before.
pub(super) fn check(
    adopt: &BTreeSet<String>,
    delete_data: &BTreeSet<String>,
    key: &StackKey,
    graph: &Graph,
    recorded: &[Resource],
) -> Result<Vec<Diagnostic>> {
    let objects: BTreeSet<String> =
        graph.resources.values().map(|resource| format!("{}/{}", resource.kind.word(), resource.identity)).collect();
    if let Some(wrong) = adopt.iter().find(|handle| !objects.contains(*handle)) {
        let message = format!("--adopt {wrong} matches no resource of {key}; nothing was changed");
        let help = match freehold_spec::nearest(wrong, objects.iter().map(String::as_str)) {
            Some(near) => format!("did you mean {near}?"),
            None => "it is written like database/acme__guestbook or deployment/acme--guestbook/web; the plan names the object"
                .to_owned(),
        };
        return Err(Problem::new(Code::UnknownHandle, message).help(help));
    }
    let all = || graph.resources.values().chain(recorded);
    let with_data = all().filter(|resource| resource.kind.holds_data());
    let with_data = with_data.flat_map(|resource| [resource.id.0.as_str(), resource.id.name()]);
    let sealed = all().filter(|resource| resource.kind.is_sealed());
    let with_data: Vec<&str> = with_data.chain(sealed.map(|sealed| sealed.id.0.as_str())).collect();
    let unknown = delete_data.iter().filter(|name| !with_data.contains(&name.as_str()));
    let warnings = unknown.map(|name| {
        let message = format!("--delete-data {name} matches no data of {key}");
        let warning = Diagnostic::warning(Code::UnknownHandle, message);
        match freehold_spec::nearest(name, with_data.iter().copied()) {
            Some(near) => warning.help(format!("did you mean {near}?")),
            None => warning,
        }
    });
    Ok(warnings.collect())
}

#[cfg(test)]
mod tests {
    use freehold_graph::{ResourceId, ResourceKind, StackKind, Value};

    use super::*;

    fn resource(name: &str, kind: ResourceKind) -> Resource {
        let id = ResourceId::new(kind.word(), name);
        Resource { id, kind, identity: format!("acme_{name}"), body: Value::Null, depends_on: BTreeSet::new() }
    }

    /// With a database `main`, and one `old` that was there before.
    fn checked(adopt: &str, delete_data: &str) -> Result<Vec<Diagnostic>> {
        let names = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        let [target, app] = ["local", "guestbook"].map(|name| name.parse().unwrap());
        let key = StackKey { target, app, kind: StackKind::Tenant, name: "acme".parse().unwrap() };
        let main = resource("main", ResourceKind::PostgresDatabase);
        let mut graph = Graph::default();
        graph.resources.insert(main.id.clone(), main);
        let recorded = [resource("old", ResourceKind::PostgresDatabase), resource("key", ResourceKind::StoreSecret)];
        check(&names(adopt), &names(delete_data), &key, &graph, &recorded)
    }

    #[test]
    fn an_object_to_adopt_that_nobody_asks_for_is_refused_with_the_nearest_name() {
        assert_eq!(checked("database/acme_main", "").unwrap(), []);
        let refused = checked("database/acme_mian", "").unwrap_err();
        assert_eq!(refused.code, Code::UnknownHandle);
        assert_eq!(refused.help.as_deref(), Some("did you mean database/acme_main?"));
    }

    #[test]
    fn of_data_that_is_not_there_the_nearest_name_is_told() {
        assert_eq!(checked("", "database.main old secret.key").unwrap(), []);
        assert_eq!(checked("", "key").unwrap().len(), 1, "a secret is named in full");
        let [warning] = checked("", "database.mian").unwrap().try_into().unwrap();
        assert!(!warning.is_error());
        assert_eq!(warning.help.as_deref(), Some("did you mean database.main?"));
    }
}
