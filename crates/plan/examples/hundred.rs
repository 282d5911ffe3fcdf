//! The pure part of a plan of an app with 100 resources: expand, compare with what was observed, diff. Prints the 95th percentile
//! of 200 plans, in milliseconds. Part of `scripts/bench`.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use freehold_graph::expand::{LocalTarget, PostgresServer, expand};
use freehold_graph::value::Digests;
use freehold_graph::{Digest, Request, SecretRef, StackId, StackKey, StackKind, Target};
use freehold_plan::{Inputs, Observation, Ownership, Purpose, Recorded, make};
use uuid::Uuid;

struct Constant;

impl Digests for Constant {
    fn of_secret(&self, _: &SecretRef) -> Option<Digest> {
        Some(Digest("0".repeat(32)))
    }

    fn of_text(&self, _: &str) -> Digest {
        Digest("1".repeat(32))
    }
}

/// 20 databases (with roles: 40), 20 secrets, 20 services, 20 routes.
fn definition() -> String {
    let mut text = "[app]\nname = \"hundred\"\n".to_owned();
    for number in 0..20 {
        text += &format!(
            "[database.d{number}]\n[secret.s{number}]\ngenerate = {{ bytes = 32, as = \"hex\" }}\n\
             [service.w{number}]\nimage = \"example.org/w\"\ncommand = [\"serve\"]\nport = 8080\n[service.w{number}.env]\n\
             DATABASE_URL = \"${{database.d{number}.url}}\"\nKEY = \"${{secret.s{number}}}\"\nURL = \"${{route.r{number}.url}}\"\n\
             [route.r{number}]\nservice = \"w{number}\"\nhosts = [\"r{number}.${{stack.name}}.${{target.domain}}\"]\n"
        );
    }
    text
}

#[allow(clippy::print_stdout, reason = "a benchmark")]
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let app = freehold_spec::decode(&definition()).map_err(|errors| format!("{errors:?}"))?;
    let target = Target::Local(LocalTarget {
        name: "local".parse()?,
        domain: "localhost".to_owned(),
        router_port: 7080,
        postgres: PostgresServer::new("127.0.0.1".to_owned(), 5432, 15),
    });
    let request = Request {
        key: StackKey {
            target: "local".parse()?,
            app: "hundred".parse()?,
            kind: StackKind::Tenant,
            name: "acme".parse()?,
        },
        id: StackId(Uuid::nil()),
        tier: None,
        stage: None,
        artifacts: BTreeMap::new(),
        containers: BTreeMap::new(),
        rotations: BTreeMap::new(),
        revision: 0,
        former_ports: Default::default(),
    };
    let mut milliseconds = Vec::new();
    for _ in 0..200 {
        let begin = Instant::now();
        let graph = expand(&app, &request, &target).map_err(|errors| format!("{errors:?}"))?;
        let mut spent = begin.elapsed();
        // What was observed is like what is desired, but for each third resource.
        let mut recorded = BTreeMap::new();
        let mut observed = BTreeMap::new();
        for (number, (id, resource)) in graph.resources.iter().enumerate() {
            let mut seen = resource.clone();
            if number % 3 == 0 {
                seen.body = freehold_graph::Value::map([("command", freehold_graph::Value::from("another"))]);
            }
            let body = seen.body.comparable(&Constant);
            let object = id.to_string();
            observed.insert(
                id.clone(),
                Some(Observation {
                    object: object.clone(),
                    ownership: Ownership::Ours,
                    body,
                    foreign_fields: Vec::new(),
                }),
            );
            recorded.insert(id.clone(), Recorded { resource: seen, object: Some(object) });
        }
        let begin = Instant::now();
        let named = graph.resources.keys().map(|id| id.name().to_owned()).collect();
        let plan = make(&Inputs {
            id: Uuid::nil(),
            purpose: Purpose::Deploy,
            generation: 1,
            last_revision: 1,
            definition: "",
            request: &request,
            graph: &graph,
            recorded: &recorded,
            observed: &observed,
            previews: &BTreeMap::new(),
            previous: None,
            digests: &Constant,
            adopt: &BTreeSet::new(),
            delete_data: &named,
            succeeded: &BTreeSet::new(),
        })
        .map_err(|errors| format!("{errors:?}"))?;
        spent += begin.elapsed();
        if plan.changes.len() != 100 {
            return Err(format!("{} resources instead of 100", plan.changes.len()).into());
        }
        milliseconds.push(spent.as_secs_f64() * 1000.0);
    }
    milliseconds.sort_by(f64::total_cmp);
    println!("{:.3}", milliseconds.get(189).copied().unwrap_or_default());
    Ok(())
}
