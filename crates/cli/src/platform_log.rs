//! The platform's own log: `freehold.log` where it runs in the background, else stderr.
//!
//! It never grows without end, whatever tenants do: the same thing of the same stack is said [`MOST`] times a minute at most, and the file
//! is moved to `freehold.log.1` when it is larger than [`LARGEST`]. What was left out is counted, and said in the next line.

use std::collections::HashMap;
use std::fs::{self, File};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::span::{Attributes, Id, Record};
use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, fmt};

use crate::arguments::LogFormat;
use crate::terminal::text::safe;

/// Its name, in the data directory.
pub(crate) const FILE: &str = "freehold.log";
/// The size at which the file is moved aside, in bytes. One old one is kept.
const LARGEST: u64 = 16 << 20;
/// How often the same thing is said of the same stack within [`SPAN`].
const MOST: u32 = 20;
const SPAN: Duration = Duration::from_secs(60);
/// How many different things are remembered.
const REMEMBERED: usize = 4096;

/// Begins to log: into `folder` where the platform runs in the background there.
pub(crate) fn begin(format: LogFormat, folder: Option<&Path>) {
    // What matters to people is shown by the commands, so only warnings on a terminal.
    let usual = if io::stderr().is_terminal() { "warn" } else { "warn,freehold=info,freehold_server=info" };
    let filter = EnvFilter::try_from_env("FREEHOLD_LOG").unwrap_or_else(|_| EnvFilter::new(usual));
    let moderation = RateLimit::default();
    let left_out = Arc::clone(&moderation.left_out);
    let place = LogFile { file: folder.map(|folder| folder.join(FILE)), written: 0 };
    let sink = Sink { place: Arc::new(Mutex::new(place)), left_out, text: format == LogFormat::Text };
    let layer = fmt::layer().with_writer(sink);
    let registry = tracing_subscriber::registry().with(filter).with(moderation);
    let _ = match format {
        LogFormat::Text => registry.with(layer.with_ansi(io::stderr().is_terminal())).try_init(),
        LogFormat::Json => registry.with(layer.json()).try_init(),
    };
}

/// Opens the file for a platform that is about to begin; one that has become large is moved aside.
pub(crate) fn open(folder: &Path) -> io::Result<File> {
    let path = folder.join(FILE);
    if fs::metadata(&path).is_ok_and(|found| found.len() > LARGEST) {
        set_aside(&path)?;
    }
    append(&path)
}

fn append(path: &Path) -> io::Result<File> {
    File::options().create(true).append(true).mode(0o600).open(path)
}

fn set_aside(path: &Path) -> io::Result<()> {
    fs::rename(path, path.with_extension("log.1"))
}

/// Where lines go. Clones are the same place.
#[derive(Clone)]
struct Sink {
    place: Arc<Mutex<LogFile>>,
    left_out: Arc<AtomicU64>,
    /// Text, which terminals may obey; JSON has escapes of its own.
    text: bool,
}

struct LogFile {
    /// The file that stderr is, if it is one of ours.
    file: Option<PathBuf>,
    /// How much was written since the file's size was looked at, in bytes.
    written: u64,
}

impl LogFile {
    /// Moves the file aside when it has become too large, and lets stdout and stderr go on with a new one.
    fn turn(&mut self) -> io::Result<()> {
        let Some(path) = self.file.as_ref().filter(|_| self.written > LARGEST / 16) else { return Ok(()) };
        self.written = 0;
        if fs::metadata(path)?.len() > LARGEST {
            set_aside(path)?;
            let file = append(path)?;
            rustix::stdio::dup2_stdout(&file)?;
            rustix::stdio::dup2_stderr(&file)?;
        }
        Ok(())
    }
}

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut place = self.place.lock().unwrap_or_else(PoisonError::into_inner);
        // A file that can't be turned is gone on with.
        let _ = place.turn();
        let mut stderr = io::stderr().lock();
        let left_out = self.left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            writeln!(stderr, "… {left_out} lines were left out: the same was said of the same stack again and again")?;
        }
        match self.text {
            // Lines quote what tenants said.
            true => stderr.write_all(safe(&String::from_utf8_lossy(line)).as_bytes())?,
            false => stderr.write_all(line)?,
        }
        place.written += line.len() as u64;
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl<'a> MakeWriter<'a> for Sink {
    type Writer = Self;

    fn make_writer(&'a self) -> Self::Writer {
        self.clone()
    }
}

/// Leaves out what is said again and again.
#[derive(Default)]
struct RateLimit {
    said: Mutex<HashMap<u64, (Instant, u32)>>,
    left_out: Arc<AtomicU64>,
}

impl RateLimit {
    /// Whether something may be said once more at this time.
    fn admits(&self, what: u64, now: Instant) -> bool {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= REMEMBERED {
            said.retain(|_, (since, _)| now.duration_since(*since) < SPAN);
        }
        if said.len() >= REMEMBERED && !said.contains_key(&what) {
            return false;
        }
        let (since, times) = said.entry(what).or_insert((now, 0));
        if now.duration_since(*since) >= SPAN {
            (*since, *times) = (now, 0);
        }
        *times += 1;
        *times <= MOST
    }
}

/// What a span is about, of what [`Subject`] looks at.
struct OfSpan(u64);

impl<S: tracing::Subscriber + for<'a> LookupSpan<'a>> Layer<S> for RateLimit {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let mut subject = Subject(DefaultHasher::new());
        attributes.record(&mut subject);
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(OfSpan(subject.0.finish()));
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut extensions = span.extensions_mut();
        let mut subject = Subject(DefaultHasher::new());
        if let Some(OfSpan(before)) = extensions.get_mut::<OfSpan>() {
            before.hash(&mut subject.0);
        }
        values.record(&mut subject);
        extensions.replace(OfSpan(subject.0.finish()));
    }

    fn event_enabled(&self, event: &tracing::Event<'_>, context: Context<'_, S>) -> bool {
        let mut subject = Subject(DefaultHasher::new());
        event.metadata().callsite().hash(&mut subject.0);
        event.record(&mut subject);
        for span in context.event_scope(event).into_iter().flatten() {
            if let Some(OfSpan(about)) = span.extensions().get::<OfSpan>() {
                about.hash(&mut subject.0);
            }
        }
        let admitted = self.admits(subject.0.finish(), Instant::now());
        if !admitted {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        admitted
    }
}

/// What an event is about: its place in the program, and the stack, which it may have from its spans.
struct Subject(DefaultHasher);

impl tracing::field::Visit for Subject {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        if matches!(field.name(), "stack" | "service" | "log") {
            format!("{value:?}").hash(&mut self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_said_a_few_times_and_then_again_after_a_while() {
        let moderation = RateLimit::default();
        let now = Instant::now();
        let said = |what: u64, now: Instant| (0..1000).filter(|_| moderation.admits(what, now)).count();
        assert_eq!(said(1, now), 20);
        assert_eq!(said(2, now), 20);
        assert_eq!(said(1, now + SPAN / 2), 0);
        assert_eq!(said(1, now + SPAN), 20);
    }

    #[test]
    fn a_stack_that_is_named_by_a_span_has_lines_of_its_own() {
        let (moderation, written) = (RateLimit::default(), Counted::default());
        let subscriber = tracing_subscriber::registry().with(moderation).with(written.clone());
        tracing::subscriber::with_default(subscriber, || {
            for stack in 0..3 {
                let span = tracing::warn_span!("operation", stack = tracing::field::Empty);
                span.record("stack", stack);
                let _entered = span.enter();
                (0..MOST + 5).for_each(|_| tracing::warn!("begins"));
            }
        });
        assert_eq!(written.0.load(Ordering::Relaxed), u64::from(3 * MOST));
    }

    #[derive(Clone, Default)]
    struct Counted(Arc<AtomicU64>);

    impl<S: tracing::Subscriber> Layer<S> for Counted {
        fn on_event(&self, _event: &tracing::Event<'_>, _context: Context<'_, S>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let moderation = RateLimit::default();
        let now = Instant::now();
        for what in 0..10_000 {
            moderation.admits(what, now);
        }
        assert_eq!(moderation.said.lock().unwrap().len(), REMEMBERED);
        assert!(moderation.admits(20_000, now + SPAN));
    }

    #[test]
    fn a_large_file_is_moved_aside_before_a_platform_begins() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(FILE);
        File::create(&path).unwrap().set_len(LARGEST + 1).unwrap();
        let file = open(folder.path()).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 0);
        assert_eq!(fs::metadata(folder.path().join("freehold.log.1")).unwrap().len(), LARGEST + 1);
        assert_eq!(open(folder.path()).unwrap().metadata().unwrap().len(), 0);
    }
}
