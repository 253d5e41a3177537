//! The APIs of a scope, as discovery documents list them.

use std::sync::Arc;

use machinery::discovery::{ApiGroup, ApiGroupDiscovery, ApiResource, ApiResourceList, ServerAddress};
use machinery::object::GroupVersion;
use permit::{Verb, Verbs};
use registry::{Origin, ResourceDef, Subresource};

/// The groups of a set of definitions, in the order in which they first occur. The core group is among them.
pub(super) struct Groups<'a> {
    groups: Vec<(&'a str, Vec<&'a Arc<ResourceDef>>)>,
}

/// As discovery lists them.
const SUBRESOURCES: [Subresource; 5] = [
    Subresource::Approval,
    Subresource::Finalize,
    Subresource::Scale,
    Subresource::Status,
    Subresource::Token,
];

// === impl Groups ===

impl<'a> Groups<'a> {
    pub fn new(defs: &'a [Arc<ResourceDef>]) -> Self {
        let mut groups: Vec<(&str, Vec<&Arc<ResourceDef>>)> = Vec::new();
        for def in defs {
            match groups.iter_mut().find(|(name, _)| *name == &*def.group) {
                Some((_, defs)) => defs.push(def),
                None => groups.push((&def.group, vec![def])),
            }
        }
        // The core group is made of compiled-in and custom resources: one list, by name.
        for (_, defs) in groups.iter_mut().filter(|(name, _)| name.is_empty()) {
            defs.sort_by(|a, b| a.names.plural.cmp(&b.names.plural));
        }
        Self { groups }
    }

    pub fn names(&self) -> impl Iterator<Item = &'a str> {
        self.groups.iter().map(|(name, _)| *name)
    }

    pub fn group(&self, name: &str, address: &ServerAddress) -> Option<ApiGroup> {
        let (name, defs) = self.groups.iter().find(|(group, _)| *group == name)?;
        let group = ApiGroup::new(name, versions(defs));
        // Kubernetes gives the address with its own groups only.
        Some(match self.is_builtin(name) {
            true => group.with_addresses(vec![address.clone()]),
            false => group,
        })
    }

    pub fn is_builtin(&self, name: &str) -> bool {
        self.groups
            .iter()
            .any(|(group, defs)| *group == name && defs.iter().any(|def| def.origin == Origin::Builtin))
    }

    /// Served versions of a group, unsorted.
    pub fn versions(&self, name: &str) -> Vec<String> {
        let defs = self.groups.iter().find(|(group, _)| *group == name);
        defs.map(|(_, defs)| versions(defs)).unwrap_or_default()
    }

    /// `None`: the group does not serve this version.
    pub fn resources(&self, of: &GroupVersion) -> Option<ApiResourceList> {
        let (_, defs) = self.groups.iter().find(|(group, _)| *group == of.group)?;
        let mut list = Vec::new();
        for def in defs {
            if let Some(version) = def.served_version(&of.version) {
                entries(def, version, &mut list);
            }
        }
        (!list.is_empty()).then(|| ApiResourceList::new(of, list))
    }

    pub fn aggregated(&self, name: &str) -> ApiGroupDiscovery {
        let lists = self
            .versions(name)
            .into_iter()
            .map(|version| GroupVersion::new(name, version));
        ApiGroupDiscovery::new(name, lists.filter_map(|of| self.resources(&of)).collect())
    }
}

fn versions(defs: &[&Arc<ResourceDef>]) -> Vec<String> {
    let mut versions = Vec::new();
    for version in defs
        .iter()
        .flat_map(|def| &def.versions)
        .filter(|version| version.served)
    {
        if !versions.contains(&version.name) {
            versions.push(version.name.clone());
        }
    }
    versions
}

fn entries(def: &ResourceDef, version: usize, list: &mut Vec<ApiResource>) {
    list.push(ApiResource {
        name: def.names.plural.clone(),
        singular_name: def.names.singular.clone(),
        namespaced: def.namespaced,
        kind: def.names.kind.clone(),
        verbs: verbs(def),
        short_names: def.names.short_names.clone(),
        categories: def.names.categories.clone(),
        storage_version_hash: def.storage_version_hash.clone(),
        ..ApiResource::default()
    });
    // Of what a view shows for reading, the subresources are named and nothing is said of them.
    let is_read_only = !def.verbs.contains(Verb::Update) && def.verbs.contains(Verb::Get);
    for subresource in SUBRESOURCES {
        if !has(def, version, subresource) {
            continue;
        }
        let (group, of_version, kind) = match subresource {
            Subresource::Scale => ("autoscaling", "v1", "Scale"),
            Subresource::Token => ("authentication.k8s.io", "v1", "TokenRequest"),
            _ => ("", "", def.names.kind.as_str()),
        };
        list.push(ApiResource {
            name: format!("{}/{}", def.names.plural, subresource.as_str()),
            namespaced: def.namespaced,
            group: group.to_owned(),
            version: of_version.to_owned(),
            kind: kind.to_owned(),
            verbs: match is_read_only {
                true => Vec::new(),
                false => texts(subresource_verbs(subresource)),
            },
            ..ApiResource::default()
        });
    }
}

/// Whether a version has a subresource.
pub(super) fn has(def: &ResourceDef, version: usize, subresource: Subresource) -> bool {
    let of_version = def.versions.get(version);
    match subresource {
        Subresource::Main => true,
        Subresource::Status if of_version.is_some_and(|version| version.status) => true,
        Subresource::Scale if of_version.is_some_and(|version| version.scale.is_some()) => true,
        _ => def.subresources.contains(&subresource),
    }
}

pub(super) fn subresource_verbs(subresource: Subresource) -> &'static [Verb] {
    match subresource {
        Subresource::Finalize => &[Verb::Update],
        Subresource::Token => &[Verb::Create],
        _ => &[Verb::Get, Verb::Patch, Verb::Update],
    }
}

fn texts(verbs: &[Verb]) -> Vec<String> {
    verbs.iter().map(|verb| verb.as_str().to_owned()).collect()
}

/// In the orders of Kubernetes: compiled-in resources by name, custom ones in the order of its code.
fn verbs(def: &ResourceDef) -> Vec<String> {
    use Verb::{Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch};
    let order = match def.is_custom() {
        true => [Delete, DeleteCollection, Get, List, Patch, Create, Update, Watch],
        false => [Create, Delete, DeleteCollection, Get, List, Patch, Update, Watch],
    };
    let served: Verbs = def.verbs;
    // A definition that goes is not offered for writing any more, though objects may still lose their finalizers.
    let is_offered = |verb: &Verb| !(def.terminating && matches!(verb, Create | Patch | Update));
    order
        .into_iter()
        .filter(|verb| served.contains(*verb) && is_offered(verb))
        .map(|verb| verb.as_str().to_owned())
        .collect()
}
