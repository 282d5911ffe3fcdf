//! Takes over what a former Freehold left of a service.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use freehold_engine::{Context, ProviderError};
use tokio::time::Instant;

use super::Keeper;
use crate::directory;
use crate::failure;
use crate::instance::{Instance, InstanceRecord};
use crate::launch::Launch;
use crate::process;
use crate::slot::Slot;

impl Keeper {
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
        let folder = self.machine.directory.instances(self.stack, self.id.name());
        for path in directory::entries(&folder).map_err(|error| failure::file("read", &folder, &error))? {
            if let Err(error) = self.recover_instance(&path).await {
                tracing::warn!(record = %path.display(), %error, "an instance could not be taken over");
            }
        }
        if !self.machine.are_strays_ended() {
            let known: Vec<String> = self.known_instances(&folder);
            let (stack, id, platform) = (self.stack, &self.id.0, self.machine.platform);
            let opened = self.machine.opened;
            let stray = |mark: &process::Marked| {
                mark.stack == stack
                    && mark.platform == Some(platform)
                    && mark.id.start <= opened
                    && mark.resource.as_ref() == Some(id)
                    && !mark.instance.as_ref().is_some_and(|instance| known.contains(instance))
            };
            process::end_marked(stray, Instant::now() + self.patience()).await;
        }
        self.recovered = true;
        Ok(())
    }

    fn known_instances(&self, folder: &Path) -> Vec<String> {
        let names = directory::entries(folder).unwrap_or_default();
        names.iter().filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect()
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
        let Some(instance) = Instance::adopt(&self.machine, path.to_owned(), record)? else {
            return directory::remove(path);
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
