//! Discovery documents: the legacy ones (`APIVersions`, `APIGroupList`, `APIGroup`, `APIResourceList`) and the aggregated
//! one (`APIGroupDiscoveryList`), and the order of versions.

use std::cmp::Ordering;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::object::GroupVersion;

/// `/api`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiVersions {
    kind: String,
    pub versions: Vec<String>,
    #[serde(rename = "serverAddressByClientCIDRs")]
    pub server_addresses: Vec<ServerAddress>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerAddress {
    #[serde(rename = "clientCIDR")]
    pub client_cidr: String,
    #[serde(rename = "serverAddress")]
    pub server_address: String,
}

/// `/apis`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiGroupList {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    pub groups: Vec<ApiGroup>,
}

/// `/apis/{group}`; inside a list without its kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiGroup {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    kind: String,
    #[serde(rename = "apiVersion", default, skip_serializing_if = "String::is_empty")]
    api_version: String,
    pub name: String,
    pub versions: Vec<GroupVersionForDiscovery>,
    #[serde(rename = "preferredVersion")]
    pub preferred_version: GroupVersionForDiscovery,
    #[serde(
        rename = "serverAddressByClientCIDRs",
        default,
        skip_serializing_if = "Vec::is_empty"
    )]
    pub server_addresses: Vec<ServerAddress>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupVersionForDiscovery {
    #[serde(rename = "groupVersion")]
    pub group_version: String,
    pub version: String,
}

/// `/api/{version}`, `/apis/{group}/{version}`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiResourceList {
    kind: String,
    /// Absent for the core group, as Kubernetes has it.
    #[serde(rename = "apiVersion", default, skip_serializing_if = "String::is_empty")]
    api_version: String,
    #[serde(rename = "groupVersion")]
    pub group_version: String,
    pub resources: Vec<ApiResource>,
}

/// A resource, or a subresource (`name` is `resource/subresource`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiResource {
    pub name: String,
    #[serde(rename = "singularName")]
    pub singular_name: String,
    pub namespaced: bool,
    /// Of the kind, where it is not that of the list (`Scale`, `TokenRequest`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub group: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    pub kind: String,
    /// Go's: none are null.
    #[serde(serialize_with = "null_if_empty", deserialize_with = "empty_if_null")]
    pub verbs: Vec<String>,
    #[serde(rename = "shortNames", default, skip_serializing_if = "Vec::is_empty")]
    pub short_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    /// Opaque to clients; equal where the same version of the same kind is stored.
    #[serde(rename = "storageVersionHash", default, skip_serializing_if = "String::is_empty")]
    pub storage_version_hash: String,
}

fn null_if_empty<S: Serializer>(verbs: &[String], serializer: S) -> Result<S::Ok, S::Error> {
    Some(verbs).filter(|verbs| !verbs.is_empty()).serialize(serializer)
}

fn empty_if_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// The aggregated document of `/api` or `/apis`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiGroupDiscoveryList {
    kind: String,
    #[serde(rename = "apiVersion")]
    api_version: String,
    metadata: Empty,
    pub items: Vec<ApiGroupDiscovery>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Empty {}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiGroupDiscovery {
    metadata: GroupName,
    pub versions: Vec<ApiVersionDiscovery>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct GroupName {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiVersionDiscovery {
    pub version: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub resources: Vec<ApiResourceDiscovery>,
    /// `Current`, or `Stale` where the resources could not be learnt.
    pub freshness: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiResourceDiscovery {
    pub resource: String,
    #[serde(rename = "responseKind")]
    pub response_kind: ResponseKind,
    /// `Namespaced` or `Cluster`.
    pub scope: String,
    #[serde(rename = "singularResource")]
    pub singular_resource: String,
    pub verbs: Vec<String>,
    #[serde(rename = "shortNames", default, skip_serializing_if = "Vec::is_empty")]
    pub short_names: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub categories: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub subresources: Vec<ApiSubresourceDiscovery>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiSubresourceDiscovery {
    pub subresource: String,
    #[serde(rename = "responseKind")]
    pub response_kind: ResponseKind,
    pub verbs: Vec<String>,
}

/// An empty group and version mean those that the resource is listed under.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResponseKind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

// === impl ApiVersions ===

impl ApiVersions {
    pub fn new(versions: Vec<String>, server_addresses: Vec<ServerAddress>) -> Self {
        Self {
            kind: "APIVersions".to_owned(),
            versions,
            server_addresses,
        }
    }
}

// === impl ServerAddress ===

impl ServerAddress {
    /// The address (`host:port`) for clients from anywhere.
    pub fn for_all(server_address: impl Into<String>) -> Self {
        Self {
            client_cidr: "0.0.0.0/0".to_owned(),
            server_address: server_address.into(),
        }
    }
}

// === impl ApiGroupList ===

impl ApiGroupList {
    /// The groups lose their kind, as members of a list have none.
    pub fn new(groups: Vec<ApiGroup>) -> Self {
        let bare = |group| ApiGroup {
            kind: String::new(),
            api_version: String::new(),
            ..group
        };
        Self {
            kind: "APIGroupList".to_owned(),
            api_version: "v1".to_owned(),
            groups: groups.into_iter().map(bare).collect(),
        }
    }
}

// === impl ApiGroup ===

impl ApiGroup {
    /// A group with its versions, sorted here; the first is the preferred one.
    pub fn new(name: &str, versions: impl IntoIterator<Item = String>) -> Self {
        let mut versions: Vec<String> = versions.into_iter().collect();
        versions.sort_by(|a, b| compare_versions(a, b));
        versions.dedup();
        let versions: Vec<GroupVersionForDiscovery> = versions
            .into_iter()
            .map(|version| GroupVersionForDiscovery::new(name, version))
            .collect();
        Self {
            kind: "APIGroup".to_owned(),
            api_version: "v1".to_owned(),
            name: name.to_owned(),
            preferred_version: versions.first().cloned().unwrap_or_default(),
            versions,
            server_addresses: Vec::new(),
        }
    }

    #[must_use]
    pub fn with_addresses(self, server_addresses: Vec<ServerAddress>) -> Self {
        Self {
            server_addresses,
            ..self
        }
    }
}

// === impl GroupVersionForDiscovery ===

impl GroupVersionForDiscovery {
    fn new(group: &str, version: String) -> Self {
        Self {
            group_version: GroupVersion::new(group, version.as_str()).to_string(),
            version,
        }
    }
}

// === impl ApiResourceList ===

impl ApiResourceList {
    pub fn new(of: &GroupVersion, resources: Vec<ApiResource>) -> Self {
        Self {
            kind: "APIResourceList".to_owned(),
            api_version: if of.group.is_empty() {
                String::new()
            } else {
                "v1".to_owned()
            },
            group_version: of.to_string(),
            resources,
        }
    }
}

// === impl ApiGroupDiscoveryList ===

impl ApiGroupDiscoveryList {
    pub fn new(items: Vec<ApiGroupDiscovery>) -> Self {
        Self {
            kind: "APIGroupDiscoveryList".to_owned(),
            api_version: "apidiscovery.k8s.io/v2".to_owned(),
            metadata: Empty {},
            items,
        }
    }
}

// === impl ApiGroupDiscovery ===

impl ApiGroupDiscovery {
    /// A group from its legacy lists. Versions are sorted here.
    pub fn new(group: &str, mut lists: Vec<ApiResourceList>) -> Self {
        let version = |list: &ApiResourceList| GroupVersion::parse(&list.group_version).version;
        lists.sort_by(|a, b| compare_versions(&version(a), &version(b)));
        Self {
            metadata: GroupName { name: group.to_owned() },
            versions: lists.iter().map(ApiVersionDiscovery::of).collect(),
        }
    }

    pub fn group(&self) -> &str {
        &self.metadata.name
    }
}

// === impl ApiVersionDiscovery ===

impl ApiVersionDiscovery {
    /// Subresources go below their resource, which must be in the list before them.
    fn of(list: &ApiResourceList) -> Self {
        let mut resources: Vec<ApiResourceDiscovery> = Vec::new();
        for entry in &list.resources {
            let response_kind = ResponseKind {
                group: entry.group.clone(),
                version: entry.version.clone(),
                kind: entry.kind.clone(),
            };
            match entry.name.split_once('/') {
                None => resources.push(ApiResourceDiscovery {
                    resource: entry.name.clone(),
                    response_kind,
                    scope: if entry.namespaced { "Namespaced" } else { "Cluster" }.to_owned(),
                    singular_resource: entry.singular_name.clone(),
                    verbs: entry.verbs.clone(),
                    short_names: entry.short_names.clone(),
                    categories: entry.categories.clone(),
                    subresources: Vec::new(),
                }),
                Some((resource, subresource)) => {
                    if let Some(parent) = resources.iter_mut().find(|parent| parent.resource == resource) {
                        let verbs = entry.verbs.clone();
                        let subresource = subresource.to_owned();
                        parent.subresources.push(ApiSubresourceDiscovery {
                            subresource,
                            response_kind,
                            verbs,
                        });
                    }
                }
            }
        }
        let version = GroupVersion::parse(&list.group_version).version;
        Self {
            version,
            resources,
            freshness: "Current".to_owned(),
        }
    }
}

/// The order in which versions are listed: GA before beta before alpha, then the higher number; what is no version of
/// that form comes last, alphabetically.
pub fn compare_versions(a: &str, b: &str) -> Ordering {
    match (version_rank(a), version_rank(b)) {
        (Some(a), Some(b)) => b.cmp(&a),
        (Some(_), None) => Ordering::Less,
        (None, Some(_)) => Ordering::Greater,
        (None, None) => a.cmp(b),
    }
}

/// Stability, major, minor of `v1`, `v2beta3`.
fn version_rank(version: &str) -> Option<(u8, u64, u64)> {
    let rest = version.strip_prefix('v')?;
    let digits = |text: &str| -> Option<u64> {
        (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
    };
    if let Some((major, minor)) = rest.split_once("alpha") {
        return Some((0, digits(major)?, digits(minor)?));
    }
    if let Some((major, minor)) = rest.split_once("beta") {
        return Some((1, digits(major)?, digits(minor)?));
    }
    Some((2, digits(rest)?, 0))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource(name: &str, kind: &str) -> ApiResource {
        ApiResource {
            name: name.to_owned(),
            kind: kind.to_owned(),
            namespaced: true,
            verbs: vec!["get".to_owned()],
            ..ApiResource::default()
        }
    }

    #[test]
    fn versions_are_ordered_by_stability_then_number() {
        let mut versions = [
            "v1alpha1",
            "foo",
            "v10",
            "v1beta1",
            "v2",
            "v1",
            "v1beta2",
            "v11alpha2",
            "bar",
            "v1gamma1",
        ];
        versions.sort_by(|a, b| compare_versions(a, b));
        assert_eq!(
            versions,
            [
                "v10",
                "v2",
                "v1",
                "v1beta2",
                "v1beta1",
                "v11alpha2",
                "v1alpha1",
                "bar",
                "foo",
                "v1gamma1"
            ]
        );
    }

    #[test]
    fn groups_prefer_their_first_version() {
        let group = ApiGroup::new("apis.kcp.io", ["v1alpha1".to_owned(), "v1alpha2".to_owned()]);
        assert_eq!(
            json!(group),
            json!({"kind": "APIGroup", "apiVersion": "v1", "name": "apis.kcp.io",
                "versions": [{"groupVersion": "apis.kcp.io/v1alpha2", "version": "v1alpha2"},
                             {"groupVersion": "apis.kcp.io/v1alpha1", "version": "v1alpha1"}],
                "preferredVersion": {"groupVersion": "apis.kcp.io/v1alpha2", "version": "v1alpha2"}})
        );
        let list = json!(ApiGroupList::new(vec![
            group.with_addresses(vec![ServerAddress::for_all("h:1")])
        ]));
        assert_eq!(list["groups"][0].get("kind"), None);
        assert_eq!(
            list["groups"][0]["serverAddressByClientCIDRs"],
            json!([{"clientCIDR": "0.0.0.0/0", "serverAddress": "h:1"}])
        );
    }

    #[test]
    fn core_documents_lack_an_api_version() {
        let versions = ApiVersions::new(vec!["v1".to_owned()], vec![ServerAddress::for_all("h:1")]);
        assert_eq!(
            serde_json::to_string(&versions).unwrap(),
            r#"{"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[{"clientCIDR":"0.0.0.0/0","serverAddress":"h:1"}]}"#
        );
        let core = json!(ApiResourceList::new(
            &GroupVersion::new("", "v1"),
            vec![resource("pods", "Pod")]
        ));
        assert_eq!((core.get("apiVersion"), &core["groupVersion"]), (None, &json!("v1")));
        assert_eq!(
            core["resources"][0],
            json!({"name": "pods", "singularName": "", "namespaced": true, "kind": "Pod", "verbs": ["get"]})
        );
        assert_eq!(
            json!(ApiResourceList::new(&GroupVersion::new("g", "v1"), Vec::new()))["apiVersion"],
            "v1"
        );
    }

    #[test]
    fn aggregated_documents_nest_subresources() {
        let token = ApiResource {
            group: "authentication.k8s.io".to_owned(),
            version: "v1".to_owned(),
            ..resource("serviceaccounts/token", "TokenRequest")
        };
        let list = ApiResourceList::new(
            &GroupVersion::new("", "v1"),
            vec![
                resource("serviceaccounts", "ServiceAccount"),
                token,
                resource("gone/status", "Gone"),
            ],
        );
        let document = ApiGroupDiscoveryList::new(vec![ApiGroupDiscovery::new("", vec![list])]);
        assert_eq!(
            json!(document),
            json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": [
                {"metadata": {}, "versions": [{"version": "v1", "freshness": "Current", "resources": [
                    {"resource": "serviceaccounts", "responseKind": {"group": "", "version": "", "kind": "ServiceAccount"},
                     "scope": "Namespaced", "singularResource": "", "verbs": ["get"], "subresources": [
                        {"subresource": "token", "verbs": ["get"],
                         "responseKind": {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"}}]}
                ]}]}
            ]})
        );
    }
}
