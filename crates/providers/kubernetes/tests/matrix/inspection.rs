//! Whether the cluster is as it should be: desired state or clean slate, what belongs to others untouched, and nothing there that was made
//! twice. By the scan for marks, by reading the objects, and by what the witness saw.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use freehold_engine::Outcome;
use freehold_graph::{Graph, ProviderName};
use freehold_plan::{Action, Plan, Purpose};
use freehold_problem::Code;
use http::Method;
use serde_json::{Value as Json, json};

use super::api::{self, Name, Objects};
use super::shape::{NOTHING, Shape};
use super::site::Site;

/// What others have in a stack's namespace, as they made it.
#[derive(Default)]
pub(super) struct Foreign(Objects);

impl Foreign {
    /// Somebody else's object, and one of another stack, in a namespace that is there.
    pub(super) async fn beside(site: &Site) -> Result<Self> {
        let of =
            |name: &str, labels: Json| json!({"metadata": {"name": name, "labels": labels}, "data": {"whose": name}});
        let other = json!({"freehold.dev/stack": "00000000-0000-4000-8000-000000000000"});
        let mut made = Objects::new();
        for object in [of("theirs", json!({})), of("neighbours", other)] {
            let name = ("ConfigMap".to_owned(), api::name(&object));
            made.insert(name.clone(), create(site, &name, &object).await?);
        }
        Ok(Self(made))
    }

    /// Everything that the stack wants to have is there already, without its mark and somewhat different.
    pub(super) async fn instead(site: &mut Site, shape: Shape) -> Result<Self> {
        let graph = shape.graph(&mut site.request, &site.bed.facts)?;
        let mut made = Objects::new();
        for resource in of_cluster(&graph) {
            let mut object = serde_json::to_value(&resource.body)?;
            object["metadata"]["labels"] = json!({"whose": "theirs"});
            match resource.id.word() {
                "configmap" => object["data"] = json!({"RELEASE": "theirs", "THEIRS": "kept"}),
                "credentials" => object["data"] = json!({"KEY": "dGhlaXJz"}),
                // Its Pods would bear our mark: an adopted selector can't be another.
                "deployment" => object["spec"]["replicas"] = json!(0),
                _ => {}
            }
            if let Some(template) = object.pointer_mut("/spec/template/metadata") {
                template["annotations"] = Json::Null;
            }
            let name = name_of(&object);
            made.insert(name.clone(), create(site, &name, &object).await?);
        }
        Ok(Self(made))
    }

    /// What was not adopted. All of it is as they made it.
    fn left<'a>(&'a self, site: &Site, now: &Objects) -> Result<BTreeSet<&'a Name>> {
        let ours = |name| now.get(name).is_some_and(|live| api::mark(live) == site.request.id.to_string());
        let left = self.0.keys().filter(|name| !ours(*name)).collect();
        self.are_untouched(&left, now)?;
        Ok(left)
    }

    fn are_untouched(&self, names: &BTreeSet<&Name>, now: &Objects) -> Result<()> {
        names.iter().try_for_each(|name| {
            let live = now.get(*name).map(essence);
            ensure!(live == self.0.get(*name).map(essence), "{name:?} is not ours, and was touched: {live:?}");
            Ok(())
        })
    }
}

async fn create(site: &Site, name: &Name, object: &Json) -> Result<Json> {
    let path = api::path(name, &site.namespace);
    let (collection, _) = path.rsplit_once('/').unwrap_or_default();
    site.bed.api.put(Method::POST, collection, object).await
}

fn name_of(manifest: &Json) -> Name {
    (manifest["kind"].as_str().unwrap_or_default().to_owned(), api::name(manifest))
}

/// What only its owner changes.
fn essence(object: &Json) -> Json {
    let metadata = &object["metadata"];
    json!([metadata["uid"], metadata["labels"], object["spec"], object["data"], object["type"]])
}

/// The manifests of a graph, without what isn't an object.
fn of_cluster(graph: &Graph) -> Vec<&freehold_graph::Resource> {
    let all = graph.resources.values().filter(|resource| resource.kind.provider() == ProviderName::Kubernetes);
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|resource| resource.id.word() != "namespace");
    all
}

/// Makes sure that all is there that should be, as it should be, and the very object that it was before unless `plan` replaced it;
/// and nothing else.
pub(super) async fn is_desired(
    site: &mut Site,
    shape: Shape,
    plan: &Plan,
    before: &Objects,
    foreign: &Foreign,
) -> Result<()> {
    let graph = shape.graph(&mut site.request, &site.bed.facts)?;
    let now = site.bed.api.objects(&site.namespace).await?;
    foreign.left(site, &now)?;
    let mut expected = BTreeSet::new();
    for resource in of_cluster(&graph) {
        let mut wanted = serde_json::to_value(&resource.body)?;
        let name = name_of(&wanted);
        // Where it was found says these, and not every list repeats them.
        for field in ["apiVersion", "kind"] {
            wanted.as_object_mut().and_then(|wanted| wanted.remove(field));
        }
        let live = now.get(&name).with_context(|| format!("{name:?} is missing"))?;
        api::has(live, &wanted, &format!("{} {}", name.0, name.1))?;
        if let Some(old) = before.get(&name) {
            let replaced = plan.changes.get(&resource.id).is_some_and(|change| change.action == Action::Replace);
            let same = api::uid(live) == api::uid(old);
            ensure!(same != replaced, "{name:?}: same object: {same}, to be replaced: {replaced}");
        }
        expected.insert(name);
    }
    for revision in &site.ran {
        let name = ("Job".to_owned(), format!("migrate-r{revision}"));
        let job = now.get(&name).with_context(|| format!("{name:?} is missing"))?;
        ensure!(job["status"]["succeeded"] == 1, "{name:?}: {}", job["status"]);
    }
    let ours = |(name, object): (&Name, &Json)| {
        let mine = api::mark(object) == site.request.id.to_string() && !matches!(name.0.as_str(), "Job" | "Pod");
        mine.then(|| name.clone())
    };
    let found: BTreeSet<Name> = now.iter().filter_map(ours).collect();
    ensure!(found == expected, "{found:?} instead of {expected:?}");
    let strays: Vec<_> = now.iter().filter(|(name, object)| is_stray(site, foreign, name, object)).collect();
    ensure!(strays.is_empty(), "made without a mark: {strays:?}");
    // What the provider itself finds by the mark, all namespaces and kinds.
    let lower = |(kind, name): &Name| (kind.to_lowercase(), name.clone());
    let expected: BTreeSet<Name> = expected.iter().map(lower).collect();
    let owned = site.owned().await?.into_iter().filter(|(kind, _)| !matches!(kind.as_str(), "job" | "pod"));
    let inside = |name: String| name.strip_prefix(&format!("{}/", site.namespace)).map_or(name.clone(), str::to_owned);
    let owned: Vec<Name> = owned.map(|(kind, name)| (kind, inside(name))).collect();
    ensure!(owned.len() == expected.len(), "owned: {owned:?} instead of {expected:?}");
    ensure!(owned.iter().all(|name| expected.contains(name)), "owned: {owned:?} instead of {expected:?}");
    Ok(())
}

/// Neither ours nor others', nor made by another object or by the cluster.
fn is_stray(site: &Site, foreign: &Foreign, name: &Name, object: &Json) -> bool {
    let known =
        matches!((name.0.as_str(), name.1.as_str()), ("ServiceAccount", "default") | ("ConfigMap", "kube-root-ca.crt"));
    let made = object["metadata"]["ownerReferences"].as_array().is_some_and(|owners| !owners.is_empty());
    let marked = api::mark(object) == site.request.id.to_string();
    !(known || made || marked || foreign.0.contains_key(name))
}

/// Destroys the stack, which takes the namespace along only when nothing in it is somebody else's. That would be refused by the plan
/// already; here it is for the step itself to see, as when the object came after the plan.
pub(super) async fn destroy(site: &mut Site, foreign: &Foreign) -> Result<()> {
    let before = site.bed.api.objects(&site.namespace).await?;
    let left = foreign.left(site, &before)?;
    let place = ("Namespace".to_owned(), site.namespace.clone());
    let namespace_is_ours = before.contains_key(&place) && !left.contains(&place);
    if namespace_is_ours && !left.is_empty() {
        let plan = site.plan(Purpose::Destroy { dump: false }, NOTHING, false).await?;
        let (outcome, failures) = site.work(&plan, NOTHING, None).await?;
        let refused = failures.iter().map(|failure| failure.code).collect::<Vec<_>>() == [Code::NamespaceShared];
        ensure!(outcome == Outcome::Failed && refused, "with others' objects in it: {outcome:?}, {failures:#?}");
        let now = site.bed.api.objects(&site.namespace).await?;
        foreign.are_untouched(&left, &now)?;
        let ours = now.iter().filter(|(_, object)| api::mark(object) == site.request.id.to_string());
        let ours: Vec<_> =
            ours.map(|(name, _)| name).filter(|name| !matches!(name.0.as_str(), "Job" | "Pod")).collect();
        ensure!(ours == [&place], "left: {ours:?}");
        for name in &left {
            site.bed.api.delete(&api::path(name, &site.namespace)).await?;
        }
    }
    let plan = site.plan(Purpose::Destroy { dump: false }, NOTHING, false).await?;
    site.carry_out(&plan, NOTHING).await?;
    if left.contains(&place) {
        let now = site.bed.api.objects(&site.namespace).await?;
        foreign.are_untouched(&left, &now)?;
        site.bed.api.delete(&api::path(&place, &site.namespace)).await?;
    }
    Ok(())
}

/// Makes sure that nothing is left of a stack whose destroy found nothing by its own scan, and that nothing of it was ever made twice but
/// what `plan` replaced.
pub(super) async fn is_gone(site: &Site, plan: &Plan) -> Result<()> {
    let lives = site.bed.witness.lives(&site.namespace, &BTreeSet::new()).await?;
    let replaced = plan.changes.values().filter(|change| change.action == Action::Replace);
    let manifests = replaced.map(|change| Ok(name_of(&serde_json::to_value(&change.resource.body)?)));
    let replaced: BTreeSet<Name> = manifests.collect::<Result<_>>()?;
    for (name, lives) in lives.iter().filter(|(name, _)| name.0 != "Pod") {
        let most = 1 + usize::from(replaced.contains(name));
        ensure!(lives.len() <= most, "made {} times: {name:?}", lives.len());
    }
    let mut runs: Vec<&String> =
        lives.values().flat_map(BTreeMap::values).filter_map(|life| life.job.as_ref()).collect();
    runs.sort();
    let revisions: BTreeSet<String> = site.may_have_run.iter().map(|revision| format!("migrate-r{revision}")).collect();
    ensure!(runs.iter().all(|job| revisions.contains(*job)), "runs {runs:?} of {revisions:?}");
    ensure!(runs.windows(2).all(|two| two[0] != two[1]), "run twice: {runs:?}");
    Ok(())
}
