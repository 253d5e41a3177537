//! Whatever runs beside the shards, kept running: what starts it, and where it is found while it serves.

use std::sync::Arc;

use anyhow::Result;
use async_trait::async_trait;
use env::Env;
use env::simulated::Crash;
use parking_lot::Mutex;

use crate::client::Site;
use crate::keeper::{End, Program, Reaper, Serving};

/// The present life, while it serves.
pub type Up<T> = Arc<Mutex<Option<Arc<T>>>>;

/// How a program starts.
#[async_trait]
pub trait Start: Clone + Send + Sync + 'static {
    type Running: Send + Sync + 'static;

    async fn start(&self, env: &Env) -> Result<Self::Running>;
}

/// Kept running.
pub struct Process<S: Start> {
    pub name: &'static str,
    pub site: Site,
    pub start: S,
    pub up: Up<S::Running>,
}

// === impl Process ===

#[async_trait]
impl<S: Start> Program for Process<S>
where
    Arc<S::Running>: Serving,
{
    async fn live(&self, env: Env, _reaper: Reaper) -> End {
        let (starting_env, start) = (env.clone(), self.start.clone());
        let starting = async move { start.start(&starting_env).await };
        match env.spawn.spawn("start", starting).await {
            Ok(Ok(running)) => {
                self.site.note(self.name, format_args!("serves"));
                *self.up.lock() = Some(Arc::new(running));
                std::future::pending().await
            }
            Ok(Err(error)) => self.site.note(self.name, format_args!("does not start: {error:#}")),
            Err(stopped) => self.site.note(self.name, format_args!("does not start: {stopped}")),
        }
        End::Crash(Crash::Process)
    }

    fn leave(&self) -> Option<Box<dyn Serving>> {
        let running = self.up.lock().take()?;
        Some(Box::new(running))
    }

    fn name(&self) -> &'static str {
        self.name
    }
}
