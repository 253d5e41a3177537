//! The chart as rendered: what it would start in a cluster, read from the manifests in `rendered/`. For tests: they check
//! the manifests, and start the very commands as local processes.
//!
//! Invariant: nothing here knows the chart's templates; what is rendered is all there is.
//!
//! Read next: `README.md`, for the chart itself; [`Manifests::containers`], then [`values`].
#![forbid(unsafe_code)]

pub mod values;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use machinery::object::ObjectExt;
use serde_json::Value;

/// All objects of one rendering.
#[derive(Clone, Debug)]
pub struct Manifests(pub Vec<Value>);

/// A container that a workload would start.
#[derive(Clone, Debug)]
pub struct Container<'m> {
    /// `Deployment/kcp-front-proxy`.
    pub workload: String,
    pub workload_object: &'m Value,
    pub pod: &'m Value,
    pub container: &'m Value,
}

/// Where a file in a container comes from.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Secret { name: String, key: String },
    ConfigMap { name: String, key: String },
}

// === impl Manifests ===

impl Manifests {
    /// A rendering that is kept in the repository: `one-shard`, `two-shards`, …
    ///
    /// # Errors
    /// When there is no such file, or it is no YAML.
    pub fn rendered(name: &str) -> Result<Self, String> {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("rendered")
            .join(format!("{name}.yaml"));
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        Self::parse(&text)
    }

    /// The names of all renderings that are kept, in order.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn names() -> std::io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("rendered"))? {
            let name = entry?.file_name().to_string_lossy().into_owned();
            names.extend(name.strip_suffix(".yaml").map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// # Errors
    /// When a document is no YAML, or says a key twice.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut objects = Vec::new();
        for document in format!("\n{text}").split("\n---\n") {
            let decoded = machinery::yaml::decode(document.as_bytes()).map_err(|error| error.to_string())?;
            if !decoded.strict.is_empty() {
                return Err(format!("a key is there twice in:\n{document}"));
            }
            if !decoded.value.is_null() {
                objects.push(decoded.value);
            }
        }
        Ok(Self(objects))
    }

    pub fn of_kind<'m>(&'m self, kind: &'m str) -> impl Iterator<Item = &'m Value> {
        self.0
            .iter()
            .filter(move |object| object.str_at(&["kind"]) == Some(kind))
    }

    pub fn get(&self, kind: &str, name: &str) -> Option<&Value> {
        self.0
            .iter()
            .find(|object| object.str_at(&["kind"]) == Some(kind) && object.str_at(&["metadata", "name"]) == Some(name))
    }

    /// Every container of every workload.
    pub fn containers(&self) -> Vec<Container<'_>> {
        let mut all = Vec::new();
        for object in &self.0 {
            let Some(pod) = pod_of(object) else { continue };
            for container in pod.get("containers").and_then(Value::as_array).into_iter().flatten() {
                all.push(Container {
                    workload: id(object),
                    workload_object: object,
                    pod,
                    container,
                });
            }
        }
        all
    }

    /// The container whose workload is `Kind/name`.
    pub fn container(&self, workload: &str) -> Option<Container<'_>> {
        self.containers()
            .into_iter()
            .find(|container| container.workload == workload)
    }
}

// === impl Container ===

impl Container<'_> {
    /// Program and arguments.
    pub fn command(&self) -> Vec<String> {
        let words = ["command", "args"].map(|field| array(self.container, field));
        words
            .concat()
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    }

    /// Every file that is there when the container starts, by its path.
    pub fn files(&self, manifests: &Manifests) -> BTreeMap<PathBuf, Source> {
        let mut files = BTreeMap::new();
        for mount in array(self.container, "volumeMounts") {
            let (name, path) = (
                mount.str_at(&["name"]),
                mount.str_at(&["mountPath"]).unwrap_or_default(),
            );
            let volumes = array(self.pod, "volumes");
            let Some(volume) = volumes.iter().find(|volume| volume.str_at(&["name"]) == name) else {
                continue;
            };
            let projected = volume.get("projected").map(|projected| array(projected, "sources"));
            for source in projected.unwrap_or_else(|| vec![volume.clone()]) {
                for (below, source) in source_files(&source, manifests) {
                    files.insert(Path::new(path).join(below), source);
                }
            }
        }
        files
    }

    /// Directories that the container may write to.
    pub fn writable(&self) -> Vec<PathBuf> {
        let mounts = array(self.container, "volumeMounts");
        let writable = mounts
            .iter()
            .filter(|mount| mount.get("readOnly").and_then(Value::as_bool) != Some(true));
        writable
            .filter_map(|mount| mount.str_at(&["mountPath"]))
            .map(PathBuf::from)
            .collect()
    }
}

/// `Kind/name`.
pub fn id(object: &Value) -> String {
    let name = object.str_at(&["metadata", "name"]).unwrap_or_default();
    format!("{}/{name}", object.str_at(&["kind"]).unwrap_or_default())
}

/// The pod that a workload makes.
pub fn pod_of(object: &Value) -> Option<&Value> {
    match object.str_at(&["kind"])? {
        "Deployment" | "StatefulSet" | "Job" => object.pointer("/spec/template/spec"),
        "CronJob" => object.pointer("/spec/jobTemplate/spec/template/spec"),
        _ => None,
    }
}

/// A list's items; none if it is not there.
pub fn array(object: &Value, field: &str) -> Vec<Value> {
    object.get(field).and_then(Value::as_array).cloned().unwrap_or_default()
}

fn source_files(source: &Value, manifests: &Manifests) -> Vec<(String, Source)> {
    if let Some(secret) = source.get("secret") {
        let name = secret
            .str_at(&["name"])
            .or_else(|| secret.str_at(&["secretName"]))
            .unwrap_or_default();
        return items(secret, Vec::new(), |key| Source::Secret {
            name: name.to_owned(),
            key,
        });
    }
    let Some(map) = source.get("configMap") else {
        return Vec::new();
    };
    let name = map.str_at(&["name"]).unwrap_or_default();
    let data = manifests.get("ConfigMap", name).and_then(|object| object.get("data"));
    let keys = data
        .and_then(Value::as_object)
        .map(|data| data.keys().cloned().collect());
    items(map, keys.unwrap_or_default(), |key| Source::ConfigMap {
        name: name.to_owned(),
        key,
    })
}

/// What a source's items name, or all of its keys.
fn items(source: &Value, all: Vec<String>, of: impl Fn(String) -> Source) -> Vec<(String, Source)> {
    let items = array(source, "items");
    if items.is_empty() {
        return all.into_iter().map(|key| (key.clone(), of(key))).collect();
    }
    let text = |item: &Value, field: &str| item.str_at(&[field]).unwrap_or_default().to_owned();
    items
        .iter()
        .map(|item| (text(item, "path"), of(text(item, "key"))))
        .collect()
}
