//! Shards that were chosen and then did not answer. Nobody has seen anything of what may have been begun there, so another
//! shard is chosen, with another name; the Workspace remembers where it was, and takes away what is found there later.

use std::time::Duration;

use api::keys::{annotation, object::LOGICAL_CLUSTER};
use machinery::object::ObjectExt;
use permit::Cluster;
use plan::{Effect, Plan, Seen};

use super::Run;
use crate::refs;

/// One choice that was given up.
struct Abandoned {
    shard: String,
    cluster: Cluster,
    /// Seconds since the epoch.
    at: i64,
}

/// What was on its way to a shard that did not go on may arrive after it was looked for.
const ARRIVES_WITHIN_SECONDS: i64 = 60;
/// How often it is looked for: nothing tells of a shard's return whose Workspace waits for nothing else.
const INTERVAL: Duration = Duration::from_secs(10);

// === impl Abandoned ===

impl Abandoned {
    fn parse(text: &str) -> Option<Self> {
        let (shard, rest) = text.split_once('/')?;
        let (cluster, at) = rest.split_once('/')?;
        Some(Self {
            shard: shard.to_owned(),
            cluster: Cluster::parse(cluster).ok()?,
            at: at.parse().ok()?,
        })
    }

    fn to_text(&self) -> String {
        format!("{}/{}/{}", self.shard, self.cluster, self.at)
    }
}

// === impl Run ===

impl Run<'_> {
    /// Gives the choice up that is written down.
    pub(super) fn abandon(&mut self) {
        let shard = self.want.annotation(annotation::SHARD).map(str::to_owned);
        let chosen = shard.zip(self.cluster());
        self.want.remove_annotation(annotation::SHARD);
        self.want.remove_annotation(annotation::SCHEDULED_CLUSTER);
        let mut all = self.abandoned();
        all.extend(chosen.map(|(shard, cluster)| Abandoned {
            shard,
            cluster,
            at: self.context.now_seconds,
        }));
        self.note_abandoned(&all);
    }

    /// When the plan is to run again for their sake.
    pub(super) fn sweeps_again(&self) -> Option<Duration> {
        (!self.abandoned().is_empty()).then_some(INTERVAL)
    }

    /// Takes away what is found on shards that are back, and forgets what is not. The plan that fetches, if that comes first.
    pub(super) fn sweep(&mut self) -> Result<Vec<Effect>, Plan> {
        let members = self.view.members();
        let is_live = |name: &str| members.iter().any(|member| member.name == name && member.is_live);
        let (mut left, mut effects) = (Vec::new(), Vec::new());
        for one in self.abandoned() {
            if !is_live(&one.shard) {
                left.push(one);
                continue;
            }
            let of = refs::logical_clusters().object(&one.cluster, "", LOGICAL_CLUSTER);
            let of = of.on(&one.shard);
            match self.view.get(&of) {
                Seen::Unknown => return Err(Plan::need(of)),
                Seen::Found(object) if object.str_at(&["spec", "owner", "uid"]) == Some(self.seen.uid()) => {
                    if object.deletion_timestamp().is_none() {
                        effects.push(Effect::Delete {
                            of,
                            uid: object.uid().to_owned(),
                            resource_version: None,
                        });
                    }
                    left.push(one);
                }
                Seen::Absent if self.context.now_seconds < one.at + ARRIVES_WITHIN_SECONDS => left.push(one),
                Seen::Found(_) | Seen::Absent => {}
            }
        }
        self.note_abandoned(&left);
        Ok(effects)
    }

    fn abandoned(&self) -> Vec<Abandoned> {
        let text = self.want.annotation(annotation::ABANDONED).unwrap_or_default();
        text.split(',').filter_map(Abandoned::parse).collect()
    }

    fn note_abandoned(&mut self, all: &[Abandoned]) {
        let texts: Vec<String> = all.iter().map(Abandoned::to_text).collect();
        match texts.is_empty() {
            true => _ = self.want.remove_annotation(annotation::ABANDONED),
            false => self.want.set_annotation(annotation::ABANDONED, &texts.join(",")),
        }
    }
}
