//! What the tests of this crate share: a registry over the model store, definitions, requests.

use std::sync::Arc;

use env::Env;
use env::simulated::SimOptions;
use kv::model::ModelKv;
use machinery::object::ObjectExt;
use machinery::options::{DeleteOptions, GetOptions, ListOptions, WriteOptions};
use machinery::status::{Result, Status};
use machinery::user::User;
use permit::{Cluster, Permit, Scope};
use serde_json::{Value, json};
use storage::{Store, StoreOptions};

use crate::builtin::{BuiltinResource, builtin_defs};
use crate::represent::{Form, Representation};
use crate::{
    Admission, AdmissionChain, Backend, CustomDefinition, DefinitionCache, Item, Names, Origin, Outcome, Patch,
    Registry, Request, Resolved, ResourceDef, Subresource, Target,
};

/// A registry with an empty store.
pub(crate) struct Fixture {
    pub env: Env,
    pub registry: Registry,
    pub cluster: Cluster,
    defs: Vec<Arc<ResourceDef>>,
    /// The user agent's first word.
    pub agent: String,
}

/// What a call is about, as the tests say it.
#[derive(Clone)]
pub(crate) struct At {
    pub target: Target,
}

pub(crate) fn definitions() -> Value {
    let text = include_str!("../../api/data/builtin-definitions.json");
    serde_json::from_str(text).expect("the data file is JSON")
}

/// The compiled-in resources, read from the same data that the server has.
pub(crate) fn builtins() -> Vec<Arc<ResourceDef>> {
    let text = include_str!("../../api/data/builtin-resources.json");
    let list: Vec<Value> = serde_json::from_str(text).expect("the data file is JSON");
    let texts = |value: Option<&Value>| -> Vec<String> {
        let list = value.and_then(Value::as_array);
        list.into_iter()
            .flatten()
            .filter_map(|v| v.as_str().or_else(|| v.str_at(&["name"])).map(str::to_owned))
            .collect()
    };
    let resources: Vec<BuiltinResource> = list
        .iter()
        .filter(|r| r.get("storage").is_some())
        .map(|r| {
            let text = |field: &str| r.str_at(&[field]).unwrap_or_default().to_owned();
            let stored = (
                r.str_at(&["storage", "group"]).unwrap_or_default(),
                r.str_at(&["storage", "resource"]),
            );
            let stored_as = (stored.0 != text("group")).then(|| {
                (
                    stored.0.to_owned(),
                    "v1".to_owned(),
                    stored.1.unwrap_or_default().to_owned(),
                )
            });
            BuiltinResource {
                group: text("group"),
                version: text("version"),
                names: Names {
                    plural: text("plural"),
                    singular: text("singular"),
                    kind: text("kind"),
                    list_kind: text("listKind"),
                    short_names: texts(r.get("shortNames")),
                    categories: Vec::new(),
                },
                namespaced: r.get("namespaced") == Some(&Value::Bool(true)),
                verbs: texts(r.get("verbs")),
                subresources: texts(r.get("subresources")),
                stored_as,
                storage_version_hash: text("storageVersionHash"),
                definition: text("schema"),
            }
        })
        .collect();
    builtin_defs(&resources, &definitions())
}

/// A CRD of widgets: a status subresource, a default, a rule, a list map.
pub(crate) fn widget_crd() -> Value {
    let schema = json!({"type": "object", "properties": {
        "spec": {
            "type": "object",
            "x-kubernetes-validations": [{"rule": "!has(self.size) || self.size != 13", "message": "13 is unlucky"}],
            "properties": {
                "colour": {"type": "string", "default": "red"},
                "size": {"type": "integer", "minimum": 1},
                "replicas": {"type": "integer"},
                "ports": {
                    "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["port"],
                    "items": {"type": "object", "required": ["port"], "properties": {
                        "port": {"type": "integer"}, "name": {"type": "string"},
                    }},
                },
            },
        },
        "status": {"type": "object", "properties": {"phase": {"type": "string"}, "replicas": {"type": "integer"}}},
    }});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.io", "generation": 1, "annotations": {"kcp.io/cluster": "root"}},
        "spec": {
            "group": "example.io", "scope": "Namespaced",
            "names": {"plural": "widgets", "singular": "widget", "kind": "Widget", "listKind": "WidgetList"},
            "versions": [
                {
                    "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                    "subresources": {
                        "status": {},
                        "scale": {"specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"},
                    },
                    "selectableFields": [{"jsonPath": ".spec.colour"}],
                    "additionalPrinterColumns": [{"name": "Size", "type": "integer", "jsonPath": ".spec.size"}],
                },
                {"name": "v1beta1", "served": true, "storage": false, "schema": {"openAPIV3Schema": schema},
                 "subresources": {"status": {}}},
            ],
        },
    })
}

pub(crate) fn widgets() -> CustomDefinition {
    CustomDefinition::from_crd(&widget_crd(), Origin::Local).expect("a storage version")
}

// === impl Fixture ===

impl Fixture {
    pub async fn new() -> Self {
        Self::with_admission(Vec::new()).await
    }

    pub async fn with_admission(plugins: Vec<Arc<dyn Admission>>) -> Self {
        let (env, _host) = Env::simulated(1, SimOptions::default());
        let kv = Arc::new(ModelKv::new(&env));
        let store = Store::open(env.clone(), kv, StoreOptions::default(), Vec::new())
            .await
            .expect("an empty store opens");
        let registry = Registry::new(store, env.clone(), AdmissionChain::new(plugins));
        let mut defs = builtins();
        defs.push(DefinitionCache::default().definition(&widgets()));
        Self {
            env,
            registry,
            cluster: Cluster::well_known("root"),
            defs,
            agent: "tester".to_owned(),
        }
    }

    /// Serves what a CRD defines, in place of what was defined so far.
    pub fn define(&mut self, crd: &Value) {
        let definition = CustomDefinition::from_crd(crd, Origin::Local).expect("a storage version");
        let def = DefinitionCache::default().definition(&definition);
        self.defs
            .retain(|known| known.group != def.group || known.names.plural != def.names.plural);
        self.defs.push(def);
    }

    pub fn def(&self, group: &str, plural: &str) -> Arc<ResourceDef> {
        let found = self
            .defs
            .iter()
            .find(|def| &*def.group == group && def.names.plural == plural);
        Arc::clone(found.expect("a known resource"))
    }

    pub fn at(&self, resource: &str, namespace: &str, name: &str) -> At {
        let (plural, group) = resource.split_once('.').unwrap_or((resource, ""));
        let resolved = Resolved {
            def: self.def(group, plural),
            version: 0,
        };
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        At {
            target: Target {
                resolved,
                subresource: Subresource::Main,
                namespace,
                name,
            },
        }
    }

    pub fn request(&self) -> Request {
        let permit = Permit::internal(Scope::One(self.cluster.clone()));
        Request::new(
            permit,
            Arc::new(User::new("alice", &["system:authenticated"])),
            self.agent.as_str(),
        )
    }

    pub fn value(&self, at: &At, item: &Item) -> Value {
        let now = self.env.clock.now().as_nanos().into();
        Representation::new(at.target.resolved.clone(), Form::Whole, now)
            .value(item)
            .expect("a readable object")
    }

    pub async fn create(&self, at: &At, object: Value) -> Result<Value> {
        self.create_with(at, object, &WriteOptions::default()).await
    }

    pub async fn create_with(&self, at: &At, object: Value, options: &WriteOptions) -> Result<Value> {
        let outcome = self
            .registry
            .create(&self.request(), &at.target, object, options)
            .await?;
        assert!(outcome.created);
        Ok(self.value(at, &outcome.item))
    }

    pub async fn update(&self, at: &At, object: Value) -> Result<Value> {
        let outcome = self
            .registry
            .update(&self.request(), &at.target, object, &WriteOptions::default())
            .await?;
        Ok(self.value(at, &outcome.item))
    }

    pub async fn patch(&self, at: &At, patch: Patch) -> Result<Value> {
        let outcome = self
            .registry
            .patch(&self.request(), &at.target, patch, &WriteOptions::default())
            .await?;
        Ok(self.value(at, &outcome.item))
    }

    pub async fn apply(&self, at: &At, manager: &str, config: Value, force: bool) -> Result<(Value, bool)> {
        let options = WriteOptions {
            field_manager: manager.to_owned(),
            force: force.then_some(true),
            ..WriteOptions::default()
        };
        let outcome = self
            .registry
            .patch(&self.request(), &at.target, Patch::Apply(config), &options)
            .await?;
        Ok((self.value(at, &outcome.item), outcome.created))
    }

    pub async fn get(&self, at: &At) -> Result<Value> {
        let item = self
            .registry
            .get(&self.request(), &at.target, &GetOptions::default())
            .await?;
        Ok(self.value(at, &item))
    }

    pub async fn delete(&self, at: &At) -> Result<Outcome> {
        self.delete_with(at, &DeleteOptions::default()).await
    }

    pub async fn delete_with(&self, at: &At, options: &DeleteOptions) -> Result<Outcome> {
        self.registry.delete(&self.request(), &at.target, options).await
    }

    pub async fn list(&self, at: &At, options: &ListOptions) -> Result<Vec<String>> {
        let list = self.registry.list(&self.request(), &at.target, options).await?;
        Ok(list
            .items
            .iter()
            .map(|item| self.value(at, item).name().to_owned())
            .collect())
    }
}

// === impl At ===

impl At {
    pub fn named(&self, name: &str) -> At {
        At {
            target: Target {
                name: name.to_owned(),
                ..self.target.clone()
            },
        }
    }

    pub fn sub(&self, subresource: Subresource) -> At {
        At {
            target: Target {
                subresource,
                ..self.target.clone()
            },
        }
    }

    pub fn version(&self, version: usize) -> At {
        let resolved = Resolved {
            version,
            ..self.target.resolved.clone()
        };
        At {
            target: Target {
                resolved,
                ..self.target.clone()
            },
        }
    }
}

/// Code and text of a refusal.
pub(crate) fn refusal<T>(result: Result<T>) -> (u16, String) {
    match result {
        Ok(_) => (0, String::new()),
        Err(Status { code, message, .. }) => (code, message),
    }
}

pub(crate) fn config_map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

pub(crate) fn widget(name: &str) -> Value {
    json!({"apiVersion": "example.io/v1", "kind": "Widget", "metadata": {"name": name}, "spec": {"size": 1}})
}
