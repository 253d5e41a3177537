//! An export as its view sees it: which resources are its own, which it claims, and by which labels claimed ones are seen.

use api::keys::{group, label};
use api::{builtin, hashes};
use machinery::object::ObjectExt;
use machinery::selector::{LabelSelector, Operator, Requirement};
use machinery::status::Result;
use permit::Cluster;
use serde_json::Value;
use tenancy::claims::ClaimKey;

use crate::Shard;

/// An APIExport.
pub(super) struct Export {
    pub cluster: Cluster,
    pub name: String,
    /// `status.identityHash`; empty until the export has one, and then it has no APIs.
    pub identity: String,
    object: Value,
}

/// What a resource is to an export.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Subject<'a> {
    /// One of its own, by the name of its schema.
    Own {
        schema: &'a str,
    },
    Claimed(Claim),
    /// Unclaimed, but shown for reading: the bindings to the export.
    Bindings,
    Unknown,
}

/// A permission claim of an export.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub key: ClaimKey,
    pub verbs: Vec<String>,
}

const BINDINGS: &str = "apibindings";

// === impl Export ===

impl Export {
    pub async fn find(shard: &dyn Shard, cluster: &Cluster, name: &str) -> Result<Option<Self>> {
        let object = shard.export(cluster, name).await?;
        Ok(object.map(|object| Self {
            cluster: cluster.clone(),
            name: name.to_owned(),
            identity: object
                .str_at(&["status", "identityHash"])
                .unwrap_or_default()
                .to_owned(),
            object,
        }))
    }

    /// What a name stands for. `identity` chooses between claims of one name; the export's own come first.
    pub fn subject(&self, group: &str, resource: &str, identity: Option<&str>) -> Subject<'_> {
        if self.identity.is_empty() {
            return Subject::Unknown;
        }
        let is_own = identity.is_none_or(|identity| identity == self.identity);
        if let Some(schema) = self.own(group, resource).filter(|_| is_own) {
            return Subject::Own { schema };
        }
        let mut claims = self.claims().filter(|claim| claim.is_about(group, resource));
        if let Some(claim) = claims.find(|claim| identity.is_none_or(|identity| identity == claim.stored_identity())) {
            return Subject::Claimed(claim);
        }
        match is_bindings(group, resource) && identity.is_none() {
            true => Subject::Bindings,
            false => Subject::Unknown,
        }
    }

    /// Groups and names of all that is here, each once.
    pub fn names(&self) -> Vec<(String, String)> {
        if self.identity.is_empty() {
            return Vec::new();
        }
        let mut names: Vec<(String, String)> = Vec::new();
        let mut put = |group: &str, resource: &str| {
            let name = (group.to_owned(), resource.to_owned());
            if !names.contains(&name) {
                names.push(name);
            }
        };
        for (group, resource, _) in self.resources() {
            put(group, resource);
        }
        for claim in self.claims() {
            let ClaimKey { group, resource, .. } = &claim.key;
            put(group, resource);
            // Events are stored once for both of their groups.
            if is_events(group, resource) {
                put("", resource);
                put("events.k8s.io", resource);
            }
        }
        put(group::APIS, BINDINGS);
        names
    }

    /// Which objects of a resource are seen; applied by storage.
    pub fn selector(&self, subject: &Subject<'_>, group: &str, resource: &str) -> LabelSelector {
        let requirement = match subject {
            Subject::Own { .. } => return LabelSelector::everything(),
            Subject::Unknown => return LabelSelector::nothing(),
            Subject::Bindings => {
                Requirement::equals(label::EXPORT, hashes::export_label(self.cluster.as_str(), &self.name))
            }
            Subject::Claimed(_) if is_review(group) => return LabelSelector::everything(),
            Subject::Claimed(claim) => {
                let key = hashes::claim_label_key(self.cluster.as_str(), &self.name);
                let ClaimKey {
                    group,
                    resource: of,
                    identity_hash,
                } = &claim.key;
                let mut values = vec![hashes::claim_label_value(group, of, identity_hash)];
                // A binding is not labelled by its own claim on bindings, but is seen by it.
                if is_bindings(group, resource) {
                    values.push(hashes::REFLEXIVE_CLAIM_VALUE.to_owned());
                }
                Requirement::new(key, Operator::In, values)
            }
        };
        LabelSelector::of(vec![requirement])
    }

    /// The binding of a cluster to this export. While it is being bound its status does not say to which cluster.
    pub async fn binding_in(&self, shard: &dyn Shard, cluster: &Cluster) -> Result<Option<Value>> {
        let is_to_this = |binding: &Value| {
            let reference = |member: &str| {
                binding
                    .str_at(&["spec", "reference", "export", member])
                    .unwrap_or_default()
            };
            let bound_to = match binding.str_at(&["status", "apiExportClusterName"]).unwrap_or_default() {
                "" => reference("path"),
                cluster => cluster,
            };
            reference("name") == self.name && bound_to == self.cluster.as_str()
        };
        Ok(shard.bindings(cluster).await?.into_iter().find(is_to_this))
    }

    /// Group, name and schema of the resources that are stored as objects.
    fn resources(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let list = self.object.at(&["spec", "resources"]).and_then(Value::as_array);
        let stored = list
            .into_iter()
            .flatten()
            .filter(|r| r.at(&["storage", "virtual"]).is_none());
        stored.filter_map(|resource| {
            let text = |member: &str| resource.get(member).and_then(Value::as_str);
            Some((text("group").unwrap_or_default(), text("name")?, text("schema")?))
        })
    }

    fn own(&self, group: &str, resource: &str) -> Option<&str> {
        let mut fitting = self.resources().filter(|(g, name, _)| *g == group && *name == resource);
        fitting.next().map(|(_, _, schema)| schema)
    }

    /// Claims that may be made: on what is compiled in, on the group of bindings, on what has an identity.
    fn claims(&self) -> impl Iterator<Item = Claim> {
        let list = self.object.at(&["spec", "permissionClaims"]).and_then(Value::as_array);
        list.into_iter().flatten().map(Claim::read).filter(|claim| {
            let ClaimKey {
                group, identity_hash, ..
            } = &claim.key;
            claim.is_common() || group == group::APIS || !identity_hash.is_empty()
        })
    }
}

// === impl Claim ===

impl Claim {
    pub fn read(claim: &Value) -> Self {
        let verbs = claim.get("verbs").and_then(Value::as_array);
        Self {
            key: ClaimKey::read(claim),
            verbs: verbs
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .map(str::to_owned)
                .collect(),
        }
    }

    /// Either group of events is claimed with the other.
    pub fn is_about(&self, group: &str, resource: &str) -> bool {
        let ClaimKey {
            group: claimed,
            resource: of,
            ..
        } = &self.key;
        of == resource && (claimed == group || is_events(claimed, of) && is_events(group, resource))
    }

    /// The identity that the objects are stored under: what is compiled in has none, whatever the claim says.
    pub fn stored_identity(&self) -> &str {
        match self.is_common() || self.key.group == group::APIS {
            true => "",
            false => &self.key.identity_hash,
        }
    }

    /// The verbs that both sides name, literally: `*` counts if it stands in both (kcp's facts, F.2).
    pub fn allows(&self, accepted: &Value, verb: &str) -> bool {
        let accepted = accepted.get("verbs").and_then(Value::as_array).into_iter().flatten();
        let mut common = accepted
            .filter_map(Value::as_str)
            .filter(|verb| self.verbs.iter().any(|v| v == verb));
        common.any(|v| v == "*" || v == verb)
    }

    fn is_common(&self) -> bool {
        builtin::is_claimable(&self.key.group, &self.key.resource)
    }
}

pub(super) fn is_bindings(group: &str, resource: &str) -> bool {
    group == group::APIS && resource == BINDINGS
}

fn is_events(group: &str, resource: &str) -> bool {
    resource == "events" && matches!(group, "" | "events.k8s.io")
}

/// Reviews are answered and forgotten: there is nothing to be labelled.
pub(super) fn is_review(group: &str) -> bool {
    matches!(group, "authorization.k8s.io" | "authentication.k8s.io")
}
