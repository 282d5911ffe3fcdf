//! Whatever is logged says on behalf of which operation and step.

use std::io::{self, Write};
use std::sync::{Arc, Mutex};

use freehold_platform::view::OperationState;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::FmtSpan;

use crate::testbed::Testbed;

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_logged_of_an_operation_names_it_and_its_step() {
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_writer(log.clone()).with_ansi(false).with_span_events(FmtSpan::NEW);
    // For the whole process: what other tests log is about other operations.
    tracing::subscriber::set_global_default(subscriber.finish()).unwrap();
    let bed = Testbed::new().await;
    let finished = bed.apply(Testbed::deploy("acme")).await;
    assert_eq!(finished.state, OperationState::Succeeded);
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let operation = format!("operation{{id={} stack=notes/tenant/acme purpose=Deploy}}", finished.operation);
    assert!(text.lines().any(|line| line.contains(&operation) && line.ends_with("begins")), "{text}");
    let step = format!("{operation}:step{{id=create/database.main stack=notes/tenant/acme}}");
    assert!(text.contains(&step), "{text}");
}
