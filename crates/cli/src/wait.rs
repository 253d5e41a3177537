//! Waiting for a server to do something, saying what is waited for once it takes long.

use std::time::Duration;

use env::Clock;
use machinery::object::ObjectExt;
use serde_json::Value;

use crate::output::Console;

/// The patience of one wait, and what it says meanwhile.
pub struct Wait<'a> {
    clock: &'a Clock,
    console: &'a Console,
    /// Named in progress and in failure: `workspace "x"`.
    what: String,
    began: Duration,
    spoken: Duration,
    limit: Duration,
    blocked: String,
}

/// Silent for so long, then a line that often.
const PROGRESS: Duration = Duration::from_secs(3);

// === impl Wait ===

impl<'a> Wait<'a> {
    pub fn new(clock: &'a Clock, console: &'a Console, what: impl Into<String>, limit: Duration) -> Self {
        let now = clock.monotonic();
        Self {
            clock,
            console,
            what: what.into(),
            began: now,
            spoken: now,
            limit,
            blocked: String::new(),
        }
    }

    /// Sleeps until the next look, after one that was in vain because of `blocked`; fails when the time is over.
    pub async fn pause(&mut self, period: Duration, blocked: String) -> anyhow::Result<()> {
        let now = self.clock.monotonic();
        let elapsed = now.saturating_sub(self.began);
        let seconds = elapsed.as_secs();
        if elapsed + period > self.limit {
            anyhow::bail!("{} is not ready after {seconds}s: {blocked}", self.what);
        }
        if blocked != self.blocked && elapsed >= PROGRESS || now.saturating_sub(self.spoken) >= PROGRESS {
            self.console
                .note(format!("Waiting for {} ({seconds}s): {blocked}", self.what));
            self.spoken = now;
            self.blocked = blocked;
        }
        self.clock.sleep(period).await;
        Ok(())
    }
}

/// Why an object is not there yet: its phase, and the message of its first condition that is not true.
pub fn blocking(object: &Value) -> String {
    let phase = object.str_at(&["status", "phase"]).filter(|phase| !phase.is_empty());
    let mut text = format!("phase {}", phase.unwrap_or("unknown"));
    let conditions = object.at(&["status", "conditions"]).and_then(Value::as_array);
    // Ready sums up the others.
    let open = conditions
        .into_iter()
        .flatten()
        .filter(|condition| condition.str_at(&["status"]) != Some("True"))
        .min_by_key(|condition| condition.str_at(&["type"]) == Some("Ready"));
    if let Some(condition) = open {
        let part = |name: &str| condition.str_at(&[name]).unwrap_or_default();
        text = format!("{text}, {} is {}", part("type"), part("status"));
        for detail in [part("reason"), part("message")]
            .iter()
            .filter(|detail| !detail.is_empty())
        {
            text = format!("{text}: {detail}");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_first_condition_that_is_not_true_blocks() {
        let object = json!({"status": {"phase": "Initializing", "conditions": [
            {"type": "Ready", "status": "False"},
            {"type": "WorkspaceInitialized", "status": "False", "reason": "InitializerExists", "message": "a waits"},
        ]}});
        assert_eq!(
            blocking(&object),
            "phase Initializing, WorkspaceInitialized is False: InitializerExists: a waits"
        );
        assert_eq!(blocking(&json!({})), "phase unknown");
    }
}
