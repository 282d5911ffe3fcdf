//! A definition before it is read: a tree of values that know their place, which tables of an environment are laid over.
//!
//! ```text
//! source ── toml ──► tree ── first.rs, … (of older languages) ──► tree ──┬── as it stands ──────────────► Reading
//!                                                                     └── + [stage.X] + [tier.Y] ────► Reading, for each environment
//! ```
//!
//! Tables merge by key; whatever else an environment says replaces what was there. Each value keeps its place, so that whatever is said
//! about it points to the line that holds.

mod first;
mod overlay;
mod second;
mod third;
mod tree;

use std::collections::{BTreeMap, BTreeSet};

use toml::Spanned as Node;
use toml::de::{DeTable, DeValue};

use crate::decode::context::Context;
use crate::decode::kind::ValueKind;
use crate::decode::{DecodeError, DecodeErrorKind, Lines, Reading, believable, syntax_errors, too_large};
use crate::environment::{Environment, Layer, PRODUCTION};
use crate::files::Files;
use crate::language::Language;
use crate::name::Name;
use crate::part::{App, Definition, PartKind};
use crate::span::Span;

/// A definition's source, parsed.
pub struct Document<'s> {
    language: Language,
    source: &'s str,
    files: &'s Files,
    root: DeTable<'s>,
    /// What is wrong with it as TOML.
    syntax: Vec<DecodeError>,
    /// Why nothing of it is read.
    too_large: Option<DecodeError>,
}

/// A value as it holds in an environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Where in the definition: `service.web.env.LOG_LEVEL`.
    pub path: String,
    /// As it is written.
    pub text: String,
    /// Where it stands in the source.
    pub span: Span,
    /// The line on which it begins, from 1.
    pub line: usize,
    /// The table that overrides the definition there, if one does.
    pub layer: Option<Layer>,
}

impl<'s> Document<'s> {
    /// Parses a definition in this version of the language, with the files that it names.
    pub fn parse(language: Language, source: &'s str, files: &'s Files) -> Self {
        let nothing = || (DeTable::new(), Vec::new());
        let too_large = too_large(source, files);
        let (mut root, syntax) = if too_large.is_some() { nothing() } else { parse(source) };
        match language {
            Language::V1 => {
                first::rewrite(&mut root);
                second::rewrite(&mut root);
                third::rewrite(&mut root);
            }
            Language::V2 => {
                second::rewrite(&mut root);
                third::rewrite(&mut root);
            }
            Language::V3 => third::rewrite(&mut root),
            Language::V4 => {}
        }
        Self { language, source, files, root, syntax, too_large }
    }

    /// Reads the definition as it holds in an environment; without one, as it stands before anything overrides it.
    pub fn read(&self, environment: Option<&Environment>) -> Reading {
        if let Some(error) = &self.too_large {
            let (left_out, files) = Default::default();
            return Reading { app: None, errors: vec![error.clone()], untold: 0, left_out, files };
        }
        let mut context = Context::new(self.source, self.files);
        overlay::check(&self.root, &mut context);
        // A kept source is read where it holds, and was checked when it was given.
        if environment.is_none()
            && let Some(message) = self.too_many()
        {
            let error = DecodeError::new(DecodeErrorKind::TooLarge, Span::default(), message);
            context.report(error.help("split the app, or let several tenants share a tier"));
        }
        let root = Node::new(0..0, DeValue::Table(self.tree(environment)));
        let mut app = Definition::decode(&mut context, &root);
        let (mut errors, untold, left_out, files) = context.finish();
        if !self.syntax.is_empty() {
            app = None;
            errors = [self.syntax.clone(), believable(self.source, &self.syntax, errors)].concat();
        }
        errors.sort_by_key(|error| error.span);
        if app.is_none() && errors.is_empty() {
            let message = "the definition could not be read, and no reason was found";
            errors.push(DecodeError::new(DecodeErrorKind::Internal, Span::default(), message));
        }
        Reading { app, errors, untold, left_out, files }
    }

    /// The environments by the layers that they have: those with the same ones are read as the same.
    pub fn groups(&self) -> BTreeMap<Vec<Layer>, BTreeSet<Environment>> {
        let mut groups: BTreeMap<_, BTreeSet<_>> = BTreeMap::new();
        for environment in self.environments() {
            groups.entry(self.layers(&environment)).or_default().insert(environment);
        }
        groups
    }

    /// Every mistake that it has in any environment, in the order of the source.
    pub fn errors(&self) -> Vec<DecodeError> {
        let mut errors = self.read(None).errors;
        let overridden = self.groups().into_iter().filter(|(layers, _)| !layers.is_empty());
        for environment in overridden.filter_map(|(_, environments)| environments.into_iter().next()) {
            for error in self.read(Some(&environment)).errors {
                if !errors.contains(&error) {
                    errors.push(error);
                }
            }
        }
        errors.sort_by_key(|error| error.span);
        errors
    }

    /// The tree of values that holds in an environment.
    fn tree(&self, environment: Option<&Environment>) -> DeTable<'s> {
        let mut tree = self.root.clone();
        for layer in environment.map(|environment| self.layers(environment)).unwrap_or_default() {
            if let Some(table) = overlay::table(&self.root, &layer) {
                overlay::lay(&mut tree, table);
            }
        }
        tree
    }

    /// The tables of the definition that override others in an environment, the weakest first.
    pub fn layers(&self, environment: &Environment) -> Vec<Layer> {
        let mut layers = environment.layers();
        layers.retain(|layer| overlay::table(&self.root, layer).is_some());
        // What a stage said was said of the stage's own stack.
        if self.language == Language::V1 && matches!(environment, Environment::Tenant { .. }) {
            layers.retain(|layer| matches!(layer, Layer::Tier(_)));
        }
        layers
    }

    /// The environments that the definition has: its stages, their tenants by tier, previews. Production is always one of them. None, if
    /// they are more than are checked, which is a mistake.
    pub fn environments(&self) -> Vec<Environment> {
        if self.too_many().is_some() {
            return Vec::new();
        }
        let (stages, tiers) = self.stages_and_tiers();
        let mut environments = Vec::new();
        for stage in stages {
            environments.push(Environment::Stage(stage.to_owned()));
            let tenant = |tier: &&str| Environment::Tenant { stage: stage.to_owned(), tier: Some((*tier).to_owned()) };
            environments.extend(tiers.iter().map(tenant));
        }
        environments.push(Environment::Preview);
        environments
    }

    /// The names of stages and tiers. What can't be a name is none, which is reported.
    fn stages_and_tiers(&self) -> (BTreeSet<&str>, BTreeSet<&str>) {
        let names = |word: &str| {
            let names = overlay::names(&self.root, word).into_iter();
            names.filter(|name| name.parse::<Name>().is_ok()).collect::<BTreeSet<&str>>()
        };
        let mut stages = names("stage");
        stages.insert(PRODUCTION);
        (stages, names("tier"))
    }

    /// What is wrong with a definition that has more environments than can be checked.
    fn too_many(&self) -> Option<String> {
        let (stages, tiers) = self.stages_and_tiers();
        let count = stages.len().saturating_mul(tiers.len().saturating_add(1)).saturating_add(1);
        let work = count.saturating_mul(self.source.len());
        let figures = || format!("{count} environments (stages: {}, tiers: {})", stages.len(), tiers.len());
        if count > MOST_ENVIRONMENTS {
            return Some(format!("the definition has {}; {MOST_ENVIRONMENTS} are the most", figures()));
        }
        // One of this many bytes is read however few environments there are: with none of its own a definition has two.
        (work > MOST_WORK && count > 2).then(|| {
            let bytes = self.source.len();
            let most = MOST_WORK / count;
            format!("the definition has {bytes} bytes and {}; with these, {most} bytes are the most", figures())
        })
    }

    /// Every value that is written, as it holds in an environment, by its path.
    pub fn values(&self, environment: Option<&Environment>) -> Vec<Written> {
        let layers = environment.map(|environment| self.layers(environment)).unwrap_or_default();
        let mut origins = BTreeMap::new();
        for layer in &layers {
            for (_, value) in overlay::table(&self.root, layer).map(overlay::leaves).unwrap_or_default() {
                origins.insert(value.span().start, layer.clone());
            }
        }
        let mut tree = self.tree(environment);
        overlay::without_layers(&mut tree);
        let lines = Lines::new(self.source);
        let written = overlay::leaves(&tree).into_iter().map(|(path, value)| Written {
            path,
            text: match value.get_ref() {
                DeValue::Table(_) => "{}".to_owned(),
                DeValue::String(_)
                | DeValue::Integer(_)
                | DeValue::Float(_)
                | DeValue::Boolean(_)
                | DeValue::Datetime(_)
                | DeValue::Array(_) => self.source.get(value.span()).unwrap_or_default().replace("\r\n", "\n"),
            },
            span: value.span().into(),
            line: lines.of(value.span().into()) + 1,
            layer: origins.get(&value.span().start).cloned(),
        });
        written.collect()
    }

    /// The paths of the files that the definition names, in any environment, whether they were at hand or not.
    pub fn files(&self) -> BTreeSet<String> {
        let mut files = self.read(None).files;
        let word = PartKind::Manifest.word();
        let overridden =
            |layer: &Layer| overlay::table(&self.root, layer).is_some_and(|table| table.contains_key(word));
        let named = self.groups().into_iter().filter(|(layers, _)| layers.iter().any(overridden));
        for environment in named.filter_map(|(_, environments)| environments.into_iter().next()) {
            files.append(&mut self.read(Some(&environment)).files);
        }
        files
    }
}

/// The most environments that a definition has: every one is checked.
const MOST_ENVIRONMENTS: usize = 100;

/// The most bytes that are read when every environment is: the work grows with both.
const MOST_WORK: usize = 2 << 20;

/// Reads a definition. The app is as it stands before anything overrides it.
///
/// # Errors
/// Every mistake in it, in any environment, in the order of the source.
pub fn decode(source: &str) -> Result<App, Vec<DecodeError>> {
    decode_as(source, None)
}

/// Reads a definition as it holds in an environment.
///
/// # Errors
/// Every mistake in it, in any environment, in the order of the source.
pub fn decode_in(source: &str, environment: &Environment) -> Result<App, Vec<DecodeError>> {
    decode_as(source, Some(environment))
}

fn decode_as(source: &str, environment: Option<&Environment>) -> Result<App, Vec<DecodeError>> {
    let files = Files::new();
    let document = Document::parse(Language::NEWEST, source, &files);
    let errors = document.errors();
    match document.read(environment).app {
        Some(app) if errors.is_empty() => Ok(app),
        _ => Err(errors),
    }
}

/// Reads as much of a definition as can be read, so that what is right can be checked beside what is wrong.
pub fn read(source: &str) -> Reading {
    read_in(Language::NEWEST, source, &Files::new())
}

/// The same of a definition in this version of the language, with the files that it names.
pub fn read_in(language: Language, source: &str, files: &Files) -> Reading {
    Document::parse(language, source, files).read(None)
}

fn parse(source: &str) -> (DeTable<'_>, Vec<DecodeError>) {
    let (table, errors) = DeTable::parse_recoverable(source);
    let errors = if errors.is_empty() { Vec::new() } else { syntax_errors(source, &errors) };
    (table.into_inner(), errors)
}
