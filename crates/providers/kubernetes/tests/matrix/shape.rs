//! What is deployed: a small app, in the versions that the kinds of plans are about.

use anyhow::{Result, anyhow};
use freehold_graph::expand::{KubernetesTarget, expand};
use freehold_graph::{Graph, Request, ResourceId, Target};
use serde_json::{Value as Json, json};

/// A version of the app. Version 0 is nothing at all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) version: u32,
    /// With one more service.
    pub(super) worker: bool,
    /// With other values in fields that can't be changed.
    pub(super) rebuilt: bool,
}

pub(super) const NOTHING: Shape = Shape { version: 0, worker: false, rebuilt: false };
pub(super) const FIRST: Shape = Shape { version: 1, ..NOTHING };
pub(super) const SECOND: Shape = Shape { version: 2, ..NOTHING };
pub(super) const LARGER: Shape = Shape { worker: true, ..FIRST };
pub(super) const REBUILT: Shape = Shape { rebuilt: true, ..FIRST };

/// What `rebuilt` replaces.
const REPLACED: [(&str, &str, &str); 3] = [
    ("deployment.web", "/spec/selector/matchLabels/built", "anew"),
    ("credentials.web", "/type", "example.org/anew"),
    ("service.web", "/spec/clusterIP", "None"),
];

impl Shape {
    /// The definition.
    fn source(self) -> String {
        let Self { version, worker, .. } = self;
        let (port, seconds, cpu) = (8080 + version, 30 + version, 4 + version);
        let more = if worker {
            "[service.worker]\nimage = \"example.test/worker\"\ncommand = [\"worker\"]\nenv = { LEVEL = \"1\" }"
        } else {
            ""
        };
        format!(
            r#"
            [app]
            name = "matrix"

            [secret.key]
            generate = {{ bytes = 32, as = "hex" }}

            [service.web]
            image = "example.test/web"
            command = ["web"]
            port = {port}
            env = {{ RELEASE = "{version}", KEY = "${{secret.key}}" }}

            [job.migrate]
            service = "web"
            command = ["migrate"]
            timeout = "4m"

            [route.web]
            service = "web"
            hosts = ["${{stack.name}}.${{target.domain}}"]
            paths = [{{ prefix = "/", timeout = "{seconds}s" }}]

            [tier.free]
            quota.cpu = "{cpu}"
            quota.memory = "8Gi"
            quota.pods = 20

            {more}
            "#
        )
    }

    /// What a stack of this version consists of, with its images.
    pub(super) fn graph(self, request: &mut Request, facts: &KubernetesTarget) -> Result<Graph> {
        if self == NOTHING {
            return Ok(Graph::default());
        }
        let app =
            freehold_spec::decode_in(&self.source(), &request.environment()).map_err(|faults| anyhow!("{faults:?}"))?;
        let image = |name| format!("example.test/{name}@sha256:{:064x}", self.version);
        request.artifacts = app.services.keys().map(|name| (name.clone(), image(name))).collect();
        let target = Target::Kubernetes(Box::new(facts.clone()));
        let mut graph = expand(&app, request, &target).map_err(|faults| anyhow!("{faults:?}"))?;
        if self.rebuilt {
            rebuild(&mut graph)?;
        }
        Ok(graph)
    }
}

fn rebuild(graph: &mut Graph) -> Result<()> {
    for (id, pointer, value) in REPLACED {
        let id = ResourceId(id.to_owned());
        let resource = graph.resources.get_mut(&id).ok_or_else(|| anyhow!("there is no {id}"))?;
        let mut body = serde_json::to_value(&resource.body)?;
        set(&mut body, pointer, value);
        if id.word() == "deployment" {
            set(&mut body, "/spec/template/metadata/labels/built", value);
        }
        resource.body = serde_json::from_value(body)?;
    }
    Ok(())
}

fn set(body: &mut Json, pointer: &str, value: &str) {
    let (above, field) = pointer.rsplit_once('/').expect("a pointer");
    body.pointer_mut(above).expect("what is above it")[field] = json!(value);
}
