//! The resources that controllers speak of.

use plan::ResourceRef;

macro_rules! refs {
    ($($name:ident => $group:literal, $resource:literal;)*) => {
        $(pub fn $name() -> ResourceRef { ResourceRef::new($group, $resource) })*
    };
}

refs! {
    workspaces => "tenancy.kcp.io", "workspaces";
    workspace_types => "tenancy.kcp.io", "workspacetypes";
    workspace_authentication_configurations => "tenancy.kcp.io", "workspaceauthenticationconfigurations";
    logical_clusters => "core.kcp.io", "logicalclusters";
    shards => "core.kcp.io", "shards";
    exports => "apis.kcp.io", "apiexports";
    bindings => "apis.kcp.io", "apibindings";
    schemas => "apis.kcp.io", "apiresourceschemas";
    endpoint_slices => "apis.kcp.io", "apiexportendpointslices";
    partitions => "topology.kcp.io", "partitions";
    partition_sets => "topology.kcp.io", "partitionsets";
    namespaces => "", "namespaces";
    config_maps => "", "configmaps";
    secrets => "", "secrets";
    service_accounts => "", "serviceaccounts";
    cluster_roles => "rbac.authorization.k8s.io", "clusterroles";
    cluster_role_bindings => "rbac.authorization.k8s.io", "clusterrolebindings";
    crds => "apiextensions.k8s.io", "customresourcedefinitions";
    everything => "*", "*";
}
