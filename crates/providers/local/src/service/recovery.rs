//! Takes over what a former Freehold left of a service.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use freehold_engine::{Context, ProviderError};
use tokio::time::Instant;

use super::ServiceLoop;
use crate::directory;
use crate::exhaustion::is_exhaustion;
use crate::failure;
use crate::instance::Instance;
use crate::instance_record::InstanceRecord;
use crate::launch::Launch;
use crate::mark::Marked;
use crate::membership::end_all;
use crate::slot::Slot;

/// How long is waited for what we lack ourselves before an instance counts as one that can't be taken over, and how often is tried.
const SHORTAGE: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(100);

impl ServiceLoop {
    /// Takes over what a former Freehold left: instances of the version that counts are adopted, all others ended.
    pub(super) async fn recover(&mut self, context: &Context) -> Result<(), ProviderError> {
        if self.recovered {
            return Ok(());
        }
        if let Some(record) = &self.record {
            let launch = Launch::new(context.clone(), record.resource.clone(), &record.desired)?;
            self.launch = Some(Arc::new(launch));
            (self.generation, self.generations) = (1, 1);
            self.roster.serve(self.generation);
        }
        let folder = self.machine.directory.instances(self.stack, &self.id);
        for path in directory::entries(&folder).map_err(|error| failure::file("read", &folder, &error))? {
            let until = Instant::now() + SHORTAGE;
            while let Err(error) = self.recover_instance(&path).await {
                if !is_exhaustion(&error) || Instant::now() >= until {
                    tracing::warn!(record = %path.display(), %error, "could not adopt an instance");
                    break;
                }
                tokio::time::sleep(LOOK).await;
            }
        }
        if !self.machine.are_strays_ended() {
            let known = self.known_instances(&folder)?;
            let (stack, id, platform) = (self.stack, &self.id.0, self.machine.platform);
            let opened = self.machine.opened;
            let stray = |mark: &Marked| {
                mark.stack == stack
                    && mark.platform == Some(platform)
                    && mark.id.start <= opened
                    && mark.is_of(id)
                    && !mark.instance.as_ref().is_some_and(|instance| known.contains(instance))
            };
            let machine = &self.machine;
            let strays = || Ok(machine.marked()?.into_iter().filter(stray).map(|mark| mark.id).collect());
            if !end_all(strays, Instant::now() + self.patience()).await.all {
                return Err(failure::still_running(id));
            }
        }
        self.recovered = true;
        Ok(())
    }

    fn known_instances(&self, folder: &Path) -> Result<Vec<String>, ProviderError> {
        let names = directory::entries(folder).map_err(|error| failure::file("read", folder, &error))?;
        Ok(names.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect())
    }

    fn patience(&self) -> Duration {
        self.launch.as_ref().map_or(Duration::from_secs(10), |launch| launch.body.stop_timeout)
    }

    async fn recover_instance(&mut self, path: &Path) -> std::io::Result<()> {
        let record = match directory::read_json::<InstanceRecord>(path) {
            Ok(Some(record)) => record,
            Ok(None) => return Ok(()),
            // Torn by a power failure, after which no process of it runs; one that did is found by its mark.
            Err(error) if directory::is_torn(&error) => {
                return directory::remove(path);
            }
            Err(error) => return Err(error),
        };
        let number = record.slot;
        let fingerprint = record.fingerprint.clone();
        let members = record.members(&self.machine, self.stack);
        let Some(instance) = Instance::adopt(&self.machine, self.stack, path.to_owned(), record)? else {
            // It has ended meanwhile; what it had started is no use without it.
            if end_all(|| members.find(), Instant::now() + self.patience()).await.all {
                if let Some(group) = &members.group {
                    group.remove();
                }
                directory::remove(path)?;
            }
            return Ok(());
        };
        let launch = self.launch.clone().filter(|launch| {
            launch.fingerprint == fingerprint
                && number <= launch.body.replicas
                && self.slots.iter().all(|slot| slot.number != number)
        });
        match launch {
            Some(launch) => {
                let duty = self.duty(&launch, self.generation, number);
                self.slots.push(Slot::begin(duty, Some(instance)));
            }
            None => {
                instance.end(&self.machine, self.patience()).await;
            }
        }
        Ok(())
    }
}
