//! kcp-apiexport: the identity of an export and its endpoint slice (kcp's facts, E.1, E.2).

use api::conditions::{self, Severity};
use api::hashes;
use api::keys::{annotation, condition, namespace};
use api::types::{default_endpoint_slice, identity_key, identity_secret, secret_key};
use machinery::object::ObjectExt;
use plan::{Context, Controller, Effect, Key, Plan, ResourceRef, Seen, Trigger, View};
use serde_json::{Value, json};

use crate::refs;

pub struct Exports;

impl Controller for Exports {
    fn name(&self) -> &'static str {
        "kcp-apiexport"
    }

    fn watches(&self) -> Vec<ResourceRef> {
        vec![refs::exports(), refs::secrets()]
    }

    fn keys(&self, trigger: &Trigger<'_>, view: &dyn View) -> Vec<Key> {
        if *trigger.resource == refs::exports() {
            return trigger
                .new
                .map(|_| Key::new(trigger.cluster, "", trigger.name))
                .into_iter()
                .collect();
        }
        // Any secret may be some export's identity; few clusters have exports.
        let all = machinery::selector::LabelSelector::everything();
        let exports = view.list(&refs::exports(), &permit::Scope::One(trigger.cluster.clone()), "", &all);
        exports
            .iter()
            .filter(|e| secret_of(e) == Some((trigger.namespace, trigger.name)))
            .map(|e| Key::new(trigger.cluster, "", e.name()))
            .collect()
    }

    fn plan(&self, key: &Key, view: &dyn View, context: &Context) -> Plan {
        let of = refs::exports().object(&key.cluster, "", &key.name);
        let Seen::Found(seen) = view.get(&of) else {
            return Plan::done();
        };
        if seen.deletion_timestamp().is_some() {
            return Plan::done();
        }
        let mut effects = Vec::new();
        let mut want = Value::clone(&seen);
        if secret_of(&want).is_none() {
            effects.extend(new_secret(key, view, context));
            let reference = json!({"namespace": namespace::KCP_SYSTEM, "name": key.name});
            want.set_at(&["spec", "identity", "secretRef"], reference);
        } else {
            verify(&mut want, key, view, context);
        }
        effects.extend(endpoint_slice(key, view, &seen));
        if want != *seen {
            effects.push(Effect::Update { of, object: want });
        }
        Plan {
            effects,
            ..Plan::default()
        }
    }
}

fn secret_of(export: &Value) -> Option<(&str, &str)> {
    let reference = export.at(&["spec", "identity", "secretRef"])?;
    Some((reference.str_at(&["namespace"])?, reference.str_at(&["name"])?))
}

fn new_secret(key: &Key, view: &dyn View, context: &Context) -> Vec<Effect> {
    let mut effects = Vec::new();
    let namespace = refs::namespaces().object(&key.cluster, "", namespace::KCP_SYSTEM);
    if view.get(&namespace) == Seen::Absent {
        let object = api::types::namespace(namespace::KCP_SYSTEM);
        effects.push(Effect::Create {
            of: namespace,
            object,
            adopt: true,
        });
    }
    let of = refs::secrets().object(&key.cluster, namespace::KCP_SYSTEM, &key.name);
    if view.get(&of) == Seen::Absent {
        let object = identity_secret(&key.name, &identity_key(&context.seed));
        effects.push(Effect::Create {
            of,
            object,
            adopt: true,
        });
    }
    effects
}

fn verify(want: &mut Value, key: &Key, view: &dyn View, context: &Context) {
    let Some((namespace, name)) = secret_of(want).map(|(ns, n)| (ns.to_owned(), n.to_owned())) else {
        return;
    };
    let kind = condition::IDENTITY_VALID;
    let reason = condition::reason::IDENTITY_VERIFICATION_FAILED;
    let now = &context.now;
    let secret = view.get(&refs::secrets().object(&key.cluster, &namespace, &name));
    let Seen::Found(secret) = secret else {
        let text = format!("secrets {name:?} not found");
        conditions::mark_false(want, kind, reason, Severity::Error, &text, now);
        return;
    };
    let Some(identity_key) = secret_key(&secret) else {
        conditions::mark_false(want, kind, reason, Severity::Error, "secret is missing data.key", now);
        return;
    };
    let hash = hashes::identity_hash(&identity_key);
    match want.str_at(&["status", "identityHash"]).filter(|h| !h.is_empty()) {
        Some(recorded) if recorded != hash => {
            let text =
                format!("hash mismatch: identity secret hash {hash:?} must match status.identityHash {recorded:?}");
            conditions::mark_false(want, kind, reason, Severity::Error, &text, now);
        }
        _ => {
            want.set_at(&["status", "identityHash"], json!(hash));
            conditions::mark_true(want, kind, now);
        }
    }
}

fn endpoint_slice(key: &Key, view: &dyn View, export: &Value) -> Option<Effect> {
    if export.annotation(annotation::SKIP_ENDPOINT_SLICE).is_some() {
        return None;
    }
    let of = refs::endpoint_slices().object(&key.cluster, "", &key.name);
    let absent = view.get(&of) == Seen::Absent;
    absent.then(|| Effect::Create {
        of,
        object: default_endpoint_slice(export),
        adopt: true,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Literals, cluster};

    #[test]
    fn an_export_gets_identity_and_slice() {
        let mut world = Literals::default();
        world.put(&refs::exports(), "prov", json!({"metadata": {"name": "e"}, "spec": {}}));
        world.settle(&Exports, &Key::new(&cluster("prov"), "", "e"));
        let export = world.object(&refs::exports(), "prov", "", "e").unwrap();
        assert!(conditions::is_true(export, condition::IDENTITY_VALID));
        assert_eq!(export.str_at(&["status", "identityHash"]).unwrap().len(), 64);
        assert!(world.object(&refs::endpoint_slices(), "prov", "", "e").is_some());
    }

    #[test]
    fn an_identity_never_changes() {
        let mut world = Literals::default();
        let export = json!({"metadata": {"name": "e"}, "spec": {}, "status": {"identityHash": "abc"}});
        world.put(&refs::exports(), "prov", export);
        world.settle(&Exports, &Key::new(&cluster("prov"), "", "e"));
        let export = world.object(&refs::exports(), "prov", "", "e").unwrap();
        let condition = conditions::get(export, condition::IDENTITY_VALID).unwrap();
        assert!(condition.message.starts_with("hash mismatch:"), "{}", condition.message);
    }
}
