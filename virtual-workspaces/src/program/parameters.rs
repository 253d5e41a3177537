//! Options of requests, as the parameters and bodies that they were read from.

use fabric::delegation::DelegatedDefinition;
use machinery::options::{DeleteOptions, FieldValidation, ListOptions, PropagationPolicy, VersionMatch, WriteOptions};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use permit::Scope;
use registry::Target;
use serde_json::{Value, json};

use crate::DefinitionOf;

/// What stays as it is in a segment of a path and in a parameter.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~')
    .remove(b':');

/// Parameters of a URL.
#[derive(Default)]
pub struct Parameters(String);

// === impl Parameters ===

impl Parameters {
    pub fn put(&mut self, name: &str, value: &str) {
        self.0.push(if self.0.is_empty() { '?' } else { '&' });
        self.0.push_str(name);
        self.0.push('=');
        self.0.extend(utf8_percent_encode(value, ESCAPED));
    }

    fn put_some(&mut self, name: &str, value: &str) {
        if !value.is_empty() {
            self.put(name, value);
        }
    }

    /// Of a list, or of a watch.
    pub fn of_list(options: &ListOptions, is_watch: bool) -> Self {
        let mut parameters = Self::default();
        if is_watch {
            parameters.put("watch", "true");
            // The stream has to know how far it is; whether clients are told is up to the view's own stages.
            parameters.put("allowWatchBookmarks", "true");
        }
        parameters.put_some("labelSelector", &options.label_selector.to_string());
        parameters.put_some("fieldSelector", &options.field_selector.to_string());
        parameters.put_some("resourceVersion", &options.resource_version);
        parameters.put_some(
            "resourceVersionMatch",
            match options.resource_version_match {
                Some(VersionMatch::Exact) => "Exact",
                Some(VersionMatch::NotOlderThan) => "NotOlderThan",
                None => "",
            },
        );
        if let Some(wanted) = options.send_initial_events {
            parameters.put("sendInitialEvents", if wanted { "true" } else { "false" });
        }
        if let Some(seconds) = options.timeout_seconds {
            parameters.put("timeoutSeconds", &seconds.to_string());
        }
        if options.limit > 0 {
            parameters.put("limit", &options.limit.to_string());
        }
        parameters.put_some("continue", &options.continue_token);
        parameters
    }

    /// Of a create, update or patch.
    pub fn of_write(options: &WriteOptions) -> Self {
        let mut parameters = Self::default();
        if options.dry_run {
            parameters.put("dryRun", "All");
        }
        parameters.put_some("fieldManager", &options.field_manager);
        parameters.put(
            "fieldValidation",
            match options.field_validation {
                FieldValidation::Ignore => "Ignore",
                FieldValidation::Warn => "Warn",
                FieldValidation::Strict => "Strict",
            },
        );
        if let Some(force) = options.force {
            parameters.put("force", if force { "true" } else { "false" });
        }
        parameters
    }
}

impl std::fmt::Display for Parameters {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// The body of a deletion.
pub fn delete_body(options: &DeleteOptions) -> Value {
    let mut body = json!({ "kind": "DeleteOptions", "apiVersion": "v1" });
    if let Some(seconds) = options.grace_period_seconds {
        body["gracePeriodSeconds"] = seconds.into();
    }
    if let Some(uid) = &options.preconditions.uid {
        body["preconditions"]["uid"] = uid.as_str().into();
    }
    if let Some(version) = &options.preconditions.resource_version {
        body["preconditions"]["resourceVersion"] = version.as_str().into();
    }
    if let Some(orphans) = options.orphan_dependents {
        body["orphanDependents"] = orphans.into();
    }
    if let Some(policy) = options.propagation_policy {
        let policy = match policy {
            PropagationPolicy::Orphan => "Orphan",
            PropagationPolicy::Background => "Background",
            PropagationPolicy::Foreground => "Foreground",
        };
        body["propagationPolicy"] = policy.into();
    }
    if options.dry_run {
        body["dryRun"] = json!(["All"]);
    }
    body
}

/// Where an object or a collection is in the shard's API.
pub fn path(scope: &Scope, target: &Target) -> String {
    let def = &target.resolved.def;
    let version = def
        .versions
        .get(target.resolved.version)
        .map_or("v1", |version| version.name.as_str());
    let mut path = match &*def.group {
        "" => format!("/clusters/{scope}/api/{version}"),
        group => format!("/clusters/{scope}/apis/{group}/{version}"),
    };
    let mut push = |segment: &str| {
        path.push('/');
        path.extend(utf8_percent_encode(segment, ESCAPED));
    };
    if !target.namespace.is_empty() {
        push("namespaces");
        push(&target.namespace);
    }
    push(&def.names.plural);
    if !target.name.is_empty() {
        push(&target.name);
        let subresource = target.subresource.as_str();
        if !subresource.is_empty() {
            push(subresource);
        }
    }
    path
}

/// A decoded path, as it goes into a URL.
pub fn encoded_path(path: &str) -> String {
    let segments = path.split('/').map(|segment| utf8_percent_encode(segment, ESCAPED));
    let segments: Vec<String> = segments.map(|segment| segment.to_string()).collect();
    segments.join("/")
}

/// The definition, as the shard is told of it.
pub fn delegated(of: &DefinitionOf) -> DelegatedDefinition {
    match of {
        DefinitionOf::Common => DelegatedDefinition::Common,
        DefinitionOf::Identity(hash) => DelegatedDefinition::Identity(hash.clone()),
        DefinitionOf::Schema {
            cluster,
            schema,
            identity,
        } => DelegatedDefinition::Schema {
            cluster: cluster.to_string(),
            schema: schema.clone(),
            identity: identity.clone(),
        },
    }
}

#[cfg(test)]
mod tests {
    use machinery::options::Query;

    use super::*;

    fn read(parameters: &Parameters) -> Vec<(String, String)> {
        let text = parameters.to_string();
        let query = apiserver::Query::new(text.trim_start_matches('?'));
        query
            .pairs()
            .map(|(name, value)| (name.into_owned(), value.into_owned()))
            .collect()
    }

    #[test]
    fn options_are_read_back_as_they_were() {
        let given = [
            ("labelSelector", "a in (b,c),!d"),
            ("fieldSelector", "metadata.name=x"),
            ("resourceVersion", "7"),
            ("resourceVersionMatch", "NotOlderThan"),
            ("limit", "5"),
        ];
        let given = given.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let options = ListOptions::parse(Query(&given), false).unwrap();
        let again = read(&Parameters::of_list(&options, false));
        assert_eq!(ListOptions::parse(Query(&again), false).unwrap(), options);

        // A watch of everything there is gets the present state, and so does the one that it becomes.
        let options = ListOptions::parse(Query(&[]), true).unwrap();
        let again = ListOptions::parse(Query(&read(&Parameters::of_list(&options, true))), true).unwrap();
        let expected = ListOptions {
            allow_watch_bookmarks: true,
            ..options
        };
        assert_eq!(again, expected);

        let written = WriteOptions {
            dry_run: true,
            field_manager: "a b&c".to_owned(),
            field_validation: FieldValidation::Strict,
            force: None,
        };
        let again = read(&Parameters::of_write(&written));
        assert_eq!(WriteOptions::update(Query(&again)).unwrap(), written);
    }

    #[test]
    fn deletions_keep_what_must_hold() {
        let body = json!({
            "gracePeriodSeconds": 3, "propagationPolicy": "Foreground", "dryRun": ["All"],
            "preconditions": {"uid": "u", "resourceVersion": "9"},
        });
        let options = DeleteOptions::parse(Query(&[]), Some(&body)).unwrap();
        let again = DeleteOptions::parse(Query(&[]), Some(&delete_body(&options))).unwrap();
        assert_eq!(again, options);
    }

    #[test]
    fn a_path_is_the_same_path_to_the_shard() {
        assert_eq!(
            encoded_path("/api/v1/namespaces/a b/x:y"),
            "/api/v1/namespaces/a%20b/x:y"
        );
    }
}
