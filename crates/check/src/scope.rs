//! What the rules look at: an app, and which parts of it could not be read.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use freehold_spec::app::{File, Port, Read, Service, texts};
use freehold_spec::{App, EnvName, Name, PartKind, Reference, Span, Spanned, Template};

use crate::diagnostic::Diagnostic;
use crate::found::Found;

/// An app under examination, and what was found so far.
pub(crate) struct Scope<'a> {
    pub(crate) app: &'a App,
    /// Whether it is looked at as it holds in production.
    pub(crate) production: bool,
    /// Parts that nothing uses and that a finding names already.
    named: BTreeSet<(PartKind, &'a Name)>,
    left_out: &'a BTreeSet<String>,
    found: Found,
}

/// What services, their other containers and jobs have in common.
pub(crate) struct Program<'a> {
    /// `service`, `sidecar`, `init container` or `job`.
    pub(crate) word: &'static str,
    pub(crate) name: &'a Name,
    /// `service.web`, `service.web.sidecar.proxy`.
    pub(crate) path: String,
    pub(crate) span: Span,
    pub(crate) reads: Option<&'a [Spanned<Read>]>,
    pub(crate) env: &'a BTreeMap<EnvName, Spanned<Template>>,
    pub(crate) files: &'a BTreeMap<Name, File>,
    /// Program and arguments; `None` where the image says it.
    pub(crate) command: Option<&'a Spanned<Vec<String>>>,
    /// What Freehold sets for it: `PORT`, and `PORT_NAME` for its named ports.
    pub(crate) given: BTreeSet<String>,
    /// The service in whose pods it runs, or from whose image; its ways out are this program's.
    pub(crate) service: Option<&'a Service>,
}

impl<'a> Program<'a> {
    /// Its texts: variables and files.
    pub(crate) fn templates(&self) -> impl Iterator<Item = &'a Spanned<Template>> + use<'a> {
        texts(self.env, self.files)
    }
}

impl<'a> Scope<'a> {
    pub(crate) fn new(app: &'a App, left_out: &'a BTreeSet<String>, production: bool) -> Self {
        Self { app, production, named: BTreeSet::new(), left_out, found: Found::default() }
    }

    pub(crate) fn report(&mut self, diagnostic: Diagnostic) {
        self.found.add(diagnostic);
    }

    /// That nothing uses a part is said by the finding that names what should.
    pub(crate) fn name_unused(&mut self, part: PartKind, name: &'a Name) {
        self.named.insert((part, name));
    }

    /// The names of the parts of a kind that nothing refers to and no finding names.
    pub(crate) fn unused(&self, part: PartKind) -> Vec<&'a Name> {
        let used = self.used(part);
        let names = self.app.names(part).into_iter();
        names.filter(|name| !used.contains(name) && !self.named.contains(&(part, name))).collect()
    }

    /// Whether so many errors were found that another one is only counted, and needs no help that is costly to find.
    pub(crate) fn is_full(&self) -> bool {
        self.found.is_full()
    }

    /// The same of warnings.
    pub(crate) fn is_full_of_warnings(&self) -> bool {
        self.found.is_full_of_warnings()
    }

    pub(crate) fn into_found(self) -> Found {
        self.found
    }

    /// Whether what stands at a path is known: neither it nor what it is a part of nor a part of it was left out.
    pub(crate) fn knows(&self, path: &str) -> bool {
        let ends = path.match_indices('.').map(|(end, _)| end).chain([path.len()]);
        let mut outer = ends.filter_map(|end| path.get(..end));
        let below = format!("{path}.");
        let inner = self.left_out.range::<str, _>((Bound::Included(below.as_str()), Bound::Unbounded)).next();
        !outer.any(|outer| self.left_out.contains(outer)) && !inner.is_some_and(|inner| inner.starts_with(&below))
    }

    /// Whether the whole app is known.
    pub(crate) fn knows_all(&self) -> bool {
        self.left_out.is_empty()
    }

    /// All that runs with variables of its own: services, their other containers, jobs.
    pub(crate) fn programs(&self) -> Vec<Program<'a>> {
        let services = self.app.services.iter().map(|(name, service)| Program {
            word: "service",
            name,
            path: format!("service.{name}"),
            span: service.span,
            reads: service.reads.as_deref(),
            env: &service.env,
            files: &service.files,
            command: service.command.as_ref(),
            given: given(service),
            service: Some(service),
        });
        let jobs = self.app.jobs.iter().map(|(name, job)| Program {
            word: "job",
            name,
            path: format!("job.{name}"),
            span: job.span,
            reads: job.reads.as_deref(),
            env: &job.env,
            files: &job.files,
            command: Some(&job.command),
            given: BTreeSet::new(),
            service: self.app.services.get(&job.service.value),
        });
        services.chain(self.containers()).chain(jobs).collect()
    }

    /// The containers that pods have beside those of their services.
    fn containers(&self) -> impl Iterator<Item = Program<'a>> {
        let container =
            |word, key: &str, of: (&Name, &'a Service), name: &'a Name, (span, reads), (env, files), command| Program {
                word,
                name,
                path: format!("service.{}.{key}.{name}", of.0),
                span,
                reads,
                env,
                files,
                command,
                given: BTreeSet::new(),
                service: Some(of.1),
            };
        self.app.services.iter().flat_map(move |of| {
            let sidecars = of.1.sidecars.iter();
            let init = of.1.init.iter();
            let sidecars = sidecars.map(move |(name, one)| {
                let place = (one.span, one.reads.as_deref());
                let mut program =
                    container("sidecar", "sidecar", of, name, place, (&one.env, &one.files), one.command.as_ref());
                program.given.extend((of.1.answered_by() == Some(name)).then(|| PORT.to_owned()));
                program
            });
            let init = init.map(move |(name, one)| {
                let place = (one.span, one.reads.as_deref());
                container("init container", "init", of, name, place, (&one.env, &one.files), one.command.as_ref())
            });
            sidecars.chain(init)
        })
    }

    /// The names of the parts of a kind that something refers to.
    fn used(&self, part: PartKind) -> BTreeSet<&'a Name> {
        let outputs = self.references().into_iter().filter_map(|reference| reference.value.output());
        outputs.filter(|(_, output)| output.part() == part).map(|(name, _)| name).collect()
    }

    /// All references, wherever they stand.
    pub(crate) fn references(&self) -> Vec<&'a Spanned<Reference>> {
        self.app.templates().flat_map(|template| template.references()).collect()
    }
}

/// The variable with the port that a program listens on.
pub(crate) const PORT: &str = "PORT";

/// What Freehold sets for a service's own program.
fn given(service: &Service) -> BTreeSet<String> {
    let named = service.ports.keys().map(Port::variable);
    service.port.iter().map(|_| PORT.to_owned()).chain(named).collect()
}

/// "did you mean …?", if there is something near.
pub(crate) fn suggestion<'n>(word: &str, names: impl IntoIterator<Item = &'n Name>) -> Option<String> {
    let near = freehold_spec::nearest(word, names.into_iter().map(Name::as_str))?;
    Some(format!("did you mean `{near}`?"))
}

/// The names of a map, for a help that lists them.
pub(crate) fn listed<'n, T: 'n>(names: impl IntoIterator<Item = (&'n Name, T)>) -> String {
    freehold_spec::listed(names.into_iter().map(|(name, _)| name.as_str()))
}
