//! What a newer release has written is left alone, and everything else goes on (ADR 12).

use std::sync::Arc;

use freehold_platform::view::{Level, ResourceState, StackHealth};
use freehold_platform::{Actor, Deploy, PlanOptions, Targets};
use freehold_problem::Code;

use crate::testbed::{NOTES, Nowhere, Testbed};

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_of_a_later_release_is_unknown_and_hides_neither_its_stack_nor_another() {
    let bed = Testbed::new().await;
    bed.apply(Testbed::deploy("acme")).await;
    bed.apply(Testbed::deploy("globex")).await;
    bed.write(
        "UPDATE resources SET type = 'kubernetes.later' WHERE id LIKE 'service.%'
         AND stack = (SELECT id FROM stacks WHERE name = 'acme')",
    )
    .await;
    let operator = Actor::operator();

    let page = bed.platform.stacks.list(&operator, &Default::default()).await.unwrap();
    let [acme, globex] = &page.items[..] else { panic!("{page:?}") };
    assert_eq!((acme.health, globex.health), (StackHealth::Unknown, StackHealth::Ready));
    let part = acme.resources.iter().find(|part| part.id.0 == "service.web").unwrap();
    assert_eq!((part.kind.as_str(), part.state), ("kubernetes.later", ResourceState::Unknown));
    assert!(part.reason.as_ref().unwrap().starts_with("a resource in the store can't be read: "), "{part:?}");
    assert_eq!(part.code, Some(Code::StoreUnreadable));
    let one = bed.platform.stacks.get(&operator, acme.id).await.unwrap();
    assert_eq!((one.health, one.unreadable), (StackHealth::Unknown, None));

    assert_eq!(bed.platform.stacks.restore().await.unwrap(), 2);
    let restored = bed.abilities.restored.lock().unwrap().clone();
    assert!(restored.contains(&("globex".to_owned(), "service.web".to_owned())), "{restored:?}");
    assert!(!restored.contains(&("acme".to_owned(), "service.web".to_owned())), "{restored:?}");

    let findings = bed.platform.doctor.findings(&operator, false).await.unwrap();
    let of = |subject: &str| findings.iter().find(|finding| finding.subject == subject).unwrap();
    assert_eq!(of("drift notes/tenant/globex").level, Level::Ok);
    let theirs = of("drift notes/tenant/acme");
    assert!(theirs.level == Level::Error && theirs.message.starts_with("FH0516: "), "{theirs:?}");
    assert!(findings.iter().all(|finding| finding.subject != "orphan"), "{findings:?}");
    let refused = bed.platform.plans.repair(&operator, acme.id).await.unwrap_err();
    assert_eq!(refused.code, Code::StoreUnreadable, "nothing is planned without a resource that is there");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stack_of_a_later_release_is_listed_as_unknown_and_the_others_are_brought_back() {
    let bed = Testbed::new().await;
    bed.apply(Testbed::deploy("acme")).await;
    bed.apply(Testbed::deploy("globex")).await;
    bed.write("UPDATE stacks SET request_version = 2 WHERE name = 'acme'").await;
    bed.write("UPDATE definitions SET language = 32000").await;
    let operator = Actor::operator();

    let page = bed.platform.stacks.list(&operator, &Default::default()).await.unwrap();
    let [acme, globex] = &page.items[..] else { panic!("{page:?}") };
    assert_eq!((acme.key.name.as_str(), acme.health), ("acme", StackHealth::Unknown));
    assert_eq!(acme.unreadable.as_ref().unwrap().code, Code::StoreUnreadable);
    assert_eq!((globex.health, &globex.unreadable), (StackHealth::Ready, &None));

    assert_eq!(bed.platform.stacks.restore().await.unwrap(), 1);
    let restored = bed.abilities.restored.lock().unwrap().clone();
    assert!(!restored.is_empty() && restored.iter().all(|(stack, _)| stack == "globex"), "{restored:?}");
    let refused = bed.platform.stacks.refresh_outputs().await.unwrap_err();
    assert_eq!(refused.code, Code::StoreUnreadable, "it is tried again at the next start");

    let findings = bed.platform.doctor.findings(&operator, false).await.unwrap();
    let told = findings.iter().find(|finding| finding.subject == "stack notes/tenant/acme/local").unwrap();
    assert!(told.level == Level::Error && told.message.starts_with("FH0516: "), "{told:?}");
    let orphans = findings.iter().find(|finding| finding.subject == "orphans").unwrap();
    assert_eq!(orphans.level, Level::Ok, "what belongs to a stack that can't be read is no orphan: {findings:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_last_operation_of_a_later_release_hides_no_stack() {
    let bed = Testbed::new().await;
    bed.apply(Testbed::deploy("acme")).await;
    bed.write("UPDATE operations SET plan_version = 2").await;
    let page = bed.platform.stacks.list(&Actor::operator(), &Default::default()).await.unwrap();
    let one = bed.platform.stacks.get(&Actor::operator(), page.items[0].id).await.unwrap();
    assert_eq!(one.health, StackHealth::Ready);
    assert_eq!(
        one.unreadable.unwrap().message,
        "a plan in the store can't be read: it has version 2, and this release reads up to 1"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_of_a_later_release_hides_no_other_and_is_not_skipped_by_a_rollback() {
    let bed = Testbed::new().await;
    for connections in ["connections = 20", "connections = 10", "connections = 5"] {
        let definition = NOTES.replace("connections = 20", connections);
        bed.apply(Deploy { definition: Some(definition), ..Testbed::deploy("acme") }).await;
    }
    bed.write("UPDATE revisions SET graph_version = 2 WHERE number = 2").await;
    bed.write("UPDATE operations SET plan_version = 2 WHERE revision = 1").await;
    let operator = Actor::operator();
    let stack = bed.platform.stacks.list(&operator, &Default::default()).await.unwrap().items[0].id;

    let revisions = bed.platform.stacks.revisions(&operator, stack).await.unwrap();
    let told: Vec<_> = revisions.iter().map(|one| (one.number, one.failure.as_ref().map(|why| why.code))).collect();
    assert_eq!(told, [(3, None), (2, Some(Code::StoreUnreadable)), (1, Some(Code::StoreUnreadable))]);
    assert!(revisions.iter().all(|revision| revision.verified));
    let back = async |to| bed.platform.plans.rollback(&operator, stack, to, PlanOptions::default()).await;
    assert_eq!(back(None).await.unwrap_err().code, Code::StoreUnreadable, "the one before is not the one before that");
    assert_eq!(back(Some(1)).await.unwrap().plan.revision, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_target_of_a_later_release_is_listed_with_the_reason_and_hinders_no_start() {
    let bed = Testbed::new().await;
    bed.write(
        "INSERT INTO targets (name, kind, facts, facts_version, settings)
         VALUES ('later', 'kubernetes', '{\"of\":2}', 2, '{}')",
    )
    .await;
    let targets = Targets::load(&bed.store, Arc::new(Nowhere), None).await.unwrap();

    let listed = bed.platform.targets.list(&Actor::operator()).await.unwrap();
    let [local, later] = &listed[..] else { panic!("{listed:?}") };
    assert!(local.facts.is_ok());
    let unreadable = later.facts.as_ref().unwrap_err();
    assert_eq!((unreadable.kind.as_str(), unreadable.problem.code), ("kubernetes", Code::StoreUnreadable));
    let refused = targets.choose(None).await.err().unwrap();
    assert_eq!(refused.code, Code::StoreUnreadable, "the only target is the one that can't be read");
    let findings = bed.platform.doctor.findings(&Actor::operator(), false).await.unwrap();
    assert!(findings.iter().any(|finding| finding.subject == "target later" && finding.level == Level::Error));

    bed.platform.targets.remove(&Actor::operator(), "later").await.unwrap();
    assert_eq!(bed.platform.targets.list(&Actor::operator()).await.unwrap().len(), 1);
}
