//! The way of a request through a shard, every part top-down.

use std::collections::BTreeMap;
use std::sync::Arc;

use apiserver::auth::service_account::discovery::{CONFIGURATION_PATH, KEY_SET_PATH, key_set, openid_configuration};
use apiserver::{Audit, Health, Lifecycle, Page, Stack, StackConfig, StackOptions};
use http::{HeaderName, HeaderValue};
use permit::{Cluster, Scope};
use registry::Backend;
use telemetry::Metrics;
use virtual_workspaces::VirtualWorkspaces;

use crate::authentication::Authentication;
use crate::authorizer::ShardResolver;
use crate::delegated::{Delegated, ViewAnswers};
use crate::home::HomeBackend;
use crate::shard::Shard;
use crate::surface::ShardSurface;
use crate::views::ShardViews;

/// What a server adds to a shard.
pub struct StackParts {
    pub authentication: Authentication,
    pub run_virtual_workspaces: bool,
    pub home_workspaces: bool,
    pub audit: Audit,
    pub health: Health,
    pub lifecycle: Lifecycle,
    pub metrics: Arc<Metrics>,
    pub anonymous: bool,
    /// `host:port`, for discovery.
    pub external_address: String,
    /// Issuer of service account tokens.
    pub issuer: String,
    /// Where its keys are; empty: here.
    pub jwks_uri: String,
}

pub fn build(shard: &Shard, parts: StackParts) -> Arc<Stack> {
    build_with_views(shard, parts).0
}

/// The same, and what views ask that run as a process of their own.
pub fn build_with_views(shard: &Shard, parts: StackParts) -> (Arc<Stack>, ViewAnswers) {
    let pages = openid_pages(&parts);
    let options = StackOptions {
        // What others verify tokens of service accounts with.
        pages,
        anonymous: parts.anonymous,
        // `/metrics` is of the whole server; who may read it is said in root (kcp's facts, C.1).
        metrics_scope: Some(Scope::One(Cluster::well_known(api::keys::cluster::ROOT))),
        own_groups: &api::keys::group::OWN,
        external_address: parts.external_address,
        // Components ask so what a user may in a cluster that the user cannot enter (kcp's facts, G.5).
        deep_review_header: Some(HeaderName::from_static(api::keys::header::DEEP_SUBJECT_ACCESS_REVIEW)),
        // Clients inside a cluster name none in their URLs; their tokens do (C.5).
        in_cluster_clients: true,
        cluster_annotation: Some(api::keys::annotation::AUDIT_CLUSTER),
        ..StackOptions::default()
    };
    let Authentication {
        authenticators,
        impersonator,
        reviews,
        accounts,
        components,
        ..
    } = parts.authentication;
    let workspaces: Arc<dyn Backend> = match parts.home_workspaces {
        false => shard.objects(),
        true => Arc::new(HomeBackend {
            inner: shard.objects(),
            facts: shard.facts.clone(),
            effects: shard.effects.clone(),
            authorizer: shard.authorizer.clone(),
            shard_name: shard.name.clone(),
        }),
    };
    let surface = Arc::new(ShardSurface::new(
        shard.definitions.clone(),
        shard.objects(),
        reviews,
        accounts,
        workspaces,
    ));
    let views = Arc::new(ShardViews {
        facts: shard.facts.clone(),
        definitions: shard.definitions.clone(),
        store: shard.store.clone(),
        authorizer: shard.authorizer.clone(),
        surface: surface.clone(),
    });
    let inside: Arc<dyn virtual_workspaces::Shard> = views.clone();
    let services = parts.run_virtual_workspaces.then(|| VirtualWorkspaces::new(&inside));
    let delegated = components.clients.map(|clients| Delegated {
        views: views.clone(),
        clients,
    });
    let answers = ViewAnswers {
        views,
        tokens: authenticators.clone(),
    };
    let stack = Stack::new(StackConfig {
        env: shard.env.clone(),
        options,
        // The URL's cluster, a path or a name, becomes a name.
        resolver: ShardResolver::new(shard.facts.clone()),
        // Who asks.
        authenticators,
        // As whom.
        impersonator: Some(impersonator),
        // Whether it may: kcp's chain over RBAC.
        authorizer: shard.authorizer.clone(),
        // What there is, and where its objects are.
        surface,
        // What compiled-in kinds look like, for OpenAPI.
        definitions: Arc::new(api::builtin::definitions().clone()),
        // What there is under /services.
        services: services.map(|services| Arc::new(services) as _),
        // Who serves views of what is here elsewhere.
        delegates: delegated.map(|delegated| Arc::new(delegated) as _),
        mounts: None,
        // So that no cluster takes the server from the others.
        fairness: Default::default(),
        audit: parts.audit,
        health: parts.health,
        lifecycle: parts.lifecycle,
        metrics: parts.metrics,
    });
    (stack, answers)
}

/// OpenID discovery of the issuer of service account tokens; nothing, if the issuer is no URL that could have it.
fn openid_pages(parts: &StackParts) -> BTreeMap<String, Page> {
    let keys = &parts.authentication.keys;
    let configuration = openid_configuration(&parts.issuer, &parts.jwks_uri, &parts.external_address, keys);
    let Some(configuration) = configuration else {
        return BTreeMap::new();
    };
    let page = |content_type: &'static str, body: serde_json::Value| Page {
        content_type: HeaderValue::from_static(content_type),
        body: body.to_string().into(),
    };
    BTreeMap::from([
        (CONFIGURATION_PATH.to_owned(), page("application/json", configuration)),
        (KEY_SET_PATH.to_owned(), page("application/jwk-set+json", key_set(keys))),
    ])
}
