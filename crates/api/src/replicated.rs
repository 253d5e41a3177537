//! Which objects every shard has of the others, and the cache server of all (H.3).
//!
//! Exports and what belongs to them, types and shards are few, and always told. Logical clusters and RBAC are there for every
//! workspace: of these only what carries [`annotation::REPLICATE`](crate::keys::annotation::REPLICATE).

use machinery::object::ObjectExt;
use serde_json::Value;

use crate::keys::{annotation, group, object};

/// A resource that is replicated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replicated {
    pub group: &'static str,
    pub resource: &'static str,
    /// Only objects that say so.
    pub marked: bool,
}

const ADMISSION: &str = "admissionregistration.k8s.io";
const RBAC: &str = "rbac.authorization.k8s.io";

/// All of them, sorted.
pub const RESOURCES: [Replicated; 18] = [
    always(ADMISSION, "mutatingadmissionpolicies"),
    always(ADMISSION, "mutatingadmissionpolicybindings"),
    always(ADMISSION, "mutatingwebhookconfigurations"),
    always(ADMISSION, "validatingadmissionpolicies"),
    always(ADMISSION, "validatingadmissionpolicybindings"),
    always(ADMISSION, "validatingwebhookconfigurations"),
    always(group::APIS, "apiconversions"),
    always(group::APIS, "apiexportendpointslices"),
    always(group::APIS, "apiexports"),
    always(group::APIS, "apiresourceschemas"),
    always(group::CACHE, "clustercachedresourceendpointslices"),
    always(group::CACHE, "clustercachedresources"),
    marked(group::CORE, "logicalclusters"),
    always(group::CORE, "shards"),
    always(group::MIGRATION, "logicalclustermigrations"),
    marked(RBAC, "clusterrolebindings"),
    marked(RBAC, "clusterroles"),
    always(group::TENANCY, "workspacetypes"),
];

const fn always(group: &'static str, resource: &'static str) -> Replicated {
    Replicated {
        group,
        resource,
        marked: false,
    }
}

const fn marked(group: &'static str, resource: &'static str) -> Replicated {
    Replicated {
        group,
        resource,
        marked: true,
    }
}

/// The entry of a resource.
pub fn find(group: &str, resource: &str) -> Option<&'static Replicated> {
    RESOURCES.iter().find(|r| r.group == group && r.resource == resource)
}

/// Whether an object says that it is to be replicated. The binding that every workspace has, with kcp's marks, says so only
/// where its cluster is replicated, too: else there would be something of every workspace everywhere.
pub fn is_marked(of: &Value) -> bool {
    let reasons = of.annotation(annotation::REPLICATE).unwrap_or_default();
    let is_everywhere = of.name() == object::WORKSPACE_ADMIN && of.get("roleRef").is_some();
    match is_everywhere {
        true => reasons.split(',').any(|reason| reason == group::CORE),
        false => !reasons.is_empty(),
    }
}

/// The annotation's value with a reason in it or not; `None` if none is left.
pub fn with_reason(reasons: &str, reason: &str, is_given: bool) -> Option<String> {
    let mut set: std::collections::BTreeSet<&str> = reasons.split(',').filter(|r| !r.is_empty()).collect();
    if is_given {
        set.insert(reason);
    } else {
        set.remove(reason);
    }
    let joined = set.into_iter().collect::<Vec<_>>().join(",");
    (!joined.is_empty()).then_some(joined)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_a_sorted_set() {
        assert_eq!(with_reason("", "b", true).as_deref(), Some("b"));
        assert_eq!(with_reason("b", "a", true).as_deref(), Some("a,b"));
        assert_eq!(with_reason("a,b", "a", true).as_deref(), Some("a,b"));
        assert_eq!(with_reason("a,b", "b", false).as_deref(), Some("a"));
        assert_eq!(with_reason("a", "a", false), None);
    }

    #[test]
    fn the_binding_that_every_workspace_has_is_marked_where_its_cluster_is() {
        let binding = |name: &str, reasons: &str| {
            serde_json::json!({"metadata": {"name": name, "annotations": {"internal.kcp.io/replicate": reasons}},
                "roleRef": {"name": "cluster-admin"}})
        };
        assert!(!is_marked(&binding("workspace-admin", "apis.kcp.io,tenancy.kcp.io")));
        assert!(is_marked(&binding(
            "workspace-admin",
            "apis.kcp.io,core.kcp.io,tenancy.kcp.io"
        )));
        assert!(is_marked(&binding("other", "apis.kcp.io")));
        assert!(!is_marked(&binding("other", "")));
    }

    #[test]
    fn resources_are_sorted_and_found() {
        let names: Vec<_> = RESOURCES.iter().map(|r| (r.group, r.resource)).collect();
        let mut sorted = names.clone();
        sorted.sort_unstable();
        assert_eq!(names, sorted);
        assert!(find("rbac.authorization.k8s.io", "clusterroles").is_some_and(|r| r.marked));
        assert!(
            find("rbac.authorization.k8s.io", "roles").is_none(),
            "only what counts in all of a cluster"
        );
    }
}
