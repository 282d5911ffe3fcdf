//! Outside names are different for different things, and never too long.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests may fail")]

use std::collections::HashMap;

use freehold_graph::expand::names::{LABEL_LIMIT, POSTGRES_LIMIT, database, endpoint, namespace, role};
use freehold_graph::{StackId, StackKey, StackKind};
use freehold_spec::{Name, StackName};
use proptest::prelude::*;
use uuid::Uuid;

fn label(first: &'static str) -> impl Strategy<Value = String> {
    // Few letters, so that collisions would be found if there were any.
    proptest::string::string_regex(&format!("[{first}]([ab1]{{0,3}}|-[ab1]{{1,4}}){{0,6}}"))
        .unwrap()
        .prop_filter("too long", |text| text.len() <= 40)
}

fn parts() -> impl Strategy<Value = (StackKey, Name)> {
    let kind = prop_oneof![Just(StackKind::Tenant), Just(StackKind::Preview), Just(StackKind::Stage)];
    (label("ab1"), label("ab"), label("abm"), kind).prop_map(|(stack, app, database, kind)| {
        let key = StackKey {
            target: "local".parse().unwrap(),
            app: app.parse().unwrap(),
            kind,
            name: stack.parse().unwrap(),
        };
        (key, database.parse().unwrap())
    })
}

proptest! {
    #[test]
    fn different_databases_and_roles_get_different_names(all in proptest::collection::vec(parts(), 2..60)) {
        let mut databases = HashMap::new();
        let mut roles = HashMap::new();
        for (key, name) in all {
            let found = database(&key, &name);
            prop_assert!(found.len() <= POSTGRES_LIMIT);
            let earlier = databases.insert(found, (key.clone(), name.clone()));
            prop_assert!(earlier.is_none_or(|earlier| earlier == (key.clone(), name.clone())));
            for word in ["owner", "migrator", "app"] {
                let found = role(&key, &name, word);
                prop_assert!(found.len() <= POSTGRES_LIMIT);
                let earlier = roles.insert(found, (key.clone(), name.clone(), word));
                prop_assert!(earlier.is_none_or(|earlier| earlier == (key.clone(), name.clone(), word)));
            }
        }
    }

    #[test]
    fn different_stacks_get_different_namespaces(all in proptest::collection::vec(parts(), 2..60)) {
        let mut namespaces = HashMap::new();
        for (key, _) in all {
            let found = namespace(&key);
            prop_assert!(found.len() <= LABEL_LIMIT && !found.starts_with('-') && !found.ends_with('-'), "{found}");
            let earlier = namespaces.insert(found, key.clone());
            prop_assert!(earlier.is_none_or(|earlier| earlier == key));
        }
    }

    #[test]
    fn endpoints_are_loopback_addresses_below_the_ephemeral_ports(id: u128, service in label("ab")) {
        let address = endpoint(StackId(Uuid::from_u128(id)), &service.parse().unwrap());
        prop_assert!(address.ip().is_loopback());
        prop_assert!(address.port() >= 12_000 && address.port() < 32_768);
    }
}

#[test]
fn no_tenant_can_take_the_name_of_a_stage() {
    for reserved in ["preview", "stage", "platform", "freehold"] {
        assert!(reserved.parse::<StackName>().is_err());
    }
}

#[test]
fn the_usual_name_is_readable() {
    let key = StackKey {
        target: "local".parse().unwrap(),
        app: "guestbook".parse().unwrap(),
        kind: StackKind::Tenant,
        name: "acme-corp".parse().unwrap(),
    };
    assert_eq!(database(&key, &"main".parse().unwrap()), "acme_corp__guestbook");
    assert_eq!(role(&key, &"main".parse().unwrap(), "app"), "acme_corp__guestbook__app");
}
