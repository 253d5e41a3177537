//! What the manifests refer to is there: files, Secrets, services, ports. Tests of the rendering alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use deploy::{Manifests, Source, array, id, pod_of};
use machinery::object::ObjectExt;
use serde_json::Value;

const RENDERED: [&str; 5] = [
    "one-shard",
    "one-shard-more",
    "two-shards",
    "separate-views",
    "five-shards",
];

/// Secrets that the values of `five-shards` and `two-shards` say are somebody else's.
const GIVEN: [&str; 2] = ["etcd", "kcp-tokens"];

fn each(mut of: impl FnMut(&str, &Manifests)) {
    for name in RENDERED {
        of(name, &Manifests::rendered(name).unwrap());
    }
}

/// Secrets that somebody writes: the bootstrap job, or cert-manager.
fn issued(manifests: &Manifests) -> BTreeSet<String> {
    let certificates = manifests.of_kind("Certificate");
    let mut names: BTreeSet<String> = certificates
        .filter_map(|object| object.str_at(&["spec", "secretName"]))
        .map(str::to_owned)
        .collect();
    let list = manifests
        .get("ConfigMap", "kcp-certificates")
        .map(|map| map["data"]["certificates.yaml"].clone());
    if let Some(Value::String(list)) = list {
        let list = machinery::yaml::decode_value(list.as_bytes()).unwrap();
        for entry in ["authorities", "certificates"]
            .iter()
            .flat_map(|field| array(&list, field))
        {
            names.insert(entry.str_at(&["secret"]).unwrap().to_owned());
        }
    }
    names
}

/// Names that some certificate is good for.
fn certified(manifests: &Manifests) -> BTreeSet<String> {
    let list = manifests.get("ConfigMap", "kcp-certificates");
    let list = list.map(|map| map["data"]["certificates.yaml"].as_str().unwrap().to_owned());
    let list = list.map(|text| machinery::yaml::decode_value(text.as_bytes()).unwrap());
    let listed = list.iter().flat_map(|list| array(list, "certificates"));
    let made = manifests.of_kind("Certificate").map(|object| object["spec"].clone());
    let names = listed.chain(made).flat_map(|entry| array(&entry, "dnsNames"));
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Absolute paths in a text: in flags, kubeconfigs and mappings.
fn paths(text: &str) -> Vec<&str> {
    let ends = |c: char| c.is_whitespace() || "\"',}=".contains(c);
    text.split(ends)
        .filter(|word| word.starts_with("/etc/") || word.starts_with("/var/"))
        .collect()
}

#[test]
fn every_file_that_is_named_is_mounted() {
    each(|name, manifests| {
        for container in manifests.containers() {
            let files = container.files(manifests);
            let writable = container.writable();
            let is_there = |path: &str| {
                let path = Path::new(path);
                files.contains_key(path)
                    || writable.iter().any(|directory| path.starts_with(directory))
                    // Of the image, and of pods that have a token.
                    || path == Path::new("/etc/ssl/certs/ca-certificates.crt")
                    || path.starts_with("/var/run/secrets/kubernetes.io/serviceaccount")
            };
            for argument in container.command() {
                for path in paths(&argument) {
                    assert!(is_there(path), "{name}: {}: {argument}", container.workload);
                }
            }
            // Files name files: those that the command is told of.
            for (file, source) in &files {
                let Source::ConfigMap { name: map, key } = source else {
                    continue;
                };
                let used = container
                    .command()
                    .iter()
                    .any(|argument| argument.ends_with(&*file.to_string_lossy()));
                let text = manifests.get("ConfigMap", map).unwrap()["data"][key]
                    .as_str()
                    .unwrap()
                    .to_owned();
                for path in paths(&text).into_iter().filter(|_| used) {
                    assert!(
                        is_there(path),
                        "{name}: {}: {}: {path}",
                        container.workload,
                        file.display()
                    );
                }
            }
        }
    });
}

#[test]
fn every_secret_is_issued_or_somebody_elses() {
    each(|name, manifests| {
        let issued = issued(manifests);
        for container in manifests.containers() {
            for (file, source) in container.files(manifests) {
                let Source::Secret { name: secret, .. } = source else {
                    continue;
                };
                let is_known = issued.contains(&secret) || GIVEN.contains(&secret.as_str());
                assert!(is_known, "{name}: {}: {}", container.workload, file.display());
            }
        }
    });
}

#[test]
fn the_key_of_an_authority_is_in_no_pod() {
    each(|name, manifests| {
        for container in manifests.containers() {
            for source in container.files(manifests).into_values() {
                let Source::Secret { name: secret, key } = source else {
                    continue;
                };
                assert!(
                    !(secret.ends_with("-ca") && key == "tls.key"),
                    "{name}: {}: {secret}",
                    container.workload
                );
            }
        }
    });
}

#[test]
fn every_address_is_a_service_with_that_port_and_a_certificate_for_it() {
    each(|name, manifests| {
        let certified = certified(manifests);
        let texts = manifests
            .containers()
            .into_iter()
            .flat_map(|container| container.command());
        let maps = manifests.of_kind("ConfigMap").map(|map| map["data"].to_string());
        for text in texts.chain(maps) {
            for url in text.split("https://").skip(1) {
                let address = url.split(|c: char| "/,\"' \n\\".contains(c)).next().unwrap();
                let Some((host, port)) = address.split_once(':') else {
                    continue;
                };
                let Some(host) = host.strip_suffix(".kcp.svc") else {
                    continue;
                };
                // A member of a StatefulSet is named before its service.
                let service = host.rsplit('.').next().unwrap();
                let found = manifests.get("Service", service);
                let found = found.unwrap_or_else(|| panic!("{name}: no service {service}"));
                let ports = array(&found["spec"], "ports");
                let is_served = |wanted: &str| {
                    ports
                        .iter()
                        .any(|port| wanted.parse().is_ok_and(|wanted: u64| port["port"] == wanted))
                };
                let is_member = host.contains('.') || address.contains("0.0.0.0");
                assert!(is_member || is_served(port), "{name}: {address}");
                // A member's name is made of a variable in some places.
                let is_certified = host.contains('$') || certified.contains(&format!("{host}.kcp.svc"));
                assert!(is_certified, "{name}: no certificate is good for {host}.kcp.svc");
            }
        }
    });
}

#[test]
fn services_and_budgets_select_pods() {
    each(|name, manifests| {
        let pods: Vec<&Value> = manifests
            .0
            .iter()
            .filter(|object| pod_of(object).is_some())
            .filter_map(|object| object.pointer("/spec/template/metadata/labels"))
            .collect();
        let selectors = manifests
            .of_kind("Service")
            .map(|object| (object, &object["spec"]["selector"]));
        let budgets = manifests.of_kind("PodDisruptionBudget");
        let budgets = budgets.map(|object| (object, &object["spec"]["selector"]["matchLabels"]));
        for (object, selector) in selectors.chain(budgets) {
            let wanted = selector.as_object().unwrap();
            let is_met = |labels: &&&Value| wanted.iter().all(|(key, value)| labels.get(key) == Some(value));
            assert!(pods.iter().any(|labels| is_met(&labels)), "{name}: {}", id(object));
        }
    });
}

#[test]
fn no_container_may_more_than_it_needs() {
    each(|name, manifests| {
        for container in manifests.containers() {
            let at = format!("{name}: {}", container.workload);
            let own = &container.container["securityContext"];
            assert_eq!(own["allowPrivilegeEscalation"], false, "{at}");
            assert_eq!(own["readOnlyRootFilesystem"], true, "{at}");
            assert_eq!(own["capabilities"]["drop"], serde_json::json!(["ALL"]), "{at}");
            let pod = &container.pod["securityContext"];
            assert_eq!(pod["runAsNonRoot"], true, "{at}");
            assert_eq!(pod["seccompProfile"]["type"], "RuntimeDefault", "{at}");
            let has_token = container.pod["automountServiceAccountToken"] == true;
            assert_eq!(has_token, container.workload.contains("certificates"), "{at}");
            assert!(container.container["resources"]["limits"]["memory"].is_string(), "{at}");
            let is_once = ["Job/", "CronJob/"]
                .iter()
                .any(|kind| container.workload.starts_with(kind));
            for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
                assert_eq!(container.container[probe].is_object(), !is_once, "{at}: {probe}");
            }
        }
    });
}

/// One value more adds objects, and changes nothing that runs.
#[test]
fn a_further_shard_restarts_nothing() {
    let (before, after) = ["one-shard", "one-shard-more"]
        .map(|name| Manifests::rendered(name).unwrap())
        .into();
    let workloads = |manifests: &Manifests| -> BTreeMap<String, Value> {
        let lasting = manifests.0.iter().filter(|object| pod_of(object).is_some());
        let lasting = lasting.filter(|object| object.str_at(&["kind"]) != Some("Job"));
        lasting.map(|object| (id(object), object["spec"].clone())).collect()
    };
    let (before, after) = (workloads(&before), workloads(&after));
    for (name, spec) in &before {
        assert_eq!(after.get(name), Some(spec), "{name}");
    }
    let new: Vec<&String> = after.keys().filter(|name| !before.contains_key(*name)).collect();
    assert_eq!(new, ["Deployment/kcp-shard-alpha", "StatefulSet/kcp-etcd-alpha"]);
}
