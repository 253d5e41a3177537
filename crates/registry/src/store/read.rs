//! Get and list.

use machinery::options::{GetOptions, ListOptions, VersionMatch};
use machinery::status::Result;
use permit::{Scope, Verb};
use storage::{Consistency, ListRequest, ObjectKey, StorageError};

use super::Registry;
use super::fields::{FieldFilter, field_filter};
use super::operation::{permit_for_store, single_cluster};
use super::rescue::rescue;
use crate::{Item, ItemList, Request, Target};

// === impl Registry ===

impl Registry {
    pub(super) async fn read_one(&self, request: &Request, target: &Target, options: &GetOptions) -> Result<Item> {
        let def = &target.resolved.def;
        let cluster = single_cluster(request, def, Verb::Get)?;
        let permit = permit_for_store(request, def, Verb::Get)?;
        let consistency = match (options.resource_version.as_str(), options.version()?) {
            ("", _) => Consistency::Latest,
            (_, 0) => Consistency::Any,
            (_, version) => Consistency::AtLeast(version),
        };
        let namespace = if def.namespaced { target.namespace.as_str() } else { "" };
        let key = ObjectKey::new(cluster.clone(), namespace, &target.name);
        let entry = self.store.get(&permit, &def.store, &key, consistency).await;
        entry
            .map(Item::Stored)
            .map_err(|error| rescue(error, &def.group_resource(), &target.name))
    }

    pub(super) async fn read_list(
        &self,
        request: &Request,
        target: &Target,
        options: &ListOptions,
    ) -> Result<ItemList> {
        self.read_list_for(request, target, options, Verb::List).await
    }

    pub(super) async fn read_list_for(
        &self,
        request: &Request,
        target: &Target,
        options: &ListOptions,
        verb: Verb,
    ) -> Result<ItemList> {
        let def = &target.resolved.def;
        let permit = permit_for_store(request, def, verb)?;
        let filter = field_filter(&options.field_selector, def, target.resolved.version)?;
        let namespace = list_namespace(target, &filter);
        let consistency = list_consistency(options)?;
        if let (Scope::One(cluster), Some(name)) = (permit.scope(), &filter.name)
            && consistency != Consistency::Any
            && !matches!(consistency, Consistency::Exact(_))
            && options.continue_token.is_empty()
            && def.namespaced != namespace.is_empty()
        {
            // One object by name: no need to look at any other.
            let key = ObjectKey::new(cluster.clone(), &namespace, name);
            let found = self.store.get(&permit, &def.store, &key, consistency).await;
            let entry = match found {
                Ok(entry) => Some(entry),
                Err(StorageError::NotFound) => None,
                Err(error) => return Err(rescue(error, &def.group_resource(), name)),
            };
            let matches = |entry: &storage::Entry| {
                entry.labels_match(&options.label_selector) && filter.predicate.as_ref().is_none_or(|p| p(entry))
            };
            let entry = entry.filter(|entry| matches(entry));
            let revision = entry
                .as_ref()
                .map_or(0, |entry| entry.revision())
                .max(self.store.revision());
            let items = entry.into_iter().map(Item::Stored).collect();
            return Ok(ItemList {
                items,
                revision,
                continue_token: None,
                remaining: None,
            });
        }
        let list = ListRequest {
            scope: permit.scope().clone(),
            namespace,
            labels: options.label_selector.clone(),
            fields: filter.predicate,
            limit: list_limit(options),
            continue_token: (!options.continue_token.is_empty()).then(|| options.continue_token.clone()),
            consistency,
        };
        let page = self.store.list(&permit, &def.store, &list).await;
        let page = page.map_err(|error| rescue(error, &def.group_resource(), ""))?;
        Ok(ItemList {
            items: page.items.into_iter().map(Item::Stored).collect(),
            revision: page.revision,
            continue_token: page.continue_token,
            remaining: page.remaining,
        })
    }
}

/// The namespace to look in: the request's, or the one the selector names.
pub(super) fn list_namespace(target: &Target, filter: &FieldFilter) -> String {
    match (
        target.resolved.def.namespaced,
        target.namespace.as_str(),
        &filter.namespace,
    ) {
        (false, _, _) => String::new(),
        (true, "", Some(namespace)) => namespace.clone(),
        (true, namespace, _) => namespace.to_owned(),
    }
}

/// A list from the cache (`resourceVersion=0`) is whole, whatever limit is asked for.
fn list_limit(options: &ListOptions) -> usize {
    let from_cache = options.resource_version == "0"
        && options.resource_version_match != Some(VersionMatch::Exact)
        && options.continue_token.is_empty();
    if from_cache {
        0
    } else {
        usize::try_from(options.limit).unwrap_or(0)
    }
}

fn list_consistency(options: &ListOptions) -> Result<Consistency> {
    // Checks the token, whose revision storage then takes.
    options.continuation()?;
    let version = options.version()?;
    Ok(
        match (
            options.resource_version.as_str(),
            version,
            options.resource_version_match,
        ) {
            ("", _, _) => Consistency::Latest,
            (_, 0, _) => Consistency::Any,
            (_, version, Some(VersionMatch::Exact)) => Consistency::Exact(version),
            // Before there was a match parameter, a limit meant exactly that revision.
            (_, version, None) if options.limit > 0 => Consistency::Exact(version),
            (_, version, _) => Consistency::AtLeast(version),
        },
    )
}
