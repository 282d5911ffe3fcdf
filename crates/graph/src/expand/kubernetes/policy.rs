//! Who may talk to whom: nobody, but for what the references say.
//!
//! A reference to a service's URL opens the way in both policies, of the one that calls and of the one that is called. Ports are
//! those of the Pods: what is sent to a Service has reached its Pod when a policy looks at it.

use std::collections::{BTreeMap, BTreeSet};

use freehold_spec::app::{Prometheus, Service, texts};
use freehold_spec::network::{CLOSED, Destination, Egress, Ingress, Origin};
use freehold_spec::part::output::Reach;
use freehold_spec::{Name, PartKind, Spanned, Template};
use serde_json::{Value as Json, json};

use super::Cluster;
use super::manifest::{Object, PodPart};
use crate::expand::connection::POSTGRES;
use crate::expand::names;
use crate::kind::ResourceKind;
use crate::part;
use crate::resource_id::ResourceId;
use crate::target::ClusterDatabases;

/// What no Pod reaches as "the internet": the host itself, private, shared, link-local and reserved addresses, the places in them and
/// elsewhere where clouds keep credentials (169.254.169.254, Oracle's in 192.0.0.0/24, Azure's 168.63.129.16), multicast and beyond.
/// The IANA's registry of special-purpose addresses; the blocks for documentation lead nowhere and are left out.
const NOT_INTERNET_V4: [&str; 11] = [
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
];
/// All that is global unicast. So nothing else has to be thought of: neither `::1`, unique and link-local addresses and multicast, nor those
/// with an IPv4 address in them that a translator may lead to a private one (`::ffff:0:0/96`, NAT64's 64:ff9b::/96 and 64:ff9b:1::/48).
const INTERNET_V6: &str = "2000::/3";
/// Within it, those with an IPv4 address in them (Teredo is in the first one, 6to4 is the second), and protocols' own.
const NOT_INTERNET_V6: [&str; 2] = ["2001::/23", "2002::/16"];

/// The port that `internet` opens.
const HTTPS: u16 = 443;
/// Where NodeLocal DNSCache answers on each node, unless it was given another address.
const NODE_CACHE: &str = "169.254.20.10/32";
/// Where cert-manager's solver Pods answer challenges.
const SOLVER: u16 = 8089;

/// What the Pods of a service or job talk to.
struct Traffic<'a> {
    part: PodPart<'a>,
    /// The parts that they have to reach.
    reached: BTreeMap<PartKind, BTreeSet<&'a Name>>,
    /// The named ports that they have to reach: the service's, and their own.
    ports: BTreeSet<(&'a Name, &'a Name)>,
    internet: bool,
    /// The ways out that the definition names.
    ways: &'a [Spanned<Egress>],
}

impl<'a> Traffic<'a> {
    /// `out` says where it may connect to besides.
    fn new(part: PodPart<'a>, out: Option<&'a Service>, texts: impl Iterator<Item = &'a Spanned<Template>>) -> Self {
        let internet = out.is_some_and(|service| service.internet);
        let ways = out.map(|service| service.egress.as_slice()).unwrap_or_default();
        let mut traffic = Self { part, reached: BTreeMap::new(), ports: BTreeSet::new(), internet, ways };
        for reference in texts.flat_map(|template| template.references()) {
            if let Some(port) = reference.value.port() {
                traffic.ports.insert(port);
                continue;
            }
            let Some((name, output)) = reference.value.output() else { continue };
            match output.row().reach {
                Reach::Part => drop(traffic.reached.entry(output.part()).or_default().insert(name)),
                Reach::Nothing => {}
            }
        }
        traffic
    }

    fn reaches(&self, part: PartKind, name: &Name) -> bool {
        self.reached.get(&part).is_some_and(|names| names.contains(name))
    }

    fn of_service(name: &'a Name, service: &'a Service) -> Self {
        let all = service.programs().flat_map(|(env, files)| texts(env, files));
        Self::new(PodPart::Service(name), Some(service), all)
    }
}

impl Cluster<'_> {
    pub(super) fn policies(&mut self) {
        let deny = json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]});
        let dns = json!({
            "podSelector": {},
            "policyTypes": ["Egress"],
            "egress": [
                {"to": [namespace("kube-system"), {"ipBlock": {"cidr": NODE_CACHE}}], "ports": dns_ports(&[53])},
                {"to": [namespace("openshift-dns")], "ports": dns_ports(&[53, 5353])},
            ],
        });
        for (name, spec) in [("deny-all", deny), ("allow-dns", dns)] {
            let id = self.policy(name, PodPart::Whole, spec);
            self.prerequisites.insert(id);
        }
        if self.facts.own_certificates().is_some() {
            self.solver();
        }
        let app = self.expansion.resolver.app;
        let services = app.services.iter().map(|(name, service)| Traffic::of_service(name, service));
        let jobs = app.jobs.iter().map(|(name, job)| {
            Traffic::new(PodPart::Job(name), app.services.get(&job.service.value), texts(&job.env, &job.files))
        });
        let all: Vec<Traffic<'_>> = services.chain(jobs).collect();
        for traffic in &all {
            self.of_part(traffic, &all);
        }
    }

    /// The policy of one service or job, if it talks to anybody or is talked to.
    fn of_part(&mut self, traffic: &Traffic<'_>, all: &[Traffic<'_>]) {
        let ingress = self.ingress(traffic.part, all);
        let egress = self.egress(traffic);
        let mut types = Vec::new();
        types.extend((!ingress.is_empty()).then_some("Ingress"));
        types.extend((!egress.is_empty()).then_some("Egress"));
        if types.is_empty() {
            return;
        }
        let stated = |rules: Vec<Json>| (!rules.is_empty()).then_some(rules);
        let spec = json!({
            "podSelector": {"matchLabels": self.selector(traffic.part)},
            "policyTypes": types,
            "ingress": stated(ingress),
            "egress": stated(egress),
        });
        self.policy(&traffic.part.object(), traffic.part, spec);
    }

    /// Requests through the gateway, and of those that refer to its URL.
    fn ingress(&self, part: PodPart<'_>, all: &[Traffic<'_>]) -> Vec<Json> {
        let app = self.expansion.resolver.app;
        let PodPart::Service(name) = part else { return Vec::new() };
        let Some(service) = app.services.get(name) else { return Vec::new() };
        let mut rules: Vec<Json> = service.ingress.iter().map(|way| way_in(way)).collect();
        rules.extend(service.prometheus.as_ref().and_then(|said| scraper(service, said)));
        for (port, one) in &service.ports {
            let callers = all.iter().filter(|caller| caller.ports.contains(&(name, port)));
            let from: Vec<Json> = callers.map(|caller| self.pods(caller.part)).collect();
            if !from.is_empty() {
                rules.push(json!({"from": from, "ports": [tcp(one.port.value)]}));
            }
        }
        let Some(port) = &service.port else { return rules };
        let routed = app.routes.values().any(|route| route.services().any(|service| service.value == *name));
        let gateway = routed.then(|| namespace(&self.facts.gateway.data_plane_namespace));
        let callers = all.iter().filter(|caller| caller.reaches(PartKind::Service, name));
        let callers = callers.map(|caller| self.pods(caller.part));
        let from: Vec<Json> = gateway.into_iter().chain(callers).collect();
        if !from.is_empty() {
            rules.insert(0, json!({"from": from, "ports": self.ports(name, port.value)}));
        }
        rules
    }

    fn egress(&self, traffic: &Traffic<'_>) -> Vec<Json> {
        // Another order would change the policies that there are.
        let parts = traffic.reached.iter().rev();
        let mut rules: Vec<Json> = parts.flat_map(|(kind, names)| part::egress(*kind, names, self)).collect();
        let app = self.expansion.resolver.app;
        rules.extend(traffic.ports.iter().filter_map(|(service, port)| {
            let number = app.services.get(*service)?.ports.get(*port)?.port.value;
            Some(json!({"to": [self.pods(PodPart::Service(service))], "ports": [tcp(number)]}))
        }));
        // A policy knows no names: a host is any public address.
        let hosts = traffic.ways.iter().filter(|way| matches!(way.to, Destination::Host(_))).map(|way| way.port);
        let public: BTreeSet<u16> = traffic.internet.then_some(HTTPS).into_iter().chain(hosts).collect();
        if !public.is_empty() {
            let v4 = json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": NOT_INTERNET_V4}});
            let v6 = json!({"ipBlock": {"cidr": INTERNET_V6, "except": NOT_INTERNET_V6}});
            rules.push(json!({"to": [v4, v6], "ports": public.into_iter().map(tcp).collect::<Vec<_>>()}));
        }
        rules.extend(traffic.ways.iter().filter_map(|way| way_out(way)));
        rules
    }

    /// The rules that lead to the ports of services.
    pub(crate) fn egress_to_services(&self, names: &BTreeSet<&Name>) -> Vec<Json> {
        let app = self.expansion.resolver.app;
        let ports = names.iter().filter_map(|name| Some((*name, app.services.get(*name)?.port.as_ref()?)));
        let rule = |(name, port): (_, &Spanned<u16>)| json!({"to": [self.pods(PodPart::Service(name))], "ports": self.ports(name, port.value)});
        ports.map(rule).collect()
    }

    /// The port at which a service's Pods are reached, and the one of those of the revision before.
    fn ports(&self, service: &Name, port: u16) -> Vec<Json> {
        let former = self.expansion.resolver.request.former_ports.get(service).filter(|former| **former != port);
        [port].into_iter().chain(former.copied()).map(tcp).collect()
    }

    /// The rule that leads to databases: to their server, or to the Pods of each.
    pub(crate) fn egress_to_databases(&self, names: &BTreeSet<&Name>) -> Vec<Json> {
        match &self.facts.databases {
            ClusterDatabases::Server { server, addresses } => {
                let to: Vec<Json> = addresses.iter().map(|cidr| json!({"ipBlock": {"cidr": cidr}})).collect();
                // A rule to nobody in particular is one to everybody.
                if to.is_empty() { Vec::new() } else { vec![json!({"to": to, "ports": [tcp(server.port)]})] }
            }
            ClusterDatabases::CloudNativePg { .. } => {
                let app = self.expansion.resolver.app;
                let pooled = |name: &&&Name| app.databases.get(**name).is_some_and(|one| one.server.pooler.is_some());
                let poolers = names.iter().filter(pooled).map(|name| pooler_pods(name));
                let to: Vec<Json> = names.iter().map(|name| database_pods(name)).chain(poolers).collect();
                vec![json!({"to": to, "ports": [tcp(POSTGRES)]})]
            }
        }
    }

    /// The services and jobs that refer to a part, as peers.
    pub(super) fn users_of(&self, part: PartKind, name: &Name) -> Vec<Json> {
        let app = self.expansion.resolver.app;
        let services = app.services.iter().map(|(name, service)| Traffic::of_service(name, service));
        let jobs = app.jobs.iter().map(|(job, one)| Traffic::new(PodPart::Job(job), None, texts(&one.env, &one.files)));
        let users = services.chain(jobs).filter(|traffic| traffic.reaches(part, name));
        users.map(|traffic| self.pods(traffic.part)).collect()
    }

    /// Lets the gateway to the Pods with which cert-manager proves that a host is ours.
    fn solver(&mut self) {
        let spec = json!({
            "podSelector": {"matchLabels": {"acme.cert-manager.io/http01-solver": "true"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [namespace(&self.facts.gateway.data_plane_namespace)], "ports": [tcp(SOLVER)]}],
        });
        self.policy("allow-challenges", PodPart::Whole, spec);
    }

    pub(super) fn policy(&mut self, name: &str, part: PodPart<'_>, spec: Json) -> ResourceId {
        self.put(Object::new(ResourceKind::NetworkPolicy, name, part, json!({"spec": spec})))
    }

    /// The policy of a part, if it has one.
    pub(super) fn policy_of(&self, part: PodPart<'_>) -> Option<ResourceId> {
        let id = ResourceId::new("networkpolicy", part.object());
        self.expansion.graph.resources.contains_key(&id).then_some(id)
    }

    pub(super) fn pods(&self, part: PodPart<'_>) -> Json {
        json!({"podSelector": {"matchLabels": self.selector(part)}})
    }
}

/// The rule of a way out; that of a host is one with the internet's.
fn way_out(way: &Egress) -> Option<Json> {
    let to = match &way.to {
        Destination::Host(_) => return None,
        Destination::Service { namespace, .. } => self::namespace(namespace),
        Destination::Block(block) => {
            let closed = CLOSED.iter().map(|(_, closed)| closed).filter(|closed| block.contains(*closed));
            let closed: Vec<String> = closed.map(ToString::to_string).collect();
            let except = (!closed.is_empty()).then_some(closed);
            json!({"ipBlock": {"cidr": block.to_string(), "except": except}})
        }
    };
    Some(json!({"to": [to], "ports": [tcp(way.port)]}))
}

/// Prometheus, from its namespace.
fn scraper(service: &Service, said: &Prometheus) -> Option<Json> {
    let port = said.port.as_ref().or(service.port.as_ref())?.value;
    Some(json!({"from": [namespace(said.namespace.value.as_str())], "ports": [tcp(port)]}))
}

fn way_in(way: &Ingress) -> Json {
    let from = match &way.from {
        Origin::Namespace(name) => namespace(name),
        Origin::Block(block) => json!({"ipBlock": {"cidr": block.to_string()}}),
    };
    json!({"from": [from], "ports": [tcp(way.port)]})
}

/// All Pods of a namespace.
pub(super) fn namespace(name: &str) -> Json {
    json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}})
}

/// The Pods of a database of CloudNativePG.
pub(super) fn database_pods(name: &Name) -> Json {
    json!({"podSelector": {"matchLabels": {"cnpg.io/cluster": name}}})
}

/// The Pods of PgBouncer before such a database.
pub(super) fn pooler_pods(name: &Name) -> Json {
    json!({"podSelector": {"matchLabels": {"cnpg.io/poolerName": names::pooler(name)}}})
}

pub(super) fn tcp(port: u16) -> Json {
    json!({"protocol": "TCP", "port": port})
}

/// DNS: over UDP, and over TCP where an answer is long.
fn dns_ports(ports: &[u16]) -> Json {
    ports.iter().flat_map(|port| ["UDP", "TCP"].map(|protocol| json!({"protocol": protocol, "port": port}))).collect()
}
